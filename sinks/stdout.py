"""Lines on standard output, as JSON or laid out for people.

Destination: the process's standard output, as it is at the time of each write.
Delivery guarantee: handed to the operating system when `write` returns. Lines of all processes that share one pipe are
kept whole, whatever their length, by a record lock (`lockf`) on the pipe itself; what others print there is not ours.
Durability: whatever reads the output.
Failure modes: nobody reads any more (EPIPE) → `SinkRejected`, from then on without trying; a reader that takes nothing
for `write_timeout_s` → `SinkUnavailable`, and until it reads again nothing waits for it. A line that had to be given up
half-way is ended by a newline before the next one, also by another process while this one lives; a process killed
half-way through a line spoils the one that follows.
Units: bytes, seconds.
"""

import errno
import fcntl
import os
import select
import shutil
import stat
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field

from structllm._types import Record
from structllm.console import format_event
from structllm.errors import SinkError, SinkRejected, SinkUnavailable
from structllm.shrink import MIN_LINE_BYTES, fit_line
from structllm.sinks.config import SinkConfig

Format = Literal["json", "console", "auto"]

# A write of at most this size to a pipe is whole or not at all, and does not block where the pipe can be written.
_CHUNK_BYTES = min(4096, select.PIPE_BUF)

# What is locked, as bytes of the pipe (which need not have any): who is next, who writes, who left half a line. A
# process that waits for the line holds the turn, so that one which logs without pause cannot come first for ever.
_TURN, _LINE, _TORN = range(3)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0002, 0.005

# More than the two buffers of a text stream hold.
_BUFFERED_BYTES = 16_384


def _no_limit_or_enough(value: int) -> int:
    if 0 < value < MIN_LINE_BYTES:
        raise ValueError(f"must be 0, which is no limit, or at least {MIN_LINE_BYTES:,}")
    return value


class StdoutSinkConfig(SinkConfig):
    """Settings of the stdout sink."""

    type: Literal["stdout"] = "stdout"
    format: Format = Field(default="json", description="json, console (for people) or auto: console on a terminal.")
    max_line_bytes: Annotated[int, AfterValidator(_no_limit_or_enough)] = Field(
        default=16_384,
        ge=0,
        description="Longer JSON lines are shrunk, as containers split them; 0 for no limit, or at least 1024.",
    )
    write_timeout_s: float = Field(
        default=5.0, ge=0, le=3600, description="How long a write waits for a reader that takes nothing."
    )

    def build(self) -> "StdoutSink":
        """Return the sink."""
        return StdoutSink(format=self.format, max_line_bytes=self.max_line_bytes, write_timeout_s=self.write_timeout_s)

    def check(self) -> list[str]:
        """Say whether there is an output to write to."""
        return [] if sys.stdout is not None and not sys.stdout.closed else ["standard output is closed"]


class _Shared:
    """What all stdout sinks of a process share: one output, and the one record lock that a process has on it."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew, as a forked child does: it has none of its parent's threads, locks and half lines."""
        # Re-entrant, so that what logs in the middle of a line in the same thread is refused instead of waiting.
        self.lock = threading.RLock()
        self.place: tuple[int, int] | None = None
        self.busy = False
        self.torn = False
        self.torn_lines = 0
        self.stalled = False
        # Last, for the other threads that compare it.
        self.pid = os.getpid()


_shared = _Shared()


class _Output(NamedTuple):
    """A descriptor, and what kind of output it is."""

    fd: int
    place: tuple[int, int]
    piped: bool
    terminal: bool


class StdoutSink:
    """Writes one line per record to standard output.

    Args:
        format: `json` writes the record as it is, `console` a line for people (coloured on a terminal only, control
            characters made visible), `auto` chooses console on a terminal and json elsewhere.
        max_line_bytes: JSON lines that are longer are shrunk: their largest fields are cut and listed in
            `truncated_fields`. 0 for no limit, otherwise at least 1,024. Docker splits lines beyond 16 KiB.
        write_timeout_s: How long a write waits, in seconds, for a pipe or terminal that takes nothing. A reader that
            hangs costs this once, not for every record.
    """

    def __init__(self, *, format: Format = "json", max_line_bytes: int = 16_384, write_timeout_s: float = 5.0) -> None:
        self._format = format
        self._max_line_bytes = _no_limit_or_enough(max_line_bytes)
        self._write_timeout_s = write_timeout_s
        self._forked = False
        self._unread: object = None
        self._torn = 0
        self._shrunk = 0
        self._degraded: str | None = None

    def write(self, batch: Sequence[Record], /) -> None:
        """Write the records, one line each, in at most `write_timeout_s` for all of them."""
        # Looked up at each write, so that redirected and captured output gets the lines.
        stream = sys.stdout
        if stream is None or getattr(stream, "closed", False):
            raise SinkUnavailable("closed", "standard output is closed")
        if stream is self._unread:
            raise SinkRejected("epipe", "nobody reads standard output")
        deadline_s = time.monotonic() + self._write_timeout_s
        taken = 0
        try:
            put, terminal = self._open(stream, deadline_s)
            for record in batch:
                put(self._lay_out(record, terminal))
                taken += 1
        except (BrokenPipeError, ConnectionResetError):
            self._unread = stream
            raise SinkRejected("epipe", "nobody reads standard output", taken=taken) from None
        except OSError as error:
            raise SinkUnavailable("os_error", os.strerror(error.errno or errno.EIO), taken=taken) from None
        except SinkError as error:
            error.taken = taken
            raise

    def flush(self, timeout_s: float, /) -> bool:
        """End a line that was given up half-way, if there is one; what was written is with the operating system."""
        self._end_torn_line(timeout_s)
        return True

    def close(self) -> None:
        """Leave standard output open: it belongs to the process."""
        self._end_torn_line(0.0)

    def health(self) -> Mapping[str, Any]:
        """Return `torn_lines` (given up half-way) and `shrunk_lines` (longer than `max_line_bytes`).

        `degraded` is there while the pipe cannot be locked, `stalled` while its reader takes nothing.
        """
        conditions: dict[str, Any] = {"torn_lines": self._torn, "shrunk_lines": self._shrunk}
        if self._degraded is not None:
            conditions["degraded"] = self._degraded
        if _shared.stalled:
            conditions["stalled"] = True
        return conditions

    def reset_after_fork(self) -> None:
        """Take a new lock in a forked child: the old one may be held by a thread that exists in the parent alone."""
        _shared.renew()
        self._forked = True
        self._unread = None

    def _open(self, stream: IO[str], deadline_s: float) -> tuple[Callable[[bytes], None], bool]:
        """Return what writes a line to the stream, and whether a person sees it."""
        if _shared.pid != os.getpid():
            # Forked by a program that uses the sink alone, and calls no `reset_after_fork`.
            _shared.renew()
        try:
            fd = stream.fileno()
        except Exception:
            return lambda line: self._print(stream, line, deadline_s), _is_terminal(stream)
        output = _look_at(fd)
        if output.place != _shared.place:
            _shared.place, _shared.torn, _shared.stalled = output.place, False, False
        return lambda line: self._put(stream, output, line, deadline_s), output.terminal

    def _lay_out(self, record: Record, terminal: bool) -> bytes:
        if self._format == "json" or (self._format == "auto" and not terminal):
            if not 0 < self._max_line_bytes < len(record.line):
                return record.line
            # A line of somebody who does not keep to JSON, or nests it beyond every bound, is left as it is.
            with suppress(ValueError, TypeError):
                shorter = fit_line(record.line, self._max_line_bytes)
                self._shrunk += 1
                return shorter
            return record.line
        width = shutil.get_terminal_size((120, 24)).columns if terminal else None
        color = terminal and not os.environ.get("NO_COLOR")
        return (format_event(record.event, color=color, width=width) + "\n").encode()

    def _print(self, stream: IO[str], line: bytes, deadline_s: float) -> None:
        """Write to what the host put in the place of standard output, and which has no descriptor."""
        _enter(deadline_s)
        try:
            stream.write(line.decode())
            stream.flush()
        except OSError:
            raise
        except Exception as error:
            raise SinkUnavailable("stream_error", f"sys.stdout failed with {type(error).__name__}") from None
        finally:
            _shared.lock.release()

    def _put(self, stream: IO[str], output: _Output, line: bytes, deadline_s: float) -> None:
        """Write one line past the stream's buffer, so that nothing comes between its bytes."""
        _enter(deadline_s)
        try:
            if _shared.busy:
                # A signal handler or finaliser that logs while this very thread is in the middle of a line.
                raise SinkUnavailable("nested", "a line is being written")
            if _shared.stalled and not _is_ready(output.fd, 0.0):
                raise SinkUnavailable("stalled", "standard output is not being read")
            _shared.busy = True
            try:
                self._put_alone(stream, output, line, deadline_s)
                _shared.stalled = False
            finally:
                _shared.busy = False
        except SinkUnavailable as error:
            _shared.stalled = _shared.stalled or error.reason == "stalled"
            raise
        finally:
            _shared.lock.release()

    def _put_alone(self, stream: IO[str], output: _Output, line: bytes, deadline_s: float) -> None:
        torn, locked = _shared.torn, False
        if output.piped:
            try:
                torn = _lock(output.fd, deadline_s) or torn
                locked = True
                self._degraded = None
            except OSError:
                self._degraded = "no_lock"
        try:
            # The flush keeps the order with what the host printed. A forked child does without: the stream has a lock
            # of its own, which a thread of the parent may have held at the fork, and would wait for it for ever.
            if not (self._forked or torn) and _takes_buffered(output):
                _flush(stream)
            torn_before = _shared.torn_lines
            try:
                _write(output, b"\n" + line if torn else line, deadline_s)
            finally:
                self._torn += _shared.torn_lines - torn_before
        finally:
            if locked:
                _unlock(output.fd)

    def _end_torn_line(self, timeout_s: float) -> None:
        stream = sys.stdout
        if _shared.torn and stream is not None and stream is not self._unread:
            with suppress(Exception):
                self._open(stream, time.monotonic() + timeout_s)[0](b"")


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
    except Exception:
        return False


def _look_at(fd: int) -> _Output:
    status = os.fstat(fd)
    piped = stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode)
    terminal = stat.S_ISCHR(status.st_mode) and os.isatty(fd)
    return _Output(fd, (status.st_dev, status.st_ino), piped, terminal)


def _enter(deadline_s: float) -> None:
    """Wait for the other threads of this process."""
    if not _shared.lock.acquire(timeout=max(0.0, deadline_s - time.monotonic())):
        raise SinkUnavailable("stalled", "another thread waits for standard output")


def _lock(fd: int, deadline_s: float) -> bool:
    """Wait for the other processes; return whether one of them left half a line. Raises OSError without locks.

    Record locks belong to a process, so that those who inherited one descriptor exclude each other, which `flock` does
    not; and the system lets go of them when their process dies.
    """
    if _try_lock(fd, _TURN, 3):
        return False
    pause_s, is_next = _FIRST_PAUSE_S, False
    while True:
        is_next = is_next or _try_lock(fd, _TURN)
        if is_next and _try_lock(fd, _LINE):
            return not _try_lock(fd, _TORN)
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            if is_next:
                _let_next(fd)
            raise SinkUnavailable("stalled", "another process waits for standard output")
        # There is no waiting for such a lock that ends by itself after a time.
        time.sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _try_lock(fd: int, start: int, count: int = 1) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, count, start)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _let_next(fd: int) -> None:
    """Let another process wait for its turn: this one writes now, and for a while."""
    with suppress(OSError):
        fcntl.lockf(fd, fcntl.LOCK_UN, 1, _TURN)


def _unlock(fd: int) -> None:
    """Let the other processes write; half a line stays marked until it is ended."""
    with suppress(OSError):
        fcntl.lockf(fd, fcntl.LOCK_UN, 2 if _shared.torn else 3, _TURN)


def _write(output: _Output, line: bytes, deadline_s: float) -> None:
    """Write a line whole, or know that it is torn."""
    waits = output.piped or output.terminal
    chunk_bytes = _CHUNK_BYTES if output.piped else len(line)
    if len(line) > chunk_bytes:
        _let_next(output.fd)
    view, at = memoryview(line), 0
    try:
        while at < len(line):
            if waits and not _is_ready(output.fd, 0.0):
                _let_next(output.fd)
                if not _is_ready(output.fd, deadline_s - time.monotonic()):
                    raise SinkUnavailable("stalled", "standard output is not being read")
            try:
                at += os.write(output.fd, view[at : at + chunk_bytes])
            except BlockingIOError:
                if time.monotonic() >= deadline_s:
                    raise SinkUnavailable("stalled", "standard output is not being read") from None
                time.sleep(_FIRST_PAUSE_S)
    except (OSError, SinkUnavailable):
        if at:
            _shared.torn = line[at - 1 : at] != b"\n"
            _shared.torn_lines += _shared.torn
        raise
    except BaseException:
        # A signal handler raised, and nobody knows before or after which instruction.
        _shared.torn = True
        _shared.torn_lines += 1
        raise
    _shared.torn = False


def _is_ready(fd: int, timeout_s: float) -> bool:
    """Return whether a write would not block, or would fail; wait for it at most so long."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(max(0.0, timeout_s) * 1000))


def _flush(stream: IO[str]) -> None:
    """Write what the host printed before; that it cannot be written is the host's affair, unless nobody reads."""
    try:
        stream.flush()
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception:
        return


def _takes_buffered(output: _Output) -> bool:
    """Return whether what the host may have printed into the stream's buffers can be written without waiting."""
    if not output.piped:
        return not output.terminal or _is_ready(output.fd, 0.0)
    try:
        unread_bytes = int.from_bytes(fcntl.ioctl(output.fd, termios.FIONREAD, bytes(4)), sys.byteorder)
        return unread_bytes * 4 + _BUFFERED_BYTES <= fcntl.fcntl(output.fd, fcntl.F_GETPIPE_SZ)
    except (OSError, AttributeError):
        return _is_ready(output.fd, 0.0)
