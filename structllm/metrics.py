"""The metrics of one logger: folded event by event, exact where a sum can be exact, and of bounded size.

Costs are added as whole numbers of 1e-10 USD (the last digit that an event's cost has), so that ten cents and twenty
are thirty. Quantiles come from logarithmic buckets and are within 1 % of the exact value.
"""

import math
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from structllm._types import Clock

MAX_MODELS = 200
MAX_ERROR_TYPES = 100
OTHER = "(other)"
"""Where models and error types are counted that come after the first `MAX_MODELS` and `MAX_ERROR_TYPES`."""
UNKNOWN = "(unknown)"

_COST_UNITS = 10**10
_MAX_COST_USD = 1e12
_MAX_TIME_MS = 1e12


class QuantileSketch:
    """Quantiles of a stream of non-negative numbers, within a relative error, in bounded memory.

    Counts values in buckets whose bounds grow by a constant factor (the scheme of DDSketch, Masson, Rim and Lee, VLDB
    2019). Two sketches of the same error merge exactly, by adding counts. Not thread-safe by itself.

    Args:
        relative_error: Largest relative error of a quantile, between 0 and 1 exclusive.

    Raises:
        ValueError: The relative error is out of range.
    """

    SMALLEST = 1e-3
    """Smaller values count as zero; with milliseconds that is a microsecond."""

    def __init__(self, relative_error: float = 0.01) -> None:
        if not 0 < relative_error < 1:
            raise ValueError("relative_error must lie between 0 and 1")
        self.relative_error = relative_error
        self._gamma = (1 + relative_error) / (1 - relative_error)
        self._per_log = 1 / math.log(self._gamma)
        self._buckets: dict[int, int] = {}
        self._zeros = 0
        self.count = 0
        self.min = math.inf
        self.max = -math.inf

    def add(self, value: float) -> None:
        """Count one value, finite and not negative."""
        self.count += 1
        if value < self.min:
            self.min = value
        if value > self.max:
            self.max = value
        if value < self.SMALLEST:
            self._zeros += 1
            return
        bucket = math.ceil(math.log(value) * self._per_log)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def quantile(self, q: float) -> float | None:
        """Return the value below which a share `q` (0 to 1) of the values lie; None when there are none.

        The exact answer is the value at index `floor(q * (count - 1))` of the sorted values.
        """
        if not self.count:
            return None
        rank = math.floor(q * (self.count - 1))
        seen = self._zeros
        if rank < seen:
            return max(0.0, self.min)
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if rank < seen:
                middle = 2 * self._gamma**bucket / (self._gamma + 1)
                return min(max(middle, self.min), self.max)
        return self.max

    def merge(self, other: "QuantileSketch") -> None:
        """Add another sketch to this one, as if its values had been added here.

        Raises:
            ValueError: The sketches have different errors.
        """
        if other.relative_error != self.relative_error:
            raise ValueError("only sketches of the same relative_error merge")
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self._zeros += other._zeros
        self.count += other.count
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)

    def to_dict(self) -> dict[str, Any]:
        """Return the state as JSON-safe values, buckets in order."""
        return {
            "relative_error": self.relative_error,
            "count": self.count,
            "zeros": self._zeros,
            "min": self.min if self.count else None,
            "max": self.max if self.count else None,
            "buckets": {str(bucket): self._buckets[bucket] for bucket in sorted(self._buckets)},
        }


class _Tally:
    """What is summed, per model. The whole is the sum of the models, so a completion is counted once."""

    __slots__ = (
        "completion_tokens",
        "completions",
        "cost",
        "errors",
        "prompt_tokens",
        "time_ms",
        "timed",
        "tokens",
        "unpriced",
    )

    def __init__(self) -> None:
        self.completions = 0
        self.errors = 0
        self.timed = 0
        self.time_ms = 0.0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.tokens = 0
        self.cost = 0
        self.unpriced = 0

    def add(self, other: "_Tally") -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class SessionMetrics:
    """Cumulative metrics of one logger, fed by `Observe` from any thread.

    Args:
        clock: Tells when the window begins and ends.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Begin anew: a forked child counts its own completions, and its parent's lock may never be released."""
        # Reentrant: a signal handler may log while the thread that it interrupts is in here.
        self._lock = threading.RLock()
        self._start = self._clock()
        self._models: dict[str, _Tally] = {}
        self._errors_by_type: Counter[str] = Counter()
        self._times = QuantileSketch()
        self._completions = 0
        self._due = 0

    def observe(self, event: Mapping[str, Any]) -> None:
        """Fold one `completion_response`. Fields that are missing or of another type count as unknown."""
        get = event.get
        model: Any = get("model") or get("response_model")
        time_ms: Any = get("response_time_ms")
        usage: Any = get("token_usage")
        cost: Any = get("cost_estimate_usd")
        with self._lock:
            self._completions += 1
            tally = self._models.get(model) if type(model) is str else None
            if tally is None:
                tally = self._tally(model)
            tally.completions += 1
            if (type(time_ms) is float or type(time_ms) is int) and 0 <= time_ms <= _MAX_TIME_MS:
                tally.timed += 1
                tally.time_ms += time_ms
                self._times.add(time_ms)
            if type(usage) is dict:
                counts = cast("dict[str, Any]", usage)
                if type(tokens := counts.get("prompt_tokens")) is int:
                    tally.prompt_tokens += tokens
                if type(tokens := counts.get("completion_tokens")) is int:
                    tally.completion_tokens += tokens
                if type(tokens := counts.get("total_tokens")) is int:
                    tally.tokens += tokens
            if (type(cost) is float or type(cost) is int) and 0 <= cost <= _MAX_COST_USD:
                tally.cost += round(cost * _COST_UNITS)
            else:
                tally.unpriced += 1
            if get("success") is False:
                tally.errors += 1
                self._count_error(get("error_type") or get("outcome"))

    def due(self, interval: int) -> bool:
        """Tell whether periodic metrics are due: True once for every `interval` completions, over all threads."""
        if interval <= 0:
            return False
        with self._lock:
            if self._completions - self._due < interval:
                return False
            self._due += interval
            return True

    @property
    def total_completions(self) -> int:
        """Completions that ended."""
        return self._completions

    @property
    def avg_response_time_ms(self) -> float | None:
        """Mean response time; None before the first."""
        with self._lock:
            return _average_ms(self._total())

    def snapshot(self, dropped: Mapping[str, int], redactions: Mapping[str, int] | None = None) -> dict[str, Any]:
        """Return the fields of a `performance_metrics` event.

        Args:
            dropped: Records that sinks did not take, by reason; passed through.
            redactions: How often redaction replaced something, by rule; passed through.

        Returns:
            Totals, which are always numbers; averages, rates and quantiles, which are None where nothing was measured.
        """
        end = self._clock()
        with self._lock:
            total, times = self._total(), self._times
            duration_s = max(0.0, (end - self._start).total_seconds())
            return {
                "total_completions": total.completions,
                "avg_response_time_ms": _average_ms(total),
                "min_response_time_ms": _ms(times.min if times.count else None),
                "max_response_time_ms": _ms(times.max if times.count else None),
                "total_tokens": total.tokens,
                "total_cost_estimate_usd": total.cost / _COST_UNITS,
                "tokens_per_second": round(total.tokens * 1000 / total.time_ms, 1) if total.time_ms > 0 else None,
                "p50_response_time_ms": _ms(times.quantile(0.50)),
                "p95_response_time_ms": _ms(times.quantile(0.95)),
                "p99_response_time_ms": _ms(times.quantile(0.99)),
                "success_rate": round(1 - total.errors / total.completions, 6) if total.completions else None,
                "completions_per_hour": round(total.completions * 3600 / duration_s, 2) if duration_s else None,
                "prompt_tokens": total.prompt_tokens,
                "completion_tokens": total.completion_tokens,
                "by_model": {name: _model(tally) for name, tally in self._models.items()},
                "unpriced_calls": total.unpriced,
                "errors_by_type": dict(self._errors_by_type),
                "dropped": dict(dropped),
                "redactions_by_rule": dict(redactions or {}),
                "window": {"start": _rfc3339(self._start), "end": _rfc3339(end), "duration_s": round(duration_s, 3)},
            }

    def _tally(self, model: Any) -> _Tally:
        """Return the tally of a model that has none yet, or is no name."""
        name = model if type(model) is str else UNKNOWN
        if name not in self._models and len(self._models) >= MAX_MODELS:
            name = OTHER
        return self._models.setdefault(name, _Tally())

    def _count_error(self, error_type: Any) -> None:
        name = error_type if type(error_type) is str else UNKNOWN
        if name not in self._errors_by_type and len(self._errors_by_type) >= MAX_ERROR_TYPES:
            name = OTHER
        self._errors_by_type[name] += 1

    def _total(self) -> _Tally:
        total = _Tally()
        for tally in self._models.values():
            total.add(tally)
        return total


def _model(tally: _Tally) -> dict[str, Any]:
    return {
        "completions": tally.completions,
        "errors": tally.errors,
        "avg_response_time_ms": _average_ms(tally),
        "total_tokens": tally.tokens,
        "cost_estimate_usd": tally.cost / _COST_UNITS,
        "unpriced_calls": tally.unpriced,
    }


def _average_ms(tally: _Tally) -> float | None:
    return _ms(tally.time_ms / tally.timed) if tally.timed else None


def _ms(value: float | None) -> float | None:
    """Round milliseconds to microseconds."""
    return None if value is None else round(value, 3)


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
