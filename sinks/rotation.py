"""The files of a log on disk, and how they move up by one number.

A log `x.log` has rotated files `x.log.1` (the newest) to `x.log.N`, each of them plain or compressed, and hidden ones
beside it: `.x.log.rotation` tells all writers of rotations, `.x.log.*.old` waits for its deletion, `.x.log.*.tmp` is
being compressed. None of the hidden ones is needed to read the log, and each may be deleted at any time.
"""

import errno
import itertools
import os
import re
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from stat import S_ISREG, S_IWUSR

from structllm._system import LockingImpossible, Status, System

WAIT_S = 0.2
"""How long a writer waits for the lock that another process holds; then the file grows beyond its limit for a while."""

_PAUSE_S = 0.005

FileId = tuple[int, int]
"""Device and inode: which file it is, whatever its name."""


class Outcome(Enum):
    """How an attempt to rotate ended."""

    DONE = "done"
    NOT_CURRENT = "not current"
    NOT_NEEDED = "not needed"
    BUSY = "busy"
    NO_LOCKS = "no locks"


def file_id(status: Status) -> FileId:
    """Return which file a status is of."""
    return status.st_dev, status.st_ino


class LogFiles:
    """The names of one log.

    Args:
        system: The operating system.
        path: The live file.
    """

    def __init__(self, system: System, path: str) -> None:
        self._system = system
        self.live = path
        self.directory, self._name = os.path.split(path)
        self.generation = os.path.join(self.directory, f".{self._name}.rotation")
        self._rotated = re.compile(re.escape(self._name) + r"\.([1-9]\d{0,2}|1000)(\.gz|\.zst)?")  # not a date
        self._hidden = re.compile(r"\." + re.escape(self._name) + r"\.[0-9a-f]{12}\.(old|tmp)")

    def numbered(self) -> dict[int, list[str]]:
        """Return the paths of the rotated files by number; one that is just being compressed has two."""
        found: dict[int, list[str]] = {}
        for name in self._system.names_in(self.directory):
            match = self._rotated.fullmatch(name)
            if match is not None:
                found.setdefault(int(match[1]), []).append(os.path.join(self.directory, name))
        return found

    def hidden(self, kind: str) -> list[str]:
        """Return the paths of what waits for its deletion (`old`) or is being compressed (`tmp`)."""
        matches = map(self._hidden.fullmatch, self._system.names_in(self.directory))
        return [os.path.join(self.directory, match[0]) for match in matches if match is not None and match[1] == kind]

    def new_hidden(self, kind: str) -> str:
        """Return a path of this kind that nobody uses."""
        return os.path.join(self.directory, f".{self._name}.{self._system.token()}.{kind}")

    def id_at(self, path: str) -> FileId | None:
        """Return which file has this name, or None where none has."""
        try:
            return file_id(self._system.status_at(path))
        except FileNotFoundError:
            return None

    def set_aside(self, path: str) -> None:
        """Take a file out of the log. Deleting 50 MB takes milliseconds; a new name takes microseconds.

        Only for a holder of the lock, and only after `Generation.advance`: whoever still writes to the file has to
        notice.
        """
        self._system.rename(path, self.new_hidden("old"))

    def move_up(self, backup_count: int, generation: "Generation") -> None:
        """Give the live file the number 1 and the others the next one; what exceeds the count is set aside.

        Only for a holder of the lock. No file takes the name of another: where a number is free, because a process was
        killed in the middle of this, no file beyond it moves. So it may be broken off anywhere and done again.

        Args:
            backup_count: The highest number there is to be, at least 1.
            generation: Is advanced before a file leaves the log, and after the live file has got its number.
        """
        numbered = self.numbered()
        for path in (path for paths in numbered.values() for path in paths):
            if not S_ISREG(self._system.status_at(path).st_mode):
                raise FileExistsError(errno.EEXIST, "no file of a log", path)
        free = next(number for number in itertools.count(1) if number not in numbered)
        last = min(free, backup_count)
        leaving = [number for number in numbered if number > backup_count or (number == last and number < free)]
        if leaving:
            generation.advance()
            for path in (path for number in leaving for path in numbered[number]):
                self.set_aside(path)
        for number in range(last - 1, 0, -1):
            for path in numbered[number]:
                suffix = path.removeprefix(f"{self.live}.{number}")
                self._system.rename(path, f"{self.live}.{number + 1}{suffix}")
        self._system.rename(self.live, f"{self.live}.1")
        with suppress(OSError):  # the others find out when they look
            generation.advance()

    def under_lock(self, fd: int, action: Callable[[], bool]) -> Outcome:
        """Do something to the names of the log while no other process does.

        The lock is on the live file itself, so that nobody can delete it from under its holder: who has the lock of
        the file that is named `path` is alone, and a rotation gives that name to another file as its last step. Where
        somebody else renames the live file meanwhile, the next one has a lock of its own; so the file that tells of
        rotations is locked as well, and it takes a stranger in both places to let two in.

        Args:
            fd: The live file.
            action: What to do; returns False where it finds that nothing has to be done.

        Raises:
            OSError: Of the action.
        """
        deadline_s = self._system.monotonic() + WAIT_S
        try:
            if not self._locks(fd, deadline_s):
                return Outcome.BUSY
        except LockingImpossible:
            return Outcome.NO_LOCKS
        second = -1
        try:
            with suppress(OSError, LockingImpossible):  # the first one has to do, as it nearly always does
                second = self._system.open(self.generation, os.O_RDWR)
                if not self._locks(second, deadline_s):
                    return Outcome.BUSY
            if self.id_at(self.live) != file_id(self._system.status_of(fd)):
                return Outcome.NOT_CURRENT
            return Outcome.DONE if action() else Outcome.NOT_NEEDED
        finally:
            with suppress(OSError):
                self._system.unlock(fd)
            if second >= 0:
                with suppress(OSError):
                    self._system.unlock(second)  # closing it would not do where a child has inherited it
                with suppress(OSError):
                    self._system.close(second)

    def _locks(self, fd: int, deadline_s: float) -> bool:
        """Lock a file; return whether that was possible by the deadline. Raises LockingImpossible."""
        while not self._system.try_lock(fd):
            if self._system.monotonic() >= deadline_s:
                return False
            self._system.sleep(_PAUSE_S)
        return True

    def has_lost(self, fd: int, which: FileId, *, lock: int, highest: int, confirmed: bool) -> bool:
        """Return whether an open file, and what was last written to it, has left the log.

        Finding it under a number proves that it was in the log after the write. Not finding it proves nothing, for
        files may move while one looks; then it is decided under the lock.

        Args:
            fd: The file.
            which: The same.
            lock: The live file, for its lock.
            highest: The highest number that a file may have.
            confirmed: Whether no rotation had been told when the last lines were written. What retention or
                compression took out of the log after that was in it, and is not to come back.
        """
        for number in range(1, highest + 1):
            with suppress(OSError):
                if self.id_at(f"{self.live}.{number}") == which:
                    return False
        found: list[bool] = []

        def look() -> bool:
            # In this order, since it may be deleted meanwhile. A name that somebody else gave it is as good as ours.
            waits_for_deletion = which in map(self.id_at, self.hidden("old"))
            status = self._system.status_of(fd)
            was_in_log = confirmed and (waits_for_deletion or not status.st_mode & S_IWUSR)
            found.append(not was_in_log and (waits_for_deletion or not status.st_nlink))
            return True

        try:
            if self.under_lock(lock, look) is not Outcome.DONE:
                look()
        except OSError:
            found.append(self._is_nameless(fd))
        return found[-1]

    def _is_nameless(self, fd: int) -> bool:
        """Return whether a file has no name; where even that cannot be found out, twice is better than not at all."""
        try:
            return not self._system.status_of(fd).st_nlink
        except OSError:
            return True


class Generation:
    """How often a log was rotated, for every writer to see at the price of one `lseek`.

    It is the size of a file: rotating appends a byte, which no two writers can do as one. Not a mapped counter: if
    somebody truncated the file, reading the mapping would kill the host program (SIGBUS).
    """

    def __init__(self, system: System, path: str, mode: int) -> None:
        self._system = system
        self._path = path
        self._mode = mode
        self.which: FileId | None = None  # which file it is
        self.fd = -1  # what lseek refuses: without the file, every write is checked the long way

    def refresh(self) -> int:
        """Return the present generation; open the file where that has not been done, or somebody deleted it."""
        try:
            if self.fd < 0 or file_id(self._system.status_at(self._path)) != self.which:
                self._open()
            return self._system.seek(self.fd, 0, os.SEEK_END)
        except FileNotFoundError:
            self._open()
            return self._system.seek(self.fd, 0, os.SEEK_END)

    def advance(self) -> None:
        """Let every writer know that files have got other names, or are about to."""
        if self.fd < 0:
            self._open()
        try:
            self._system.write(self.fd, b".")
        except OSError:
            # A full disk: a hole needs no room. (Two processes may make the same one, which an append rules out.)
            self._system.resize(self.fd, self._system.seek(self.fd, 0, os.SEEK_END) + 1)

    def announce(self) -> None:
        """Advance, but make the live file no younger: other files are about to leave the log."""
        begun_at = self.begun_at()
        self.advance()
        with suppress(OSError):  # not ours to date; then the live file stays for longer
            self._system.date(self.fd, begun_at)

    def begun_at(self) -> float:
        """Return when the last rotation was, in seconds since the epoch, or when this file was made."""
        return self._system.status_of(self.fd).st_mtime

    def verify(self) -> None:
        """Forget the descriptor where the host closed it: its number may be another file's now."""
        if self.fd < 0:
            return
        try:
            if file_id(self._system.status_of(self.fd)) == self.which:
                return
        except OSError as error:
            if error.errno != errno.EBADF:
                return
        self.fd, self.which = -1, None

    def close(self) -> None:
        """Close the file."""
        fd, self.fd, self.which = self.fd, -1, None
        if fd >= 0:
            with suppress(OSError):
                self._system.close(fd)

    def _open(self) -> None:
        fd = self._system.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, self._mode)
        try:
            status = self._system.status_of(fd)
            if status.st_size == 0:
                self._system.write(fd, b".")  # has its block while there is room, and a time of its own
        except OSError:
            self._system.close(fd)
            raise
        # Only now: a file that is deleted and not open gives its inode away, and the new one would look like it.
        self.close()
        self.fd, self.which = fd, file_id(status)
