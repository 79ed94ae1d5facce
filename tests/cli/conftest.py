"""A builder of realistic logs, and ways to run the command on them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from structllm.cli import cli

START = datetime(2024, 1, 15, 10, 30, 45, 123000, tzinfo=UTC)
TIMEOUT_S = 30


class LogBuilder:
    """Collects events as the logger writes them: envelope first, one writer, numbered, a second apart."""

    def __init__(self, start: datetime = START, writer: str = "wtr_00000000000000aa", session: str = "abc12345") -> None:
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
        defaults = {
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
        defaults = {
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

    def failure(self, request_id: str, error_type: str = "RateLimitError", **fields: Any) -> dict[str, Any]:
        """Add a response that failed."""
        defaults = {
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
        defaults = {
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


@pytest.fixture
def log() -> LogBuilder:
    """An empty log."""
    return LogBuilder()


@pytest.fixture
def trading_log(log: LogBuilder) -> LogBuilder:
    """A short session: two priced calls with decisions, a failure, a model without price, a request without end."""
    for number, cost in ((1, 0.000495), (2, 0.0011)):
        request_id = log.call(number, cost_estimate_usd=cost, response_time_ms=1000 * number)
        log.decision(request_id, f"dec_{number:016x}", action=("LONG", "HOLD")[number - 1])
    log.request("req_0000000000000003")
    log.failure("req_0000000000000003")
    log.call(4, model="house-model", cost_estimate_usd=None, cost_status="unknown_model", provider=None)
    log.request("req_0000000000000005", market_context={"symbol": "ETH-USD"})
    return log


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the machine's own settings and colours out, and run in an empty directory."""
    for name in list(os.environ):
        if name.upper().startswith(("LLM", "STRUCTLLM")) or name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run the command in this process; return its output, errors and exit status."""

    def invoke(*arguments: object, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments], input=stdin, prog_name="structllm")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


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
