"""The emitter: runs the chain, numbers events, and lets nothing of ours reach the host program."""

import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog

from structllm._background import BackgroundDelivery
from structllm._delivery import DirectDelivery
from structllm._diagnostics import Diagnostics
from structllm._emitter import RESERVED, Emitter
from structllm._event_logger import EventLogger
from structllm._exit import ExitGate
from structllm._fanout import Route
from structllm._sources import random_id, rfc3339, utc_now
from structllm._types import Event, Processor, Record
from structllm.assemble import create_llm_logger
from structllm.errors import SinkRejected, SinkUnavailable
from structllm.events import event_fields
from structllm.processors.render import Render
from structllm.sinks.memory import MemorySink
from structllm.testing import FaultySink
from tests.uncovered import without_coverage
from tests.waiting import comes_true

NOW = datetime(2024, 1, 15, 10, 30, 45, 123456, tzinfo=UTC)


def build(
    *processors: Processor, sink: Any = None, render: Processor | None = None, level: str = "INFO", **options: Any
) -> tuple[EventLogger, MemorySink]:
    """Return a logger over one memory sink, and the sink."""
    memory = sink if sink is not None else MemorySink()
    emitter = Emitter(
        render=render or Render(append_newline=True),
        routes=[Route("memory", DirectDelivery(memory))],
        session_id="abc12345",
        least_level=level,
        service=options.get("service"),
        clock=lambda: NOW,
        ids=lambda kind: f"{kind}_1",
    )
    return EventLogger(emitter, list(processors), {}), memory


def fail(error: BaseException) -> Callable[[Any, str, Event], Event]:
    """Return a processor that raises."""

    def broken(logger: Any, method_name: str, event: Event) -> Event:
        raise error

    return broken


class TestEnvelope:
    def test_comes_first_and_in_order(self) -> None:
        """Every line begins with the envelope, event_type first."""
        log, sink = build(service="bot")
        log.emit("run", "INFO", {"name": "x"})
        assert list(sink.events[0].items()) == [
            ("event_type", "run"),
            ("timestamp", "2024-01-15T10:30:45.123Z"),
            ("session_id", "abc12345"),
            ("level", "INFO"),
            ("schema_version", 1),
            ("writer", "wtr_1"),
            ("seq", 1),
            ("service", "bot"),
            ("name", "x"),
        ]

    def test_sequence_has_no_gaps(self) -> None:
        """seq counts what was written: filtered and deliberately dropped events leave no gap."""

        def drop_odd(logger: Any, method_name: str, event: Event) -> Event:
            if event["n"] % 2:
                raise structlog.DropEvent
            return event

        log, sink = build(drop_odd)
        for number in range(6):
            log.emit("run", "DEBUG", {"n": number})
            log.emit("run", "INFO", {"n": number})
        assert [(event["n"], event["seq"]) for event in sink.events] == [(0, 1), (2, 2), (4, 3)]
        assert log.emitter.stats()["dropped_by_chain"] == {"processor": 3}

    def test_callers_fields_cannot_take_its_place(self) -> None:
        """A field named like one of ours is kept under its name with an underscore."""
        log, sink = build()
        log.emit("run", "INFO", dict.fromkeys(RESERVED, "theirs"))
        event = sink.events[0]
        assert (event["event_type"], event["seq"], event["writer"]) == ("run", 1, "wtr_1")
        assert {name for name in event if name.endswith("_")} == {f"{name}_" for name in RESERVED}

    def test_bound_fields_are_in_the_event(self) -> None:
        """structlog's bind adds fields; the event's own win; the parent stays as it was."""
        log, sink = build()
        child = log.bind(strategy="momentum", name="bound")
        child.emit("run", "INFO", {"name": "x"})
        log.emit("run", "INFO", {})
        assert [(event.get("strategy"), event.get("name")) for event in sink.events] == [
            ("momentum", "x"),
            (None, None),
        ]

    def test_own_timestamp_is_kept(self) -> None:
        """An imported event keeps its own time."""
        log, sink = build()
        log.emit("run", "INFO", {}, "2023-01-01T00:00:00.000Z")
        assert sink.events[0]["timestamp"] == "2023-01-01T00:00:00.000Z"


class TestFailures:
    def test_failing_processor_costs_its_own_step(self) -> None:
        """The event goes on through the rest of the chain and says which step failed."""

        def later(logger: Any, method_name: str, event: Event) -> Event:
            event["later"] = True
            return event

        log, sink = build(fail(ValueError("secret text")), later)
        log.emit("run", "INFO", {"name": "x"})
        event = sink.events[0]
        assert (event["name"], event["later"], event["processor_errors"]) == ("x", True, ["broken"])
        assert log.emitter.stats()["processor_errors"] == {"broken": 1}

    def test_processor_that_must_fail_closed_says_how(self) -> None:
        """on_error of a failing processor decides what is left of the event."""

        class Careful:
            def __call__(self, logger: Any, method_name: str, event: Event) -> Event:
                raise ValueError

            def on_error(self, event: Event) -> Event:
                event["name"] = "[REDACTED:error]"
                return event

        log, sink = build(Careful())
        log.emit("run", "INFO", {"name": "secret"})
        assert (sink.events[0]["name"], sink.events[0]["processor_errors"]) == ("[REDACTED:error]", ["Careful"])

    def test_failing_renderer_leaves_a_minimal_record(self) -> None:
        """An event that cannot be rendered still leaves a line with its ids."""
        log, sink = build(render=fail(TypeError("secret text")))
        log.emit("run", "INFO", {"run_id": "r1", "name": object()})
        event = sink.events[0]
        assert (event["event_type"], event["writer"], event["seq"], event["run_id"]) == ("run", "wtr_1", 1, "r1")
        assert event["render_error"] == "TypeError"

    def test_nothing_is_raised_whatever_is_broken(self) -> None:
        """A wrong level, a broken clock or a sink's bug are counted, not raised."""

        class Broken(MemorySink):
            def write(self, batch: Any, /) -> None:
                raise RuntimeError

        log, _ = build(sink=Broken())
        assert log.emit("run", "NO SUCH LEVEL", {}) is None
        log.emit("run", "INFO", {})
        stats = log.emitter.stats()
        assert stats["processor_errors"] == {"emitter": 1}
        assert stats["sinks"]["memory"]["dropped"] == {"sink_bug:RuntimeError": 1}
        assert log.emitter.dropped() == {"memory:sink_bug:RuntimeError": 1}

    def test_a_clock_that_fails_costs_no_event(self) -> None:
        """The system's clock stands in for one that raises or returns no time."""
        sink = MemorySink()
        logger = create_llm_logger(sinks=[sink], clock=lambda: None)  # type: ignore[arg-type,return-value]  # no time
        logger.log_trading_decision()
        assert [event["timestamp"][-1] for event in sink.events] == ["Z"]
        assert logger.stats()["processor_errors"] == {"clock": 1}

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_the_hosts_own_exits_pass(self, error: type[BaseException]) -> None:
        """Ctrl-C and sys.exit are the host's and go through."""
        log, _ = build(fail(error()))
        with pytest.raises(error):
            log.emit("run", "INFO", {})

    def test_stderr_names_the_class_alone_and_only_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Diagnostics never quote an error's text, and the same one comes at most once in 30 s."""
        log, _ = build(fail(ValueError("secret text")))
        for _ in range(5):
            log.emit("run", "INFO", {})
        assert capsys.readouterr().err == "structllm: broken failed with ValueError; counted in stats()\n"

    def test_drops_are_said_on_stderr(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The first record that a sink drops is said with its reason."""

        class Full(MemorySink):
            def write(self, batch: Any, /) -> None:
                raise SinkUnavailable("disk_full", "secret text")

        log, _ = build(sink=Full())
        for _ in range(3):
            log.emit("run", "INFO", {})
        expected = "structllm: sink 'memory' dropped a record (disk_full); counted in stats()\n"
        assert capsys.readouterr().err == expected

    def test_broken_stderr_does_no_harm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A host without stderr is not disturbed by our notices."""
        monkeypatch.setattr("sys.stderr", None)
        Diagnostics().notice("a", "text")


class TestNesting:
    def test_sink_that_logs_twice_about_each_record_comes_to_an_end(self) -> None:
        """A sink may log about a record; what it would log about that is refused and counted."""

        class Chatty(MemorySink):
            def write(self, batch: Any, /) -> None:
                super().write(batch)
                for _ in range(2):
                    log.emit("run", "INFO", {"name": "nested"})

        log, sink = build(sink=Chatty())
        log.emit("run", "INFO", {"name": "first"})
        assert [event["name"] for event in sink.events] == ["first", "nested", "nested"]
        assert log.emitter.stats()["refused_as_nested"] == 4

    def test_processor_that_logs_comes_to_an_end(self) -> None:
        """The same for a processor; the next event is not affected."""

        def chatty(logger: Any, method_name: str, event: Event) -> Event:
            log.emit("run", "INFO", {"name": "nested"})
            return event

        log, sink = build(chatty)
        log.emit("run", "INFO", {"name": "first"})
        log.emit("run", "INFO", {"name": "second"})
        assert [event["name"] for event in sink.events] == ["nested", "first", "nested", "second"]


class TestDamage:
    """A processor of the host may do anything to an event; the event still arrives, and can be found."""

    @pytest.mark.parametrize("result", [None, "hello", 1, ["event"]])
    def test_processor_that_does_not_return_the_event(self, result: Any) -> None:
        """What it returned is no event, so the event goes on as it was and names the processor."""

        def forgetful(logger: Any, method_name: str, event: Event) -> Any:
            return result

        log, sink = build(forgetful)
        log.emit("run", "INFO", {"name": "x"})
        event = sink.events[0]
        assert (event["event_type"], event["name"], event["processor_errors"]) == ("run", "x", ["forgetful"])

    @pytest.mark.parametrize("name", ["event_type", "timestamp", "session_id", "level", "writer", "seq"])
    def test_lost_envelope_is_restored(self, name: str) -> None:
        """An envelope field that is gone or no text any more is put back, first in the line."""

        def destructive(logger: Any, method_name: str, event: Event) -> Event:
            del event[name]
            return event

        log, sink = build(destructive)
        log.emit("run", "INFO", {"run_id": "r1"})
        event = sink.events[0]
        first = ["event_type", "timestamp", "session_id", "level", "schema_version", "writer", "seq"]
        assert list(event)[:7] == first
        assert (event["event_type"], event["session_id"], event["seq"]) == ("run", "abc12345", 1)
        assert (event["run_id"], event["processor_errors"]) == ("r1", ["envelope"])

    def test_new_event_is_made_whole(self) -> None:
        """A processor that returns another dict keeps its fields and gets the envelope."""
        log, sink = build(lambda logger, method_name, event: {"foo": 1})
        log.emit("run", "INFO", {"run_id": "r1"})
        assert (sink.events[0]["event_type"], sink.events[0]["foo"]) == ("run", 1)

    def test_session_and_time_may_be_changed(self) -> None:
        """A processor may well set another session or time."""

        def move(logger: Any, method_name: str, event: Event) -> Event:
            return {**event, "session_id": "other", "timestamp": "2020-01-01T00:00:00.000Z"}

        log, sink = build(move)
        log.emit("run", "INFO", {})
        event = sink.events[0]
        assert (event["session_id"], event["timestamp"]) == ("other", "2020-01-01T00:00:00.000Z")
        assert "processor_errors" not in event


class TestExit:
    PROGRAM = """
import sys, threading, time
from structllm import create_llm_logger
logger = create_llm_logger(log_file=sys.argv[1])
def work():
    while True:
        logger.log_completion_response(logger.log_completion_request("mail me at a@b.org " * 50, "o3-mini"), "x " * 200)
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
while logger.get_metrics()["total_completions"] < 100:
    time.sleep(0.001)  # whoever runs this waits no longer than 60 s
"""

    def test_daemon_threads_that_log_do_not_abort_the_process(self, tmp_path: Path) -> None:
        """The interpreter exits well while daemon threads are in the middle of logging, and every line is whole."""
        path = tmp_path / "a.log"
        for _ in range(3):
            arguments = [sys.executable, "-c", self.PROGRAM, str(path)]
            done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
            assert (done.returncode, done.stderr) == (0, "")
        lines = [line for file in sorted(tmp_path.glob("a.log*")) for line in file.read_bytes().splitlines()]
        assert lines
        assert all(orjson.loads(line) for line in lines)

    def test_gate_lets_the_main_thread_through(self) -> None:
        """After closing, other threads are refused and counted out; the main thread still logs what it has to say."""
        gate = ExitGate()
        gate.close()
        refused: list[bool] = []
        thread = threading.Thread(target=lambda: refused.append(gate.lets_through()))
        thread.start()
        thread.join(timeout=10)
        assert (refused, gate.lets_through()) == ([False], True)

    def test_gate_waits_for_those_inside(self) -> None:
        """Closing returns once the last event is done."""
        gate = ExitGate()
        entered, leave = threading.Event(), threading.Event()

        def work() -> None:
            inside = gate.new_thread()
            inside.depth += 1
            entered.set()
            leave.wait(timeout=10)
            inside.depth -= 1

        thread = threading.Thread(target=work)
        thread.start()
        assert entered.wait(timeout=10)
        threading.Timer(0.05, leave.set).start()
        gate.close()
        assert leave.is_set()
        thread.join(timeout=10)


BACKGROUND = """
import os, signal, sys, threading
from structllm import create_llm_logger
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has its children ignore it
logger = create_llm_logger(sinks=[{"type": "file", "path": sys.argv[1], "delivery": "background"}])
def work(count=500):
    for number in range(count):
        logger.log_trading_decision(action="HOLD", size_pct=number)
def fail():
    work()
    raise RuntimeError("the host's own")
"""

ENDINGS = {
    "normal": ("work()", 0, ""),
    "sys.exit": ("work(); sys.exit(3)", 3, ""),
    "unhandled": ("fail()", 1, "RuntimeError: the host's own"),
    "thread": (
        "thread = threading.Thread(target=fail); thread.start(); thread.join()",
        0,
        "RuntimeError: the host's own",
    ),
    "SIGINT": ("work(); os.kill(os.getpid(), signal.SIGINT); threading.Event().wait(30)", -2, "KeyboardInterrupt"),
    "atexit": ("import atexit; atexit.register(work)", 0, ""),
    "before us": ("sys.exit()", 0, ""),
}

HANGS = """
import sys, threading
from structllm import create_llm_logger
from structllm.sinks.registry import BUILT_IN
from structllm.sinks.memory import MemorySinkConfig, MemorySink
class Hanging(MemorySink):
    def write(self, batch):
        threading.Event().wait()
class HangingConfig(MemorySinkConfig):
    def build(self):
        return Hanging()
logger = create_llm_logger(sinks=[HangingConfig(delivery="background"), "file:" + sys.argv[1]])
for number in range(1500):
    logger.log_trading_decision(action="HOLD")
"""


class TestBackgroundAtExit:
    @pytest.mark.parametrize("ending", ENDINGS)
    def test_nothing_is_lost(self, ending: str, tmp_path: Path) -> None:
        """However the program ends, what it logged is in the file, once, and nothing is said about shutting down."""
        path = tmp_path / "a.log"
        last, code, says = ENDINGS[ending]
        before = "import atexit\natexit.register(lambda: work())\n" if ending == "before us" else ""
        arguments = [sys.executable, "-c", before + BACKGROUND + last, str(path)]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
        events = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        assert [event["size_pct"] for event in events] == list(range(500)), done.stderr
        assert (done.returncode, "structllm:" in done.stderr) == (code, False)
        assert done.stderr.strip().endswith(says) if says else done.stderr == ""

    def test_sink_that_hangs_does_not_hang_the_exit(self, tmp_path: Path) -> None:
        """After its time the program ends, says how many records it gave up, and the other sink has them all."""
        arguments = [sys.executable, "-c", HANGS, str(tmp_path / "a.log")]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
        expected = "structllm: sink 'memory' dropped 1,500 records (shutdown_abandoned); counted in stats()\n"
        assert (done.returncode, done.stderr) == (0, expected)
        assert len((tmp_path / "a.log").read_bytes().splitlines()) == 1500

    @pytest.mark.parametrize("kind", ["os.fork", "multiprocessing"])
    def test_children_lose_nothing_and_repeat_nothing(self, kind: str, tmp_path: Path) -> None:
        """Forked workers, as a preloading server has them, each deliver their own records and none of the parent's."""
        forks = "child = os.fork()\n    if not child: work(100); sys.exit()\n    children.append(child)"
        starts = "child = multiprocessing.get_context('fork').Process(target=work, args=(100,)); child.start()\n"
        program = (
            f"import multiprocessing\n{BACKGROUND}\nchildren = []\nwork(100)\nfor _ in range(4):\n"
            f"    {forks if kind == 'os.fork' else starts + '    children.append(child)'}\n"
            f"for child in children: {'os.waitpid(child, 0)' if kind == 'os.fork' else 'child.join(30)'}\n"
        )
        path = tmp_path / "a.log"
        arguments = [sys.executable, "-W", "ignore", "-c", program, str(path)]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        events = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        counts = Counter(event["writer"] for event in events)
        assert sorted(counts.values()) == [100] * 5
        assert len({(event["writer"], event["seq"]) for event in events}) == 500


def gaps(sink: MemorySink | FaultySink) -> list[dict[str, Any]]:
    """Return the log_gap events that a sink has."""
    events = [orjson.loads(record.line) for record in sink.records]
    return [event for event in events if event["event_type"] == "log_gap"]


class TestLogGap:
    def build(self, sink: Any, *others: Route, **options: Any) -> EventLogger:
        """Return a logger over a sink that wants decisions alone, and others."""
        deliver = options.get("deliver", DirectDelivery)
        emitter = Emitter(
            render=Render(append_newline=True),
            routes=[Route("faulty", deliver(sink), level=50, events=frozenset({"run"})), *others],
            session_id="s",
            least_level=options.get("level", "INFO"),
            service=None,
            clock=lambda: NOW,
            ids=lambda kind: f"{kind}_1",
            chain=options.get("chain", ()),
        )
        return EventLogger(emitter, list(options.get("chain", ())), {})

    def test_says_what_was_lost_and_goes_to_the_sink_that_lost_it(self) -> None:
        """With the next record that gets through, the sink and every other that wants it learn of the gap."""
        sink, other, choosy = FaultySink(SinkUnavailable("disk_full")), MemorySink(), MemorySink()
        others = [Route("other", DirectDelivery(other)), Route("choosy", DirectDelivery(choosy), level=50)]
        log = self.build(sink, *others)
        log.emit("run", "CRITICAL", {}, "2024-01-01T00:00:01.000Z")
        sink.error = SinkRejected("too_large")
        log.emit("run", "CRITICAL", {}, "2024-01-01T00:00:02.000Z")
        log.emit("run", "INFO", {})
        sink.error = None
        log.emit("run", "CRITICAL", {})
        log.emit("run", "CRITICAL", {})
        told = {
            "event_type": "log_gap",
            "timestamp": "2024-01-15T10:30:45.123Z",
            "session_id": "s",
            "level": "WARNING",
            "schema_version": 1,
            "writer": "wtr_1",
            "seq": 5,
            "sink": "faulty",
            "dropped": {"disk_full": 1, "too_large": 1},
            "first_seq": 1,
            "last_seq": 2,
            "first_dropped_at": "2024-01-01T00:00:01.000Z",
            "last_dropped_at": "2024-01-01T00:00:02.000Z",
            "dropped_total": 2,
        }
        assert (gaps(sink), gaps(other), gaps(choosy)) == ([told], [told], [])
        assert [event["seq"] for event in other.events] == [1, 2, 3, 4, 5, 6]
        assert set(event_fields("log_gap")) - told.keys() == {
            "hash",
            "sink_seq",
            "service",
            "redactions",
            "truncated_fields",
            "processor_errors",
        }

    def test_each_gap_is_told_once(self) -> None:
        """The next event about a gap tells what was lost since the last one, and the total."""
        sink = FaultySink()
        log = self.build(sink)
        for error in (SinkUnavailable("a"), None, None, SinkUnavailable("b"), None, None):
            sink.error = error
            log.emit("run", "CRITICAL", {})
        told = [(event["dropped"], event["dropped_total"]) for event in gaps(sink)]
        assert told == [({"a": 1}, 1), ({"b": 1}, 2)]

    def test_reaches_its_sink_below_every_level(self) -> None:
        """A logger that writes nothing below ERROR still tells of a gap."""
        sink = FaultySink(SinkUnavailable("gone"))
        log = self.build(sink, level="ERROR")
        log.emit("run", "CRITICAL", {})
        sink.error = None
        log.emit("run", "CRITICAL", {})
        assert [event["dropped"] for event in gaps(sink)] == [{"gone": 1}]

    def test_goes_through_the_chain_without_the_context_of_the_caller(self) -> None:
        """The processors see it; what is bound where somebody happened to log has nothing to do with it."""
        seen: list[str] = []
        market: ContextVar[str] = ContextVar("market", default="none")

        def look(logger: Any, method_name: str, event: Event) -> Event:
            seen.append(f"{event['event_type']} {method_name} {market.get()}")
            return event

        sink = FaultySink(SinkUnavailable("gone"))
        log = self.build(sink, chain=[look])
        token = market.set("BTC")
        log.emit("run", "CRITICAL", {})
        sink.error = None
        log.emit("run", "CRITICAL", {})
        market.reset(token)
        assert seen == ["run critical BTC", "run critical BTC", "log_gap warning none"]

    def test_one_that_is_dropped_is_told_later(self) -> None:
        """The record about a gap may be lost as well: then the next one tells of both."""

        class Fragile(FaultySink):
            def write(self, batch: Sequence[Record], /) -> None:
                if batch[0].event_type == "log_gap" and not self.closed:
                    raise SinkUnavailable("disk_full")
                super().write(batch)

        sink = Fragile(SinkUnavailable("gone"))
        log = self.build(sink)
        log.emit("run", "CRITICAL", {})
        sink.error = None
        log.emit("run", "CRITICAL", {})
        sink.closed = 1
        log.emit("run", "CRITICAL", {})
        told = [(event["dropped"], event["first_seq"], event["last_seq"]) for event in gaps(sink)]
        assert told == [({"gone": 1, "disk_full": 1}, 1, 3)]
        assert log.emitter.stats()["sinks"]["faulty"]["dropped"] == {"gone": 1, "disk_full": 1}

    def test_sink_that_never_takes_it_is_asked_ever_more_rarely(self) -> None:
        """A sink that takes everything else does not get a useless record for each good one, and nothing recurs."""

        class Picky(FaultySink):
            def write(self, batch: Sequence[Record], /) -> None:
                if batch[0].event_type == "log_gap":
                    raise SinkRejected("unknown_type")
                super().write(batch)

        sink = Picky(SinkUnavailable("gone"))
        log = self.build(sink)
        log.emit("run", "CRITICAL", {})
        sink.error = None
        for _ in range(1000):
            log.emit("run", "CRITICAL", {})
        stats = log.emitter.stats()["sinks"]["faulty"]
        assert (stats["delivered"], stats["dropped"]) == (1000, {"gone": 1, "unknown_type": 10})

    def test_chain_that_refuses_it_loses_no_count(self) -> None:
        """A processor of the host may drop the event; what it would have told is kept."""
        refuse = [True]

        def choose(logger: Any, method_name: str, event: Event) -> Event:
            if refuse[0] and event["event_type"] == "log_gap":
                raise structlog.DropEvent
            return event

        sink = FaultySink(SinkUnavailable("gone"))
        log = self.build(sink, chain=[choose])
        log.emit("run", "CRITICAL", {})
        sink.error = None
        log.emit("run", "CRITICAL", {})
        refuse[0] = False
        log.emit("run", "CRITICAL", {})
        assert [event["dropped"] for event in gaps(sink)] == [{"gone": 1}]

    def test_told_at_close(self) -> None:
        """Nothing more is logged after the sink works again: closing tells of the gap, and of nothing afterwards."""
        sink = FaultySink(SinkUnavailable("gone"))
        log = self.build(sink)
        log.emit("run", "CRITICAL", {})
        sink.error = None
        log.emitter.close()
        log.emit("run", "CRITICAL", {})
        assert ([event["dropped"] for event in gaps(sink)], sink.closed) == ([{"gone": 1}], 1)
        assert log.emitter.stats()["sinks"]["faulty"]["dropped"] == {"gone": 1, "closed": 1}

    def test_two_sinks_that_recover_at_once(self) -> None:
        """Each is told of its own gap."""
        sinks = [FaultySink(SinkUnavailable("a")), FaultySink(SinkUnavailable("b"))]
        log = self.build(sinks[0], Route("second", DirectDelivery(sinks[1])))
        log.emit("run", "CRITICAL", {})
        sinks[0].error = sinks[1].error = None
        log.emit("run", "CRITICAL", {})
        log.emit("run", "CRITICAL", {})
        assert [{event["sink"] for event in gaps(sink)} for sink in sinks] == [{"faulty"}, {"faulty", "second"}]

    def test_background_tells_when_it_gets_through(self) -> None:
        """A queue that was full has room again: the thread that made it tells of what was dropped meanwhile."""
        held = threading.Event()

        class Held(MemorySink):
            def write(self, batch: Sequence[Record], /) -> None:
                held.wait(timeout=30)
                super().write(batch)

        sink = Held()
        log = self.build(sink, deliver=lambda sink: BackgroundDelivery(sink, queue_max_items=10))
        for _ in range(20):
            log.emit("run", "CRITICAL", {})
        held.set()
        assert comes_true(lambda: gaps(sink))
        told = [(event["dropped"], event["first_seq"], event["last_seq"]) for event in gaps(sink)]
        assert told == [({"queue_full": 11}, 10, 20)]
        log.emitter.close()
        assert log.emitter.stats()["sinks"]["faulty"] == {
            "accepted": 21,
            "delivered": 10,
            "dropped": {"queue_full": 11},
            "pending": 0,
            "queued_bytes": 0,
            "retries": 0,
        }


class TestLateRoutes:
    def test_are_those_that_want_the_event_only_when_it_fails(self) -> None:
        """A sink that takes errors alone is late for a request; one that takes everything is not."""
        emitter = Emitter(
            render=Render(append_newline=True),
            routes=[
                Route("all", DirectDelivery(MemorySink())),
                Route("errors", DirectDelivery(MemorySink()), level=40),
            ],
            session_id="s",
            least_level="INFO",
            service=None,
            clock=utc_now,
            ids=random_id,
        )
        late = emitter.late_routes("completion_request", "INFO", "ERROR")
        assert [route.name for route in late] == ["errors"]


class TestFork:
    def test_child_is_a_writer_of_its_own(self) -> None:
        """After a fork the child counts from 1 under another writer id, and its account is its own."""
        memory = MemorySink()
        emitter = Emitter(
            render=Render(append_newline=True),
            routes=[Route("memory", DirectDelivery(memory))],
            session_id="s",
            least_level="INFO",
            service=None,
            clock=utc_now,
            ids=random_id,
        )
        log = EventLogger(emitter, [], {})
        log.emit("run", "INFO", {})
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            log.emit("run", "INFO", {})
            stats = emitter.stats()["sinks"]["memory"]
            os.write(writer, orjson.dumps([memory.events[-1]["writer"], memory.events[-1]["seq"], stats["accepted"]]))
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            child_writer, child_seq, child_accepted = orjson.loads(stream.read())
        os.waitpid(child, 0)
        log.emit("run", "INFO", {})
        assert (child_seq, child_accepted) == (1, 1)
        assert child_writer != emitter.writer
        assert [event["seq"] for event in memory.events] == [1, 2]

    @pytest.mark.parametrize("kind", ["file", "stdout"])
    def test_child_of_a_busy_parent_can_log(self, kind: str, tmp_path: Path) -> None:
        """A fork while other threads are in the middle of writing leaves no lock held in the child."""
        program = (
            "import os, sys, threading\n"
            "from structllm import create_llm_logger\n"
            f"path = 'file:' + sys.argv[1] if {kind!r} == 'file' else 'stdout:'\n"
            "logger = create_llm_logger(sinks=[path])\n"
            "stop = threading.Event()\n"
            "def work():\n"
            "    while not stop.is_set(): logger.log_trading_decision(action='HOLD')\n"
            "threads = [threading.Thread(target=work) for _ in range(2)]\n"
            "[thread.start() for thread in threads]\n"
            "for _ in range(20):\n"
            "    child = os.fork()\n"
            "    if child == 0:\n"
            "        logger.log_trading_decision(action='CHILD'); os._exit(0)\n"
            "    os.waitpid(child, 0)\n"
            "stop.set()\n"
            "[thread.join() for thread in threads]\n"
        )
        with (tmp_path / "stdout").open("wb") as stdout:
            arguments = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "a.log")]
            subprocess.run(arguments, stdout=stdout, timeout=60, check=True, env=without_coverage())
        written = [tmp_path / "stdout", *tmp_path.glob("a.log*")]
        lines = [orjson.loads(line) for file in written for line in file.read_bytes().splitlines() if line]
        children = {event["writer"] for event in lines if event["action"] == "CHILD"}
        assert len(children) == 20


class TestSmallParts:
    def test_rfc3339_is_utc_with_milliseconds(self) -> None:
        """Times are written in UTC, cut to milliseconds, ending in Z."""
        moment = datetime(2024, 1, 15, 12, 0, 0, 999999, tzinfo=timezone(timedelta(hours=2)))
        assert rfc3339(moment) == "2024-01-15T10:00:00.999Z"

    def test_random_ids_differ_and_carry_their_kind(self) -> None:
        """Ids hold 64 random bits behind their kind; a session id is bare."""
        assert re.fullmatch(r"req_[0-9a-f]{16}", random_id("req"))
        assert re.fullmatch(r"[0-9a-f]{16}", random_id("ses"))
        assert random_id("req") != random_id("req")
