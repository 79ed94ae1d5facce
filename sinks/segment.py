"""The segment that a process is writing: appended to by this process alone, until it is large or old enough."""

import errno
import math
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from structllm._system import System
from structllm.archive.names import SegmentName, new_owner
from structllm.errors import SinkError, SinkUnavailable
from structllm.sinks.rotation import FileId, file_id
from structllm.sinks.spool import Spool

_LOOK_INTERVAL_S = 0.05
_MEASURING_SHARE = 20.0
_LARGEST_LINE_BYTES = 1_048_576 + 105
_SEGMENTS_PER_SPOOL = 8
_MOST_TRIES = 200
_TRIES_PER_NAME = 20
_PAUSE_S = 0.001


class LiveSegment:
    """Appends lines to one segment after the other. Not thread-safe.

    Args:
        system: The operating system.
        spool: Where segments are.
        max_bytes: A segment ends before it grows beyond this, or beyond an eighth of the spool.
        max_age_s: And this long after it was begun.
        spool_max_bytes: What may be in the spool.
        begun: Called when a segment is begun, with the seconds until it is too old.
        ended: Called when a segment has ended because it is large or old.
        let_go: Takes a segment that has ended, as its descriptor and which file it is, and closes it; the lock goes
            with that.

    Attributes:
        fd: The open segment, or -1.
        which: Which file that is; None where there is none.
        names: How many segments have been begun. Only ever grows.
        owner: Whose segments these are; another one after `begin`.
        owners: All of this process so far.
        number: Of the last segment; 0 before the first.
        is_refused: Whether the last line found the spool full.
        ends_at_s: When the open segment is too old, in monotonic seconds.
    """

    def __init__(
        self,
        system: System,
        spool: Spool,
        *,
        max_bytes: int,
        max_age_s: float,
        spool_max_bytes: int,
        begun: Callable[[float], None],
        ended: Callable[[], None],
        let_go: Callable[[int, FileId], None],
    ) -> None:
        self._system = system
        self._spool = spool
        self._max_bytes = min(max_bytes, spool_max_bytes // _SEGMENTS_PER_SPOOL)
        self._max_age_s = max_age_s
        # While a segment is sealed it is there twice; and it has one record at least.
        self._room_bytes = spool_max_bytes - max(self._max_bytes, _LARGEST_LINE_BYTES)
        self._begun = begun
        self._ended = ended
        self._let_go = let_go
        self.fd = -1
        self.owners: set[str] = set()
        self.names = 0
        self.begin()

    def begin(self) -> None:
        """Begin anew, with an owner of its own."""
        self.close()
        self.owner = new_owner(socket.gethostname(), self._system.token() + self._system.token()[:4])
        self.owners.add(self.owner)
        self.number = 0
        self.is_refused = False
        self._has_ended = False
        self._recent: list[bytes] = []  # lines since the last look, to be written again if their file is deleted
        self._homeless: list[bytes] = []  # lines whose file was deleted
        self._look_at_s = self._measure_at_s = -math.inf
        self._used_bytes = 0
        self._forget()

    def _forget(self) -> None:
        self.fd = -1
        self._name: SegmentName | None = None
        self.which: FileId | None = None
        self._size_bytes = 0
        self._torn = False
        self.ends_at_s = math.inf

    def open(self) -> None:
        """Make the spool, and find out whether a segment could be begun. Raises OSError or SinkUnavailable."""
        self._spool.make()
        name = SegmentName.begun(self._system.now(), self.owner, 0)
        fd = self._spool.begin(name)
        self._spool.remove(self._spool.path_of(name))
        if fd is not None:
            self._system.close(fd)

    def append(self, line: bytes) -> None:
        """Append a line. When this returns, it is in a file of the spool.

        Raises:
            OSError: It could not be written.
            SinkUnavailable: The spool is full, or its file system has no locks.
        """
        now_s = self._system.monotonic()
        if now_s >= self._look_at_s:
            self.look()
        if self._size_bytes and (self._size_bytes + len(line) > self._max_bytes or now_s >= self.ends_at_s):
            self.end()
            self._ended()
        self._make_sure_of_room(len(line))
        if self.fd < 0:
            self._start(now_s)
        try:
            self._put(line)
        except OSError as error:
            if error.errno != errno.EBADF or self._is_ours():
                raise
            self._start_again(now_s)  # the host has closed all descriptors, as daemons do
            self._put(line)
        end = self._system.seek(self.fd, 0, os.SEEK_CUR)
        if end != self._size_bytes and not self._is_ours():
            self._start_again(now_s)  # and has opened a file of its own under the number
            self._put(line)
        elif end != self._size_bytes:
            self._size_bytes = end  # a signal handler raised behind a write, before it was counted
        self._recent.append(line)

    def end(self, *, final: bool = False) -> None:
        """Let go of the segment, so that it is sealed. With `final`, say that it is the last one of its owner.

        One in which nothing could be written goes on: nobody would archive it, and its number would be missing.
        """
        if self.fd < 0 or self._name is None or not (self._size_bytes or final):
            return
        if final:
            with suppress(OSError):  # then nothing says so
                self._system.rename(self._spool.path_of(self._name), self._spool.path_of(self._name, final=True))
        if self.which is not None and self._is_ours():
            with suppress(OSError):
                self._system.unlock(self.fd)  # it may stay open until it is synced, or in a child
            self._let_go(self.fd, self.which)
        self._forget()
        self._recent.clear()

    def end_for_good(self) -> None:
        """End the last segment and mark it as that: so the archive can tell an end from a cut.

        What is appended after all has another owner.
        """
        if not self.number or self._has_ended:
            return
        self.settle()
        with suppress(OSError, SinkError):
            if self.fd < 0:  # the last one with lines has ended: an empty one stands for the end
                self._start(self._system.monotonic())
        self.end(final=True)
        self._has_ended = True

    def end_if_old(self) -> None:
        """End a segment that is older than it may be."""
        if self._size_bytes and self._system.monotonic() >= self.ends_at_s:
            self.settle()
            self.end()

    def settle(self) -> bool:
        """Look once more after the lines written last; return whether all of them are in a file of the spool."""
        try:
            self.look()
        except (OSError, SinkError):
            return False
        return True

    def look(self) -> None:
        """Write again what was in a file that somebody deleted, and see how full the spool is."""
        if self.fd >= 0 and self._is_ours() and not self._system.status_of(self.fd).st_nlink:
            self._homeless += self._recent
            self._recent.clear()
            self.close()
        while self._homeless:
            if self.fd < 0:
                self._start(self._system.monotonic())
            self._put(self._homeless[0])
            self._recent.append(self._homeless.pop(0))
        self._recent.clear()
        self._measure()
        self._look_at_s = self._system.monotonic() + _LOOK_INTERVAL_S

    def measure_anew(self) -> None:
        """Find out at the next line how full the spool is: something has been archived."""
        self._measure_at_s = -math.inf

    def _measure(self) -> None:
        """See how full the spool is, in a twentieth of the time at most: thousands of segments may wait there."""
        began_s = self._system.monotonic()
        if began_s < self._measure_at_s:
            return
        self._used_bytes = self._spool.used_bytes()
        now_s = self._system.monotonic()
        self._measure_at_s = now_s + max(_LOOK_INTERVAL_S, _MEASURING_SHARE * (now_s - began_s))

    def close(self) -> None:
        """Close the file; its lock goes with that, unless a parent process has it open."""
        if self.fd >= 0 and self._is_ours():
            with suppress(OSError):
                self._system.close(self.fd)
        self._forget()

    def _put(self, line: bytes) -> None:
        data = b"\n" + line if self._torn else line
        written = self._system.write(self.fd, data)
        self._size_bytes += written
        self._used_bytes += written
        if written == len(data):
            self._torn = False
            return
        # Nobody else writes this file, so what is torn can be taken back; or else the next line ends it.
        try:
            end = self._system.seek(self.fd, 0, os.SEEK_CUR)  # not by the counter, which an interruption sets back
            self._system.resize(self.fd, end - written)
            self._size_bytes = end - written
        except OSError:
            self._torn = self._torn or written > 0
        raise OSError(errno.ENOSPC, "short write")

    def _make_sure_of_room(self, size_bytes: int) -> None:
        self.is_refused = False
        if self._used_bytes + size_bytes <= self._room_bytes:
            return
        self._measure()
        if self._used_bytes + size_bytes > self._room_bytes:
            self.is_refused = True
            raise SinkUnavailable("spool_full", f"{self._spool.directory} holds all that spool_max_bytes lets it")

    def _start(self, now_s: float) -> None:
        if self._has_ended:
            self.begin()
        number = self.number + 1
        for tries in range(1, _MOST_TRIES + 1):
            name = SegmentName.begun(self._system.now(), self.owner, number)
            fd = self._spool.begin(name)
            if fd is not None:
                break
            self._system.sleep(_PAUSE_S)  # whoever archives found the file before it was locked, and deletes it now
            if tries % _TRIES_PER_NAME == 0:
                number += 1  # one that was begun and interrupted: better a number missing than no segment
        else:
            raise OSError(errno.EBUSY, "the new segment is locked by another process")
        try:
            which = file_id(self._system.status_of(fd))
        except OSError:
            with suppress(OSError):
                self._system.close(fd)
            raise
        self.fd, self._name, self.which, self.number = fd, name, which, number
        self.ends_at_s = now_s + self._max_age_s
        self.names += 1
        self._begun(self._max_age_s)

    def _start_again(self, now_s: float) -> None:
        """Go on in another segment. The one before is sealed by whoever archives: nobody holds its lock."""
        self._forget()
        self._start(now_s)

    def _is_ours(self) -> bool:
        """Return whether the descriptor is that of our file: the host may have closed it and opened another."""
        try:
            return file_id(self._system.status_of(self.fd)) == self.which
        except OSError as error:
            return error.errno != errno.EBADF
