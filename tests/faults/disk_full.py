"""The program of a writer whose disk is full for a while: it logs all the same, waits for space, and logs on.

`extra` of its job: `limit_bytes`, the largest file until space returns (RLIMIT_FSIZE; 0: the file system is what is
small); `during` and `after`, how many records to log before and after that; `damage`, a mutant of this case. While it
waits, `spare` of its duty says how many of its writes were short.
"""

import os
import resource
import time
from collections.abc import Callable, Mapping
from typing import Any

from structllm._account import Account
from structllm._system import System
from tests.faults.child import begin, build, leave_stats, log_one, padding
from tests.faults.harness import Duty, until
from tests.standing_in import stand_in

SIZES = (300, 1100, 4000, 700, 260)


def believes_every_write() -> None:
    """Take a short write for a whole one."""

    def write(fd: int, data: Any, /) -> int:
        os.write(fd, data)
        return len(data)

    System.write = staticmethod(write)


def never_looks_behind() -> None:
    """Believe that what others wrote are whole lines."""
    stand_in(System, read_at=lambda self, fd, count, offset: b"\n")


def tells_no_gap() -> None:
    """Count what was dropped, but write no event that tells of it."""
    stand_in(Account, report_is_due=lambda self: False)
    stand_in(Account, is_untold=lambda self: False)


DAMAGES: Mapping[str, Callable[[], None]] = {
    damage.__name__: damage for damage in (believes_every_write, never_looks_behind, tells_no_gap)
}


def wait_for(duty: Duty, step: int) -> None:
    """Wait until the test says to go on to this step: 1, the disk fills; 2, there is space again."""
    until(lambda: duty[Duty.GO_ON] >= step, f"step {step}")


def main() -> None:
    """Do the job."""
    job, duty = begin()
    extra = job["extra"]
    if extra["damage"]:
        DAMAGES[extra["damage"]]()
    logger = build(job, duty)
    duty[Duty.READY] = 1
    wait_for(duty, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if extra["limit_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (extra["limit_bytes"], hard))
    for n in range(extra["during"]):
        log_one(logger, duty, job["name"], 0, n, **padding(SIZES[n % len(SIZES)]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    duty[Duty.SPARE] = logger.stats()["sinks"]["file"]["health"]["short_writes"]
    duty[Duty.REACHED] = 1
    wait_for(duty, 2)
    for n in range(extra["during"], extra["during"] + extra["after"]):
        time.sleep(0.002)  # a sink that failed is left alone for some milliseconds
        log_one(logger, duty, job["name"], 0, n, **padding(300))
    leave_stats(duty, job, logger)


if __name__ == "__main__":
    main()
