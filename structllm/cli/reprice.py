"""`structllm reprice`: what the calls would cost by today's price list, and corrections beside the log.

Pricing brings the price list and the settings with it, so they are imported by the functions that need them.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from structllm.cli.keys import Keys, key_option
from structllm.cli.output import UNNAMED, Column, Failure, emit, emit_json, emit_table, hint
from structllm.cli.source import CORRECTIONS_NAME, Source, reading
from structllm.errors import SinkError
from structllm.figures import counted, format_usd
from structllm.query import Call, calls_of
from structllm.totals import Totals

if TYPE_CHECKING:
    from structllm.reprice import CorrectionWriter, Repriced


@dataclass(slots=True)
class Difference:
    """What a group of calls cost so far, and what it costs by the present list."""

    before: Totals = field(default_factory=Totals)
    after: Totals = field(default_factory=Totals)
    changes: Counter[str] = field(default_factory=Counter[str])

    @property
    def corrections(self) -> int:
        """How many calls cost something else now, or have a cost for the first time."""
        return self.changes["changed"] + self.changes["priced"]

    @property
    def usd(self) -> Decimal:
        """How much more is known to be due now."""
        return self.after.at_least_usd - self.before.at_least_usd


@dataclass(slots=True)
class Report:
    """The differences by model, and of all."""

    by_model: dict[str, Difference] = field(default_factory=dict[str, Difference])
    whole: Difference = field(default_factory=Difference)
    written: int = 0

    @property
    def corrections(self) -> int:
        """How many there are to write."""
        return self.whole.corrections

    def add(self, repriced: "Repriced") -> None:
        """Add a call. After this, the call counts as corrected."""
        own = self.by_model.setdefault(repriced.call.model or UNNAMED, Difference())
        for difference in (own, self.whole):
            difference.before.add(repriced.call)
            difference.changes[repriced.change] += 1
        after = repriced.after()
        for difference in (own, self.whole):
            difference.after.add(after)


@click.command()
@click.option("--write", is_flag=True, help="Write a cost_correction event for every call whose cost changes.")
@click.option(
    "--to",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help=f"Where to write them.  [default: {CORRECTIONS_NAME} beside the log]",
)
@key_option
@reading
def reprice(source: Source, write: bool, target: Path | None, hmac_key_env: str | None, as_json: bool) -> None:
    """Price finished calls again, each at its own time, by today's list and settings.

    Shows what would change; `--write` writes it, as new events beside the log, which is never edited. All commands that
    read the log then take the newest correction of a call. They are sealed, with the key of the log beside them where
    it has one, so that `structllm verify` proves them too. Costs that came from the caller or the provider are left
    alone, as are answers from a cache. A price that the list no longer has is kept.
    """
    from structllm.cli.prices import present_prices
    from structllm.reprice import reprice as priced_again

    destination = _destination(source, target) if write else None
    key = None if destination is None else Keys(hmac_key_env).of(str(destination))
    if target is not None and not write:
        hint("nothing is written without --write")
    report = Report()
    try:
        with _writer(destination, key) as writer:
            for repriced in priced_again(_calls(source), present_prices()):
                if writer is not None and repriced.corrects:
                    writer.add(repriced)
                report.add(repriced)
        report.written = 0 if writer is None else writer.written
    except SinkError as error:
        raise Failure(f"cannot write {destination}: {error}") from None
    if as_json:
        emit_json(_as_json(report, destination))
    elif report.whole.after.calls:
        _emit(report)
    _say_what_was_written(report, source, destination)
    source.finish(report.whole.after.calls, "finished call")


def _calls(source: Source) -> Iterator[Call]:
    from structllm.reprice import KEPT_FIELDS

    found = calls_of(source.events(), datetime.now(UTC), None, source.corrections(), keep=KEPT_FIELDS)
    return (call for call in found if source.wanted.call(call))


def _writer(destination: Path | None, key: bytes | None) -> AbstractContextManager["CorrectionWriter | None"]:
    from structllm.reprice import CorrectionWriter

    return nullcontext() if destination is None else CorrectionWriter(destination, key)


def _destination(source: Source, target: Path | None) -> Path:
    """Return the file to write to; where it exists and lies apart from the log, it is read with the log from now on."""
    if target is not None:
        if target.is_file() and not _is_read(source, target):
            source.local.append(str(target))
        return target
    if source.read_once:
        raise Failure("only files have a place beside them; say where the corrections go: --to FILE")
    places = {os.path.dirname(log.live) for log in source.logs() if os.path.basename(log.live) != CORRECTIONS_NAME}
    if len(places) == 1:
        return Path(*places, CORRECTIONS_NAME)
    if len(source.paths) == 1:
        return Path(source.paths[0], CORRECTIONS_NAME)  # of a directory whose logs lie in directories of their own
    raise Failure("the logs lie in several directories; say where the corrections go: --to FILE")


def _is_read(source: Source, path: Path) -> bool:
    files = (file for log in source.logs() for file in log.files)
    return os.path.realpath(path) in map(os.path.realpath, files)


def _say_what_was_written(report: Report, source: Source, destination: Path | None) -> None:
    due = counted(report.corrections, "correction")
    if destination is None:
        if report.corrections:
            hint(f"nothing was written; --write writes {due}")
    elif not report.written:
        hint("there is nothing to correct; nothing was written")
    else:
        hint(f"wrote {due} to {destination}")
        if not _is_read(Source(source.paths, source.wanted), destination):
            hint(f"name {destination} together with the log where it is to count")


def _emit(report: Report) -> None:
    ranked = sorted(report.by_model.items(), key=lambda item: (-abs(item[1].usd), -item[1].after.at_least_usd, item[0]))
    emit_table(
        _COLUMNS,
        [[name, *_cells(difference, ">= ")] for name, difference in ranked],
        total=["Total", *_cells(report.whole, "at least ")],
    )
    changes, after = report.whole.changes, report.whole.after
    priced, vanished, left = (changes[name] for name in ("priced", "vanished", "left"))
    notes = [
        f"{counted(priced, 'call')} had no known price and {_have(priced)} one now." if priced else "",
        f"{counted(vanished, 'call')} {_have(vanished)} a price that the present list does not know; it is kept."
        if vanished
        else "",
        f"The cost of {counted(left, 'call')} is left alone: not of a price list, or its counts are not in the log."
        if left
        else "",
        f"{after.unpriced_calls:,} of {after.calls:,} calls {_have(after.unpriced_calls)} no known price."
        if after.unpriced_calls
        else "",
    ]
    if any(notes):
        emit("")
    for note in filter(None, notes):
        emit(note)


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


_COLUMNS = (
    Column("Model", style="bold"),
    Column("Calls", right=True),
    Column("Changed", right=True),
    Column("Before", right=True),
    Column("After", right=True, style="yellow"),
    Column("Difference", right=True),
)


def _cells(difference: Difference, bound: str) -> list[str]:
    known = difference.after.cost_usd is not None
    more = "+" if difference.usd > 0 else ""
    return [
        f"{difference.after.calls:,}",
        f"{difference.corrections:,}",
        difference.before.cost_text(bound),
        difference.after.cost_text(bound),
        f"{more}{format_usd(difference.usd)}" if known else "-",
    ]


def _as_json(report: Report, destination: Path | None) -> dict[str, Any]:
    return {
        "rows": [{"model": name, **_numbers(difference)} for name, difference in sorted(report.by_model.items())],
        "total": _numbers(report.whole),
        "written": report.written,
        "to": str(destination) if report.written else None,
    }


def _numbers(difference: Difference) -> dict[str, Any]:
    before, after = difference.before, difference.after
    return {
        "calls": after.calls,
        "corrections": difference.corrections,
        "cost_usd_before": None if before.cost_usd is None else float(before.cost_usd),
        "cost_usd_after": None if after.cost_usd is None else float(after.cost_usd),
        "difference_usd": float(difference.usd),
        "unpriced_calls_before": before.unpriced_calls,
        "unpriced_calls_after": after.unpriced_calls,
        "newly_priced": difference.changes["priced"],
        "vanished": difference.changes["vanished"],
        "left_alone": difference.changes["left"],
    }
