"""Fault case 15: whoever logs in the middle of our own work: a signal handler, a finaliser, a sink.

What comes in between is written when the thread has left our locks. So no line is lost or there twice, the numbers of a
writer rise in its files, and two threads never wait for each other.
"""

import gc
import itertools
import json
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import structllm
from structllm import FileSink
from structllm._exit import Inside
from structllm._system import System
from structllm._types import Record
from structllm.sinks.turns import Turns
from tests.faults.cases import fixtures, program
from tests.faults.child import SETTINGS
from tests.faults.harness import TIMEOUT_S, Duty, Harness, Writer, until
from tests.faults.judge import log_files, read_lines
from tests.faults.systems import NAMES
from tests.standing_in import stand_in

HANG_S = 1.0
"""How long a mutant that hangs is watched, after it has got to where it hangs."""

EVENTS = 12
BACKUPS = 1000
SMALL_BYTES = 4096
HARD_EVENTS = 600


# --- who comes in between --------------------------------------------------------------------------------------------


class Garbage:
    """Logs when it is collected, as a tool with a finaliser may do."""

    def __init__(self, log: Callable[[], None]) -> None:
        self.me = self
        self.log = log

    def __del__(self) -> None:
        self.log()


def by_signal(log: Callable[[], None]) -> None:
    """Have a signal handler log, here."""
    before = signal.signal(signal.SIGUSR1, lambda *_: log())
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def by_finaliser(log: Callable[[], None]) -> None:
    """Have a finaliser log, here."""
    Garbage(log)
    gc.collect(0)


BETWEEN = {"signal": by_signal, "finaliser": by_finaliser}


class Interrupted(System):
    """Lets somebody in after one of the calls of the main thread. Its clock makes every third record take a look.

    Attributes:
        calls: The kinds of call so far.
        nth: After which one.
        interrupt: What happens then.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.nth = -1
        self.interrupt: Callable[[], None] = lambda: None
        ticks = itertools.count()
        self.monotonic = lambda: 0.02 * next(ticks)
        for name in NAMES:
            setattr(self, name, self._counted(name, getattr(self, name)))

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            answer = call(*arguments)
            if threading.current_thread() is threading.main_thread():
                self.calls.append(name)
                if len(self.calls) == self.nth:
                    self.interrupt()
            return answer

        return counted


def interrupted_at(nth: int, directory: Path, interrupt: Callable[[Callable[[], None]], None]) -> tuple[list[str], str]:
    """Log across rotations, and let one more event in after the nth call; return the calls, and what is wrong."""
    system = Interrupted()
    log = directory / "x.log"
    # Three records a file, so that every third one rotates, and files have to move up.
    sink = FileSink(log, max_bytes=1700, backup_count=BACKUPS, system=system)
    logger = structllm.create_llm_logger(settings=SETTINGS, sinks=[sink])
    system.nth = nth
    system.interrupt = lambda: interrupt(lambda: one(logger, "between"))
    for number in range(EVENTS):
        one(logger, f"host {number}", size=300)
    logger.flush()
    wrong = wrong_in(log, logger.stats(), EVENTS + (0 < nth <= len(system.calls)))
    logger.close()
    return system.calls, wrong


def one(logger: structllm.ChatCompletionLogger, who: str, size: int = 1) -> None:
    """Log one event."""
    logger.log_decision_outcome("d", "fault", who=who, pad="x" * size)


def wrong_in(log: Path, stats: Mapping[str, Any], count: int, refused: int = 0) -> str:
    """Say what is wrong with a log of one writer that is to have so many events; nothing where it is right."""
    seqs = [line.event["seq"] if line.event else 0 for file in log_files(log) for line in read_lines(file)]
    if seqs != list(range(1, count + 1)):
        return f"{len(set(seqs))} of {count} in {len(seqs)} lines, in order: {seqs == sorted(seqs)}"
    account = stats["sinks"]["FileSink"]
    told = [account[name] for name in ("accepted", "delivered", "dropped", "pending")]
    expected = [count, count, {}, 0, refused]
    return "" if expected == [*told, stats["refused_as_nested"]] else f"{told} and not {expected}"


def blind(owner: type[Inside] | type[Turns]) -> property:
    """Return a `busy` that is never seen: what comes in between is done at once.

    It is kept all the same, for threads of this process that outlive the test.
    """
    slot = vars(owner).get("busy")

    def keep(self: Any, value: bool) -> None:
        if slot is not None:
            slot.__set__(self, value)
        else:
            vars(self)["busy"] = value

    return property(lambda self: False, keep)


# --- programs --------------------------------------------------------------------------------------------------------


def answer(job: Mapping[str, Any], **told: Any) -> None:
    """Leave what the test asks."""
    Path(job["directory"], f"{job['name']}.answer.json").write_text(json.dumps(told))


class Door:
    """The sink before the file: who is here holds the logger's lock, and wants the file's next."""

    def __init__(self) -> None:
        self.passed = threading.Event()

    def write(self, batch: Sequence[Record], /) -> None:
        """Note that somebody came."""
        if threading.current_thread() is not threading.main_thread():
            self.passed.set()

    def flush(self, timeout_s: float, /) -> bool:
        """Nothing to do."""
        return True

    def close(self) -> None:
        """Nothing to do."""


def crowd(job: Mapping[str, Any], duty: Duty) -> None:
    """Ask for something that takes the lock of the file; meanwhile another thread logs, then a signal handler."""
    damage(job)
    others: list[threading.Thread] = []

    def meanwhile() -> None:
        if others or threading.current_thread() is not threading.main_thread():
            return
        others.append(threading.Thread(target=one, args=(logger, "other"), daemon=True))
        others[0].start()
        assert door.passed.wait(TIMEOUT_S)
        duty[Duty.REACHED] = 1
        by_signal(lambda: one(logger, "handler"))

    class Slow(System):
        def sync(self, fd: int) -> None:
            meanwhile()
            super().sync(fd)

    class Told(FileSink):
        def health(self) -> Mapping[str, Any]:
            with self._turns.lock:
                meanwhile()
                return super().health()

    Told.__name__ = "FileSink"
    door = Door()
    sinks = [door, Told(job["log"], fsync="interval", system=Slow())]
    logger = structllm.create_llm_logger(settings=SETTINGS, sinks=sinks)
    duty[Duty.READY] = 1
    one(logger, "host")
    {"flush": logger.flush, "stats": logger.stats}[job["extra"]["call"]]()
    for other in others:
        other.join(TIMEOUT_S)
    logger.flush()
    answer(job, stats=logger.stats())
    os._exit(0)


def hammer(job: Mapping[str, Any], duty: Duty) -> None:
    """Log to small files while a timer, or finalisers, log as often as they can."""
    damage(job)
    sink = FileSink(job["log"], max_bytes=SMALL_BYTES, backup_count=BACKUPS)
    stand_in(sink, defer_to=lambda defer: None)  # so that this thread collects all garbage
    logger = structllm.create_llm_logger(settings=SETTINGS, sinks=[sink])
    duty[Duty.READY] = 1
    between = 0

    def log() -> None:
        nonlocal between
        between += 1
        one(logger, "between")

    signal.signal(signal.SIGALRM, lambda *_: log())
    gc.set_threshold(50)
    for number in range(HARD_EVENTS):
        if job["extra"]["who"] == "finaliser":
            Garbage(log)
        else:
            signal.setitimer(signal.ITIMER_REAL, 0.000_02 * (1 + number % 20))  # once: a handler is not interrupted
        one(logger, "host", size=300)
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.collect()
    logger.flush()
    answer(job, stats=logger.stats(), between=between)
    os._exit(0)


class Auditing:
    """A sink that logs each record's arrival to another logger. The first record waits for the other sink's."""

    def __init__(self, both: threading.Barrier) -> None:
        self.other: structllm.ChatCompletionLogger | None = None
        self.deepest = 0
        self._both: threading.Barrier | None = both
        self._here = threading.local()

    def write(self, batch: Sequence[Record], /) -> None:
        """Log about it."""
        both, self._both = self._both, None
        if both is not None:
            both.wait(TIMEOUT_S)
        depth = self._here.depth = getattr(self._here, "depth", 0) + 1
        self.deepest = max(self.deepest, depth)
        assert self.other is not None
        one(self.other, "audit")
        self._here.depth -= 1

    def flush(self, timeout_s: float, /) -> bool:
        """Nothing to do."""
        return True

    def close(self) -> None:
        """Nothing to do."""


def audit_each_other(job: Mapping[str, Any], duty: Duty) -> None:
    """Log to two loggers from two threads; the sink of each logs to the other."""
    damage(job)
    both = threading.Barrier(2, action=lambda: duty.__setitem__(Duty.REACHED, 1))
    sinks = [Auditing(both), Auditing(both)]
    loggers = [structllm.create_llm_logger(settings=SETTINGS, sinks=[sink]) for sink in sinks]
    sinks[0].other, sinks[1].other = loggers[1], loggers[0]
    duty[Duty.READY] = 1

    def log(logger: structllm.ChatCompletionLogger) -> None:
        for _ in range(job["extra"]["count"]):
            one(logger, "host")

    threads = [threading.Thread(target=log, args=(logger,)) for logger in loggers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answer(job, stats=[logger.stats() for logger in loggers], deepest=[sink.deepest for sink in sinks])
    os._exit(0)


def damage(job: Mapping[str, Any]) -> None:
    """Take the mend away where the job says so."""
    if job["extra"].get("mutant") == "never_busy":
        stand_in(Inside, busy=blind(Inside))


# --- the tests -------------------------------------------------------------------------------------------------------


brood, harness = fixtures(__name__)


def told(harness: Harness, writer: Writer) -> Any:
    """Wait for a program, which must not hang, and return what it left."""
    assert 0 == writer.wait()
    path = harness.log.parents[1] / f"{writer.name}.answer.json"
    return json.loads(path.read_text())


def hangs(writer: Writer) -> bool:
    """Return whether a program that has got to where two threads could wait for each other goes on no more."""
    until(lambda: writer.duty[Duty.REACHED], "the locks are taken")
    try:
        writer.wait(HANG_S)
    except AssertionError:
        return True
    return False


class TestInterrupted:
    @pytest.mark.parametrize("who", BETWEEN)
    def test_after_any_call(self, tmp_path: Path, who: str) -> None:
        """Whichever system call of a write, a look or a rotation somebody logs after: every line is there once and in
        order, and all are accounted for."""
        calls, wrong = interrupted_at(0, tmp_path / "0", BETWEEN[who])
        assert "" == wrong
        assert {"write", "seek", "status_at", "status_of", "try_lock", "rename", "unlock", "names_in"} <= set(calls)
        found = {nth: interrupted_at(nth, tmp_path / str(nth), BETWEEN[who])[1] for nth in range(1, len(calls) + 1)}
        assert {} == {nth: wrong for nth, wrong in found.items() if wrong}

    def test_catches_what_is_written_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The test fails where both logger and sink write at once, in the middle of a rotation for one."""
        calls, _ = interrupted_at(0, tmp_path / "0", by_signal)
        monkeypatch.setattr(Inside, "busy", blind(Inside))
        monkeypatch.setattr(Turns, "busy", blind(Turns), raising=False)
        renames = [nth for nth, call in enumerate(calls, 1) if call == "rename"]
        assert any(interrupted_at(nth, tmp_path / str(nth), by_signal)[1] for nth in renames)

    @pytest.mark.parametrize("who", BETWEEN)
    def test_without_a_plan(self, harness: Harness, who: str) -> None:
        """Handlers and finalisers that log all the time, into files of a dozen lines, cost no line either. What one of
        them logs while the event of another is caught up with may be refused as nested; then that is counted."""
        answer = told(harness, harness.start(program(hammer, who=who)))
        refused = answer["stats"]["refused_as_nested"]
        assert 0 <= refused < answer["between"] / 4
        assert "" == wrong_in(harness.log, answer["stats"], HARD_EVENTS + answer["between"] - refused, refused)


class TestCrowd:
    @pytest.mark.parametrize("call", ["flush", "stats"])
    def test_handler(self, harness: Harness, call: str) -> None:
        """A handler that logs while its thread holds the file's lock and another thread the logger's does not hang."""
        answer = told(harness, harness.start(program(crowd, call=call)))
        assert "" == wrong_in(harness.log, answer["stats"], 3)

    @pytest.mark.parametrize("call", ["flush", "stats"])
    def test_catches_a_handler_that_waits(self, harness: Harness, call: str) -> None:
        """The test fails where the handler takes the logger's lock at once."""
        assert hangs(harness.start(program(crowd, call=call, mutant="never_busy")))


class TestSinksThatLogIntoEachOther:
    def test_two_threads(self, harness: Harness) -> None:
        """They do not wait for each other, go no deeper than one event about an event, and what is refused is
        counted."""
        count = 300
        answer = told(harness, harness.start(program(audit_each_other, count=count)))
        assert [count, count] == [stats["refused_as_nested"] for stats in answer["stats"]]
        accounts = [stats["sinks"]["Auditing"] for stats in answer["stats"]]
        expected = {"accepted": 2 * count, "delivered": 2 * count, "dropped": {}, "pending": 0}
        assert [expected, expected] == accounts
        assert [1, 1] == answer["deepest"]

    def test_catches_sinks_that_wait_for_each_other(self, harness: Harness) -> None:
        """The test fails where a sink's event is written in the middle of the event that it is about."""
        assert hangs(harness.start(program(audit_each_other, count=1, mutant="never_busy")))
