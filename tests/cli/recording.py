"""A builder of realistic logs, and the command as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
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
