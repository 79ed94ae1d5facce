"""Programs that write spools and archive them, in processes of their own. `archive_runs.py` starts and judges them."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

import boto3  # noqa: F401  # once, before programs are forked

from structllm import _backoff
from structllm._system import System
from structllm.archive.directory import DirectoryStore
from structllm.archive.s3 import S3Store
from structllm.archive.store import Found, Store, StoreUnavailable
from structllm.assemble import create_llm_logger
from structllm.sinks import archiver as archiver_module
from structllm.sinks import spooled
from structllm.sinks.archiver import Archiver, waiting_of
from structllm.sinks.sealing import SegmentSealer
from structllm.sinks.spool import Spool
from structllm.sinks.spooled import SpooledSink
from tests.faults import archive_mutants
from tests.faults.child import SETTINGS, leave_stats, log_one, padding
from tests.faults.harness import Duty, until
from tests.faults.systems import Hooked
from tests.standing_in import stand_in

SEGMENT_BYTES = 4_000
"""Of a segment that `fill` writes: some nine records."""

_ROUNDING_S = 1e-9


class Steps(Hooked):
    """Calls of the system and of a store, counted together, at any of which the process may be killed."""

    def over(self, store: Store) -> "SteppedStore":
        """Count the calls of a store as well."""
        return SteppedStore(store, self._hooked)

    def _due(self, name: str, arguments: tuple[Any, ...]) -> bool:
        plain = (bytes(each) if isinstance(each, memoryview) else each for each in arguments)
        return super()._due(name, (*plain,))

    def link(self, source: str, target: str) -> None:
        """Be a step in the middle of a put."""
        self._hooked("store_link", os.link)(source, target)


class SteppedStore:
    """A store each of whose calls is a step."""

    def __init__(self, store: Store, step: Callable[[str, Callable[..., Any]], Callable[..., Any]]) -> None:
        self.place = store.place
        self._store = store
        self._step = step

    def put(self, key: str, body: bytes, *, sha256: str, metadata: Mapping[str, str]) -> None:
        """Store an object."""

        def put(key: str) -> None:
            self._store.put(key, body, sha256=sha256, metadata=metadata)

        self._step("store_put", put)(key)

    def find(self, key: str) -> Found | None:
        """Find an object."""
        found: Found | None = self._step("store_find", self._store.find)(key)
        return found

    def open(self, key: str) -> AbstractContextManager[BufferedReader]:
        """Open an object."""
        return self._store.open(key)

    def under(self, prefix: str) -> Iterator[Found]:
        """List objects."""
        return self._store.under(prefix)

    def check(self) -> list[str]:
        """Find problems."""
        return self._store.check()


def store_of(extra: Mapping[str, Any], **options: Any) -> Store:
    """Return the store of a job: the bucket that it names, or the directory."""
    if extra.get("bucket"):
        os.environ.update(extra["environment"])
        return S3Store(**extra["bucket"])
    return DirectoryStore(extra["archive"], **options)


def leave(job: Mapping[str, Any], **told: Any) -> None:
    """Leave something for the test, whole at every moment."""
    path = Path(job["directory"]) / f"{job['name']}.told.json"
    path.with_suffix(".new").write_text(json.dumps(told))
    path.with_suffix(".new").rename(path)


def leave_at_once() -> NoReturn:
    """End without taking the interpreter down, which takes longer than most programs here."""
    os._exit(0)


# --- the programs ----------------------------------------------------------------------------------------------------


def fill(job: Mapping[str, Any], duty: Duty) -> None:
    """Log into segments of ten records, and be killed, or with `sealed` seal them first; `cloned` names are fixed."""
    extra = job["extra"]
    archive_mutants.apply(extra.get("damage"))
    if extra.get("cloned"):
        stand_in(System, token=lambda self: "0123456789ab", now=lambda self: 1_700_000_000.0)
        stand_in(socket, gethostname=lambda: "cloned")
    sink = SpooledSink(store_of(extra), extra["spool"], segment_max_bytes=SEGMENT_BYTES)
    logger = create_llm_logger(settings=SETTINGS, sinks=[sink])
    duty[Duty.READY] = 1
    for n in range(job["count"]):
        log_one(logger, duty, job["name"], 0, n, **padding(390))
    if extra.get("half_line"):
        path = sink.spool.open_segments()[-1].path
        with open(path, "ab") as file:
            file.write(b'{"event_type":"half of a li')
    if extra.get("lingers"):
        until(lambda: duty[Duty.STOP], "the test says to stop", 60.0)
        for n in range(job["count"], 2 * job["count"]):
            log_one(logger, duty, job["name"], 0, n, **padding(390))
    os.kill(os.getpid(), signal.SIGKILL)


def archive(job: Mapping[str, Any], duty: Duty) -> None:
    """Archive a spool until nothing is left, or `rounds` times; `pace` divides the delays between tries."""
    extra = job["extra"]
    archive_mutants.apply(extra.get("damage"))
    system = System()
    options: dict[str, Any] = {}
    if job["system"] is not None:
        system = Steps(duty, os.path.join(job["directory"], f"{job['name']}.trace.json"), **job["system"])
        options["link"] = system.link
    store = store_of(extra, **options)
    if isinstance(system, Steps):
        store = system.over(store)
    if extra.get("dns_fails"):
        _let_names_fail(extra["dns_fails"], job["seed"])
    spool = Spool(system, extra["spool"])
    spool.make()
    clock = _FastClock(extra.get("pace", 1.0))
    archiver = Archiver(spool, SegmentSealer(spool, extra.get("compression", "zstd")), store, clock=clock)
    duty[Duty.READY] = 1
    for _ in range(extra.get("rounds", 100_000)):
        again_s = archiver.run()
        leave(job, health=archiver.health(), waiting=waiting_of(spool), again_s=again_s)
        if again_s is None or duty[Duty.STOP]:
            break
        # As long as the archiver says, on the faster clock; at most a moment, for it is only too early then.
        time.sleep(min(0.02, max(0.0, again_s) / extra.get("pace", 1.0)))
    leave_at_once()


def retry(job: Mapping[str, Any], duty: Duty) -> None:
    """Try a store that is down, `tries` times by a clock that stands still meanwhile; leave the delays, in seconds."""
    extra = job["extra"]
    archive_mutants.apply(extra.get("damage"))
    spool = Spool(System(), extra["spool"])
    store, now_s, delays = DownStore(), 0.0, list[float]()
    archiver = Archiver(spool, SegmentSealer(spool, "zstd"), store, clock=lambda: now_s)
    duty[Duty.READY] = 1
    for _ in range(extra["tries"]):
        delays.append(archiver.run() or 0.0)
        due_s = now_s + delays[-1] + _ROUNDING_S
        now_s += delays[-1] / 2
        archiver.run()  # before its time: nothing is to be tried
        now_s = due_s
    leave(job, delays=delays, tries=store.tries)
    leave_at_once()


class DownStore:
    """A store that cannot be reached."""

    def __init__(self) -> None:
        self.place = "nowhere"
        self.tries = 0

    def put(self, key: str, body: bytes, *, sha256: str, metadata: Mapping[str, str]) -> None:
        """Fail."""
        self.tries += 1
        raise StoreUnavailable("connection", "no connection to nowhere")

    def find(self, key: str) -> Found | None:
        """Fail."""
        raise StoreUnavailable("connection", "no connection to nowhere")

    def open(self, key: str) -> AbstractContextManager[BufferedReader]:
        """Fail."""
        raise StoreUnavailable("connection", "no connection to nowhere")

    def under(self, prefix: str) -> Iterator[Found]:
        """Fail."""
        raise StoreUnavailable("connection", "no connection to nowhere")

    def check(self) -> list[str]:
        """Fail."""
        return ["no connection to nowhere"]


def host(job: Mapping[str, Any], duty: Duty) -> None:
    """Be a host program: log, go on living and tell its statistics, log more each time it is told to go on."""
    extra = job["extra"]
    archive_mutants.apply(extra.get("damage"))
    os.environ.update(extra.get("environment", {}))
    hasten()
    logger = create_llm_logger(settings=SETTINGS, sinks=job["sinks"])
    duty[Duty.READY] = 1
    n = 0
    while not duty[Duty.STOP]:
        while n < job["count"] * (duty[Duty.GO_ON] + 1):
            log_one(logger, duty, job["name"], 0, n, **padding(390))
            n += 1
            if n % job["count"] == 0 and not extra.get("keeps_open"):
                logger.flush(0.2)
        leave(job, **logger.stats()["sinks"])
        time.sleep(0.005)  # the test reads that again and again, and says when to go on or stop
    leave_stats(duty, job, logger)


def hasten() -> None:
    """Let sinks look for the segments of others, and try again, many times a second."""
    stand_in(spooled, _FIRST_SCAN_S=0.01, _RESCAN_S=0.1, _CLOSE_S=20.0)
    stand_in(_backoff, _FIRST_DELAY_S=0.01, _LONGEST_DELAY_S=0.05)
    stand_in(archiver_module, _BUSY_S=0.05, _RETRY_S=0.05)


class _FastClock:
    """A clock that runs so many times as fast as the real one."""

    def __init__(self, pace: float) -> None:
        self._pace = pace

    def __call__(self) -> float:
        return time.monotonic() * self._pace


def _let_names_fail(share: float, seed: int) -> None:
    """Let this share of the look-ups of hosts fail."""
    import random

    rng = random.Random(seed)
    real = socket.getaddrinfo

    def getaddrinfo(*arguments: Any, **options: Any) -> Any:
        if rng.random() < share:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(*arguments, **options)

    stand_in(socket, getaddrinfo=getaddrinfo)
