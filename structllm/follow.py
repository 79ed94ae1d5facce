"""Live log files followed as they grow, like `tail -F`, without losing a line at a rotation.

Works by looking again: no notification of the operating system is needed, so it works on every file system. A file is
followed by what it is (device and inode), not by its name: when its name is taken by another file, the old one is read
to its end, then the files in between, then the new one.
"""

import os
import time
from collections.abc import Callable, Iterator

from structllm.segment import Entry, Lines, ReadReport, describe, parse

GRACE_S = 5.0
"""How long a file that was moved away is read on: other processes may still be writing to it."""

_CHUNK_BYTES = 256 * 1024
_BLOCK_BYTES = 64 * 1024
_MISSING_IN_A_ROW = 3  # numbers, after which there are no older files


class Growing:
    """One open file, and how far it has been read."""

    def __init__(self, path: str, fd: int, offset: int = 0) -> None:
        self.path = path
        self._fd = fd
        self._offset = offset
        self._lines = Lines(offset)

    @property
    def status(self) -> os.stat_result:
        """What the operating system says of the file, whatever its name is now."""
        return os.fstat(self._fd)

    def drain(self, report: ReadReport) -> Iterator[Entry]:
        """Yield the events of the lines that have been finished since the last time."""
        if self.status.st_size < self._offset:
            self._offset, self._lines = 0, Lines()  # emptied and begun anew
        while chunk := os.pread(self._fd, _CHUNK_BYTES, self._offset):
            self._offset += len(chunk)
            yield from parse(self.path, self._lines.feed(chunk), report)

    def close(self, report: ReadReport) -> None:
        """Close the file; a line that was never finished is counted."""
        if self._lines.rest:
            report.unfinished += 1
        os.close(self._fd)


class Follower:
    """Follows one live file across rotation, truncation, deletion and creation.

    Args:
        path: The live file; it need not exist yet.
        report: Counts what else is met.
        from_end: Begin behind the last complete line rather than at the first.
        monotonic: Seconds of a steady clock.
    """

    def __init__(
        self, path: str, report: ReadReport, *, from_end: bool, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self._report = report
        self._monotonic = monotonic
        self._current: Growing | None = None
        self._moved: list[tuple[float, Growing]] = []
        self._complained = False
        fd = self._open(path)
        if fd is not None:
            self._current = Growing(path, fd, _end_of_last_line(fd) if from_end else 0)
        self._nothing_before = fd is None and not self._find_predecessor()

    def poll(self) -> Iterator[Entry]:
        """Yield what has been written since the last time."""
        for _, file in self._moved:
            yield from file.drain(self._report)
        if self._current is not None:
            yield from self._current.drain(self._report)
        for file in self._successors():
            # The one before may have been written to between the last look at it and its being moved away.
            if self._current is not None:
                yield from self._current.drain(self._report)
            self._retire()
            self._current = file
            yield from file.drain(self._report)
        self._forget_moved()

    def close(self) -> None:
        """Close every file."""
        for file in [*(file for _, file in self._moved), *([self._current] if self._current else [])]:
            file.close(self._report)
        self._moved, self._current = [], None

    def _successors(self) -> list[Growing]:
        """Open and return the files begun since the current one, the oldest first."""
        try:
            named = os.stat(self.path)
        except OSError:
            return []
        if self._current is not None and os.path.samestat(named, self._current.status):
            return []
        known = [file.status for file in [*(file for _, file in self._moved), self._current] if file is not None]
        newer: list[Growing] = []
        # The newest first: a rotation meanwhile moves a file to a name that is still to come. It may also leave a
        # number free for a moment, so that one alone does not mean the end.
        missing = number = 0
        while missing < _MISSING_IN_A_ROW:
            fd = self._open(f"{self.path}.{number}" if number else self.path)
            number += 1
            if fd is None:
                missing += 1
                continue
            missing = 0
            status = os.fstat(fd)
            if any(os.path.samestat(status, other) for other in known):
                os.close(fd)
                return newer[::-1]
            if any(os.path.samestat(status, other.status) for other in newer):
                os.close(fd)
                continue
            newer.append(Growing(self.path, fd))
        if self._nothing_before and self._current is None:
            return newer[::-1]
        # What was being read is gone: more rotations than files are kept, or deleted by hand. The time of the last
        # write tells which of the others came after it.
        last_write_ns = self._current.status.st_mtime_ns if self._current is not None else 0
        after = [file for file in newer[1:] if self._current is not None and file.status.st_mtime_ns > last_write_ns]
        for file in newer[1:]:
            if file not in after:
                file.close(self._report)
        return [*after[::-1], *newer[:1]]

    def _find_predecessor(self) -> bool:
        """Where there is no live file, find the newest rotated one, which tells what is older than what comes."""
        for number in range(1, _MISSING_IN_A_ROW + 1):
            fd = self._open(f"{self.path}.{number}")
            if fd is not None:
                self._current = Growing(self.path, fd, _end_of_last_line(fd))
                return True
        return False

    def _open(self, path: str) -> int | None:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            if not self._complained:
                self._report.unreadable.append((path, describe(error)))
                self._complained = True
            return None

    def _retire(self) -> None:
        if self._current is not None:
            self._moved.append((self._monotonic() + GRACE_S, self._current))
            self._current = None

    def _forget_moved(self) -> None:
        now = self._monotonic()
        for deadline, file in self._moved:
            if deadline <= now:
                file.close(self._report)
        self._moved = [(deadline, file) for deadline, file in self._moved if deadline > now]


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
