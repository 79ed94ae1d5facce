"""One demo session: an agent walks through real market history and everything it does is recorded, then read back.

What the demo says about itself is checked here against the files: that every event written can be read, that nothing
was dropped, and that the planted key is in none of them.
"""

import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from structllm import create_llm_logger
from structllm._types import Processor, Record, Sink
from structllm.agent import LLMAgent
from structllm.demo.market import MarketSnapshot
from structllm.errors import MissingExtra, StructllmError
from structllm.logger import ChatCompletionLogger
from structllm.pricing import Cost, GenaiPrices, PriceSource
from structllm.processors.price import Price
from structllm.segment import ReadReport, read
from structllm.settings import LLMSettings
from structllm.usage import Usage

MAX_BYTES = 32_768
"""Small on purpose, so that a demo of a few seconds rotates its files."""

BACKUP_COUNT = 1000
"""Large on purpose: the demo claims to read back everything it wrote."""

PREVIEW_CHARS = 2000
"""Long enough for the whole prompt, so that the redacted key can be seen in its place."""

FAULTS: Mapping[int, Literal["garbage", "rate_limit", "slow"]] = {6: "garbage", 12: "rate_limit", 18: "slow"}
"""Number of a call of the built-in model to what goes wrong with it."""

KEY_NAME = "OPENAI_API_KEY"
DEMO_MODEL_TIMEOUT_S = 1.0
PROVIDER_TIMEOUT_S = 60.0


class BrokenClaim(StructllmError):
    """The demo would have said something about its files that is not so."""


class BilledAs:
    """Prices every call as if another model had served these tokens. Whoever reads the event sees that it is so.

    The demo's own model costs nothing and is on no price list: its true cost says nothing about the cost report. So the
    event keeps the true name in `model` and `response_model`, and the assumption stands beside the cost: the price
    list's model in `price_model`, `structllm-demo` in `cost_source` and `billed_as:…` in `cost_flags`. Naming the
    answering model after the billed one instead would have made every other field a lie.

    Args:
        name: `provider:model`, e.g. `openai:o3-mini`.
        source: The price list; default: that of genai-prices.
    """

    def __init__(self, name: str, source: PriceSource | None = None) -> None:
        provider, colon, model = name.partition(":")
        self._provider = provider if colon else None
        self._model = model if colon else name
        self._flag = f"billed_as:{name}"
        self._source = source or GenaiPrices()

    def price(
        self, usage: Usage, model: str, *, provider: str | None, at: datetime, service_tier: str | None = None
    ) -> Cost | None:
        """Price a completion; see `PriceSource.price`."""
        cost = self._source.price(usage, self._model, provider=self._provider, at=at)
        if cost is None:
            return None
        return cost._replace(source="structllm-demo", flags=(*cost.flags, self._flag))

    def is_known(self) -> bool:
        """Return whether the price list has the model."""
        return self.price(Usage(1, output_text=1), "", provider=None, at=datetime.now(UTC)) is not None


class LineSink:
    """Hands each event to a function that shows it; for the lines on the screen.

    Args:
        show: Called with the event. After an OSError it is not called again: nobody reads any more (`| head`), which
            is no reason to disturb the session.
    """

    def __init__(self, show: Callable[[Mapping[str, Any]], None]) -> None:
        self._show = show
        self._read = True

    def write(self, batch: Sequence[Record], /) -> None:
        """Show the records."""
        try:
            for record in batch if self._read else ():
                self._show(record.event)
        except OSError:
            self._read = False

    def flush(self, timeout_s: float, /) -> bool:
        """Return True: nothing is kept back."""
        return True

    def close(self) -> None:
        """Nothing to release."""


@dataclass(frozen=True)
class Recording:
    """What a session left behind, verified.

    Attributes:
        directory: Where the files are.
        session_id: The session of the events.
        events: Every event, as read back from the files, in the order in which they were written.
        files: The files, live and rotated.
        key_request: The request whose prompt held the fake key.
        written: Records that the files took, by the logger's account.
        dropped: Records that the files did not take, by the same account.
        redactions: Replacements in all events.
        key_found: How many of the files hold the fake key.
    """

    directory: Path
    session_id: str
    events: Sequence[Mapping[str, Any]]
    files: Sequence[Path]
    key_request: Mapping[str, Any]
    written: int
    dropped: int
    redactions: int
    key_found: int


def new_directory(parent: Path) -> Path:
    """Create and return an empty directory below `parent`, named after the time; nothing that exists is touched."""
    name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        directory = parent / (name if number == 1 else f"{name}-{number}")
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return directory
    raise StructllmError(f"{parent} has a thousand demo runs of this second")


def fake_key() -> str:
    """Return a new key in the shape of OpenAI's. It opens nothing."""
    alphabet = string.ascii_letters + string.digits
    return "-".join(("sk", "proj", "".join(secrets.choice(alphabet) for _ in range(48))))


def demo_model() -> Any:
    """Return the built-in model, which fails in one way each at three of its calls.

    Raises:
        MissingExtra: LangChain is not installed.
    """
    try:
        from structllm.demo.model import RuleBasedDemoModel
    except ImportError:
        raise MissingExtra("structllm demo", "langchain-core", "demo") from None
    return RuleBasedDemoModel(faults=FAULTS)


def provider_model(name: str) -> Any:
    """Return LangChain's chat model for `provider:name`.

    Raises:
        MissingExtra: LangChain is not installed.
        StructllmError: LangChain cannot start the model.
    """
    try:
        from langchain.chat_models import init_chat_model
    except ImportError:
        raise MissingExtra("structllm demo", "langchain", "demo") from None
    try:
        return init_chat_model(name)
    except Exception as error:
        raise StructllmError(f"LangChain cannot start the model of --model: {type(error).__name__}") from error


async def record(
    model: Any,
    states: Sequence[MarketSnapshot],
    directory: Path,
    *,
    simulated: bool,
    billed_as: str | None,
    show: Callable[[Mapping[str, Any]], None],
    advance: Callable[[], None],
    archive: Mapping[str, Any] | None = None,
) -> Recording:
    """Let an agent decide about every state, log it below `directory`, and check what was written.

    Args:
        model: The LangChain chat model to ask.
        states: What the agent is shown, in order.
        directory: Empty; gets `llm_completions/` and `trading_decisions/`.
        simulated: Whether the model is the built-in one; marks every event with `simulated: true`.
        billed_as: `provider:model` whose prices the calls are given; None for those of the model itself.
        show: Called with every event.
        advance: Called after every decision.
        archive: Settings of a sink that archives everything as well.

    Raises:
        BrokenClaim: What was read back is not what was written.
    """
    key = fake_key()
    key_at = min(3, len(states))
    own: list[Processor] = [Price(BilledAs(billed_as))] if billed_as is not None else []
    sinks: list[Sink | Mapping[str, Any]] = [*_file_sinks(directory), LineSink(show), *([archive] if archive else [])]
    with closing(create_llm_logger(settings=_settings(), sinks=sinks, processors=own)) as logger:
        log = logger.bind(simulated=True) if simulated else logger
        timeout_s = DEMO_MODEL_TIMEOUT_S if simulated else PROVIDER_TIMEOUT_S
        agent = LLMAgent(model, logger=log, timeout_s=timeout_s)
        for number, state in enumerate(states, start=1):
            await agent.analyze_market(_as_market_state(state, key if number == key_at else None))
            advance()
        log.log_performance_metrics()
        log.flush()
    return _verified(directory, logger, key, key_at)


def _settings() -> LLMSettings:
    """Return settings that no variable or file of the user changes: the demo is the same everywhere."""
    return LLMSettings(log_prompt_preview_length=PREVIEW_CHARS, service="structllm-demo")


def _file_sinks(directory: Path) -> list[dict[str, Any]]:
    """Return two sinks for two directories, as one writes them in a settings file."""
    rotation = {"type": "file", "max_bytes": MAX_BYTES, "backup_count": BACKUP_COUNT}
    return [
        rotation
        | {
            "name": "completions",
            "path": str(directory / "llm_completions" / "completions.log"),
            "events": ["completion_request", "completion_response", "performance_metrics"],
        },
        rotation
        | {
            "name": "decisions",
            "path": str(directory / "trading_decisions" / "decisions.log"),
            "events": ["trading_decision"],
        },
    ]


def _as_market_state(state: MarketSnapshot, key: str | None) -> dict[str, Any]:
    """Return the state as the agent takes it; with a key, a careless note lets it slip into the prompt."""
    market: dict[str, Any] = {
        "symbol": state.symbol,
        "current_price": state.current_price,
        "bar_date": state.timestamp.date().isoformat(),
        "price_unit": state.unit,
        "indicators": dict(state.indicators),
    }
    if key is not None:
        market["operator_note"] = f"if the feed stalls, restart it with {KEY_NAME}={key} and carry on"
    return market


def _verified(directory: Path, logger: ChatCompletionLogger, key: str, key_at: int) -> Recording:
    """Read the files back and hold them against the logger's own account."""
    report = ReadReport()
    # Sorted, since events of the same millisecond in two files have no order by time.
    events = sorted((entry.event for entry in read([directory], report)), key=lambda event: event["seq"])
    files = sorted(path for path in directory.rglob("*.log*") if not path.name.startswith("."))
    stats = logger.stats()
    accounts = [stats["sinks"][name] for name in ("completions", "decisions")]
    written = sum(account["delivered"] for account in accounts)
    dropped = sum(account["accepted"] - account["delivered"] for account in accounts)
    redactions = sum(event["redactions"]["count"] for event in events if "redactions" in event)
    key_found = sum(key.encode() in path.read_bytes() for path in files)
    key_request = next((event for event in events if event.get("completion_number") == key_at), {"prompt_preview": ""})
    claims = {
        f"{written} events written, {len(events)} read back": written == len(events) > 0,
        "no gap in the numbering": {event["seq"] for event in events} == set(range(1, written + 1)),
        "nothing skipped while reading": not report.hints() and not report.unfinished,
        "nothing dropped": dropped == 0,
        "no processor failed": not stats["processor_errors"],
        "the planted key is in no file": key_found == 0,
        "a marker stands where the key was": f"{KEY_NAME}=[REDACTED:" in key_request["prompt_preview"],
    }
    broken = [claim for claim, holds in claims.items() if not holds]
    if broken:
        raise BrokenClaim(f"the demo found its own claims untrue: {'; '.join(broken)} (files kept in {directory})")
    return Recording(directory, logger.session_id, events, files, key_request, written, dropped, redactions, key_found)
