"""Files and surroundings that nobody would wish for: every command says what it can and ends without a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.recording import TIMEOUT_S

COMMANDS = [["tail"], ["stats"], ["cost"], ["errors"], ["decisions"], ["sessions"], ["doctor"], ["show", "r1"]]

# What a foreign or damaged writer may put where an id, a number or an object is expected.
THINGS: list[object] = [None, True, 1, -1.5, "", "x", [1], {}, {"a": {}}, 10**30]
FIELDS = [
    "writer",
    "seq",
    "session_id",
    "timestamp",
    "level",
    "request_id",
    "decision_id",
    "caused_by",
    "model",
    "token_usage",
    "cost_estimate_usd",
    "success",
    "response_time_ms",
    "dropped",
    "window",
    "processor_errors",
    "redactions",
    "action",
    "size_pct",
    "kind",
    "idempotency_key",
    "error_type",
    "outcome",
]
TYPES = [
    "completion_request",
    "completion_response",
    "trading_decision",
    "decision_outcome",
    "performance_metrics",
    "run",
]


def write_hostile(path: Path) -> None:
    """Write events of every type with every thing in every field."""
    good = {"event_type": "completion_request", "request_id": "r1", "writer": "w", "seq": 1}
    events = [good] + [
        {"event_type": kind, "request_id": "r1", "decision_id": "d1", field: thing}
        for kind in TYPES
        for field in FIELDS
        for thing in THINGS
    ]
    path.write_text("".join(json.dumps(event) + "\n" for event in events))


class TestForeignValues:
    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    @pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
    def test_any_value_in_any_field(self, run: Run, command: list[str], options: list[str]) -> None:
        """No value of the wrong type in a log ends a command with a traceback."""
        write_hostile(Path("x.log"))
        result = run(*command, *options, "x.log")
        assert result.exit_code in (0, 1)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert result.stdout or command == ["errors"]

    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    @pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
    @pytest.mark.parametrize("nested", ["[" * 1000 + "]" * 1000, '{"a":' * 1000 + "1" + "}" * 1000], ids=["[", "{"])
    def test_deep_nesting(self, run: Run, command: list[str], options: list[str], nested: str) -> None:
        """JSON that is nested as deeply as can be read ends no command with a traceback."""
        fields = ["market_context", "token_usage", "model", "error_message", "value", "caused_by"]
        lines = [
            f'{{"event_type":"{kind}","request_id":"r1","decision_id":"d1","{field}":{nested}}}\n'
            for kind in TYPES
            for field in fields
        ]
        Path("x.log").write_text("".join(lines))
        assert run(*command, *options, "x.log").exit_code in (0, 1)

    def test_name_of_a_file_that_is_no_text(self, tmp_path: Path) -> None:
        """A file whose name is not UTF-8 is read and reported, as JSON too."""
        name = os.fsencode(tmp_path) + b"/\xff\xfe.log"
        with open(name, "wb") as file:
            file.write(b'{"event_type":"run","writer":"w","seq":1}\n')
        arguments = [sys.executable, "-m", "structllm", "doctor", "--json", name]
        done = subprocess.run(arguments, capture_output=True, timeout=TIMEOUT_S, check=False, cwd=tmp_path)
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
        assert json.loads(done.stdout)


class TestSurroundings:
    @pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
    def test_closed_streams(self, tmp_path: Path, closed: str) -> None:
        """A stream that the shell closed does not bring a command down."""
        (tmp_path / "x.log").write_text('{"event_type":"run","writer":"w","seq":1}\n')
        line = f'"{sys.executable}" -m structllm stats x.log {closed}'
        done = subprocess.run(
            line, shell=True, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=tmp_path, check=False
        )
        assert (done.returncode, "Traceback" in done.stderr) == (0, False)

    def test_count_beyond_reason(self, run: Run) -> None:
        """A number of lines that no machine could hold is wrong usage."""
        assert run("tail", "-n", "99999999999999999999").exit_code == 2
