"""Fault case 22: a sink that takes far longer than the callers, a queue of 64 MiB before it, and events of 1 MB.

The thread with number 0 of the writer stands for its large events, number 1 for its decisions, which a tenth of the
queue is kept for.
"""

import json
import resource
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson
import pytest

from structllm import _queue
from structllm._account import Account
from structllm._types import Record
from structllm.assemble import create_llm_logger
from structllm.sinks.config import SinkConfig
from structllm.sinks.file import FileSink
from tests.faults.cases import fixtures, program
from tests.faults.child import SETTINGS, leave_stats, log_one, padding
from tests.faults.harness import Duty, Harness, Job, caught
from tests.standing_in import stand_in

COUNT = 1000
LARGE_BYTES = 1_000_000
DECISION_BYTES = 50_000
EVENTS_PER_DECISION = 10
SLEEP_S = 0.02
BLOCK_S = 0.001
QUEUE_BYTES = 64 * 1024 * 1024
MOST_RSS_BYTES = int(QUEUE_BYTES * 1.2)
"""What memory may grow by: the queue and a fifth."""


class Slow:
    """Sleeps for each record, and then writes what is needed to recognise it to a file.

    Attributes:
        healed: Set it, and the sink sleeps no more.
    """

    def __init__(self, path: str, sleep_s: float) -> None:
        self.healed = threading.Event()
        self._file = FileSink(path)
        self._sleep_s = sleep_s

    def write(self, batch: Sequence[Record], /) -> None:
        """Take one record after the other."""
        for record in batch:
            self.healed.wait(self._sleep_s)
            event = {name: value for name, value in orjson.loads(record.line).items() if not name.startswith("pad")}
            self._file.write([record._replace(line=orjson.dumps(event) + b"\n")])

    def flush(self, timeout_s: float, /) -> bool:
        """Flush the file."""
        return self._file.flush(timeout_s)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class SlowConfig(SinkConfig):
    """Settings of the slow sink."""

    type: Literal["slow"] = "slow"
    path: str
    sleep_s: float

    def build(self) -> Slow:
        """Return it."""
        return Slow(self.path, self.sleep_s)

    def check(self) -> list[str]:
        """Nothing to check."""
        return []


# --- the program -----------------------------------------------------------------------------------------------------


def flood(job: Mapping[str, Any], duty: Duty) -> None:
    """Log large events faster than the sink takes them; then heal it, and see what it says of the ones it missed."""
    damage(job)
    sink = SlowConfig(path=job["log"], sleep_s=SLEEP_S, **job["extra"]["sink"])
    logger = create_llm_logger(settings=SETTINGS, sinks=[sink])
    slow: Any = logger._log.emitter.fan_out.routes[0].sink
    name = job["name"]
    duty[Duty.READY] = 1
    for n in range(3):  # what is loaded and allowed for at the first large event is not the queue's
        log_one(logger, duty, name, 0, n, **padding(LARGE_BYTES))
    logger.flush()
    base_bytes = peak_bytes = rss_bytes()
    began_s = time.monotonic()
    for n in range(3, job["count"]):
        log_one(logger, duty, name, 0, n, **padding(LARGE_BYTES))
        if n % EVENTS_PER_DECISION == 0:
            fields: dict[str, Any] = {**padding(DECISION_BYTES), "who": f"{name}.1", "n": n // EVENTS_PER_DECISION - 1}
            logger.log_trading_decision(action="HOLD", **fields)
            duty.returned(1)
            peak_bytes = max(peak_bytes, rss_bytes())
    caller_s = time.monotonic() - began_s
    peak_bytes = max(peak_bytes, rss_bytes())
    slow.healed.set()
    logger.flush()
    log_one(logger, duty, name, 0, job["count"])
    logger.flush()
    observed = {"caller_s": caller_s, "growth_bytes": peak_bytes - base_bytes}
    Path(job["directory"], f"{name}.observed.json").write_text(json.dumps(observed))
    leave_stats(duty, job, logger)


def rss_bytes() -> int:
    """Return how much memory this process has now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


# --- mutants ---------------------------------------------------------------------------------------------------------


def damage(job: Mapping[str, Any]) -> None:
    """Take something away on which the bounds of the queue rest."""
    mutant = job["extra"].get("mutant")
    if mutant == "unbounded":
        stand_in(_queue.BoundedQueue, _fits=lambda self, record, items, size_bytes: True)
    if mutant == "events_are_kept":
        stand_in(_queue, LineEvent=lambda record: record.event)
    if mutant == "no_reserve":
        _queue._RESERVE = 1_000_000_000
    if mutant == "no_report":
        stand_in(Account, take_gap=lambda self: None)
    if mutant == "drops_are_not_counted":
        stand_in(Account, drop=lambda self, record, reason: None)


# --- the judge -------------------------------------------------------------------------------------------------------


brood, harness = fixtures(__name__)


def flooded(harness: Harness, on_full: str, count: int = COUNT, mutant: str | None = None, **sink: object) -> list[str]:
    """Flood a slow sink; return what is wrong: memory (M), time (T), what is told of the gap (G), and as usual."""
    sink = {"delivery": "background", "on_full": on_full, "block_timeout_s": BLOCK_S, **sink}
    writer = harness.start(program(flood, Job(threads=2, count=count), sink=sink, mutant=mutant))
    writer.wait()
    # What may be missing are the large ones, and nothing else.
    found = [violation for violation in harness.judge(lossless=False) if not violation.startswith("O w0.0 ")]
    observed = json.loads((harness.log.parents[1] / "w0.observed.json").read_text())
    print(observed, account := writer.sink_stats("slow"))
    if observed["growth_bytes"] > MOST_RSS_BYTES:
        found.append(f"M {observed['growth_bytes']:,} bytes more")
    # The sink would have needed all of this for all; half of it is no waiting for the sink.
    if observed["caller_s"] > count * SLEEP_S / 2:
        found.append(f"T {observed['caller_s']:.1f} s for the callers")
    events = [line.event for line in harness.lines() if line.event is not None]
    if len(events) != account["delivered"]:
        found.append(f"C {len(events)} records in the log, {account['delivered']} delivered")
    if count not in {event.get("n") for event in events}:
        found.append("L the record after the flood is not there")
    if set(account["dropped"]) != {"queue_full"}:
        found.append(f"C dropped for {account['dropped']}")
    told: Counter[str] = Counter()
    for event in events:
        if event["event_type"] == "log_gap":
            told.update(event["dropped"])
    if told != account["dropped"]:
        found.append(f"G {dict(told)} told, {account['dropped']} dropped")
    return found


class TestSlowSink:
    @pytest.mark.parametrize("on_full", ["drop_newest", "drop_oldest", "block"])
    def test_bounds(self, harness: Harness, on_full: str) -> None:
        """Memory grows by the queue alone, callers do not wait for the sink (or no longer than they may), decisions
        are not dropped, every dropped record is counted, and told in `log_gap` when the sink is back."""
        assert [] == flooded(harness, on_full)

    @pytest.mark.parametrize(
        ("mutant", "on_full", "count", "letters"),
        [
            ("unbounded", "drop_newest", 150, "M"),
            ("events_are_kept", "drop_newest", 150, "M"),
            ("no_reserve", "drop_newest", COUNT, "O"),
            ("no_report", "drop_newest", 100, "G"),
            ("drops_are_not_counted", "drop_oldest", 100, "C"),
        ],
    )
    def test_catches(self, harness: Harness, mutant: str, on_full: str, count: int, letters: str) -> None:
        """The test fails where the queue has no bound, keeps the events beside their lines or has no reserve, and
        where what was dropped is not told or not counted."""
        found = flooded(harness, on_full, count, mutant)
        assert caught(found, letters), found

    def test_catches_waiting(self, harness: Harness) -> None:
        """The test fails where the callers wait for the sink."""
        found = flooded(harness, "block", 60, queue_max_bytes=2_097_152, block_timeout_s=60.0)
        assert caught(found, "T"), found
