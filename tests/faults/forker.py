"""The program of a writer that forks while its other threads log: each child logs some records and leaves at once.

`extra` of its job: `forks`; `records` of each child; `longest_s`, after which a child counts as stuck and is killed,
and no more are forked; `damage`, a mutant of this case. Of its threads the first one forks. Children are called
`NAMEc0`, `NAMEc1` ...; `NAME.children.json` holds the exit status of each, `null` for one that was stuck.
"""

import json
import os
import random
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

import structllm
from structllm import FileSink
from structllm._account import Account
from structllm._background import BackgroundDelivery
from structllm._emitter import Emitter
from structllm.redaction.rules import RuleSet
from tests.faults.child import begin, build, leave_stats, scannable, work
from tests.faults.harness import Duty, until
from tests.faults.serving import status_of
from tests.standing_in import stand_in

WRONG_ACCOUNT = 3


def keeps_everything() -> None:
    """Go on in a child as if nothing had happened."""
    stand_in(Emitter, reset_after_fork=lambda self: None)


def keeps_its_lock() -> None:
    """Keep the lock of the file sink, which a thread of the parent may hold."""
    stand_in(FileSink, reset_after_fork=lambda self: None)


def keeps_its_writer() -> None:
    """Keep the id of the writer."""
    real = Emitter.reset_after_fork

    def reset_after_fork(self: Emitter) -> None:
        writer, ids = self.writer, self._ids
        self._ids = lambda kind: writer
        real(self)
        self._ids = ids

    stand_in(Emitter, reset_after_fork=reset_after_fork)


def keeps_its_queue() -> None:
    """Keep what waits in the queue of the parent."""

    def reset_after_fork(self: BackgroundDelivery) -> None:
        queue = self._queue
        cast("FileSink", self.sink).reset_after_fork()
        self.account = Account()
        self._begin()
        self._queue = queue

    stand_in(BackgroundDelivery, reset_after_fork=reset_after_fork)


def keeps_its_scanner() -> None:
    """Scan with what the parent has compiled, whose locks one of its threads may hold."""
    stand_in(RuleSet, renew_after_fork=lambda self: None)


DAMAGES: Mapping[str, Callable[[], None]] = {
    damage.__name__: damage
    for damage in (keeps_everything, keeps_its_lock, keeps_its_writer, keeps_its_queue, keeps_its_scanner)
}


def be_a_child(logger: structllm.ChatCompletionLogger, job: Mapping[str, Any], name: str) -> None:
    """Log as a child, and leave without any clean-up. The exit status says whether the accounts are right."""
    status, records, rng = 1, job["extra"]["records"], random.Random(name)
    try:
        for n in range(records):
            text = scannable(rng, job["extra"].get("text_chars", 0))
            logger.log_decision_outcome(name, "fault", who=f"{name}.0", n=n, text=text)
        flushed = logger.flush()
        account = logger.stats()["sinks"]["file"]
        right = flushed and account["accepted"] == account["delivered"] == records
        status = 0 if right else WRONG_ACCOUNT
    finally:
        os._exit(status)


def ended(pid: int, longest_s: float) -> int | None:
    """Return the exit status of a child; kill one that does not end and return None."""
    status = status_of(pid, longest_s)
    if status is None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return status


def main() -> None:
    """Do the job."""
    job, duty = begin()
    extra: Mapping[str, Any] = job["extra"]
    if extra["damage"]:
        DAMAGES[extra["damage"]]()
    logger = build(job, duty)
    duty[Duty.READY] = 1
    threads = [threading.Thread(target=work, args=(logger, duty, job, number)) for number in range(1, job["threads"])]
    for thread in threads:
        thread.start()
    until(lambda: all(duty.counts[1:]), "all threads log")
    statuses: list[int | None] = []
    for number in range(extra["forks"]):
        pid = os.fork()
        if not pid:
            be_a_child(logger, job, f"{job['name']}c{number}")
        statuses.append(ended(pid, extra["longest_s"]))
        if statuses[-1] is None:
            break
    with open(os.path.join(job["directory"], f"{job['name']}.children.json"), "w") as file:
        json.dump(statuses, file)
    duty[Duty.STOP] = 1
    for thread in threads:
        thread.join()
    leave_stats(duty, job, logger)


if __name__ == "__main__":
    main()
