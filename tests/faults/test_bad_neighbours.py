"""Fault case 24: processors, sinks, a redactor and clocks that do what they must not, beside a file that gets all.

In each process one neighbour misbehaves while 200 records are logged. The file sink beside it has to get every record,
in order, and the misbehaviour is to cost nothing but its own part.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

import pytest

import structllm
from structllm import _delivery, _emitter, _fanout, _process
from structllm._system import System
from structllm._types import Record
from structllm.assemble import create_llm_logger
from structllm.errors import SinkRejected, SinkUnavailable
from structllm.processors.redact import Redact
from structllm.sinks.config import SinkConfig
from structllm.sinks.file import FileSink
from structllm.sinks.upkeep import Upkeep
from tests.faults.cases import fixtures, program, stderr_of
from tests.faults.child import SETTINGS, log_one, padding
from tests.faults.harness import TIMEOUT_S, Duty, Harness, Writer, caught, until
from tests.standing_in import stand_in
from tests.waiting import comes_true

COUNT = 200
HANG_S = 60.0
CLOSE_S = 0.5
SLOW_FAILURE_S = 0.002
"""The sink that fails rests for a hundred times as long."""

Logger = structllm.ChatCompletionLogger


# --- sinks and processors --------------------------------------------------------------------------------------------


class Bad:
    """A sink whose every method calls `misbehave`, until that is None."""

    def __init__(self) -> None:
        self.misbehave: Callable[[Sequence[Record]], object] | None = None
        self.lines: list[bytes] = []
        self.tries = 0

    def write(self, batch: Sequence[Record], /) -> None:
        """Misbehave, or keep the lines."""
        self.tries += 1
        if self.misbehave is not None:
            self.misbehave(batch)
        self.lines += [record.line for record in batch]

    def flush(self, timeout_s: float, /) -> bool:
        """Misbehave."""
        if self.misbehave is not None:
            self.misbehave(())
        return True

    def close(self) -> None:
        """Misbehave."""
        if self.misbehave is not None:
            self.misbehave(())


class BadConfig(SinkConfig):
    """Its settings."""

    type: Literal["bad"] = "bad"

    def build(self) -> Bad:
        """Return it."""
        return Bad()

    def check(self) -> list[str]:
        """Nothing to check."""
        return []


def with_bad_sink(job: Mapping[str, Any], **options: Any) -> tuple[Logger, Bad]:
    """Return a logger that writes to a bad sink first, and then to the log; and the bad sink."""
    delivery = job["extra"].get("delivery", "direct")
    sinks: list[Any] = [BadConfig(delivery=delivery), {"type": "file", "path": job["log"], "delivery": delivery}]
    logger = create_llm_logger(settings=options.pop("settings", SETTINGS), sinks=sinks, **options)
    bad: Any = logger._log.emitter.fan_out.routes[0].sink
    return logger, bad


def log_all(logger: Logger, job: Mapping[str, Any], duty: Duty, **fields: Any) -> None:
    """Log and owe all records."""
    duty[Duty.READY] = 1
    for n in range(COUNT):
        log_one(logger, duty, job["name"], 0, n, **fields)


def leave(job: Mapping[str, Any], logger: Logger, **observed: object) -> None:
    """Close the logger without much patience, and leave `stats()` and what was observed."""
    stand_in(_fanout, CLOSE_TIMEOUT_S=CLOSE_S)
    stand_in(_process, CLOSE_TIMEOUT_S=CLOSE_S)
    logger.close()
    Path(job["directory"], f"{job['name']}.observed.json").write_text(json.dumps(observed))
    Path(job["directory"], f"{job['name']}.stats.json").write_text(json.dumps(logger.stats()))


def await_file(logger: Logger, job: Mapping[str, Any]) -> None:
    """Wait until the log has what its neighbour may never take."""
    file = logger._log.emitter.fan_out.routes[1].delivery
    patience_s = job["extra"].get("patience_s", TIMEOUT_S)
    until(lambda: file.stats()["delivered"] >= COUNT, "the file gets everything", patience_s)


# --- the programs: each is one neighbour -----------------------------------------------------------------------------


def raising_processor(job: Mapping[str, Any], duty: Duty) -> None:
    """Every event meets a processor that raises, one that returns nothing, and one that takes the envelope away."""

    def raises(logger: object, name: str, event: Any) -> Any:
        raise ValueError

    def returns_nothing(logger: object, name: str, event: Any) -> Any:
        return None

    def takes_away(logger: object, name: str, event: Any) -> Any:
        return {"who": event["who"], "n": event["n"]}

    logger, _ = with_bad_sink(job, processors=[raises, returns_nothing, takes_away])
    log_all(logger, job, duty)
    leave(job, logger, errors=logger.stats()["processor_errors"])


def raising_redactor(job: Mapping[str, Any], duty: Duty) -> None:
    """Redaction raises at every event: what it should have looked at must not be written."""

    def raises(self: Redact, logger: object, name: str, event: Any) -> Any:
        raise ValueError

    stand_in(Redact, __call__=raises)
    logger, _ = with_bad_sink(job, settings={**SETTINGS, "redaction": {"enabled": True}})
    log_all(logger, job, duty, rationale=job["extra"]["secret"], notes={"nested": [job["extra"]["secret"]]})
    leave(job, logger)


def raising_sink(job: Mapping[str, Any], duty: Duty) -> None:
    """A sink raises, each time something else."""
    errors: list[Callable[[], Exception]] = [
        ValueError,
        lambda: SinkRejected("planted"),
        lambda: SinkUnavailable("planted"),
        MemoryError,
        RuntimeError,
    ]
    logger, bad = with_bad_sink(job)

    def raises(batch: Sequence[Record]) -> None:
        raise errors[bad.tries % len(errors)]()

    bad.misbehave = raises
    log_all(logger, job, duty)
    await_file(logger, job)
    flushed = logger.flush(0.1)
    leave(job, logger, flushed=flushed)


def hanging_sink(job: Mapping[str, Any], duty: Duty) -> None:
    """A sink hangs in the background for a minute, in write, flush and close."""
    logger, bad = with_bad_sink(job)
    bad.misbehave = lambda batch: time.sleep(HANG_S)
    log_all(logger, job, duty)
    await_file(logger, job)
    flushed = logger.flush(0.1)
    leave(job, logger, flushed=flushed)


def logging_sink(job: Mapping[str, Any], duty: Duty) -> None:
    """A sink logs about each record that it gets, and so does a processor about each event."""
    depth = threading.local()
    deepest = 0

    def log_within() -> None:
        nonlocal deepest
        depth.now = getattr(depth, "now", 0) + 1
        deepest = max(deepest, depth.now)
        logger.log_decision_outcome("d", "within")
        depth.now -= 1

    def processor(_: object, name: str, event: Any) -> Any:
        log_within()
        return event

    logger, bad = with_bad_sink(job, processors=[processor])
    bad.misbehave = lambda batch: log_within()
    log_all(logger, job, duty)
    leave(job, logger, deepest=deepest, refused=logger.stats()["refused_as_nested"])


def failing_slowly(job: Mapping[str, Any], duty: Duty) -> None:
    """A sink fails slowly, and is repaired."""
    logger, bad = with_bad_sink(job)

    def fails(batch: Sequence[Record]) -> None:
        time.sleep(SLOW_FAILURE_S)  # the slowness
        raise SinkUnavailable("planted")

    bad.misbehave = fails
    log_all(logger, job, duty)
    tries = bad.tries
    bad.misbehave = None
    n = COUNT

    def delivered() -> bool:
        nonlocal n
        if not bad.lines:
            log_one(logger, duty, job["name"], 0, n)
            n += 1
        return bool(bad.lines)

    comes_true(delivered, job["extra"].get("patience_s", TIMEOUT_S))
    gaps = [event for event in map(json.loads, bad.lines) if event["event_type"] == "log_gap"]
    leave(job, logger, tries=tries, told=[gap["dropped"] for gap in gaps], logged=n)


class WrongSystem(System):
    """An operating system whose clock goes wrong by the day at every look."""

    def __init__(self, kind: str) -> None:
        self._jump = wrong_clocks()[kind]

    def now(self) -> float:
        """Return a time that is a day off, or stands still."""
        return self._jump().timestamp()


def wrong_clocks() -> Mapping[str, Callable[[], datetime]]:
    """Return clocks by what is wrong with them."""
    day, began, calls = timedelta(days=1), datetime.now(UTC), iter(range(10**9))
    return {
        "right": lambda: datetime.now(UTC),
        "jumping": lambda: datetime.now(UTC) + day * (next(calls) % 3 - 1),
        "a day back": lambda: datetime.now(UTC) - day,
        "frozen": lambda: began,
        "naive": datetime.now,
        "odd zone": lambda: datetime.now(timezone(timedelta(hours=5, minutes=45, seconds=7))),
    }


def wrong_clock(job: Mapping[str, Any], duty: Duty) -> None:
    """Both clocks are wrong, that of the logger and that of the operating system, while files fill and rotate."""
    kind = job["extra"]["kind"]
    limits: dict[str, Any] = {
        "max_bytes": 10_000,
        "backup_count": 1000,
        "max_age_s": 60.0 if kind == "a day back" else None,
    }
    sink = FileSink(job["log"], system=WrongSystem(kind), **limits)
    logger = create_llm_logger(settings=SETTINGS, sinks=[sink], clock=wrong_clocks()[kind])
    log_all(logger, job, duty, **padding(400))
    sink._keep_up()  # what is done from time to time, once more now
    leave(job, logger, rotations=sink.health()["rotations"], names=sorted(names_in(Path(job["log"]).parent)))


def names_in(directory: Path) -> Iterator[str]:
    """Yield the names of the files in a directory."""
    yield from (path.name for path in directory.iterdir())


# --- mutants ---------------------------------------------------------------------------------------------------------


def mutant(job: Mapping[str, Any], duty: Duty) -> None:
    """Take something away on which the isolation rests, and run the program of a neighbour."""
    extra = job["extra"]
    name = extra["mutant"]
    if name == "processors_are_trusted":

        def survive(self: object, processor: object, error: Exception, event: object) -> Any:
            raise error

        stand_in(_emitter.Emitter, _survive=survive)
    elif name == "redaction_fails_open":
        stand_in(Redact, on_error=lambda self, event_dict: event_dict)
    elif name == "sinks_share_errors":

        def failed(self: object, record: Record, error: BaseException) -> str:
            raise error

        stand_in(_delivery.DirectDelivery, _failed=failed)
    elif name == "no_bound_on_nesting":
        _emitter._MAX_NESTING = 3
    elif name == "no_breaker":
        _delivery._FAILURES_TO_OPEN = 1_000_000
    elif name == "never_tried_again":
        _delivery._SHORTEST_REST_S = _delivery._LONGEST_REST_S = 3600.0
    elif name == "age_without_sign":
        stand_in(Upkeep, is_too_old=lambda self, generation: abs(self._system.now() - generation.begun_at()) > 60)
    elif name == "numbers_from_the_clock":
        real = _emitter.Emitter._begin

        def begin(self: Any) -> None:
            real(self)
            self._seq = iter(lambda: int(datetime.fromisoformat(self.now()).timestamp()), None)

        stand_in(_emitter.Emitter, _begin=begin)
    globals()[extra["neighbour"]](job, duty)


# --- the judge -------------------------------------------------------------------------------------------------------


brood, harness = fixtures(__name__)


class Beside:
    """A log that was written beside one bad neighbour.

    Args:
        harness: Of the log.
        neighbour: The program.
        extra: For the program; with `mutant`, a damaged one.
    """

    def __init__(self, harness: Harness, neighbour: Callable[..., None], **extra: object) -> None:
        job = program(mutant if "mutant" in extra else neighbour, None, **extra, neighbour=neighbour.__name__)
        self.writer: Writer = harness.start(job)
        self.writer.wait()
        print(stderr_of(harness, self.writer))
        self.found = harness.judge(lossless=False)
        self.events: list[dict[str, Any]] = [line.event for line in harness.lines() if line.event is not None]
        observed = harness.log.parents[1] / f"{self.writer.name}.observed.json"
        self.observed: dict[str, Any] = json.loads(observed.read_text()) if observed.exists() else {}

    def account(self, sink: str) -> dict[str, Any]:
        """Return the account of a sink: accepted, delivered, dropped and pending."""
        account = self.writer.sink_stats(sink)
        return {name: account[name] for name in ("accepted", "delivered", "dropped", "pending")}


class TestProcessors:
    def test_raising(self, harness: Harness) -> None:
        """Processors that raise, return nothing or damage the envelope cost their own part of the event alone."""
        beside = Beside(harness, raising_processor)
        assert [] == beside.found
        errors = {"raises": COUNT, "returns_nothing": COUNT, "envelope": COUNT}
        assert errors == beside.observed["errors"]
        assert all("level" in event and "timestamp" in event for event in beside.events)

    def test_raising_redactor(self, harness: Harness) -> None:
        """Where redaction raises, every record is written, and nothing of the text that it should have looked at."""
        assert [] == hidden(harness)

    def test_catches_trust(self, harness: Harness) -> None:
        """The test fails where an error of a processor costs the event."""
        found = Beside(harness, raising_processor, mutant="processors_are_trusted").found
        assert caught(found, "O"), found

    def test_catches_open_failure(self, harness: Harness) -> None:
        """The test fails where redaction that raises lets the text through."""
        found = hidden(harness, mutant="redaction_fails_open")
        assert caught(found, "R"), found


def hidden(harness: Harness, **extra: object) -> list[str]:
    """Return what is wrong after redaction raised; R where the secret is in the log."""
    secret = f"planted {harness.rng.getrandbits(64):x}"
    beside = Beside(harness, raising_redactor, secret=secret, **extra)
    # The names of the threads are a text that redaction looks at, too.
    found = [violation for violation in beside.found if violation[0] not in "OD"]
    if [event["n"] for event in beside.events] != list(range(COUNT)):
        found.append(f"O {len(beside.events)} records")
    if exposed := sum(secret in json.dumps(event) for event in beside.events):
        found.append(f"R {exposed} records show it")
    return found


class TestSinks:
    @pytest.mark.parametrize("delivery", ["direct", "background"])
    def test_raising(self, harness: Harness, delivery: str) -> None:
        """A sink that raises anything at all costs the file no record and the host no exception."""
        beside = Beside(harness, raising_sink, delivery=delivery)
        assert [] == beside.found
        assert {} == beside.account("file")["dropped"]
        assert (0, False) == (beside.account("bad")["delivered"], beside.observed["flushed"])

    def test_hanging(self, harness: Harness) -> None:
        """A background sink that hangs keeps neither the file from its records nor the process from closing."""
        beside = Beside(harness, hanging_sink, delivery="background")
        assert [] == beside.found
        assert ({}, False) == (beside.account("file")["dropped"], beside.observed["flushed"])
        dropped = {"accepted": COUNT, "delivered": 0, "dropped": {"shutdown_abandoned": COUNT}, "pending": 0}
        assert dropped == beside.account("bad")

    def test_logging(self, harness: Harness) -> None:
        """A sink or processor that logs about what it handles is one level deep at most, and its refused events are
        counted."""
        beside = Beside(harness, logging_sink)
        assert [] == beside.found
        assert 2 == beside.observed["deepest"]  # the second one within is refused
        assert COUNT < beside.observed["refused"]

    def test_failing_slowly(self, harness: Harness) -> None:
        """A sink that fails slowly is left alone after five failures, and takes records again when it is repaired,
        after one event about those that it missed."""
        assert [] == rested(harness)

    def test_catches_shared_errors(self, harness: Harness) -> None:
        """The test fails where the error of one sink keeps the record from the next one."""
        found = Beside(harness, raising_sink, mutant="sinks_share_errors", patience_s=0.5).found
        assert caught(found, "OX"), found

    def test_catches_waiting(self, harness: Harness) -> None:
        """The test fails where the sink that hangs is called by the thread that logs."""
        writer = harness.start(program(hanging_sink, delivery="direct"))
        with pytest.raises(AssertionError, match="has not ended"):
            writer.wait(1.0)

    def test_catches_recursion(self, harness: Harness) -> None:
        """The test fails where what is logged within an event may go on."""
        beside = Beside(harness, logging_sink, mutant="no_bound_on_nesting", delivery="direct")
        assert 2 < beside.observed["deepest"]

    @pytest.mark.parametrize(("mutant", "letters"), [("no_breaker", "B"), ("never_tried_again", "L")])
    def test_catches_breaker(self, harness: Harness, mutant: str, letters: str) -> None:
        """The test fails where a failing sink is tried for every record, and where it never is again."""
        found = rested(harness, mutant=mutant, patience_s=1.0)
        assert caught(found, letters), found


def rested(harness: Harness, **extra: object) -> list[str]:
    """Return what is wrong after a sink failed slowly; B where it was tried too often, L where it stayed away."""
    beside = Beside(harness, failing_slowly, **extra)
    found, account = beside.found, beside.account("bad")
    if beside.observed["tries"] > COUNT / 4:
        found.append(f"B tried {beside.observed['tries']} times for {COUNT} records")
    if not account["delivered"]:
        found.append(f"L {account}")
    told = [{"planted": account["dropped"].get("planted")}]
    if account["delivered"] and beside.observed["told"] != told:
        found.append(f"G {beside.observed['told']} told of {account}")
    return found


class TestClocks:
    @pytest.mark.parametrize("kind", ["jumping", "a day back", "frozen", "naive", "odd zone"])
    def test_wrong(self, harness: Harness, kind: str) -> None:
        """Whatever the clock says, records are whole and numbered in order, and files rotate by size alone."""
        assert [] == timed(harness, kind)

    @pytest.mark.parametrize(
        ("mutant", "kind", "letters"),
        [("age_without_sign", "a day back", "N"), ("numbers_from_the_clock", "jumping", "S")],
    )
    def test_catches(self, harness: Harness, mutant: str, kind: str, letters: str) -> None:
        """The test fails where a clock that was put back makes a file seem old, and where it gives the numbers."""
        found = timed(harness, kind, mutant=mutant)
        assert caught(found, letters), found


def timed(harness: Harness, kind: str, **extra: object) -> list[str]:
    """Return what is wrong after a wrong clock; N where there are not as many files as their sizes explain."""
    beside = Beside(harness, wrong_clock, kind=kind, **extra)
    found = beside.found
    numbered = [name for name in beside.observed["names"] if name.startswith("x.log")]
    sizes = [path.stat().st_size for path in harness.files()]
    rotations = beside.observed["rotations"]
    if len(numbered) != rotations + 1 or any(size < 10_000 * 0.9 for size in sizes[:-1]):
        found.append(f"N {rotations} rotations, files {numbered} of {sizes} bytes")
    if rotations < 5:
        found.append(f"N only {rotations} rotations")
    stamps = [datetime.fromisoformat(event["timestamp"]) for event in beside.events]
    if any(abs(stamp - datetime.now(UTC)) > timedelta(days=1, hours=1) for stamp in stamps):
        found.append(f"T {stamps[:3]}")
    return found
