"""`structllm archive`: what an archive holds, whether it is whole, how it comes back, and what waits for it."""

import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from structllm.archive.listing import Hour, Row, by_hour, rows_of
from structllm.archive.reading import segments
from structllm.archive.restoring import FAILURES, Restored, restore
from structllm.cli.archives import archive_sinks, open_archives
from structllm.cli.output import Column, Failure, emit_facts, emit_json, emit_table, hint, wants_color
from structllm.cli.source import color_option, json_option, missing, moment
from structllm.cli.spools import Spool, spools_of
from structllm.cli.verify import check_stored, emit_rows, is_problem
from structllm.figures import counted, format_age

_ARCHIVES = click.argument("places", nargs=-1, metavar="[ARCHIVE]...", type=click.Path())
_SINCE = click.option(
    "--since", callback=moment, metavar="WHEN", help="Nothing before: 15m, 2h, 7d, 2024-01-15T10:30Z."
)
_UNTIL = click.option("--until", callback=moment, metavar="WHEN", help="Nothing after.")
_MOST_HINTS = 20


@click.group()
def archive() -> None:
    """The archive: what is there, whether whole, and back again.

    ARCHIVE is s3://BUCKET/PREFIX (with ?region=..&endpoint_url=..&profile=..) or a directory; without one it is each
    archive that the settings name.
    """


@archive.command(short_help="List the segments.")
@click.option("--hours", is_flag=True, help="One row for each hour in which segments were begun.")
@_SINCE
@_UNTIL
@json_option
@_ARCHIVES
def ls(places: Sequence[str], hours: bool, since: datetime | None, until: datetime | None, as_json: bool) -> None:
    """List the segments: records, bytes, and from when to when."""
    rows: list[Row | Hour] = []
    missing_objects = 0
    for found in open_archives(places):
        listed = rows_of(found.store, segments(found.store, since, until))
        missing_objects += sum(row.key is None for row in listed)
        rows += by_hour(listed) if hours else listed
    if as_json:
        emit_json([row._asdict() for row in rows])
    elif rows:
        columns = _HOURS if hours else _SEGMENTS
        emit_table(columns, [_cells(row) for row in rows], _total(rows))
    else:
        hint("no segments there" if since is None and until is None else "no segments of that time there")
    if missing_objects:
        hint(
            f"of {counted(missing_objects, 'segment')} only the manifest is there; `structllm archive verify` says more"
        )


_SEGMENTS = (
    Column("Segment", style="bold"),
    Column("Records", right=True),
    Column("Bytes", right=True),
    Column("First", style="dim", rank=1),
    Column("Last", style="dim", rank=2),
)
_HOURS = (Column("Hour", style="bold"), Column("Segments", right=True), *_SEGMENTS[1:])


def _cells(row: Row | Hour) -> list[str]:
    records = "?" if row.records is None else f"{row.records:,}"
    size = "missing" if isinstance(row, Row) and row.key is None else f"{row.size_bytes:,}"
    name = [row.hour.replace("T", " "), f"{row.segments:,}"] if isinstance(row, Hour) else [row.segment]
    return [*name, records, size, _shown(row.first_timestamp), _shown(row.last_timestamp)]


def _shown(timestamp: str | None) -> str:
    return "-" if timestamp is None else timestamp[:19].replace("T", " ")


def _total(rows: Sequence[Row | Hour]) -> list[str]:
    records, size = sum(row.records or 0 for row in rows), sum(row.size_bytes for row in rows)
    counts = [counted(len(rows), "segment")]
    if isinstance(rows[0], Hour):
        counts = [counted(len(rows), "hour"), f"{sum(row.segments for row in rows if isinstance(row, Hour)):,}"]
    return [*counts, f"{records:,}", f"{size:,}", "", ""]


@archive.command(short_help="Show what waits in the spools.")
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show what waits in the spools of the archives that the settings name, and why.

    Exits 1 where an archive cannot be written at present, or refuses segments.
    """
    sinks = archive_sinks()
    if not sinks:
        raise Failure("the settings name no archive, so there is no spool to look at")
    found = spools_of(sinks)
    if as_json:
        emit_json([spool._asdict() for spool in found])
    else:
        emit_table(_SPOOLS, [_spool_cells(spool) for spool in found])
    sys.stdout.flush()
    for spool in found:
        for problem in spool.problems:
            hint(_with_place(spool.place or spool.directory, problem))
        if spool.place is None:
            hint(f"{spool.directory} is the spool of an archive that the settings do not name any more")
    if any(spool.problems for spool in found):
        ctx.exit(1)


def _with_place(place: str, sentence: str) -> str:
    """Return a sentence about an archive, which is named once."""
    return sentence if place in sentence else f"{place}: {sentence}"


_SPOOLS = (
    Column("Archive", style="bold"),
    Column("Open", right=True),
    Column("Sealed", right=True),
    Column("Quarantined", right=True),
    Column("Bytes", right=True),
    Column("Oldest", right=True),
    Column("Spool", style="dim", rank=1),
)


def _spool_cells(spool: Spool) -> list[str]:
    age = "-" if spool.oldest_age_s is None else format_age(spool.oldest_age_s)
    counts = (spool.open, spool.sealed, spool.quarantined, spool.bytes)
    return [spool.place or "-", *(f"{count:,}" for count in counts), age, spool.directory]


@archive.command(short_help="Check that it is whole and unchanged.")
@click.option("--strict", is_flag=True, help="Exit 1 also for what nothing behind it proves.")
@click.option("--since", callback=moment, metavar="WHEN", help="Neither read nor miss what was begun before that hour.")
@click.option("--hmac-key-env", metavar="NAME", help="Variable that holds the key of integrity=hmac.")
@color_option
@json_option
@_ARCHIVES
@click.pass_context
def verify(
    ctx: click.Context,
    places: Sequence[str],
    color: str,
    as_json: bool,
    hmac_key_env: str | None,
    since: datetime | None,
    strict: bool,
) -> None:
    """Check that an archive is whole, and that nobody changed it.

    Reads every object. Each is compared with its manifest (checksum, records, writers, times), and each manifest with
    the segment before, so that what was altered or is missing is named, and exits 1. The last segment of a process
    that was killed has nothing behind it (unanchored), and neither has an object whose manifest is still on its way.
    What still waits in a spool while later segments are stored is missing: run `structllm archive push` first.
    Where lines are sealed (integrity), their chains are followed through all segments, and lines are named as well.
    """
    rows = [row for found in open_archives(places, hmac_key_env) for row in check_stored(found, since)]
    if not rows:
        raise Failure("no segments there, so nothing was checked")
    problems = sum(is_problem(row) for row in rows)
    if as_json:
        emit_json({"ok": not problems, "findings": [row._asdict() for row in rows]})
    else:
        emit_rows(rows, problems, wants_color(color))
    ctx.exit(1 if problems or (strict and any(row.verdict == "unanchored" for row in rows)) else 0)


@archive.command("restore", short_help="Get segments back as plain files.")
@click.argument("place", required=False, metavar="[ARCHIVE]", type=click.Path())
@click.option("--to", "directory", required=True, type=click.Path(), metavar="DIR", help="Where the files go.")
@click.option("--session", metavar="ID", help="Only lines of this session; the beginning of its id will do.")
@_SINCE
@_UNTIL
@json_option
@click.pass_context
def restore_command(
    ctx: click.Context,
    place: str | None,
    directory: str,
    since: datetime | None,
    until: datetime | None,
    session: str | None,
    as_json: bool,
) -> None:
    """Get segments back as plain files of lines, which every other command reads.

    With --since and --until, the segments with events of that time, whole. What was restored before is not fetched
    again, so an interrupted run is simply repeated; nothing that is there is overwritten. Exits 1 where a segment could
    not be restored as it was archived.
    """
    found = open_archives([place] if place else [])
    if len(found) > 1:
        names = ", ".join(one.store.place for one in found)
        raise Failure(f"the settings name several archives; name one: {names}")
    store = found[0].store
    asked: dict[str, Any] = {"since": since, "until": until}
    done: list[Restored] = []
    with _progress(lambda: sum(part.size_bytes for part in segments(store, **asked))) as progress:
        try:
            done.extend(restore(store, directory, **asked, session=session, progress=progress))
        except OSError as error:
            raise Failure(f"cannot write to {directory}: {error.strerror or error}") from None
    if as_json:
        emit_json([_restored(one) for one in done])
    else:
        emit_facts(_facts(done, directory), color=False)
    sys.stdout.flush()
    _tell(done)
    if any(one.outcome in FAILURES for one in done):
        ctx.exit(1)


def _restored(one: Restored) -> dict[str, Any]:
    return {
        "outcome": one.outcome,
        "segment": one.segment.name.stem,
        "path": one.path if one.outcome in {"restored", "there"} else None,
        "size_bytes": one.size_bytes,
        "records": one.records,
        "text": one.text or None,
    }


def _facts(done: Sequence[Restored], directory: str) -> dict[str, str]:
    of = {name: [one for one in done if one.outcome == name] for name in dict.fromkeys(one.outcome for one in done)}
    facts: dict[str, str] = {}
    for name, ones in of.items():
        records = sum(one.records for one in ones)
        facts[name] = counted(len(ones), "segment") + (f", {counted(records, 'record')}" if records else "")
    return {**facts, "directory": directory}


def _tell(done: Sequence[Restored]) -> None:
    told = [one for one in done if one.text]
    for one in told[:_MOST_HINTS]:
        hint(f"{one.outcome} {os.path.basename(one.path)}: {one.text}")
    if len(told) > _MOST_HINTS:
        hint(f"and {len(told) - _MOST_HINTS:,} more; --json has them")
    if not done:
        hint("no segments there, or none of that time")


@contextmanager
def _progress(total_bytes: Callable[[], int]) -> Generator[Callable[[int], None]]:
    """Draw a bar on standard error while that is a terminal; give what is to be told of bytes."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("restoring"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total_bytes())
        yield lambda count: bar.advance(task, count)


@archive.command(short_help="Archive what waits in the spools, now.")
@json_option
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path())
@click.pass_context
def push(ctx: click.Context, paths: Sequence[str], as_json: bool) -> None:
    """Archive what waits in the spools, now.

    Segments that programs left when they ended or were killed are sealed and stored; exits 0 when none is left. With
    PATH, log files (files, directories, rotated and compressed ones) are archived as well, without the events that the
    archive holds already.
    """
    sinks = archive_sinks()
    if not sinks:
        raise Failure("the settings name no archive; add a sink of type s3 or directory")
    from structllm.archive.pushing import push as run

    try:
        done = [run(sink, paths) for sink in sinks]
    except FileNotFoundError as error:
        raise missing(str(error)) from None
    if as_json:
        emit_json([asdict(pushed) for pushed in done])
    else:
        emit_table(_PUSHED, [_pushed_cells(pushed) for pushed in done])
    sys.stdout.flush()
    for pushed in done:
        if pushed.error is not None:
            hint(_with_place(pushed.place, pushed.error))
        if pushed.quarantined:
            refused = counted(pushed.quarantined, "segment")
            hint(f"{pushed.place}: {refused} in quarantine; `structllm archive status` says why")
    if any(pushed.left or pushed.error is not None or pushed.quarantined for pushed in done):
        ctx.exit(1)


_PUSHED = (
    Column("Archive", style="bold"),
    Column("Stored", right=True),
    Column("Left", right=True),
    Column("Live", right=True),
    Column("Shipped", right=True),
    Column("Held", right=True),
)


def _pushed_cells(pushed: Any) -> list[str]:
    counts = (pushed.stored, pushed.left, pushed.live, pushed.shipped, pushed.held)
    return [pushed.place, *(f"{count:,}" for count in counts)]
