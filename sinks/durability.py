"""When the lines of a log have to be on the disk, and how that is seen to."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, Literal, Protocol

from structllm._system import System
from structllm._types import Defer, Record
from structllm.errors import SinkRejected

Fsync = Literal["never", "interval", "always"]

_INTERVAL_S = 1.0


class Appendable(Protocol):
    """What lines are appended to.

    Attributes:
        fd: The open file, or -1.
        is_new: Whether the file's name has appeared since this was last set to False.
    """

    fd: int
    is_new: bool

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
        self._unsynced: list[int] = []  # files rotated since the last sync
        self._sync_at_s: float | None = None
        self._syncing = False  # whether the line that is being written is to be synced
        self._lost = False  # whether a sync failed that nobody has been told of

    def abandon(self) -> None:
        """Close what was to be synced: another process does that."""
        for fd in self._unsynced:
            self._close(fd)

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

    def let_go(self, fd: int) -> None:
        """Close a file that is not written to any more, once what was written to it is where it has to be."""
        if self._syncing or self._sync_at_s is not None:
            self._unsynced.append(fd)
        else:
            self._close(fd)

    def _sync(self) -> bool:
        """Wait until everything written is on the disk, and so are the names of its files."""
        files = self._take_unsynced()
        return self._sync_all(files, self._live.fd)

    def sync_if_due(self) -> None:
        """Sync what waits for that, without keeping writers waiting. Called without the lock."""
        with self._lock:
            if self._sync_at_s is None and not self._unsynced:
                return  # done since, with an event that could not wait
            copies: list[int] = []
            if self._live.fd >= 0:
                try:
                    copies.append(self._system.duplicate(self._live.fd))
                except OSError:  # no descriptor left
                    self._failed += 1
                    self._lost = True
            files = [*self._take_unsynced(), *copies]
        if not self._sync_all(files, -1):
            self._lost = True

    def _take_unsynced(self) -> list[int]:
        files, self._unsynced = self._unsynced, []
        self._sync_at_s = None
        return files

    def _sync_all(self, files: list[int], kept: int) -> bool:
        """Sync files and close them, and one that is kept open."""
        synced = True
        for fd in [*files, *([kept] if kept >= 0 else [])]:
            try:
                self._system.sync(fd)
            except OSError:
                self._failed += 1
                synced = False
        for fd in files:
            self._close(fd)
        if self._live.is_new:
            self._live.is_new = False
            try:
                self._system.sync_directory(self._directory)
            except OSError:
                self._failed += 1
                self._live.is_new, synced = True, False
        return synced

    def _close(self, fd: int) -> None:
        with suppress(OSError):
            self._system.close(fd)
