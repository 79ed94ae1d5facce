"""When the lines of a log have to be on the disk, and how that is seen to."""

import errno
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, Literal, NamedTuple, Protocol

from structllm._system import System
from structllm._types import Defer, Record
from structllm.errors import SinkRejected
from structllm.sinks.rotation import FileId, file_id

Fsync = Literal["never", "interval", "always"]

_INTERVAL_S = 1.0


class _Open(NamedTuple):
    """A descriptor, and which file it is of."""

    fd: int
    which: FileId


class Appendable(Protocol):
    """What lines are appended to.

    Attributes:
        fd: The open file, or -1.
        which: Which file that is; None where there is none.
        names: How many names of files have appeared so far. Only ever grows.
    """

    fd: int
    which: FileId | None
    names: int

    def append(self, line: bytes) -> None:
        """Append one line. Raises OSError or SinkError."""
        ...


class Durability:
    """Syncs the files of a log, those that were rotated since included, as the settings want it.

    All methods are called with the sink's lock held, except for the job that syncs in another thread.

    Args:
        system: The operating system.
        live: The file that is written to.
        directory: Where it is.
        fsync: `never`, `interval` (within a second, in the background) or `always` (before an append returns).
        fsync_events: Event types that are on the disk when their append returns, whatever `fsync` says.
    """

    def __init__(
        self, system: System, live: Appendable, directory: str, *, fsync: Fsync, fsync_events: frozenset[str]
    ) -> None:
        self._system = system
        self._live = live
        self._directory = directory
        self._fsync = fsync
        self._fsync_events = fsync_events
        self._failed = 0

    def begin(self, lock: AbstractContextManager[Any]) -> None:
        """Begin anew, with this lock of the sink."""
        self._lock = lock
        # Held while another thread syncs; taken with the sink's lock held, which that thread does not need meanwhile.
        self._in_hand_lock = threading.RLock()
        self._unsynced: list[_Open] = []  # files rotated since the last sync
        self._in_hand: list[_Open] = []  # those, and a copy of the live one, while another thread syncs them
        self._synced_names = self._live.names
        self._sync_at_s: float | None = None
        self._syncing = False  # whether the line that is being written is to be synced
        self._lost = False  # whether a sync failed that nobody has been told of

    def abandon(self) -> None:
        """Close what was to be synced: another process does that."""
        for file in (*self._unsynced, *self._in_hand):
            self._close(file)

    def health(self) -> Mapping[str, int]:
        """Return how often the disk did not confirm."""
        return {"failed_syncs": self._failed}

    def append(self, record: Record, defer: Defer | None) -> None:
        """Append, then wait for the disk where the settings say so, or see to it that somebody does soon.

        Raises:
            OSError: It could not be written.
            SinkRejected: It is written, but the disk did not confirm.
        """
        waits = self._fsync == "always" or record.event_type in self._fsync_events
        self._syncing = waits or self._fsync == "interval"
        try:
            self._live.append(record.line)
        finally:
            self._syncing = False
        if waits:
            if not self._sync():
                # Asking again would prove nothing: the system may have given up the pages that it could not write.
                raise SinkRejected("not_synced", "the disk did not confirm")
        elif self._fsync == "interval":
            now = self._system.monotonic()
            if self._sync_at_s is None:
                self._sync_at_s = now + _INTERVAL_S
                if defer is not None:
                    defer(_INTERVAL_S, self.sync_if_due)
            elif defer is None and now >= self._sync_at_s and not self._sync():
                self._lost = True

    def confirm(self) -> bool:
        """Sync now; return whether everything written is on the disk, which is False once after a failure."""
        lost, self._lost = self._lost, False
        return self._sync() and not lost

    def let_go(self, fd: int, which: FileId) -> None:
        """Close a file that is not written to any more, once what was written to it is where it has to be."""
        file = _Open(fd, which)
        if self._syncing or self._sync_at_s is not None:
            self._unsynced.append(file)
        else:
            self._close(file)

    def sync_if_due(self) -> None:
        """Sync what waits for that, without keeping writers waiting. Called without the lock."""
        with self._lock:
            if self._sync_at_s is None and not self._unsynced:
                return  # done since, with an event that could not wait
            self._in_hand_lock.acquire()
            try:
                self._in_hand = self._take_unsynced()
                if (which := self._live.which) is not None:
                    self._in_hand.append(_Open(self._system.duplicate(self._live.fd), which))
            except OSError:  # no descriptor left
                self._failed += 1
                self._lost = True
            except BaseException:
                self._in_hand_lock.release()
                raise
        try:
            if not self._sync_all(self._in_hand):
                self._lost = True
        finally:
            self._in_hand = []
            self._in_hand_lock.release()

    def _sync(self) -> bool:
        """Wait until everything written is on the disk, and so are the names of its files."""
        with self._in_hand_lock:  # what another thread is syncing is not on the disk yet
            return self._sync_all(self._take_unsynced(), self._live.fd)

    def _take_unsynced(self) -> list[_Open]:
        files, self._unsynced = self._unsynced, []
        self._sync_at_s = None
        return files

    def _sync_all(self, files: Sequence[_Open], kept: int = -1) -> bool:
        """Sync files and close them, and one that is kept open."""
        names = self._live.names
        synced = [self._is_synced(file.fd) for file in files if self._is_same(file)]
        if len(synced) < len(files):  # the host has closed them, and nobody can ask for the rest
            self._failed += 1
        for file in files:
            self._close(file)
        if kept >= 0:
            synced.append(self._is_synced(kept))
        if names != self._synced_names:
            try:
                self._system.sync_directory(self._directory)
                self._synced_names = names
            except OSError:
                self._failed += 1
                return False
        return all(synced) and len(synced) == len(files) + (kept >= 0)

    def _is_synced(self, fd: int) -> bool:
        try:
            self._system.sync(fd)
        except OSError:
            self._failed += 1
            return False
        return True

    def _is_same(self, file: _Open) -> bool:
        """Return whether the descriptor is still that of our file: the host may have closed it and opened another."""
        try:
            return file_id(self._system.status_of(file.fd)) == file.which
        except OSError as error:
            return error.errno != errno.EBADF

    def _close(self, file: _Open) -> None:
        if self._is_same(file):
            with suppress(OSError):
                self._system.close(file.fd)
