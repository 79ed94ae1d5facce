"""The fan-out: each sink gets what it wants, is accounted for, and fails alone."""

import threading
import time
from collections.abc import Sequence

from structllm._background import BackgroundDelivery
from structllm._delivery import DirectDelivery
from structllm._fanout import FanOut, Route, flush
from structllm._types import Record, Sink
from structllm.errors import SinkUnavailable
from structllm.sinks.memory import MemorySink
from structllm.testing import FaultySink

RECORD = Record("completion_request", 20, b'{"n":1}\n', {})


def fan_out_of(
    *routes: Route, reported: list[tuple[str, str, int]] | None = None, recovered: list[str] | None = None
) -> FanOut:
    """Return a fan-out that notes what it reports."""
    told = reported if reported is not None else []
    names = recovered if recovered is not None else []
    return FanOut(
        routes,
        least_level=20,
        report=lambda name, reason, count: told.append((name, reason, count)),
        on_recovery=lambda route: names.append(route.name),
    )


def direct(name: str, sink: Sink) -> Route:
    """Return a route that delivers at once."""
    return Route(name, DirectDelivery(sink))


class Hanging(MemorySink):
    """A sink that hangs in write until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def write(self, batch: Sequence[Record], /) -> None:
        self.go.wait(timeout=30)
        super().write(batch)


class TestFanOut:
    def test_one_failing_sink_does_not_starve_the_others(self) -> None:
        """Every other sink gets the record, and the failure is reported with its reason."""
        first, last = MemorySink(), MemorySink()
        reported: list[tuple[str, str, int]] = []
        bad = direct("bad", FaultySink(SinkUnavailable("gone")))
        fan_out = fan_out_of(direct("first", first), bad, direct("last", last), reported=reported)
        fan_out.write(RECORD, fan_out.choose("completion_request", 20))
        assert (first.events, last.events, reported) == ([{"n": 1}], [{"n": 1}], [("bad", "gone", 1)])

    def test_routes_by_event_type_and_level(self) -> None:
        """A route gets its event types from its level on, and nothing below the least level of all."""
        fan_out = fan_out_of(
            direct("all", MemorySink()),
            Route("decisions", DirectDelivery(MemorySink()), events=frozenset({"trading_decision"})),
            Route("errors", DirectDelivery(MemorySink()), level=40),
        )
        chosen = {
            (kind, level): [route.name for route in fan_out.choose(kind, level)]
            for kind in ("trading_decision", "run")
            for level in (10, 20, 40)
        }
        assert chosen == {
            ("trading_decision", 10): [],
            ("trading_decision", 20): ["all", "decisions"],
            ("trading_decision", 40): ["all", "decisions", "errors"],
            ("run", 10): [],
            ("run", 20): ["all"],
            ("run", 40): ["all", "errors"],
        }

    def test_recovery_is_told_after_every_route_has_the_record(self) -> None:
        """What is written about a gap has a higher number, and must not overtake the record that came before it."""
        faulty, last, seen = FaultySink(SinkUnavailable("gone")), MemorySink(), list[int]()
        fan_out = FanOut(
            [direct("faulty", faulty), direct("last", last)],
            least_level=0,
            report=lambda name, reason, count: None,
            on_recovery=lambda route: seen.append(len(last.records)),
        )
        fan_out.write(RECORD, fan_out.routes)
        faulty.error = None
        fan_out.write(RECORD, fan_out.routes)
        assert seen == [2]


class TestEnd:
    def test_flush_is_true_when_all_are(self) -> None:
        """One sink that cannot flush makes the whole false; the others are flushed all the same."""
        background = BackgroundDelivery(MemorySink())
        background.write(RECORD)
        routes = [direct("bad", FaultySink(RuntimeError())), Route("good", background)]
        assert (flush(routes, time.monotonic() + 10), background.stats()["delivered"]) == (False, 1)
        assert flush(routes[1:], time.monotonic() + 10) is True
        background.close(10.0)

    def test_sink_that_hangs_takes_no_time_from_the_others(self) -> None:
        """All share one deadline, and are flushed side by side: the first one hangs, the second is done."""
        sink = Hanging()
        hanging, healthy = BackgroundDelivery(sink), BackgroundDelivery(MemorySink())
        for delivery in (hanging, healthy):
            delivery.write(RECORD)
        routes = [Route("hanging", hanging), Route("healthy", healthy)]
        assert flush(routes, time.monotonic() + 0.2) is False
        assert (hanging.stats()["pending"], healthy.stats()["pending"]) == (1, 0)
        assert (hanging.close(0.0), healthy.close(10.0)) == (1, 0)
        sink.go.set()

    def test_close_closes_every_sink(self) -> None:
        """Closing closes all, a broken one included, and what waits is delivered first."""
        sinks = [FaultySink(), FaultySink(), FaultySink()]
        background = BackgroundDelivery(sinks[1])
        fan_out = fan_out_of(direct("a", sinks[0]), Route("b", background), direct("c", sinks[2]))
        fan_out.write(RECORD, fan_out.routes)
        sinks[0].error = RuntimeError("a bug")
        fan_out.close()
        fan_out.close()
        assert [(len(sink.records), sink.closed) for sink in sinks] == [(1, 1)] * 3

    def test_what_is_given_up_is_reported(self) -> None:
        """At exit, what could not be delivered is said once, with its number."""
        sink, reported = Hanging(), list[tuple[str, str, int]]()
        delivery = BackgroundDelivery(sink)
        fan_out = fan_out_of(Route("hanging", delivery), reported=reported)
        for _ in range(3):
            fan_out.write(RECORD, fan_out.routes)
        fan_out.retire()
        assert reported == [("hanging", "shutdown_abandoned", 3)]
        sink.go.set()

    def test_untold_gaps_are_told_where_the_sink_works(self) -> None:
        """In the end each gap is told, unless the sink is at rest after its failures."""
        works, rests, fine = FaultySink(SinkUnavailable("a")), FaultySink(SinkUnavailable("b")), FaultySink()
        recovered: list[str] = []
        resting = Route("rests", DirectDelivery(rests, clock=lambda: 0.0))
        fan_out = fan_out_of(direct("works", works), resting, direct("fine", fine), recovered=recovered)
        for _ in range(5):
            fan_out.write(RECORD, [resting])
        fan_out.write(RECORD, fan_out.routes)
        fan_out.tell_gaps()
        assert recovered == ["works"]
