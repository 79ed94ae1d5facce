"""`structllm decisions`: what was decided, on whose advice, at what cost, and with what outcome."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import click

from structllm.cli.output import UNNAMED, Column, emit_json, emit_table
from structllm.cli.source import Source, reading
from structllm.console import one_line, shorten
from structllm.figures import format_time, format_usd, number
from structllm.query import Corrections, as_usd, billed_usd, causes_of


class Spent(NamedTuple):
    """What is known of the cost of a decision (None: nothing), and how many of its calls that leaves out."""

    known_usd: Decimal | None
    unpriced_calls: int

    @property
    def cost_usd(self) -> Decimal | None:
        """The whole cost, where it is known."""
        return None if self.unpriced_calls else self.known_usd

    @property
    def text(self) -> str:
        """The cost for people: with `>=` where calls have no known price, `-` where none has."""
        bound = ">= " if self.unpriced_calls and self.known_usd is not None else ""
        return f"{bound}{format_usd(self.known_usd)}"


class Causes:
    """What the table of decisions needs of the calls: which model, and what it cost, by request id."""

    def __init__(self) -> None:
        self._costs: dict[str, Decimal | None] = {}
        self._models: dict[str, str] = {}
        self._corrections = Corrections()

    def add(self, event: Mapping[str, Any]) -> None:
        """Take an event."""
        self._corrections.add(event)
        request_id, model = event.get("request_id"), event.get("model")
        if not event["event_type"].startswith("completion_") or not isinstance(request_id, str):
            return
        if isinstance(model, str):
            self._models[request_id] = model
        if event["event_type"] == "completion_response":
            self._costs[request_id] = billed_usd(event)

    def spent(self, decision: Mapping[str, Any]) -> Spent:
        """Return what a decision's causes cost together.

        Where a cause is no longer in the log, the sum that was written with the decision counts.
        """
        causes = causes_of(decision)
        if not causes or not all(cause in self._costs for cause in causes):
            unpriced = number(decision.get("unpriced_calls"))
            return Spent(as_usd(decision.get("cost_usd")), int(unpriced) if unpriced is not None else 0)
        costs = [self._cost(cause) for cause in causes]
        known = [cost for cost in costs if cost is not None]
        return Spent(sum(known, Decimal()) if known else None, len(costs) - len(known))

    def _cost(self, cause: str) -> Decimal | None:
        correction = self._corrections.of(cause)
        return self._costs[cause] if correction is None else correction.cost_usd

    def models(self, decision: Mapping[str, Any]) -> list[str]:
        """Return the models that were asked, each once."""
        models = [self._models.get(cause) for cause in causes_of(decision)]
        return list(dict.fromkeys(model for model in models if model))


@click.command()
@reading
def decisions(source: Source, as_json: bool) -> None:
    """The decisions, the oldest first, and what the calls that led to them cost."""
    causes = Causes()
    found: list[Mapping[str, Any]] = []
    outcomes: dict[str, dict[str, str]] = {}
    for event in source.events():
        causes.add(event)
        decision_id = event.get("decision_id")
        if event["event_type"] == "trading_decision":
            if source.wanted.within(event.get("timestamp"), event.get("session_id")):
                found.append(event)
        elif event["event_type"] == "decision_outcome" and isinstance(decision_id, str):
            # The same idempotency key twice is one outcome.
            key = event.get("idempotency_key") or (event.get("writer"), event.get("seq"))
            outcomes.setdefault(decision_id, {})[str(key)] = _text(event.get("kind"))
    rows = [
        (event, causes, list(outcomes.get(_text(event.get("decision_id")), {}).values()))
        for event in found
        if source.wanted.of_model(*causes.models(event))
    ]
    if as_json:
        emit_json([_decision(*row) for row in rows])
    elif rows:
        emit_table(_DECISION_COLUMNS, [_decision_row(*row) for row in rows])
    source.finish(rows, "decision")


_DECISION_COLUMNS = (
    Column("Time", style="dim"),
    Column("Decision", identity=True),
    Column("Action", style="bold"),
    Column("Size", right=True),
    Column("Symbol", least=8),
    Column("Price", right=True, rank=5),
    Column("Validation", least=10, rank=1),
    Column("Model", least=8, rank=4),
    Column("Cost", right=True, style="yellow"),
    Column("Outcome", least=8, rank=3),
    Column("Why", least=18, rank=2),
)
_VERDICT_COLUMNS = 24
_WHY_COLUMNS = 60


def _decision_row(event: Mapping[str, Any], causes: Causes, outcomes: Sequence[str]) -> list[str]:
    size, price = number(event.get("size_pct")), number(event.get("current_price"))
    return [
        format_time(event.get("timestamp")),
        _text(event.get("decision_id")) or "-",
        _text(event.get("action")) or UNNAMED,
        "-" if size is None else f"{size:g}%",
        _text(event.get("symbol")) or "-",
        "-" if price is None else f"{price:,}",
        shorten(one_line(_text(event.get("validation_result"))), _VERDICT_COLUMNS) or "-",
        ", ".join(causes.models(event)) or "-",
        causes.spent(event).text,
        ", ".join(outcomes) or "-",
        shorten(one_line(_text(event.get("rationale"))), _WHY_COLUMNS),
    ]


def _decision(event: Mapping[str, Any], causes: Causes, outcomes: Sequence[str]) -> dict[str, Any]:
    spent = causes.spent(event)
    return {
        "decision_id": event.get("decision_id"),
        "timestamp": event.get("timestamp"),
        "session_id": event.get("session_id"),
        "action": event.get("action"),
        "size_pct": event.get("size_pct"),
        "symbol": event.get("symbol"),
        "current_price": event.get("current_price"),
        "validation_result": event.get("validation_result"),
        "risk_assessment": event.get("risk_assessment"),
        "rationale": event.get("rationale"),
        "caused_by": causes_of(event),
        "models": causes.models(event),
        "cost_usd": None if spent.cost_usd is None else float(spent.cost_usd),
        "known_cost_usd": None if spent.known_usd is None else float(spent.known_usd),
        "unpriced_calls": spent.unpriced_calls,
        "outcomes": list(outcomes),
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
