"""What a signal handler or finaliser asks of a file sink while its thread is in the middle of a call."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from structllm._system import System
from structllm._types import Record
from structllm.errors import SinkRejected, SinkUnavailable
from structllm.sinks.file import FileSink
from structllm.sinks.integrity import Integrity
from structllm.sinks.turns import Turns
from tests.faults.systems import NAMES
from tests.sinks.test_integrity import check

EVENTS = 6
BETWEEN = 100


def record(number: int) -> Record:
    """Return a record of which three fit into a file."""
    event = {"event_type": "run", "writer": "w", "seq": number, "pad": "x" * 300}
    return Record("run", 20, orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE), event)


class Interrupted(System):
    """Does something once, after the nth call. Its clock makes every third record take a look."""

    def __init__(self, nth: int) -> None:
        self.calls = 0
        self.interrupt: Callable[[], object] = lambda: None
        ticks = itertools.count()
        self.monotonic = lambda: 0.02 * next(ticks)
        for name in NAMES:
            setattr(self, name, self._counted(nth, getattr(self, name)))

    def _counted(self, nth: int, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            answer = call(*arguments)
            self.calls += 1
            if self.calls == nth:
                self.interrupt()
            return answer

        return counted


ASKED: dict[str, Callable[[FileSink], object]] = {
    "write": lambda sink: sink.write([record(BETWEEN)]),
    "write twice": lambda sink: [sink.write([record(BETWEEN)]), sink.write([record(BETWEEN + 1)])],
    "flush": lambda sink: sink.flush(1.0),
    "open": lambda sink: sink.open(),
    "close": lambda sink: sink.close(),
    "write and close": lambda sink: [sink.write([record(BETWEEN)]), sink.close(), sink.close()],
    "health": lambda sink: sink.health(),
}


def found(path: Path) -> list[int]:
    """Return the numbers in a log's files, oldest file first."""
    rotated = sorted(path.parent.glob(f"{path.name}.*"), key=lambda file: -int(file.suffix[1:]))
    return [orjson.loads(line)["seq"] for file in [*rotated, path] for line in file.read_bytes().splitlines()]


def wrong_after(nth: int, path: Path, asked: str, integrity: Integrity = "none") -> tuple[int, str]:
    """Write across rotations, and ask for something after the nth call; return how many there were, what is wrong."""
    system = Interrupted(nth)
    sink = FileSink(path, max_bytes=1400, backup_count=100, integrity=integrity, system=system)
    system.interrupt = lambda: ASKED[asked](sink)
    for number in range(EVENTS):
        sink.write([record(number)])
    flushed = sink.flush(1.0)
    sink.close()
    came = asked.count("write") + ("twice" in asked) if system.calls >= nth else 0
    numbers = found(path)
    hosts = [number for number in numbers if number < BETWEEN]
    others = [number for number in numbers if number >= BETWEEN]
    if (hosts, others) != (list(range(EVENTS)), list(range(BETWEEN, BETWEEN + came))):
        return system.calls, f"{asked} after call {nth}: {numbers}"
    if not flushed:
        return system.calls, f"{asked} after call {nth}: not flushed"
    if integrity != "none":
        return system.calls, " ".join(finding.text for finding in check(path).findings)
    return system.calls, ""


@pytest.mark.parametrize("integrity", ["none", "chain"])
@pytest.mark.parametrize("asked", ASKED)
def test_anything_at_any_call(tmp_path: Path, asked: str, integrity: Integrity) -> None:
    """Whatever is asked for in the middle of whatever: each record is there once, in order, and whole."""
    for nth in itertools.count(1):
        path = tmp_path / str(nth) / "x.log"
        calls, wrong = wrong_after(nth, path, asked, integrity)
        assert wrong == ""
        if nth > calls:
            break
    assert nth > 30


class TestMutants:
    def test_nothing_is_held(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where everything is done at once, a record is lost, doubled, or comes in the middle of something."""
        monkeypatch.setattr(Turns, "busy", property(lambda self: False, lambda self, value: None), raising=False)
        found_out = []
        for nth in range(1, 80):
            try:
                found_out.append(wrong_after(nth, tmp_path / str(nth) / "x.log", "write and close", "chain")[1])
            except (SinkRejected, SinkUnavailable, OSError) as error:
                found_out.append(str(error))
        assert any(found_out)


class TestHeld:
    def test_too_much_is_refused(self) -> None:
        """What is held is bounded; how much of a batch was taken is said."""
        taken: list[int] = []

        def write(batch: list[Record]) -> None:
            for asked in (98, 5, 1) if len(batch) == 2 else ():
                try:
                    turns.write([record(BETWEEN)] * asked)
                except SinkUnavailable as error:
                    taken.append(error.taken)
            written.extend(batch)

        written: list[Record] = []
        turns = Turns(write)
        with turns.lock:
            turns.write([record(1), record(2)])
        assert (taken, len(written)) == ([2, 0], 2)
        with turns.take() as mine:
            assert (mine, len(written), turns.held) == (True, 102, [])

    def test_one_that_can_never_be_written_is_passed_over(self) -> None:
        """Nobody is left to be told that what is held was rejected; those behind it are written."""
        written: list[Any] = []

        def write(batch: list[Record]) -> None:
            if batch and batch[0].event["seq"] == 2:
                raise SinkRejected("never")
            written.extend(one.event["seq"] for one in batch)

        turns = Turns(write)
        with turns.take():
            for number in (1, 2, 3):
                turns.write([record(number)])
        assert (written, turns.held) == ([1, 3], [])
