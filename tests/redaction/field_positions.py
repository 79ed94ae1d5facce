"""The positions of the logger in fields, ids, decisions and what is bound."""

import base64
import collections
import dataclasses
import enum
import json
import pathlib
import types
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import structlog
from pydantic import BaseModel, SecretStr

from structllm.processors.context import bind_context, bind_market, bind_session
from tests.redaction.planting import MODEL, Stage, position
from tests.redaction.positions import LOGGER, said

# ---- the logger: fields


class Colour(enum.Enum):
    """An enum whose value a test sets."""

    RED = "red"


class Row(NamedTuple):
    """A named tuple."""

    note: object


@dataclasses.dataclass
class Record:
    """A dataclass."""

    note: object


class Shown(BaseModel):
    """A pydantic model."""

    note: Any


def long_key(stage: Stage) -> object:
    """Return a mapping whose name is no text and so long that it is not written."""
    return {("z" * (170 - stage.kind.around.index("{}")), stage.text()): 1}


SHAPES: dict[str, Callable[[Stage], object]] = {
    "text": Stage.text,
    "mapping": Stage.mapping,
    "deep mapping": lambda stage: {"a": [{"b": ({"c": stage.mapping()},)}]},
    "key": lambda stage: {stage.text(): 1},
    "deep key": lambda stage: {"a": [{"b": {stage.text(): 1}}]},
    "key of bytes": lambda stage: {stage.text().encode(): 1},
    "key that is a tuple": lambda stage: {("BTC", stage.text()): 1},
    "set": lambda stage: {stage.text(), "BTC"},
    "frozenset": lambda stage: frozenset({stage.text()}),
    "list": lambda stage: [1, stage.text()],
    "tuple": lambda stage: ("BTC", stage.text()),
    "bytes": lambda stage: stage.text().encode(),
    "bytearray": lambda stage: bytearray(stage.text().encode()),
    "memoryview": lambda stage: memoryview(stage.text().encode()),
    "deque": lambda stage: collections.deque([stage.text()]),
    "read-only mapping": lambda stage: types.MappingProxyType(stage.mapping()),
    "ordered mapping": lambda stage: collections.OrderedDict(stage.mapping()),
    "view": lambda stage: {"a": stage.text()}.values(),
    "path": lambda stage: pathlib.PurePosixPath(stage.text()),
    "named tuple": lambda stage: Row(stage.mapping()),
    "dataclass": lambda stage: Record(stage.mapping()),
    "model": lambda stage: Shown(note=stage.mapping()),
    "exception": lambda stage: ValueError(stage.text()),
    "message": lambda stage: said(stage.text()),
    "pairs": lambda stage: list(stage.mapping().items()),
    "pairs of bytes": lambda stage: [(name.encode(), value.encode()) for name, value in stage.mapping().items()],
    "name and value": lambda stage: [{"name": name, "value": value} for name, value in stage.mapping().items()],
    "JSON": lambda stage: json.dumps(stage.mapping()),
    "JSON within JSON": lambda stage: json.dumps({"body": json.dumps(stage.mapping())}),
    "repr": lambda stage: repr(stage.mapping()),
    "repr of bytes": lambda stage: repr(b"\x00" + stage.text().encode() + b"\xff"),
    "query": lambda stage: "https://host.test/x?" + urlencode(stage.mapping()),
    "percent-encoded": lambda stage: quote(stage.text(), safe=""),
    "base64": lambda stage: base64.b64encode(f"It is so: {stage.text()}".encode()).decode(),
}
HIDDEN: dict[str, Callable[[Stage], object]] = {
    "SecretStr": lambda stage: SecretStr(stage.secret()),
    "unknown object": lambda stage: object.__new__(type("Client", (), {"key": stage.secret()})),
}


def field(name: str, build: Callable[[Stage], object], *, shown: bool = True) -> None:
    """Register a free field as a position."""

    def plant(stage: Stage) -> None:
        stage.request(note=build(stage))

    position(LOGGER, f"field: {name}", shown=shown)(plant)


def market(name: str, build: Callable[[Stage], object], *, shown: bool = True) -> None:
    """Register a value of the market context as a position."""

    def plant(stage: Stage) -> None:
        stage.request(market_context={"symbol": "BTC-USD", "news": build(stage)})

    position(LOGGER, f"market_context: {name}", shown=shown)(plant)


for shape, built in SHAPES.items():
    field(shape, built)
    market(shape, built)
field("key cut at its end", long_key, shown=False)
for shape, built in HIDDEN.items():
    field(shape, built, shown=False)
    market(shape, built, shown=False)


def argument(name: str, build: Callable[[Stage], object] = Stage.text) -> None:
    """Register a named argument of a request as a position."""

    def plant(stage: Stage) -> None:
        stage.request(**{name: build(stage)})

    position(LOGGER, f"request: {name}")(plant)


for name in (
    "model",
    "provider",
    "temperature",
    "max_tokens",
    "operation",
    "service",
    "redactions",
    "truncated_fields",
):
    argument(name)
for name in ("market_context", "headers", "metadata"):
    argument(name, Stage.mapping)
for name in ("tags", "tools"):
    argument(name, lambda stage: [stage.text()])
argument("url", lambda stage: "https://api.broker.test/v1/x?note=" + stage.text())


@position(LOGGER, "request: name of a field")
def _(stage: Stage) -> None:
    stage.request(**{stage.text(): 1})


@position(LOGGER, "field: item by its name")
def _(stage: Stage) -> None:
    stage.request(**stage.mapping())


def ending(name: str, build: Callable[[Stage], object] = Stage.text) -> None:
    """Register a named argument of a response as a position."""

    def plant(stage: Stage) -> None:
        stage.respond("Fine.", **{name: build(stage)})

    position(LOGGER, f"response: argument {name}")(plant)


for name in ("outcome", "service_tier", "finish_reason", "response_model", "price_model", "body"):
    ending(name)
for name in ("headers", "metadata", "request"):
    ending(name, Stage.mapping)
ending("token_usage", lambda stage: {"prompt_tokens": 5, "completion_tokens": 1, "extra": stage.mapping()})


@position(LOGGER, "error: type")
def _(stage: Stage) -> None:
    stage.respond(error="It failed.", error_type=stage.text())


@position(LOGGER, "request: model without a price")
def _(stage: Stage) -> None:
    request_id = stage.request(model=stage.text(), provider="broker")
    usage = {"prompt_tokens": 5, "completion_tokens": 1}
    stage.logger.log_completion_response(request_id, "Fine.", token_usage=usage)


@position(LOGGER, "request: long name of a model without a price")
def _(stage: Stage) -> None:
    name = "m" * (60 - stage.kind.around.index("{}")) + " " + stage.text()
    request_id = stage.request(model=name, provider="broker")
    usage = {"prompt_tokens": 5, "completion_tokens": 1}
    stage.logger.log_completion_response(request_id, "Fine.", token_usage=usage)


# ---- the logger: decisions, outcomes, runs


def decision(name: str, build: Callable[[Stage], object] = Stage.text) -> None:
    """Register an argument of a decision as a position."""

    def plant(stage: Stage) -> None:
        stage.logger.log_trading_decision(**{"action": "HOLD", name: build(stage)})

    position(LOGGER, f"decision: {name}")(plant)


for name in (
    "action",
    "rationale",
    "symbol",
    "validation_result",
    "risk_assessment",
    "size_pct",
    "current_price",
    "reasoning",
):
    decision(name)
decision("indicators", lambda stage: {"rsi": 5, **stage.mapping()})


@position(LOGGER, "decision: name of an indicator")
def _(stage: Stage) -> None:
    stage.logger.log_trading_decision(action="HOLD", indicators={stage.text(): 5})


def outcome(name: str, build: Callable[[Stage], object]) -> None:
    """Register an argument of an outcome as a position."""

    def plant(stage: Stage) -> None:
        stage.logger.log_decision_outcome("dec_1", **{"kind": "fill", name: build(stage)})

    position(LOGGER, f"outcome: {name}")(plant)


outcome("kind", Stage.text)
outcome("value", Stage.mapping)
outcome("note", Stage.text)


def run(name: str, build: Callable[[Stage], object]) -> None:
    """Register an argument of a step as a position."""

    def plant(stage: Stage) -> None:
        stage.logger.log_run(**{"kind": "tool", "name": "search", "run_id": "run_1", name: build(stage)})

    position(LOGGER, f"run: {name}")(plant)


run("kind", Stage.text)
run("name", Stage.text)
run("error_type", Stage.text)
run("tags", lambda stage: [stage.text()])
run("output", Stage.mapping)


# ---- ids, which are not scanned and therefore must be ids


def odd_id(name: str, plant: Callable[[Stage, object], object]) -> None:
    """Register what is no id, given as one."""
    position(LOGGER, f"id: {name}: mapping", shown=False)(lambda stage: _drop(plant(stage, stage.mapping())))
    position(LOGGER, f"id: {name}: list", shown=False)(lambda stage: _drop(plant(stage, [stage.text()])))
    position(LOGGER, f"id: {name}: sentence", shown=False)(
        lambda stage: _drop(plant(stage, "I said:\n" + stage.text()))
    )
    position(LOGGER, f"id: {name}: long text", shown=False)(
        lambda stage: _drop(plant(stage, "w" * 200 + stage.text() + "w" * 200))
    )


def _drop(_: object) -> None:
    return None


odd_id("request_id", lambda stage, odd: stage.request(request_id=odd))
odd_id("request_id of a response", lambda stage, odd: stage.logger.log_completion_response(odd, "Fine."))
odd_id("run_id", lambda stage, odd: stage.request(run_id=odd))
odd_id("parent_run_id", lambda stage, odd: stage.respond("Fine.", parent_run_id=odd))
odd_id("run_id of a step", lambda stage, odd: stage.logger.log_run(kind="tool", name="x", run_id=odd))
odd_id("caused_by", lambda stage, odd: stage.logger.log_trading_decision(action="HOLD", caused_by=[odd]))
odd_id("decision_id", lambda stage, odd: stage.logger.log_trading_decision(action="HOLD", decision_id=odd))
odd_id("decision_id of an outcome", lambda stage, odd: stage.logger.log_decision_outcome(odd, "fill"))
odd_id("idempotency_key", lambda stage, odd: stage.logger.log_decision_outcome("dec_1", "fill", 1, odd))
odd_id("session_id", lambda stage, odd: stage.request(session_id=odd))
odd_id("bound run_id", lambda stage, odd: stage.logger.bind(run_id=odd).log_completion_request("Hi.", MODEL))
odd_id("bound session", lambda stage, odd: stage.logger.bind(session_id=odd).log_completion_request("Hi.", MODEL))


@position(LOGGER, "id: session of the context", shown=False)
def _(stage: Stage) -> None:
    with bind_session(stage.mapping()):  # type: ignore[arg-type]  # the caller's slip
        stage.request()


@position(LOGGER, "id: hash of the context", shown=False)
def _(stage: Stage) -> None:
    with bind_context(hash=stage.text()):
        stage.request()


# ---- what is bound


@position("bind", "text")
def _(stage: Stage) -> None:
    stage.logger.bind(strategy=stage.text()).log_completion_request("Hi.", MODEL)


@position("bind", "mapping")
def _(stage: Stage) -> None:
    stage.logger.bind(config=stage.mapping()).log_trading_decision(action="HOLD")


@position("bind", "item by its name")
def _(stage: Stage) -> None:
    stage.logger.bind(**stage.mapping()).log_completion_request("Hi.", MODEL)


@position("bind", "market_context")
def _(stage: Stage) -> None:
    stage.logger.bind(market_context=stage.mapping()).log_completion_request("Hi.", MODEL)


@position("bind", "context")
def _(stage: Stage) -> None:
    with bind_context(strategy=stage.text(), config=stage.mapping()):
        stage.request()


@position("bind", "market")
def _(stage: Stage) -> None:
    with bind_market(symbol="BTC-USD", **stage.mapping()):
        stage.request()


@position("bind", "session")
def _(stage: Stage) -> None:
    with bind_session("morning", account=stage.mapping()):
        stage.request()


@position("bind", "contextvars of structlog")
def _(stage: Stage) -> None:
    with structlog.contextvars.bound_contextvars(user=stage.text()):
        stage.request()
