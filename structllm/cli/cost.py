"""`structllm cost`: what the calls cost, and how much of that is known."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any

import click

from structllm.cli.output import UNNAMED, Column, emit, emit_json, emit_table, hint
from structllm.cli.source import Source, reading
from structllm.console import escape
from structllm.figures import counted
from structllm.query import Call, calls_of, causes_of, strategy_of
from structllm.totals import Totals, total_by

NONE = "(none)"
GROUPS = ("model", "day", "session", "symbol", "decision", "provider", "strategy", "outcome")


def _groups(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    unknown = [name for name in names if name not in GROUPS]
    if unknown or not names:
        raise click.BadParameter(f"{', '.join(unknown) or value!r} is none of {', '.join(GROUPS)}", ctx, param)
    return names


@click.command()
@click.option(
    "--by",
    default="model",
    show_default=True,
    callback=_groups,
    metavar="NAME,...",
    help=f"What to add up by: {', '.join(GROUPS)}; several give a row for each combination.",
)
@reading
def cost(source: Source, by: Sequence[str], as_json: bool) -> None:
    """What the calls cost, in US dollars.

    A call without a known price is shown as - and never counted as $0: the total then says "at least". Failed and
    cancelled calls and every try of a repeated one count what they were billed; answers from a cache cost nothing. A
    call that led to several decisions is in the row of each, and once in the total. Where `structllm reprice` has
    corrected a cost, the correction counts.
    """
    decisions = Decisions()
    watch = decisions.add if {"decision", "symbol", "strategy"} & set(by) else None
    calls: Iterable[Call] = (
        call
        for call in calls_of(source.events(), datetime.now(UTC), watch, source.corrections())
        if source.wanted.call(call)
    )
    if watch is not None:
        calls = list(calls)  # decisions come after the calls that led to them
    groups, whole = total_by(calls, lambda call: list(product(*(_KEYS[name](call, decisions) for name in by))))
    groups = {key: totals for key, totals in groups.items() if totals.calls}
    ranked = sorted(groups.items(), key=(lambda item: item[0]) if "day" in by else _dearest_first)
    if as_json:
        rows = [{**dict(zip(by, key, strict=True)), **_numbers(totals)} for key, totals in ranked]
        emit_json({"by": list(by), "rows": rows, "total": _numbers(whole)})
    elif whole.calls:
        _emit(by, ranked, whole)
    source.finish(whole.calls, "finished call")


class Decisions:
    """Which decisions a request led to, about what symbol and by which strategy."""

    def __init__(self) -> None:
        self._by_request: dict[str, list[tuple[str, str | None, str | None]]] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Take an event; only decisions matter."""
        decision_id, symbol = event.get("decision_id"), event.get("symbol")
        if event["event_type"] == "trading_decision" and isinstance(decision_id, str):
            for request_id in causes_of(event):
                known = (decision_id, symbol if isinstance(symbol, str) else None, strategy_of(event))
                self._by_request.setdefault(request_id, []).append(known)

    def ids(self, request_id: str) -> list[str]:
        """Return the decisions that a request led to."""
        return list(dict.fromkeys(decision_id for decision_id, *_ in self._by_request.get(request_id, ())))

    def symbol(self, request_id: str) -> str | None:
        """Return what the first of them that says so was about."""
        return next((symbol for _, symbol, _ in self._by_request.get(request_id, ()) if symbol), None)

    def strategy(self, request_id: str) -> str | None:
        """Return the strategy of the first of them that names one."""
        return next((strategy for *_, strategy in self._by_request.get(request_id, ()) if strategy), None)


_KEYS: Mapping[str, Callable[[Call, Decisions], Sequence[str]]] = {
    "model": lambda call, _: [call.model or UNNAMED],
    "day": lambda call, _: [(call.started or call.ended or UNNAMED)[:10]],
    "session": lambda call, _: [call.session_id or UNNAMED],
    "symbol": lambda call, decisions: [call.symbol or decisions.symbol(call.request_id) or NONE],
    "strategy": lambda call, decisions: [call.strategy or decisions.strategy(call.request_id) or NONE],
    "decision": lambda call, decisions: decisions.ids(call.request_id) or [NONE],
    "outcome": lambda call, _: [call.outcome],
    "provider": lambda call, _: [call.provider or UNNAMED],
}


def _dearest_first(item: tuple[tuple[str, ...], Totals]) -> tuple[Any, ...]:
    key, totals = item
    return -totals.at_least_usd, -totals.calls, key


def _emit(by: Sequence[str], ranked: Sequence[tuple[tuple[str, ...], Totals]], whole: Totals) -> None:
    named = (Column(name.capitalize(), style="bold", identity=name in ("session", "decision")) for name in by)
    columns = [*named, *_COLUMNS]
    rows = [[*key, *_cells(totals, ">= ")] for key, totals in ranked]
    emit_table(columns, rows, total=["Total", *[""] * (len(by) - 1), *_cells(whole, "at least ")])
    if whole.unpriced_calls:
        reasons = ", ".join(f"{count:,} {_reason(status)}" for status, count in whole.unpriced.most_common())
        verb = "has" if whole.unpriced_calls == 1 else "have"
        emit("")
        emit(escape(f"{whole.unpriced_calls:,} of {whole.calls:,} calls {verb} no known price: {reasons}."))
    if whole.pending or whole.orphaned:
        hint(f"{counted(whole.pending + whole.orphaned, 'request')} without a response not counted")


_REASONS = {
    "no_usage": "reported no usage",
    "no_split": "reported only a total of tokens",
    "bad_usage": "reported usage that cannot be right",
    "unknown_model": "of a model that is not in the price list",
    "partial": "priced in part",
    "no cost recorded": "have none recorded",
}

_COLUMNS = (
    Column("Calls", right=True),
    Column("Prompt", right=True, rank=1),
    Column("Completion", right=True, rank=2),
    Column("Tokens", right=True),
    Column("Cost", right=True, style="yellow"),
    Column("Unpriced", right=True, rank=3),
)


def _reason(status: str) -> str:
    return _REASONS.get(status, f"with the status {status}")


def _cells(totals: Totals, bound: str) -> list[str]:
    return [
        f"{totals.calls:,}",
        f"{totals.prompt_tokens:,}",
        f"{totals.completion_tokens:,}",
        f"{totals.total_tokens:,}",
        totals.cost_text(bound),
        f"{totals.unpriced_calls:,}" if totals.unpriced_calls else "-",
    ]


def _numbers(totals: Totals) -> dict[str, Any]:
    return {
        "calls": totals.calls,
        "prompt_tokens": totals.prompt_tokens,
        "completion_tokens": totals.completion_tokens,
        "total_tokens": totals.total_tokens,
        "cost_usd": None if totals.cost_usd is None else float(totals.cost_usd),
        "unpriced_calls": totals.unpriced_calls,
        "unpriced_by_status": dict(totals.unpriced.most_common()),
    }
