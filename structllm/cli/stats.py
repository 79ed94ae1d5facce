"""`structllm stats`: how the calls went."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import click

from structllm.cli.output import UNNAMED, Column, emit, emit_facts, emit_json, emit_table, wants_color
from structllm.cli.source import Source, reading
from structllm.figures import counted, format_age, format_count, format_duration, format_time
from structllm.query import calls_of, parse_timestamp
from structllm.totals import Totals, total_by


@dataclass(slots=True)
class Span:
    """What passes by while calls are counted: sessions, decisions, and the time from the first event to the last."""

    sessions: set[str] = field(default_factory=set[str])
    actions: Counter[str] = field(default_factory=Counter[str])
    first: str = ""
    last: str = ""

    def add(self, event: Mapping[str, Any]) -> None:
        """Take an event."""
        timestamp, session, action = event.get("timestamp"), event.get("session_id"), event.get("action")
        if isinstance(timestamp, str):
            self.first = min(self.first or timestamp, timestamp)
            self.last = max(self.last, timestamp)
        if isinstance(session, str):
            self.sessions.add(session)
        if event["event_type"] == "trading_decision":
            self.actions[action if isinstance(action, str) else UNNAMED] += 1

    @property
    def seconds(self) -> float:
        """Time from the first event to the last."""
        first, last = parse_timestamp(self.first), parse_timestamp(self.last)
        return (last - first).total_seconds() if first and last else 0.0


@click.command()
@reading
def stats(source: Source, as_json: bool) -> None:
    """Calls, errors, latency, tokens and cost, by model.

    Latencies are within 1 %. Tokens per second are tokens over the time that the calls took.
    """
    span = Span()
    wanted = source.wanted

    def watch(event: Mapping[str, Any]) -> None:
        # A correction is written long after what it is about, and nothing happened then.
        if wanted(event) and event["event_type"] != "cost_correction":
            span.add(event)

    found = calls_of(source.events(), datetime.now(UTC), watch, source.corrections())
    calls = (call for call in found if wanted.call(call))
    by_model, whole = total_by(calls, lambda call: [call.model or UNNAMED])
    by_model = {name: totals for name, totals in by_model.items() if totals.calls}
    if as_json:
        models = {name: _numbers(totals) for name, totals in by_model.items()}
        emit_json({**_numbers(whole), **_span_numbers(span), "by_model": models})
    elif source.report.events:
        emit_facts(_facts(whole, span), wants_color("auto"))
        if by_model:
            emit("")
            _emit_models(by_model)
    source.finish(whole.calls or whole.pending or whole.orphaned, "call")


def _facts(whole: Totals, span: Span) -> dict[str, str]:
    waiting = [f"{count} {name}" for count, name in ((whole.pending, "pending"), (whole.orphaned, "orphaned")) if count]
    actions = ", ".join(f"{count} {action}" for action, count in span.actions.most_common())
    return {
        "calls": ", ".join([f"{whole.calls:,}", f"{_rate(whole)} failed", *waiting]),
        "period": f"{format_time(span.first)} to {format_time(span.last)} ({format_age(span.seconds)})",
        "sessions": f"{len(span.sessions):,}",
        "latency": "  ".join(
            f"{name} {format_duration(whole.quantile_ms(q))}"
            for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        ),
        "tokens": f"{whole.total_tokens:,} ({whole.prompt_tokens:,} prompt, {whole.completion_tokens:,} completion)",
        "speed": "-" if whole.tokens_per_second is None else f"{whole.tokens_per_second:,.0f} tokens/s",
        "cost": _cost(whole),
        "decisions": f"{span.actions.total():,}" + (f": {actions}" if actions else ""),
    }


def _cost(totals: Totals) -> str:
    if not totals.unpriced_calls:
        return totals.cost_text()
    return f"{totals.cost_text('at least ')} ({counted(totals.unpriced_calls, 'call')} without a known price)"


def _rate(totals: Totals) -> str:
    return f"{totals.errors:,} ({totals.errors / totals.calls:.1%})" if totals.errors else "0"


def _emit_models(by_model: Mapping[str, Totals]) -> None:
    columns = [Column("Model", style="bold"), *(Column(title, right=True, rank=rank) for title, rank in _MODEL_COLUMNS)]
    rows = [
        [
            name,
            f"{totals.calls:,}",
            f"{totals.errors:,}",
            *(format_duration(totals.quantile_ms(q)) for q in (0.5, 0.95, 0.99)),
            f"{totals.total_tokens:,}",
            format_count(totals.tokens_per_second),
            totals.cost_text(),
        ]
        for name, totals in sorted(by_model.items(), key=lambda item: (-item[1].calls, item[0]))
    ]
    emit_table(columns, rows)


_MODEL_COLUMNS = (
    ("Calls", 0),
    ("Errors", 0),
    ("p50", 0),
    ("p95", 1),
    ("p99", 2),
    ("Tokens", 0),
    ("Tok/s", 3),
    ("Cost", 0),
)


def _numbers(totals: Totals) -> dict[str, Any]:
    return {
        "total_completions": totals.calls,
        "errors": totals.errors,
        "pending": totals.pending,
        "orphaned": totals.orphaned,
        "success_rate": round(1 - totals.errors / totals.calls, 6) if totals.calls else None,
        "p50_response_time_ms": totals.quantile_ms(0.5),
        "p95_response_time_ms": totals.quantile_ms(0.95),
        "p99_response_time_ms": totals.quantile_ms(0.99),
        "prompt_tokens": totals.prompt_tokens,
        "completion_tokens": totals.completion_tokens,
        "total_tokens": totals.total_tokens,
        "tokens_per_second": None if totals.tokens_per_second is None else round(totals.tokens_per_second, 1),
        "cost_usd": None if totals.cost_usd is None else float(totals.cost_usd),
        "unpriced_calls": totals.unpriced_calls,
    }


def _span_numbers(span: Span) -> dict[str, Any]:
    return {
        "first_timestamp": span.first or None,
        "last_timestamp": span.last or None,
        "sessions": len(span.sessions),
        "decisions": dict(span.actions.most_common()),
    }
