"""Fault case 8: each call of the operating system fails once, in turn, and so do it and the ones after it.

The file sink runs in this process, on real files and with a clock of the test, so that a run makes the same calls each
time: call N fails, for N = 1, 2 ... until a run has no failure.
"""

import errno
import gzip
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest

from structllm import FileSink
from structllm._delivery import RECOVERED, DirectDelivery
from structllm._system import LockingImpossible, System
from structllm._types import Record
from structllm.sinks import lines
from structllm.sinks.live import LiveFile
from tests.descriptors import open_files
from tests.faults.judge import caught
from tests.faults.systems import NAMES

CALLS = tuple(name for name in NAMES if name != "token")
RECORDS = 14
TICK_S = 0.03  # so that the sink looks for outsiders every other record
PAD = "x" * 150
MAX_BYTES = 1024
BLANK, BAD = -1, -2

FAULTS: dict[str, tuple[int, float | None]] = {
    "io_error": (errno.EIO, None),
    "no_space": (errno.ENOSPC, None),
    "half_written": (errno.ENOSPC, 0.5),
    "newline_missing": (errno.ENOSPC, 1.0),
    "nothing_written": (errno.ENOSPC, 0.0),
    "no_descriptor": (errno.EMFILE, None),
    "no_permission": (errno.EACCES, None),
    "no_locks": (errno.ENOLCK, None),
    "interrupted": (errno.EINTR, None),
}
"""By name, the error of a call that fails, and which part of the data a failing write still writes."""


class Failing(System):
    """An operating system with a clock of its own, of which some calls fail.

    Args:
        fault: How; see `FAULTS`.
        nth: The first call that fails, from 1.
        width: How many calls in a row fail.
    """

    def __init__(self, fault: str, nth: int, width: int) -> None:
        self.errno, self.part = FAULTS[fault]
        self.failing = range(nth, nth + width)
        self.made = 0
        self.failed: list[str] = []
        self.deleted: list[bytes] = []
        self.passed_s = 0.0
        self._begun_at = time.time()
        for name in CALLS:
            setattr(self, name, self._counted(name, getattr(self, name)))

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            self.made += 1
            if self.made not in self.failing:
                return function(*arguments)
            self.failed.append(name)
            if name == "write" and self.part is not None:
                data = bytes(arguments[1])
                kept = min(int(len(data) * self.part), len(data) - 1)
                return function(arguments[0], data[:kept]) if kept else 0
            if name == "close":
                function(*arguments)  # the descriptor is gone all the same
            if name == "try_lock" and self.errno == errno.ENOLCK:
                raise LockingImpossible
            raise OSError(self.errno, "injected", *arguments[:1])

        return counted

    def monotonic(self) -> float:
        return 1000.0 + self.passed_s

    def now(self) -> float:
        return self._begun_at + self.passed_s

    def sleep(self, seconds: float) -> None:
        self.passed_s += seconds

    def write(self, fd: int, data: Any) -> int:
        """Write, at the time of the test's clock."""
        written = os.write(fd, data)
        os.utime(fd, (self.now(), self.now()))
        return written

    def unlink(self, path: str) -> None:
        """Delete a file, but remember its lines where retention deletes it."""
        lines = lines_of(Path(path)) if path.endswith(".old") else []
        super().unlink(path)
        self.deleted += lines

    def sync(self, fd: int) -> None:
        """Do nothing: whether the disk confirms is a matter of the fault alone."""

    def sync_directory(self, path: str) -> None:
        """Do nothing."""


def lines_of(path: Path) -> list[bytes]:
    """Return the lines of a file, compressed or not."""
    content = path.read_bytes()
    return (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content).splitlines(keepends=True)


def number_of(line: bytes) -> int:
    """Return the number of the record in a line, `BLANK` or `BAD`."""
    if line == b"\n":
        return BLANK
    try:
        number: int = orjson.loads(line)["n"] if line.endswith(b"\n") else BAD
    except orjson.JSONDecodeError:
        number = BAD
    return number


@dataclass
class Run:
    """One workload with one fault, and what became of its records."""

    directory: Path
    system: Failing
    settings: dict[str, Any]
    removes: bool = False
    delivered: set[int] = field(default_factory=set[int])
    dropped: dict[int, str] = field(default_factory=dict[int, str])
    excused: set[int] = field(default_factory=set[int])
    deferred: list[tuple[float, Callable[[], None]]] = field(default_factory=list[tuple[float, Callable[[], None]]])
    problems: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.log = self.directory / "x.log"
        settings: dict[str, Any] = {"max_bytes": MAX_BYTES, "backup_count": 2, **self.settings}
        deferred = settings.pop("deferred")
        self.sink = FileSink(self.log, system=self.system, **settings)
        if deferred:
            self.sink.defer_to(lambda delay_s, job: self.deferred.append((self.system.monotonic() + delay_s, job)))
        self.delivery = DirectDelivery(self.sink, clock=self.system.monotonic)
        self._numbers = count()

    def work(self) -> None:
        """Log records while files rotate, age, and are moved away, or removed, by an outsider."""
        for number in range(RECORDS):
            self.log_one()
            if number == 5:
                self._outsider()
            if number == 9:
                self._pass(7.0)  # what was rotated is left alone for long enough to be compressed
        self.sink.flush(1.0)
        self.sink.reset_after_fork()
        self.log_one()
        self.sink.close()

    def recover(self) -> None:
        """Log on after the fault: enough to find what was left undone, and to rotate."""
        self.system.failing = range(0)
        for _ in range(6):
            self._pass(2.0)
            self.log_one()
        self._pass(61.0)
        self.log_one()
        if not self.sink.flush(1.0):
            self.problems.append("L flush() after the recovery is False")
        self.sink.close()

    def log_one(self) -> None:
        """Log a record through the accounts of the delivery."""
        number = next(self._numbers)
        event_type = "urgent" if number % 4 == 3 else "plain"
        event = {"event_type": event_type, "n": number, "pad": PAD}
        record = Record(event_type, 20, orjson.dumps(event) + b"\n", event)
        try:
            outcome = self.delivery.write(record)
        except Exception as error:
            self.problems.append(f"X write raised {error!r}")
            return
        if outcome in (None, RECOVERED):
            self.delivered.add(number)
        else:
            self.dropped[number] = outcome
        self._pass(TICK_S)

    def _outsider(self) -> None:
        if self.removes:
            # Deleting takes back what was in the file; what came since the last look is written again, or not.
            self.excused = self.delivered | self.dropped.keys()
            with suppress(FileNotFoundError):
                self.log.unlink()
        else:
            with suppress(FileNotFoundError):
                self.log.rename(self.directory / "moved")

    def _pass(self, seconds: float) -> None:
        """Let time pass, and have done what is due."""
        self.system.passed_s += seconds
        due = [job for at_s, job in self.deferred if at_s <= self.system.monotonic()]
        self.deferred = [(at_s, job) for at_s, job in self.deferred if at_s > self.system.monotonic()]
        for job in due:
            try:
                job()
            except Exception as error:
                self.problems.append(f"X a deferred job raised {error!r}")

    def judge(self) -> list[str]:
        """Return what is wrong with the log, the accounts and the sink."""
        found = list(self.problems)
        numbers: Counter[int] = Counter()
        bad = 0
        for line in self._lines():
            number = number_of(line)
            numbers[number] += number >= 0
            bad += number == BAD
        if len(self.system.failed) > 1 and (self.directory / "moved").exists():
            # Where it cannot be found out whether a moved file still has a name, twice is better than not at all.
            twice = {number_of(line) for line in lines_of(self.directory / "moved")}
            numbers.update({number: 1 - numbers[number] for number in twice if numbers[number] == 2})
        health, stats = self.sink.health(), self.delivery.stats()
        if bad > health["short_writes"]:
            found.append(f"P {bad} bad lines, {health['short_writes']} short writes")
        found += [f"O {n} is delivered and not there" for n in self.delivered - self.excused if not numbers[n]]
        found += [f"D {n} is there {times} times" for n, times in numbers.items() if times > 1]
        may = {n for n, reason in self.dropped.items() if reason == "not_synced"}
        found += [
            f"D {n} was dropped ({self.dropped[n]}) and is there" for n in self.dropped.keys() - may if numbers[n]
        ]
        told = sum(stats["dropped"].values())
        if (len(self.delivered), len(self.dropped)) != (stats["delivered"], told) or stats["pending"]:
            found.append(f"C {stats}, but {len(self.delivered)} delivered and {len(self.dropped)} dropped")
        found += [f"X {reason}" for reason in stats["dropped"] if reason.startswith("sink_bug")]
        fresh = max(self.delivered | self.dropped.keys(), default=-1)
        if fresh not in self.delivered or not numbers[fresh]:
            found.append(f"L the last record did not arrive: {self.dropped.get(fresh)}")
        if health["homeless"]:
            found.append(f"O {health['homeless']} lines wait to be written again")
        return found

    def _lines(self) -> Iterator[bytes]:
        for path in self.directory.iterdir():
            if path.name.startswith(".") and not path.name.endswith(".old"):
                continue
            yield from lines_of(path)
        yield from self.system.deleted


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "plain": {"deferred": False},
    "compressed": {"deferred": True, "compression": "gzip"},
    "synced": {"deferred": False, "fsync": "always"},
    "compressed, synced": {"deferred": False, "compression": "gzip", "fsync": "always", "max_total_bytes": 4096},
    "interval": {"deferred": True, "fsync": "interval", "fsync_events": ["urgent"], "max_age_s": 60.0},
}


class Loop:
    """Runs the workload with the failure at each place; counts the runs.

    Args:
        directory: Scratch.
    """

    def __init__(self, directory: Path) -> None:
        self.runs = 0
        self._directory = directory

    def one(self, nth: int, fault: str, configuration: str, width: int, removes: bool) -> tuple[list[str], list[str]]:
        """Run once; return what is wrong, and the calls that failed."""
        self.runs += 1
        directory = self._directory / str(self.runs)
        run = Run(directory, Failing(fault, nth, width), CONFIGURATIONS[configuration], removes)
        try:
            run.work()
            run.recover()
        except Exception as error:
            run.problems.append(f"X {error!r}")
        found = run.judge()
        if open_files(directory):
            found.append(f"F {open_files(directory)} files stay open")
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
        return [f"{problem}: {fault} at {nth}, {run.system.failed}" for problem in found], run.system.failed

    def all(
        self, fault: str, configuration: str, *, width: int = 1, removes: bool = False, enough: int = 20
    ) -> list[str]:
        """Let call N fail, and `width - 1` calls behind it, for each N that the workload gets to."""
        found: list[str] = []
        for nth in count(1):
            wrong, failed = self.one(nth, fault, configuration, width, removes)
            found += wrong
            if not failed or len(found) >= enough:
                break
        print(f"{self.runs} runs: {configuration}, {fault}, {width} in a row, {'rm' if removes else 'mv'}")
        return found


@pytest.fixture
def loop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Loop]:
    """Return the loop in a directory of its own; say at the end how many runs there were."""
    loop = Loop(tmp_path)
    yield loop
    with capsys.disabled():
        print(f" [{loop.runs} runs]", end="")


class TestNthCall:
    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("fault", FAULTS)
    def test_each_fault(self, loop: Loop, fault: str) -> None:
        """Whichever call fails, and how: nothing raises, what is delivered is there once, what is dropped is not."""
        assert [] == loop.all(fault, "compressed")

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("configuration", CONFIGURATIONS)
    def test_each_configuration(self, loop: Loop, configuration: str) -> None:
        """The same with every way to sync and to keep files, where an outsider deletes the file in the middle."""
        assert [] == loop.all("io_error", configuration, removes=True)

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("configuration", ["compressed", "synced"])
    @pytest.mark.parametrize("fault", ["io_error", "half_written"])
    def test_the_next_call_fails_as_well(self, loop: Loop, configuration: str, fault: str) -> None:
        """Two failures in a row do no more harm than one: a write and what repairs it, an open and what closes it."""
        assert [] == loop.all(fault, configuration, width=2)

    @pytest.mark.timeout(60)
    def test_a_burst_of_failures(self, loop: Loop) -> None:
        """Nothing works for five calls, as on a disk that is unplugged for a moment; then everything is as before."""
        assert [] == loop.all("io_error", "compressed", width=5)


def fails_after_the_line_is_written(self: LiveFile, line: bytes) -> None:
    _append(self, line)
    self._system.seek(self.fd or -1, 0, os.SEEK_CUR)


def believes_every_write(self: LiveFile, *arguments: Any, **options: Any) -> None:
    _init(self, *arguments, **options)
    write = self._write

    def boasting(fd: int, data: bytes) -> int:
        write(fd, data)
        return len(data)

    self._write = boasting


def raises_what_it_gets(error: OSError, taken: int) -> None:
    raise error


def leaves_it_open(self: LiveFile, fd: int) -> None:
    return


_append, _init = LiveFile.append, LiveFile.__init__

MUTANTS: dict[str, tuple[Any, str, Any, str, str]] = {
    "a record that is there is dropped": (LiveFile, "append", fails_after_the_line_is_written, "io_error", "D"),
    "a short write is none": (LiveFile, "__init__", believes_every_write, "half_written", "O"),
    "errors of the system come out": (lines, "raise_as_sink_error", raises_what_it_gets, "io_error", "X"),
    "files stay open": (LiveFile, "_close", leaves_it_open, "io_error", "F"),
}


class TestMutants:
    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("name", MUTANTS)
    def test_is_found(self, loop: Loop, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The loop finds a sink that lacks this."""
        owner, attribute, replacement, fault, letter = MUTANTS[name]
        monkeypatch.setattr(owner, attribute, replacement)
        assert caught(loop.all(fault, "plain", enough=5), letter)
