"""Sealed lines of the file sink: a chain that only what was written continues, through failures, forks and re-entry."""

import errno
import json
import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import structllm
from structllm._system import System
from structllm._types import Record
from structllm.chain import hasher
from structllm.cli.verify import raw_lines
from structllm.errors import ConfigError, SinkError, SinkRejected, SinkUnavailable
from structllm.segment import ReadReport, find_logs
from structllm.settings_view import MASK, explain
from structllm.sinks import integrity
from structllm.sinks.file import FileSink, FileSinkConfig
from structllm.sinks.registry import load_sink_config
from structllm.tampering import PROBLEMS
from structllm.verification import LogCheck


def record(n: int, writer: str = "w") -> Record:
    """Return a record as an emitter renders it."""
    event = {"event_type": "run", "writer": writer, "seq": n}
    return Record("run", 20, json.dumps(event, separators=(",", ":")).encode() + b"\n", event)


def check(path: Path, key: bytes | None = None) -> LogCheck:
    """Check a log as the command does."""
    checked = LogCheck(hasher(key))
    (log,) = find_logs([path])
    for line, place in raw_lines(log, ReadReport()):
        if line:
            checked.add(line, place)
    checked.finish()
    return checked


def events(path: Path) -> list[dict[str, Any]]:
    """Return the events of one file that can be read."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def numbers(path: Path) -> list[tuple[int, int]]:
    """Return the numbers of the events, the emitter's and the sink's."""
    return [(event["seq"], event["sink_seq"]) for event in events(path)]


class Flaky(System):
    """The operating system, whose writes of lines do what `script` says, one after the other.

    A step is None (write), a number of bytes (write only those) or an exception (raise it, before or after the write).
    """

    def __init__(self, *script: Any, after: bool = False) -> None:
        self.script = list(script)
        self._after = after
        self.write = self._write
        self.failing_sync = False

    def _write(self, fd: int, data: Any) -> int:
        step = self.script.pop(0) if self.script and b"}" in bytes(data) else None
        if isinstance(step, int):
            return os.write(fd, data[:step])
        if callable(step) and not isinstance(step, type):
            step()
            step = None
        if isinstance(step, OSError) or (step is not None and not self._after):  # a call that fails has written nothing
            raise step
        written = os.write(fd, data)
        if step is not None:
            raise step
        return written

    def sync(self, fd: int) -> None:
        if self.failing_sync:
            raise OSError(errno.EIO, "Input/output error")


def write_all(sink: FileSink, count: int, first: int = 1) -> list[str]:
    """Write records one by one; return the reasons of those that were not taken."""
    reasons: list[str] = []
    for n in range(first, first + count):
        try:
            sink.write([record(n)])
        except SinkError as error:
            reasons.append(error.reason)
    return reasons


NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


class TestSealing:
    def test_numbers_are_without_gaps(self, tmp_path: Path) -> None:
        """Each writer's lines count 1, 2, 3 ..., whatever the emitter's numbers are."""
        sink = FileSink(tmp_path / "x.log", integrity="chain")
        sink.write([record(5, "a"), record(7, "b"), record(9, "a")])
        sink.close()
        assert [(5, 1), (7, 1), (9, 2)] == numbers(tmp_path / "x.log")
        assert [] == check(tmp_path / "x.log").findings

    def test_none_changes_nothing(self, tmp_path: Path) -> None:
        """Without the setting a line is what was rendered."""
        sink = FileSink(tmp_path / "x.log")
        sink.write([record(1)])
        sink.close()
        assert record(1).line == (tmp_path / "x.log").read_bytes()

    def test_hmac(self, tmp_path: Path) -> None:
        """With a key only who has it can check, and make, a line."""
        key = os.urandom(16)
        sink = FileSink(tmp_path / "x.log", integrity="hmac", hmac_key=key)
        assert [] == write_all(sink, 5)
        sink.close()
        assert [] == check(tmp_path / "x.log", key).findings
        assert 5 == check(tmp_path / "x.log").count["altered"]

    def test_through_rotation_and_compression(self, tmp_path: Path) -> None:
        """The chain goes through all files of the log."""
        path = tmp_path / "x.log"
        sink = FileSink(path, integrity="chain", max_bytes=1024, backup_count=100, compression="gzip")
        assert [] == write_all(sink, 60)
        sink.close()
        checked = check(path)
        assert ([], 60) == (checked.findings, sum(found.proved for found in checked.chains.values()))

    @pytest.mark.parametrize("line", [b"text\n", b"{}\n", b'{"a":1}'])
    def test_what_cannot_be_sealed(self, tmp_path: Path, line: bytes) -> None:
        """A line that is no JSON object is rejected, and breaks no chain."""
        sink = FileSink(tmp_path / "x.log", integrity="chain")
        with pytest.raises(SinkRejected, match="not_an_event"):
            sink.write([Record("x", 20, line, {})])
        sink.write([record(1)])
        sink.close()
        assert [(1, 1)] == numbers(tmp_path / "x.log")

    def test_fork_begins_a_new_chain(self, tmp_path: Path) -> None:
        """A forked child is a writer of its own, whose lines begin at 1."""
        sink = FileSink(tmp_path / "x.log", integrity="chain")
        sink.write([record(1, "parent")])
        sink.reset_after_fork()
        sink.write([record(1, "child"), record(2, "parent")])
        assert [(1, 1), (1, 1), (2, 1)] == numbers(tmp_path / "x.log")

    def test_writers_are_forgotten(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of very many writers those used last are remembered."""
        monkeypatch.setattr(integrity, "_MOST_WRITERS", 3)
        sink = FileSink(tmp_path / "x.log", integrity="chain")
        sink.write([record(n, writer) for n, writer in enumerate("abcadab")])
        sink.close()
        assert [1, 1, 1, 2, 1, 3, 1] == [seq for _, seq in numbers(tmp_path / "x.log")]


class TestFailures:
    def test_dropped_records_leave_no_gap(self, tmp_path: Path) -> None:
        """The chain goes on from what was written."""
        path = tmp_path / "x.log"
        sink = FileSink(path, integrity="chain", system=Flaky(None, NO_SPACE, NO_SPACE, None))
        assert ["disk_full"] * 2 == write_all(sink, 5)
        sink.close()
        assert [(1, 1), (4, 2), (5, 3)] == numbers(path)
        assert [] == check(path).findings

    def test_torn_lines(self, tmp_path: Path) -> None:
        """Half a line is a bad line, and the next one continues the last whole one."""
        path = tmp_path / "x.log"
        sink = FileSink(path, integrity="chain", system=Flaky(None, 30, NO_SPACE, None))
        assert ["disk_full"] == write_all(sink, 4)
        sink.close()
        checked = check(path)
        assert ["bad"] == [finding.verdict for finding in checked.findings]
        assert [1, 2, 3] == [event["sink_seq"] for event in events(path) if "sink_seq" in event]

    def test_not_synced_is_written(self, tmp_path: Path) -> None:
        """A line that the disk did not confirm is in the file, so the chain goes on from it."""
        path = tmp_path / "x.log"
        system = Flaky()
        sink = FileSink(path, integrity="chain", fsync="always", system=system)
        sink.write([record(1)])
        system.failing_sync = True
        assert ["not_synced"] == write_all(sink, 1, 2)
        system.failing_sync = False
        sink.write([record(3)])
        sink.close()
        assert [(1, 1), (2, 2), (3, 3)] == numbers(path)
        assert [] == check(path).findings

    @pytest.mark.parametrize("after", [False, True])
    def test_ctrl_c_in_a_write(self, tmp_path: Path, after: bool) -> None:
        """Where nobody knows whether a line was written, it is written again, unchanged."""
        path = tmp_path / "x.log"
        sink = FileSink(path, integrity="chain", system=Flaky(None, KeyboardInterrupt(), NO_SPACE, after=after))
        sink.write([record(1)])
        with pytest.raises(KeyboardInterrupt):
            sink.write([record(2)])
        with pytest.raises(SinkUnavailable):
            sink.write([record(3)])
        sink.write([record(4)])
        sink.close()
        checked = check(path)
        assert [] == [finding for finding in checked.findings if finding.verdict in PROBLEMS]
        assert [1, 2, 3] == list(dict.fromkeys(seq for _, seq in numbers(path)))

    def test_logging_within_a_write(self, tmp_path: Path) -> None:
        """What a signal handler logs in the middle of a write comes behind it, in one chain."""
        path = tmp_path / "x.log"
        sinks: list[FileSink] = []
        system = Flaky(None, lambda: sinks[0].write([record(3)]))
        sinks.append(FileSink(path, integrity="chain", system=system))
        assert [] == write_all(sinks[0], 2)
        sinks[0].close()
        assert [(1, 1), (2, 2), (3, 3)] == numbers(path)
        assert [] == check(path).findings

    def test_too_much_within_a_write(self, tmp_path: Path) -> None:
        """That is bounded, and what is beyond is refused, so that it is counted."""
        reasons: list[str] = []
        sinks: list[FileSink] = []
        system = Flaky(lambda: reasons.extend(write_all(sinks[0], 102, 10)))
        sinks.append(FileSink(tmp_path / "x.log", integrity="chain", system=system))
        sinks[0].write([record(1)])
        assert ["reentered"] * 2 == reasons
        assert sinks[0].flush(1.0)
        sinks[0].close()
        assert 101 == len(numbers(tmp_path / "x.log"))

    def test_held_until_there_is_room(self, tmp_path: Path) -> None:
        """What was logged within a write and could not be written comes first when there is room."""
        path = tmp_path / "x.log"
        sinks: list[FileSink] = []
        system = Flaky(lambda: sinks[0].write([record(2)]), NO_SPACE, NO_SPACE)
        sinks.append(FileSink(path, integrity="chain", system=system))
        sinks[0].write([record(1)])
        assert not sinks[0].flush(1.0)
        assert [] == write_all(sinks[0], 1, 3)
        sinks[0].close()
        assert [(1, 1), (2, 2), (3, 3)] == numbers(path)

    @given(st.lists(st.sampled_from([None, None, 1, 30, NO_SPACE, KeyboardInterrupt()]), max_size=20), st.booleans())
    def test_any_failures(self, script: list[Any], after: bool) -> None:
        """Whatever writes fail, are torn or interrupted, what is in the log is one chain without a gap."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "x.log")
            system = Flaky(*script, after=after)
            sink = FileSink(path, integrity="chain", max_bytes=1024, backup_count=100, system=system)
            for n in range(len(script) + 2):
                with suppress(SinkError, KeyboardInterrupt):
                    sink.write([record(n)])
            system.script.clear()
            assert sink.flush(1.0)
            sink.close()
            checked = check(path)
        assert [] == [finding.text for finding in checked.findings if finding.verdict in PROBLEMS]
        assert {"w"} == checked.chains.keys()

    def test_threads(self, tmp_path: Path) -> None:
        """Threads that share a writer share its chain."""
        path = tmp_path / "x.log"
        sink = FileSink(path, integrity="chain", max_bytes=4096, backup_count=100)
        threads = [threading.Thread(target=write_all, args=(sink, 100)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        sink.close()
        checked = check(path)
        assert ([], 400) == (checked.findings, checked.chains["w"].proved)


class TestMutants:
    """Damage to the sealer that a check must find."""

    def test_a_hash_that_is_not_chained(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A line that does not continue the one before is altered."""
        real = integrity.seal
        monkeypatch.setattr(integrity, "seal", lambda fresh, line, seq, previous: real(fresh, line, seq, b""))
        assert 3 == self._damaged(tmp_path).count["altered"]

    def test_a_number_that_is_not_covered(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A hash that leaves out the number is wrong."""
        real = integrity.seal

        def seal(fresh: Any, line: bytes, seq: int, previous: bytes) -> tuple[bytes, bytes]:
            made, digest = real(fresh, line, 1, previous)
            return made.replace(b'"sink_seq":1,', b'"sink_seq":%d,' % seq), digest

        monkeypatch.setattr(integrity, "seal", seal)
        assert self._damaged(tmp_path).problems

    def test_a_chain_that_goes_on_without_the_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the chain goes on although a line was dropped, one is missing."""
        monkeypatch.setattr(integrity, "_is_written", lambda error: True)
        assert 1 == self._damaged(tmp_path, Flaky(None, NO_SPACE, None)).count["missing"]

    def _damaged(self, tmp_path: Path, system: System | None = None) -> LogCheck:
        sink = FileSink(tmp_path / "x.log", integrity="chain", system=system)
        write_all(sink, 4 if system else 3)
        sink.close()
        return check(tmp_path / "x.log")


class TestSettings:
    def test_key(self, tmp_path: Path) -> None:
        """hmac needs a key, and a key needs hmac."""
        with pytest.raises(ConfigError, match="needs an hmac_key"):
            FileSinkConfig(path=tmp_path / "x.log", integrity="hmac")
        with pytest.raises(ConfigError, match="only integrity=hmac"):
            FileSinkConfig(path=tmp_path / "x.log", hmac_key="k" * 16)  # type: ignore[arg-type]  # as a file has it
        with pytest.raises(ConfigError, match="at least 16 characters"):
            FileSink(tmp_path / "x.log", integrity="hmac", hmac_key="short")

    def test_no_url_holds_a_key(self, tmp_path: Path) -> None:
        """URLs are printed and logged, so a key in one is refused, and not repeated."""
        key = os.urandom(8).hex()
        with pytest.raises(ConfigError, match="does not belong in a URL") as caught:
            load_sink_config(f"file:{tmp_path}/x.log?integrity=hmac&hmac_key={key}")
        assert key not in str(caught.value)

    def test_the_key_is_never_shown(self, tmp_path: Path) -> None:
        """Neither a short key in an error nor a good one in the settings is printed."""
        short, key = os.urandom(4).hex(), os.urandom(16).hex()
        given = {"type": "file", "path": str(tmp_path / "x.log"), "integrity": "hmac"}
        with pytest.raises(ConfigError) as caught:
            load_sink_config({**given, "hmac_key": short})
        assert short not in str(caught.value)
        config = load_sink_config({**given, "hmac_key": key})
        settings = structllm.LLMSettings(sinks=[config])
        assert MASK in [row.value for row in explain(settings) if row.name.endswith("hmac_key")]
        assert key not in f"{config!r}{settings!r}{explain(settings)}"

    def test_from_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The key comes in a variable of its own."""
        key = os.urandom(16).hex()
        monkeypatch.setenv("LLM__SINKS", f"file:{tmp_path}/x.log?integrity=hmac")
        monkeypatch.setenv("LLM__SINKS__0__HMAC_KEY", key)
        logger = structllm.create_llm_logger()
        logger.log_decision_outcome("d", "fill")
        logger.close()
        assert [] == check(tmp_path / "x.log", key.encode()).findings
