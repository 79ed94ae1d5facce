"""The fan-out: each sink gets what it wants, is accounted for, and fails alone."""

import threading
from collections.abc import Sequence

import pytest

from structllm._fanout import FanOut, Route
from structllm._types import Record
from structllm.errors import SinkRejected, SinkUnavailable
from structllm.sinks.memory import MemorySink
from structllm.testing import FaultySink

RECORD = Record("completion_request", 20, b'{"n":1}\n', {})


def account(accepted: int, delivered: int, dropped: dict[str, int] | None = None) -> dict[str, object]:
    """Return stats with nothing pending."""
    return {"accepted": accepted, "delivered": delivered, "dropped": dropped or {}, "pending": 0}


class TestRoute:
    def test_counts_what_was_delivered(self) -> None:
        """A record that the sink took is accepted and delivered."""
        route = Route("a", MemorySink())
        assert (route.write(RECORD), route.stats()) == (None, account(1, 1))

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (SinkUnavailable("disk_full"), "disk_full"),
            (SinkRejected("too_large", "a record"), "too_large"),
            (RuntimeError("a bug"), "sink_bug:RuntimeError"),
        ],
    )
    def test_counts_what_was_dropped_by_reason(self, error: Exception, reason: str) -> None:
        """A record that the sink refused is dropped under the reason; a bug of the sink is one too."""
        route = Route("a", FaultySink(error))
        assert (route.write(RECORD), route.stats()) == (reason, account(1, 0, {reason: 1}))

    def test_recovers(self) -> None:
        """A sink that works again gets the next record."""
        sink = FaultySink(SinkUnavailable("disk_full"))
        route = Route("a", sink)
        route.write(RECORD)
        sink.error = None
        route.write(RECORD)
        assert (sink.records, route.stats()) == ([RECORD], account(2, 1, {"disk_full": 1}))

    def test_closes_once_and_drops_afterwards(self) -> None:
        """What comes after closing is dropped and counted, not lost silently."""
        sink = FaultySink()
        route = Route("a", sink)
        route.close()
        route.close()
        route.write(RECORD)
        assert (sink.closed, route.stats()) == (1, account(1, 0, {"closed": 1}))

    def test_a_sink_that_cannot_flush_or_close_does_not_raise(self) -> None:
        """flush() says False and close() returns, whatever the sink raises."""
        route = Route("a", FaultySink(RuntimeError("a bug")))
        assert (route.flush(1.0), route.close()) == (False, None)

    def test_threads_are_counted_exactly(self) -> None:
        """The account adds up under threads."""
        route = Route("a", MemorySink())
        threads = [threading.Thread(target=lambda: [route.write(RECORD) for _ in range(2_000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        assert route.stats() == account(8_000, 8_000)

    def test_a_sink_may_log_while_it_writes(self) -> None:
        """Logging again in the middle of a write of the same thread does not deadlock."""
        memory = MemorySink()

        class Chatty(MemorySink):
            def write(self, batch: Sequence[Record], /) -> None:
                memory.write(batch)
                if len(memory.records) < 2:
                    route.write(RECORD)

        route = Route("a", Chatty())
        route.write(RECORD)
        assert (len(memory.records), route.stats()) == (2, account(2, 2))


class TestFanOut:
    def test_one_failing_sink_does_not_starve_the_others(self) -> None:
        """Every other sink gets the record, and the failure is reported with its reason."""
        first, last = MemorySink(), MemorySink()
        routes = [Route("first", first), Route("bad", FaultySink(SinkUnavailable("gone"))), Route("last", last)]
        reported: list[tuple[str, str]] = []
        fan_out = FanOut(routes, least_level=0, report=lambda name, reason: reported.append((name, reason)))
        fan_out.write(RECORD, fan_out.choose("completion_request", 20))
        assert (first.events, last.events, reported) == ([{"n": 1}], [{"n": 1}], [("bad", "gone")])

    def test_routes_by_event_type_and_level(self) -> None:
        """A route gets its event types from its level on, and nothing below the least level of all."""
        routes = [
            Route("all", MemorySink()),
            Route("decisions", MemorySink(), events=frozenset({"trading_decision"})),
            Route("errors", MemorySink(), level=40),
        ]
        fan_out = FanOut(routes, least_level=20, report=lambda name, reason: None)
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
