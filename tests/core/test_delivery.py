"""Delivery: each accepted record is delivered once, dropped with a reason, or still waits; whatever the sink does."""

import math
import os
import random
import threading
import weakref
from collections import UserDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structllm._background import BackgroundDelivery
from structllm._backoff import Backoff
from structllm._delivery import RECOVERED, DirectDelivery
from structllm._queue import BoundedQueue, LineEvent
from structllm._types import Record
from structllm.assemble import create_llm_logger
from structllm.errors import ConfigError, SinkRejected, SinkUnavailable
from structllm.sinks.memory import MemorySink, MemorySinkConfig
from structllm.testing import FaultySink
from tests.waiting import comes_true, grows_to


def record(number: int, event_type: str = "run", size: int = 0) -> Record:
    """Return a record with this number, whose line has at least `size` bytes."""
    event = {"event_type": event_type, "timestamp": f"2026-01-15T10:00:{number % 60:02}.000Z", "seq": number}
    line = orjson.dumps(event | {"text": "x" * max(0, size - 100)}, option=orjson.OPT_APPEND_NEWLINE)
    return Record(event_type, 20, line, event)


def numbers(records: Sequence[Record]) -> list[int]:
    """Return the numbers in the records' lines."""
    return [orjson.loads(record.line)["seq"] for record in records]


def flushed(delivery: Any, timeout_s: float = 10.0) -> bool:
    """Flush and wait for it."""
    return bool(delivery.begin_flush(timeout_s)(timeout_s))


def balance(stats: dict[str, Any]) -> tuple[int, int]:
    """Return both sides of the account."""
    return stats["accepted"], stats["delivered"] + sum(stats["dropped"].values()) + stats["pending"]


class Held(MemorySink):
    """A sink that stalls in write until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go = threading.Event(), threading.Event()
        self.closed = 0
        self.batches: list[int] = []

    def write(self, batch: Sequence[Record], /) -> None:
        self.entered.set()
        self.go.wait(timeout=30)
        self.batches.append(len(batch))
        super().write(batch)

    def close(self) -> None:
        self.closed += 1


class Honest:
    """A sink that keeps what it took, rejects some numbers, and is unavailable where its script says so.

    Args:
        rejects: Numbers that it never takes.
        script: For each call, how many records it takes before it becomes unavailable; None means all of them.
    """

    def __init__(self, rejects: set[int] | None = None, script: Sequence[int | None] = ()) -> None:
        self.rejects = rejects or set()
        self.script = list(script)
        self.records: list[Record] = []

    def write(self, batch: Sequence[Record], /) -> None:
        limit = self.script.pop(0) if self.script else None
        for taken, each in enumerate(batch):
            if limit is not None and taken >= limit:
                raise SinkUnavailable("gone", taken=taken)
            if each.event["seq"] in self.rejects:
                raise SinkRejected("poison", taken=taken)
            self.records.append(each)

    def flush(self, timeout_s: float, /) -> bool:
        return True

    def close(self) -> None:
        pass


class FakeTime:
    """A clock that the delivery's thread moves by waiting; others wait as ever, but look again soon."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        """Return the seconds so far."""
        return self.now

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Let the time pass."""
        mine = threading.current_thread().name == "structllm-delivery"
        if mine:
            self.now += max(0.0, seconds)
        condition.wait(0.0001 if mine else 0.001)


@pytest.fixture
def make() -> Iterator[Callable[..., BackgroundDelivery]]:
    """Return what makes background deliveries, which are closed in the end."""
    made: list[BackgroundDelivery] = []

    def build(sink: Any, **options: Any) -> BackgroundDelivery:
        made.append(BackgroundDelivery(sink, **options))
        return made[-1]

    yield build
    for delivery in made:
        if isinstance(delivery.sink, Held):
            delivery.sink.go.set()
        if isinstance(delivery.sink, FaultySink):
            delivery.sink.error = None
        delivery.close(10.0)


class TestDirect:
    def test_counts_what_was_delivered(self) -> None:
        """A record that the sink took is accepted and delivered."""
        delivery = DirectDelivery(MemorySink())
        assert delivery.write(record(1)) is None
        assert delivery.stats() == {"accepted": 1, "delivered": 1, "dropped": {}, "pending": 0}

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
        delivery = DirectDelivery(FaultySink(error))
        assert delivery.write(record(1)) == reason
        assert delivery.stats() == {"accepted": 1, "delivered": 0, "dropped": {reason: 1}, "pending": 0}

    def test_recovers_and_says_so(self) -> None:
        """A sink that works again gets the next record, and its route is told to report the gap."""
        sink = FaultySink(SinkUnavailable("disk_full"))
        delivery = DirectDelivery(sink)
        delivery.write(record(1))
        sink.error = None
        assert (delivery.write(record(2)), sink.records) == (RECOVERED, [record(2)])

    def test_the_hosts_own_exits_pass(self) -> None:
        """Ctrl-C in the middle of a write reaches the host, and the record is accounted for."""
        delivery = DirectDelivery(FaultySink(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            delivery.write(record(1))
        assert delivery.stats()["dropped"] == {"interrupted": 1}

    def test_closes_once_and_drops_afterwards(self) -> None:
        """What comes after closing is dropped and counted, and is nothing to report."""
        sink = FaultySink()
        delivery = DirectDelivery(sink)
        delivery.close(1.0)
        delivery.close(1.0)
        assert (delivery.write(record(1)), sink.closed, delivery.account.is_untold()) == ("closed", 1, False)
        assert delivery.stats()["dropped"] == {"closed": 1}

    def test_a_sink_that_cannot_flush_or_close_does_not_raise(self) -> None:
        """flush says False and close returns, whatever the sink raises."""
        delivery = DirectDelivery(FaultySink(RuntimeError("a bug")))
        assert (flushed(delivery), delivery.close(1.0)) == (False, 0)

    def test_flush_says_false_once_for_what_was_dropped(self) -> None:
        """A flush is true when everything accepted since the last one arrived."""
        sink = FaultySink(SinkUnavailable("gone"))
        delivery = DirectDelivery(sink)
        delivery.write(record(1))
        sink.error = None
        assert (flushed(delivery), flushed(delivery)) == (False, True)

    def test_threads_are_counted_exactly(self) -> None:
        """The account adds up under threads, and records arrive in the order of their numbers."""
        sink = MemorySink()
        logger = create_llm_logger(sinks=[sink])
        threads = [threading.Thread(target=lambda: [logger.log_trading_decision() for _ in range(500)]) for _ in "1234"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        (account,) = logger.stats()["sinks"].values()
        assert account == {"accepted": 2_000, "delivered": 2_000, "dropped": {}, "pending": 0}
        assert list(range(1, 2_001)) == [event["seq"] for event in sink.events]

    def test_a_sink_may_log_while_it_writes(self) -> None:
        """Logging again in the middle of a write of the same thread does not deadlock."""
        memory = MemorySink()

        class Chatty(MemorySink):
            def write(self, batch: Sequence[Record], /) -> None:
                memory.write(batch)
                if len(memory.records) < 2:
                    delivery.write(record(2))

        delivery = DirectDelivery(Chatty())
        delivery.write(record(1))
        assert (len(memory.records), balance(delivery.stats())) == (2, (2, 2))


class SlowFailure(FaultySink):
    """Fails, and takes its time on a fake clock for it."""

    def __init__(self, takes_s: float) -> None:
        super().__init__(SinkUnavailable("gone"))
        self.takes_s = takes_s
        self.now = 0.0
        self.tries = 0

    def write(self, batch: Sequence[Record], /) -> None:
        self.tries += 1
        self.now += self.takes_s if self.error is not None else 0.0
        super().write(batch)


class TestBreaker:
    @pytest.mark.parametrize(
        ("takes_s", "rest_s"), [(0.0, 0.001), (0.000_05, 0.005), (0.01, 1.0), (0.2, 20.0), (7.0, 30.0)]
    )
    def test_rests_a_hundred_times_as_long_as_a_failure_takes(self, takes_s: float, rest_s: float) -> None:
        """After five failures the sink is left alone, 1 ms to 30 s; then it is tried once."""
        sink = SlowFailure(takes_s)
        delivery = DirectDelivery(sink, clock=lambda: sink.now)
        for number in range(5):
            delivery.write(record(number))
        sink.now += 0.98 * rest_s
        assert (delivery.write(record(5)), sink.tries, delivery.works()) == ("gone", 5, False)
        sink.now += 0.04 * rest_s
        assert (delivery.works(), delivery.write(record(6)), sink.tries) == (True, "gone", 6)
        assert (delivery.write(record(7)), sink.tries) == ("gone", 6)

    def fail(self, delivery: DirectDelivery, sink: SlowFailure, *took_s: float) -> float:
        """Fail this often, each time after the rest, and taking so long; return how long the sink rests in the end."""
        for number, sink.takes_s in enumerate(took_s):
            delivery.write(record(number))
            began_s = sink.now
            while not delivery.works():
                sink.now += 0.001
        return sink.now - began_s

    def test_one_slow_failure_says_little(self) -> None:
        """Whoever lost the processor in the middle of a quick failure is back as quickly as ever."""
        for slow in range(8):
            sink = SlowFailure(0.0)
            delivery = DirectDelivery(sink, clock=lambda sink=sink: sink.now)
            took_s = [0.000_01] * 8
            took_s[slow] = 2.0
            assert self.fail(delivery, sink, *took_s) < 0.003, slow

    def test_rests_long_once_it_hangs(self) -> None:
        """A sink that failed quickly and hangs now rests long after four of those."""
        sink = SlowFailure(0.0)
        delivery = DirectDelivery(sink, clock=lambda: sink.now)
        rests_s = [self.fail(delivery, sink, took_s) for took_s in [0.000_01] * 5 + [0.2] * 4]
        assert [0, 0, 0, 0, 0, 0, 0, 0, 20] == [round(rest_s) for rest_s in rests_s]

    def test_costs_the_host_a_hundredth_of_its_time(self) -> None:
        """A sink that hangs for 50 ms and fails is in the way for 1 % of the time."""
        sink = SlowFailure(0.05)
        delivery = DirectDelivery(sink, clock=lambda: sink.now)
        for _ in range(100_000):
            delivery.write(ONE)
            sink.now += 0.001
        assert sink.tries * 0.05 / sink.now < 0.015

    def test_one_success_closes_it(self) -> None:
        """After a success five more failures are needed."""
        sink = SlowFailure(1.0)
        delivery = DirectDelivery(sink, clock=lambda: sink.now)
        for number in range(5):
            delivery.write(record(number))
        sink.now, sink.error = sink.now + 30.0, None
        delivery.write(record(6))
        sink.error = SinkUnavailable("gone")
        for number in range(5):
            delivery.write(record(number))
        assert sink.tries == 11

    def test_rejected_records_do_not_count(self) -> None:
        """A record that can never be taken says nothing about the next one."""
        sink = FaultySink(SinkRejected("too_large"))
        delivery = DirectDelivery(sink, clock=lambda: 0.0)
        for number in range(10):
            delivery.write(record(number))
        sink.error = None
        assert (delivery.write(record(11)), len(sink.records)) == (RECOVERED, 1)

    def test_flush_tries_all_the_same(self) -> None:
        """Who flushes wants to know how things are."""
        sink = SlowFailure(1.0)
        delivery = DirectDelivery(sink, clock=lambda: sink.now)
        for number in range(5):
            delivery.write(record(number))
        sink.error = None
        assert (flushed(delivery), flushed(delivery)) == (False, True)


ONE = record(1)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 8)),
        st.tuples(st.just("unavailable"), st.integers(0, 8)),
        st.tuples(st.just("reject"), st.integers(0, 30)),
        st.tuples(st.just("flush"), st.just(0)),
        st.tuples(st.just("close"), st.just(0)),
    ),
    max_size=25,
)


class TestAnySequence:
    @given(STEPS, st.booleans())
    @settings(max_examples=150, deadline=None)
    def test_account_balances_and_each_record_arrives_once_in_order(
        self, steps: list[tuple[str, int]], background: bool
    ) -> None:
        """With a sink that says what it took: delivered in order, once, and all others dropped under their reason."""
        sink, fake = Honest(), FakeTime()
        delivery: Any = (
            BackgroundDelivery(sink, clock=fake.clock, wait=fake.wait) if background else DirectDelivery(sink)
        )
        count, closed_at = 0, None
        for step, size in steps:
            if step == "write":
                for _ in range(size):
                    delivery.write(record(count))
                    count += 1
            elif step == "unavailable":
                sink.script.append(size)
            elif step == "reject":
                sink.rejects.add(size)
            elif step == "flush":
                delivery.begin_flush(1e6)(1e6)
            elif closed_at is None:
                closed_at = count
                delivery.close(1e6)
            assert len(set(balance(delivery.stats()))) == 1
        delivery.close(1e6)
        stats = delivery.stats()
        arrived = numbers(sink.records)
        assert (arrived, stats["delivered"], stats["accepted"], stats["pending"]) == (
            sorted(set(arrived)),
            len(arrived),
            count,
            0,
        )
        assert stats["dropped"].get("closed", 0) == count - (count if closed_at is None else closed_at)
        if background:
            assert stats["dropped"].keys() <= {"closed", "poison"}


class TestRetry:
    def test_delays_are_drawn_from_the_whole_range(self, make: Callable[..., BackgroundDelivery]) -> None:
        """Between tries n and n+1 lie `uniform(0, min(60, 0.5 * 2**n))` seconds: in bounds, and Kolmogorov-Smirnov."""
        seed = 20260115
        fake, tries = FakeTime(), list[float]()

        class Gone(MemorySink):
            def write(self, batch: Sequence[Record], /) -> None:
                tries.append(fake.now)
                if len(tries) <= 400:
                    raise SinkUnavailable("gone")

        delivery = make(Gone(), clock=fake.clock, wait=fake.wait, uniform=random.Random(seed).uniform)
        delivery.write(record(1))
        assert comes_true(lambda: len(tries) > 400)
        bounds = [min(60.0, 0.5 * 2.0**n) for n in range(400)]
        parts = sorted((after - before) / bound for before, after, bound in zip(tries, tries[1:], bounds, strict=False))
        assert (0.0 <= parts[0], parts[-1] <= 1.0 + 1e-9) == (True, True), f"seed {seed}"
        assert kolmogorov_smirnov(parts) > 0.01, f"seed {seed}"
        assert comes_true(lambda: delivery.stats()["delivered"] == 1)
        assert (delivery.stats()["retries"], balance(delivery.stats())) == (400, (1, 1))

    def test_the_check_of_the_delays_can_fail(self) -> None:
        """Delays without jitter, or from half of the range, do not pass for uniform ones."""
        assert kolmogorov_smirnov([0.5] * 100) < 0.01
        assert kolmogorov_smirnov([number / 200 for number in range(100)]) < 0.01

    def test_continues_behind_what_was_taken(self, make: Callable[..., BackgroundDelivery]) -> None:
        """No record that the sink took before it failed is written again."""
        fake, sink = FakeTime(), Honest(script=[3, 0, 2])
        delivery = make(sink, clock=fake.clock, wait=fake.wait)
        for number in range(10):
            delivery.write(record(number))
        assert flushed(delivery, 1e6)
        assert numbers(sink.records) == list(range(10))

    def test_rejected_record_is_dropped_alone(self, make: Callable[..., BackgroundDelivery]) -> None:
        """The records around a rejected one arrive, in order; it is counted under its reason and reported."""
        sink = Honest(rejects={0, 4, 9})
        delivery = make(sink)
        dropped: list[tuple[str, int]] = []
        delivery.attach(lambda reason, count: dropped.append((reason, count)), lambda: None, lambda: None)
        for number in range(10):
            delivery.write(record(number))
        assert not flushed(delivery)
        assert (numbers(sink.records), dropped) == ([1, 2, 3, 5, 6, 7, 8], [("poison", 1)] * 3)
        assert delivery.stats()["dropped"] == {"poison": 3}

    def test_batch_of_a_sink_that_does_not_tell_is_tried_one_by_one(
        self, make: Callable[..., BackgroundDelivery]
    ) -> None:
        """Where nobody says which record it was, each is tried alone, and only the culprit is dropped."""

        class Silent(MemorySink):
            def write(self, batch: Sequence[Record], /) -> None:
                if 2 in numbers(batch):
                    raise SystemExit
                super().write(batch)

        sink = Silent()
        delivery = make(sink)
        for number in range(5):
            delivery.write(record(number))
        flushed(delivery)
        assert (numbers(list(sink.records)), delivery.stats()["dropped"]) == ([0, 1, 3, 4], {"sink_bug:SystemExit": 1})

    def test_flush_interrupts_the_delay(self, make: Callable[..., BackgroundDelivery]) -> None:
        """Whoever flushes does not wait for the next try of a sink that works again."""
        sink = FaultySink(SinkUnavailable("gone"))
        delivery = make(sink, uniform=lambda low, high: 3600.0)
        delivery.write(record(1))
        assert comes_true(lambda: delivery.stats()["retries"] == 1)
        sink.error = None
        assert (flushed(delivery), numbers(sink.records)) == (True, [1])

    def test_hosts_random_numbers_stay_the_hosts(self, make: Callable[..., BackgroundDelivery]) -> None:
        """Drawing a delay does not move the generator of the host program."""
        before = random.getstate()
        delivery = make(FaultySink(SinkUnavailable("gone")))
        delivery.write(record(1))
        assert comes_true(lambda: delivery.stats()["retries"] > 0)
        assert random.getstate() == before

    def test_success_begins_the_delays_anew(self) -> None:
        """After progress the next failure has the shortest range again."""
        asked: list[float] = []
        backoff = Backoff(lambda: 0.0, lambda low, high: asked.append(high) or high)
        for _ in range(9):
            backoff.fail()
        backoff.reset()
        assert backoff.pause_s() == 0.0
        backoff.fail()
        assert asked == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 0.5]


def kolmogorov_smirnov(parts: Sequence[float]) -> float:
    """Return the probability that numbers from 0 to 1 drawn evenly lie as unevenly as these (sorted) do."""
    count = len(parts)
    distance = max(max((at + 1) / count - part, part - at / count) for at, part in enumerate(parts))
    scaled = (math.sqrt(count) + 0.12 + 0.11 / math.sqrt(count)) * distance
    total = sum((-1) ** (k - 1) * math.exp(-2 * k * k * scaled * scaled) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * total))


Policy = Literal["block", "drop_newest", "drop_oldest"]


class TestBounds:
    def fill(self, make: Callable[..., BackgroundDelivery], policy: Policy, **bounds: int) -> BackgroundDelivery:
        """Return a delivery whose sink holds record 0, with nine more records queued."""
        options = {"queue_max_items": 20, **bounds}
        sink = Held()
        delivery = make(sink, on_full=policy, block_timeout_s=0.01, **options)
        delivery.write(record(0))
        assert sink.entered.wait(timeout=10)
        return delivery

    def finish(self, delivery: BackgroundDelivery) -> list[int]:
        """Release the sink and return what arrived."""
        sink: Any = delivery.sink
        sink.go.set()
        flushed(delivery)
        return numbers(list(sink.records))

    @pytest.mark.parametrize("policy", ["drop_newest", "block"])
    def test_newest_are_dropped(self, make: Callable[..., BackgroundDelivery], policy: Policy) -> None:
        """A full queue refuses what comes, after the wait for room where that is the policy; 90 % is for all."""
        delivery = self.fill(make, policy)
        outcomes = [delivery.write(record(number)) for number in range(1, 30)]
        assert outcomes == [None] * 17 + ["queue_full"] * 12
        assert balance(delivery.stats()) == (30, 30)
        assert self.finish(delivery) == list(range(18))

    def test_oldest_are_dropped_but_not_those_in_flight(self, make: Callable[..., BackgroundDelivery]) -> None:
        """The oldest queued record makes room for the newest, and its loss is told."""
        delivery = self.fill(make, "drop_oldest")
        told: list[tuple[str, int]] = []
        delivery.attach(lambda reason, count: told.append((reason, count)), lambda: None, lambda: None)
        outcomes = {delivery.write(record(number)) for number in range(1, 30)}
        assert (outcomes, told) == ({None}, [("queue_full", 1)] * 12)
        assert self.finish(delivery) == [0, *range(13, 30)]

    @pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest", "block"])
    def test_decisions_have_a_reserve(self, make: Callable[..., BackgroundDelivery], policy: Policy) -> None:
        """With the queue full of others, decisions still find room, under every policy."""
        delivery = self.fill(make, policy)
        for number in range(1, 30):
            delivery.write(record(number))
        assert [delivery.write(record(number, "trading_decision")) for number in (100, 101)] == [None, None]
        assert self.finish(delivery)[-2:] == [100, 101]

    def test_decisions_are_spared(self, make: Callable[..., BackgroundDelivery]) -> None:
        """Other records go first, however old the decision; then no record drives out a decision but a decision."""
        delivery = self.fill(make, "drop_oldest")
        for number in range(1, 20):
            delivery.write(record(number, "trading_decision"))
        assert delivery.write(record(50)) == "queue_full"
        assert delivery.write(record(51, "trading_decision")) is None
        assert self.finish(delivery) == [0, *range(2, 20), 51]

    @pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest"])
    def test_bytes_are_bounded(self, make: Callable[..., BackgroundDelivery], policy: Policy) -> None:
        """The lines that wait never have more bytes than the bound; a record that cannot fit drives out none."""
        delivery = self.fill(make, policy, queue_max_items=1000, queue_max_bytes=100_000)
        for number in range(1, 40):
            delivery.write(record(number, size=10_000))
            assert delivery.stats()["queued_bytes"] <= 100_000
        waiting = delivery.stats()["pending"]
        assert (delivery.write(record(41, size=99_950)), delivery.stats()["pending"]) == ("queue_full", waiting)
        assert balance(delivery.stats()) == (41, 41)

    def test_a_blocked_writer_gets_the_room_that_is_made(self, make: Callable[..., BackgroundDelivery]) -> None:
        """With room in time, block loses nothing and keeps the order."""
        sink = Held()
        delivery = make(sink, on_full="block", block_timeout_s=30.0, queue_max_items=10)
        writer = threading.Thread(target=lambda: [delivery.write(record(number)) for number in range(100)])
        writer.start()
        assert comes_true(lambda: delivery.stats()["pending"] == 9)
        sink.go.set()
        writer.join(timeout=30)
        assert (flushed(delivery), numbers(list(sink.records))) == (True, list(range(100)))

    def test_closing_frees_a_blocked_writer(self, make: Callable[..., BackgroundDelivery]) -> None:
        """Nobody waits for room in a queue that is closed."""
        sink = Held()
        delivery = make(sink, on_full="block", block_timeout_s=600.0, queue_max_items=10)
        outcomes: list[str | None] = []
        writer = threading.Thread(target=lambda: outcomes.extend(delivery.write(record(n)) for n in range(10)))
        writer.start()
        assert comes_true(lambda: delivery.stats()["pending"] == 9)
        lost = delivery.close(0.01)
        writer.join(timeout=30)
        assert (lost, outcomes) == (9, [None] * 9 + ["closed"])

    def test_the_event_itself_is_not_kept(self, make: Callable[..., BackgroundDelivery]) -> None:
        """Only the line waits, so that memory is what the bound says; the sink can still read the event."""

        class Weak(UserDict[str, Any]):
            pass

        delivery = self.fill(make, "drop_newest")
        plain = record(1)
        event = Weak(plain.event)
        delivery.write(plain._replace(event=event))
        gone = weakref.ref(event)
        del event
        assert gone() is None
        self.finish(delivery)
        sink: Any = delivery.sink
        assert dict(sink.records[-1].event) == orjson.loads(plain.line)

    def test_caller_does_not_wait_for_the_sink(self, make: Callable[..., BackgroundDelivery]) -> None:
        """All records are accepted while the sink stalls, and come in batches of at most 500."""
        delivery = self.fill(make, "drop_newest", queue_max_items=10_000)
        for number in range(1, 2_000):
            delivery.write(record(number))
        assert delivery.stats()["pending"] == 2_000
        assert self.finish(delivery) == list(range(2_000))
        sink: Any = delivery.sink
        assert (sink.batches, flushed(delivery)) == ([1, 500, 500, 500, 499], True)


class TestQueue:
    def test_batches_are_bounded_by_bytes(self) -> None:
        """A batch has at most so many bytes, but at least one record."""
        queue = BoundedQueue(100, 10_000_000)
        for number in range(6):
            queue.put(record(number, size=1000))
        assert [len(queue.take(100, size)) for size in (10, 2_500, 1_000_000)] == [1, 2, 3]

    def test_a_tenth_of_the_bytes_is_for_decisions(self) -> None:
        """Where the lines of others fill nine tenths, decisions alone find room."""
        queue, size = BoundedQueue(1000, 10_000), 1_000
        kinds = ["run"] * 12 + ["trading_decision"] * 2
        lines = [Record(kind, 20, b"x" * size, {}) for kind in kinds]
        assert [queue.put(line) for line in lines] == [True] * 9 + [False] * 3 + [True, False]

    def test_keeps_the_order_across_importance(self) -> None:
        """Decisions overtake nobody."""
        queue = BoundedQueue(100, 10_000)
        for number in range(9):
            queue.put(record(number, "trading_decision" if number % 3 == 1 else "run"))
        assert numbers(queue.take(100, 10_000)) == list(range(9))

    def test_what_was_taken_counts_until_released(self) -> None:
        """Records in flight are in memory, so they count."""
        queue = BoundedQueue(10, 10_000)
        for number in range(9):
            queue.put(record(number))
        batch = queue.take(5, 10_000)
        assert (queue.put(record(10)), queue.items) == (False, 9)
        queue.release(batch)
        assert (queue.put(record(10)), queue.items, queue.bytes) == (True, 5, 5 * len(record(1).line) + 1)

    def test_line_event_reads_the_line(self) -> None:
        """It is a mapping like the event; a line that is no object is an empty one."""
        event = LineEvent(record(7))
        assert (event["seq"], event.get("seq"), event.get("none"), len(event)) == (7, 7, None, 4)
        assert dict(LineEvent(Record("run", 20, b"broken\n", {}))) == {}


class TestThread:
    def names(self) -> list[str]:
        """Return the names of the delivery threads that live."""
        return [thread.name for thread in threading.enumerate() if thread.name == "structllm-delivery"]

    def test_starts_with_the_first_record_and_ends_when_idle(self) -> None:
        """No thread before there is work, none after it; more work starts another."""
        fake, sink = FakeTime(), MemorySink()
        assert comes_true(lambda: not self.names())
        delivery = BackgroundDelivery(sink, clock=fake.clock, wait=fake.wait)
        assert self.names() == []
        for number in (1, 2):
            delivery.write(record(number))
            assert grows_to(sink.records, number)
            assert comes_true(lambda: not self.names())
        assert numbers(list(sink.records)) == [1, 2]

    def test_without_a_thread_records_are_delivered_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As at the exit of the interpreter: nothing waits for a thread that cannot be started."""

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't create new thread at interpreter shutdown")

        sink = FaultySink()
        delivery = BackgroundDelivery(sink)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            delivery.write(record(1))
            assert numbers(sink.records) == [1]
            sink.error = SinkUnavailable("gone")
            assert delivery.write(record(2)) == "gone"
            sink.error = None
            assert delivery.write(record(3)) == RECOVERED
            assert (flushed(delivery), flushed(delivery)) == (False, True)
            delivery.close(1.0)
        assert (sink.closed, balance(delivery.stats())) == (1, (3, 3))

    def test_flush_is_false_when_time_is_up(self, make: Callable[..., BackgroundDelivery]) -> None:
        """A sink that hangs makes flush say False, not hang."""
        sink = Held()
        delivery = make(sink)
        delivery.write(record(1))
        assert (flushed(delivery, 0.01), sink.go.set(), flushed(delivery)) == (False, None, True)

    @pytest.mark.parametrize("answer", [False, RuntimeError("a bug")])
    def test_flush_is_as_true_as_the_sinks(self, make: Callable[..., BackgroundDelivery], answer: Any) -> None:
        """What the sink has not flushed is not at its destination."""

        class Unsure(MemorySink):
            def flush(self, timeout_s: float, /) -> bool:
                if isinstance(answer, Exception):
                    raise answer
                return bool(answer)

        delivery = make(Unsure())
        delivery.write(record(1))
        assert (flushed(delivery), delivery.stats()["delivered"]) == (False, 1)

    def test_flush_waits_for_what_came_before_it_alone(self, make: Callable[..., BackgroundDelivery]) -> None:
        """A flush comes true while others go on logging."""
        delivery = make(MemorySink())
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(0.0001):
                delivery.write(record(1))

        writer = threading.Thread(target=work)
        writer.start()
        assert [flushed(delivery) for _ in range(5)] == [True] * 5
        stop.set()
        writer.join(timeout=10)

    def test_close_delivers_then_closes(self) -> None:
        """What waits is delivered first; later records are dropped as closed."""
        sink = FaultySink()
        delivery = BackgroundDelivery(sink)
        for number in range(100):
            delivery.write(record(number))
        assert (delivery.close(10.0), delivery.close(10.0), delivery.write(record(100))) == (0, 0, "closed")
        assert (len(sink.records), sink.closed, delivery.stats()["dropped"]) == (100, 1, {"closed": 1})

    def test_close_gives_up_on_a_sink_that_hangs(self) -> None:
        """After its time close returns and counts what was not delivered; a late sink changes no count any more."""
        sink = Held()
        delivery = BackgroundDelivery(sink)
        for number in range(10):
            delivery.write(record(number))
        assert sink.entered.wait(timeout=10)
        assert delivery.close(0.01) == 10
        before = delivery.stats()
        sink.go.set()
        assert comes_true(lambda: sink.closed == 1)
        assert comes_true(lambda: not delivery._busy)
        assert (before["dropped"], delivery.stats()) == ({"shutdown_abandoned": 10}, before)

    def test_close_may_hang_no_longer_than_told(self) -> None:
        """A sink that hangs while it closes is left to its thread."""
        go = threading.Event()

        class Stuck(MemorySink):
            def close(self) -> None:
                go.wait(timeout=30)

        delivery = BackgroundDelivery(Stuck())
        assert (delivery.close(0.01), delivery.write(record(1))) == (0, "closed")
        go.set()

    def test_retired_it_delivers_at_once(self) -> None:
        """After the flush at exit nothing waits any more: what comes is delivered in the caller's thread."""
        sink = FaultySink()
        delivery = BackgroundDelivery(sink)
        delivery.write(record(1))
        assert (flushed(delivery), delivery.retire()) == (True, 0)
        delivery.write(record(2))
        assert (numbers(sink.records), delivery.stats()["pending"]) == ([1, 2], 0)

    def test_retired_with_a_sink_that_hangs(self) -> None:
        """What waits for it is given up, and so is what comes after."""
        sink = Held()
        delivery = BackgroundDelivery(sink)
        delivery.write(record(1))
        assert sink.entered.wait(timeout=10)
        assert (delivery.retire(), delivery.write(record(2))) == (1, "shutdown_abandoned")
        assert delivery.stats()["dropped"] == {"shutdown_abandoned": 2}
        sink.go.set()

    def test_health_is_told(self) -> None:
        """stats() shows what the sink says of itself, and never raises."""

        class Telling(MemorySink):
            def health(self) -> dict[str, int]:
                return {"rotations": 3}

        class Broken(MemorySink):
            def health(self) -> dict[str, int]:
                raise OSError

        told = [
            kind(sink).stats()["health"]
            for kind in (DirectDelivery, BackgroundDelivery)
            for sink in (Telling(), Broken())
        ]
        assert told == [{"rotations": 3}, {"error": "OSError"}] * 2

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_child_begins_empty(self, make: Callable[..., BackgroundDelivery]) -> None:
        """A forked child writes none of the parent's records and has an account and a thread of its own."""
        sink = Held()
        delivery = make(sink)
        for number in range(5):
            delivery.write(record(number))
        assert sink.entered.wait(timeout=10)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            delivery.reset_after_fork()
            sink.go = threading.Event()  # the old one may be held
            sink.go.set()
            before = delivery.stats()
            delivery.write(record(100))
            done = flushed(delivery)
            os.write(writer, orjson.dumps([before["accepted"], before["pending"], done, numbers(list(sink.records))]))
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            assert orjson.loads(stream.read()) == [0, 0, True, [100]]
        os.waitpid(child, 0)
        sink.go.set()
        assert (flushed(delivery), numbers(list(sink.records))) == (True, [0, 1, 2, 3, 4])


class Deferring(MemorySink):
    """A sink that has work done later."""

    def defer_to(self, defer: Callable[[float, Callable[[], None]], None]) -> None:
        self.defer = defer


class TestSettings:
    def test_delivery_is_chosen_by_the_settings(self) -> None:
        """A configured sink is delivered as its settings say; a ready one directly; each shows in stats()."""
        background = MemorySinkConfig(delivery="background", queue_max_items=10)
        logger = create_llm_logger(sinks=[background, "memory:?delivery=background&on_full=block", MemorySink()])
        logger.log_trading_decision(action="HOLD")
        assert logger.flush(10.0)
        sinks = logger.stats()["sinks"]
        assert [(name, stats["delivered"], "retries" in stats) for name, stats in sinks.items()] == [
            ("memory", 1, True),
            ("memory-2", 1, True),
            ("MemorySink", 1, False),
        ]
        logger.close()
        assert all(len(set(balance(stats))) == 1 for stats in logger.stats()["sinks"].values())

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("delivery", "later"),
            ("on_full", "explode"),
            ("block_timeout_s", 0),
            ("block_timeout_s", 61),
            ("queue_max_bytes", 2_097_151),
            ("queue_max_items", 9),
        ],
    )
    def test_wrong_settings_are_refused(self, name: str, value: Any) -> None:
        """What cannot work is refused when the logger is built, by name; a record of 1 MiB always has room."""
        with pytest.raises(ConfigError, match=name):
            MemorySinkConfig(**{name: value})

    def test_a_sink_that_wants_to_defer_can(self) -> None:
        """A sink with `defer_to` gets what runs its jobs; one that fails is counted, and closing forgets the rest."""
        sink, ran = Deferring(), threading.Event()
        logger = create_llm_logger(sinks=[sink])

        def fail() -> None:
            raise OSError

        sink.defer(0.0, fail)
        sink.defer(0.0, ran.set)
        assert ran.wait(timeout=10)
        assert logger.stats()["processor_errors"] == {"deferred": 1}
        logger.close()
        late = threading.Event()
        sink.defer(0.0, late.set)
        assert not late.wait(timeout=0.05)
