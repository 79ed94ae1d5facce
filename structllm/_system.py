"""Every call that the file sink makes of the operating system, in one place.

A sink is given its `System`, so that a test can fail the Nth call, or replace the file system by a model of one whose
every interleaving can be tried.
"""

import errno
import fcntl
import os
import time
from typing import Protocol

# What flock answers where there are no locks at all, as on some network file systems.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


class LockingImpossible(Exception):
    """The file system has no locks."""


class Status(Protocol):
    """What a sink wants to know of a file: the part of `os.stat_result` that it uses."""

    @property
    def st_dev(self) -> int:
        """Device."""
        ...

    @property
    def st_ino(self) -> int:
        """Inode."""
        ...

    @property
    def st_nlink(self) -> int:
        """How many names it has."""
        ...

    @property
    def st_mode(self) -> int:
        """Kind and permissions."""
        ...

    @property
    def st_size(self) -> int:
        """Bytes."""
        ...

    @property
    def st_mtime(self) -> float:
        """Last write, in seconds since the epoch."""
        ...


class System:
    """The operating system. All methods raise OSError as the functions of `os` do.

    Paths are absolute. Nothing here follows a symbolic link in the last part of a path.
    """

    # The calls of every event are the functions themselves: a wrapper would cost as much as the check that it serves.
    write = staticmethod(os.write)
    seek = staticmethod(os.lseek)
    monotonic = staticmethod(time.monotonic)

    def now(self) -> float:
        """Return the time in seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def token(self) -> str:
        """Return twelve random hexadecimal digits, for a name that nobody else uses."""
        return os.urandom(6).hex()

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """Open a file and return its descriptor; it is not inherited by programs that this one starts."""
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def duplicate(self, fd: int) -> int:
        """Return another descriptor of the same open file."""
        return os.dup(fd)

    def status_of(self, fd: int) -> Status:
        """Return the status of an open file."""
        return os.fstat(fd)

    def status_at(self, path: str) -> Status:
        """Return the status of what has this name."""
        return os.stat(path, follow_symlinks=False)

    def read_at(self, fd: int, count: int, offset: int) -> bytes:
        """Return up to `count` bytes from an offset."""
        return os.pread(fd, count, offset)

    def resize(self, fd: int, size_bytes: int) -> None:
        """Give a file a size."""
        os.ftruncate(fd, size_bytes)

    def permit(self, fd: int, mode: int) -> None:
        """Give a file its permissions."""
        os.fchmod(fd, mode)

    def date(self, fd: int, seconds: float) -> None:
        """Let a file have been written to at this time, in seconds since the epoch."""
        os.utime(fd, (seconds, seconds))

    def rename(self, source: str, target: str) -> None:
        """Give a file another name; what had that name loses it."""
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        """Take a name away."""
        os.unlink(path)

    def make_directories(self, path: str, mode: int) -> None:
        """Make a directory and those above it where they are missing, all with these permissions."""
        above = os.path.dirname(path)
        if above != path and not os.path.isdir(above):
            self.make_directories(above, mode)
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            if not os.path.isdir(path):
                raise

    def names_in(self, directory: str) -> list[str]:
        """Return the names in a directory, in no order."""
        return os.listdir(directory)

    def try_lock(self, fd: int) -> bool:
        """Take the lock of an open file (flock) and return whether it was free.

        Raises:
            LockingImpossible: The file system has no locks.
        """
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise LockingImpossible from None
            raise
        return True

    def unlock(self, fd: int) -> None:
        """Let go of the lock, also where a forked child shares the open file."""
        fcntl.flock(fd, fcntl.LOCK_UN)

    def sync(self, fd: int) -> None:
        """Wait until the content of a file is on the disk, and what is needed to find it."""
        os.fdatasync(fd)

    def sync_directory(self, path: str) -> None:
        """Wait until the names in a directory are on the disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
