"""A sink whose records wait on the local disk until an archive has them: what S3 and directory archives share.

Destination: segments in an archive (`structllm/archive`), by way of a spool directory (`spool.py`, `archiver.py`).
Delivery guarantee: a record is in a file of the spool when `write` returns, and a killed process loses none of those.
Each segment is in the archive once, whatever is killed and however often it is tried; nothing is deleted here before
the archive has confirmed its checksum.
Durability: as `fsync` says until a segment is sealed; from then on it is on the disk.
Failure modes: a full spool → SinkUnavailable (`spool_full`), the records that are in it stay; a full disk, no rights →
SinkUnavailable. That the archive cannot be reached is no failure of a write: see `health()`.
Units: sizes in bytes, times in seconds.

`write` never waits for the archive. Storing is done in another thread, that of `defer_uploads_to`; without one, by
`flush`.
"""

import math
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from structllm._system import System
from structllm._types import Defer
from structllm.archive.names import Compression
from structllm.archive.store import Store
from structllm.sinks.archiver import Archiver, waiting_of
from structllm.sinks.durability import Fsync
from structllm.sinks.integrity import Integrity
from structllm.sinks.lines import LineSink
from structllm.sinks.sealing import SegmentSealer
from structllm.sinks.segment import LiveSegment
from structllm.sinks.spool import Spool

_RESCAN_S = 60.0  # after which to look for segments that other processes have left
_FIRST_SCAN_S = 1.0
_BUSY_PAUSE_S = 0.05
_CLOSE_S = 2.0  # that closing waits for what it ended to be archived


class SpooledSink(LineSink):
    """Appends records to segments in a spool, and has them archived. Thread-safe.

    Args:
        store: Where segments go.
        spool_dir: Where they wait; a directory of this destination alone.
        compression: Of the segments: `zstd`, `gzip` or `none`.
        segment_max_bytes: A segment ends before it grows beyond this, not compressed.
        segment_max_age_s: And this long after it was begun.
        spool_max_bytes: What may wait. Records beyond it are dropped, the newest first, so that what is archived has no
            holes in the middle.
        fsync: When an open segment is on the disk: `never` before it is sealed, `interval` or `always`, as for files.
        fsync_events: Event types that are on the disk when `write` returns, whatever `fsync` says.
        mode: Permissions of the files.
        integrity: `chain` and `hmac` add `sink_seq` and `hash` to each line.
        hmac_key: The key of `hmac`.
        system: The operating system.

    Raises:
        ConfigError: There is no key for `hmac`.
    """

    def __init__(
        self,
        store: Store,
        spool_dir: str,
        *,
        compression: Compression = "zstd",
        segment_max_bytes: int = 8_388_608,
        segment_max_age_s: float = 300.0,
        spool_max_bytes: int = 1_073_741_824,
        fsync: Fsync = "never",
        fsync_events: Iterable[str] = (),
        mode: int = 0o600,
        integrity: Integrity = "none",
        hmac_key: str | bytes | None = None,
        system: System | None = None,
    ) -> None:
        system = system or System()
        self._defer_uploads: Defer | None = None
        self.store = store
        self.spool = Spool(system, os.path.abspath(spool_dir), mode)
        self._segment = LiveSegment(
            system,
            self.spool,
            max_bytes=segment_max_bytes,
            max_age_s=segment_max_age_s,
            spool_max_bytes=spool_max_bytes,
            begun=self._run_in,
            ended=partial(self._run_in, 0.0),
            let_go=self._let_go,
        )
        super().__init__(
            system,
            self._segment,
            self.spool.opened,
            fsync=fsync,
            fsync_events=fsync_events,
            integrity=integrity,
            hmac_key=hmac_key,
        )
        self.archiver = Archiver(self.spool, SegmentSealer(self.spool, compression), store, clock=system.monotonic)
        self._begin()

    def _begin(self) -> None:
        self._begin_lines()
        self._round = 0  # the run of the archiver that is awaited; those before it have been replaced
        self._run_at_s = math.inf
        self._told_error: str | None = None
        self._told_quarantined: str | None = None

    def defer_to(self, defer: Defer) -> None:
        """Have open segments synced in another thread, where `fsync` is `interval`."""
        self._defer = defer

    def defer_uploads_to(self, defer: Defer) -> None:
        """Have segments archived in another thread, those that earlier processes have left among them.

        Not in that of `defer_to`: an archive that hangs would keep the syncs waiting.
        """
        self._defer_uploads = defer
        self._run_in(_FIRST_SCAN_S)

    def flush(self, timeout_s: float, /) -> bool:
        """Return True only if everything written is in the archive, within `timeout_s` seconds.

        Ends the segment, and makes room where the spool is full, of what others wrote as well. Gives up early where the
        archive cannot be reached: what waits is on the disk.
        """
        deadline_s = self._system.monotonic() + timeout_s
        with self._turns.take() as mine:
            if not mine or self._turns.held or not self._settle():
                return False
            self._segment.end()
            if self._syncs:
                self._durability.confirm()  # nothing holds the segment open any more
            nothing_to_do = not (self._segment.number or self._segment.is_refused)
        return nothing_to_do or self._wait_for_archive(deadline_s)

    def about_to_close(self) -> None:
        """End the segment for good, so that the last flush brings the end into the archive as well."""
        with self._turns.take() as mine:
            if mine:
                self._settle()
                self._segment.end_for_good()

    def close(self) -> None:
        """End the segment for good, and give the archive two seconds. What it has not by then waits in the spool."""
        with self._turns.take() as mine:
            if not mine:
                self._turns.held.append(self._segment.end_for_good)
                return
            self._settle()
            self._segment.end_for_good()
            if self._syncs:
                self._durability.confirm()
        if self._segment.number and self.archiver.last_error is None:
            self._wait_for_archive(self._system.monotonic() + _CLOSE_S)

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child: with segments of its own, beside those of its parent."""
        self._abandon()  # without unlocking, which would unlock the parent's segment
        self._segment.owners.clear()
        self._segment.begin()
        self.spool.abandon()
        self.archiver.begin()
        reset = getattr(self.store, "reset_after_fork", None)
        if reset is not None:
            reset()
        self._begin()

    def health(self) -> Mapping[str, Any]:
        """Return what waits, what was archived so far, and `last_error` while that does not work."""
        try:
            waiting = {**waiting_of(self.spool), "spool_bytes": self.spool.used_bytes()}
        except OSError:
            waiting = {}
        return {**waiting, **self._durability.health(), **self.archiver.health()}

    # ---- the archiver, which runs in another thread

    def _run_in(self, delay_s: float) -> None:
        """Have the archiver run later, in place of what was to be done later before, unless that comes sooner."""
        if self._defer_uploads is None:
            return
        now_s = self._system.monotonic()
        if now_s - _RESCAN_S < self._run_at_s <= now_s + delay_s:
            return  # one that should have run a minute ago has been forgotten, for want of a thread
        self._run_at_s = now_s + delay_s
        self._round += 1
        awaited = self._round

        def job() -> None:
            if awaited == self._round:
                self._archive()

        self._defer_uploads(delay_s, job)

    def _archive(self) -> None:
        """End a segment that is old, and run the archiver."""
        with self._turns.take() as mine:
            self._run_at_s = math.inf  # what ends from here on is for another run
            if mine:
                self._segment.end_if_old()
        again_s: float | None = None
        try:
            again_s = self.archiver.run()
            self._tell()
        finally:
            with self._turns.lock:
                self._segment.measure_anew()
                left_s = max(0.0, self._segment.ends_at_s - self._system.monotonic())
                self._run_in(min(_RESCAN_S if again_s is None else again_s, _RESCAN_S, left_s))

    def _tell(self) -> None:
        """Have people told what is new."""
        if (error := self.archiver.last_error) != self._told_error:
            self._told_error = error
            if error is not None:
                self._report(f"{error}; what is not archived waits in {self.spool.directory}")
        if (set_aside := self.archiver.last_quarantined) != self._told_quarantined:
            self._told_quarantined = set_aside
            self._report(f"a segment was refused: {set_aside}")

    def _wait_for_archive(self, deadline_s: float) -> bool:
        self.archiver.hurry()
        if self._defer_uploads is None:
            self._archive()
            return self._is_archived()
        while (left_s := deadline_s - self._system.monotonic()) > 0:
            done = threading.Event()
            self._defer_uploads(0.0, partial(self._archive_and, done.set))
            if not done.wait(left_s):
                return False
            if self.archiver.last_error is not None or self._is_archived():
                break
            self._system.sleep(min(_BUSY_PAUSE_S, left_s))  # another process archives
        return self._is_archived()

    def _archive_and(self, tell: Callable[[], None]) -> None:
        try:
            self._archive()
        finally:
            tell()

    def _is_archived(self) -> bool:
        try:
            return not any(waiting_of(self.spool, self._segment.owners).values())
        except OSError:
            return False
