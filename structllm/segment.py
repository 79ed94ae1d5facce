"""Log files as they are on disk, and a reader that takes them as they come.

A log is a live file of JSON lines (`x.log`) with its rotated predecessors (`x.log.1` is the newest of them), each of
which may be compressed (`.gz`, `.zst`). A live file may end in a line that is still being written; the reader stops
before it. What cannot be read is skipped, counted and named by file and offset, and never stops the rest. Reading takes
constant memory: one chunk, one line, and the intervals of `sequence`.
"""

import heapq
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BufferedReader
from itertools import chain
from typing import Any, NamedTuple, cast

import orjson

from structllm.figures import counted
from structllm.sequence import Seen
from structllm.unpack import chunks

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A longer line is skipped: nothing here writes one, and it would be held in memory whole."""

STDIN = "-"

_MAX_MERGED = 32  # logs read at the same time; more are read one after the other
_KEPT_BAD_LINES = 10
_ROTATIONS_MEANWHILE = 8  # while the files of one log are opened

_NAME = re.compile(r"(?P<base>.+?)(?:\.(?P<number>\d{1,9}))?(?:\.(?P<packed>gz|zst))?", re.DOTALL)
_LOG_SUFFIXES = (".log", ".jsonl", ".ndjson")


class Entry(NamedTuple):
    """One event and the line (without its newline) that it was read from."""

    event: Mapping[str, Any]
    line: bytes


class BadLine(NamedTuple):
    """A line that is no event: where it begins (for a compressed file, in its content) and what is wrong with it."""

    path: str
    offset_bytes: int
    reason: str


@dataclass(slots=True)
class ReadReport:
    """What reading met besides events.

    Attributes:
        files: Files opened.
        events: Events read, duplicates not counted.
        duplicates: Events skipped because their writer and number had been read before.
        unfinished: Live files that end in a line without newline, which is still being written or was cut off.
        bad_lines: Lines skipped because they are no events.
        first_bad: The first few of those.
        unreadable: Files that could not be opened or read to their end, and why.
    """

    files: int = 0
    events: int = 0
    duplicates: int = 0
    unfinished: int = 0
    bad_lines: int = 0
    first_bad: list[BadLine] = field(default_factory=list[BadLine])
    unreadable: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    seen: Seen = field(default_factory=Seen, repr=False)

    def add_bad(self, path: str, offset_bytes: int, reason: str) -> None:
        """Count a bad line and keep its place if it is among the first."""
        self.bad_lines += 1
        if len(self.first_bad) < _KEPT_BAD_LINES:
            self.first_bad.append(BadLine(path, offset_bytes, reason))

    def hints(self) -> list[str]:
        """Return one sentence for people per kind of trouble; none where all was well."""
        hints = [f"could not read {path}: {reason}" for path, reason in self.unreadable]
        if self.bad_lines:
            first = self.first_bad[0]
            where = f"{first.path}, byte {first.offset_bytes}: {first.reason}"
            hints.append(f"skipped {counted(self.bad_lines, 'bad line')}; the first is {where}")
        if self.duplicates:
            hints.append(f"skipped {counted(self.duplicates, 'duplicate')} (same writer and seq)")
        return hints


class Log(NamedTuple):
    """A live file with its rotated predecessors.

    Attributes:
        live: Path of the live file, whether or not it exists.
        files: The files found, the oldest first.
        whole: Whether all predecessors are wanted, not just the files found.
    """

    live: str
    files: tuple[str, ...]
    whole: bool = True

    def newest_first(self) -> list[str]:
        """Return the paths to try, the newest first.

        A rotation that runs while a directory is listed may hide a file from the listing, and moves every file to the
        next number; so the numbers in between and a few beyond are tried as well.
        """
        paths = set(self.files)
        if self.whole and self.live != STDIN:
            highest = max((_parse_name(path)[1] for path in self.files), default=0)
            paths.update(
                [self.live, *(f"{self.live}.{number}" for number in range(1, highest + 1 + _ROTATIONS_MEANWHILE))]
            )
        return sorted(paths, key=_newness, reverse=True)


def find_logs(paths: Iterable[str | os.PathLike[str]]) -> list[Log]:
    """Return the logs that paths stand for.

    A live file stands for itself and its rotated predecessors, a rotated or compressed file for itself, a directory
    for all logs (`.log`, `.jsonl`, `.ndjson`) in it and below, and `-` for standard input.

    Raises:
        FileNotFoundError: A path does not exist, nor does a rotated predecessor of it.
    """
    found: dict[str, set[str]] = {}
    whole: set[str] = set()
    for path in [os.fspath(path) for path in paths]:
        if path == STDIN:
            found[STDIN] = {STDIN}
        elif os.path.isdir(path):
            for file in _files_below(path):
                base = _parse_name(file)[0]
                found.setdefault(base, set()).add(file)
                whole.add(base)
        elif os.path.exists(path) and _parse_name(path)[0] != path:
            found.setdefault(_parse_name(path)[0], set()).add(path)
        else:
            files = _with_predecessors(path)
            if not files and not os.path.exists(path) and not os.path.exists(f"{path}.1"):
                raise FileNotFoundError(path)
            found.setdefault(path, set()).update(files)
            whole.add(path)
    return [Log(live, tuple(sorted(files, key=_newness)), live in whole) for live, files in sorted(found.items())]


def _parse_name(path: str) -> tuple[str, int, bool]:
    """Return the path of the live file, the number of the rotation (0 for none) and whether it is compressed."""
    directory, name = os.path.split(path)
    match = _NAME.fullmatch(name)
    if match is None:
        return path, 0, False
    return os.path.join(directory, match["base"]), int(match["number"] or 0), match["packed"] is not None


def _newness(path: str) -> tuple[int, bool, str]:
    _, number, packed = _parse_name(path)
    return -number, not packed, path


def _files_below(directory: str) -> Iterator[str]:
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not name.startswith(".") and _parse_name(name)[0].endswith(_LOG_SUFFIXES) and os.path.isfile(path):
                yield path


def _with_predecessors(path: str) -> set[str]:
    directory, name = os.path.split(path)
    files: set[str] = {path} if os.path.exists(path) else set()
    if os.path.isdir(directory or ".") and not directory.startswith("/dev"):
        files |= {
            os.path.join(directory, other)
            for other in os.listdir(directory or ".")
            if other.startswith(f"{name}.") and _parse_name(other)[0] == name
        }
    return files


def read(paths: Iterable[str | os.PathLike[str]], report: ReadReport) -> Iterator[Entry]:
    """Yield the events of all paths, each once; several logs are merged by time.

    Args:
        paths: As for `find_logs`, which may raise here at once.
        report: Counts what else was met.
    """
    logs = find_logs(paths)
    return unique(_merge([_read_log(log, report) for log in logs]), report)


def unique(entries: Iterable[Entry], report: ReadReport) -> Iterator[Entry]:
    """Yield the entries that have not been read before, and count them."""
    for entry in entries:
        if report.seen.add(entry.event.get("writer"), entry.event.get("seq")):
            report.events += 1
            yield entry
        else:
            report.duplicates += 1


def timestamp_of(entry: Entry) -> str:
    """Return the time of an event as text that sorts by time."""
    timestamp = entry.event.get("timestamp")
    return timestamp if isinstance(timestamp, str) else ""


def _merge(streams: Sequence[Iterator[Entry]]) -> Iterator[Entry]:
    if 1 < len(streams) <= _MAX_MERGED:
        return heapq.merge(*streams, key=timestamp_of)
    return chain.from_iterable(streams)


def _read_log(log: Log, report: ReadReport) -> Iterator[Entry]:
    with ExitStack() as stack:
        for path, file in open_files(log, report, stack):
            yield from read_file(path, file, report, live=path == log.live and path != STDIN)


def _stdin() -> BufferedReader:
    stream = sys.stdin.buffer
    return stream if isinstance(stream, BufferedReader) else BufferedReader(stream)  # type: ignore[arg-type]  # a test's


def describe(error: Exception) -> str:
    """Return what stopped the reading of a file, without its name."""
    return getattr(error, "strerror", None) or str(error)


def open_files(log: Log, report: ReadReport, stack: ExitStack) -> list[tuple[str, BufferedReader]]:
    """Open the files of a log and return them, the oldest first.

    All are opened before the first is read, the newest first: a rotation meanwhile moves a file to a name that is
    still to come, where it is recognised and left out, and none is missed.
    """
    opened: list[tuple[str, BufferedReader]] = []
    known: list[os.stat_result] = []
    for path in log.newest_first():
        try:
            file = _stdin() if path == STDIN else open(path, "rb")  # noqa: SIM115  # the stack closes it
            status = os.fstat(file.fileno()) if path != STDIN else None
        except FileNotFoundError:
            continue
        except OSError as error:
            report.unreadable.append((path, describe(error)))
            continue
        if status is not None:
            if any(os.path.samestat(status, other) for other in known):
                file.close()
                continue
            known.append(status)
            stack.enter_context(file)
        report.files += 1
        opened.append((path, file))
    return opened[::-1]


def read_file(path: str, file: BufferedReader, report: ReadReport, *, live: bool) -> Iterator[Entry]:
    """Yield the events of one open file; a live one is read up to its last newline."""
    lines = Lines()
    try:
        for chunk in chunks(file):
            yield from parse(path, lines.feed(chunk), report)
    except (OSError, EOFError) as error:
        report.unreadable.append((path, describe(error)))
        return
    if lines.rest:
        if live:
            report.unfinished += 1
        else:
            yield from parse(path, lines.feed(b"\n"), report)


_NOT_JSON = object()

_BEGINNING = b'{"event_type":"'
"""How every line of ours begins. Inside a JSON string its quotes would be escaped, so it stands nowhere else."""


def _value(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except ValueError:
        return _NOT_JSON


def parse(path: str, lines: Iterable[tuple[int, bytes | None]], report: ReadReport) -> Iterator[Entry]:
    """Yield the events among lines with their offsets; None stands for one that was too long."""
    for offset, line in lines:
        if line is None:
            report.add_bad(path, offset, f"longer than {MAX_LINE_BYTES // 2**20} MiB")
        elif line and not line.isspace():
            event = _value(line)
            if event is _NOT_JSON:
                report.add_bad(path, offset, "not JSON")
                # The half line of a writer that was killed may have the whole line of another one behind it.
                line = line[max(0, line.rfind(_BEGINNING)) :]
                event = _value(line)
                if event is _NOT_JSON:
                    continue
            if not isinstance(event, dict):
                report.add_bad(path, offset, "not a JSON object")
            elif not isinstance(cast("dict[str, Any]", event).get("event_type"), str):
                report.add_bad(path, offset, "no event_type")
            else:
                yield Entry(event, line)


class Lines:
    """Cuts chunks into lines and holds the unfinished one.

    Args:
        offset: Where in the file the first chunk begins.
    """

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        self._held: list[bytes] = []
        self._held_bytes = 0

    @property
    def rest(self) -> bool:
        """Whether a line has begun and not ended."""
        return self._held_bytes > 0

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes | None]]:
        """Yield the lines that this chunk ends, each with its offset; None for one beyond `MAX_LINE_BYTES`."""
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            self._hold(piece)
            line = b"".join(self._held) if self._held_bytes <= MAX_LINE_BYTES else None
            yield self.offset, line
            self.offset += self._held_bytes + 1
            self._held, self._held_bytes = [], 0
        self._hold(rest)

    def _hold(self, piece: bytes) -> None:
        if piece:
            self._held_bytes += len(piece)
            self._held.append(piece)
            if self._held_bytes > MAX_LINE_BYTES:
                self._held = []
