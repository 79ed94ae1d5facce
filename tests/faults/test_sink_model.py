"""The file sink against a model: a list of accepted records, whatever writers, rotations, crashes and outsiders do.

Several sinks on one path stand for several processes, as they share nothing but the files. The clock is the test's.
"""

import gzip
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from structllm import FileSink
from structllm._system import System
from structllm._types import Record
from structllm.sinks.live import LiveFile
from structllm.sinks.rotation import Generation, LogFiles
from structllm.sinks.upkeep import Upkeep
from tests.faults.judge import log_files, read_lines

WRITERS = 2
MAX_BYTES = 2048
SIZES = (120, 300, 700, 1500, 3000)
HALF = b'{"n":1,"half'
writer_numbers = st.integers(0, WRITERS - 1)


class Clocked(System):
    """An operating system with the clock of the test, and which deletes no record without being remembered.

    Args:
        clock: Whom to ask for the seconds that have passed.
        deleted: Gets the lines of files that retention deletes.
    """

    def __init__(self, clock: Callable[[], float], deleted: list[bytes]) -> None:
        self._clock = clock
        self._deleted = deleted
        self._begun_at = time.time()

    def monotonic(self) -> float:  # type: ignore[override]
        return 1000.0 + self._clock()

    def now(self) -> float:
        return self._begun_at + self._clock()

    def sleep(self, seconds: float) -> None:
        pass

    def write(self, fd: int, data: bytes) -> int:  # type: ignore[override]
        """Write, at the time of the test's clock."""
        written = os.write(fd, data)
        os.utime(fd, (self.now(), self.now()))
        return written

    def unlink(self, path: str) -> None:
        """Delete a file, but remember its lines where retention deletes it."""
        if path.endswith(".old"):
            content = Path(path).read_bytes()
            packed = content.startswith(b"\x1f\x8b")
            self._deleted[:0] = (gzip.decompress(content) if packed else content).splitlines(keepends=True)
        super().unlink(path)


def as_event(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line, or None for half a line, also one with another line behind it, and a blank one."""
    try:
        event: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return event


class FileSinkMachine(RuleBasedStateMachine):
    """Writers on one log, and what may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.path = self.directory / "x.log"
        self.passed_s = 0.0
        self.sinks: list[FileSink | None] = [None] * WRITERS
        self.names = [f"w{number}" for number in range(WRITERS)]
        self.numbers = [0] * WRITERS
        self.accepted: list[tuple[str, int]] = []
        self.deleted: list[bytes] = []
        self.moved: list[Path] = []
        self.torn = 0
        self.untold = False
        self.settings: dict[str, Any] = {}

    @initialize(compression=st.sampled_from(["none", "gzip"]), backups=st.sampled_from([1, 3, 1000]))
    def begin(self, compression: str, backups: int) -> None:
        """Draw the settings, which all writers share."""
        self.settings = {"max_bytes": MAX_BYTES, "backup_count": backups, "compression": compression}

    def sink(self, writer: int) -> FileSink:
        """Return the sink of a writer; start it where it is not."""
        sink = self.sinks[writer]
        if sink is None:
            system = Clocked(lambda: self.passed_s, self.deleted)
            sink = self.sinks[writer] = FileSink(self.path, system=system, **self.settings)
        return sink

    @rule(writer=writer_numbers, sizes=st.lists(st.sampled_from(SIZES), min_size=1, max_size=5))
    def write(self, writer: int, sizes: Sequence[int]) -> None:
        """Write a batch; records are accepted when it returns."""
        batch: list[Record] = []
        for size in sizes:
            who, n = self.names[writer], self.numbers[writer]
            event = {"who": who, "n": n, "pad": "x" * size}
            self.numbers[writer] += 1
            self.accepted.append((who, n))
            batch.append(Record("event", 20, orjson.dumps(event) + b"\n", event))
        self.sink(writer).write(batch)

    @rule(writer=writer_numbers)
    def fill(self, writer: int) -> None:
        """Write so much that the file is rotated."""
        self.write(writer, [1500, 700])

    @rule(seconds=st.sampled_from([0.06, 1.5, 6.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass: until the next look, the next try, the next compression."""
        self.passed_s += seconds

    @rule(writer=writer_numbers, half=st.booleans())
    def crash(self, writer: int, half: bool) -> None:
        """Kill a writer, perhaps in the middle of a write; nobody else writes until the next one opens the file."""
        unseen = self.unseen(writer)
        sink, self.sinks[writer] = self.sinks[writer], None
        if sink is None:
            return
        self.accepted = [record for record in self.accepted if record not in unseen]
        sink.reset_after_fork()  # closes the files, as the end of a process does, and does nothing else
        self.names[writer] += "+"
        if half and self.path.exists() and not any(self.sinks):
            with self.path.open("ab") as file:
                file.write(HALF)
            self.torn += 1

    @rule(writer=writer_numbers)
    def restart(self, writer: int) -> None:
        """End a writer in an orderly way and begin again."""
        sink, self.sinks[writer] = self.sinks[writer], None
        if sink is not None:
            sink.close()
            self.names[writer] += "'"

    @rule()
    def outsider_moves(self) -> None:
        """Move the live file out of the log, as logrotate does."""
        if self.path.exists():
            self.moved.append(self.directory / f"moved{len(self.moved)}")
            self.path.rename(self.moved[-1])

    @rule()
    def outsider_removes_the_generation(self) -> None:
        """Delete the file that tells of rotations."""
        self.untold = True
        (self.directory / ".x.log.rotation").unlink(missing_ok=True)

    @rule(writer=writer_numbers)
    def flush(self, writer: int) -> None:
        """Flush."""
        assert self.sink(writer).flush(1.0)

    @invariant()
    def everything_is_there_once(self) -> None:
        """Each accepted record is in the log once.

        A record of a file that retention deleted may be there again: its writer may not know that it was ever there.
        The same holds for all records where an outsider deleted what tells of rotations; and then a record that went
        into a deleted file is there only once its writer, which still holds it, has looked again.
        """
        there, gone = self.found()
        held = {record for writer in range(WRITERS) for record in self.unseen(writer)}
        assert set(self.accepted) == set(there) | gone | held
        assert self.untold or len(set(there)) == len(there)
        assert self.bad_lines() <= self.torn

    def unseen(self, writer: int) -> set[tuple[str, int]]:
        """Return the records that a writer has in memory alone: none, unless what tells of rotations was deleted."""
        sink = self.sinks[writer]
        if sink is None or not self.untold:
            return set()
        there, gone = self.found()
        held = {(event["who"], event["n"]) for event in map(as_event, sink._live._unproven) if event is not None}
        return held - set(there) - gone

    def found(self) -> tuple[list[tuple[str, int]], set[tuple[str, int]]]:
        """Return the records in the files, and those in files that retention deleted."""
        lines = [line for path in self.files() for line in read_lines(path)]
        there = [(line.event["who"], line.event["n"]) for line in lines if line.event is not None]
        return there, {(event["who"], event["n"]) for event in map(as_event, self.deleted) if event is not None}

    def bad_lines(self) -> int:
        """Return how many lines of the files are no records, blank ones aside."""
        lines = [line for path in self.files() for line in read_lines(path)]
        return sum(line.event is None and line.start != b"\n" for line in lines)

    def files(self) -> list[Path]:
        """Return the files of the log, the oldest first, and those that were in it."""
        return [*self.directory.glob(".*.old"), *self.moved, *log_files(self.path)]

    def teardown(self) -> None:
        """End everything, and see that what is left is complete."""
        for sink in self.sinks:
            if sink is not None:
                sink.close()
        if self.settings:
            self.everything_is_there_once()
            self.in_order()
        shutil.rmtree(self.directory)

    def in_order(self) -> None:
        """The records of one writer are in its order within each file, and from each file to the next."""
        last: dict[str, int] = {}
        for line in (line for path in log_files(self.path) for line in read_lines(path)):
            if line.event is not None:
                assert self.untold or last.get(line.event["who"], -1) < line.event["n"]
                last[line.event["who"]] = line.event["n"]


def explore(examples: int = 200, *, shrink: bool = True) -> None:
    """Run the machine; without `shrink`, be content with the first sequence that fails, however long it is."""
    run_state_machine_as_test(
        FileSinkMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )


class TestFileSink:
    def test_what_tells_of_rotations_is_deleted_twice(self) -> None:
        """A sequence that the machine found: the second file had the inode of the first, and a line was lost."""
        machine = FileSinkMachine()
        machine.begin(compression="none", backups=1)
        machine.fill(writer=1)
        machine.outsider_removes_the_generation()
        machine.fill(writer=0)
        machine.write(sizes=[120], writer=1)
        machine.outsider_removes_the_generation()
        machine.fill(writer=1)
        machine.everything_is_there_once()
        machine.teardown()

    @pytest.mark.timeout(120)
    def test_keeps_to_the_model(self) -> None:
        """Whatever writers, time, crashes and outsiders do in whatever order: each record is there once, in order."""
        explore()


def always_lost(self: LiveFile, fd: int, which: object) -> bool:
    return True


def overwrites(self: LogFiles, backup_count: int, generation: Generation) -> None:
    os.replace(self.live, f"{self.live}.1")
    generation.advance()


def packs_nothing(self: Upkeep, source: int, offset: int, target: int) -> int:
    return offset


def sees_a_newline(self: System, fd: int, count: int, offset: int) -> bytes:
    return b"\n" if count == 1 else os.pread(fd, count, offset)


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "a moved file counts as deleted": (LiveFile, "_has_left_the_log", always_lost),
    "a rotation overwrites": (LogFiles, "move_up", overwrites),
    "half a line is continued": (
        System,
        "read_at",
        sees_a_newline,
    ),
    "a compressed file is empty": (Upkeep, "_append_packed", packs_nothing),
}


class TestMutants:
    @pytest.mark.timeout(120)
    @pytest.mark.parametrize("name", MUTANTS)
    def test_is_found(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The machine finds a sequence that shows this damage."""
        monkeypatch.setattr(*MUTANTS[name])
        with pytest.raises(AssertionError):
            explore(3000, shrink=False)  # some damage shows in few sequences; it ends with the first
