"""The live file of a log: appended to without a lock, whatever others do to it meanwhile.

An append is one `os.write` to an O_APPEND descriptor, which the kernel makes whole and in one place. What could still
go wrong is that the file is not the log's any more: another process has rotated it, and perhaps deleted it. So a writer
compares the generation (`rotation.Generation`) after each write. Where it has moved, the writer finds out whether the
file that it wrote to was still in the log; if not, it writes the line again.

What others do to the file (rm, logrotate) does not show in the generation. It is looked for every 50 ms, and lines
since the last look are kept for that: deleting a file takes back what was in it, not what comes after.
"""

import errno
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from stat import S_IMODE, S_ISREG

from structllm._system import System
from structllm.errors import SinkError, SinkRejected
from structllm.sinks.rotation import FileId, Generation, LogFiles, Outcome, file_id

_LOOK_INTERVAL_S = 0.05
_UNPROVEN_BYTES = 262_144  # written since the last look; then it is time for the next one, and lines are let go
_RETRY_S = 1.0
_WRITE_S = 0.001  # longer than the pages of one write become visible one after the other
_END, _SPOIL = b"\n", b"~\n"
_MOST_ESCAPES = 8  # times in a row that a line is written again because its file was deleted

_COUNTS = ("rotations", "failed_rotations", "repaired_tails", "short_writes", "rewritten", "lost_descriptors")


class LiveFile:
    """The file that a log is being written to, by this process and others. Not thread-safe.

    Args:
        system: The operating system.
        files: The names of the log.
        max_bytes: Rotate before the file grows beyond this.
        backup_count: Rotated files kept.
        mode: Permissions of the file.
        let_go: Takes a file that is not written to any more, as its descriptor and which one it is, and closes it.
        looked: Called after each look, with the monotonic time.

    Attributes:
        fd: The open file, or -1.
        which: Which file that is; None where there is none.
        degraded: `no_lock` where the file system has no locks, so that the file cannot be rotated.
        names: How often the file's name has appeared, as far as is known here. Only ever grows.
    """

    def __init__(
        self,
        system: System,
        files: LogFiles,
        *,
        max_bytes: int,
        backup_count: int,
        mode: int,
        let_go: Callable[[int, FileId], None],
        looked: Callable[[float], None],
    ) -> None:
        self._system = system
        self._files = files
        self._max_bytes = max_bytes
        self._backup_count = backup_count
        self._mode = mode
        self._directory_mode = 0o700 | (0o050 if mode & 0o040 else 0) | (0o005 if mode & 0o004 else 0)
        self._let_go = let_go
        self._looked = looked
        self._counts: Counter[str] = Counter()
        self._write = system.write
        self._seek = system.seek
        self._monotonic = system.monotonic
        # Whoever may write the log may tell of its rotation; who may only read it may not.
        generation_mode = 0o600 | (0o060 if mode & 0o020 else 0) | (0o006 if mode & 0o002 else 0)
        self.generation = Generation(system, files.generation, generation_mode)
        self.names = 0
        self._begin()

    def _begin(self) -> None:
        self.fd = -1
        self.degraded: str | None = None
        self.which: FileId | None = None
        self._size_bytes = 0
        self._torn = b""  # what ends the half line at the end of the file
        self._generation_fd = -1
        self._known_generation = -1
        self._is_current = True  # whether the open file had the log's name at the last look
        self._confirmed = True  # whether no rotation had been told when each of the unproven lines was written
        self._unproven: list[bytes] = []  # lines since the last look
        self._homeless: list[bytes] = []  # lines whose file was deleted, to be written again
        self._look_at_s = 0.0
        self._look_at_bytes = 0
        self._rotate_after_s = 0.0
        self._rotated = False

    def health(self) -> Mapping[str, int]:
        """Return what happened to the file so far."""
        return {**{name: self._counts[name] for name in _COUNTS}, "homeless": len(self._homeless)}

    def append(self, line: bytes) -> None:
        """Append one line. When this returns, the line is in a file of the log, unless somebody deletes that.

        Raises:
            OSError: It could not be written.
            SinkRejected: What has the file's name is no file.
        """
        now = self._monotonic()
        if now >= self._look_at_s or self._size_bytes >= self._look_at_bytes:
            self._look(now)
        if self._size_bytes + len(line) > self._max_bytes and self._size_bytes and now >= self._rotate_after_s:
            self._rotate(len(line), now)
        fd = self.fd
        try:
            if self._torn:
                self._put_after_torn(line)
            elif (written := self._write(fd, line)) != len(line):
                self._note_short_write(written, line)
                self._put_after_torn(line)
        except OSError as error:
            if error.errno != errno.EBADF or self._is_ours():
                raise
            self._look(now)
            self._put(line)
            self._unproven.append(line)
            return
        # The line is in the file: from here on a failure does not make it count as dropped, unless it is unreadable.
        try:
            end = self._seek(fd, 0, os.SEEK_CUR)
            alone = end - len(line) == self._size_bytes
            if alone or self._is_ours():
                if not alone and self._is_behind_half_a_line(end - len(line)):
                    self._put_after_torn(line)
                    end = self._seek(fd, 0, os.SEEK_CUR)
                self._size_bytes = end
                if self._seek(self._generation_fd, 0, os.SEEK_END) == self._known_generation:
                    self._unproven.append(line)
                    return
                self._confirmed = False
                self._unproven = [line]  # those before it were in the log when they were written
            else:
                self._homeless.append(line)  # it went into a file of the host's
        except OSError:
            if self._torn:
                raise
            self._confirmed = False
            self._unproven.append(line)
        try:
            self._look(self._monotonic())
        except (OSError, SinkError):
            self._look_at_s = 0.0  # before the next line, which will say what is wrong

    def settle(self) -> bool:
        """Look once more after the lines written last; return whether all of them are in a file of the log."""
        try:
            if self._unproven or self._homeless:
                self._look(self._monotonic())
        except (OSError, SinkError):
            return False
        return True

    def open(self) -> None:
        """Open the file if it is not. Raises OSError or SinkRejected."""
        if self.fd < 0:
            self._look(self._monotonic())

    def rotate(self) -> None:
        """Rotate the file whatever its size, unless it is empty. Raises OSError or SinkRejected."""
        if self.fd >= 0:
            self._rotate(self._max_bytes, self._monotonic())

    def take_rotated(self) -> bool:
        """Return whether this process has rotated the file since this was asked the last time."""
        rotated, self._rotated = self._rotated, False
        return rotated

    def close(self) -> None:
        """Close the file."""
        self._is_ours()
        fd = self.fd
        self.generation.close()
        self._begin()
        if fd >= 0:
            self._close(fd)

    def _put(self, line: bytes) -> None:
        """Append the line to the open file, as one write. What a write tears is ended by the next one."""
        if self._torn:
            self._put_after_torn(line)
        elif (written := self._write(self.fd, line)) != len(line):
            self._note_short_write(written, line)
            self._put_after_torn(line)
        self._size_bytes += len(line)

    def _put_after_torn(self, line: bytes) -> None:
        """Write the line behind half a line, and a newline in between.

        The half line is given up, also where it is the beginning of this one: somebody else's line may follow it.
        """
        whole = (self._torn or _END) + line
        self._torn = self._torn or _END
        written = self._write(self.fd, whole)
        if written != len(whole):
            self._note_short_write(written, whole)
            raise OSError(errno.ENOSPC, "short write")
        self._torn = b""
        self._counts["repaired_tails"] += 1

    def _note_short_write(self, written: int, whole: bytes) -> None:
        """Count it, and remember what is to end the half line.

        Where only the newline is missing, a newline alone would make a record of it: one that is there twice then, or
        in spite of having been dropped.
        """
        self._counts["short_writes"] += 1
        self._torn = _SPOIL if written == len(whole) - 1 else _END

    def _is_behind_half_a_line(self, begun: int) -> bool:
        """Return whether a line that begins there continues another one, whose writer was killed in the middle of it.

        Asked where somebody else has written since the last line: a signal can end a write of many pages half done.
        """
        return begun > 0 and self._system.read_at(self.fd, 1, begun - 1) != b"\n"

    def _look(self, now: float) -> None:
        """Make sure that the open file is the one of this name, and that the lines since the last look have a file.

        The generation is read first: what changes after that shows at the next write.
        """
        self._is_ours()
        for _ in range(_MOST_ESCAPES):
            known = self.generation.which
            generation = self._refreshed_generation()
            if self.generation.which != known:  # somebody deleted it: what it confirmed meanwhile was nothing
                self._confirmed = False
            if self.fd < 0 or self._named() != self.which:
                self._reopen()
            # Where another file could not be opened, each write is to be looked after.
            self._known_generation = generation if self._is_current else -1
            self._unproven.clear()
            self._confirmed = not self._homeless
            if not self._homeless:
                break
            while self._homeless:
                self._put(self._homeless[0])
                self._unproven.append(self._homeless.pop(0))
                self._counts["rewritten"] += 1
        self._look_at_s = now + _LOOK_INTERVAL_S
        self._look_at_bytes = self._size_bytes + _UNPROVEN_BYTES
        self._looked(now)

    def _is_ours(self) -> bool:
        """Return whether the descriptor is that of our file, and forget it where it is not.

        The host may have closed it, as daemons do with all of them, and opened a file of its own under the number: that
        one is not ours to write to, nor to close.
        """
        self.generation.verify()
        self._generation_fd = self.generation.fd
        if self.fd < 0:
            return False
        try:
            if file_id(self._system.status_of(self.fd)) == self.which:
                return True
        except OSError as error:
            if error.errno != errno.EBADF:
                return True
        self._counts["lost_descriptors"] += 1
        self.fd, self.which = -1, None
        return False

    def _named(self) -> FileId | None:
        """Return which file has the log's name; where that may not be asked, the open one while it has some name."""
        try:
            return self._files.id_at(self._files.live)
        except OSError:
            if not self._system.status_of(self.fd).st_nlink:
                raise
            return self.which

    def _refreshed_generation(self) -> int:
        try:
            return self.generation.refresh()
        except OSError:
            self.generation.close()
            return -1
        finally:
            self._generation_fd = self.generation.fd

    def _reopen(self) -> None:
        """Open the file of this name. Where that fails, go on with the old one if it still has some name."""
        old, old_id = self.fd, self.which
        try:
            self._open()
        except (OSError, SinkError):
            if old_id is None or self._has_left_the_log(old, old_id):
                raise
            self._is_current = False
            self._counts["failed_rotations"] += 1
            self._rotate_after_s = self._monotonic() + _RETRY_S
            return
        self._is_current = True
        if old_id is None:
            return
        if self._unproven and self._has_left_the_log(old, old_id):
            self._homeless += self._unproven
        self._let_go(old, old_id)

    def _has_left_the_log(self, fd: int, which: FileId) -> bool:
        highest = max(self._backup_count, 1)
        return self._files.has_lost(fd, which, lock=self.fd, highest=highest, confirmed=self._confirmed)

    def _open(self) -> None:
        path = self._files.live
        try:
            fd = self._opened(path)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise SinkRejected("symlink", f"{os.path.basename(path)} is a symbolic link") from None
            raise
        try:
            status = self._system.status_of(fd)
            if not S_ISREG(status.st_mode):
                raise SinkRejected("not_a_file", f"{os.path.basename(path)} is no regular file")
            size_bytes = status.st_size
            if not size_bytes and S_IMODE(status.st_mode) != self._mode:
                with suppress(OSError):  # not ours to permit
                    self._system.permit(fd, self._mode)  # without what the umask took away
            torn = self._ends_in_half_a_line(fd, size_bytes)
        except (OSError, SinkError):
            self._close(fd)
            raise
        self.fd, self.which, self._size_bytes, self._torn = fd, file_id(status), size_bytes, _END if torn else b""
        self.names += 1

    def _opened(self, path: str) -> int:
        """Open the file; make its directory where it is missing, again where somebody deletes it meanwhile."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        for _ in range(_MOST_ESCAPES):
            with suppress(FileNotFoundError):
                return self._system.open(path, flags, self._mode)
            with suppress(FileNotFoundError):
                self._system.make_directories(self._files.directory, self._directory_mode)
        return self._system.open(path, flags, self._mode)

    def _ends_in_half_a_line(self, fd: int, size_bytes: int) -> bool:
        """Return whether a file does, and is not just being written to."""
        if not size_bytes or self._system.read_at(fd, 1, size_bytes - 1) == b"\n":
            return False
        self._system.sleep(_WRITE_S)
        return self._system.status_of(fd).st_size == size_bytes

    def _close(self, fd: int) -> None:
        with suppress(OSError):
            self._system.close(fd)

    def _rotate(self, coming_bytes: int, now: float) -> None:
        """Give the file a number if it is full, unless somebody else did. No failure here costs the record."""
        for _ in range(_MOST_ESCAPES):
            if not self._is_ours():  # a lock refused for that would say nothing about the file system
                self._look(now)
            outcome = self._try_to_rotate(coming_bytes)
            self.degraded = "no_lock" if outcome is Outcome.NO_LOCKS else None
            if outcome in (None, Outcome.BUSY, Outcome.NO_LOCKS):
                self._counts["failed_rotations"] += 1
                self._rotate_after_s = now + _RETRY_S
                return
            if outcome is Outcome.DONE:
                self._counts["rotations"] += 1
                self._rotated = True
            self._look(now)
            if self._size_bytes + coming_bytes <= self._max_bytes or now < self._rotate_after_s:
                return

    def _try_to_rotate(self, coming_bytes: int) -> Outcome | None:
        fd = self.fd

        def move_up() -> bool:
            self._size_bytes = self._system.status_of(fd).st_size
            if not self._size_bytes or self._size_bytes + coming_bytes <= self._max_bytes:
                return False
            self._unproven.clear()  # they were in the log until now
            # At least one number, also where none is kept: the file is in the log until everybody has been told.
            self._files.move_up(max(self._backup_count, 1), self.generation)
            return True

        try:
            return self._files.under_lock(fd, move_up)
        except OSError:
            return None
