"""The directories in which segments wait for the archive, and how they get from one to the next.

State is nothing but names. `open/` has segments that are written to, each locked (`flock`) by its writer; one whose
lock can be taken has no writer any more. `sealed/` has the very bytes that are to be stored, each with its manifest,
and `quarantine/` what the archive will not take. A crash at any step leaves names from which the next process goes on.
`heads/` is a hint: which segment of an owner was sealed last, for the next one to name it.
"""

import errno
import os
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from stat import S_ISREG
from typing import NamedTuple

from structllm._system import LockingImpossible, System
from structllm.archive.names import SUFFIXES, SegmentName
from structllm.errors import SinkUnavailable
from structllm.sinks.rotation import file_id

FINAL = ".final"
"""In the name of a segment whose owner has closed: none comes behind it."""

_LINES = ".jsonl"
_DIRECTORIES = ("open", "sealed", "quarantine", "heads")
_ARCHIVER, _SHIPPER = "archiver.lock", "push.lock"
_TEMPORARY = ".tmp"
_HEAD_AGE_S = 30 * 86_400.0


class OpenSegment(NamedTuple):
    """A segment that is, or was, written to.

    Attributes:
        name: Which one.
        path: Its file.
        final: Whether it is the last one of its owner.
    """

    name: SegmentName
    path: str
    final: bool


class SealedSegment(NamedTuple):
    """A segment that waits for the archive.

    Attributes:
        name: Which one.
        path: The bytes to be stored.
    """

    name: SegmentName
    path: str

    @property
    def stem(self) -> str:
        """The path without a suffix; `.json` is its manifest, `.try` says that it may have been stored."""
        return os.path.join(os.path.dirname(self.path), self.name.stem)


class Spool:
    """The directories of one destination.

    Args:
        system: The operating system.
        directory: Made when the first segment is.
        mode: Permissions of the files.
    """

    def __init__(self, system: System, directory: str, mode: int = 0o600) -> None:
        self._system = system
        self._mode = mode
        self._locked: list[int] = []  # descriptors of what this process has locked for a while
        self.directory = directory
        self.opened, self.sealed, self.quarantine, self.heads = (os.path.join(directory, name) for name in _DIRECTORIES)

    def make(self) -> None:
        """Make the directories that are missing."""
        for path in (self.opened, self.sealed, self.quarantine, self.heads):
            self._system.make_directories(path, 0o700)

    def is_made(self) -> bool:
        """Return whether there is one; else nothing has ever waited in it. Makes what somebody deleted of it."""
        try:
            self._system.status_at(self.directory)
        except FileNotFoundError:
            return False
        self.make()
        return True

    def begin(self, name: SegmentName) -> int | None:
        """Make the file of a segment and lock it; return its descriptor, or None where that name cannot be had.

        Raises:
            OSError: There is no space, no right, no descriptor.
            SinkUnavailable: The file system has no locks.
        """
        path = self.path_of(name)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL
        try:
            fd = self._system.open(path, flags, self._mode)
        except FileExistsError:
            return None
        except FileNotFoundError:
            self.make()
            fd = self._system.open(path, flags, self._mode)
        try:
            # Whoever archives may have come in between, and have taken the empty file for that of a dead writer.
            if self._system.try_lock(fd) and self._system.status_of(fd).st_nlink:
                return fd
        except LockingImpossible:
            self._system.close(fd)
            with suppress(OSError):
                self._system.unlink(path)
            raise SinkUnavailable("no_lock", f"the file system of {self.directory} has no locks") from None
        except BaseException:  # also what a signal handler raises
            self._close(fd)
            with suppress(OSError):
                self._system.unlink(path)
            raise
        self._system.close(fd)
        return None

    def path_of(self, name: SegmentName, *, final: bool = False) -> str:
        """Return the path of a segment that is written to."""
        return os.path.join(self.opened, f"{name.stem}{FINAL if final else ''}{_LINES}")

    def open_segments(self) -> list[OpenSegment]:
        """Return the segments in `open/`, those of one owner in their order."""
        found: list[OpenSegment] = []
        for file in sorted(self._names(self.opened)):
            name = SegmentName.parse(file)
            if name is not None and file in {name.stem + _LINES, name.stem + FINAL + _LINES}:
                found.append(OpenSegment(name, os.path.join(self.opened, file), FINAL in file))
        return found

    def sealed_segments(self, directory: str | None = None) -> list[SealedSegment]:
        """Return the segments in `sealed/`, or in `quarantine/`, by name."""
        where = directory or self.sealed
        found: list[SealedSegment] = []
        for file in sorted(self._names(where)):
            name = SegmentName.parse(file)
            if name is not None and file[len(name.stem) :] in SUFFIXES.values():
                found.append(SealedSegment(name, os.path.join(where, file)))
        return found

    @contextmanager
    def claimed(self, segment: OpenSegment) -> Generator[int | None]:
        """Hold the lock of a segment that nobody writes any more; give its descriptor, or None where somebody does."""
        try:
            fd = self._system.open(segment.path, os.O_RDONLY | os.O_NONBLOCK)  # which waits for no other end of a FIFO
        except FileNotFoundError:
            yield None
            return
        with self._held(fd) as alone:
            yield fd if alone and self._is_named(fd, segment.path) else None

    def archiving(self) -> AbstractContextManager[bool]:
        """Hold the lock of this spool's archiver; give whether this is the one."""
        return self._alone(_ARCHIVER)

    def shipping(self) -> AbstractContextManager[bool]:
        """Hold the lock of who ships log files by way of this spool; give whether this is the one."""
        return self._alone(_SHIPPER)

    @contextmanager
    def _alone(self, lock: str) -> Generator[bool]:
        fd = self._system.open(os.path.join(self.directory, lock), os.O_RDWR | os.O_CREAT, self._mode)
        with self._held(fd) as alone:
            yield alone

    def abandon(self) -> None:
        """Close, in a forked child, what its parent has locked; the lock would stay with the child otherwise."""
        for fd in self._locked:
            self._close(fd)
        self._locked.clear()

    @contextmanager
    def _held(self, fd: int) -> Generator[bool]:
        """Hold the lock of an open file where it is free, and close the file in the end."""
        self._locked.append(fd)
        try:
            yield self._system.try_lock(fd)
        finally:
            # Closing alone would leave the lock with a child that was forked meanwhile.
            with suppress(OSError):
                self._system.unlock(fd)
            self._locked.remove(fd)
            self._close(fd)

    def _is_named(self, fd: int, path: str) -> bool:
        """Return whether an open file still has this name: its writer may have marked it as the last one meanwhile."""
        status = self._system.status_of(fd)
        try:
            return S_ISREG(status.st_mode) and file_id(self._system.status_at(path)) == file_id(status)
        except FileNotFoundError:
            return False

    def sweep(self) -> None:
        """Delete what an archiver that died left in `sealed/` of segments that are not there any more."""
        there = {segment.name.stem for segment in self.sealed_segments()}
        for file in self._names(self.sealed):
            name = SegmentName.parse(file)
            if name is not None and name.stem not in there:
                with suppress(OSError):  # nothing of ours
                    self.remove(os.path.join(self.sealed, file))

    def used_bytes(self) -> int:
        """Return the size of all that is in the directories. What goes away meanwhile counts as gone."""
        return sum(size for path in (self.opened, self.sealed, self.quarantine) for size in self._sizes(path))

    def head_of(self, owner: str) -> str:
        """Return the path of what is known of an owner's last sealed segment."""
        return os.path.join(self.heads, owner)

    def forget_heads(self) -> None:
        """Delete what is known of owners that have sealed nothing for a month."""
        for owner in self._names(self.heads):
            path = self.head_of(owner)
            with suppress(FileNotFoundError):
                if self._system.now() - self._system.status_at(path).st_mtime > _HEAD_AGE_S:
                    self._system.unlink(path)

    def put(self, path: str, data: bytes) -> None:
        """Let a file appear whole, on the disk, or not at all."""
        temporary = path + _TEMPORARY
        with suppress(FileNotFoundError):
            self._system.unlink(temporary)  # of an archiver that died
        fd = self._system.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, self._mode)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._system.write(fd, rest) :]
            self._system.sync(fd)
        except OSError:
            with suppress(OSError):
                self._system.unlink(temporary)
            raise
        finally:
            self._close(fd)
        self._system.rename(temporary, path)
        self._system.sync_directory(os.path.dirname(path))

    def remove(self, *paths: str) -> None:
        """Take files away, in this order; one that is missing is no error."""
        for path in paths:
            with suppress(FileNotFoundError):
                self._system.unlink(path)

    def set_aside(self, segment: SealedSegment, reason: bytes) -> None:
        """Move a segment to `quarantine/`, with its manifest and the reason; the bytes, which tell of it, last."""
        with suppress(OSError):  # then there is no reason beside it
            self.put(os.path.join(self.quarantine, f"{segment.name.stem}.reason"), reason)
        with suppress(FileNotFoundError):
            manifest = segment.stem + ".json"
            self._system.rename(manifest, os.path.join(self.quarantine, os.path.basename(manifest)))
        self._system.rename(segment.path, os.path.join(self.quarantine, os.path.basename(segment.path)))
        self.remove(segment.stem + ".try")

    def read(self, path: str) -> bytes:
        """Return what is in a file."""
        fd = self._system.open(path, os.O_RDONLY)
        try:
            return self.content(fd)
        finally:
            self._close(fd)

    def content(self, fd: int) -> bytes:
        """Return what is in an open file."""
        pieces: list[bytes] = []
        at = 0
        while piece := self._system.read_at(fd, 1 << 20, at):
            pieces.append(piece)
            at += len(piece)
        return b"".join(pieces)

    def _names(self, directory: str) -> list[str]:
        try:
            return self._system.names_in(directory)
        except FileNotFoundError:
            return []

    def _sizes(self, directory: str) -> Iterator[int]:
        for name in self._names(directory):
            try:
                yield self._system.status_at(os.path.join(directory, name)).st_size
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise

    def _close(self, fd: int) -> None:
        with suppress(OSError):
            self._system.close(fd)
