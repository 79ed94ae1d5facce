"""Fault case 10: a server that builds its logger, has its delivery thread running, and then forks its workers.

As gunicorn does with `--preload`: what waits in the parent is the parent's, each worker delivers for itself, and
SIGTERM ends it. So do the processes of `multiprocessing`, whatever it starts them with.
"""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Mapping, Sequence
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import pytest

import structllm
from structllm import _emitter
from structllm._background import BackgroundDelivery
from tests.faults.cases import Brood, fixtures, program
from tests.faults.child import build, leave_stats, log_one
from tests.faults.harness import TIMEOUT_S, Duty, Harness, Job, Writer, caught, until
from tests.standing_in import stand_in

WORKERS = 4
COUNT = 1000
FLUSH_S = 25.0
"""What a worker allows its flush, which takes a hundredth of that."""


# --- the programs ----------------------------------------------------------------------------------------------------


def serve(job: Mapping[str, Any], duty: Duty) -> None:
    """Log a record before each fork of a worker; the parent is thread 0 and worker k is thread k of this writer.

    Workers of odd number flush in a handler of SIGTERM, the others before it; none of them gets to the end of the
    interpreter.
    """
    damage(job)
    logger = build(job, duty)
    workers: list[int] = []
    for number in range(1, 1 + WORKERS):
        log_one(logger, duty, job["name"], 0, number - 1)  # is not delivered yet when the worker is forked
        pid = os.fork()
        if not pid:
            try:
                work(logger, duty, job, number)
            finally:
                os._exit(1)  # nothing that happens in a worker may go on as the parent
        workers.append(pid)
    duty[Duty.READY] = 1
    flushed = [account_path(job, number) for number in range(2, 1 + WORKERS, 2)]
    owed = [WORKERS] + [COUNT] * WORKERS
    until(lambda: duty.counts == owed and all(map(Path.exists, flushed)), "the workers have logged")
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
    Path(job["directory"], "statuses").write_text(json.dumps(statuses))
    leave_stats(duty, job, logger)


def work(logger: structllm.ChatCompletionLogger, duty: Duty, job: Mapping[str, Any], number: int) -> None:
    """Log as a worker, and wait for SIGTERM."""

    def flush() -> None:
        flushed = logger.flush(job["extra"].get("flush_s", FLUSH_S))
        leave_account(job, number, {**logger.stats(), "flushed": flushed})

    def flush_and_leave(*_: object) -> None:
        flush()
        os._exit(0)

    signal.alarm(int(2 * TIMEOUT_S))  # nobody else ends a worker that hangs
    in_handler = number % 2 == 1
    signal.signal(signal.SIGTERM, flush_and_leave if in_handler else signal.SIG_DFL)
    for n in range(COUNT):
        log_one(logger, duty, job["name"], number, n)
    if not in_handler:
        flush()
    while True:
        time.sleep(0.01)  # until the alarm; a signal that comes just before a sleep does not end it


def multiply(job: Mapping[str, Any], duty: Duty) -> None:
    """Log one record, and have `multiprocessing` start processes that log and end, without a word of flushing."""
    damage(job)
    logger = build(job, duty)
    log_one(logger, duty, job["name"], 0, 0)
    duty[Duty.READY] = 1
    processes: list[Any] = []
    for number, method in enumerate(job["extra"]["methods"], 1):
        context: Any = multiprocessing.get_context(method)
        inherited = logger if method == "fork" else None
        processes.append(context.Process(target=multiplied, args=(job, number, inherited)))
        processes[-1].start()
    for process in processes:
        process.join(TIMEOUT_S)
    Path(job["directory"], "statuses").write_text(json.dumps([process.exitcode for process in processes]))
    leave_stats(duty, job, logger)


def multiplied(job: Mapping[str, Any], number: int, inherited: structllm.ChatCompletionLogger | None) -> None:
    """Log as a process of `multiprocessing`; one that inherits no logger builds its own."""
    duty = Duty(Path(job["directory"], f"{job['name']}.duty"))
    logger = inherited or build(job, duty)
    # Of those that say goodbye to multiprocessing the last one.
    Finalize(None, lambda: leave_account(job, number, logger.stats()), exitpriority=-100)
    for n in range(COUNT):
        log_one(logger, duty, job["name"], number, n)


def account_path(job: Mapping[str, Any], number: int) -> Path:
    """Return where worker `number` leaves its account."""
    return Path(job["directory"], f"{job['name']}.{number}.account.json")


def leave_account(job: Mapping[str, Any], number: int, stats: Mapping[str, Any]) -> None:
    """Leave the account of a worker."""
    path = account_path(job, number)
    path.with_suffix(".part").write_text(json.dumps(stats))
    path.with_suffix(".part").rename(path)


# --- mutants ---------------------------------------------------------------------------------------------------------


def damage(job: Mapping[str, Any]) -> None:
    """Take something away on which a preloaded server's workers rest."""
    mutant = job["extra"].get("mutant")
    if mutant in ("_worker", "_queue"):
        real = BackgroundDelivery.reset_after_fork

        def reset_after_fork(self: BackgroundDelivery) -> None:
            inherited = getattr(self, mutant)
            real(self)
            setattr(self, mutant, inherited)

        stand_in(BackgroundDelivery, reset_after_fork=reset_after_fork)
    if mutant == "flush_lies":
        stand_in(BackgroundDelivery, begin_flush=lambda self, timeout_s, last=False: lambda timeout_s: True)
    if mutant == "no_finalizer":
        stand_in(_emitter, finish_at_exit=lambda: None)


# --- the judge -------------------------------------------------------------------------------------------------------


def judged(harness: Harness, writer: Writer, statuses: Sequence[int]) -> list[str]:
    """Return what is wrong with the log, the flushes (F), the exit statuses (X) and the account of each process."""
    writer.wait()
    found = [violation for violation in harness.judge() if not violation.startswith("C")]
    ended = json.loads((harness.log.parents[1] / "statuses").read_text())
    if ended != list(statuses):
        found.append(f"X the workers ended with {ended}")
    for number in range(1, writer.threads):
        path = account_path({"directory": harness.log.parents[1], "name": writer.name}, number)
        if not path.exists():
            found.append(f"C worker {number} left no account")
            continue
        stats = json.loads(path.read_text())
        account = {name: stats["sinks"]["file"][name] for name in ("accepted", "delivered", "dropped", "pending")}
        if account != {"accepted": COUNT, "delivered": COUNT, "dropped": {}, "pending": 0}:
            found.append(f"C worker {number} {account}")
        if not stats.get("flushed", True):
            found.append(f"F worker {number}: flush() was False")
    return found


brood, harness = fixtures(__name__)


def preloaded(harness: Harness, **extra: object) -> list[str]:
    """Run a preloaded server, and return what is wrong afterwards."""
    sinks = [{"type": "file", "path": str(harness.log), "delivery": "background"}]
    writer = harness.start(program(serve, Job(threads=1 + WORKERS, sinks=sinks), **extra))
    return judged(harness, writer, [0, -signal.SIGTERM] * (WORKERS // 2))


def multiprocessed(harness: Harness, *methods: str, **extra: object) -> list[str]:
    """Run a program with processes of `multiprocessing`, and return what is wrong afterwards."""
    sinks = [{"type": "file", "path": str(harness.log), "delivery": "background"}]
    job = Job(threads=1 + len(methods), sinks=sinks)
    writer = harness.start(program(multiply, job, methods=methods, **extra))
    return judged(harness, writer, [0] * len(methods))


class TestPreload:
    def test_sigterm(self, harness: Harness) -> None:
        """Four workers that were forked beside a running delivery thread, log, and are ended by SIGTERM leave all that
        they logged in the file, and their flush() is True: in the handler as well as before the signal."""
        assert [] == preloaded(harness)

    def test_multiprocessing(self, harness: Harness) -> None:
        """A process of multiprocessing leaves all that it logged in the file without flushing, however it was
        started."""
        assert [] == multiprocessed(harness, "fork", "fork", "forkserver", "spawn")

    @pytest.mark.parametrize(("mutant", "letters"), [("_worker", "O"), ("_queue", "D"), ("flush_lies", "OC")])
    def test_catches(self, harness: Harness, mutant: str, letters: str) -> None:
        """The test fails where a worker takes the parent's thread for its own, where it delivers what waits in the
        parent, and where flush() does not wait."""
        found = preloaded(harness, mutant=mutant, flush_s=1.0)
        assert caught(found, letters), found

    def test_catches_no_finalizer(self, tmp_path: Path, brood: Brood) -> None:
        """The test fails where multiprocessing is not asked to wait for what is on its way."""

        def tried(number: int) -> list[str]:
            harness = Harness(tmp_path / f"run{number}", brood, 0)
            try:
                return multiprocessed(harness, "fork", mutant="no_finalizer")
            finally:
                harness.abort()

        # Once in a while the delivery thread is quick enough without being waited for.
        assert any(caught(tried(number), "OC") for number in range(8))
