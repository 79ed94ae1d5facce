"""`structllm decisions` and `structllm sessions`: one row for each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import click

from structllm.cli.output import UNNAMED, Column, emit_json, emit_table
from structllm.cli.source import Source, reading
from structllm.figures import format_age, format_count, format_time, format_usd, number
from structllm.query import Calls, as_usd, calls_of, causes_of, parse_timestamp
from structllm.totals import Totals


class CallCosts:
    """What each finished call cost, by request id."""

    def __init__(self) -> None:
        self._calls = Calls()
        self._costs: dict[str, Decimal | None] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Take an event."""
        if event["event_type"] == "completion_response" and isinstance(event.get("request_id"), str):
            self._costs[event["request_id"]] = as_usd(event.get("cost_estimate_usd"))

    def of(self, decision: Mapping[str, Any]) -> Decimal | None:
        """Return what a decision's causes cost together; None where that is not known.

        Where a cause is no longer in the log, the sum that was written with the decision counts.
        """
        causes = causes_of(decision)
        if not causes or not all(cause in self._costs for cause in causes):
            return as_usd(decision.get("cost_usd"))
        costs = [self._costs[cause] for cause in causes]
        return None if None in costs else sum((cost for cost in costs if cost is not None), Decimal())


@click.command()
@reading
def decisions(source: Source, as_json: bool) -> None:
    """The decisions, the oldest first, and what the calls that led to them cost."""
    costs = CallCosts()
    found: list[Mapping[str, Any]] = []
    outcomes: dict[str, dict[object, str]] = {}
    for event in source.events():
        costs.add(event)
        if event["event_type"] == "trading_decision" and source.wanted(event):
            found.append(event)
        elif event["event_type"] == "decision_outcome" and isinstance(event.get("decision_id"), str):
            # The same idempotency key twice is one outcome.
            key = event.get("idempotency_key") or (event.get("writer"), event.get("seq"), len(outcomes))
            outcomes.setdefault(event["decision_id"], {})[key] = str(event.get("kind"))
    if as_json:
        emit_json([_decision(event, costs, outcomes) for event in found])
    elif found:
        emit_table(_DECISION_COLUMNS, [_decision_row(event, costs, outcomes) for event in found])
    source.finish(found, "decision")
