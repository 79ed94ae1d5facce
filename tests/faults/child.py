"""The program of a writer: log until told to stop, and owe what `log()` has returned for.

`python -m tests.faults.child JOB.json` is one writer; with `--nursery` it reads requests, one JSON object a line, and
forks writers. A program of your own begins with `job, duty = begin()` and ends with `leave_stats(duty, job, logger)`.
"""

import fcntl
import gc
import json
import os
import random
import string
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn

import structllm
from structllm.assemble import create_llm_logger
from structllm.sinks.rotation import Generation, LogFiles
from tests.faults.harness import Duty, until
from tests.faults.serving import serve
from tests.standing_in import stand_in

SETTINGS = {"redaction": {"enabled": False}, "enable_token_usage_tracking": False}
"""Redaction reads every byte and prices take half a second to load; neither is what is tried here."""

_SCANNABLE = string.ascii_letters + string.digits + "-_=:/+. "
_FIELD_CHARS = 60_000  # longer texts are cut
_ENVELOPE_BYTES = 240
_LONGEST_LINGER_S = 600.0  # no test takes as long


def begin(path: str | None = None) -> tuple[dict[str, Any], Duty]:
    """Return the job (fields of `Job`, `name`, `seed`, `log`, `directory`) and the duty; puts the mutant in place."""
    with open(path or sys.argv[1]) as file:
        job: dict[str, Any] = json.load(file)
    if job["mutant"]:
        from tests.faults import mutants

        mutants.apply(job["mutant"])
    if "alone" in job["extra"]:
        watch_rotations(job["extra"]["alone"], os.path.join(job["directory"], f"{job['name']}.errors"))
    return job, Duty(os.path.join(job["directory"], f"{job['name']}.duty"))


def watch_rotations(sentinel: str, errors: str) -> None:
    """Note each rotation that began during another process's: while files move up, this one holds a lock of its own.

    Args:
        sentinel: A file that all processes lock, out of reach of what hurts the log.
        errors: Gets a line for each rotation that was not alone.
    """
    move_up = LogFiles.move_up

    def watched(self: LogFiles, backup_count: int, generation: Generation) -> None:
        with open(sentinel, "a") as file:  # closing it lets go of the lock
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with open(errors, "a") as told:
                    told.write("a rotation during another\n")
            time.sleep(0.001)  # so that another one would meet it
            move_up(self, backup_count, generation)

    stand_in(LogFiles, move_up=watched)


def build(job: Mapping[str, Any], duty: Duty) -> structllm.ChatCompletionLogger:
    """Return the logger of a job."""
    settings = {"type": "file", "path": job["log"], "max_bytes": job["max_bytes"], "backup_count": job["backup_count"]}
    sinks: list[Any] = job["sinks"] or [{**settings, **job["sink"]}]
    if job["system"] is not None:
        from tests.faults import systems

        sinks = [systems.sink(job, duty)]
    return create_llm_logger(**{"settings": SETTINGS, "sinks": sinks, **job["options"]})


def padding(size_bytes: int) -> dict[str, str]:
    """Return fields that make a line about this large."""
    rest = max(0, size_bytes - _ENVELOPE_BYTES)
    return {f"pad{start}": "x" * min(_FIELD_CHARS, rest - start) for start in range(0, rest, _FIELD_CHARS)}


def scannable(rng: random.Random, chars: int) -> str:
    """Return text that is much like keys and tokens, so that scanning it takes many states."""
    return "".join(rng.choices(_SCANNABLE, k=chars))


def log_one(logger: structllm.ChatCompletionLogger, duty: Duty, name: str, thread: int, n: int, **fields: Any) -> None:
    """Log event `n` of a thread and then owe it."""
    logger.log_decision_outcome(f"{name}.{thread}", "fault", who=f"{name}.{thread}", n=n, **fields)
    duty.returned(thread)


def work(logger: structllm.ChatCompletionLogger, duty: Duty, job: Mapping[str, Any], thread: int) -> None:
    """Log as one thread of a job until it is done or stopped."""
    rng = random.Random(f"{job['seed']}.{thread}")
    least, greatest = job["sizes"]
    n = 0
    while (job["count"] is None or n < job["count"]) and not duty[Duty.STOP]:
        size = int(least * (greatest / least) ** rng.random())
        text = {"text": scannable(rng, chars)} if (chars := job["extra"].get("text_chars")) else {}
        log_one(logger, duty, job["name"], thread, n, **text, **padding(size))
        n += 1
        if job["pause_ms"]:
            time.sleep(rng.uniform(0, job["pause_ms"] / 1000))


def leave_stats(duty: Duty, job: Mapping[str, Any], logger: structllm.ChatCompletionLogger) -> None:
    """Close the logger and leave its `stats()`: a clean end."""
    logger.flush()
    logger.close()
    path = os.path.join(job["directory"], f"{job['name']}.stats.json")
    with open(path, "w") as file:
        json.dump(logger.stats(), file)


def run(path: str) -> None:
    """Do a job from its file; what goes wrong is left in NAME.errors, where the judge finds it."""
    job, duty = begin(path)
    errors = os.path.join(job["directory"], f"{job['name']}.errors")

    def careful(thread: int) -> None:
        try:
            work(logger, duty, job, thread)
        except BaseException:
            with open(errors, "a") as file:
                file.write(traceback.format_exc())

    logger = build(job, duty)
    duty[Duty.READY] = 1
    threads = [threading.Thread(target=careful, args=(number,)) for number in range(1, job["threads"])]
    for thread in threads:
        thread.start()
    careful(0)
    for thread in threads:
        thread.join()
    if job["linger"]:
        until(lambda: duty[Duty.STOP], f"{job['name']} is told to stop", _LONGEST_LINGER_S)
    leave_stats(duty, job, logger)


def nursery() -> None:
    """Fork writers on request until stdin ends; then kill those that are left."""
    create_llm_logger(settings=SETTINGS, sinks=[]).close()  # load what is loaded on first use
    gc.freeze()  # collecting would copy every page into every writer
    path = serve()
    if path is not None:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _run_to_the_end(path)


def _run_to_the_end(path: str) -> NoReturn:
    """Do a job and exit without taking the interpreter down, which takes longer than most jobs."""
    status = 1
    try:
        run(path)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    if sys.argv[1] == "--nursery":
        nursery()
    else:
        run(sys.argv[1])
