"""Lines on standard output, as JSON or laid out for people.

Destination: the process's standard output, as it is at the time of each write.
Delivery guarantee: handed to the operating system when `write` returns.
Durability: whatever reads the output.
Failure modes: nobody reads any more (EPIPE) → `SinkRejected`; output that would block → `SinkUnavailable`.
Units: none.
"""

import errno
import os
import shutil
import sys
import threading
from collections.abc import Sequence
from typing import IO, Literal

from pydantic import Field

from structllm._types import Record
from structllm.console import format_event
from structllm.errors import SinkRejected, SinkUnavailable
from structllm.sinks.config import SinkConfig

Format = Literal["json", "console", "auto"]


class StdoutSinkConfig(SinkConfig):
    """Settings of the stdout sink."""

    type: Literal["stdout"] = "stdout"
    format: Format = Field(default="json", description="json, console (for people) or auto: console on a terminal.")

    def build(self) -> "StdoutSink":
        """Return the sink."""
        return StdoutSink(format=self.format)

    def check(self) -> list[str]:
        """Say whether there is an output to write to."""
        return [] if sys.stdout is not None and not sys.stdout.closed else ["standard output is closed"]


class StdoutSink:
    """Writes one line per record to standard output.

    Args:
        format: `json` writes the record as it is, `console` a line for people (coloured on a terminal only, control
            characters made visible), `auto` chooses console on a terminal and json elsewhere.
    """

    def __init__(self, *, format: Format = "json") -> None:
        self._format = format
        self._lock = threading.RLock()
        self._forked = False

    def write(self, batch: Sequence[Record], /) -> None:
        """Write the records, one line each."""
        # Looked up at each write, so that redirected and captured output gets the lines.
        stream = sys.stdout
        if stream is None or stream.closed:
            raise SinkUnavailable("closed", "standard output is closed")
        terminal = stream.isatty()
        lines = b"".join(self._lay_out(record, terminal) for record in batch)
        with self._lock:
            try:
                _write(stream, lines, flush=not self._forked)
            except BrokenPipeError:
                raise SinkRejected("broken_pipe", "nobody reads standard output") from None
            except OSError as error:
                raise SinkUnavailable("os_error", os.strerror(error.errno or errno.EIO)) from None

    def flush(self, timeout_s: float, /) -> bool:
        """Return True: what was written is with the operating system."""
        return True

    def close(self) -> None:
        """Leave standard output open: it belongs to the process."""

    def reset_after_fork(self) -> None:
        """Take a new lock in a forked child: the old one may be held by a thread that exists in the parent alone."""
        self._lock = threading.RLock()
        self._forked = True

    def _lay_out(self, record: Record, terminal: bool) -> bytes:
        if self._format == "json" or (self._format == "auto" and not terminal):
            return record.line
        width = shutil.get_terminal_size((120, 24)).columns if terminal else None
        color = terminal and not os.environ.get("NO_COLOR")
        return (format_event(record.event, color=color, width=width) + "\n").encode()


def _write(stream: IO[str], lines: bytes, *, flush: bool) -> None:
    """Write past the stream's buffer where it has a descriptor, so that a line is one `os.write`.

    The flush keeps the order with what the host printed. A forked child does without: the stream has a lock of its own,
    which a thread of the parent may have held at the fork, and would wait for it for ever.
    """
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        stream.write(lines.decode())
        stream.flush()
        return
    if flush:
        stream.flush()
    while lines:
        lines = lines[os.write(descriptor, lines) :]
