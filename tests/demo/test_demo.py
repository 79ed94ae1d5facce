"""`structllm demo`, as a user runs it, and the claims it makes about its own files."""

import asyncio
import json
import os
import pty
import re
import select
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import zstandard
from click.testing import CliRunner, Result

from structllm._types import Sink
from structllm.cli import cli
from structllm.demo import session
from structllm.demo.market import market_states
from structllm.demo.model import RuleBasedDemoModel
from structllm.demo.run import MOST_STEPS
from structllm.errors import StructllmError
from structllm.testing import sample_records
from structllm.usage import Usage

COMMAND = [sys.executable, "-m", "structllm", "demo"]
TIMEOUT_S = 90


def demo(cwd: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def clean_environment() -> dict[str, str]:
    """The environment without keys of providers and without anything that changes colours."""
    unwanted = ("OPENAI", "ANTHROPIC", "LANGSMITH", "LANGCHAIN", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}


def lines_of(directory: Path) -> list[dict[str, Any]]:
    """Every line of every file below a directory, read without any code of ours."""
    files = [path for path in directory.rglob("*.log*") if not path.name.startswith(".")]
    return [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def run_for_people(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One run with its output for people, and where it ran."""
    cwd = tmp_path_factory.mktemp("people")
    return cwd, demo(cwd)


@pytest.fixture(scope="module")
def run_for_scripts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One run with its output for scripts, and where it ran."""
    cwd = tmp_path_factory.mktemp("scripts")
    return cwd, demo(cwd, "--json", "--directory", "here", "--archive", "directory")


Ran = tuple[Path, subprocess.CompletedProcess[str]]


class TestOutput:
    def test_ends_well(self, run_for_people: Ran) -> None:
        """Exit status 0, nothing on standard error, no colours into a pipe."""
        _, done = run_for_people
        assert (0, "") == (done.returncode, done.stderr)
        assert "\x1b" not in done.stdout

    def test_tells_the_whole_story(self, run_for_people: Ran) -> None:
        """What answers, what costs mean, a line per event, the three reports, what was planted, and what to try."""
        _, done = run_for_people
        for part in (
            "24 decisions about real prices of 20",
            "demo-rules answers: rules in this package",
            "Costs are what openai:o3-mini would bill",
            "$ structllm stats demo-logs/",
            "$ structllm cost --by symbol demo-logs/",
            "$ structllm decisions demo-logs/",
            "a fake API key in the prompt  written as [REDACTED:openai-key]",
            "75 events written, 75 read, 0 dropped",
            "Archiving to s3://structllm-demo/llm?endpoint_url=http://127.0.0.1:",
            "(SeaweedFS, started for this demo)",
            "$ structllm archive verify 's3://structllm-demo/llm",
            "no problems",
            "75 events in 2 segments of the archive, each once",
            "OPENAI_API_KEY planted in 1 prompt, found in 0 of ",
            "structllm tail demo-logs/",
        ):
            assert part in done.stdout
        lines = done.stdout.partition("$ structllm stats")[0].splitlines()
        kinds = Counter(line.split()[2] for line in lines if re.match(r"\d\d-\d\d \S+Z  ", line))
        assert {"request": 24, "response": 24, "decision": 24, "metrics": 3} == dict(kinds)

    def test_planted_failures_are_holds_with_their_reason(self, run_for_people: Ran) -> None:
        """Nonsense, a refusal and a time-out each become a HOLD that says so."""
        _, done = run_for_people
        holds = dict(re.findall(r"^  call (\d+) .*HOLD: (.*)$", done.stdout, re.MULTILINE))
        assert ["12", "18", "6"] == sorted(holds)
        assert "no JSON object" in holds["6"]
        assert "DemoRateLimitError" in holds["12"]
        assert "no answer within" in holds["18"]

    def test_named_commands_work(self, run_for_people: Ran) -> None:
        """Every command under "Try next" runs on these very files."""
        cwd, done = run_for_people
        commands = [line.split() for line in done.stdout.split("Try next")[1].splitlines() if line.strip()]
        assert [["structllm", "tail"], ["structllm", "show"], ["structllm", "cost"], ["structllm", "errors"]] == [
            command[:2] for command in commands
        ]
        for command in commands:
            arguments = [sys.executable, "-m", *command]
            again = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
            assert ("", True) == (again.stderr, bool(again.stdout))

    def test_commands_are_named_as_they_can_be_called(self, tmp_path: Path) -> None:
        """Where no shell would find `structllm` by its name, the commands to try next carry its path."""
        program = str(Path(sys.executable).parent / "structllm")
        arguments = [program, "demo", "-q", "--steps", "3", "--archive", "none"]
        environment = {**os.environ, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        )
        assert f"\n  {program} tail demo-logs/" in done.stdout

    def test_quiet_leaves_out_the_events(self, run: Callable[..., Result]) -> None:
        """-q keeps the reports and drops the line per event."""
        done = run("-q", "--steps", "2")
        assert (0, []) == (done.exit_code, re.findall(r"^.*Z  (?:request|response) .*$", done.stdout, re.MULTILINE))
        assert "$ structllm stats" in done.stdout

    def test_reader_that_goes_away(self, tmp_path: Path) -> None:
        """`| head` ends it without a word of complaint."""
        line = f"{sys.executable} -m structllm demo --steps 4 | head -n 1"
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        )
        assert ("", 1) == (done.stderr, len(done.stdout.splitlines()))


class TestFiles:
    def test_two_directories_and_rotation(self, run_for_people: Ran) -> None:
        """Completions and decisions have a directory each, and the completions have rotated."""
        cwd, _ = run_for_people
        (run,) = (cwd / "demo-logs").iterdir()
        names = sorted(str(path.relative_to(run)) for path in run.rglob("*.log*") if not path.name.startswith("."))
        assert names[:2] == ["llm_completions/completions.log", "llm_completions/completions.log.1"]
        assert names[-1] == "trading_decisions/decisions.log"
        assert all(path.stat().st_size <= session.MAX_BYTES for path in run.rglob("completions.log*"))

    def test_routing(self, run_for_people: Ran) -> None:
        """Decisions are in their directory and nowhere else."""
        cwd, _ = run_for_people
        (run,) = (cwd / "demo-logs").iterdir()
        types = {folder: {event["event_type"] for event in lines_of(run / folder)} for folder in os.listdir(run)}
        assert types == {
            "llm_completions": {"completion_request", "completion_response", "performance_metrics"},
            "trading_decisions": {"trading_decision"},
        }

    def test_no_key_anywhere(self, run_for_people: Ran) -> None:
        """No file and no line on the screen has anything like a key; the marker stands where it was."""
        cwd, done = run_for_people
        everything = done.stdout + "".join(path.read_text() for path in (cwd / "demo-logs").rglob("*.log*"))
        assert [] == re.findall("sk-" + "proj-[A-Za-z0-9]{8}", everything)
        assert "OPENAI_API_KEY=[REDACTED:openai-key]" in everything

    def test_log_tells_the_truth_about_model_and_cost(self, run_for_people: Ran) -> None:
        """Every event is marked as simulated, the model keeps its name, and the assumed price is named as assumed."""
        cwd, _ = run_for_people
        events = lines_of(cwd / "demo-logs")
        assert all(event["simulated"] is True for event in events)
        answers = [event for event in events if event["event_type"] == "completion_response" and event["success"]]
        assert {("demo-rules", "demo-rules", "openai/o3-mini", "structllm-demo", "billed_as:openai:o3-mini")} == {
            (e["model"], e["response_model"], e["price_model"], e["cost_source"], *e["cost_flags"]) for e in answers
        }

    def test_costs_are_those_of_o3_mini(self, run_for_people: Ran) -> None:
        """1.10 USD per million prompt tokens, 4.40 per million completion tokens."""
        cwd, _ = run_for_people
        for event in lines_of(cwd / "demo-logs"):
            if event["event_type"] == "completion_response" and event["success"]:
                usage = event["token_usage"]
                expected = usage["prompt_tokens"] * Decimal("1.1e-6") + usage["completion_tokens"] * Decimal("4.4e-6")
                assert expected == Decimal(str(event["cost_estimate_usd"]))


class TestJson:
    def test_is_all_there_is(self, run_for_scripts: Ran) -> None:
        """Standard output is one JSON document, standard error is empty."""
        _, done = run_for_scripts
        assert (0, "") == (done.returncode, done.stderr)
        assert isinstance(json.loads(done.stdout), dict)

    def test_numbers_are_those_of_the_files(self, run_for_scripts: Ran) -> None:
        """What the summary says is what counting the lines gives."""
        cwd, done = run_for_scripts
        summary = json.loads(done.stdout)
        events = lines_of(cwd / summary["directory"])
        ended = [event for event in events if event["event_type"] == "completion_response"]
        costs = [event["cost_estimate_usd"] for event in ended]
        expected = {
            "events_written": len(events),
            "events_read": len(events),
            "events_by_type": dict(Counter(event["event_type"] for event in events)),
            "session_id": events[0]["session_id"],
            "dropped": 0,
            "redactions": sum(event["redactions"]["count"] for event in events if "redactions" in event),
            "planted_key_in_files": 0,
            "completions": len(ended),
            "failed_completions": sum(not event["success"] for event in ended),
            "total_tokens": sum(event["token_usage"]["total_tokens"] for event in ended if event["token_usage"]),
            "priced_usd": float(sum((Decimal(str(cost)) for cost in costs if cost is not None), Decimal())),
            "unpriced_calls": costs.count(None),
            "actions": dict(Counter(event["action"] for event in events if event["event_type"] == "trading_decision")),
        }
        assert expected == {name: summary[name] for name in expected}
        assert (24, 2, 2) == (len(ended), summary["failed_completions"], summary["redactions"])

    def test_names_the_files(self, run_for_scripts: Ran) -> None:
        """Every file that there is, and nothing else."""
        cwd, done = run_for_scripts
        there = {str(path.relative_to(cwd)) for path in (cwd / "here").rglob("*.log*") if not path.name.startswith(".")}
        assert there == set(json.loads(done.stdout)["files"])

    def test_runs_are_equal(self, run_for_scripts: Ran, run_for_people: Ran) -> None:
        """The same session again: the same answers, actions, tokens and costs."""

        def told(cwd: Path) -> list[tuple[Any, ...]]:
            events = sorted(lines_of(cwd), key=lambda event: event["seq"])
            names = ("event_type", "action", "symbol", "size_pct", "response_preview", "cost_estimate_usd", "success")
            return [tuple(event.get(name) for name in names) for event in events]

        assert told(run_for_people[0]) == told(run_for_scripts[0])


class TestArchive:
    def test_is_proved_whole(self, run_for_scripts: Ran) -> None:
        """Every event is in the archive once; nothing waits, and nothing is unproved."""
        cwd, done = run_for_scripts
        summary = json.loads(done.stdout)
        told = summary["archive"]
        assert (summary["events_written"], {"intact": 1}) == (told["records"], told["verdicts"])
        archived = [
            json.loads(line)
            for path in Path(cwd, told["place"]).rglob("*.jsonl.zst")
            for line in zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()).splitlines()
        ]
        there = sorted(event["seq"] for event in archived)
        assert list(range(1, summary["events_written"] + 1)) == there
        assert [] == list(cwd.rglob("*.spool"))

    def test_server_leaves_nothing(self, run_for_people: Ran) -> None:
        """The S3 server has ended, and its files are gone."""
        cwd, done = run_for_people
        assert 1 == len(list((cwd / "demo-logs").iterdir()))
        port = int(re.findall(r"endpoint_url=http://127\.0\.0\.1:(\d+)", done.stdout)[0])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)

    def test_server_that_does_not_start(self, tmp_path: Path) -> None:
        """The archive is a directory then, and that is said."""
        broken = tmp_path / "bin" / "weed"
        broken.parent.mkdir()
        broken.write_text("#!/bin/sh\nexit 1\n")
        broken.chmod(0o755)
        program = f"import structllm.demo.storage as s, shutil; s._installed = lambda: {str(broken)!r}; "
        program += "from structllm.cli import cli; cli(['demo', '-q', '--steps', '1'])"
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        )
        assert "(a directory, for SeaweedFS is installed and did not start)" in done.stdout

    def test_none(self, run: Callable[..., Result], tmp_path: Path) -> None:
        """Who wants none gets none."""
        done = run("--steps", "1", "--json", "--archive", "none")
        assert json.loads(done.stdout)["archive"] is None


class TestTerminal:
    def test_bar_and_lines_do_not_mix(self, tmp_path: Path) -> None:
        """On a terminal a bar is drawn, and every event still has a line of its own, coloured and whole."""
        shown = in_terminal(tmp_path, "--steps", "6")
        assert "deciding" in shown
        assert re.search(r"\x1b\[3[12]m(LONG|SHORT)\x1b\[0m", shown)
        above = without_controls(shown).partition("$ structllm stats")[0]
        rows = [row for row in re.split(r"[\r\n]+", above) if re.search(r"\d\dZ  [a-z]", row)]
        assert 6 * 3 + 1 == len(rows)
        assert [] == [row for row in rows if "deciding" in row or not re.match(r"\d\d-\d\d \d\d:\d\d:\d\dZ  ", row)]

    def test_no_color(self, tmp_path: Path) -> None:
        """NO_COLOR keeps the bar and takes every colour away."""
        shown = in_terminal(tmp_path, "--steps", "3", NO_COLOR="1")
        assert "deciding" in shown
        assert [] == re.findall(r"\x1b\[[0-9;]*3[0-7]m", shown)


def in_terminal(cwd: Path, *arguments: str, **environment: str) -> str:
    """What the command writes to a terminal of 120 columns."""
    ours, theirs = pty.openpty()
    environment = clean_environment() | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"} | environment
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = bytearray()
        try:
            while select.select([ours], [], [], TIMEOUT_S)[0]:
                shown += os.read(ours, 65536)
        except OSError:  # EIO: the other side is closed
            pass
        finally:
            os.close(ours)
        try:
            assert process.wait(TIMEOUT_S) == 0
        finally:
            process.kill()
    return shown.decode()


def without_controls(text: str) -> str:
    """The text without what moves the cursor and sets colours."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


class TestOptions:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["--model", "openai:o3-mini"], "--model openai:... needs a key of openai in the variable OPENAI_API_KEY"),
            (
                ["--model", "anthropic:x"],
                "--model anthropic:... needs a key of anthropic in the variable ANTHROPIC_API_KEY",
            ),
            (
                ["--model", "o3-mini"],
                "--model is demo-rules, openai:NAME or anthropic:NAME, for example openai:o3-mini",
            ),
            (
                ["--model", "openai:"],
                "--model is demo-rules, openai:NAME or anthropic:NAME, for example openai:o3-mini",
            ),
            (["--price-as", "no:such"], "--price-as names no model of the price list; try openai:o3-mini, or none"),
        ],
    )
    def test_wrong_ones(self, run: Callable[..., Result], tmp_path: Path, arguments: list[str], expected: str) -> None:
        """One sentence that names option and remedy, exit status 2, and nothing is written."""
        result = run(*arguments)
        assert (2, "", f"structllm: {expected}\n") == (result.exit_code, result.stdout, result.stderr)
        assert list(tmp_path.iterdir()) == []

    def test_price_as_with_a_real_model(self, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
        """A real model's calls have a price of their own."""
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        result = run("--model", "openai:o3-mini", "--price-as", "openai:gpt-4o")
        assert result.exit_code == 2
        assert "--price-as is for the built-in model" in result.stderr

    def test_missing_package_of_the_provider(self, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
        """The package to install is named."""
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        monkeypatch.setattr("structllm.demo.run.find_spec", lambda _: None)
        result = run("--model", "openai:o3-mini")
        assert (2, "structllm: --model openai:... needs langchain-openai: pip install langchain-openai\n") == (
            result.exit_code,
            result.stderr,
        )

    @pytest.mark.parametrize("module", ["hvsampledata", "structllm.demo.model"])
    def test_missing_extra(self, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, module: str) -> None:
        """Without the demo's packages, one sentence says what to install."""
        monkeypatch.setitem(sys.modules, module, None)
        result = run("--steps", "1")
        assert result.exit_code == 2
        assert re.search(r"structllm demo needs \S+: pip install 'structllm-logging\[demo\]'\n$", result.stderr)

    def test_directory_that_cannot_be(self, run: Callable[..., Result], tmp_path: Path) -> None:
        """The option to change is named."""
        (tmp_path / "file").touch()
        result = run("--steps", "1", "--directory", "file/below")
        assert (
            2,
            "structllm: cannot create a directory in file/below: Not a directory; choose one with --directory\n",
        ) == (
            result.exit_code,
            result.stderr,
        )

    def test_unpriced_on_request(self, run: Callable[..., Result], tmp_path: Path) -> None:
        """--price-as none: the true model is on no price list, so costs are null, never 0."""
        result = run("--json", "--steps", "2", "--price-as", "none")
        events = [event for event in lines_of(tmp_path) if event["event_type"] == "completion_response"]
        assert [(None, "unknown_model")] * 2 == [(e["cost_estimate_usd"], e["cost_status"]) for e in events]
        assert json.loads(result.stdout)["unpriced_calls"] == 2

    def test_settings_of_the_user_do_not_matter(
        self, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The demo is the same everywhere, whatever the environment says."""
        monkeypatch.setenv("LLM__ENABLE_COMPLETION_LOGGING", "false")
        monkeypatch.setenv("LLM__NO_SUCH_SETTING", "1")
        result = run("--json", "--steps", "2")
        assert (0, 7) == (result.exit_code, json.loads(result.stdout)["events_read"])

    def test_untrue_claim(self, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
        """A claim that does not hold is exit status 1 and no report."""
        monkeypatch.setattr(session, "fake_key", lambda: "AAPL")
        result = run("--steps", "1")
        assert result.exit_code == 1
        assert "the planted key is in no file" in result.stderr
        assert "Verified" not in result.stdout

    def test_most_steps(self) -> None:
        """The largest number of steps is what the data set has."""
        assert MOST_STEPS == len(market_states(MOST_STEPS))
        with pytest.raises(ValueError, match="market states"):
            market_states(MOST_STEPS + 1)


class TestTables:
    def test_leave_the_commands_as_they_are(self, tmp_path: Path) -> None:
        """A command that the demo has run has its `-h` in the same process still."""
        program = (
            "from click.testing import CliRunner\n"
            "from structllm.cli import cli\n"
            "for arguments in (['demo', '--archive', 'none', '--steps', '1'], ['stats', '-h']):\n"
            "    result = CliRunner().invoke(cli, arguments, prog_name='structllm')\n"
            "print(result.output)\n"
        )
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
        assert "-h, --help" in done.stdout


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `structllm demo` in this process, in an empty directory, without keys."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def invoke(*arguments: str) -> Result:
        archive = () if "--archive" in arguments else ("--archive", "none")
        result = CliRunner().invoke(cli, ["demo", *archive, *arguments], prog_name="structllm")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


class TestRealProvider:
    def test_is_asked_through_langchain(self, tmp_path: Path, openai: "FakeOpenAI") -> None:
        """With a key, the provider's model answers, priced as itself; the planted key reaches it and not the log."""
        environment = {"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": openai.url, "NO_PROXY": "127.0.0.1"}
        done = demo(tmp_path, "--model", "openai:gpt-4o-mini", "--steps", "4", "--json", **environment)
        assert (0, "") == (done.returncode, done.stderr)
        summary = json.loads(done.stdout)
        assert {"model": "openai:gpt-4o-mini", "simulated": False, "billed_as": None, "completions": 4} == {
            name: summary[name] for name in ("model", "simulated", "billed_as", "completions")
        }
        assert len(openai.prompts) == 4
        assert 1 == sum("OPENAI_API_KEY=sk-" in prompt for prompt in openai.prompts)
        events = lines_of(tmp_path)
        assert not any("simulated" in event for event in events)
        answers = [event for event in events if event["event_type"] == "completion_response"]
        assert [("openai/gpt-4o-mini", "genai-prices", 4.5e-05)] * 4 == [
            (event["price_model"], event["cost_source"], event["cost_estimate_usd"]) for event in answers
        ]


class FakeOpenAI(ThreadingHTTPServer):
    """A server that answers every chat completion with the same HOLD for 100 + 50 tokens."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), FakeOpenAIHandler)
        self.prompts: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


class FakeOpenAIHandler(BaseHTTPRequestHandler):
    """Keeps the prompts for the test."""

    server: FakeOpenAI

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.prompts.append(json.dumps(asked["messages"]))
        answer = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1700000000,
            "model": "gpt-4o-mini",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": '{"action": "HOLD", "rationale": "quiet"}'},
                }
            ],
            "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def openai() -> Iterator[FakeOpenAI]:
    """The server, while the test runs."""
    with FakeOpenAI() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(TIMEOUT_S)


class TestRecord:
    def test_gives_what_was_written(self, tmp_path: Path) -> None:
        """The events come back in order, and were shown as they were written."""
        shown: list[Mapping[str, Any]] = []
        recording = record(tmp_path, show=shown.append)
        assert [event["seq"] for event in shown] == [event["seq"] for event in recording.events]
        assert (len(shown), 0, 0) == (recording.written, recording.dropped, recording.key_found)

    def test_lost_events_are_found_out(self, tmp_path: Path) -> None:
        """A file that loses its content behind the logger's back breaks the claim."""
        with pytest.raises(session.BrokenClaim, match=r"\d+ events written, \d+ read back"):
            record(tmp_path, advance=lambda: os.truncate(tmp_path / "trading_decisions" / "decisions.log", 0))

    def test_damaged_lines_are_found_out(self, tmp_path: Path) -> None:
        """So does a line that is no event."""

        def damage() -> None:
            with (tmp_path / "llm_completions" / "completions.log").open("a") as file:
                file.write("not json\n")

        with pytest.raises(session.BrokenClaim, match="nothing skipped while reading"):
            record(tmp_path, advance=damage)

    def test_leaked_key_is_found_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A key that reaches a file by another way than the prompt is found there."""
        key = session.fake_key()
        monkeypatch.setattr(session, "fake_key", lambda: key)
        with pytest.raises(session.BrokenClaim, match="the planted key is in no file"):
            record(tmp_path, advance=lambda: (tmp_path / "llm_completions" / "x.log").write_text(key) and None)


def record(
    directory: Path,
    show: Callable[[Mapping[str, Any]], None] = lambda _: None,
    advance: Callable[[], None] = lambda: None,
) -> session.Recording:
    """Record a short session."""
    model = RuleBasedDemoModel(latency_ms=0, ms_per_token=0)
    states = market_states(2)
    return asyncio.run(
        session.record(model, states, directory, simulated=True, billed_as="openai:o3-mini", show=show, advance=advance)
    )


class TestBilledAs:
    @pytest.mark.parametrize("name", ["openai:o3-mini", "o3-mini"])
    def test_prices_as_the_named_model(self, name: str) -> None:
        """150 + 75 tokens of o3-mini are $0.000495, whatever model the call names, and the assumption is flagged."""
        cost = session.BilledAs(name).price(
            Usage(150, output_text=75), "demo-rules", provider="structllm", at=datetime.now(UTC)
        )
        assert cost is not None
        assert (Decimal("0.000495"), "structllm-demo", (f"billed_as:{name}",)) == (
            cost.cost_usd,
            cost.source,
            cost.flags,
        )

    @pytest.mark.parametrize(("name", "expected"), [("openai:o3-mini", True), ("openai:no-such", False), ("", False)])
    def test_knows_what_it_knows(self, name: str, expected: bool) -> None:
        """A name that the price list does not have is recognised before the session."""
        assert expected == session.BilledAs(name).is_known()


class TestLineSink:
    def test_shows_each_event(self) -> None:
        """Every record's event, in order."""
        shown: list[Mapping[str, Any]] = []
        records = sample_records(3)
        sink = session.LineSink(shown.append)
        assert isinstance(sink, Sink)
        sink.write(records)
        assert [record.event for record in records] == shown
        assert sink.flush(0.0)

    def test_stops_when_nobody_reads(self) -> None:
        """After a broken pipe it is silent, and the session goes on."""
        asked: list[Mapping[str, Any]] = []

        def broken(event: Mapping[str, Any]) -> None:
            asked.append(event)
            raise BrokenPipeError

        sink = session.LineSink(broken)
        sink.write(sample_records(2))
        sink.write(sample_records(1))
        assert len(asked) == 1


class TestNewDirectory:
    def test_never_the_same_twice(self, tmp_path: Path) -> None:
        """Runs of the same second get directories of their own, and what exists is left alone."""
        made = [session.new_directory(tmp_path / "a" / "b") for _ in range(5)]
        assert 5 == len(set(made))
        assert all(list(directory.iterdir()) == [] and directory.stat().st_mode & 0o77 == 0 for directory in made)

    def test_gives_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where everything is taken, it says so instead of trying for ever."""

        def taken(*_: object, **options: object) -> None:
            if "parents" not in options:
                raise FileExistsError

        monkeypatch.setattr(Path, "mkdir", taken)
        with pytest.raises(StructllmError, match="a thousand demo runs"):
            session.new_directory(tmp_path)
