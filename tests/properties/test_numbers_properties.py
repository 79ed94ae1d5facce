"""Properties of tokens, costs and metrics that hold for every input."""

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structllm.metrics import QuantileSketch, SessionMetrics
from structllm.pricing import GenaiPrices
from structllm.processors.price import Price
from structllm.usage import Usage

PRICES = GenaiPrices()
counts = st.integers(0, 10**7)
few = settings(max_examples=100, deadline=None)

_keys = st.sampled_from(
    [
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "input_tokens",
        "output_tokens",
        "prompt_tokens_details",
        "output_token_details",
        "cache_creation",
        "cache_creation_input_tokens",
        "cached_tokens",
        "server_tool_use",
        "iterations",
        "type",
        "reasoning_tokens",
        "audio_tokens",
    ]
)
garbage = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**15) | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=5),
    max_leaves=20,
)


_models = st.sampled_from(
    [
        ("openai", "o3"),
        ("openai", "o3-mini"),
        ("openai", "gpt-5.4"),
        ("google", "gemini-2.5-pro"),
        ("anthropic", "claude-sonnet-4-5"),
        ("deepseek", "deepseek-chat"),
        ("deepseek", "deepseek-v4-flash"),
    ]
)
_lengths = st.sampled_from([1, 199_999, 200_000, 200_001, 272_000, 272_001, 999_999]) | st.integers(1, 10**6)
_minutes = st.integers(0, 60 * 24 * 600)


class TestPrices:
    @few
    @given(_models, _lengths, st.floats(0, 1), counts, _minutes, st.sampled_from([None, "flex", "priority", "batch"]))
    def test_equals_the_list(
        self, model: tuple[str, str], length: int, share: float, output: int, minutes: int, tier: str | None
    ) -> None:
        """Flattened and remembered rates give what the list itself computes, at every time, length and tier."""
        provider, name = model
        at = datetime(2025, 5, 1, tzinfo=UTC) + timedelta(minutes=minutes)
        cached = int(length * share)
        context = None if tier is None else {"processing": tier} if tier == "batch" else {"service_tier": tier}
        expected = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=length, cache_read_tokens=cached, output_tokens=output),
            name,
            provider_id=provider,
            genai_request_timestamp=at,
            price_context=context,
        ).total_price
        usage = Usage(input_uncached=length - cached, cache_read=cached, output_text=output)
        cost = PRICES.price(usage, name, provider=provider, at=at, service_tier=tier)
        assert cost is not None
        # A tier that the list does not have it prices as standard, which we do not.
        assert cost.cost_usd == sum(cost.breakdown.values())
        if "service_tier" in cost.unpriced:
            assert cost.cost_usd in {0, expected}
        else:
            assert (expected, ()) == (cost.cost_usd, cost.unpriced)

    @few
    @given(_models, counts, counts)
    def test_digits(self, model: tuple[str, str], prompt: int, completion: int) -> None:
        """A cost in an event has at most ten digits after the point and is the nearest number that has."""
        event: dict[str, Any] = {
            "event_type": "completion_response",
            "timestamp": "2026-01-15T10:30:45.123Z",
            "provider": model[0],
            "model": model[1],
            "token_usage": {"prompt_tokens": prompt, "completion_tokens": completion},
        }
        written = Decimal(repr(Price(PRICES)(None, "info", event)["cost_estimate_usd"]))
        exact = PRICES.price(
            Usage(input_uncached=prompt, output_text=completion),
            model[1],
            provider=model[0],
            at=datetime(2026, 1, 15, 10, 30, 45, tzinfo=UTC),
        )
        assert exact is not None
        assert written == round(written, 10)
        assert abs(written - exact.cost_usd) <= Decimal("1e-10")

    @few
    @given(garbage, garbage, garbage, garbage)
    def test_garbage_is_priced_or_null(self, usage: Any, raw: Any, timestamp: Any, time_ms: Any) -> None:
        """Pricing never raises; without a cost there is a status, and a cost is a number that is not negative."""
        event: dict[str, Any] = {
            "event_type": "completion_response",
            "model": "o3-mini",
            "timestamp": timestamp,
            "response_time_ms": time_ms,
            "token_usage": usage,
            "raw_usage": raw,
        }
        priced = Price(PRICES)(None, "info", event)
        cost = priced["cost_estimate_usd"]
        if cost is None:
            assert priced["cost_status"] in {"no_usage", "bad_usage", "no_split", "partial"}
        else:
            assert priced["cost_status"] == "ok"
            assert cost >= 0


_values = st.lists(st.floats(0, 1e9), min_size=1, max_size=200)


class TestMetrics:
    @few
    @given(_values, st.floats(0, 1))
    def test_quantile_error(self, values: list[float], q: float) -> None:
        """A quantile is within one percent of the exact one, or both are next to zero."""
        sketch = QuantileSketch()
        for value in values:
            sketch.add(value)
        exact = sorted(values)[math.floor(q * (len(values) - 1))]
        assert sketch.quantile(q) == pytest.approx(exact, rel=0.01 + 1e-9, abs=QuantileSketch.SMALLEST)

    @few
    @given(_values, st.integers(0, 200))
    def test_merge_is_exact(self, values: list[float], cut: int) -> None:
        """However values are divided, the merged sketches are the sketch of all."""
        whole, left, right = QuantileSketch(), QuantileSketch(), QuantileSketch()
        for value in values:
            whole.add(value)
        for value in values[:cut]:
            left.add(value)
        for value in values[cut:]:
            right.add(value)
        left.merge(right)
        assert whole.to_dict() == left.to_dict()

    @few
    @given(st.lists(st.decimals(0, 1000, places=10), max_size=50))
    def test_sum_is_exact(self, costs: list[Decimal]) -> None:
        """The total is the float nearest to the exact sum."""
        metrics = SessionMetrics(lambda: datetime(2026, 1, 15, tzinfo=UTC))
        for cost in costs:
            metrics.observe({"cost_estimate_usd": float(cost)})
        assert float(sum(costs)) == metrics.snapshot({})["total_cost_estimate_usd"]

    @few
    @given(st.lists(st.dictionaries(st.sampled_from(["model", "success", "error_type", "token_usage"]), garbage)))
    def test_garbage_is_counted(self, events: list[dict[str, Any]]) -> None:
        """Every completion is counted once, whatever it holds."""
        metrics = SessionMetrics(lambda: datetime(2026, 1, 15, tzinfo=UTC))
        for event in events:
            metrics.observe(event)
        snapshot = metrics.snapshot({})
        assert len(events) == snapshot["total_completions"]
        assert len(events) == sum(entry["completions"] for entry in snapshot["by_model"].values())
