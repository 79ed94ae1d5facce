"""The file sink's protocol between processes, in every order of their steps: see `model.py`.

The sink's own code runs here, on a model of the file system. Each rule is also shown a protocol without one of its
parts, in which the explorer has to find the order that loses a line.
"""

import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from structllm._types import Record
from structllm.sinks.file import FileSink
from structllm.sinks.live import LiveFile
from structllm.sinks.rotation import Generation, LogFiles, Outcome
from structllm.sinks.upkeep import Upkeep
from tests.sinks.model import DIRECTORY, Disk, Explorer, ModelSystem, Program

LOG = f"{DIRECTORY}/x"
BIG = 1_000
SMALL = 20  # one line per file


class LogDisk(Disk):
    """A disk that remembers which lines the sinks took, and looks into compressed files."""

    def __init__(self) -> None:
        super().__init__("x")
        self.accepted: list[bytes] = []

    def lines(self) -> list[bytes]:
        """Return every line of the log, compressed ones included."""
        packed = (gzip.decompress(inode.content) for name, inode in self.names.items() if name.endswith(".gz"))
        return [*self.log_lines(), *(line for content in packed for line in content.split(b"\n") if line)]


@contextmanager
def at_once(system: ModelSystem) -> Iterator[None]:
    """Do something before anybody else gets a turn."""
    turn, system.step = system.step, lambda: None
    yield
    system.step = turn


def writer(
    name: str,
    lines: int,
    *,
    max_bytes: int = SMALL,
    backup_count: int = 9,
    flushes: bool = False,
    pause_s: float = 0.0,
) -> Program:
    """Return a process that has written one line, and now, after a pause, writes more."""

    def program(system: ModelSystem) -> None:
        sink = FileSink(LOG, max_bytes=max_bytes, backup_count=backup_count, system=system)
        system.kept.append(sink)

        def write(number: int) -> None:
            line = f"writer-{name}-line-{number}".encode()
            sink.write([Record("run", 20, line + b"\n", {})])
            accepted(system).append(line)

        with at_once(system):
            write(0)
        system.clock += pause_s
        for number in range(1, lines + 1):
            write(number)
        if flushes:
            assert sink.flush(1.0)

    return program


def accepted(system: ModelSystem) -> list[bytes]:
    """The lines that sinks took, as this process sees them."""
    return system.disk.accepted if isinstance(system.disk, LogDisk) else []


def upkeep(system: ModelSystem, **settings: Any) -> Upkeep:
    """Return the upkeep of the log."""
    given = {
        "backup_count": 9,
        "max_age_s": None,
        "max_total_bytes": None,
        "compression": "none",
        "mode": 0o600,
        "syncs": False,
    }
    return Upkeep(system, LogFiles(system, LOG), **{**given, **settings})


def compressing(system: ModelSystem) -> None:
    """A process that has rotated the file some time ago, and compresses it now."""
    with at_once(system):
        writer("b", 1)(system)
        system.disk.now += 10.0
    upkeep(system, compression="gzip").run()


def after_a_crash(backup_count: int) -> Program:
    """Return a process that rotates where another one was killed in a rotation, just before it told anybody."""

    def program(system: ModelSystem) -> None:
        with at_once(system):
            system.rename(LOG, f"{LOG}.1")
        writer("b", 1, backup_count=backup_count)(system)

    return program


def removing(name: str) -> Program:
    """Return a process that deletes a file by its name."""

    def program(system: ModelSystem) -> None:
        with suppress(OSError):
            system.unlink(f"{DIRECTORY}/{name}")

    return program


def nothing_lost(disk: Disk) -> None:
    """Every accepted line was written to a file while that was in the log."""
    assert isinstance(disk, LogDisk)
    for line in disk.accepted:
        assert disk.landed.get(line), f"{line!r} was only ever written to files that had left the log"


def nothing_lost_or_repeated(disk: Disk) -> None:
    """Every accepted line is in the log once."""
    nothing_lost(disk)
    assert isinstance(disk, LogDisk)
    found = disk.lines()
    for line in disk.accepted:
        assert found.count(line) == 1, f"{line!r} is there {found.count(line)} times"


def still_there(disk: Disk) -> None:
    """Every accepted line is in the log, at least once."""
    assert isinstance(disk, LogDisk)
    found = disk.lines()
    for line in disk.accepted:
        assert line in found, f"{line!r} is gone"


def no_line_comes_back(disk: Disk) -> None:
    """Nothing is lost, and what a writer had seen in the log before it paused is not written again."""
    still_there(disk)
    assert isinstance(disk, LogDisk)
    found = disk.lines()
    for line in disk.accepted:
        assert found.count(line) == 1, f"{line!r} is there {found.count(line)} times"


def explore(
    programs: Sequence[Program],
    check: Callable[[Disk], None],
    *,
    kills: int = 0,
    tears: bool = False,
    preemptions: int | None = 2,
) -> Explorer:
    """Try every interleaving; see `Explorer`."""
    explorer = Explorer(LogDisk, programs, check, kills, tears, preemptions)
    explorer.explore()
    return explorer


BOTH_ROTATE = [writer("a", 1), writer("b", 1)]
NO_ROTATION = [writer("a", 1, max_bytes=BIG), writer("b", 2, max_bytes=BIG)]
OUT_OF_EXISTENCE = [writer("a", 1, max_bytes=BIG, backup_count=0), writer("b", 1, backup_count=0)]
OUT_OF_EXISTENCE_SLOWLY = [writer("a", 1, max_bytes=BIG, backup_count=1), writer("b", 2, backup_count=1)]
AFTER_A_CRASH = [writer("a", 1, max_bytes=BIG, backup_count=1), after_a_crash(1)]
COMPRESSED = [writer("a", 1, max_bytes=BIG), compressing]
COMPRESSED_MEANWHILE = [writer("a", 1, max_bytes=BIG, pause_s=1.0), compressing]


class TestProtocol:
    def test_two_processes_rotate_at_once(self) -> None:
        """Whatever the order, every line is in the log once; all orders, without any bound."""
        done = explore([writer("a", 1, max_bytes=BIG), writer("b", 1)], nothing_lost_or_repeated, preemptions=None)
        assert done.ended > 100

    @pytest.mark.parametrize("preemptions", [2, 3])
    def test_both_need_a_rotation(self, preemptions: int) -> None:
        """Two processes that find the file full make two files of it, and lose and repeat nothing."""
        explore(BOTH_ROTATE, nothing_lost_or_repeated, preemptions=preemptions)

    def test_a_process_is_killed_anywhere(self) -> None:
        """A SIGKILL at any step of either process takes no line that was accepted."""
        explore([writer("a", 1, max_bytes=BIG), writer("b", 1)], nothing_lost, kills=1, preemptions=None)
        explore(BOTH_ROTATE, nothing_lost, kills=1)

    def test_a_write_is_torn_by_a_kill(self) -> None:
        """Half a line, which a killed process leaves anywhere, spoils no line of another one."""
        explore(NO_ROTATION, still_there, kills=1, tears=True, preemptions=None)

    def test_a_straggler_does_not_write_into_the_void(self) -> None:
        """A process that stops between any two steps while its file is rotated away and deleted loses nothing."""
        explore(OUT_OF_EXISTENCE, nothing_lost, preemptions=3)
        explore(OUT_OF_EXISTENCE_SLOWLY, nothing_lost)

    def test_a_crashed_rotation_is_cleaned_up(self) -> None:
        """A process whose file was rotated by one that was killed before it told notices before the file is deleted."""
        explore(AFTER_A_CRASH, nothing_lost, preemptions=3)
        explore([writer("a", 1, max_bytes=BIG, backup_count=0), after_a_crash(0)], nothing_lost, preemptions=3)

    def test_three_processes(self) -> None:
        """A third process changes nothing."""
        explore(
            [writer("a", 1, max_bytes=BIG), writer("b", 1), writer("c", 1)], nothing_lost_or_repeated, preemptions=1
        )

    def test_a_compressed_file_holds_what_a_straggler_wrote(self) -> None:
        """A line that comes while its file is being compressed is in the compressed file or in the live one."""
        explore(COMPRESSED, still_there)

    def test_a_line_does_not_come_back(self) -> None:
        """What was compressed or deleted while its writer paused is not written again by it."""
        explore(COMPRESSED_MEANWHILE, no_line_comes_back)

    @pytest.mark.parametrize("name", ["x", ".x.rotation"])
    def test_somebody_deletes_a_file(self, name: str) -> None:
        """Deleting the live file, or the one that tells of rotations, takes no line that is written afterwards."""
        programs = [writer("a", 1, max_bytes=BIG, flushes=True), writer("b", 1, flushes=True), removing(name)]
        explore(programs, nothing_lost, preemptions=1)


def has_no_link(self: LiveFile, fd: int, which: object) -> bool:
    return not self._system.status_of(fd).st_nlink


def leaves_before_telling(self: LogFiles, backup_count: int, generation: Generation) -> None:
    _move_up(self, backup_count, Untold())  # type: ignore[arg-type]
    generation.advance()


class Untold:
    """A generation that nobody hears of."""

    def advance(self) -> None:
        return


def without_lock(self: LogFiles, fd: int, action: Callable[[], bool]) -> Outcome:
    return Outcome.DONE if action() else Outcome.NOT_NEEDED


def locks_a_file_of_the_past(self: LogFiles, fd: int, action: Callable[[], bool]) -> Outcome:
    if not self._system.try_lock(fd):
        return Outcome.BUSY
    try:
        return without_lock(self, fd, action)
    finally:
        self._system.unlock(fd)


def reads_the_rest_too_early(self: Upkeep, source: int, offset: int, target: int) -> int:
    return offset or _append_packed(self, source, offset, target)


_move_up = LogFiles.move_up
_append_packed = Upkeep._append_packed

MUTANTS = {
    "nobody is told of a rotation": (Generation, "advance", lambda self: None, OUT_OF_EXISTENCE, nothing_lost),
    "a file set aside counts as there": (LiveFile, "_has_left_the_log", has_no_link, OUT_OF_EXISTENCE, nothing_lost),
    "no look behind": (LiveFile, "_has_left_the_log", lambda *_: False, OUT_OF_EXISTENCE_SLOWLY, nothing_lost),
    "set aside before anybody is told": (LogFiles, "move_up", leaves_before_telling, AFTER_A_CRASH, nothing_lost),
    "deleted without a mark": (Upkeep, "_mark_done", lambda *_: None, COMPRESSED_MEANWHILE, no_line_comes_back),
    "no look before a line": (LiveFile, "_is_behind_half_a_line", lambda *_: False, NO_ROTATION, still_there),
    "no lock": (LogFiles, "under_lock", without_lock, BOTH_ROTATE, nothing_lost_or_repeated),
    "lock not verified": (LogFiles, "under_lock", locks_a_file_of_the_past, BOTH_ROTATE, nothing_lost_or_repeated),
    "the rest is not compressed": (Upkeep, "_append_packed", reads_the_rest_too_early, COMPRESSED, still_there),
}


class TestMutants:
    @pytest.mark.parametrize("name", MUTANTS)
    def test_is_found(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without this part of the protocol there is an order that loses or repeats a line, and it is found."""
        owner, attribute, replacement, programs, check = MUTANTS[name]
        monkeypatch.setattr(owner, attribute, replacement)
        torn = programs is NO_ROTATION
        with pytest.raises(AssertionError, match="after the steps"):
            explore(programs, check, kills=torn, tears=torn, preemptions=3)
