"""Upkeep of rotated files: compression and deletion, on real directories with a clock that is moved by hand."""

import fcntl
import gzip
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from structllm._system import System
from structllm._types import Record
from structllm.segment import ReadReport, read
from structllm.sinks.file import FileSink
from structllm.sinks.rotation import LogFiles
from structllm.sinks.upkeep import Upkeep
from tests.standing_in import stand_in

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S

SETTINGS: dict[str, Any] = {
    "backup_count": 9,
    "max_age_s": None,
    "max_total_bytes": None,
    "compression": "none",
    "mode": 0o600,
    "syncs": False,
}


class Timed(System):
    """The operating system with clocks that are moved by hand; what is written to gets their time.

    Attributes:
        wall_s: Time of day.
        tick_s: Time that only passes.
        trace: Names of the calls that change something, with the names of the files.
    """

    def __init__(self) -> None:
        self.wall_s = 1_700_000_000.0
        self.tick_s = 1000.0
        self.trace: list[tuple[str, ...]] = []
        self.monotonic = lambda: self.tick_s
        self.write = self._write

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.wall_s += seconds
        self.tick_s += seconds

    def now(self) -> float:
        return self.wall_s

    def sleep(self, seconds: float) -> None:
        self.passes(seconds)

    def _write(self, fd: int, data: Any) -> int:
        written = os.write(fd, data)
        os.utime(fd, (self.wall_s, self.wall_s))
        return written

    def resize(self, fd: int, size_bytes: int) -> None:
        super().resize(fd, size_bytes)
        os.utime(fd, (self.wall_s, self.wall_s))

    def rename(self, source: str, target: str) -> None:
        self.trace.append(("rename", os.path.basename(source), os.path.basename(target)))
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self.trace.append(("unlink", os.path.basename(path)))
        super().unlink(path)


class Killed(BaseException):
    """Ends a process where it stands."""


class Mortal(Timed):
    """A process that dies before one of its calls, and makes none after that.

    Args:
        calls: How many it makes before.
    """

    def __init__(self, calls: int) -> None:
        super().__init__()
        self._left = calls
        self._files: set[int] = set()
        for name in (name for name in vars(System) if not name.startswith("_")):
            setattr(self, name, self._mortal(name, getattr(self, name)))

    def _mortal(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if not self._left:
                raise Killed
            self._left -= 1
            answer = function(*arguments)
            if name == "open":
                self._files.add(answer)
            if name == "close":
                self._files.remove(arguments[0])
            return answer

        return call

    def bury(self) -> None:
        """Close its files, as the kernel does."""
        for fd in self._files:
            os.close(fd)


class Meanwhile(Timed):
    """Something happens before the call of a kind that names a file.

    Args:
        name: Of the call.
        ending: What the path given to it ends with.
        action: What happens, once.
    """

    def __init__(self, name: str, ending: str, action: Callable[[], object]) -> None:
        super().__init__()
        function = getattr(self, name)
        left = [action]

        def call(*arguments: Any) -> Any:
            if left and arguments[0].endswith(ending):
                left.pop()()
            return function(*arguments)

        setattr(self, name, call)


def line(text: str, size_bytes: int = 0) -> bytes:
    """Return a line that holds the text, padded to a size with its newline."""
    start = f'{{"event_type":"x","t":"{text}"}}'
    return (start + " " * (size_bytes - len(start) - 1) + "\n").encode()


def record(text: str, size_bytes: int = 50) -> Record:
    """Return a record of such a line."""
    return Record("x", 20, line(text, size_bytes), {})


def place(path: Path, text: str, system: Timed, *, age_s: float = 60.0, size_bytes: int = 50) -> None:
    """Write a file of one line that was last written to some time ago."""
    content = line(text, size_bytes)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    os.utime(path, (system.wall_s - age_s, system.wall_s - age_s))


def upkeep(directory: Path, system: System, **settings: Any) -> Upkeep:
    """Return the upkeep of the log `a.log`."""
    return Upkeep(system, LogFiles(system, str(directory / "a.log")), **{**SETTINGS, **settings})


def visible(directory: Path) -> list[str]:
    """Return the names of the log's files."""
    return sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))


def hidden(directory: Path) -> list[str]:
    """Return the endings of the hidden files."""
    return sorted(path.suffix for path in directory.iterdir() if path.name.startswith("."))


def texts(directory: Path) -> list[str]:
    """Return what a reader of the log sees, which must be able to read all of it."""
    report = ReadReport()
    found = [entry.event["t"] for entry in read([directory / "a.log"], report)]
    assert (list(report.unreadable), report.bad_lines) == ([], 0)
    return found


def unpacked(path: Path) -> bytes:
    """Return what is in a compressed file."""
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    with path.open("rb") as file, zstandard.open(file) as content:
        return content.read()


SUFFIXES = {"gzip": ".gz", "zstd": ".zst"}


@pytest.fixture
def system() -> Timed:
    return Timed()


@pytest.fixture
def log(tmp_path: Path, system: Timed) -> Path:
    """A directory with a live file and two rotated ones, written to a minute ago."""
    place(tmp_path / "a.log", "live", system)
    place(tmp_path / "a.log.1", "one", system)
    place(tmp_path / "a.log.2", "two", system)
    return tmp_path


@pytest.mark.parametrize("compression", SUFFIXES)
class TestCompressed:
    def test_holds_the_same(self, log: Path, system: Timed, compression: str) -> None:
        """The compressed file takes the place of the plain one and holds what that held."""
        before = (log / "a.log.1").read_bytes()
        done = upkeep(log, system, compression=compression)
        assert done.run() is None
        suffix = SUFFIXES[compression]
        assert visible(log) == ["a.log", f"a.log.1{suffix}", f"a.log.2{suffix}"]
        assert (unpacked(log / f"a.log.1{suffix}"), done.health()["compressed"]) == (before, 2)

    def test_is_read_like_the_plain_one(self, log: Path, system: Timed, compression: str) -> None:
        """Readers of the log see the same events in the same order."""
        upkeep(log, system, compression=compression).run()
        assert texts(log) == ["two", "one", "live"]

    def test_more_than_one_chunk(self, log: Path, system: Timed, compression: str) -> None:
        """Files of any size are compressed piece by piece, the last piece included."""
        content = b"".join(line(os.urandom(20).hex(), 1000) for _ in range(2500))
        (log / "a.log.1").write_bytes(content)
        os.utime(log / "a.log.1", (0, 0))
        upkeep(log, system, compression=compression).run()
        assert unpacked(log / f"a.log.1{SUFFIXES[compression]}") == content

    @pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
    def test_has_the_mode(self, log: Path, system: Timed, compression: str, mode: int) -> None:
        """Who may read the log may read its compressed files, whatever the umask takes away."""
        before = os.umask(0o077)
        try:
            upkeep(log, system, compression=compression, mode=mode).run()
        finally:
            os.umask(before)
        assert (log / f"a.log.1{SUFFIXES[compression]}").stat().st_mode & 0o777 == mode

    def test_is_as_old_as_what_is_in_it(self, log: Path, system: Timed, compression: str) -> None:
        """Compressing makes no old events young: a compressed file has the time of the last write."""
        place(log / "a.log.1", "one", system, age_s=HOUR_S)
        upkeep(log, system, compression=compression).run()
        assert (log / f"a.log.1{SUFFIXES[compression]}").stat().st_mtime == system.wall_s - HOUR_S

    @pytest.mark.parametrize("call", ["read_at", "unlink"])
    def test_keeps_what_a_straggler_writes(self, log: Path, compression: str, call: str) -> None:
        """A line that comes while the file is compressed, up to the deletion of the plain one, is in it."""

        def straggle() -> None:
            with (log / "a.log.1").open("ab") as file:
                file.write(line("late"))

        system = Meanwhile("unlink", "a.log.1", straggle)
        if call == "read_at":
            system = Timed()
            reads = itertools.count()

            def read_at(fd: int, count: int, offset: int) -> bytes:
                found = os.pread(fd, count, offset)
                if b'"one"' in found and next(reads) == 0:
                    straggle()
                return found

            stand_in(system, read_at=read_at)
        upkeep(log, system, compression=compression).run()
        assert (visible(log)[1], texts(log)) == (f"a.log.1{SUFFIXES[compression]}", ["two", "one", "late", "live"])

    def test_a_crash_at_any_step_loses_nothing(self, tmp_path: Path, compression: str) -> None:
        """A process killed at any call leaves a log that reads the same, and the next one finishes the work."""
        suffix = SUFFIXES[compression]
        for calls in itertools.count():
            directory = tmp_path / str(calls)
            directory.mkdir()
            mortal = Mortal(calls)
            for name, text in (("a.log", "live"), ("a.log.1", "one"), ("a.log.2", "two")):
                place(directory / name, text, mortal)
            try:
                upkeep(directory, mortal, compression=compression).run()
            except Killed:
                died = True
            else:
                died = False
            mortal.bury()
            assert (calls, ["two", "one", "live"]) == (calls, texts(directory))
            later = Timed()
            later.passes(60.0)
            upkeep(directory, later, compression=compression).run()
            expected = ["a.log", f"a.log.1{suffix}", f"a.log.2{suffix}"]
            assert (calls, expected, ["two", "one", "live"]) == (calls, visible(directory), texts(directory))
            assert (calls, []) == (calls, [ending for ending in hidden(directory) if ending == ".tmp"])
            if not died:
                break
        assert calls > 40


class TestCompression:
    def test_waits_until_a_file_is_quiet(self, log: Path, system: Timed) -> None:
        """A file is left alone until 5 s after its last write, and run() says how long that is."""
        place(log / "a.log.1", "one", system, age_s=3.0)
        done = upkeep(log, system, compression="gzip")
        assert (done.run(), visible(log)) == (2.0, ["a.log", "a.log.1", "a.log.2.gz"])
        system.passes(2.0)
        assert (done.run(), visible(log)) == (None, ["a.log", "a.log.1.gz", "a.log.2.gz"])

    def test_a_file_of_the_future_does_not_wait_for_it(self, log: Path, system: Timed) -> None:
        """After the clock was set back, a file is not left plain until the clock has caught up."""
        place(log / "a.log.1", "one", system, age_s=-DAY_S)
        assert (upkeep(log, system, compression="gzip").run(), visible(log)[1]) == (None, "a.log.1.gz")

    def test_the_oldest_comes_first(self, log: Path, system: Timed) -> None:
        """Rotation meanwhile moves the others to numbers that were dealt with."""
        upkeep(log, system, compression="gzip").run()
        packed = [call[2] for call in system.trace if call[0] == "rename"]
        assert packed == ["a.log.2.gz", "a.log.1.gz"]

    def test_a_file_rotated_meanwhile_is_compressed_where_it_is(self, log: Path) -> None:
        """The compressed file gets the number that the plain one has by then."""
        meanwhile = Meanwhile("unlink", "a.log.2", lambda: None)
        reads = itertools.count()

        def read_at(fd: int, count: int, offset: int) -> bytes:
            found = os.pread(fd, count, offset)
            if b'"two"' in found and next(reads) == 0:
                os.rename(log / "a.log.2", log / "a.log.3")
                os.rename(log / "a.log.1", log / "a.log.2")
            return found

        stand_in(meanwhile, read_at=read_at)
        upkeep(log, meanwhile, compression="gzip").run()
        assert (visible(log)[-1], unpacked(log / "a.log.3.gz")) == ("a.log.3.gz", line("two", 50))
        upkeep(log, Timed(), compression="gzip").run()
        assert (visible(log), texts(log)) == (["a.log", "a.log.2.gz", "a.log.3.gz"], ["two", "one", "live"])

    def test_a_file_that_vanishes_does_not_stop_the_others(self, log: Path) -> None:
        """What another process rotates or compresses first is no failure, and the rest is done."""
        for name in ("a.log.3", "a.log.4"):
            place(log / name, name, Timed())
        system = Meanwhile("status_at", "a.log.3", (log / "a.log.3").unlink)
        done = upkeep(log, system, compression="gzip")
        done.run()
        assert visible(log) == ["a.log", "a.log.1.gz", "a.log.2.gz", "a.log.4.gz"]
        assert done.health() == {"compressed": 3, "expired": 0, "failed_upkeep": 0}

    def test_what_failed_is_tried_again(self, log: Path, system: Timed) -> None:
        """A full disk is counted, leaves the plain file and no rest, and is tried again within a minute."""
        content = (log / "a.log.2").read_bytes()

        def full(fd: int, data: Any) -> int:
            raise OSError(28, "No space left on device")

        working, system.write = system.write, full
        done = upkeep(log, system, compression="gzip")
        again_s = done.run()
        assert ((log / "a.log.2").read_bytes(), hidden(log)) == (content, [])
        assert done.health() == {"compressed": 0, "expired": 0, "failed_upkeep": 1}
        assert again_s == 60.0
        system.write = working
        done.run()
        assert visible(log) == ["a.log", "a.log.1.gz", "a.log.2.gz"]

    def test_an_abandoned_file_is_removed(self, log: Path, system: Timed) -> None:
        """What a killed process had half compressed goes; what a living one is at stays."""
        for token in ("0" * 12, "1" * 12):
            (log / f".a.log.{token}.tmp").write_bytes(b"half")
        with (log / f".a.log.{'1' * 12}.tmp").open("rb") as maker:
            fcntl.flock(maker, fcntl.LOCK_EX)
            upkeep(log, system).run()
        assert [path.name for path in log.glob(".*.tmp")] == [f".a.log.{'1' * 12}.tmp"]

    def test_what_another_process_compresses_is_left_to_it(self, log: Path, system: Timed) -> None:
        """Work is not done twice: a file whose lock somebody holds is looked at again a minute later."""
        done = upkeep(log, system, compression="gzip")
        with (log / "a.log.2").open("rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            assert (done.run(), visible(log)) == (60.0, ["a.log", "a.log.1.gz", "a.log.2"])

    def test_processes_at_once_compress_each_file_once(self, tmp_path: Path) -> None:
        """Several processes that find the same files to compress share them."""
        for number in range(1, 9):
            content = b"".join(line(f"{number}-{count}", 200) for count in range(3000))
            (tmp_path / f"a.log.{number}").write_bytes(content)
            os.utime(tmp_path / f"a.log.{number}", (0, 0))
        (tmp_path / "a.log").write_bytes(line("live"))
        program = (
            "import json, sys, time; from structllm._system import System\n"
            "from structllm.sinks.rotation import LogFiles; from structllm.sinks.upkeep import Upkeep\n"
            "system = System()\n"
            "upkeep = Upkeep(system, LogFiles(system, sys.argv[1]), **json.loads(sys.argv[2]))\n"
            "print('ready', flush=True); sys.stdin.readline()\n"
            "while upkeep.run() is not None: time.sleep(0.01)\n"
            "print(*upkeep.health().values())\n"
        )
        settings = json.dumps({**SETTINGS, "compression": "gzip"})
        command = [sys.executable, "-c", program, str(tmp_path / "a.log"), settings]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
        assert [process.stdout.readline() for process in processes if process.stdout] == ["ready\n"] * 3
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        counts = [map(int, process.communicate(timeout=60)[0].split()) for process in processes]
        assert [sum(each) for each in zip(*counts, strict=True)] == [8, 0, 0]
        assert visible(tmp_path) == ["a.log", *(f"a.log.{number}.gz" for number in range(1, 9))]
        assert texts(tmp_path) == [f"{number}-{count}" for number in range(8, 0, -1) for count in range(3000)] + [
            "live"
        ]

    def test_compressed_files_move_up_and_count(self, log: Path, system: Timed) -> None:
        """Rotation gives compressed files the next number, and backup_count counts them."""
        upkeep(log, system, compression="gzip").run()
        sink = FileSink(log / "a.log", max_bytes=60, backup_count=2, system=system)
        sink.write([record("next")])
        assert (visible(log), texts(log)) == (["a.log", "a.log.1", "a.log.2.gz"], ["one", "live", "next"])


class TestAge:
    def test_old_rotated_files_are_deleted(self, log: Path, system: Timed) -> None:
        """A rotated file goes once its last write is longer ago than max_age_s, and not before."""
        place(log / "a.log.2", "two", system, age_s=HOUR_S)
        done = upkeep(log, system, max_age_s=HOUR_S)
        assert (done.run(), visible(log)) == (60.0, ["a.log", "a.log.1", "a.log.2"])
        system.passes(1.0)
        done.run()
        assert (visible(log), hidden(log), done.health()["expired"]) == (["a.log", "a.log.1"], [".rotation"], 1)

    def test_compressed_ones_as_well(self, log: Path, system: Timed) -> None:
        """A compressed file is deleted by its age like a plain one."""
        (log / "a.log.2").unlink()
        place(log / "a.log.2.gz", "two", system, age_s=HOUR_S + 1)
        upkeep(log, system, max_age_s=HOUR_S).run()
        assert visible(log) == ["a.log", "a.log.1"]

    def test_a_short_age_is_looked_at_as_often(self, log: Path, system: Timed) -> None:
        """Files are looked at every minute, or as often as files may be old where that is less."""
        assert [upkeep(log, system, max_age_s=age_s).run() for age_s in (5.0, HOUR_S)] == [5.0, 60.0]

    def test_the_live_file_is_rotated(self, tmp_path: Path, system: Timed) -> None:
        """A live file begun longer ago than max_age_s is rotated although there is room in it."""
        sink = FileSink(tmp_path / "a.log", max_age_s=HOUR_S, system=system)
        sink.write([record("old")])
        system.passes(HOUR_S)
        sink.write([record("not yet")])
        assert visible(tmp_path) == ["a.log"]
        system.passes(61.0)
        sink.write([record("new")])
        assert {path.name: path.read_bytes().count(b"\n") for path in tmp_path.glob("a.log*")} == {
            "a.log": 1,
            "a.log.1": 2,
        }

    def test_a_deletion_makes_the_live_file_no_younger(self, tmp_path: Path, system: Timed) -> None:
        """A live file is rotated at its age also where rotated ones were deleted for theirs meanwhile."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, max_age_s=HOUR_S, system=system)
        sink.write([record("before")])
        system.passes(30.0)
        sink.write([record("begun")])
        for _ in range(62):
            system.passes(60.0)
            assert sink.flush(0.0)
            sink.write([])
            sink._live._look(system.tick_s)
        assert sink.health()["rotations"] == 2

    def test_an_empty_live_file_is_not(self, tmp_path: Path, system: Timed) -> None:
        """A log that nobody writes to makes no empty files."""
        sink = FileSink(tmp_path / "a.log", max_age_s=60.0, system=system)
        sink.open()
        for _ in range(5):
            system.passes(61.0)
            sink.write([record("x")] if system.tick_s > 1300 else [])
        assert (visible(tmp_path), sink.health()["rotations"]) == (["a.log"], 0)

    @pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
    def test_a_clock_that_jumps(self, tmp_path: Path, system: Timed, jump_s: float) -> None:
        """A clock set forward makes what is there old, once; one set back makes nothing old.

        Forward: rotated files are deleted and the live one is rotated. Back: both wait until the clock has caught up.
        Neither is done again and again.
        """
        sink = FileSink(tmp_path / "a.log", max_bytes=60, max_age_s=HOUR_S, system=system)
        sink.write([record("0")])
        sink.write([record("1")])
        system.passes(61.0)
        sink.write([record("2")])
        system.wall_s += jump_s
        rotations = []
        for number in range(3, 33):
            system.passes(61.0)
            sink.write([record(str(number))] if number == 3 else [])
            sink._live._look(system.tick_s)
            rotations.append(sink.health()["rotations"])
        # Rotation by size is not hindered by either.
        assert (rotations[0], rotations[-1]) == (3, 3)
        assert sink.health()["expired"] == (3 if jump_s > 0 else 0)
        system.wall_s -= jump_s
        sink._live._look(system.tick_s)
        assert texts(tmp_path) == (["3"] if jump_s > 0 else ["0", "1", "2", "3"])

    def test_both_clock_jumps_leave_the_newest_events(self, tmp_path: Path, system: Timed) -> None:
        """A clock that is set forward and back deletes nothing that is written after that."""
        sink = FileSink(tmp_path / "a.log", max_age_s=HOUR_S, system=system)
        sink.write([record("before")])
        for number, jump_s in enumerate((DAY_S, -DAY_S)):
            system.wall_s += jump_s
            system.passes(61.0)
            sink.write([record(str(number))])
        for _ in range(50):
            system.passes(60.0)
            sink._live._look(system.tick_s)
        assert texts(tmp_path)[-2:] == ["0", "1"]


class TestCountAndSize:
    def test_the_oldest_go_while_all_are_too_large(self, log: Path, system: Timed) -> None:
        """All files together, the live one included, are at most max_total_bytes; the live one always stays."""
        remaining = {150: ["a.log", "a.log.1", "a.log.2"], 149: ["a.log", "a.log.1"], 99: ["a.log"], 10: ["a.log"]}
        for limit, expected in remaining.items():
            upkeep(log, system, max_total_bytes=limit).run()
            assert (limit, visible(log)) == (limit, expected)

    def test_no_younger_file_goes_before_an_older_one(self, log: Path, system: Timed) -> None:
        """A small old file does not survive a large one that is younger."""
        place(log / "a.log.1", "one", system, size_bytes=1000)
        upkeep(log, system, max_total_bytes=500).run()
        assert visible(log) == ["a.log"]

    def test_files_beyond_the_count_go(self, log: Path, system: Timed) -> None:
        """A backup_count that was lowered takes effect without a rotation."""
        upkeep(log, system, backup_count=1).run()
        assert (visible(log), hidden(log)) == (["a.log", "a.log.1"], [".rotation"])

    def test_what_is_no_file_is_left_alone(self, log: Path, system: Timed) -> None:
        """A directory or link called like a rotated file is never moved or deleted, and hinders nothing."""
        (log / "a.log.7").mkdir()
        (log / "a.log.8").symlink_to(log / "a.log.2")
        os.utime(log / "a.log.7", (0, 0))
        settings = {"max_age_s": HOUR_S, "max_total_bytes": 1024, "compression": "gzip", "backup_count": 6}
        done = upkeep(log, system, **settings)
        done.run()
        assert visible(log) == ["a.log", "a.log.1.gz", "a.log.2.gz", "a.log.7", "a.log.8"]
        assert done.health()["failed_upkeep"] == 0

    def test_a_date_is_no_number(self, log: Path, system: Timed) -> None:
        """A file that somebody else has given a date is not ours to delete."""
        place(log / "a.log.20240131", "foreign", system)
        upkeep(log, system).run()
        assert (log / "a.log.20240131").exists()

    def test_without_a_live_file(self, log: Path, system: Timed) -> None:
        """Where somebody has just moved the live file away, nothing is deleted, and nothing raises."""
        (log / "a.log").unlink()
        upkeep(log, system, max_total_bytes=1, max_age_s=1.0).run()
        assert visible(log) == ["a.log.1", "a.log.2"]

    def test_a_lock_held_elsewhere_defers_it(self, log: Path, system: Timed) -> None:
        """While another process rotates, nothing is deleted or compressed; it is tried again within a minute."""
        done = upkeep(log, system, max_total_bytes=99, compression="gzip", max_age_s=None)
        with (log / "a.log").open("rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            again_s = done.run()
            assert (visible(log), hidden(log)) == (["a.log", "a.log.1", "a.log.2"], [".rotation"])
        assert again_s == 60.0
        done.run()
        assert visible(log) == ["a.log"]


class TestDeferred:
    def jobs_of(self, sink: FileSink) -> list[tuple[float, Callable[[], None]]]:
        """Collect what a sink wants to have done later."""
        jobs: list[tuple[float, Callable[[], None]]] = []
        sink.defer_to(lambda delay_s, job: jobs.append((delay_s, job)))
        return jobs

    def test_nothing_is_deleted_or_compressed_by_the_caller(self, tmp_path: Path, system: Timed) -> None:
        """A write renames at most; deletion and compression are jobs."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, backup_count=1, compression="gzip", system=system)
        jobs = self.jobs_of(sink)
        for number in range(4):
            sink.write([record(str(number))])
        assert [call for call in system.trace if call[0] == "unlink"] == []
        assert (visible(tmp_path), hidden(tmp_path)) == (["a.log", "a.log.1"], [".old", ".old", ".rotation"])
        system.passes(10.0)
        jobs[-1][1]()
        assert (visible(tmp_path), hidden(tmp_path)) == (["a.log", "a.log.1.gz"], [".rotation"])

    @pytest.mark.parametrize("settings", [{"max_age_s": HOUR_S}, {"compression": "gzip"}])
    def test_jobs_do_not_multiply(self, tmp_path: Path, system: Timed, settings: dict[str, Any]) -> None:
        """However often a file is rotated, one job at a time goes on coming back."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, backup_count=100, system=system, **settings)
        jobs = self.jobs_of(sink)
        for number in range(20):
            sink.write([record(str(number))])
            while jobs and jobs[0][0] == 0.0:
                jobs.pop(0)[1]()
        waiting = list(jobs)
        jobs.clear()
        for _, job in waiting:
            job()
        assert len(jobs) == 1

    def test_comes_back_when_a_file_is_quiet(self, tmp_path: Path, system: Timed) -> None:
        """A file that is too young to be compressed is when the job comes back."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, compression="gzip", system=system)
        jobs = self.jobs_of(sink)
        sink.write([record("0")])
        sink.write([record("1")])
        jobs.pop(0)[1]()
        (delay_s, job) = jobs.pop(0)
        system.passes(delay_s)
        job()
        assert (delay_s, visible(tmp_path), jobs) == (5.0, ["a.log", "a.log.1.gz"], [])

    def test_what_an_earlier_process_left_is_seen_to(self, log: Path, system: Timed) -> None:
        """A process that never rotates compresses and deletes what was left, a second after it opened the file."""
        (log / f".a.log.{'0' * 12}.old").write_bytes(b"")
        sink = FileSink(log / "a.log", compression="gzip", system=system)
        jobs = self.jobs_of(sink)
        sink.write([record("0")])
        assert jobs == []
        system.passes(1.0)
        sink.write([record("1")])
        jobs.pop(0)[1]()
        assert (visible(log), hidden(log)) == (["a.log", "a.log.1.gz", "a.log.2.gz"], [".rotation"])

    def test_a_job_after_the_end_does_not_come_back(self, tmp_path: Path, system: Timed) -> None:
        """A job that runs after close() neither fails nor reopens the file."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, max_age_s=HOUR_S, system=system)
        jobs = self.jobs_of(sink)
        for number in range(2):
            sink.write([record(str(number))])
        sink.close()
        waiting = list(jobs)
        jobs.clear()
        for _, job in waiting:
            job()
        assert (jobs, visible(tmp_path)) == ([], ["a.log", "a.log.1"])

    def test_without_a_thread_the_caller_does_it(self, tmp_path: Path, system: Timed) -> None:
        """Without defer_to the write that comes when it is due compresses and deletes."""
        sink = FileSink(tmp_path / "a.log", max_bytes=60, backup_count=2, compression="zstd", system=system)
        for number in range(6):
            sink.write([record(str(number))])
            system.passes(6.0)
        sink._live._look(system.tick_s)
        assert (visible(tmp_path), hidden(tmp_path)) == (["a.log", "a.log.1.zst", "a.log.2.zst"], [".rotation"])
        assert texts(tmp_path) == ["3", "4", "5"]
