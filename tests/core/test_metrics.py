"""The metrics fold: exact sums, bounded size, once per interval, from any thread."""

import math
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from structllm.events import Envelope, ModelMetrics, PerformanceMetrics, Window
from structllm.metrics import MAX_ERROR_TYPES, MAX_MODELS, OTHER, UNKNOWN, QuantileSketch, SessionMetrics


class _Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 15, 10, 30, 45, 123000, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def metrics(clock: _Clock) -> SessionMetrics:
    return SessionMetrics(clock)


def _completion(**fields: Any) -> dict[str, Any]:
    event = {
        "event_type": "completion_response",
        "model": "o3-mini",
        "success": True,
        "response_time_ms": 1520.0,
        "token_usage": {"prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225},
        "cost_estimate_usd": 0.000495,
    }
    return event | fields


class TestSnapshot:
    def test_fields(self, metrics: SessionMetrics) -> None:
        """A snapshot has exactly the fields of the event beyond the envelope, in the order of the definition."""
        metrics.observe(_completion())
        snapshot = metrics.snapshot({})
        expected = [name for name in PerformanceMetrics.__annotations__ if name not in Envelope.__annotations__]
        assert sorted(expected) == sorted(snapshot)
        assert set(ModelMetrics.__annotations__) == set(snapshot["by_model"]["o3-mini"])
        assert set(Window.__annotations__) == set(snapshot["window"])

    def test_ten_calls(self, metrics: SessionMetrics, clock: _Clock) -> None:
        """2,250 tokens in ten calls of 1,520 ms are 148 tokens a second."""
        for _ in range(10):
            metrics.observe(_completion())
        clock.now += timedelta(minutes=15)
        expected = {
            "total_completions": 10,
            "avg_response_time_ms": 1520.0,
            "min_response_time_ms": 1520.0,
            "max_response_time_ms": 1520.0,
            "total_tokens": 2250,
            "total_cost_estimate_usd": 0.00495,
            "tokens_per_second": 148.0,
            "p50_response_time_ms": 1520.0,
            "p95_response_time_ms": 1520.0,
            "p99_response_time_ms": 1520.0,
            "success_rate": 1.0,
            "completions_per_hour": 40.0,
            "prompt_tokens": 1500,
            "completion_tokens": 750,
            "by_model": {
                "o3-mini": {
                    "completions": 10,
                    "errors": 0,
                    "avg_response_time_ms": 1520.0,
                    "total_tokens": 2250,
                    "cost_estimate_usd": 0.00495,
                    "unpriced_calls": 0,
                }
            },
            "unpriced_calls": 0,
            "errors_by_type": {},
            "dropped": {"disk_full": 2},
            "redactions_by_rule": {"email": 3},
            "window": {
                "start": "2026-01-15T10:30:45.123Z",
                "end": "2026-01-15T10:45:45.123Z",
                "duration_s": 900.0,
            },
        }
        assert expected == metrics.snapshot({"disk_full": 2}, {"email": 3})

    def test_nothing_yet(self, metrics: SessionMetrics) -> None:
        """Before the first completion averages are None and totals are zero."""
        snapshot = metrics.snapshot({})
        nothing = {name for name, value in snapshot.items() if value is None}
        expected = {
            "avg_response_time_ms",
            "min_response_time_ms",
            "max_response_time_ms",
            "tokens_per_second",
            "p50_response_time_ms",
            "p95_response_time_ms",
            "p99_response_time_ms",
            "success_rate",
            "completions_per_hour",
        }
        assert expected == nothing
        assert (0, 0, 0.0, 0) == (
            snapshot["total_completions"],
            snapshot["total_tokens"],
            snapshot["total_cost_estimate_usd"],
            snapshot["unpriced_calls"],
        )
        assert isinstance(snapshot["total_cost_estimate_usd"], float)

    def test_is_json(self, metrics: SessionMetrics) -> None:
        """A snapshot can be encoded as it is."""
        metrics.observe(_completion(success=False, error_type="Timeout"))
        snapshot = metrics.snapshot({"disk_full": 1})
        assert snapshot == orjson.loads(orjson.dumps(snapshot))

    def test_is_a_copy(self, metrics: SessionMetrics) -> None:
        """Later completions do not change a snapshot that was taken."""
        metrics.observe(_completion())
        first = metrics.snapshot({})
        metrics.observe(_completion(model="gpt-4o"))
        assert 1 == first["total_completions"]
        assert ["o3-mini"] == list(first["by_model"])

    def test_clock_that_goes_back(self, metrics: SessionMetrics, clock: _Clock) -> None:
        """A clock that is set back gives an empty window, not a negative one."""
        clock.now -= timedelta(hours=1)
        metrics.observe(_completion())
        snapshot = metrics.snapshot({})
        assert (0.0, None) == (snapshot["window"]["duration_s"], snapshot["completions_per_hour"])

    def test_without_usage(self, metrics: SessionMetrics) -> None:
        """Where usage is not tracked the totals are still numbers, and every call counts as unpriced."""
        metrics.observe({"model": "o3-mini", "success": True, "response_time_ms": 10})
        snapshot = metrics.snapshot({})
        assert (0, 0.0, 1) == tuple(
            snapshot[name] for name in ("total_tokens", "total_cost_estimate_usd", "unpriced_calls")
        )
        assert (0, 0.0, 1) == tuple(
            snapshot["by_model"]["o3-mini"][name] for name in ("total_tokens", "cost_estimate_usd", "unpriced_calls")
        )


class TestCost:
    def test_exact_sum(self, metrics: SessionMetrics) -> None:
        """Ten cents and twenty cents are thirty cents."""
        metrics.observe(_completion(cost_estimate_usd=0.1))
        metrics.observe(_completion(cost_estimate_usd=0.2))
        assert 0.3 == metrics.snapshot({})["total_cost_estimate_usd"]

    def test_many_small_costs(self, metrics: SessionMetrics) -> None:
        """Many small costs add up without drift."""
        for _ in range(2000):
            metrics.observe(_completion(cost_estimate_usd=0.0000000001))
        assert 0.0000002 == metrics.snapshot({})["total_cost_estimate_usd"]

    @pytest.mark.parametrize("cost", [None, "0.1", True, float("nan"), float("inf"), -1.0, 1e300])
    def test_unknown_cost(self, metrics: SessionMetrics, cost: Any) -> None:
        """A completion whose cost is no amount of money is unpriced and adds nothing."""
        metrics.observe(_completion(cost_estimate_usd=0.5))
        metrics.observe(_completion(cost_estimate_usd=cost))
        snapshot = metrics.snapshot({})
        assert (0.5, 1) == (snapshot["total_cost_estimate_usd"], snapshot["unpriced_calls"])
        assert 1 == snapshot["by_model"]["o3-mini"]["unpriced_calls"]

    def test_cost_of_zero_is_known(self, metrics: SessionMetrics) -> None:
        """A completion that cost nothing is priced."""
        metrics.observe(_completion(cost_estimate_usd=0.0))
        assert 0 == metrics.snapshot({})["unpriced_calls"]


class TestObserve:
    def test_errors(self, metrics: SessionMetrics) -> None:
        """Failures count by type, by outcome where there is no type, and lower the rate of success."""
        metrics.observe(_completion())
        metrics.observe(_completion(success=False, error_type="RateLimitError", outcome="error"))
        metrics.observe(_completion(success=False, error_type=None, outcome="cancelled"))
        metrics.observe(_completion(success=False, error_type=["odd"]))
        snapshot = metrics.snapshot({})
        assert {"RateLimitError": 1, "cancelled": 1, UNKNOWN: 1} == snapshot["errors_by_type"]
        assert (0.25, 3) == (snapshot["success_rate"], snapshot["by_model"]["o3-mini"]["errors"])

    def test_by_model(self, metrics: SessionMetrics) -> None:
        """Each model is counted under the name that was asked for, else the one that answered."""
        metrics.observe(_completion(model="a", response_model="a-2025", response_time_ms=10))
        metrics.observe(_completion(model="a", response_time_ms=20))
        metrics.observe(_completion(model=None, response_model="b"))
        metrics.observe(_completion(model=None))
        metrics.observe(_completion(model=["not", "hashable"]))
        by_model = metrics.snapshot({})["by_model"]
        assert {"a": 2, "b": 1, UNKNOWN: 2} == {name: entry["completions"] for name, entry in by_model.items()}
        assert 15.0 == by_model["a"]["avg_response_time_ms"]

    def test_models_are_bounded(self, metrics: SessionMetrics) -> None:
        """After the first 200 models the others share one entry."""
        for number in range(MAX_MODELS + 50):
            metrics.observe(_completion(model=f"m{number}"))
        by_model = metrics.snapshot({})["by_model"]
        assert MAX_MODELS + 1 == len(by_model)
        assert 50 == by_model[OTHER]["completions"]
        assert MAX_MODELS + 50 == metrics.snapshot({})["total_completions"]

    def test_error_types_are_bounded(self, metrics: SessionMetrics) -> None:
        """After the first 100 error types the others share one entry."""
        for number in range(MAX_ERROR_TYPES + 50):
            metrics.observe(_completion(success=False, error_type=f"E{number}"))
        errors = metrics.snapshot({})["errors_by_type"]
        assert MAX_ERROR_TYPES + 1 == len(errors)
        assert 50 == errors[OTHER]

    @pytest.mark.parametrize("time_ms", [None, "fast", True, float("nan"), float("inf"), -5])
    def test_unknown_time(self, metrics: SessionMetrics, time_ms: Any) -> None:
        """A completion without a usable time counts, and leaves the times alone."""
        metrics.observe(_completion(response_time_ms=100))
        metrics.observe(_completion(response_time_ms=time_ms))
        snapshot = metrics.snapshot({})
        assert (2, 100.0, 100.0) == (
            snapshot["total_completions"],
            snapshot["avg_response_time_ms"],
            snapshot["max_response_time_ms"],
        )

    @pytest.mark.parametrize("usage", [None, "none", 3, {"prompt_tokens": "many"}, {"total_tokens": True}])
    def test_unknown_tokens(self, metrics: SessionMetrics, usage: Any) -> None:
        """Counts that are no counts add nothing."""
        metrics.observe(_completion(token_usage=usage))
        snapshot = metrics.snapshot({})
        assert (0, 0, 0) == (snapshot["total_tokens"], snapshot["prompt_tokens"], snapshot["completion_tokens"])

    def test_empty_event(self, metrics: SessionMetrics) -> None:
        """An event without any field is a completion about which nothing is known."""
        metrics.observe({})
        snapshot = metrics.snapshot({})
        assert (1, 1, [UNKNOWN]) == (
            snapshot["total_completions"],
            snapshot["unpriced_calls"],
            list(snapshot["by_model"]),
        )

    def test_properties(self, metrics: SessionMetrics) -> None:
        """The two figures that an agent's status shows are at hand without a snapshot."""
        assert (0, None) == (metrics.total_completions, metrics.avg_response_time_ms)
        metrics.observe(_completion(response_time_ms=10))
        metrics.observe(_completion(response_time_ms=20, model="b"))
        assert (2, 15.0) == (metrics.total_completions, metrics.avg_response_time_ms)

    def test_after_a_fork(self, metrics: SessionMetrics, clock: _Clock) -> None:
        """A forked child begins anew, even when its parent was inside the metrics when it forked."""
        fresh = SessionMetrics(clock).snapshot({})
        metrics.observe(_completion(success=False))
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with metrics._lock:
                held.set()
                release.wait(timeout=30)

        holder = threading.Thread(target=hold, daemon=True)
        holder.start()
        assert held.wait(timeout=10)
        metrics.reset_after_fork()
        assert fresh == metrics.snapshot({})
        release.set()
        holder.join(timeout=10)

    def test_logging_from_a_signal_handler(self, metrics: SessionMetrics) -> None:
        """A snapshot taken while the same thread is inside the metrics, as a signal handler may, does not hang."""
        done = threading.Event()

        def interrupted() -> None:
            with metrics._lock:
                metrics.snapshot({})
            done.set()

        threading.Thread(target=interrupted, daemon=True).start()
        assert done.wait(timeout=10)


class TestDue:
    def test_once_per_interval(self, metrics: SessionMetrics) -> None:
        """After every third completion metrics are due, once."""
        answers = []
        for _ in range(7):
            metrics.observe(_completion())
            answers.append((metrics.due(3), metrics.due(3)))
        no, yes = (False, False), (True, False)
        assert [no, no, yes, no, no, yes, no] == answers

    def test_none_is_skipped(self, metrics: SessionMetrics) -> None:
        """Intervals that passed before anybody asked are still due, each once."""
        for _ in range(7):
            metrics.observe(_completion())
        assert [True, True, False] == [metrics.due(3) for _ in range(3)]

    @pytest.mark.parametrize("interval", [0, -1])
    def test_no_interval(self, metrics: SessionMetrics, interval: int) -> None:
        """Without a positive interval metrics are never due."""
        metrics.observe(_completion())
        assert not metrics.due(interval)

    def test_threads(self, metrics: SessionMetrics) -> None:
        """Over all threads together metrics are due exactly once per interval, and nothing is lost."""
        per_thread, due = 500, [0] * 8
        barrier = threading.Barrier(8)

        def work(number: int) -> None:
            barrier.wait(timeout=30)
            for _ in range(per_thread):
                metrics.observe(_completion(cost_estimate_usd=0.1))
                due[number] += metrics.due(10)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        snapshot = metrics.snapshot({})
        assert (4000, 400, 400.0) == (
            snapshot["total_completions"],
            sum(due),
            snapshot["total_cost_estimate_usd"],
        )


class TestQuantileSketch:
    def test_empty(self) -> None:
        """Nothing has no quantiles."""
        assert None is QuantileSketch().quantile(0.5)

    def test_within_one_percent(self) -> None:
        """Every quantile is within the relative error of the exact one."""
        sketch = QuantileSketch()
        values = [1.5 ** (number / 100) for number in range(2000)]
        for value in values:
            sketch.add(value)
        for q in (0, 0.01, 0.5, 0.95, 0.99, 1):
            exact = values[math.floor(q * (len(values) - 1))]
            assert sketch.quantile(q) == pytest.approx(exact, rel=0.01)

    def test_zero(self) -> None:
        """Zero and what is next to it are values too."""
        sketch = QuantileSketch()
        for value in (0.0, 0.0, 0.0001, 100.0):
            sketch.add(value)
        assert (0.0, 0.0, 100.0) == (sketch.quantile(0), sketch.quantile(0.5), sketch.quantile(1))

    def test_merge(self) -> None:
        """Merged sketches equal the sketch of all values."""
        left, right, whole = QuantileSketch(), QuantileSketch(), QuantileSketch()
        for number in range(100):
            (left if number % 3 else right).add(number * 1.7)
            whole.add(number * 1.7)
        left.merge(right)
        assert whole.to_dict() == left.to_dict()

    def test_merge_of_different_errors(self) -> None:
        """Sketches of different errors have different buckets and do not merge."""
        with pytest.raises(ValueError, match="same relative_error"):
            QuantileSketch(0.01).merge(QuantileSketch(0.02))

    @pytest.mark.parametrize("error", [0, 1, -0.5, 2])
    def test_relative_error_out_of_range(self, error: float) -> None:
        """An error outside of 0 to 1 is refused when the sketch is made."""
        with pytest.raises(ValueError, match="between 0 and 1"):
            QuantileSketch(error)

    def test_to_dict(self) -> None:
        """The state is JSON-safe, buckets in order."""
        sketch = QuantileSketch()
        empty = {"relative_error": 0.01, "count": 0, "zeros": 0, "min": None, "max": None, "buckets": {}}
        assert empty == sketch.to_dict()
        for value in (100, 1, 1, 0):
            sketch.add(value)
        expected = {
            "relative_error": 0.01,
            "count": 4,
            "zeros": 1,
            "min": 0,
            "max": 100,
            "buckets": {"0": 2, "231": 1},
        }
        assert expected == sketch.to_dict()
        assert expected == orjson.loads(orjson.dumps(expected))

    def test_size_is_bounded(self) -> None:
        """From a microsecond to a day in milliseconds there are fewer than 1,300 buckets."""
        sketch = QuantileSketch()
        value = 1e-4
        while value < 1e8:
            sketch.add(value)
            value *= 1.01
        assert 1300 > len(sketch.to_dict()["buckets"])
