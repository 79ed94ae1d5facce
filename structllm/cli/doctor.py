"""`structllm doctor`: what is wrong, or will be, between the settings and the last line of the log.

The settings bring pydantic with them, so they are imported by the functions that need them.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, cast

import click

from structllm._types import LEVELS
from structllm.cli.losses import Losses, Range
from structllm.cli.output import emit, emit_json, wants_color
from structllm.cli.source import (
    DEFAULT_LOG,
    Source,
    color_option,
    is_archive,
    json_option,
    missing,
    opened,
    path_arguments,
)
from structllm.console import escape, style
from structllm.figures import counted
from structllm.query import Calls, Filter
from structllm.segment import ReadReport, find_logs, is_there

Verdict = Literal["ok", "note", "problem"]

_STYLES = {"ok": "green", "note": "yellow", "problem": "red"}
_SHOWN_GAPS = 3


class Finding(NamedTuple):
    """What one look found.

    Attributes:
        area: What was looked at: settings, sink, file, log, writer.
        verdict: `problem` makes the command exit 1.
        text: One sentence, with the remedy where there is one.
    """

    area: str
    verdict: Verdict
    text: str


class LogFile(NamedTuple):
    """A file that a sink writes, whether the sink takes every event, and the permissions that were asked for."""

    path: str
    takes_all: bool
    mode: int = 0o600


@click.command()
@color_option
@json_option
@path_arguments
@click.pass_context
def doctor(ctx: click.Context, paths: Sequence[str], color: str, as_json: bool) -> None:
    """Find what is wrong with settings, sinks, files and logs.

    Reads the logs that PATH... or the settings name, whole. Exits 1 if there is a problem.
    """
    findings, files = _look_at_settings(elsewhere=bool(paths))
    named = list(paths) or [file.path for file in files]
    for path in named:
        if is_archive(path):
            findings += _look_at_archive(path)
            continue
        if paths and not is_there(path):
            raise missing(path)
        mode = next((file.mode for file in files if os.path.abspath(file.path) == os.path.abspath(path)), 0o600)
        findings += _look_at_file(path, mode)
        findings += _look_at_rotated(path, mode)
    readable = [path for path in named if is_archive(path) or is_there(path)]
    if readable:
        findings += _look_into_logs(readable, _proves_losses(readable, files))
    problems = [finding for finding in findings if finding.verdict == "problem"]
    if as_json:
        emit_json({"ok": not problems, "findings": [finding._asdict() for finding in findings]})
    else:
        _emit(findings, len(problems), wants_color(color))
    ctx.exit(1 if problems else 0)


def _emit(findings: Sequence[Finding], problems: int, color: bool) -> None:
    width = max(len(finding.area) for finding in findings)
    for area, verdict, text in findings:
        emit(f"{style(verdict.ljust(7), _STYLES[verdict], color)}  {area.ljust(width)}  {escape(text)}")
    emit("")
    found = counted(problems, "problem")
    emit(style(found, "red", color) if problems else style("no problems", "green", color))


def _look_at_settings(*, elsewhere: bool) -> tuple[list[Finding], list[LogFile]]:
    """Load the settings and ask every sink what writing would meet.

    Args:
        elsewhere: Whether the user named the logs to read, which need not be those that the settings write.
    """
    from structllm.errors import ConfigError
    from structllm.settings import load_with_sources
    from structllm.settings_view import explain

    try:
        settings, sources = load_with_sources()
    except ConfigError as error:
        return [Finding("settings", "problem", problem) for problem in error.problems], []
    changed = [row for row in explain(settings, sources) if not row.is_default]
    origins = ", ".join(dict.fromkeys(row.source for row in changed))
    findings = [
        Finding("settings", "ok", f"{len(changed)} set, from {origins}" if changed else "all at their defaults")
    ]
    findings += [Finding("settings", "problem", sentence) for sentence in sources.ignored]
    if not settings.enable_completion_logging:
        findings.append(Finding("settings", "note", "enable_completion_logging is false: nothing is recorded"))
    files: list[LogFile] = []
    for sink in settings.effective_sinks():
        name = getattr(sink, "name", None) or getattr(sink, "type", type(sink).__name__)
        check = getattr(sink, "check", None)
        problems: list[str] = check() if check is not None else []
        findings += [Finding("sink", "problem", f"{name}: {problem}") for problem in problems]
        is_file = getattr(sink, "type", None) == "file"
        if not problems:
            target = f"{getattr(sink, 'path', DEFAULT_LOG)} " if is_file else ""
            open_store = getattr(sink, "open_store", None)
            at = _at(open_store()) if open_store is not None else ""
            whose = " (where the settings write, whatever PATHs are read)" if elsewhere else ""
            findings.append(Finding("sink", "ok", f"{name}: {target}can be written{at}{whose}"))
        if is_file:
            level = LEVELS[getattr(sink, "level", "DEBUG")]
            takes_all = getattr(sink, "events", None) is None and level <= LEVELS[settings.completion_log_level]
            mode = int(str(getattr(sink, "mode", "0600")), 8)
            files.append(LogFile(str(getattr(sink, "path", DEFAULT_LOG)), takes_all, mode))
    return findings, files


def _look_at_file(path: str, mode: int) -> Iterator[Finding]:
    """Say whether a file is there, can be read, and by whom; whoever `mode` lets read it is meant to."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        yield Finding("file", "note", f"{path} is not there yet: nothing has been logged")
        return
    except OSError as error:
        yield Finding("file", "problem", f"{path}: {error.strerror}")
        return
    if not os.access(path, os.R_OK):
        yield Finding("file", "problem", f"{path} cannot be read by this user; read it as its owner, or see `mode`")
    elif status.st_mode & stat.S_IROTH and not stat.S_ISDIR(status.st_mode):
        yield Finding("file", "note", f"{path} can be read by every user of this machine: chmod o-r {path}")
    elif status.st_mode & ~mode & 0o066 and not stat.S_ISDIR(status.st_mode):
        yield Finding("file", "note", f"{path} can be read or written by its group or others: chmod go-rw {path}")
    else:
        size = "" if stat.S_ISDIR(status.st_mode) else f", {status.st_size:,} bytes"
        yield Finding("file", "ok", f"{path}{size}")


def _look_at_rotated(path: str, mode: int) -> Iterator[Finding]:
    """Say which rotated files others than meant may read, such as those that another program rotated."""
    for log in find_logs([path] if is_there(path) else []):
        for file in log.files:
            with suppress(OSError):
                if file != log.live and os.stat(file).st_mode & ~mode & 0o066:
                    told = f"{file} can be read or written by its group or others: chmod go-rw {file}"
                    yield Finding("file", "note", told)


def _look_at_archive(url: str) -> Iterator[Finding]:
    """Say whether an archive can be read."""
    store = opened(url)
    problems = store.check()
    yield from (Finding("archive", "problem", f"{store.place}: {problem}") for problem in problems)
    if not problems:
        yield Finding("archive", "ok", f"{store.place} can be read{_at(store)}")


def _at(store: object) -> str:
    """Return which host the requests of a store go to, as words: a variable or profile may name another than meant."""
    host = getattr(store, "endpoint", None)
    return f", at {host}" if host else ""


def _proves_losses(paths: Sequence[str], files: Sequence[LogFile]) -> bool:
    """Return whether a number missing in these logs is a loss: not where every one of them gets only some events."""
    filtered = {os.path.abspath(file.path) for file in files if not file.takes_all}
    return not all(os.path.abspath(path) in filtered for path in paths)


def _look_into_logs(paths: Sequence[str], proves_losses: bool) -> Iterator[Finding]:
    """Read every line, and say what the lines themselves complain of."""
    source = Source(paths, Filter())
    calls = Calls()
    complaints = Complaints()
    for event in source.events():
        calls.add(event)
        complaints.add(event)
    report = source.report
    size = f"{counted(report.events, 'event')} in {counted(report.files, 'file')}"
    yield Finding("log", "ok" if report.events else "note", size)
    yield from _look_at_reading(report)
    for writer, gaps in report.seen.gaps():
        yield from _look_at_gaps(writer, gaps, complaints.losses.unexplained(writer, gaps), proves_losses)
    yield from complaints.findings()
    waiting = Counter(call.outcome for call in calls.rest(datetime.now(UTC)) if call.ended is None)
    for outcome, count in sorted(waiting.items()):
        yield Finding("log", "note", f"{counted(count, 'request')} without a response: {outcome}")


def _look_at_gaps(
    writer: str, gaps: Sequence[Range], unexplained: Sequence[Range], proves_losses: bool
) -> Iterator[Finding]:
    """Tell the missing numbers of a writer that are owned up to from those that are not."""
    explained = _size(gaps) - _size(unexplained)
    if explained:
        said = f"{writer}: {counted(explained, 'number')} missing within what log_gap events say was dropped"
        yield Finding("writer", "note", said)
    if unexplained:
        shown = ", ".join(
            str(first) if first == last else f"{first}-{last}" for first, last in unexplained[:_SHOWN_GAPS]
        )
        more = ", ..." if len(unexplained) > _SHOWN_GAPS else ""
        text = f"{writer}: {counted(_size(unexplained), 'number')} missing ({shown}{more})"
        if proves_losses:
            yield Finding("writer", "problem", f"{text}: those events were lost, or a file is not among the ones read")
        else:
            yield Finding("writer", "note", f"{text}: these sinks get only some events, so that proves no loss")


def _size(ranges: Sequence[Range]) -> int:
    return sum(last - first + 1 for first, last in ranges)


def _look_at_reading(report: ReadReport) -> Iterator[Finding]:
    for path, reason in report.unreadable:
        yield Finding("file", "problem", f"{path} could not be read to its end: {reason}")
    for bad in report.first_bad:
        yield Finding("log", "problem", f"{bad.path}, byte {bad.offset_bytes}: {bad.reason}")
    if report.bad_lines > len(report.first_bad):
        yield Finding("log", "problem", f"and {counted(report.bad_lines - len(report.first_bad), 'more line')}")
    if report.duplicates:
        yield Finding("log", "note", f"{counted(report.duplicates, 'duplicate')} (same writer and seq) left out")
    if report.unfinished:
        yield Finding("log", "note", "the last line is unfinished: it is being written, or was cut off by a crash")


class Complaints:
    """What the events themselves say went wrong while they were written."""

    def __init__(self) -> None:
        self.losses = Losses()
        self._failed: Counter[str] = Counter()

    def add(self, event: Mapping[str, Any]) -> None:
        """Take an event."""
        self.losses.add(event)
        failed = event.get("processor_errors")
        if isinstance(failed, list):
            self._failed.update(map(str, cast("list[object]", failed)))

    def findings(self) -> Iterator[Finding]:
        """Yield what was dropped, and which processors failed."""
        for writer, sentence in self.losses.sentences():
            yield Finding("writer", "problem", f"{writer}: {sentence}")
        for name, count in self._failed.most_common():
            yield Finding("log", "problem", f"processor {name} failed on {counted(count, 'event')}")
