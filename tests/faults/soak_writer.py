"""A writer of the soak: it logs until it is told to stop, forks children that log, and tells how it is."""

import contextlib
import json
import os
import random
import resource
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from structllm._types import Record
from structllm.assemble import create_llm_logger
from structllm.errors import SinkUnavailable
from structllm.sinks.config import SinkConfig
from structllm.sinks.file import FileSink
from tests.faults.child import SETTINGS, padding
from tests.faults.harness import Duty

THREADS = 2
BY_CHILDREN = THREADS
"""The number under which the forked children of a writer log."""

MAX_BYTES = 500_000
SAMPLE_S = 0.5


class Witness(FileSink):
    """The file sink, which says in `took` whether it took the last record of this thread."""

    took = threading.local()

    def write(self, batch: Sequence[Record], /) -> None:
        """Write, and say so."""
        super().write(batch)
        self.took.it = True


class Moody:
    """A sink that stalls and fails at random."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def write(self, batch: Sequence[Record], /) -> None:
        """Stall, or fail, or take the batch."""
        mood = self._rng.random()
        if mood < 0.05:
            time.sleep(self._rng.uniform(0, 1))  # the stall
        elif mood < 0.2:
            raise SinkUnavailable("moody", taken=self._rng.randrange(len(batch)))

    def flush(self, timeout_s: float, /) -> bool:
        """Say that everything is there."""
        return True

    def close(self) -> None:
        """Do nothing."""


class MoodyConfig(SinkConfig):
    """Its settings."""

    type: Literal["moody"] = "moody"
    seed: int

    def build(self) -> Moody:
        """Return it."""
        return Moody(self.seed)

    def check(self) -> list[str]:
        """Nothing to check."""
        return []


class Talker:
    """A writer of the soak: logs until stopped, forks children that log, and sends samples of itself."""

    def __init__(self, job: Mapping[str, Any], duty: Duty) -> None:
        self._job = job
        self._duty = duty
        self._rng = random.Random(job["seed"])
        file = Witness(job["log"], max_bytes=MAX_BYTES, backup_count=1000)
        queue: dict[str, Any] = {"delivery": "background", "on_full": "drop_oldest", "queue_max_items": 100}
        beside: list[Any] = [MoodyConfig(seed=job["seed"], **queue), {"type": "stdout", **queue}]
        self._logger = create_llm_logger(settings=SETTINGS, sinks=[file, *beside])
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def run(self) -> None:
        """Do it all."""
        threads = [threading.Thread(target=self._log, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        self._duty[Duty.READY] = 1
        fork_at_s = sample_at_s = 0.0
        while not self._duty[Duty.STOP]:
            if time.monotonic() >= sample_at_s:
                sample_at_s = time.monotonic() + SAMPLE_S
                self._send()
            if time.monotonic() >= fork_at_s:
                fork_at_s = time.monotonic() + self._rng.uniform(0.5, 3.0)
                self._fork()
            time.sleep(0.02)  # the time of the threads that log
        for thread in threads:
            thread.join()
        self._logger.flush()
        self._logger.close()
        self._send()

    def _log(self, number: int) -> None:
        rng = random.Random(f"{self._job['seed']}.{number}")
        while not self._duty[Duty.STOP]:
            self._log_one(number, rng)
            time.sleep(rng.uniform(0, 0.02))  # the pace of a thread: the soak is long, not fast

    def _log_one(self, number: int, rng: random.Random) -> None:
        """Log the next record of a thread, and owe it if the file sink took it; else the number is used again."""
        who = f"{self._job['name']}.{number}"
        Witness.took.it = False
        fields = padding(int(250 * 80 ** rng.random()))
        self._logger.log_decision_outcome(who, "soak", who=who, n=self._duty.counts[number], **fields)
        if Witness.took.it:
            self._duty.returned(number)

    def _fork(self) -> None:
        pid = os.fork()
        if not pid:
            try:
                for _ in range(10):
                    self._log_one(BY_CHILDREN, self._rng)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        self._duty[Duty.SPARE] += 1

    def _send(self) -> None:
        with open("/proc/self/statm") as file:
            rss_bytes = int(file.read().split()[1]) * resource.getpagesize()
        sample = {
            "name": self._job["name"],
            "rss_bytes": rss_bytes,
            "files": len(os.listdir("/proc/self/fd")),
            "sinks": self._logger.stats()["sinks"],
        }
        with contextlib.suppress(OSError):
            self._socket.sendto(json.dumps(sample).encode(), self._job["extra"]["socket"])


def talk(job: Mapping[str, Any], duty: Duty) -> None:
    """Be a writer of the soak."""
    Talker(job, duty).run()
