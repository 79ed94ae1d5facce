"""Rotating files of JSON lines.

Destination: one local file, and its rotated predecessors `PATH.1` (newest) to `PATH.N` (oldest).
Delivery guarantee: a record is in the file's page cache when `write` returns; a killed process loses none of those.
Durability: no fsync, so power loss may take the last seconds.
Failure modes: no space, no rights, no directory → `SinkUnavailable`; a symlink in place of the file → `SinkRejected`.
Units: sizes in bytes. Several processes may write one path: an append is one `os.write` to an O_APPEND descriptor, and
only rotation takes a lock (`.NAME.lock` beside the file), for which it waits at most 0.2 s, and at most once a second.
"""

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from structllm._options import LogPath
from structllm._types import Record
from structllm.errors import ConfigError, SinkError, SinkRejected, SinkUnavailable
from structllm.sinks.config import SinkConfig

# How long a rotation waits for that of another process, and how long after a vain wait the next one is tried. Between
# the two the file grows beyond its limit: a record late or lost would be worse.
_ROTATION_WAIT_S = 0.2
_ROTATION_RETRY_S = 1.0

# How often a writer looks whether somebody else moved the file away (logrotate, another process's rotation).
_LOOK_INTERVAL_S = 1.0


def _octal(text: str) -> str:
    try:
        mode = int(text, 8)
    except ValueError:
        raise ValueError('must be an octal string such as "0600"') from None
    if not mode & 0o200 or mode > 0o777:
        raise ValueError('must let its owner write and be at most "0777"')
    return text


class FileSinkConfig(SinkConfig):
    """Settings of the file sink."""

    type: Literal["file"] = "file"
    path: LogPath = Field(description="The file; its directory is created.")
    max_bytes: int = Field(default=52_428_800, ge=1024, description="Rotate before a file grows beyond this.")
    backup_count: int = Field(default=5, ge=0, le=1000, description="Rotated files kept; 0 deletes at rotation.")
    mode: Annotated[str, AfterValidator(_octal)] = Field(default="0600", description="Permissions, octal.")

    def build(self) -> "FileSink":
        """Open the file; raise ConfigError where that cannot work."""
        sink = FileSink(self.path, max_bytes=self.max_bytes, backup_count=self.backup_count, mode=int(self.mode, 8))
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
        return [f"{place} is not writable" for place in places if not os.access(place, os.W_OK)]


class FileSink:
    """Appends records to a file and rotates it by size. Thread-safe; see the module for the guarantees.

    Args:
        path: The file; its directory is created with mode 0700.
        max_bytes: Rotate before the file grows beyond this.
        backup_count: Rotated files kept; with 0 a full file is deleted.
        mode: Permissions of the files.
    """

    def __init__(
        self, path: str | Path, *, max_bytes: int = 52_428_800, backup_count: int = 5, mode: int = 0o600
    ) -> None:
        self._path = os.path.abspath(path)
        self._max_bytes = max_bytes
        self._backup_count = backup_count
        self._mode = mode
        self._lock = threading.RLock()
        self._fd: int | None = None
        self._size_bytes = 0
        self._looked_at_s = 0.0
        self._rotate_after_s = 0.0

    def open(self) -> None:
        """Open the file now rather than at the first write. Raises SinkUnavailable or SinkRejected."""
        with self._lock:
            if self._fd is None:
                self._attempt(self._open)

    def write(self, batch: Sequence[Record], /) -> None:
        """Append each record as one line with one `os.write`."""
        with self._lock:
            for record in batch:
                self._attempt(self._append, record.line)

    def flush(self, timeout_s: float, /) -> bool:
        """Return True: what was written is already with the operating system."""
        return True

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def reset_after_fork(self) -> None:
        """Take a new lock in a forked child: the old one may be held by a thread that exists in the parent alone."""
        self._lock = threading.RLock()

    def _append(self, line: bytes) -> None:
        now = time.monotonic()
        if self._fd is None or now - self._looked_at_s > _LOOK_INTERVAL_S:
            self._reopen_if_moved()
            self._looked_at_s = now
        if self._size_bytes + len(line) > self._max_bytes and self._size_bytes:
            self._rotate(len(line), now)
        self._write_all(line)
        assert self._fd is not None
        if not os.fstat(self._fd).st_nlink:
            # Other processes rotated the file away and out of existence since it was looked at, and the line with it.
            self._close()
            self._open()
            self._write_all(line)

    def _write_all(self, line: bytes) -> None:
        assert self._fd is not None
        written = os.write(self._fd, line)
        self._size_bytes += written
        if written < len(line):
            self._finish_short_write(line[written:])

    def _finish_short_write(self, rest: bytes) -> None:
        """Write the rest; where that fails, end the torn line so that the next record begins a line of its own."""
        assert self._fd is not None
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            self._close()  # the next open repairs the tail, once there is room again
            raise

    def _open(self) -> None:
        directory, name = os.path.split(self._path)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(self._path, flags, self._mode)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise SinkRejected("symlink", f"{name} is a symbolic link") from None
            raise
        try:
            self._size_bytes = os.fstat(fd).st_size
            if self._size_bytes and os.pread(fd, 1, self._size_bytes - 1) != b"\n":
                self._size_bytes += os.write(fd, b"\n")
        except OSError:
            os.close(fd)
            raise
        self._fd = fd

    def _reopen_if_moved(self) -> None:
        if self._fd is not None and not self._is_current(self._fd):
            self._close()
        if self._fd is None:
            self._open()
        else:
            self._size_bytes = os.fstat(self._fd).st_size

    def _is_current(self, fd: int) -> bool:
        try:
            named = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(fd))

    def _rotate(self, coming_bytes: int, now: float) -> None:
        """Move the files up by one under a lock between processes. A failure is no reason to lose the record."""
        if now < self._rotate_after_s:
            return
        try:
            lock = os.open(self._lock_path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return
        try:
            if not _locked(lock):
                self._rotate_after_s = time.monotonic() + _ROTATION_RETRY_S
                return
            self._reopen_if_moved()  # another process may have rotated while this one waited
            if self._size_bytes + coming_bytes > self._max_bytes and self._size_bytes:
                self._move_up()
                self._close()
                self._open()
        except OSError:
            if self._fd is None:
                self._open()
        finally:
            # Said expressly: a child that was forked meanwhile holds the descriptor too, and with it the lock.
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)

    def _move_up(self) -> None:
        if self._backup_count == 0:
            os.unlink(self._path)
            return
        for number in range(self._backup_count, 0, -1):
            source = f"{self._path}.{number - 1}" if number > 1 else self._path
            try:
                os.rename(source, f"{self._path}.{number}")
            except FileNotFoundError:
                continue

    def _lock_path(self) -> str:
        directory, name = os.path.split(self._path)
        return os.path.join(directory, f".{name}.lock")

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _attempt(self, action: Callable[..., None], *arguments: object) -> None:
        """Run a file operation, turning what the operating system says into the sink's own errors."""
        try:
            action(*arguments)
        except OSError as error:
            reasons = {errno.ENOSPC: "disk_full", errno.EDQUOT: "disk_full", errno.EACCES: "no_permission"}
            reason = reasons.get(error.errno or 0, "os_error")
            raise SinkUnavailable(reason, os.strerror(error.errno or 0)) from None


def _locked(lock: int) -> bool:
    """Take the lock between processes, waiting a bounded time; return whether it was had."""
    deadline = time.monotonic() + _ROTATION_WAIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
