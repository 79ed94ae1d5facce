"""`structllm verify`: whether anybody changed a log that was written with `integrity`."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import click

from structllm.chain import hasher
from structllm.cli.archives import Archive, looks_like_archive, open_archives
from structllm.cli.keys import Keys, key_option
from structllm.cli.output import Failure, emit, emit_json, wants_color
from structllm.cli.source import color_option, default_paths, json_option, missing, path_arguments
from structllm.console import escape, style
from structllm.figures import counted
from structllm.segment import Log, ReadReport, files_of, find_logs, lines_of
from structllm.tampering import PROBLEMS, Place
from structllm.verification import LogCheck

_STYLES = {"intact": "green", **dict.fromkeys((*PROBLEMS, "unreadable", "unsealed"), "red")}
_SHOWN = 20  # findings of one verdict in one log; --json has more of them


class Row(NamedTuple):
    """One line of the report.

    Attributes:
        verdict: What is said: `intact`, `altered`, `missing`, `reordered`, `inserted`, `unsealed` (a log in which
            nothing can be proved), `unreadable`, `unanchored`, `unproven`, `duplicate`, `bad`.
        writer: Of whom; empty where that is not known.
        text: One sentence.
        path: The file, or the log.
        line: Number of the line in it, from 1; null for all of it.
        first: The first `sink_seq` concerned, or null.
        last: The last one.
    """

    verdict: str
    writer: str
    text: str
    path: str
    line: int | None = None
    first: int | None = None
    last: int | None = None


@click.command()
@click.option("--strict", is_flag=True, help="Exit 1 also where the end or the beginning cannot be proved.")
@key_option
@color_option
@json_option
@path_arguments
@click.pass_context
def verify(
    ctx: click.Context, paths: Sequence[str], color: str, as_json: bool, hmac_key_env: str | None, strict: bool
) -> None:
    """Check that nobody changed a log that was written with integrity.

    Names every line that was altered, inserted or moved, and the numbers that are missing, and exits 1 if there are
    any. That nothing was cut off at the end cannot be seen in a log: that is always said (unanchored). The key of
    integrity=hmac is that of the settings, or in the variable that --hmac-key-env names. An archive
    (s3://BUCKET/PREFIX or its directory) is checked as by `structllm archive verify`.
    """
    named = list(paths) or default_paths()
    archives = [path for path in named if looks_like_archive(path)]
    try:
        logs = find_logs([path for path in named if path not in archives])
    except FileNotFoundError as error:
        raise missing(str(error)) from None
    keys = Keys(hmac_key_env)
    rows = [row for log in logs for row in check_log(log, keys.of(log.live))]
    if archives:
        rows += [row for archive in open_archives(archives, hmac_key_env) for row in check_stored(archive)]
    if not logs and not archives:
        raise Failure("no log files there")
    problems = sum(is_problem(row) for row in rows)
    unproved = sum(row.verdict in {"unanchored", "unproven"} for row in rows)
    if as_json:
        emit_json({"ok": not problems, "findings": [row._asdict() for row in rows]})
    else:
        emit_rows(rows, problems, wants_color(color))
    ctx.exit(1 if problems or (strict and unproved) else 0)


def check_log(log: Log, key: bytes | None) -> Iterator[Row]:
    """Read a log whole, and yield what is to be said of it."""
    report = ReadReport()
    check = LogCheck(hasher(key))
    for line, place in raw_lines(log, report):
        if line is None:
            check.add_bad(place, "longer than any line of a log")
        elif line and not line.isspace():
            check.add(line, place)
    check.finish()
    if not check.chains:
        text = f"{log.live}: no line has sink_seq and hash, so nothing can be proved; set integrity=chain or hmac"
        yield Row("unsealed", "", text, log.live)
    else:
        yield from _findings(log, check, key)
    for path, reason in report.unreadable:
        yield Row("unreadable", "", f"{path} could not be read to its end: {reason}", path)
    if report.unfinished:
        yield Row("bad", "", f"{log.live}: the last line is unfinished: being written, or cut off", log.live)


def check_stored(archive: Archive, since: datetime | None = None) -> Iterator[Row]:
    """Read an archive whole, and yield what is to be said of it."""
    from structllm.archive.checking import check_archive

    for remark in check_archive(archive.store, archive.key, since):
        path = f"{archive.store.place}/{remark.key}".rstrip("/")
        yield Row(remark.verdict, remark.writer, remark.text, path, remark.line)


def _findings(log: Log, check: LogCheck, key: bytes | None) -> Iterator[Row]:
    proved = sum(chain.proved for chain in check.chains.values())
    if not proved and check.count["altered"] > 1:
        remedy = "is that the right key?" if key else "was it written with integrity=hmac? Then give the key"
        yield Row("altered", "", f"{log.live}: no hash of {check.count['altered']:,} is right; {remedy}", log.live)
        return
    wrong = {finding.writer for finding in check.findings if finding.verdict in PROBLEMS}
    for writer, chain in sorted(check.chains.items()):
        if writer not in wrong:
            text = f"{counted(chain.lines, 'line')}, sink_seq {chain.first}-{chain.last}, in {log.live}"
            yield Row("intact", writer, text, log.live, None, chain.first, chain.last)
    for finding in check.findings:
        path, line = finding.place
        yield Row(finding.verdict, finding.writer, finding.text, path, line, finding.first, finding.last)
    if (more := check.count.total() - len(check.findings)) > 0:
        yield Row("altered", "", f"{log.live}: and {counted(more, 'more finding')}", log.live)
    for writer, chain in sorted(check.chains.items()):
        if chain.end is not None:
            text = f"{chain.end}: nothing outside the log proves that nothing was cut off behind sink_seq {chain.last}"
            yield Row("unanchored", writer, text, *chain.end, chain.last, chain.last)


def raw_lines(log: Log, report: ReadReport) -> Iterator[tuple[bytes | None, Place]]:
    """Yield every line of a log as it is, the oldest file first; None for one that is too long to be held."""
    for file in files_of(log, report):
        for number, (_, line) in enumerate(lines_of(file, report), 1):
            yield line, Place(file.path, number)


def is_problem(row: Row) -> bool:
    """Return whether this is something that makes the command fail."""
    return row.verdict in PROBLEMS or row.verdict in {"unsealed", "unreadable"}


def emit_rows(rows: Sequence[Row], problems: int, color: bool) -> None:
    """Print what was found, and how many problems that are."""
    verdicts = max((len(row.verdict) for row in rows), default=0)
    writers = max((len(escape(row.writer)) for row in rows), default=0)
    shown: dict[str, int] = {}
    for row in rows:
        shown[row.verdict] = shown.get(row.verdict, 0) + 1
        if shown[row.verdict] <= _SHOWN:
            verdict = style(row.verdict.ljust(verdicts), _STYLES.get(row.verdict, "yellow"), color)
            writer = f"{escape(row.writer).ljust(writers)}  " if writers else ""
            emit(f"{verdict}  {writer}{escape(row.text)}")
    for verdict, count in shown.items():
        if count > _SHOWN:
            emit(f"and {count - _SHOWN:,} more {verdict}; --json has them")
    emit("")
    found = counted(problems, "problem")
    emit(style(found, "red", color) if problems else style("no problems", "green", color))
