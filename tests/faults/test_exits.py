"""Fault case 11: the ways in which a process ends, and what of its last records is in the log.

What reaches the file before `log()` returns is there however the process ends. What waits in a queue is there where the
interpreter gets to say goodbye, and no sink that hangs keeps it from doing so.
"""

import atexit
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

import structllm
from structllm import _background, _fanout, _process
from structllm._background import BackgroundDelivery
from structllm._types import Record
from structllm.sinks.config import SinkConfig
from tests.faults.cases import at_the_very_end, fixtures, program, stderr_of
from tests.faults.child import SETTINGS, build, log_one
from tests.faults.harness import Duty, Harness, Job, Writer, caught, until
from tests.faults.judge import accounted
from tests.standing_in import stand_in

COUNT = 210
HANG_S = 60.0
AT_EXIT_S = 0.5
"""What the hanging sink may cost in these tests; 5 s in earnest."""

STATUS = {
    "normal": 0,
    "sys_exit": 3,
    "exception": 1,
    "exception_in_thread": 0,
    "sigint": -signal.SIGINT,
    "logs_at_exit": 0,
    "logs_last": 0,
    "sigterm": -signal.SIGTERM,
    "os_exit": 4,
}
"""The ways to end, and the exit status of each."""

SUDDEN = ("sigterm", "os_exit")
"""Those of which the interpreter is told nothing."""

PLANTED = {"exception": "Planted", "exception_in_thread": "Planted", "sigint": "KeyboardInterrupt"}
"""The tracebacks that belong to the host program."""


class Planted(Exception):
    """What the host program dies of."""


# --- the programs ----------------------------------------------------------------------------------------------------


def leave(job: Mapping[str, Any], duty: Duty) -> None:
    """Log, and end in the way that the job says."""
    how: str = job["extra"]["how"]
    # A shell that starts a program in the background has it ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    damage(job)
    stand_in(_background, _LINGER_S=HANG_S)  # or else a queue may be empty by chance before the end comes
    logger = build(job, duty)
    duty[Duty.READY] = 1

    def log(thread: int, first: int, count: int) -> None:
        for n in range(first, first + count):
            log_one(logger, duty, job["name"], thread, n)

    at_the_very_end.append(lambda: leave_account(job, logger))
    if how == "logs_last":
        at_the_very_end.insert(0, lambda: log(0, COUNT, 1))
    if how == "logs_at_exit":
        atexit.register(log, 0, COUNT, 1)

    def in_thread() -> None:
        log(1, 0, COUNT)
        if how == "exception_in_thread":
            raise Planted

    thread = threading.Thread(target=in_thread)
    thread.start()
    log(0, 0, COUNT)
    thread.join()
    end(how)


def end(how: str) -> None:
    """End this process; several ways end it when its main thread has nothing more to do."""
    if how == "sys_exit":
        sys.exit(STATUS[how])
    if how == "exception":
        raise Planted
    if how in ("sigint", "sigterm"):
        os.kill(os.getpid(), -STATUS[how])
        until(lambda: False, "the signal")  # another thread may have got it, which does not end a sleep of this one
    if how == "os_exit":
        os._exit(STATUS[how])


def leave_account(job: Mapping[str, Any], logger: structllm.ChatCompletionLogger) -> None:
    """Leave `stats()` as it is when nothing of the interpreter is left but this."""
    Path(job["directory"], f"{job['name']}.stats.json").write_text(json.dumps(logger.stats()))


class Hanging:
    """A sink that takes a minute for anything."""

    def write(self, batch: Sequence[Record], /) -> None:
        """Hang."""
        time.sleep(HANG_S)

    def flush(self, timeout_s: float, /) -> bool:
        """Hang longer than allowed."""
        time.sleep(HANG_S)
        return True

    def close(self) -> None:
        """Hang."""
        time.sleep(HANG_S)


class HangingConfig(SinkConfig):
    """Its settings."""

    type: Literal["hanging"] = "hanging"

    def build(self) -> Hanging:
        """Return it."""
        return Hanging()

    def check(self) -> list[str]:
        """Nothing to check."""
        return []


def leave_hanging(job: Mapping[str, Any], duty: Duty) -> None:
    """Log to a file and to a sink that hangs, both in the background, and end."""
    stand_in(_fanout, CLOSE_TIMEOUT_S=AT_EXIT_S)
    stand_in(_process, CLOSE_TIMEOUT_S=AT_EXIT_S)
    damage(job)
    file = {"type": "file", "path": job["log"], "delivery": "background"}
    logger = structllm.create_llm_logger(settings=SETTINGS, sinks=[file, HangingConfig(delivery="background")])
    duty[Duty.READY] = 1
    at_the_very_end.append(lambda: leave_account(job, logger))
    for n in range(COUNT):
        log_one(logger, duty, job["name"], 0, n)
    end(job["extra"]["how"])


# --- mutants ---------------------------------------------------------------------------------------------------------


def damage(job: Mapping[str, Any]) -> None:
    """Take something away on which a clean exit rests."""
    mutant = job["extra"].get("mutant")
    if mutant == "no_exit_handler":
        atexit.unregister(_process._at_exit)
    if mutant == "not_retired":
        stand_in(BackgroundDelivery, retire=lambda self: 0)
    if mutant == "raises_at_exit":
        stand_in(BackgroundDelivery, retire=lambda self: int("planted"))
    if mutant == "no_deadline":
        stand_in(_process, CLOSE_TIMEOUT_S=HANG_S)


# --- the judge -------------------------------------------------------------------------------------------------------


class Ended:
    """A writer whose account is to be looked at, whatever its exit status."""

    killed = False
    status: int | None = 0

    def __init__(self, writer: Writer) -> None:
        self.name, self.threads, self.owed, self.accounts = writer.name, writer.threads, writer.owed, writer.accounts


def judged(harness: Harness, writer: Writer, how: str) -> list[str]:
    """Return what is wrong with the log, the account, the exit status (X) and stderr (E)."""
    lossless = not (how in SUDDEN and "background" in str(writer.job.sinks))
    found = [violation for violation in harness.judge() if not violation.startswith(f"X {writer.name} ended")]
    if not lossless:
        found = [violation for violation in found if violation[0] not in "OC"]
    if writer.status != STATUS[how]:
        found.append(f"X {how} ended with {writer.status}")
    if how not in SUDDEN:
        found += accounted(Ended(writer), lossless)
    return [*found, *on_stderr(stderr_of(harness, writer), PLANTED.get(how))]


def on_stderr(text: str, planted: str | None) -> Iterator[str]:
    """Find what is on stderr besides one traceback that ends in the planted exception."""
    lines = text.splitlines()
    if planted is None:
        quiet = not lines
    else:
        tracebacks = sum(line.startswith("Traceback") for line in lines)
        quiet = tracebacks == 1 and planted in lines[-1] and "structllm:" not in text and "ignored" not in text
    if not quiet:
        yield f"E {text[-2000:]}"


brood, harness = fixtures(__name__)


def left(harness: Harness, how: str, delivery: str, **extra: object) -> list[str]:
    """Have a process end, and return what is wrong afterwards."""
    sinks = [{"type": "file", "path": str(harness.log), "delivery": delivery}]
    writer = harness.start(program(leave, Job(threads=2, sinks=sinks), how=how, **extra))
    writer.wait()
    return judged(harness, writer, how)


class TestExits:
    @pytest.mark.parametrize("delivery", ["direct", "background"])
    @pytest.mark.parametrize("how", STATUS)
    def test_leaves_nothing_behind(self, harness: Harness, how: str, delivery: str) -> None:
        """Every accepted record is in the file (unless it waited in a queue when the process was torn away), the exit
        status is the host's, and stderr says nothing."""
        assert [] == left(harness, how, delivery)

    def test_hanging_sink(self, harness: Harness) -> None:
        """A sink that hangs delays the exit by the deadline at most, costs no other sink a record, and what it did not
        take is counted and told."""
        writer = harness.start(program(leave_hanging, how="normal"))
        assert 0 == writer.wait(HANG_S / 4)
        assert [] == harness.judge(lossless=False)
        assert COUNT == writer.sink_stats("file")["delivered"]
        hanging = writer.sink_stats("hanging")
        assert (COUNT, 0, {"shutdown_abandoned": COUNT}, 0) == tuple(
            hanging[name] for name in ("accepted", "delivered", "dropped", "pending")
        )
        notice = f"structllm: sink 'hanging' dropped {COUNT} records (shutdown_abandoned); counted in stats()\n"
        assert notice == stderr_of(harness, writer)

    @pytest.mark.parametrize(
        ("mutant", "how", "delivery", "letters"),
        [
            ("no_exit_handler", "normal", "background", "OC"),
            ("no_exit_handler", "sigint", "background", "OC"),
            ("not_retired", "logs_last", "background", "C"),
            ("raises_at_exit", "sys_exit", "background", "E"),
        ],
    )
    def test_catches(self, harness: Harness, mutant: str, how: str, delivery: str, letters: str) -> None:
        """The test fails where nothing is delivered at exit, where a record comes after that, and where we complain."""
        found = left(harness, how, delivery, mutant=mutant)
        assert caught(found, letters), found

    def test_catches_a_record_in_memory(self, harness: Harness) -> None:
        """The test fails where a record is not in the file when `log()` has returned."""
        job = program(leave, Job(threads=2, mutant="buffered_writes"), how="os_exit")
        writer = harness.start(job)
        writer.wait()
        found = judged(harness, writer, "os_exit")
        assert caught(found, "O"), found

    def test_catches_no_deadline(self, harness: Harness) -> None:
        """The test fails where the exit waits for the sink that hangs."""
        writer = harness.start(program(leave_hanging, how="normal", mutant="no_deadline"))
        with pytest.raises(AssertionError, match="has not ended"):
            writer.wait(4 * AT_EXIT_S)
