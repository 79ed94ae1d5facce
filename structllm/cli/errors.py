"""`structllm errors`: which calls failed, and why."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import click

from structllm.cli.losses import Losses
from structllm.cli.output import UNNAMED, Column, emit, emit_json, emit_table
from structllm.cli.source import Source, reading
from structllm.console import escape
from structllm.figures import format_time


@dataclass(slots=True)
class Failures:
    """Failed calls of one type."""

    count: int = 0
    models: Counter[str] = field(default_factory=Counter[str])
    first: str = ""
    last: str = ""
    request_id: str = ""
    message: str = ""

    def add(self, event: Mapping[str, Any]) -> None:
        """Take a failed response; the latest is the example."""
        self.count += 1
        self.models[_text(event.get("model")) or _text(event.get("response_model")) or UNNAMED] += 1
        timestamp = _text(event.get("timestamp"))
        self.first = min(self.first or timestamp, timestamp)
        if timestamp >= self.last:
            self.last = timestamp
            self.request_id = _text(event.get("request_id"))
            self.message = _text(event.get("error_message"))


@click.command()
@click.option("--count", is_flag=True, help="Print only the number of failed calls.")
@reading
def errors(source: Source, count: bool, as_json: bool) -> None:
    """Failed calls by type of error, the most frequent first, each with its latest example.

    Counts the responses with "success": false; below them, what sinks dropped. Exits 0 whether or not there are any.
    """
    groups: dict[str, Failures] = {}
    losses = Losses()
    for event in source.events():
        if event["event_type"] == "log_gap" and source.wanted(event):
            losses.add(event)
        if event["event_type"] == "completion_response" and event.get("success") is False and source.wanted(event):
            kind = _text(event.get("error_type")) or _text(event.get("outcome")) or UNNAMED
            groups.setdefault(kind, Failures()).add(event)
    total = sum(group.count for group in groups.values())
    ranked = sorted(groups.items(), key=lambda item: (-item[1].count, item[0]))
    dropped = [f"{writer}: {sentence}" for writer, sentence in losses.sentences()]
    if as_json:
        by_type = {kind: _failure(group) for kind, group in ranked}
        emit_json(total if count else {"errors": total, "by_type": by_type, "dropped": dropped})
    elif count:
        emit(str(total))
    elif ranked:
        emit_table(_ERROR_COLUMNS, [_failure_row(kind, group) for kind, group in ranked])
    if not (as_json or count):
        for sentence in dropped:
            emit(escape(sentence))
    source.finish(total or dropped or count or as_json, "failed call")


_ERROR_COLUMNS = (
    Column("Error", style="red", least=16),
    Column("Count", right=True),
    Column("Models", least=8, rank=2),
    Column("Last", style="dim", rank=1),
    Column("Request", identity=True),
    Column("Message", least=24),
)


def _failure_row(kind: str, group: Failures) -> list[str]:
    models = ", ".join(model for model, _ in group.models.most_common(3)) + (", ..." if len(group.models) > 3 else "")
    message = group.message if group.message.strip() else "(no message)"
    return [kind, f"{group.count:,}", models, format_time(group.last), group.request_id, message]


def _failure(group: Failures) -> dict[str, Any]:
    return {
        "count": group.count,
        "models": dict(group.models.most_common()),
        "first_timestamp": group.first or None,
        "last_timestamp": group.last or None,
        "last_request_id": group.request_id or None,
        "last_message": group.message or None,
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
