"""The stdout sink: what a person or a pipe sees."""

import os
import pty
import subprocess
import sys

import pytest

from structllm._types import Record
from structllm.errors import SinkRejected, SinkUnavailable
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


class TestFailures:
    def test_a_reader_that_went_away_is_final(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """EPIPE means that nobody will read the rest."""
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            with pytest.raises(SinkRejected, match="broken_pipe"):
                StdoutSink().write([RECORD])

    def test_closed_output_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a standard output the record is refused, and check() says so."""
        monkeypatch.setattr(sys, "stdout", None)
        with pytest.raises(SinkUnavailable, match="closed"):
            StdoutSink().write([RECORD])
        assert StdoutSinkConfig().check() == ["standard output is closed"]

    def test_output_stays_open(self, capfd: pytest.CaptureFixture[str]) -> None:
        """Closing the sink leaves the process's output alone."""
        sink = StdoutSink()
        sink.close()
        sink.write([RECORD])
        assert (sink.flush(0.0), capfd.readouterr().out) == (True, RECORD.line.decode())
