"""`structllm sessions`: one row for each session."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import click

from structllm.cli.output import UNNAMED, Column, emit_json, emit_table
from structllm.cli.source import Source, reading
from structllm.figures import format_age, format_time
from structllm.query import calls_of, parse_timestamp
from structllm.totals import Totals


@dataclass(slots=True)
class Session:
    """What happened in one session."""

    totals: Totals = field(default_factory=Totals)
    decisions: int = 0
    events: int = 0
    service: str = ""
    first: str = ""
    last: str = ""

    def add(self, event: Mapping[str, Any]) -> None:
        """Take any event of the session; calls are added to `totals` when they are complete."""
        timestamp = _text(event.get("timestamp"))
        self.first = min(self.first or timestamp, timestamp or self.first)
        self.last = max(self.last, timestamp)
        self.events += 1
        self.decisions += event["event_type"] == "trading_decision"
        self.service = _text(event.get("service")) or self.service

    @property
    def seconds(self) -> float:
        """Time from the first event to the last."""
        first, last = parse_timestamp(self.first), parse_timestamp(self.last)
        return (last - first).total_seconds() if first and last else 0.0


@click.command()
@reading
def sessions(source: Source, as_json: bool) -> None:
    """The sessions, the oldest first, and what happened in them."""
    found: dict[str, Session] = {}

    def watch(event: Mapping[str, Any]) -> None:
        # A correction is written long after what it is about, and nothing happened then.
        if source.wanted(event) and event["event_type"] != "cost_correction":
            found.setdefault(_text(event.get("session_id")) or UNNAMED, Session()).add(event)

    for call in calls_of(source.events(), datetime.now(UTC), watch, source.corrections()):
        if source.wanted.call(call):
            found.setdefault(call.session_id or UNNAMED, Session()).totals.add(call)
    ordered = sorted(
        ((name, session) for name, session in found.items() if session.events), key=lambda item: item[1].first
    )
    if as_json:
        emit_json([_session(name, session) for name, session in ordered])
    elif ordered:
        emit_table(_SESSION_COLUMNS, [_session_row(name, session) for name, session in ordered])
    source.finish(ordered, "session")


_SESSION_COLUMNS = (
    Column("Session", style="bold", identity=True),
    Column("Service", least=8, rank=4),
    Column("Began", style="dim"),
    Column("Lasted", right=True, rank=1),
    Column("Calls", right=True),
    Column("Errors", right=True),
    Column("Open", right=True, rank=3),
    Column("Decisions", right=True, rank=2),
    Column("Tokens", right=True),
    Column("Cost", right=True, style="yellow"),
)


def _session_row(name: str, session: Session) -> list[str]:
    totals = session.totals
    return [
        name,
        session.service or "-",
        format_time(session.first),
        format_age(session.seconds),
        f"{totals.calls:,}",
        f"{totals.errors:,}",
        f"{totals.pending + totals.orphaned:,}",
        f"{session.decisions:,}",
        f"{totals.total_tokens:,}",
        totals.cost_text(),
    ]


def _session(name: str, session: Session) -> dict[str, Any]:
    totals = session.totals
    return {
        "session_id": name,
        "service": session.service or None,
        "first_timestamp": session.first or None,
        "last_timestamp": session.last or None,
        "calls": totals.calls,
        "errors": totals.errors,
        "pending": totals.pending,
        "orphaned": totals.orphaned,
        "decisions": session.decisions,
        "total_tokens": totals.total_tokens,
        "cost_usd": None if totals.cost_usd is None else float(totals.cost_usd),
        "unpriced_calls": totals.unpriced_calls,
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
