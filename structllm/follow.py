"""Live log files followed as they grow, like `tail -F`, without losing a line at a rotation.

Works by looking again: no notification of the operating system is needed, so it works on every file system. A file is
followed by what it is (device and inode), not by its name: when its name is taken by another file, the old one is read
to its end, then the files in between, compressed or not, then the new one.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from structllm.segment import (
    Entry,
    Lines,
    Log,
    LogFile,
    ReadReport,
    Walk,
    describe,
    log_at,
    parse,
    read_file,
    successors,
)

GRACE_S = 5.0
"""How long a file that was moved away is read on: other processes may still be writing to it."""

_CHUNK_BYTES = 256 * 1024
_BLOCK_BYTES = 64 * 1024
_MARK_BYTES = 64
_MAX_MOVED = 64  # files moved away that are kept open; more come together only after a long pause


class Growing:
    """One open file, and how far it has been read.

    Args:
        file: The file, which this closes.
        from_end: Begin behind the last complete line.
    """

    def __init__(self, file: LogFile, *, from_end: bool = False) -> None:
        self.file = file
        self._fd = file.reader.fileno()
        self._offset = 0
        if from_end:
            self._offset = file.status.st_size if file.packed else _end_of_last_line(self._fd)
        self._lines = Lines(self._offset)
        self._mark = os.pread(self._fd, min(_MARK_BYTES, self._offset), max(0, self._offset - _MARK_BYTES))
        self._failed = False

    def drain(self, report: ReadReport) -> Iterator[Entry]:
        """Yield the events of the lines that have been finished since the last time."""
        try:
            size = self.file.status.st_size
            if size == self._offset:
                return
            if self.file.packed:
                self._offset = size
                yield from self._unpack(report)
                return
            if self._was_emptied(size):
                self._offset, self._lines, self._mark = 0, Lines(), b""
            while chunk := os.pread(self._fd, _CHUNK_BYTES, self._offset):
                self._offset += len(chunk)
                self._mark = (self._mark + chunk)[-_MARK_BYTES:]
                yield from parse(self.file.path, self._lines.feed(chunk), report)
        except OSError as error:
            if not self._failed:
                report.add_unreadable(self.file.path, describe(error))
                self._failed = True

    def close(self, report: ReadReport) -> None:
        """Close the file; a line that was never finished is counted."""
        if self._lines.rest:
            report.unfinished += 1
        self.file.close()

    def _unpack(self, report: ReadReport) -> Iterator[Entry]:
        """Yield the events of a compressed file. Its writer may append once more to it: it is then read again whole."""
        self.file.reader.seek(0)
        return read_file(self.file.path, self.file.reader, report, live=False)

    def _was_emptied(self, size: int) -> bool:
        """Return whether the file was emptied and begun anew, even where it is larger again than it was."""
        start = self._offset - len(self._mark)
        return size < self._offset or os.pread(self._fd, len(self._mark), start) != self._mark


class Follower:
    """Follows one live file across rotation, compression, truncation, deletion and creation.

    Args:
        path: The live file; it need not exist yet.
        report: Counts what else is met.
        from_end: Begin behind the last complete line; otherwise with the first line of the oldest rotated file.
        monotonic: Seconds of a steady clock.
    """

    def __init__(
        self, path: str, report: ReadReport, *, from_end: bool, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self._report = report
        self._monotonic = monotonic
        self._current: Growing | None = self._newest() if from_end else None
        self._moved: list[tuple[float, Growing]] = []

    def poll(self) -> Iterator[Entry]:
        """Yield what has been written since the last time."""
        for _, file in self._moved:
            yield from file.drain(self._report)
        if self._current is not None:
            yield from self._current.drain(self._report)
        more = True
        while more:
            with closing(self._successors()) as walk:
                while walk.held:
                    # The one before may have been written to between the last look at it and its being moved away.
                    if self._current is not None:
                        yield from self._current.drain(self._report)
                    self._retire()
                    self._current = Growing(walk.held.pop())
                    yield from self._current.drain(self._report)
                more = walk.overflowed
        self._forget_moved()

    def close(self) -> None:
        """Close every file."""
        for file in [*(file for _, file in self._moved), *([self._current] if self._current else [])]:
            file.close(self._report)
        self._moved, self._current = [], None

    def _successors(self) -> Walk:
        """Open the files begun since the current one; none where there is no live file just now."""
        current = self._current
        named = _status(self.path)
        if named is None or (current is not None and os.path.samestat(named, current.file.status)):
            return Walk(Log(self.path, ()), self._report)
        known = [file.file for file in [*(file for _, file in self._moved), current] if file is not None]
        return successors(log_at(self.path), self._report, known)

    def _newest(self) -> Growing | None:
        """Open the live file, or else the newest rotated one, which tells what is older than what comes."""
        if os.path.exists(self.path) and _status(self.path) is None:
            return None
        file = next(iter(Walk(log_at(self.path), self._report, keep=1)), None)
        return None if file is None else Growing(file, from_end=True)

    def _retire(self) -> None:
        if self._current is None:
            return
        self._moved.append((self._monotonic() + GRACE_S, self._current))
        self._current = None
        while len(self._moved) > _MAX_MOVED:
            self._moved.pop(0)[1].close(self._report)

    def _forget_moved(self) -> None:
        now = self._monotonic()
        for deadline, file in self._moved:
            if deadline <= now:
                file.close(self._report)
        self._moved = [(deadline, file) for deadline, file in self._moved if deadline > now]


def _status(path: str) -> os.stat_result | None:
    """Return the status of a file; None where there is none, or something that cannot be followed, as a pipe."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _end_of_last_line(fd: int) -> int:
    """Return the offset behind the last newline of a file."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
