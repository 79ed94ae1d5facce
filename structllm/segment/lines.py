"""Lines of a log, and the events in them. Whatever is no event is counted and named, and stops nothing."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import orjson

from structllm.figures import counted
from structllm.sequence import Seen

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A longer line is skipped: nothing here writes one, and it would be held in memory whole."""

_KEPT_BAD_LINES = 10


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

    def add_unreadable(self, path: str, reason: str) -> None:
        """Note once what is wrong with a file."""
        if (path, reason) not in self.unreadable:
            self.unreadable.append((path, reason))

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


def describe(error: Exception) -> str:
    """Return what stopped the reading of a file, without its name."""
    return getattr(error, "strerror", None) or str(error)


_NOT_JSON = object()

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
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
            if offset == 0:
                line = line.removeprefix(_BYTE_ORDER_MARK)
            line = line.removesuffix(b"\r")
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
