"""The file sink: what is on disk after each step."""

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from structllm._system import LockingImpossible, System
from structllm._types import Record
from structllm.errors import ConfigError, SinkRejected, SinkUnavailable
from structllm.sinks.file import FileSink, FileSinkConfig


def record(text: str, size_bytes: int = 0) -> Record:
    """Return a record whose line holds the text, padded to a size with its newline."""
    line = f'{{"t":"{text}"}}'
    return Record("x", 20, (line + " " * (size_bytes - len(line) - 1) + "\n").encode(), {})


def lines(path: Path) -> list[str]:
    """Return the texts of a file's lines."""
    return [line.split('"')[3] for line in path.read_text().splitlines()]


def directory(path: Path) -> dict[str, list[str]]:
    """Return the texts by name of the log's files."""
    return {file.name: lines(file) for file in sorted(path.iterdir()) if not file.name.startswith(".")}


class Clocked(System):
    """The operating system with a clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.monotonic = lambda: self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Lockless(Clocked):
    """A file system without locks, until it has some."""

    locks = False

    def try_lock(self, fd: int) -> bool:
        if not self.locks:
            raise LockingImpossible
        return super().try_lock(fd)


class TestWrite:
    def test_appends_lines_in_order(self, tmp_path: Path) -> None:
        """Records appear one per line in the order in which they were written."""
        sink = FileSink(tmp_path / "a.log")
        sink.write([record("1"), record("2")])
        sink.write([record("3")])
        assert directory(tmp_path) == {"a.log": ["1", "2", "3"]}

    def test_creates_directory_and_file_for_the_owner_alone(self, tmp_path: Path) -> None:
        """Directories are created with 0700 and the file with 0600, whatever the umask lets through."""
        FileSink(tmp_path / "deep" / "er" / "a.log").write([record("1")])
        modes = [(tmp_path / part).stat().st_mode & 0o777 for part in ("deep", "deep/er", "deep/er/a.log")]
        assert (modes[1], modes[2]) == (0o700, 0o600)

    def test_mode_is_configurable(self, tmp_path: Path) -> None:
        """A reader's group may be let in."""
        before = os.umask(0)
        try:
            FileSink(tmp_path / "a.log", mode=0o640).write([record("1")])
        finally:
            os.umask(before)
        assert (tmp_path / "a.log").stat().st_mode & 0o777 == 0o640

    def test_appends_to_what_is_there(self, tmp_path: Path) -> None:
        """A file of an earlier run is continued."""
        FileSink(tmp_path / "a.log").write([record("1")])
        FileSink(tmp_path / "a.log").write([record("2")])
        assert directory(tmp_path) == {"a.log": ["1", "2"]}

    def test_a_torn_tail_is_ended_first(self, tmp_path: Path) -> None:
        """Half a line of a killed writer is not glued to the next record."""
        (tmp_path / "a.log").write_bytes(b'{"t":"ok"}\n{"t":"torn')
        FileSink(tmp_path / "a.log").write([record("next")])
        assert (tmp_path / "a.log").read_bytes() == b'{"t":"ok"}\n{"t":"torn\n{"t":"next"}\n'

    def test_a_record_in_a_deleted_file_is_written_again(self, tmp_path: Path) -> None:
        """What went into a file that other processes rotated out of existence goes into the current one too."""
        sink = FileSink(tmp_path / "a.log")
        sink.write([record("1")])
        other = FileSink(tmp_path / "a.log", max_bytes=60, backup_count=0)
        for number in range(3):
            other.write([record(f"other{number}", size_bytes=50)])
        sink.write([record("2")])
        assert lines(tmp_path / "a.log") == ["other2", "2"]

    def test_follows_a_file_that_was_moved_away(self, tmp_path: Path) -> None:
        """After an outside rename a new file is begun, at the latest 50 ms later."""
        system = Clocked()
        sink = FileSink(tmp_path / "a.log", system=system)
        sink.write([record("1")])
        (tmp_path / "a.log").rename(tmp_path / "moved.log")
        sink.write([record("2")])
        system.seconds += 0.05
        sink.write([record("3")])
        assert directory(tmp_path) == {"a.log": ["3"], "moved.log": ["1", "2"]}

    def test_what_went_into_a_deleted_file_is_written_again(self, tmp_path: Path) -> None:
        """Deleting the file takes what was in it for longer, not what was written around that time."""
        system = Clocked()
        sink = FileSink(tmp_path / "a.log", system=system)
        sink.write([record("1")])
        system.seconds += 0.05
        sink.write([record("2")])
        (tmp_path / "a.log").unlink()
        sink.write([record("3")])
        assert sink.flush(1.0)
        assert (directory(tmp_path), sink.health()["rewritten"]) == ({"a.log": ["2", "3"]}, 2)

    def test_a_deleted_directory_is_made_again(self, tmp_path: Path) -> None:
        """Also where the whole directory goes, with the file that tells of rotations."""
        sink = FileSink(tmp_path / "deep" / "a.log")
        sink.write([record("1")])
        shutil.rmtree(tmp_path / "deep")
        sink.write([record("2")])
        sink.close()
        assert directory(tmp_path / "deep") == {"a.log": ["2"]}

    def test_close_is_idempotent_and_writing_reopens(self, tmp_path: Path) -> None:
        """Closing twice is fine; a later write opens the file again."""
        sink = FileSink(tmp_path / "a.log")
        sink.write([record("1")])
        sink.close()
        sink.close()
        sink.write([record("2")])
        assert (sink.flush(0.0), directory(tmp_path)) == (True, {"a.log": ["1", "2"]})


class TestRotation:
    def test_rotates_before_a_file_grows_beyond_its_limit(self, tmp_path: Path) -> None:
        """No file is larger than max_bytes, and the newest rotated file is .1."""
        sink = FileSink(tmp_path / "a.log", max_bytes=100, backup_count=5)
        for number in range(5):
            sink.write([record(str(number), size_bytes=50)])
        assert directory(tmp_path) == {"a.log": ["4"], "a.log.1": ["2", "3"], "a.log.2": ["0", "1"]}

    def test_keeps_backup_count_files(self, tmp_path: Path) -> None:
        """The oldest file goes when there are more than backup_count."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, backup_count=2)
        for number in range(5):
            sink.write([record(str(number), size_bytes=50)])
        assert directory(tmp_path) == {"a.log": ["4"], "a.log.1": ["3"], "a.log.2": ["2"]}

    def test_without_backups_a_full_file_is_deleted(self, tmp_path: Path) -> None:
        """backup_count=0 keeps the current file alone."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, backup_count=0)
        for number in range(3):
            sink.write([record(str(number), size_bytes=50)])
        assert directory(tmp_path) == {"a.log": ["2"]}

    def test_a_record_larger_than_the_limit_gets_a_file_of_its_own(self, tmp_path: Path) -> None:
        """A record is never cut or refused for its size."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, backup_count=5)
        for number, size in enumerate((50, 500, 50)):
            sink.write([record(str(number), size_bytes=size)])
        assert directory(tmp_path) == {"a.log": ["2"], "a.log.1": ["1"], "a.log.2": ["0"]}

    def test_counts_bytes_and_what_was_there_before(self, tmp_path: Path) -> None:
        """The limit is in bytes, and an earlier run's bytes count."""
        FileSink(tmp_path / "a.log").write([record("é" * 40)])
        FileSink(tmp_path / "a.log", max_bytes=95, backup_count=1).write([record("2")])
        assert directory(tmp_path) == {"a.log": ["2"], "a.log.1": ["é" * 40]}

    def test_a_rotation_that_fails_does_not_lose_the_record(self, tmp_path: Path) -> None:
        """Where the rotated name cannot be taken, the current file grows beyond its limit."""
        (tmp_path / "a.log.1").mkdir()
        sink = FileSink(tmp_path / "a.log", max_bytes=60, backup_count=1)
        for number in range(3):
            sink.write([record(str(number), size_bytes=50)])
        assert lines(tmp_path / "a.log") == ["0", "1", "2"]

    def test_a_held_lock_delays_no_record(self, tmp_path: Path) -> None:
        """While another process holds the lock, records go on into the current file; afterwards it rotates."""
        system = Clocked()
        sink = FileSink(tmp_path / "a.log", max_bytes=60, backup_count=5, system=system)
        sink.write([record("0", size_bytes=50)])
        lock = os.open(tmp_path / "a.log", os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        for number in range(1, 50):
            sink.write([record(str(number), size_bytes=50)])
        assert directory(tmp_path) == {"a.log": [str(number) for number in range(50)]}
        os.close(lock)
        system.seconds += 1.5
        sink.write([record("after")])
        assert (lines(tmp_path / "a.log"), sink.health()["failed_rotations"]) == (["after"], 1)

    def test_a_file_system_without_locks_is_said(self, tmp_path: Path) -> None:
        """Without locks nothing is rotated, nothing is lost, and health() says so until there are locks again."""
        system = Lockless()
        sink = FileSink(tmp_path / "a.log", max_bytes=60, backup_count=5, system=system)
        told: list[str] = []
        sink.report_to(told.append)
        for number in range(3):
            sink.write([record(str(number), size_bytes=50)])
            system.seconds += 0.1
        assert (directory(tmp_path), sink.health()["degraded"]) == ({"a.log": ["0", "1", "2"]}, "no_lock")
        assert told == [f"the file system of {tmp_path} has no locks, so the file is not rotated"]
        system.locks = True
        system.seconds += 1.5
        sink.write([record("3")])
        assert (lines(tmp_path / "a.log"), sink.health()["degraded"]) == (["3"], None)

    def test_a_number_left_free_is_filled(self, tmp_path: Path) -> None:
        """A gap that a killed process left behind is closed, and no file beyond it moves."""
        for number in (1, 3):
            (tmp_path / f"a.log.{number}").write_bytes(record(f"old{number}").line)
        sink = FileSink(tmp_path / "a.log", max_bytes=60, backup_count=3)
        for number in range(2):
            sink.write([record(str(number), size_bytes=50)])
        expected = {"a.log": ["1"], "a.log.1": ["0"], "a.log.2": ["old1"], "a.log.3": ["old3"]}
        assert directory(tmp_path) == expected

    def test_a_smaller_backup_count_takes_effect(self, tmp_path: Path) -> None:
        """Files beyond a count that was lowered go at the next rotation."""
        for number in range(1, 6):
            (tmp_path / f"a.log.{number}").write_bytes(record(f"old{number}").line)
        sink = FileSink(tmp_path / "a.log", max_bytes=60, backup_count=2)
        for number in range(2):
            sink.write([record(str(number), size_bytes=50)])
        assert directory(tmp_path) == {"a.log": ["1"], "a.log.1": ["0"], "a.log.2": ["old1"]}

    def test_the_oldest_is_deleted_by_somebody_else(self, tmp_path: Path) -> None:
        """The caller of a rotation renames; the deletion is deferred and leaves nothing behind."""
        jobs: list[Callable[[], None]] = []
        sink = FileSink(tmp_path / "a.log", max_bytes=60, backup_count=1)
        sink.defer_to(lambda delay_s, job: jobs.append(job))
        for number in range(3):
            sink.write([record(str(number), size_bytes=50)])
        waiting = [file.name for file in tmp_path.iterdir() if file.name.endswith(".old")]
        for job in jobs:
            job()
        assert (len(waiting), len(list(tmp_path.glob(".*.old")))) == (1, 0)
        assert directory(tmp_path) == {"a.log": ["2"], "a.log.1": ["1"]}

    def test_threads_lose_nothing(self, tmp_path: Path) -> None:
        """Threads writing through rotations lose, tear and repeat nothing."""
        sink = FileSink(tmp_path / "a.log", max_bytes=2_000, backup_count=1000)

        def work(name: int) -> None:
            for number in range(200):
                sink.write([record(f"{name}-{number}", size_bytes=50)])

        threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        texts = [text for texts in directory(tmp_path).values() for text in texts]
        assert sorted(texts) == sorted(f"{name}-{number}" for name in range(4) for number in range(200))

    def test_processes_lose_nothing_while_one_path_rotates(self, tmp_path: Path) -> None:
        """Processes writing one path through rotations lose, tear and repeat nothing."""
        program = (
            "import sys; from structllm._types import Record; from structllm.sinks.file import FileSink\n"
            "sink = FileSink(sys.argv[1], max_bytes=20_000, backup_count=1000)\n"
            "for number in range(1000):\n"
            "    sink.write([Record('x', 20, b'{\"t\":\"%s-%d\"}\\n' % (sys.argv[2].encode(), number), {})])\n"
        )
        writers = [
            subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "a.log"), str(name)]) for name in range(3)
        ]
        assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
        texts = [text for texts in directory(tmp_path).values() for text in texts]
        assert sorted(texts) == sorted(f"{name}-{number}" for name in range(3) for number in range(1000))


class TestFailures:
    def test_a_symbolic_link_is_refused(self, tmp_path: Path) -> None:
        """A planted link must not make us write somewhere else."""
        (tmp_path / "a.log").symlink_to(tmp_path / "victim")
        with pytest.raises(SinkRejected, match="symlink"):
            FileSink(tmp_path / "a.log").write([record("1")])
        assert not (tmp_path / "victim").exists()

    def test_a_full_disk_is_said_and_recovered_from(self, tmp_path: Path) -> None:
        """No space gives SinkUnavailable and half a line at most; with space again every record has its own line."""
        program = (
            "import resource, signal, sys; from structllm._types import Record\n"
            "from structllm.sinks.file import FileSink; from structllm.errors import SinkUnavailable\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "sink = FileSink(sys.argv[1])\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (150, resource.RLIM_INFINITY))\n"
            "for number in range(4):\n"
            "    try: sink.write([Record('x', 20, b'{\"t\":\"%d\",\"p\":\"' % number + b'x' * 50 + b'\"}\\n', {})])\n"
            "    except SinkUnavailable as error: print(error.reason)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
            "sink.write([Record('x', 20, b'{\"t\":\"after\"}\\n', {})])\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "a.log")],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        written = (tmp_path / "a.log").read_text().splitlines()
        assert done.stdout.splitlines() == ["disk_full", "disk_full"]
        whole = [line.split('"')[3] for line in written if line.endswith("}")]
        assert (whole, len(written)) == (["0", "1", "after"], 4)

    def test_a_directory_in_the_way_is_said(self, tmp_path: Path) -> None:
        """Other failures of the operating system are SinkUnavailable too."""
        (tmp_path / "a.log").mkdir()
        with pytest.raises(SinkUnavailable):
            FileSink(tmp_path / "a.log").write([record("1")])


class TestConfig:
    def test_builds_what_it_says(self, tmp_path: Path) -> None:
        """The configuration's sizes and mode reach the sink."""
        sink = FileSinkConfig(path=tmp_path / "a.log", max_bytes=1024, backup_count=1, mode="0640").build()
        for number in range(3):
            sink.write([record(str(number), size_bytes=1000)])
        assert directory(tmp_path) == {"a.log": ["2"], "a.log.1": ["1"]}
        assert (tmp_path / "a.log").stat().st_mode & 0o777 == 0o640

    def test_building_where_nothing_can_be_written_is_an_error(self, tmp_path: Path) -> None:
        """A wrong path is found when the logger is built, not at the first event."""
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match=r"cannot write .*file/a\.log"):
            FileSinkConfig(path=tmp_path / "file" / "a.log").build()

    @pytest.mark.parametrize("mode", ["abc", "600x", "01777", "0000", "0400"])
    def test_a_senseless_mode_is_refused(self, tmp_path: Path, mode: str) -> None:
        """The mode is octal, lets the owner write and has no special bits."""
        with pytest.raises(ValueError, match=r"octal|owner"):
            FileSinkConfig(path=tmp_path / "a.log", mode=mode)

    def test_a_name_that_cannot_be_rotated_is_refused(self, tmp_path: Path) -> None:
        """A name so long that rotated files would have none is found when the logger is built."""
        FileSinkConfig(path=tmp_path / ("x" * 235)).build().close()
        with pytest.raises(ConfigError, match="235 bytes"):
            FileSinkConfig(path=tmp_path / ("x" * 236)).build()

    def test_check_says_that_there_are_no_locks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """doctor learns where a file could not be rotated."""
        (tmp_path / "a.log").write_text("")
        config = FileSinkConfig(path=tmp_path / "a.log")
        before = config.check()
        monkeypatch.setattr(System, "try_lock", Lockless().try_lock)
        expected = [f"the file system of {tmp_path}/a.log has no locks, so the file would not be rotated"]
        assert (before, config.check()) == ([], expected)

    def test_check_says_what_would_fail(self, tmp_path: Path) -> None:
        """check() finds a link, a directory and a file in the way, and accepts a directory that is yet to be made."""
        (tmp_path / "file").write_text("")
        assert FileSinkConfig(path=tmp_path).check() == [f"{tmp_path} is a directory; name a file in it"]
        assert FileSinkConfig(path=tmp_path / "file" / "a.log").check() == [
            f"{tmp_path}/file is in the way: it is no directory"
        ]
        assert FileSinkConfig(path=tmp_path / "file").check() == []
        (tmp_path / "link").symlink_to(tmp_path / "x")
        assert FileSinkConfig(path=tmp_path / "new" / "a.log").check() == []
        assert FileSinkConfig(path=tmp_path / "link").check() == [
            f"{tmp_path}/link is a symbolic link, which the file sink refuses"
        ]
