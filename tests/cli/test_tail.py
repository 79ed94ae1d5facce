"""`structllm tail`: the newest events, and those that come."""

import gzip
import json
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.recording import LogBuilder, Running


def shown(output: str) -> list[str]:
    """The request or decision ids, as far as shown, in order."""
    return [line[37:45].strip() for line in output.splitlines()]


class TestTail:
    """What there is."""

    def test_line(self, run: Run, log: LogBuilder) -> None:
        """Each event is one aligned line: time, what, session, request, facts, text."""
        log.call(1)
        log.decision("req_0000000000000001", "dec_1")
        result = run("tail", log.write(Path("x.log")))
        request, response, decision = result.stdout.splitlines()
        assert request == (
            "01-15 10:30:45Z  request   abc12345  00000000  o3-mini             1,250 chars  BTC-USD  "
            "You are an expert cryptocurrency futures trader. Should I buy BTC?"
        )
        assert response == (
            "01-15 10:30:46Z  response  abc12345  00000000  o3-mini              1.77 s     150+75 tok  $0.000495  "
            '{"action": "LONG", "size_pct": 15.0}'
        )
        assert decision == (
            "01-15 10:30:47Z  decision  abc12345  00000000  LONG    15%  BTC-USD @ 45,230.5  PASSED  "
            "APPROVED - Within risk …  Bullish momentum with healthy RSI"
        )
        assert (0, "") == (result.exit_code, result.stderr)

    def test_gap(self, run: Run, log: LogBuilder) -> None:
        """What a sink dropped is a line that says how much, why and when."""
        log.add(
            "log_gap",
            "WARNING",
            sink="file",
            dropped={"disk_full": 10, "timeout": 2},
            dropped_total=12,
            first_dropped_at="2024-01-15T10:29:01.000Z",
            last_dropped_at="2024-01-15T10:30:40.000Z",
        )
        assert run("tail", "--type", "gap", log.write(Path("x.log"))).stdout == (
            "01-15 10:30:45Z  gap       abc12345            sink file          WARNING  dropped 12  "
            "disk_full=10 timeout=2  10:29:01Z to 10:30:40Z\n"
        )

    def test_newest(self, run: Run, log: LogBuilder) -> None:
        """Twenty events are shown unless another number is asked for."""
        for number in range(30):
            log.request(f"r{number}")
        path = log.write(Path("x.log"))
        assert [f"r{number}" for number in range(10, 30)] == shown(run("tail", path).stdout)
        assert ["r28", "r29"] == shown(run("tail", "-n", 2, path).stdout)
        assert "" == run("tail", "-n", 0, path).output

    def test_default_path(self, run: Run, log: LogBuilder) -> None:
        """Without a path, the log of the default settings is read."""
        Path("logs").mkdir()
        log.request("r1")
        log.write(Path("logs/llm_completions.log"))
        assert ["r1"] == shown(run("tail").stdout)

    def test_configured_path(self, run: Run, log: LogBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a path, the file that the settings name is read."""
        monkeypatch.setenv("LLM__COMPLETION_LOG_FILE", "elsewhere.jsonl")
        log.request("r1")
        log.write(Path("elsewhere.jsonl"))
        assert ["r1"] == shown(run("tail").stdout)

    def test_rotated_and_compressed(self, run: Run, log: LogBuilder) -> None:
        """The newest events may lie in rotated and compressed files."""
        log.request("r1")
        Path("x.log.1.gz").write_bytes(gzip.compress(log.text().encode()))
        log.events.clear()
        log.request("r2")
        assert ["r1", "r2"] == shown(run("tail", log.write(Path("x.log"))).stdout)

    def test_since(self, run: Run) -> None:
        """With --since, everything from then on is shown, more than twenty events too."""
        log = LogBuilder(start=datetime.now(UTC) - timedelta(hours=1))
        log.request("old")
        log.now = datetime.now(UTC) - timedelta(minutes=5)
        for number in range(25):
            log.request(f"r{number}")
        path = log.write(Path("x.log"))
        assert [f"r{number}" for number in range(25)] == shown(run("tail", "--since", "15m", path).stdout)
        assert ["r24"] == shown(run("tail", "--since", "15m", "-n", 1, path).stdout)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["--model", "gpt-*"], ["r2"]),
            (["--session", "zz"], ["r3", "run1"]),
            (["--type", "response", "--type", "run"], ["r1", "run1"]),
            (["--type", "completion_request"], ["r1", "r2", "r3"]),
            (["--errors"], ["r1"]),
            (["--grep", "ETH|nothing"], ["r2"]),
        ],
    )
    def test_filters(self, run: Run, log: LogBuilder, options: list[str], expected: list[str]) -> None:
        """Each filter keeps the events that it names."""
        log.request("r1")
        log.failure("r1")
        log.request("r2", model="gpt-4o", market_context={"symbol": "ETH-USD"})
        log.session = "zzz"
        log.request("r3")
        log.add("run", level="DEBUG", kind="tool", name="search", run_id="run1", duration_ms=1, success=True)
        assert expected == shown(run("tail", *options, log.write(Path("x.log"))).stdout)

    def test_json(self, run: Run, log: LogBuilder) -> None:
        """With --json, the lines are those of the file, to the last digit."""
        log.call(1, cost_estimate_usd=0.1 + 0.2, big=2**70)
        path = log.write(Path("x.log"))
        assert path.read_text() == run("tail", "--json", path).stdout

    def test_json_is_harmless(self, run: Run, log: LogBuilder) -> None:
        """What could act on a terminal is escaped in JSON too, and means the same."""
        request = log.request("r1", prompt_preview="C1 \x9b2J, bidi \u202e, DEL \x7f")
        Path("x.log").write_text(json.dumps(request, ensure_ascii=False) + "\n")
        output = run("tail", "--json", "x.log").stdout
        assert output.rstrip("\n").isprintable()
        assert request == json.loads(output)

    @pytest.mark.parametrize(("choice", "colored"), [("always", True), ("never", False), ("auto", False)])
    def test_color(self, run: Run, log: LogBuilder, choice: str, colored: bool) -> None:
        """Colours are for terminals unless asked for."""
        log.request("r1")
        path = log.write(Path("x.log"))
        assert colored == ("\x1b[" in run("tail", "--color", choice, path).stdout)

    def test_standard_input(self, run: Run, log: LogBuilder) -> None:
        """A dash reads standard input, packed or not, and between lines of other programs."""
        log.request("r1")
        result = run("tail", "-", stdin="starting up\n" + log.text())
        assert ["r1"] == shown(result.stdout)
        assert "structllm: skipped 1 bad line; the first is -, byte 0: not JSON\n" == result.stderr
        assert ["r1"] == shown(run("tail", "-", stdin=gzip.compress(log.text().encode())).stdout)


class TestTrouble:
    """What is not there, or not as it should be."""

    def test_no_log(self, run: Run) -> None:
        """Without a log the command says where it looked and what to do."""
        result = run("tail")
        assert (2, "") == (result.exit_code, result.stdout)
        assert (
            "structllm: there is no logs/llm_completions.log here; run the program that logs (or `structllm demo`), "
            "or name a file or directory\n"
        ) == result.stderr

    @pytest.mark.parametrize("command", [["tail"], ["tail", "--since", "1h"], ["stats"], ["show", "req_1"]])
    def test_other_logs(self, run: Run, command: list[str]) -> None:
        """Where the log of the default settings is missing, the logs that lie beside it are named."""
        Path("logs").mkdir()
        for name in ("trading.log", "calls.jsonl", "notes.txt"):
            Path("logs", name).touch()
        result = run(*command)
        assert (2, "") == (result.exit_code, result.stdout)
        assert (
            "structllm: there is no logs/llm_completions.log here, but logs/calls.jsonl, logs/trading.log; "
            "name a file, or the directory logs\n"
        ) == result.stderr

    def test_logs_of_others_beside_an_empty_directory(self, run: Run) -> None:
        """An empty directory of logs changes nothing about what is said."""
        Path("logs").mkdir()
        assert "run the program that logs" in run("tail").stderr

    @pytest.mark.parametrize("follow", [[], ["-n", "5"], ["--since", "1h"]])
    def test_no_such_path(self, run: Run, follow: list[str]) -> None:
        """A path that is not there is named."""
        result = run("tail", *follow, "nothing.log")
        assert (2, "") == (result.exit_code, result.stdout)
        assert result.stderr.startswith("structllm: no such file or directory: nothing.log; ")

    def test_empty(self, run: Run) -> None:
        """An empty log is no error."""
        Path("x.log").touch()
        result = run("tail", "x.log")
        assert (0, "", "structllm: no events yet in x.log\n") == (result.exit_code, result.stdout, result.stderr)

    def test_nothing_matches(self, run: Run, log: LogBuilder) -> None:
        """When no event is wanted, the command says that there are others."""
        log.request("r1")
        result = run("tail", "--errors", log.write(Path("x.log")))
        assert (0, "", "structllm: no such event among 1 event\n") == (result.exit_code, result.stdout, result.stderr)

    def test_bad_lines(self, run: Run, log: LogBuilder) -> None:
        """Lines that are no events are counted on standard error, and the exit status is that of success."""
        log.request("r1")
        Path("x.log").write_text("torn {\n" + log.text())
        result = run("tail", "x.log")
        assert (0, ["r1"]) == (result.exit_code, shown(result.stdout))
        assert "structllm: skipped 1 bad line; the first is x.log, byte 0: not JSON\n" == result.stderr

    def test_unreadable(self, run: Run, log: LogBuilder) -> None:
        """A file that cannot be read to its end is a problem: what is shown may not be all."""
        log.request("r1")
        log.write(Path("x.log"))
        Path("x.log.1.gz").write_bytes(gzip.compress(log.text().encode() * 9)[:60])
        result = run("tail", "x.log")
        assert (1, ["r1"]) == (result.exit_code, shown(result.stdout))
        assert "structllm: could not read x.log.1.gz: the compressed data is cut off\n" == result.stderr

    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            (["--since", "soon"], "'soon' is not a duration such as 15m"),
            (["--grep", "("], "not a regular expression"),
            (["-n", "-1"], "-1"),
            (["--colour", "never"], "--color"),
            (["--type", "foo"], "'foo' is none of request, response, decision, metrics, outcome, run, gap"),
        ],
    )
    def test_wrong_usage(self, run: Run, options: list[str], complaint: str) -> None:
        """Wrong usage names what is wrong."""
        result = run("tail", *options)
        assert 2 == result.exit_code
        assert complaint in result.stderr

    def test_object_storage(self, run: Run) -> None:
        """An archive in object storage is not taken for a file, and cannot be followed."""
        result = run("tail", "-f", "s3://bucket/prefix")
        assert (2, "") == (result.exit_code, result.stdout)
        assert "s3://bucket/prefix cannot be followed" in result.stderr


class TestFollow:
    """What comes, as a real process."""

    def append(self, path: Path, log: LogBuilder, **fields: Any) -> str:
        """Write one more request; return how it is shown."""
        log.events.clear()
        log.request(f"r{log.seq + 1}", **fields)
        with path.open("a") as file:
            file.write(log.text())
        return f"r{log.seq}"

    def test_rotation(self, tmp_path: Path, log: LogBuilder) -> None:
        """Following goes on across a rotation and loses nothing that was written on either side of it."""
        path = tmp_path / "x.log"
        self.append(path, log)
        with Running("tail", "-f", path) as tail:
            tail.expect("r1 ")
            self.append(path, log)
            tail.expect("r2 ")
            self.append(path, log)
            path.rename(tmp_path / "x.log.1")
            self.append(path, log)
            tail.expect("r4 ")
            self.append(path, log)
            tail.expect("r5 ")
            assert 130 == tail.interrupt()
        assert ["r1", "r2", "r3", "r4", "r5"] == shown(tail.output)
        assert "" == tail.errors.strip()

    def test_stopped_while_files_were_packed(self, tmp_path: Path, log: LogBuilder) -> None:
        """Stopped with Ctrl-Z, it shows afterwards what came meanwhile, in files that are compressed by then."""
        path = tmp_path / "x.log"
        self.append(path, log)
        with Running("tail", "-f", path) as tail:
            tail.expect("r1 ")
            tail._process.send_signal(signal.SIGSTOP)
            for _ in range(5):
                self.append(path, log)
                for file in sorted(tmp_path.glob("x.log.*"), reverse=True):
                    file.rename(tmp_path / f"x.log.{int(file.name.split('.')[2]) + 1}.gz")
                packed = gzip.compress(path.read_bytes())
                path.unlink()
                (tmp_path / "x.log.1.gz").write_bytes(packed)
            self.append(path, log)
            tail._process.send_signal(signal.SIGCONT)
            tail.expect("r7 ")
            assert 130 == tail.interrupt()
        assert [f"r{number}" for number in range(1, 8)] == shown(tail.output)
        assert "" == tail.errors.strip()

    def test_half_line(self, tmp_path: Path, log: LogBuilder) -> None:
        """A line is shown when it is finished."""
        path = tmp_path / "x.log"
        self.append(path, log)
        log.events.clear()
        log.request("r2")
        text = log.text()
        with Running("tail", "-f", path) as tail, path.open("a") as file:
            tail.expect("r1 ")
            for half in (text[:100], text[100:]):
                file.write(half)
                file.flush()
            tail.expect("r2 ")
            tail.interrupt()
        assert ["r1", "r2"] == shown(tail.output)

    def test_creation(self, tmp_path: Path, log: LogBuilder) -> None:
        """A file that is not there yet is waited for."""
        path = tmp_path / "later.log"
        with Running("tail", "-f", path) as tail:
            tail.expect_error(f"waiting for {path}")
            self.append(path, log)
            tail.expect("r1 ")
            tail.interrupt()
        assert ["r1"] == shown(tail.output)

    def test_truncation(self, tmp_path: Path, log: LogBuilder) -> None:
        """A file that is emptied and written anew is followed on."""
        path = tmp_path / "x.log"
        self.append(path, log, prompt_preview="long " * 50)
        with Running("tail", "-f", path) as tail:
            tail.expect("r1 ")
            path.write_text("")
            self.append(path, log)
            tail.expect("r2 ")
            tail.interrupt()
        assert ["r1", "r2"] == shown(tail.output)

    def test_directory(self, tmp_path: Path, log: LogBuilder) -> None:
        """In a directory, logs that appear later are followed as well."""
        self.append(tmp_path / "a.log", log)
        with Running("tail", "-f", tmp_path) as tail:
            tail.expect("r1 ")
            self.append(tmp_path / "b.log", log)
            tail.expect("r2 ")
            tail.interrupt()
        assert ["r1", "r2"] == shown(tail.output)

    def test_filter_and_json(self, tmp_path: Path, log: LogBuilder) -> None:
        """What comes is filtered and shown like what was there."""
        path = tmp_path / "x.log"
        path.touch()
        with Running("tail", "-f", "--json", "--model", "gpt-*", path) as tail:
            # The follower is ready once it has shown something.
            self.append(path, log, model="gpt-4o")
            tail.expect("r1")
            self.append(path, log)
            self.append(path, log, model="gpt-4o")
            tail.expect("r3")
            tail.interrupt()
        assert ["r1", "r3"] == [json.loads(line)["request_id"] for line in tail.output.splitlines()]

    def test_bad_lines_are_reported_at_the_end(self, tmp_path: Path, log: LogBuilder) -> None:
        """Lines that were no events are counted when following ends."""
        path = tmp_path / "x.log"
        path.write_text("torn\n")
        self.append(path, log)
        with Running("tail", "-f", path) as tail:
            tail.expect("r1 ")
            tail.interrupt()
        assert f"skipped 1 bad line; the first is {path}, byte 0: not JSON" in tail.errors
