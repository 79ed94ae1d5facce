"""Rotating files of JSON lines.

Destination: one local file, and its rotated predecessors `PATH.1` (newest) to `PATH.N` (oldest).
Delivery guarantee: a record is in the file's page cache when `write` returns; a killed process loses none of those.
Durability: as `fsync` says; by default power loss may take what the system had not written back yet.
Failure modes: no space, no rights, no directory → `SinkUnavailable`; a symlink or no regular file in place of the file,
or a failed fsync → `SinkRejected`. A file system without locks: no rotation, `health()["degraded"]`.
Units: sizes in bytes, times in seconds.

Any number of processes and threads may write one path. An append is one `os.write` to an O_APPEND descriptor and takes
no lock between processes (`live.py`); only a rotation does (`rotation.py`). Compressing and deleting is left to another
thread (`upkeep.py`). With `integrity`, each line is sealed (`integrity.py`).
"""

import math
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from structllm._options import LogPath
from structllm._system import LockingImpossible, System
from structllm._types import Defer
from structllm.errors import ConfigError, SinkError
from structllm.sinks.durability import Fsync
from structllm.sinks.integrity import Integrity, LineSinkConfig
from structllm.sinks.lines import LineSink
from structllm.sinks.live import LiveFile
from structllm.sinks.rotation import LogFiles
from structllm.sinks.upkeep import Compression, Upkeep

_MOST_NAME_BYTES = 235  # most file systems take 255, and what waits for its deletion has 18 more
_UPKEEP_AFTER_S = 1.0  # after opening: what an earlier process left is no reason to make the first event wait


class FileSinkConfig(LineSinkConfig):
    """Settings of the file sink."""

    type: Literal["file"] = "file"
    path: LogPath = Field(description="The file; its directory is created.")
    max_bytes: int = Field(default=52_428_800, ge=1024, description="Rotate before a file grows beyond this.")
    backup_count: int = Field(default=5, ge=0, le=1000, description="Rotated files kept; 0 deletes at rotation.")
    max_age_s: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Delete rotated files last written to longer ago than this, and rotate a file begun longer ago.",
    )
    max_total_bytes: int | None = Field(
        default=None, ge=1024, description="Delete the oldest rotated files while all files together exceed this."
    )
    compression: Compression = Field(
        default="none", description="Compress rotated files in the background: none, gzip or zstd."
    )

    def build(self) -> "FileSink":
        """Open the file; raise ConfigError where that cannot work."""
        if len(os.fsencode(self.path.name)) > _MOST_NAME_BYTES:
            raise ConfigError(
                f"file sink: a name of more than {_MOST_NAME_BYTES} bytes leaves no room for rotated files"
            )
        sink = FileSink(
            self.path,
            max_bytes=self.max_bytes,
            backup_count=self.backup_count,
            max_age_s=self.max_age_s,
            max_total_bytes=self.max_total_bytes,
            compression=self.compression,
            fsync=self.fsync,
            fsync_events=self.fsync_events,
            mode=int(self.mode, 8),
            integrity=self.integrity,
            hmac_key=self.key,
        )
        try:
            sink.open()
        except SinkError as error:
            raise ConfigError(f"file sink: cannot write {self.path}: {error}") from None
        return sink

    def check(self) -> list[str]:
        """Say whether the file, or else the nearest existing directory above it, can be written."""
        if self.path.is_symlink():
            return [f"{self.path} is a symbolic link, which the file sink refuses"]
        if self.path.is_dir():
            return [f"{self.path} is a directory; name a file in it"]
        nearest = next(parent for parent in self.path.absolute().parents if parent.exists())
        if not nearest.is_dir():
            return [f"{nearest} is in the way: it is no directory"]
        # The directory must be writable even where the file is there already: rotation renames.
        places = [self.path, nearest] if self.path.exists() else [nearest]
        problems = [f"{place} is not writable" for place in places if not os.access(place, os.W_OK)]
        return problems or _locking_problems(self.path)


class FileSink(LineSink):
    """Appends records to a file and rotates it. Thread-safe; see the module for the guarantees.

    Args:
        path: The file; its directory is created.
        max_bytes: Rotate before the file grows beyond this. Several processes may exceed it by one record each.
        backup_count: Rotated files kept; with 0 a full file is deleted.
        max_age_s: Rotated files last written to longer ago are deleted, and a file begun longer ago is rotated.
        max_total_bytes: The oldest rotated files are deleted while all files of the log exceed this.
        compression: `none`, `gzip` or `zstd`, for rotated files that have been left alone for some seconds.
        fsync: `never`; `interval`: within a second, in the background; `always`: before `write` returns.
        fsync_events: Event types that are on the disk when `write` returns, whatever `fsync` says.
        mode: Permissions of the files. Who may read the files may also list the directory, if the sink makes it.
        integrity: `chain` and `hmac` add `sink_seq` and `hash` to each line: up to 105 bytes more than the record's.
        hmac_key: The key of `hmac`.
        system: The operating system.

    Raises:
        ConfigError: There is no key for `hmac`.

    Without `defer_to`, what takes long (deleting, compressing) is done by the write that makes it necessary.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_bytes: int = 52_428_800,
        backup_count: int = 5,
        max_age_s: float | None = None,
        max_total_bytes: int | None = None,
        compression: Compression = "none",
        fsync: Fsync = "never",
        fsync_events: Iterable[str] = (),
        mode: int = 0o600,
        integrity: Integrity = "none",
        hmac_key: str | bytes | None = None,
        system: System | None = None,
    ) -> None:
        system = system or System()
        files = LogFiles(system, os.path.abspath(path))
        self._live = LiveFile(
            system,
            files,
            max_bytes=max_bytes,
            backup_count=backup_count,
            mode=mode,
            let_go=self._let_go,
            looked=self._looked,
        )
        super().__init__(
            system,
            self._live,
            files.directory,
            fsync=fsync,
            fsync_events=fsync_events,
            integrity=integrity,
            hmac_key=hmac_key,
        )
        self._directory = files.directory
        self._upkeep = Upkeep(
            system,
            files,
            backup_count=backup_count,
            max_age_s=max_age_s,
            max_total_bytes=max_total_bytes,
            compression=compression,
            mode=mode,
            syncs=self._syncs,
        )
        self._reported: str | None = None
        self._begin()

    def _begin(self) -> None:
        self._begin_lines()
        self._upkeep_round = 0  # the job that is awaited; those before it have been replaced
        self._upkeep_at_s = self._system.monotonic() + _UPKEEP_AFTER_S

    def defer_to(self, defer: Defer) -> None:
        """Have deletion, compression and fsync by interval done in another thread."""
        self._defer = defer

    def flush(self, timeout_s: float, /) -> bool:
        """Return whether what was written is where `fsync` wants it; in the middle of a write nobody knows: False."""
        with self._turns.take() as mine:
            return mine and not self._turns.held and self._settle()

    def close(self) -> None:
        """Look after what was written, sync it where `fsync` says so, and close the file; after a write under way."""
        with self._turns.take() as mine:
            if mine:
                self._close()
            else:
                self._turns.held.append(self._close)

    def _close(self) -> None:
        self._settle()
        self._live.close()

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child, with a lock and open files of its own.

        The old lock may be held by a thread that exists in the parent alone, and with an open file parent and child
        would share its lock.
        """
        self._abandon()
        self._begin()

    def health(self) -> Mapping[str, Any]:
        """Return what happened to the files so far, and in which respect less is promised than usual."""
        with self._turns.lock:
            counts = {**self._live.health(), **self._durability.health(), **self._upkeep.health()}
            return {**counts, "degraded": self._live.degraded}

    def _looked(self, now: float) -> None:
        """See to deletion and compression from time to time, and say when there are no locks."""
        if self._live.degraded != self._reported:
            self._reported = self._live.degraded
            if self._reported is not None:
                self._report(f"the file system of {self._directory} has no locks, so the file is not rotated")
        if self._live.take_rotated() or now >= self._upkeep_at_s:
            self._upkeep_at_s = math.inf
            if self._defer is not None:
                self._defer_upkeep(self._defer, 0.0)
            else:
                self._keep_up()

    def _defer_upkeep(self, defer: Defer, delay_s: float) -> None:
        """Have it done later, in place of what was to be done later before."""
        self._upkeep_round += 1
        awaited = self._upkeep_round

        def job() -> None:
            if awaited == self._upkeep_round:
                self._keep_up()

        defer(delay_s, job)

    def _keep_up(self) -> None:
        begun = self._upkeep_round
        again_s = self._upkeep.run()
        with self._turns.take(), suppress(OSError, SinkError):
            if self._live.fd < 0:
                return
            if again_s is not None and self._defer is not None:
                if begun == self._upkeep_round:
                    self._defer_upkeep(self._defer, again_s)
            elif again_s is not None:
                self._upkeep_at_s = self._system.monotonic() + again_s
            if self._upkeep.is_too_old(self._live.generation):
                self._live.rotate()


def _locking_problems(path: Path) -> list[str]:
    """Say whether the file could be rotated, where it is there already."""
    system = System()
    try:
        fd = system.open(str(path.absolute()), os.O_RDWR)
    except OSError:
        return []
    try:
        system.try_lock(fd)
    except LockingImpossible:
        return [f"the file system of {path} has no locks, so the file would not be rotated"]
    except OSError:
        return []
    finally:
        system.close(fd)
    return []
