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
from typing import Any

from structllm import create_llm_logger
from structllm._types import Processor, Record
from structllm.agent import LLMAgent
from structllm.demo.market import MarketSnapshot
from structllm.errors import StructllmError
from structllm.pricing import Cost, GenaiPrices, PriceSource
from structllm.processors.price import Price
from structllm.segment import ReadReport, read
from structllm.settings import LLMSettings
from structllm.usage import Usage

MAX_BYTES = 65_536
"""Small on purpose, so that a demo of a few seconds rotates its files."""

BACKUP_COUNT = 1000
"""Large on purpose: the demo claims to read back everything it wrote."""

PREVIEW_CHARS = 2000
"""Long enough for the whole prompt, so that the redacted key can be seen in its place."""

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
        source: The price list.
    """

    def __init__(self, name: str, source: PriceSource) -> None:
        provider, colon, model = name.partition(":")
        self._provider, self._model = (provider, model) if colon else (None, name)
        self._flag = f"billed_as:{name}"
        self._source = source

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
        show: Called with the event.
    """

    def __init__(self, show: Callable[[Mapping[str, Any]], None]) -> None:
        self._show = show

    def write(self, batch: Sequence[Record], /) -> None:
        """Show the records."""
        for record in batch:
            self._show(record.event)

    def flush(self, timeout_s: float, /) -> bool:
        """Return True: nothing is kept back."""
        return True

    def close(self) -> None:
        """Nothing to release."""


@dataclass(frozen=True)
class Recording:
    """What a session left behind, and what was verified about it.

    Attributes:
        directory: Where the files are.
        session_id: The session of the events.
        events: Every event, as read back from the files, by time.
        files: The files, live and rotated.
        planted_key: How often the fake key was put into a prompt.
        duration_s: Seconds from the first to the last event.
    """

    directory: Path
    session_id: str
    events: list[dict[str, Any]]
    files: list[Path]
    planted_key: int
    duration_s: float


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


async def record(
    model: Any,
    states: Sequence[MarketSnapshot],
    directory: Path,
    *,
    billed_as: str | None,
    simulated: bool,
    show: Callable[[Mapping[str, Any]], None],
    advance: Callable[[], None],
) -> Recording:
    """Let an agent decide about every state, log it below `directory`, and check what was written.

    Args:
        model: The LangChain chat model to ask.
        states: What the agent is shown, in order.
        directory: Empty; gets `llm_completions/` and `trading_decisions/`.
        billed_as: `provider:model` whose prices the calls are given; None for those of the model itself.
        simulated: Marks every event with `simulated: true`.
        show: Called with every event.
        advance: Called after every decision.

    Raises:
        BrokenClaim: What was read back is not what was written.
    """
    key = fake_key()
    own: list[Processor] = [Price(BilledAs(billed_as, GenaiPrices()))] if billed_as is not None else []
    logger = create_llm_logger(
        settings=_settings(directory), sinks=[*_file_sinks(directory), LineSink(show)], processors=own
    )
    with closing(logger):
        agent = LLMAgent(
            model,
            logger=logger.bind(simulated=True) if simulated else logger,
            timeout_s=DEMO_MODEL_TIMEOUT_S if simulated else PROVIDER_TIMEOUT_S,
        )
        plant_at = min(2, len(states) - 1)
        for number, state in enumerate(states):
            await agent.analyze_market(_as_market_state(state, key if number == plant_at else None))
            advance()
        logger.log_performance_metrics()
        logger.flush()
    return _verified(directory, logger.session_id, logger.stats(), key)


def _settings(directory: Path) -> LLMSettings:
    """Return settings that no variable or file of the user changes: the demo is the same everywhere."""
    return LLMSettings(
        completion_log_file=directory / "llm_completions" / "completions.log",
        log_prompt_preview_length=PREVIEW_CHARS,
        service="structllm-demo",
    )


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
        market["operator_note"] = f"if the feed stalls, restart it with OPENAI_API_KEY={key} and carry on"
    return market


def _verified(directory: Path, session_id: str, stats: Mapping[str, Any], key: str) -> Recording:
    """Read the files back and hold them against the logger's own account."""
    report = ReadReport()
    events = [entry.event for entry in read([directory], report)]
    files = sorted(path for path in directory.rglob("*.log*") if not path.name.startswith("."))
    written = sum(stats["sinks"][name]["delivered"] for name in ("completions", "decisions"))
    numbers = sorted(event["seq"] for event in events)
    claims = {
        f"{written} events written, {len(events)} read back": written == len(events) > 0,
        "no gap in the numbering": numbers == list(range(1, len(numbers) + 1)),
        "nothing skipped while reading": not report.hints() and not report.unfinished,
        "nothing dropped": not any(sink["dropped"] or sink["pending"] for sink in stats["sinks"].values()),
        "no processor failed": not stats["processor_errors"],
        "the planted key is in no file": not any(key.encode() in path.read_bytes() for path in files),
        "its redaction is on record": any("redactions" in event for event in events),
    }
    broken = [claim for claim, holds in claims.items() if not holds]
    if broken:
        raise BrokenClaim(f"the demo found its own claims untrue: {'; '.join(broken)} (files kept in {directory})")
    times = [datetime.fromisoformat(event["timestamp"]) for event in events]
    duration_s = (max(times) - min(times)).total_seconds()
    return Recording(directory, session_id, events, files, planted_key=1, duration_s=duration_s)
