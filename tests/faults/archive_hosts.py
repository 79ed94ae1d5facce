"""Programs of hosts whose archive is away or whose spool is full or hurt; see `archiving.py`."""

import ctypes
import os
import resource
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from structllm.archive.directory import DirectoryStore
from structllm.archive.store import StoreUnavailable
from structllm.assemble import create_llm_logger
from structllm.errors import StructllmError
from structllm.sinks.registry import load_sink_config
from structllm.sinks.spooled import SpooledSink
from tests.faults import archive_mutants
from tests.faults.archiving import hasten, leave
from tests.faults.child import SETTINGS, leave_stats, log_one, padding
from tests.faults.harness import Duty, until
from tests.waiting import comes_true

MOST_TRIES = 40
SPOOL_BYTES = 10_000_000
RECORD_BYTES = 250_000
_FIELDS = 5


class Switched(DirectoryStore):
    """A directory that cannot be reached until the test lets it."""

    def __init__(self, path: str, duty: Duty, fails_after_s: float) -> None:
        super().__init__(path)
        self._duty = duty
        self._fails_after_s = fails_after_s

    def put(self, key: str, body: bytes, *, sha256: str, metadata: Mapping[str, str]) -> None:
        """Fail after a moment, or store."""
        if not self._duty[Duty.GO_ON]:
            self._duty[Duty.SPARE] += 1
            time.sleep(self._fails_after_s)  # as a connection that is refused, or not answered, takes
            raise StoreUnavailable("connection", "no connection")
        super().put(key, body, sha256=sha256, metadata=metadata)


class Held(DirectoryStore):
    """A directory where the first put waits for the test."""

    def __init__(self, path: str, duty: Duty) -> None:
        super().__init__(path)
        self._duty = duty
        self.renewed = 0

    def put(self, key: str, body: bytes, *, sha256: str, metadata: Mapping[str, str]) -> None:
        """Store, when the test lets it."""
        self._duty[Duty.REACHED] += 1
        until(lambda: self._duty[Duty.GO_ON], "the put may go on")
        super().put(key, body, sha256=sha256, metadata=metadata)

    def reset_after_fork(self) -> None:
        """Note that somebody cares."""
        self.renewed += 1


# --- the programs ----------------------------------------------------------------------------------------------------


def beside(job: Mapping[str, Any], duty: Duty) -> None:
    """Log by turns to an archive that works and to one that does not; then let it work."""
    extra = job["extra"]
    archive_mutants.apply(extra["damage"])
    stores = (DirectoryStore(extra["archive"]), Switched(extra["archive"], duty, extra["fails_after_s"]))
    spools = (extra["beside"], extra["spool"])
    loggers = [
        create_llm_logger(
            settings=SETTINGS, sinks=[SpooledSink(store, spool, segment_max_bytes=extra["segment_max_bytes"])]
        )
        for store, spool in zip(stores, spools, strict=True)
    ]
    took: tuple[list[float], list[float]] = ([], [])
    before = _resident_bytes()
    n = [0, 0]
    for block in range(extra["blocks"]):
        for which in (0, 1) if block % 2 else (1, 0):
            started = time.perf_counter()
            for _ in range(extra["block"]):
                log_one(loggers[which], duty, job["name"], which, n[which])
                n[which] += 1
            took[which].append(time.perf_counter() - started)
    grown = _resident_bytes() - before
    comes_true(lambda: duty[Duty.SPARE] > MOST_TRIES, 1.0)  # now that nobody logs, tries would be quick
    tries = duty[Duty.SPARE]
    health = next(iter(loggers[1].stats()["sinks"].values()))["health"]
    duty[Duty.GO_ON] = 1
    arrived = [logger.flush(20.0) for logger in loggers]
    ratio = statistics.median(took[1]) / statistics.median(took[0])
    leave(job, ratio=ratio, grown=grown, tries=tries, health=health, arrived=arrived)
    loggers[0].close()
    leave_stats(duty, job, loggers[1])


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def flood(job: Mapping[str, Any], duty: Duty) -> None:
    """Log more than the spool may hold, of what hardly becomes smaller; go on when there is space again."""
    extra = job["extra"]
    archive_mutants.apply(extra["damage"])
    sink = SpooledSink(DirectoryStore(extra["archive"]), extra["spool"], spool_max_bytes=SPOOL_BYTES)
    logger = create_llm_logger(settings=SETTINGS, sinks=[sink])
    duty[Duty.READY] = 1
    for n in range(extra["records"]):
        noise = os.urandom(RECORD_BYTES // 2).hex()
        size = len(noise) // _FIELDS
        fields = {f"noise{at}": noise[at * size : (at + 1) * size] for at in range(_FIELDS)}
        log_one(logger, duty, job["name"], 0, n, **fields)
    duty[Duty.REACHED] = 1
    until(lambda: duty[Duty.GO_ON], "there is space again")
    logger.flush(20.0)
    for n in range(extra["records"], extra["records"] + 20):
        time.sleep(0.002)  # a sink that failed is left alone for some milliseconds
        log_one(logger, duty, job["name"], 0, n)
    leave_stats(duty, job, logger)


def forks(job: Mapping[str, Any], duty: Duty) -> None:
    """Fork in the middle of a put; the child lives on, and the parent archives on."""
    extra = job["extra"]
    hasten()
    store = Held(extra["archive"], duty)
    logger = create_llm_logger(settings=SETTINGS, sinks=[SpooledSink(store, extra["spool"])])
    log_one(logger, duty, job["name"], 0, 0)
    logger.flush(0.1)
    until(lambda: duty[Duty.REACHED], "the put has begun")
    pid = os.fork()
    if not pid:
        duty[Duty.SPARE] = store.renewed
        until(lambda: duty[Duty.STOP], "the parent is done")
        os._exit(0)
    duty[Duty.GO_ON] = 1
    log_one(logger, duty, job["name"], 0, 1)
    arrived = logger.flush(3.0)
    duty[Duty.STOP] = 1
    os.waitpid(pid, 0)
    leave(job, arrived=arrived, renewed=duty[Duty.SPARE])
    leave_stats(duty, job, logger)


def hurt(job: Mapping[str, Any], duty: Duty) -> None:
    """Log while the spool cannot be written, and on when it can again."""
    extra = job["extra"]
    hasten()
    _be_no_superuser()
    config = load_sink_config(job["sinks"][0])
    logger = create_llm_logger(settings=SETTINGS, sinks=[config])
    (spool,) = Path(extra["spool"]).iterdir()
    n = 0

    def log(count: int) -> None:
        nonlocal n
        for _ in range(count):
            time.sleep(0.002)  # a sink that failed is left alone for some milliseconds
            log_one(logger, duty, job["name"], 0, n, **padding(2000))
            n += 1

    log(10)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if extra["how"] == "read_only":
        for path in (spool, *(path for path in spool.iterdir() if path.is_dir())):
            path.chmod(0o500)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, limits[1]))
    log(10)
    logger.flush(0.2)
    log(10)
    problems = config.check()
    during = logger.stats()["sinks"]["directory"]
    for path in (spool, *(path for path in spool.iterdir() if path.is_dir())):
        path.chmod(0o700)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log(10)
    logger.flush(10.0)
    leave(job, problems=problems, during=during)
    leave_stats(duty, job, logger)


def _be_no_superuser() -> None:
    """Give up the right to pass over the permissions of files, where this is run by root."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    none = (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, none) == 0


def examine(job: Mapping[str, Any], duty: Duty) -> None:
    """Have a sink checked, as `structllm doctor` does, and log to it all the same where it can be built."""
    extra = job["extra"]
    os.environ.update(extra["environment"])
    if extra["no_boto3"]:
        sys.modules["boto3"] = None  # type: ignore[assignment]  # how `import` is told that there is none
    hasten()
    config = load_sink_config(job["sinks"][0])
    problems = config.check()
    try:
        logger = create_llm_logger(settings=SETTINGS, sinks=[config])
    except StructllmError as error:
        leave(job, problems=problems, refused=str(error))
        os._exit(0)
    for n in range(10):
        log_one(logger, duty, job["name"], 0, n)
    logger.flush(0.5)
    leave(job, problems=problems, **logger.stats()["sinks"])
    os._exit(0)
