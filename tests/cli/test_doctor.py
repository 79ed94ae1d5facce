"""`structllm doctor`: what is wrong between the settings and the last line of the log."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.recording import LogBuilder


@pytest.fixture
def default_path() -> Path:
    """The log of the default settings."""
    Path("logs").mkdir()
    return Path("logs/llm_completions.log")


def write(log: LogBuilder, path: Path) -> None:
    """Write a log as the file sink would."""
    log.write(path)
    os.chmod(path, 0o600)


def problems(run: Run, *arguments: Any) -> list[str]:
    """The problems that the doctor finds; checks that it exits 1 if there are any and else 0."""
    result = run("doctor", "--json", *arguments)
    report = json.loads(result.stdout)
    found = [finding["text"] for finding in report["findings"] if finding["verdict"] == "problem"]
    assert (1 if found else 0, not found) == (result.exit_code, report["ok"])
    return found


def gap(log: LogBuilder, first: int, last: int, dropped: dict[str, int], total: int, at: str = "10") -> None:
    """Add a `log_gap` of the file sink."""
    log.add(
        "log_gap",
        "WARNING",
        sink="file",
        dropped=dropped,
        dropped_total=total,
        first_seq=first,
        last_seq=last,
        first_dropped_at=f"2024-01-15T{at}:00:00.000Z",
        last_dropped_at=f"2024-01-15T{at}:20:00.000Z",
    )


class TestDoctor:
    """One finding after the other."""

    def test_all_well(self, run: Run, trading_log: LogBuilder, default_path: Path) -> None:
        """Where nothing is wrong, the doctor says what it looked at."""
        write(trading_log, default_path)
        result = run("doctor")
        assert result.stdout == (
            "ok       settings  all at their defaults\n"
            "ok       sink      file: logs/llm_completions.log can be written\n"
            f"ok       file      logs/llm_completions.log, {default_path.stat().st_size:,} bytes\n"
            "ok       log       11 events in 1 file\n"
            "note     log       1 request without a response: orphaned\n"
            "\n"
            "no problems\n"
        )
        assert 0 == result.exit_code

    def test_sink_of_the_settings(self, run: Run, trading_log: LogBuilder) -> None:
        """Where logs were named, the sink is told apart from them."""
        report = json.loads(run("doctor", "--json", trading_log.write(Path("x.log"))).stdout)
        assert [
            "file: logs/llm_completions.log can be written (where the settings write, whatever PATHs are read)"
        ] == [finding["text"] for finding in report["findings"] if finding["area"] == "sink"]

    def test_nothing_logged_yet(self, run: Run) -> None:
        """A log that is not there yet is no problem where it could be written."""
        assert [] == problems(run)
        assert "nothing has been logged" in run("doctor").stdout

    def test_wrong_settings(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wrong settings are problems, not the end."""
        monkeypatch.setenv("LLM__PERFORMANCE_LOG_INTERVAL", "0")
        (problem,) = problems(run)
        assert "LLM__PERFORMANCE_LOG_INTERVAL" in problem

    def test_ignored_variable(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable that looks like a setting and is not read is a problem."""
        monkeypatch.setenv("LLM_COMPLETION_LOG_FILE", "x.log")
        (problem,) = problems(run)
        assert "LLM_COMPLETION_LOG_FILE" in problem

    def test_sink_that_cannot_be_written(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every sink is asked what writing would meet."""
        Path("target.log").touch()
        Path("link.log").symlink_to("target.log")
        monkeypatch.setenv("LLM__COMPLETION_LOG_FILE", "link.log")
        (problem,) = problems(run)
        assert "symbolic link" in problem

    def test_switched_off(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Recording that is switched off is mentioned: it is the first thing that one forgets."""
        monkeypatch.setenv("LLM__ENABLE_COMPLETION_LOGGING", "false")
        assert "nothing is recorded" in run("doctor").stdout

    def test_bad_lines(self, run: Run, log: LogBuilder) -> None:
        """Each of the first bad lines is named by file and offset, the others are counted."""
        log.request("r1")
        Path("x.log").write_text("torn\n" * 12 + log.text())
        found = problems(run, "x.log")
        assert ["x.log, byte 0: not JSON", "x.log, byte 5: not JSON"] == found[:2]
        assert "and 2 more lines" == found[-1]

    def test_gaps(self, run: Run, log: LogBuilder) -> None:
        """Numbers that are missing within a writer's events are losses."""
        for number in range(10):
            log.request(f"r{number}")
        for index in (8, 4, 3):
            del log.events[index]
        (problem,) = problems(run, log.write(Path("x.log")))
        assert problem.startswith("wtr_00000000000000aa: 3 numbers missing (4-5, 9)")

    def test_rotated_away_is_no_gap(self, run: Run, log: LogBuilder) -> None:
        """Numbers before the first event are those of deleted files."""
        log.seq = 100
        log.request("r1")
        assert [] == problems(run, log.write(Path("x.log")))

    def test_gaps_of_a_routed_sink(self, run: Run, log: LogBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
        """A sink that gets only some events has gaps that prove nothing."""
        monkeypatch.setenv("LLM__SINKS", "file:decisions.log?events=trading_decision")
        log.decision(None, "d1")
        log.seq += 5
        log.decision(None, "d2")
        write(log, Path("decisions.log"))
        assert [] == problems(run)
        assert "proves no loss" in run("doctor").stdout

    def test_drops(self, run: Run, log: LogBuilder) -> None:
        """The last account of each writer counts; what it dropped is a problem."""
        for dropped in ({}, {"file:disk_full": 2}, {"file:disk_full": 3}):
            log.add("performance_metrics", total_completions=1, dropped=dropped)
        expected = ["wtr_00000000000000aa: sink 'file' dropped 3 records (disk_full)"]
        assert expected == problems(run, log.write(Path("x.log")))

    def test_log_gap(self, run: Run, log: LogBuilder) -> None:
        """What a sink dropped is told once, though both a gap and the metrics tell of it, and explains the numbers."""
        log.request("r1")
        log.seq += 12
        gap(log, 2, 13, {"disk_full": 12}, 12)
        log.add("performance_metrics", total_completions=1, dropped={"file:disk_full": 12})
        path = log.write(Path("x.log"))
        when = "between 01-15 10:00:00Z and 01-15 10:20:00Z"
        assert [f"wtr_00000000000000aa: sink 'file' dropped 12 records (disk_full) {when}"] == problems(run, path)
        assert "12 numbers missing within what log_gap events say was dropped" in run("doctor", path).stdout

    def test_several_gaps(self, run: Run, log: LogBuilder) -> None:
        """Gaps add up by reason; where one of them got lost itself, the total of a later one counts."""
        log.request("r1")
        gap(log, 2, 3, {"disk_full": 2}, 2)
        gap(log, 9, 10, {"timeout": 1, "disk_full": 1}, 4, at="11")
        said = "sink 'file' dropped 4 records (disk_full 3, timeout 1) between 01-15 10:00:00Z and 01-15 11:20:00Z"
        assert [f"wtr_00000000000000aa: {said}"] == problems(run, log.write(Path("x.log")))
        gap(log, 11, 11, {"timeout": 1}, 8)
        (problem,) = problems(run, log.write(Path("x.log")))
        assert "dropped 8 records (disk_full, timeout)" in problem

    def test_sinks_and_writers_apart(self, run: Run, log: LogBuilder) -> None:
        """The counts of one sink or writer say nothing of another."""
        gap(log, 5, 5, {"disk_full": 1}, 1)
        log.add("performance_metrics", total_completions=1, dropped={"s3:timeout": 2})
        log.writer = "wtr_00000000000000bb"
        gap(log, 5, 5, {"disk_full": 3}, 3)
        found = [problem.split(" between")[0] for problem in problems(run, log.write(Path("x.log")))]
        assert [
            "wtr_00000000000000aa: sink 'file' dropped 1 record (disk_full)",
            "wtr_00000000000000aa: sink 's3' dropped 2 records (timeout)",
            "wtr_00000000000000bb: sink 'file' dropped 3 records (disk_full)",
        ] == found

    def test_gap_beyond_what_is_told(self, run: Run, log: LogBuilder) -> None:
        """Only the numbers within a told gap are explained; the others are a loss of their own."""
        log.request("r1")
        log.seq = 10
        gap(log, 3, 6, {"disk_full": 4}, 4)
        losses = [problem for problem in problems(run, log.write(Path("x.log"))) if "missing" in problem]
        assert ["wtr_00000000000000aa: 5 numbers missing (2, 7-10)"] == [text.split(": those")[0] for text in losses]

    @pytest.mark.parametrize("field", ["sink", "dropped", "dropped_total", "first_seq", "last_seq", "first_dropped_at"])
    @pytest.mark.parametrize("value", [None, "x", -1, [1], {"a": "b"}, True])
    def test_strange_gap(self, run: Run, log: LogBuilder, field: str, value: object) -> None:
        """A gap with fields of another kind is told as far as it goes."""
        gap(log, 2, 3, {"disk_full": 2}, 2)
        log.events[-1][field] = value
        path = log.write(Path("x.log"))
        assert run("doctor", path).exit_code in (0, 1)
        assert 0 == run("errors", path).exit_code
        assert "gap" in run("tail", path).stdout

    def test_compressed_only(self, run: Run, log: LogBuilder) -> None:
        """A log of which there are compressed files alone is there."""
        log.request("r1")
        Path("x.log.7.gz").write_bytes(gzip.compress(log.text().encode()))
        assert [] == problems(run, "x.log")
        assert "1 event in 1 file" in run("doctor", "x.log").stdout

    def test_processor_errors(self, run: Run, log: LogBuilder) -> None:
        """Events on which a processor failed are a problem."""
        log.request("r1", processor_errors=["Price"])
        log.request("r2", processor_errors=["Price", "Redact"])
        expected = ["processor Price failed on 2 events", "processor Redact failed on 1 event"]
        assert expected == problems(run, log.write(Path("x.log")))

    def test_unreadable(self, run: Run, log: LogBuilder) -> None:
        """A file that cannot be read to its end is a problem."""
        log.request("r1")
        Path("x.log.gz").write_bytes(gzip.compress(log.text().encode())[:40])
        assert ["x.log.gz could not be read to its end: the compressed data is cut off"] == problems(run, "x.log.gz")

    def test_readable_by_everybody(self, run: Run, log: LogBuilder) -> None:
        """Prompts that every user can read are mentioned, with the remedy."""
        log.request("r1")
        path = log.write(Path("x.log"))
        os.chmod(path, 0o644)
        assert "chmod o-r x.log" in run("doctor", path).stdout

    @pytest.mark.parametrize(("mode", "wanted", "told"), [(0o640, "0600", 2), (0o640, "0640", 0), (0o602, "0640", 2)])
    def test_readable_by_others_than_meant(
        self, run: Run, log: LogBuilder, monkeypatch: pytest.MonkeyPatch, mode: int, wanted: str, told: int
    ) -> None:
        """A live or rotated file that more may use than its sink was told is mentioned, with the remedy."""
        log.request("r1")
        for name in ("x.log", "x.log.1"):
            os.chmod(log.write(Path(name)), mode)
        monkeypatch.setenv("LLM__SINKS", f"file:x.log?mode={wanted}")
        assert told == run("doctor").stdout.count("chmod go-rw")

    def test_missing_path(self, run: Run) -> None:
        """A path that is named and not there is wrong usage."""
        assert 2 == run("doctor", "nothing.log").exit_code

    def test_unfinished_and_duplicates(self, run: Run, log: LogBuilder) -> None:
        """An unfinished line and duplicates are mentioned."""
        log.request("r1")
        Path("x.log").write_text(log.text() * 2 + '{"half')
        assert [] == problems(run, "x.log")
        output = run("doctor", "x.log").stdout
        assert "1 duplicate" in output
        assert "the last line is unfinished" in output
