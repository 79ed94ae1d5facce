"""The stdout sink: what a person or a pipe sees."""

import errno
import fcntl
import io
import itertools
import json
import os
import pty
import select
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from structllm._types import Record
from structllm.errors import ConfigError, SinkRejected, SinkUnavailable
from structllm.sinks import stdout
from structllm.sinks.stdout import StdoutSink, StdoutSinkConfig

EVENT = {
    "event_type": "completion_response",
    "timestamp": "2024-01-15T10:30:46.890Z",
    "session_id": "abc12345",
    "level": "INFO",
    "request_id": "req_67890def",
    "success": True,
    "response_time_ms": 1767,
    "response_preview": "go \x1b[31mLONG\x1b[0m\nnow \u202e",
}
RECORD = Record("completion_response", 20, b'{"event_type":"completion_response"}\n', EVENT)


def long_record(chars: int) -> Record:
    """Return a record whose line is a little longer than this."""
    event = {"event_type": "run", "text": "t" * chars}
    return Record("run", 20, json.dumps(event).encode() + b"\n", event)


def raising(error: BaseException) -> Callable[..., NoReturn]:
    """Return a function that raises."""

    def fail(*arguments: Any, **options: Any) -> NoReturn:
        raise error

    return fail


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.FileIO]:
    """Make standard output a pipe; give the end that reads."""
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w")
    # pytest sets sys.stdout anew between this and the test, so the sink is given a `sys` of its own.
    monkeypatch.setattr(stdout, "sys", SimpleNamespace(stdout=stream, byteorder=sys.byteorder))
    with io.FileIO(reader) as reading:
        yield reading
    with suppress(OSError):
        stream.close()


class TestJson:
    def test_writes_the_line_as_it_is(self, capfd: pytest.CaptureFixture[str]) -> None:
        """The record's bytes go out unchanged, past any buffer."""
        StdoutSink().write([RECORD, RECORD])
        assert capfd.readouterr().out == RECORD.line.decode() * 2

    def test_keeps_the_order_with_prints(self, capfd: pytest.CaptureFixture[str]) -> None:
        """What the host printed before comes out before."""
        sys.stdout.write("before\n")
        StdoutSink().write([RECORD])
        assert capfd.readouterr().out == "before\n" + RECORD.line.decode()

    def test_uses_the_stdout_of_the_moment(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A replaced sys.stdout without a descriptor gets the lines."""
        StdoutSink().write([RECORD])
        assert capsys.readouterr().out == RECORD.line.decode()

    def test_auto_is_json_in_a_pipe(self, capfd: pytest.CaptureFixture[str]) -> None:
        """Programs that read a pipe get JSON."""
        StdoutSinkConfig(format="auto").build().write([RECORD])
        assert capfd.readouterr().out == RECORD.line.decode()


class TestConsole:
    def test_is_one_line_without_control_characters(self, capfd: pytest.CaptureFixture[str]) -> None:
        """Escapes, newlines and direction marks of a model's answer are shown, not obeyed; a pipe gets no colour."""
        StdoutSink(format="console").write([RECORD])
        out = capfd.readouterr().out
        assert out.count("\n") == 1
        assert out.endswith("\n")
        assert not any(character in out for character in "\x1b\u202e\r")
        assert "LONG" in out

    @pytest.mark.parametrize(("no_color", "colored"), [("", True), ("1", False)])
    def test_is_coloured_on_a_terminal_unless_told_not_to(self, no_color: str, colored: bool) -> None:
        """auto is for people on a terminal: coloured, unless NO_COLOR is set."""
        program = (
            "from structllm._types import Record; from structllm.sinks.stdout import StdoutSink\n"
            f"StdoutSink(format='auto').write([Record('completion_response', 20, b'', {EVENT!r})])\n"
        )
        primary, terminal = pty.openpty()
        try:
            environment = {**os.environ, "NO_COLOR": no_color, "COLUMNS": "200"}
            subprocess.run([sys.executable, "-c", program], stdout=terminal, env=environment, timeout=60, check=True)
            out = os.read(primary, 65_536).decode()
        finally:
            os.close(primary)
            os.close(terminal)
        assert ("\x1b[" in out, "LONG" in out) == (colored, True)


class TestLongLines:
    def test_are_shrunk(self, capfd: pytest.CaptureFixture[str]) -> None:
        """A JSON line beyond the limit is written shrunk, says so, and is counted; the record stays as it was."""
        long, line = long_record(20_000), long_record(20_000).line
        sink = StdoutSink()
        sink.write([RECORD, long])
        first, second = capfd.readouterr().out.splitlines(keepends=True)
        assert (RECORD.line.decode(), line, 20_000) == (first, long.line, len(long.event["text"]))
        assert len(second) <= 16_384
        assert ["text"] == json.loads(second)["truncated_fields"]
        assert {"torn_lines": 0, "shrunk_lines": 1} == sink.health()

    def test_no_limit(self, capfd: pytest.CaptureFixture[str]) -> None:
        """0 writes lines of any length whole."""
        StdoutSinkConfig(max_line_bytes=0).build().write([long_record(200_000)])
        assert long_record(200_000).line.decode() == capfd.readouterr().out

    @pytest.mark.parametrize("line", [b"x" * 2000 + b"\n", b"[" * 2000 + b"]" * 2000 + b"\n"])
    def test_what_cannot_be_shrunk_is_left_alone(self, line: bytes, capfd: pytest.CaptureFixture[str]) -> None:
        """A line of somebody who uses the sink alone and writes no event goes out as it is, and is not counted."""
        sink = StdoutSink(max_line_bytes=1024)
        for text in (line, b'{"a":' * 300 + b"1" + b"}" * 300 + b"\n"):
            sink.write([Record("x", 20, text, {})])
            assert text.decode() == capfd.readouterr().out
        assert 0 == sink.health()["shrunk_lines"]

    @pytest.mark.parametrize("wrong", [-1, 1, 1023])
    def test_limits_that_cannot_be_kept_are_refused(self, wrong: int) -> None:
        """A limit that the ids alone would not fit into is refused while building."""
        with pytest.raises(ConfigError, match="max_line_bytes"):
            StdoutSinkConfig(max_line_bytes=wrong)


class TestPipes:
    def test_degraded_without_locks(self, piped: io.FileIO, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where a pipe cannot be locked, lines are written all the same, and health says so until it can."""
        sink = StdoutSink(max_line_bytes=0)
        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "lockf", raising(OSError(errno.ENOLCK, "no locks")))
            sink.write([RECORD, long_record(20_000)])
        assert "no_lock" == sink.health()["degraded"]
        assert RECORD.line + long_record(20_000).line == piped.read(65_536)
        sink.write([RECORD])
        assert "degraded" not in sink.health()

    def test_a_socket_is_a_pipe_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """journald and others hand out sockets: those stall and are shared as pipes are."""
        ours, theirs = socket.socketpair()
        with ours, theirs, os.fdopen(os.dup(ours.fileno()), "w") as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            sink = StdoutSink(max_line_bytes=0, write_timeout_s=0.05)
            sink.write([RECORD])
            assert RECORD.line == theirs.recv(65_536)
            with pytest.raises(SinkUnavailable, match="stalled"):
                sink.write([long_record(5_000_000)])
            assert sink.health()["stalled"] is True

    def test_partial_writes_and_full_pipes(self, piped: io.FileIO, monkeypatch: pytest.MonkeyPatch) -> None:
        """A descriptor that takes a few bytes, or none for now, gets the line in as many writes as it needs."""
        write, answers = os.write, itertools.cycle([7, 0, 1, 4096])

        def few(fd: int, data: memoryview) -> int:
            count = next(answers)
            if not count:
                raise BlockingIOError(errno.EAGAIN, "full")
            return write(fd, data[:count])

        monkeypatch.setattr(os, "write", few)
        StdoutSink(max_line_bytes=0).write([RECORD, long_record(20_000), RECORD])
        assert RECORD.line + long_record(20_000).line + RECORD.line == piped.read(65_536)

    def test_says_how_many_were_taken(self, piped: io.FileIO) -> None:
        """A batch that stalls names the records that are whole in the pipe; a retry goes on behind them."""
        sink = StdoutSink(max_line_bytes=0, write_timeout_s=0.05)
        with pytest.raises(SinkUnavailable, match="stalled") as caught:
            sink.write([RECORD, RECORD, long_record(200_000), RECORD])
        assert 2 == caught.value.taken

    def test_a_torn_line_is_ended_by_flush(self, piped: io.FileIO) -> None:
        """flush() and close() end a line that was given up half-way, so that what follows begins on its own."""
        sink = StdoutSink(max_line_bytes=0, write_timeout_s=0.05)
        with pytest.raises(SinkUnavailable):
            sink.write([long_record(200_000)])
        assert piped.read(1_000_000).count(b"\n") == 0
        assert sink.flush(1.0) is True
        assert b"\n" == piped.read(1_000_000)
        sink.close()
        sink.write([RECORD])
        assert RECORD.line == piped.read(1_000_000)
        assert {"torn_lines": 1, "shrunk_lines": 0} == sink.health()

    def test_an_interrupted_line_is_torn(self, piped: io.FileIO, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C in the middle of a line reaches the host, and the next line begins on its own."""
        write, calls = os.write, iter([None, KeyboardInterrupt()])

        def interrupted(fd: int, data: bytes) -> int:
            if error := next(calls):
                raise error
            return write(fd, data)

        sink = StdoutSink(max_line_bytes=0)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                sink.write([long_record(20_000)])
        sink.write([RECORD])
        torn, *rest = piped.read(1_000_000).splitlines(keepends=True)
        assert (4097, [RECORD.line], 1) == (len(torn), rest, sink.health()["torn_lines"])

    def test_what_logs_in_the_middle_of_a_line_is_refused(
        self, piped: io.FileIO, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A signal handler that logs while its thread is inside a line loses its record, not that line."""
        write, sink, reasons = os.write, StdoutSink(max_line_bytes=0), []

        def nested(fd: int, data: bytes) -> int:
            try:
                sink.write([RECORD])
            except SinkUnavailable as error:
                reasons.append(error.reason)
            return write(fd, data)

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", nested)
            sink.write([long_record(5000)])
        assert long_record(5000).line == piped.read(65_536)
        assert ["nested", "nested"] == reasons
        sink.write([RECORD])

    def test_keeps_the_order_with_prints_while_there_is_room(self, piped: io.FileIO) -> None:
        """What the host printed before comes out before; a pipe that is nearly full is not risked for that."""
        stream = stdout.sys.stdout
        stream.write("before\n")
        sink = StdoutSink(max_line_bytes=0)
        sink.write([RECORD])
        stream.write("later\n")
        os.write(stream.fileno(), b"." * 50_000)
        sink.write([RECORD])
        out = piped.read(1_000_000)
        assert b"before\n" + RECORD.line + b"." * 50_000 + RECORD.line == out

    def test_a_busy_thread_is_not_waited_for_without_end(self, piped: io.FileIO) -> None:
        """A thread that waits for the reader costs another one no more than the bound."""
        holder = StdoutSink(max_line_bytes=0, write_timeout_s=60.0)
        writing = threading.Thread(target=lambda: holder.write([long_record(200_000)]))
        writing.start()
        try:
            assert select.select([piped], [], [], 60.0)[0]
            with pytest.raises(SinkUnavailable, match="stalled"):
                StdoutSink(write_timeout_s=0.05).write([RECORD])
        finally:
            out = b""
            while not out.endswith(b"\n"):
                out += piped.read(65_536)
            writing.join(60.0)
        assert long_record(200_000).line == out

    def test_a_forked_child_has_locks_of_its_own(self, piped: io.FileIO) -> None:
        """A child forked while a thread of the parent is inside a line waits for the parent's line, and for no lock."""
        holder = StdoutSink(max_line_bytes=0, write_timeout_s=60.0)
        writing = threading.Thread(target=lambda: holder.write([long_record(200_000)]))
        writing.start()
        assert select.select([piped], [], [], 60.0)[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is the point
            pid = os.fork()
        if pid == 0:
            try:
                holder.reset_after_fork()
                holder.write([RECORD])
                os._exit(0)
            finally:
                os._exit(1)
        out = b""
        while out.count(b"\n") < 2:
            assert select.select([piped], [], [], 60.0)[0]
            out += piped.read(65_536)
        writing.join(60.0)
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert long_record(200_000).line + RECORD.line == out


class TestFailures:
    def test_a_reader_that_went_away_is_final(self, piped: io.FileIO, monkeypatch: pytest.MonkeyPatch) -> None:
        """EPIPE means that nobody will read the rest: later records are refused without asking the system."""
        piped.close()
        sink = StdoutSink()
        with pytest.raises(SinkRejected, match="epipe") as caught:
            sink.write([RECORD])
        assert 0 == caught.value.taken
        with monkeypatch.context() as patch:
            for name in ("write", "fstat", "isatty"):
                patch.setattr(os, name, raising(AssertionError(name)))
            with pytest.raises(SinkRejected, match="epipe"):
                sink.write([RECORD])
            sink.close()

    def test_another_output_is_tried_again(self, piped: io.FileIO, monkeypatch: pytest.MonkeyPatch) -> None:
        """A host that puts something else in the place of a dead output gets its lines there."""
        sink = StdoutSink()
        piped.close()
        with pytest.raises(SinkRejected):
            sink.write([RECORD])
        replaced = io.StringIO()
        monkeypatch.setattr(stdout.sys, "stdout", replaced)
        sink.write([RECORD])
        assert RECORD.line.decode() == replaced.getvalue()

    def test_closed_output_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a standard output the record is refused, and check() says so."""
        monkeypatch.setattr(sys, "stdout", None)
        with pytest.raises(SinkUnavailable, match="closed"):
            StdoutSink().write([RECORD])
        assert StdoutSinkConfig().check() == ["standard output is closed"]
        assert StdoutSink().flush(0.0) is True

    def test_a_closed_descriptor_is_said(self, piped: io.FileIO, monkeypatch: pytest.MonkeyPatch) -> None:
        """A descriptor that somebody closed behind the stream's back is an error of the system, not of ours."""
        with monkeypatch.context() as patch:
            patch.setattr(os, "fstat", raising(OSError(errno.EBADF, "bad")))
            with pytest.raises(SinkUnavailable) as caught:
                StdoutSink().write([RECORD])
        assert "os_error" == caught.value.reason

    @pytest.mark.parametrize("error", [UnicodeEncodeError("ascii", "\u00e9", 0, 1, "no"), RuntimeError("secret")])
    def test_what_the_host_put_there_may_fail(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        """An object in the place of standard output that fails costs the record, named without the error's text."""

        class Broken:
            write = staticmethod(raising(error))

        monkeypatch.setattr(sys, "stdout", Broken())
        with pytest.raises(SinkUnavailable, match="stream_error") as caught:
            StdoutSink(format="auto").write([RECORD])
        assert "secret" not in str(caught.value)

    def test_a_flush_that_fails_costs_nothing(self, piped: io.FileIO, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where what the host printed cannot be written, the record still is."""
        stream = SimpleNamespace(fileno=stdout.sys.stdout.fileno, flush=raising(ValueError("closed")))
        monkeypatch.setattr(stdout.sys, "stdout", stream)
        StdoutSink().write([RECORD])
        assert RECORD.line == piped.read(65_536)

    def test_output_stays_open(self, capfd: pytest.CaptureFixture[str]) -> None:
        """Closing the sink leaves the process's output alone."""
        sink = StdoutSink()
        sink.close()
        sink.write([RECORD])
        assert (sink.flush(0.0), capfd.readouterr().out) == (True, RECORD.line.decode())
