"""A builder of realistic logs, and the command as a process of its own."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

START = datetime(2024, 1, 15, 10, 30, 45, 123000, tzinfo=UTC)
WRITER = "wtr_00000000000000aa"
TIMEOUT_S = 30


class LogBuilder:
    """Collects events as the logger writes them: envelope first, one writer, numbered, a second apart."""

    def __init__(
        self, start: datetime = START, writer: str = "wtr_00000000000000aa", session: str = "abc12345"
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.now = start
        self.writer = writer
        self.session = session
        self.seq = 0

    def add(self, event_type: str, level: str = "INFO", **fields: Any) -> dict[str, Any]:
        """Add an event of any type."""
        self.seq += 1
        event = {
            "event_type": event_type,
            "timestamp": self.now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "session_id": self.session,
            "level": level,
            "schema_version": 1,
            "writer": self.writer,
            "seq": self.seq,
            **fields,
        }
        self.now += timedelta(seconds=1)
        self.events.append(event)
        return event

    def request(self, request_id: str, **fields: Any) -> dict[str, Any]:
        """Add a request."""
        defaults: dict[str, Any] = {
            "request_id": request_id,
            "completion_number": 1,
            "model": "o3-mini",
            "temperature": 0.1,
            "max_tokens": 30000,
            "prompt_length": 1250,
            "prompt_preview": "You are an expert cryptocurrency futures trader.\nShould I buy BTC?",
            "market_context": {"symbol": "BTC-USD", "current_price": 45230.5, "rsi": 62.5},
            "provider": "openai",
        }
        return self.add("completion_request", **{**defaults, **fields})

    def response(self, request_id: str, **fields: Any) -> dict[str, Any]:
        """Add a response that went well."""
        defaults: dict[str, Any] = {
            "request_id": request_id,
            "success": True,
            "response_time_ms": 1767,
            "token_usage": {"prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225},
            "cost_estimate_usd": 0.000495,
            "response_preview": '{"action": "LONG", "size_pct": 15.0}',
            "outcome": "ok",
            "model": "o3-mini",
            "provider": "openai",
            "cost_status": "ok",
        }
        return self.add("completion_response", **{**defaults, **fields})

    def failure(self, request_id: str, error_type: str | None = "RateLimitError", **fields: Any) -> dict[str, Any]:
        """Add a response that failed."""
        defaults: dict[str, Any] = {
            "level": "ERROR",
            "success": False,
            "response_time_ms": 310,
            "token_usage": None,
            "cost_estimate_usd": None,
            "response_preview": None,
            "outcome": "error",
            "error_type": error_type,
            "error_message": "429: too many requests",
            "cost_status": "no_usage",
        }
        return self.response(request_id, **{**defaults, **fields})

    def decision(self, request_id: str | None, decision_id: str, **fields: Any) -> dict[str, Any]:
        """Add a decision."""
        defaults: dict[str, Any] = {
            "request_id": request_id,
            "action": "LONG",
            "size_pct": 15.0,
            "rationale": "Bullish momentum with healthy RSI",
            "symbol": "BTC-USD",
            "current_price": 45230.5,
            "validation_result": "PASSED",
            "risk_assessment": "APPROVED - Within risk parameters",
            "indicators": {"rsi": 62.5, "cipher_a_dot": 0.75},
            "decision_id": decision_id,
            "caused_by": [request_id] if request_id else [],
        }
        return self.add("trading_decision", **{**defaults, **fields})

    def call(self, number: int, **response: Any) -> str:
        """Add a request and its response; return the request id."""
        request_id = f"req_{number:016x}"
        self.request(request_id, model=response.get("model", "o3-mini"))
        self.response(request_id, **response)
        return request_id

    def text(self) -> str:
        """Return the log as it would be written."""
        return "".join(json.dumps(event, separators=(",", ":")) + "\n" for event in self.events)

    def write(self, path: Path) -> Path:
        """Write the log to a file."""
        path.write_text(self.text())
        return path


def run_process(
    *arguments: object, env: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "structllm", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, **(env or {})},
        check=False,
    )


class Running:
    """The command as a process whose output is awaited, with a deadline instead of a pause."""

    def __init__(self, *arguments: object, env: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "structllm", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
        )
        self.output = ""
        self.errors = ""

    def __enter__(self) -> "Running":
        """Return the running command."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End the process, whatever became of the test."""
        self._process.kill()
        self._process.communicate(timeout=TIMEOUT_S)

    def expect(self, text: str) -> None:
        """Wait until a text has been printed on standard output."""
        self._read_until(lambda: text in self.output, text)

    def expect_error(self, text: str) -> None:
        """Wait until a text has been printed on standard error."""
        self._read_until(lambda: text in self.errors, text)

    def interrupt(self) -> int:
        """Press Ctrl-C; return the exit status, and add what was still printed to `output` and `errors`."""
        self._process.send_signal(signal.SIGINT)
        output, errors = self._process.communicate(timeout=TIMEOUT_S)
        self.output += output.decode()
        self.errors += errors.decode()
        return self._process.returncode

    def _read_until(self, found: Callable[[], bool], text: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        deadline_s = time.monotonic() + TIMEOUT_S
        pipes = {self._process.stdout.fileno(), self._process.stderr.fileno()}
        while not found():
            ready, _, _ = select.select(list(pipes), [], [], max(0.0, deadline_s - time.monotonic()))
            for fd in ready:
                data = os.read(fd, 65_536)
                if not data:
                    pipes.discard(fd)
                elif fd == self._process.stdout.fileno():
                    self.output += data.decode()
                else:
                    self.errors += data.decode()
            if not ready or not pipes:
                raise AssertionError(f"{text!r} did not come; output {self.output!r}, errors {self.errors!r}")


def run_on_terminal(*arguments: object, columns: int = 120, env: Mapping[str, str] | None = None) -> str:
    """Run the command on a terminal of its own; return everything that the terminal was sent."""
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "structllm", *map(str, arguments)],
        stdout=inside,
        stderr=inside,
        stdin=inside,
        env={**os.environ, "TERM": "xterm-256color", **(env or {})},
    )
    os.close(inside)
    sent = b""
    try:
        while select.select([terminal], [], [], TIMEOUT_S)[0]:
            try:
                data = os.read(terminal, 65_536)
            except OSError:  # the other end was closed
                break
            if not data:
                break
            sent += data
        process.wait(timeout=TIMEOUT_S)
    finally:
        process.kill()
        process.wait(timeout=TIMEOUT_S)
        os.close(terminal)
    return sent.decode().replace("\r\n", "\n")
