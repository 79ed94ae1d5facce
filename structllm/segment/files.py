"""The files of a log, opened while it is rotated and compressed: none missed, none taken for two.

All opening goes from the newest file to the oldest. A rotation meanwhile moves files to numbers that are still to come,
where they are recognised by device and inode. A plain file that was compressed meanwhile is recognised by its content.
"""

import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from io import BufferedReader

from structllm.segment.lines import Lines, ReadReport, describe, parse
from structllm.segment.names import Log
from structllm.unpack import chunks, is_packed, size_if_copy

KEPT_OPEN = 64
"""Files of one log that are open at the same time."""

_BEGINNING_CHUNKS = 4  # in which the first event is looked for


class LogFile:
    """An open file of a log.

    Args:
        path: Its name when it was opened.
        reader: Reads it from its start.
    """

    def __init__(self, path: str, reader: BufferedReader) -> None:
        self.path = path
        self.reader = reader
        status = self.status
        self.identity = status.st_dev, status.st_ino
        self.is_regular = stat.S_ISREG(status.st_mode)
        self.packed = self.is_regular and is_packed(reader)

    @property
    def status(self) -> os.stat_result:
        """What the operating system says of the file, whatever its name is now."""
        return os.fstat(self.reader.fileno())

    def is_or_became(self, other: "LogFile", *, exactly: bool) -> bool:
        """Return whether the other file is this one, or this one compressed.

        Args:
            other: Opened later.
            exactly: Whether it has to hold all that is in this file, not just the beginning.
        """
        if self.identity == other.identity:
            return True
        if self.packed or not other.packed or not self.is_regular:
            return False
        size = size_if_copy(other.reader, self.reader.fileno())
        return bool(size) and (not exactly or size == self.status.st_size)

    def begun_after(self, other: "LogFile") -> bool:
        """Return whether its first event is later than that of the other; without times, whether its last write is."""
        mine, theirs = self._first_time(), other._first_time()
        if mine and theirs:
            return mine > theirs
        return self.status.st_mtime_ns > other.status.st_mtime_ns

    def close(self) -> None:
        """Close the file."""
        self.reader.close()

    def _first_time(self) -> str:
        lines = Lines()
        if not self.is_regular:
            return ""
        try:
            self.reader.seek(0)
            for _, chunk in zip(range(_BEGINNING_CHUNKS), chunks(self.reader), strict=False):
                for event, _ in parse(self.path, lines.feed(chunk), ReadReport()):
                    timestamp = event.get("timestamp")
                    if isinstance(timestamp, str):
                        return timestamp
        except (OSError, EOFError):
            pass
        finally:
            self.reader.seek(0)
        return ""


class Walk:
    """Goes through the files of a log, from the newest to the oldest.

    Args:
        log: The log.
        report: Names the files that could not be opened.
        known: Files at which to stop; the last of them is the newest.
        by_time: Stop also at the first rotated file that was begun before the newest known one.
        keep: How many files stay open, which are the oldest so far; of the others it is not known what was in them.

    Attributes:
        held: The files that are open, the newest first.
        met: Whether it stopped at a known file.
        overflowed: Whether there were more files than stay open.
    """

    def __init__(
        self,
        log: Log,
        report: ReadReport,
        known: Sequence[LogFile] = (),
        *,
        by_time: bool = False,
        keep: int = KEPT_OPEN,
    ) -> None:
        self._log = log
        self._report = report
        self._known = known
        self._by_time = by_time
        self._keep = keep
        self.held: deque[LogFile] = deque()
        self.met = False
        self.overflowed = False

    def __iter__(self) -> Iterator[LogFile]:
        """Yield the open files, each until `keep` others have been yielded behind it."""
        for path in self._log.newest_first():
            file = open_file(path, self._report)
            if file is None:
                continue
            if self._is_known(file):
                file.close()
                self.met = True
                return
            if any(other.is_or_became(file, exactly=True) for other in self.held):
                file.close()
                continue
            self.held.append(file)
            if len(self.held) > self._keep:
                self.held.popleft().close()
                self.overflowed = True
            yield file

    def close(self) -> None:
        """Close the files that are held."""
        while self.held:
            self.held.pop().close()

    def _is_known(self, file: LogFile) -> bool:
        if any(known.is_or_became(file, exactly=False) for known in self._known):
            return True
        is_first = not self.held
        return self._by_time and bool(self._known) and not is_first and not file.begun_after(self._known[-1])


def successors(log: Log, report: ReadReport, known: Sequence[LogFile], keep: int = KEPT_OPEN) -> Walk:
    """Return the walk through the files that were begun after the known ones, its oldest files open.

    Args:
        log: The log.
        report: Names the files that could not be opened.
        known: Files that have been read, the last of them the newest. Where nothing of them is left, because more were
            rotated than are kept or they were deleted, the times of events tell what came after.
        keep: How many files stay open.
    """
    walk = Walk(log, report, known, keep=keep)
    deque(walk, maxlen=0)
    if known and not walk.met:
        walk.close()
        walk = Walk(log, report, known, by_time=True, keep=keep)
        deque(walk, maxlen=0)
    return walk


def open_file(path: str, report: ReadReport) -> LogFile | None:
    """Open a file of a log, or return None where there is none or it cannot be opened, which is noted."""
    try:
        reader = open(path, "rb")  # noqa: SIM115  # the walk closes it
    except FileNotFoundError:
        return None
    except OSError as error:
        report.add_unreadable(path, describe(error))
        return None
    try:
        return LogFile(path, reader)
    except OSError as error:
        reader.close()
        report.add_unreadable(path, describe(error))
        return None
