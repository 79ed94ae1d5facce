"""A user's code against the public API. It is never run: mypy and pyright, both strict, have to accept it.

A change here that is needed to keep it accepted is a change of the API for everybody.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, assert_type

from structlog.typing import EventDict, WrappedLogger

import structllm
from structllm import (
    ChatCompletionLogger,
    ConfigError,
    FileSink,
    LangChainCallbackHandler,
    LLMAgent,
    LLMSettings,
    MarketState,
    MemorySink,
    MissingExtra,
    Processor,
    Record,
    Sink,
    StdoutSink,
    StructllmError,
    TradeAction,
    create_langchain_callback,
    create_llm_logger,
    load_settings,
    redact_value,
    wrap,
)
from structllm.langchain import instrument, uninstrument
from structllm.processors.redact import Redact


class ListSink:
    """A sink of the user's own: it satisfies the Protocol without inheriting anything."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, batch: Sequence[Record], /) -> None:
        """Keep the lines."""
        self.lines += [record.line for record in batch]

    def flush(self, timeout_s: float, /) -> bool:
        """Nothing waits."""
        return True

    def close(self) -> None:
        """Nothing to release."""


def shout(logger: WrappedLogger, method_name: str, event_dict: EventDict) -> EventDict:
    """A processor of the user's own, with structlog's types."""
    return {**event_dict, "shouted": True}


def build() -> Iterator[ChatCompletionLogger]:
    """Every way to get a logger."""
    yield create_llm_logger()
    yield create_llm_logger("DEBUG", "logs/llm_completions.log")
    yield create_llm_logger(log_level="INFO", log_file=Path("logs") / "llm_completions.log")
    yield create_llm_logger(settings=load_settings("structllm.json"), session_id="abc12345")
    yield create_llm_logger(
        sinks=[ListSink(), MemorySink(), "stdout:?format=console", {"type": "file", "path": "x.log"}]
    )
    yield create_llm_logger(settings=LLMSettings(sinks=["stdout:"], log_prompt_preview_length=0))
    numbers = itertools.count(1)
    yield create_llm_logger(
        clock=lambda: datetime.now(UTC), ids=lambda kind: f"{kind}_{next(numbers)}", processors=[shout]
    )


def settings() -> LLMSettings:
    """Settings from everywhere, and their errors."""
    try:
        loaded = load_settings(Path("structllm.toml"), env_file=".env", service="bot", sinks=["stdout:"])
    except ConfigError as error:
        assert_type(error.problems, tuple[str, ...])
        loaded = LLMSettings(model="openai:gpt-4o-mini", redaction={"packs": ["credentials"]})
    assert_type(loaded.log_prompt_preview_length, int)
    assert_type(loaded.completion_log_file, Path)
    return loaded


def log_completion(logger: ChatCompletionLogger) -> str:
    """A request, its response, the decision and what came of it."""
    request_id = logger.log_completion_request(
        prompt=[{"role": "user", "content": "Up or down?"}],
        model="o3-mini",
        temperature=0.1,
        max_tokens=1000,
        market_context={"symbol": "BTC-USD", "current_price": 45230.5},
        provider="openai",
        request_id="req_mine",
        timestamp=datetime.now(UTC),
        strategy="momentum",
    )
    assert_type(request_id, str)
    logger.log_completion_response(
        request_id=request_id,
        response={"action": "LONG"},
        response_time=1.5,
        token_usage={"prompt_tokens": 150, "completion_tokens": 75},
        success=True,
        error=None,
        service_tier="flex",
    )
    logger.log_completion_response(request_id, error=TimeoutError("too late"), outcome="cancelled")
    decision_id = logger.log_trading_decision(
        request_id=request_id,
        action="LONG",
        size_pct=15.0,
        rationale="Momentum.",
        symbol="BTC-USD",
        current_price=45230.5,
        validation_result="PASSED",
        risk_assessment="APPROVED",
        indicators={"rsi": 62.5},
        caused_by=[request_id],
        desk="crypto",
    )
    assert_type(decision_id, str)
    logger.log_decision_outcome(decision_id, kind="fill", value={"price": 45231.0}, idempotency_key="order-17")
    logger.log_run(kind="tool", name="search", run_id="run_1", parent_run_id=None, duration_ms=12.5, success=True)
    return decision_id


def ask(question: str) -> dict[str, int]:
    """Somebody's client."""
    return {question: 1}


def complete(logger: ChatCompletionLogger) -> None:
    """The context manager hands the answer through with its type."""
    with logger.completion(prompt="Up or down?", model="o3-mini", temperature=0.1) as call:
        assert_type(call.request_id, str)
        assert_type(call.response(ask("Up or down?")), dict[str, int])


async def complete_in_a_task(logger: ChatCompletionLogger) -> None:
    """The same, asynchronously."""
    async with logger.completion(prompt="Up or down?", model="o3-mini") as call:
        assert_type(call.response("Up."), str)


def context(logger: ChatCompletionLogger) -> ChatCompletionLogger:
    """Context for a block, for a thread, and for a child logger."""
    with structllm.bind_session("abc12345"), structllm.bind_market(symbol="BTC-USD", rsi=62.5):
        with structllm.bind_context(strategy="momentum"):
            log_completion(logger)
        in_a_thread = structllm.wrap_context(ask)
        assert_type(in_a_thread("Up?"), dict[str, int])
    return logger.bind(strategy="momentum").bind(desk="crypto")


def look(logger: ChatCompletionLogger) -> float:
    """Metrics, counters and the end."""
    metrics: Mapping[str, Any] = logger.log_performance_metrics()
    assert_type(logger.get_metrics(), dict[str, Any])
    assert_type(logger.stats(), dict[str, Any])
    assert_type(logger.session_id, str)
    assert_type(logger.settings, LLMSettings)
    assert_type(logger.flush(timeout_s=5.0), bool)
    logger.close()
    return float(metrics["total_cost_estimate_usd"])


async def langchain(logger: ChatCompletionLogger) -> None:
    """The handler, for one call or for all."""
    handler = create_langchain_callback(logger)
    assert_type(handler, LangChainCallbackHandler)
    instrument(logger)
    uninstrument()


class Client:
    """Any client: a wrapped one keeps its type."""


def clients(logger: ChatCompletionLogger, token: str) -> Client:
    """A client of a provider, and a value that is never written."""
    redact_value(token)
    wrapped = wrap(Client(), logger, include_usage=True)
    assert_type(wrapped, Client)
    return wrapped


async def agent(logger: ChatCompletionLogger, model: Any) -> TradeAction:
    """The agent, with and without arguments."""
    LLMAgent()
    trader = LLMAgent(model, logger=logger, timeout_s=10.0)
    assert_type(trader.get_status(), dict[str, Any])
    action = await trader.analyze_market(MarketState(symbol="BTC-USD", current_price=45230.5, indicators={"rsi": 62.5}))
    assert_type(action, TradeAction)
    assert_type(action.size_pct, float)
    return await trader.analyze_market({"symbol": "BTC-USD", "current_price": 45230.5})


def sinks_alone(records: Sequence[Record]) -> bool:
    """Sinks are of one kind and work without a logger."""
    kinds: list[Sink] = [FileSink("logs/llm.jsonl"), StdoutSink(format="console"), MemorySink(), ListSink()]
    for sink in kinds:
        sink.write(records)
    return all(sink.flush(1.0) for sink in kinds)


def processors_alone() -> list[Processor]:
    """Processors fit a structlog chain of the user's own."""
    return [Redact(), shout]


def errors() -> tuple[type[StructllmError], ...]:
    """Everything that is raised has one root."""
    return (ConfigError, MissingExtra)
