"""What becomes of rotated files: compressed, and deleted once they are too many, too large together or too old.

Nothing here is needed to write, and everything may be broken off anywhere: what is left is found and finished the next
time, by this process or another. It runs in a thread of its own where there is one.
"""

import math
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from stat import S_ISREG
from typing import Any, Literal, Protocol, cast

from structllm._system import LockingImpossible, Status, System
from structllm.sinks.rotation import FileId, Generation, LogFiles, file_id

Compression = Literal["none", "gzip", "zstd"]

# How long a rotated file is left alone before it is compressed. Other processes may still be about to write to it, and
# whoever follows the log is reading it.
_QUIET_S = 5.0

_AGE_INTERVAL_S = 60.0  # also until what failed, or was locked by another process, is tried again
_CHUNK_BYTES = 1_048_576
_ZSTD_LEVEL = 3  # 300 MB/s and a sixth of the size; higher levels are several times slower for little
_GZIP_LEVEL = 6
_GZIP_WBITS = 31  # a gzip header and trailer around it
_SUFFIXES: Mapping[str, str] = {"gzip": ".gz", "zstd": ".zst"}


class Upkeep:
    """Keeps the rotated files of one log as the settings want them.

    Args:
        system: The operating system.
        files: The names of the log.
        backup_count: Delete rotated files with a higher number.
        max_age_s: Delete rotated files last written to longer ago.
        max_total_bytes: Delete the oldest rotated files while all files together exceed this.
        compression: How to compress rotated files.
        mode: Permissions of compressed files.
        syncs: Whether a compressed file has to be on the disk before the plain one is deleted.
    """

    def __init__(
        self,
        system: System,
        files: LogFiles,
        *,
        backup_count: int,
        max_age_s: float | None,
        max_total_bytes: int | None,
        compression: Compression,
        mode: int,
        syncs: bool,
    ) -> None:
        self._system = system
        self._files = files
        self._backup_count = backup_count
        self._max_age_s = max_age_s
        self._max_total_bytes = max_total_bytes
        self._compression: Compression = compression
        self._mode = mode
        self._syncs = syncs
        self._counts: Counter[str] = Counter()

    def health(self) -> Mapping[str, int]:
        """Return how many files were compressed, were deleted for age or size, and attempts that failed."""
        return {name: self._counts[name] for name in ("compressed", "expired", "failed_upkeep")}

    def is_too_old(self, generation: Generation) -> bool:
        """Return whether the live file was begun longer ago than files may be old."""
        if self._max_age_s is None:
            return False
        try:
            return self._system.now() - generation.begun_at() > self._max_age_s
        except OSError:
            return False

    def run(self) -> float | None:
        """Do what there is to do now; return after how many seconds to do it again, if at all. Never raises OSError."""
        waits = [math.inf if self._max_age_s is None else min(_AGE_INTERVAL_S, self._max_age_s)]
        for step in (self._expire, self._compress, self._delete):
            try:
                waits.append(step())
            except OSError:
                self._counts["failed_upkeep"] += 1
                waits.append(_AGE_INTERVAL_S)
        soonest_s = min(waits)
        return None if math.isinf(soonest_s) else soonest_s

    def _expire(self) -> float:
        """Set aside the rotated files that are too many or too old, and the oldest while all are too large together."""
        if self._expired():
            generation = Generation(self._system, self._files.generation, 0o600)
            try:
                generation.refresh()
                if not self._under_lock(lambda: self._set_expired_aside(generation)):
                    return _AGE_INTERVAL_S
            finally:
                generation.close()
        return math.inf

    def _set_expired_aside(self, generation: Generation) -> bool:
        paths = self._expired()  # asked again, since they may have moved
        generation.announce()
        for path in paths:
            self._files.set_aside(path)
            self._counts["expired"] += 1
        return True

    def _expired(self) -> list[str]:
        found = list(self._found())
        expired = [path for number, path, _ in found if number > self._backup_count]
        if self._max_age_s is None and self._max_total_bytes is None:
            return expired
        total_bytes, now = self._system.status_at(self._files.live).st_size, self._system.now()
        for path, status in ((path, status) for number, path, status in found if number <= self._backup_count):
            total_bytes += status.st_size
            too_much = self._max_total_bytes is not None and total_bytes > self._max_total_bytes
            if too_much or (self._max_age_s is not None and now - status.st_mtime > self._max_age_s):
                expired.append(path)
        return expired

    def _found(self) -> Iterator[tuple[int, str, Status]]:
        """Yield number, path and status of the rotated files, the newest first; what is no file is not ours."""
        for number, paths in sorted(self._files.numbered().items()):
            for path in paths:
                with suppress(FileNotFoundError):  # it has been moved up, or compressed, since it was listed
                    status = self._system.status_at(path)
                    if S_ISREG(status.st_mode):
                        yield number, path, status

    def _delete(self) -> float:
        """Delete what was set aside. Every writer has been told to look whether it writes to one of those."""
        for path in self._files.hidden("tmp"):
            self._delete_abandoned(path)
        for path in self._files.hidden("old"):
            with suppress(FileNotFoundError):
                fd = self._system.open(path, os.O_RDONLY)
                self._mark_done(fd)
                self._close(fd)
                self._system.unlink(path)
        return math.inf

    def _delete_abandoned(self, path: str) -> None:
        """Delete a half compressed file whose maker, who would hold its lock, is dead."""
        try:
            fd = self._system.open(path, os.O_RDWR)
        except FileNotFoundError:
            return
        try:
            if self._system.try_lock(fd):
                with suppress(FileNotFoundError):
                    self._system.unlink(path)
        except LockingImpossible:
            pass
        finally:
            self._system.close(fd)

    def _compress(self) -> float:
        """Compress the rotated files that have been left alone for long enough."""
        if self._compression == "none":
            return math.inf
        wait_s = math.inf
        now = self._system.now()
        # The oldest first: a rotation meanwhile moves the others to names that have been dealt with.
        for _, path, status in reversed(list(self._found())):
            if path.endswith(tuple(_SUFFIXES.values())):
                continue
            quiet_s = now - status.st_mtime
            if 0 <= quiet_s < _QUIET_S:
                wait_s = min(wait_s, _QUIET_S - quiet_s)
                continue
            if not self._compress_file(path):
                wait_s = min(wait_s, _AGE_INTERVAL_S)
        return wait_s

    def _compress_file(self, path: str) -> bool:
        """Put a compressed file in the place of a plain one; return whether that was done.

        The plain one is deleted first and then read to its end once more: a writer that was stopped for long may have
        added a line until then, and one that writes later sees that the file has no name, and writes its line again.
        """
        try:
            source = self._system.open(path, os.O_RDONLY)  # it may be marked already
        except FileNotFoundError:
            return False  # another process was at it
        target: int | None = None
        unfinished = self._files.new_hidden("tmp")
        try:
            if not self._system.try_lock(source):
                return False  # another process is at it
            target = self._system.open(unfinished, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, self._mode)
            self._system.permit(target, self._mode)  # without what the umask took away
            if not self._system.try_lock(target) or not self._system.status_of(target).st_nlink:
                return False  # another process took it for abandoned before it was locked
            read_bytes = self._append_packed(source, 0, target)
            status = self._system.status_of(source)
            which = file_id(status)
            self._system.date(target, status.st_mtime)  # compressing makes no event younger

            def put_in_place() -> bool:
                name = self._name_of(which)
                if name is None:
                    return False
                self._system.rename(unfinished, name + _SUFFIXES[self._compression])
                self._mark_done(source)
                self._system.unlink(name)
                return True

            if not self._under_lock(put_in_place):
                return False
            if self._append_packed(source, read_bytes, target) > read_bytes:
                self._system.date(target, self._system.status_of(source).st_mtime)
            self._counts["compressed"] += 1
            return True
        except LockingImpossible:
            return False
        finally:
            if target is not None:
                with suppress(OSError):  # a file that stays open keeps its lock: nobody could finish the work
                    self._system.unlink(unfinished)
                self._close(target)
            self._close(source)

    def _close(self, fd: int) -> None:
        with suppress(OSError):
            self._system.close(fd)

    def _mark_done(self, fd: int) -> None:
        """Make a file read-only, so that who has it open sees that it was not deleted by a stranger."""
        with suppress(OSError):  # not ours to permit
            self._system.permit(fd, 0o400)

    def _append_packed(self, source: int, offset: int, target: int) -> int:
        """Append what a file holds from an offset on to another file, compressed; return where it ended."""
        chunk = self._system.read_at(source, _CHUNK_BYTES, offset)
        if not chunk:
            return offset
        packing = _packing(self._compression)
        while chunk:
            self._write(target, packing.compress(chunk))
            offset += len(chunk)
            chunk = self._system.read_at(source, _CHUNK_BYTES, offset)
        self._write(target, packing.flush())
        if self._syncs:
            self._system.sync(target)
        return offset

    def _write(self, fd: int, packed: bytes) -> None:
        rest = memoryview(packed)
        while rest:
            rest = rest[self._system.write(fd, rest) :]

    def _name_of(self, which: FileId) -> str | None:
        """Return the path that a rotated file has now, or None where it has left the log."""
        for paths in self._files.numbered().values():
            for path in paths:
                if self._files.id_at(path) == which:
                    return path
        return None

    def _under_lock(self, action: Callable[[], bool]) -> bool:
        fd = self._system.open(self._files.live, os.O_RDWR)
        try:
            return self._files.under_lock(fd, action).value == "done"
        finally:
            self._system.close(fd)


class _Packing(Protocol):
    """One gzip member or zstd frame in the making."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def _packing(compression: Compression) -> _Packing:
    if compression == "gzip":
        return zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WBITS)
    import zstandard  # half a megabyte of library that few settings need

    compressor: Any = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
    return cast("_Packing", compressor.compressobj())
