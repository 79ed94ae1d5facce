"""Properties of prices that hold for every table of overrides, every usage and every model of the list."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import genai_prices
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from structllm.errors import ConfigError
from structllm.pricing import GenaiPrices, open_prices
from structllm.processors.price import Price
from structllm.settings_pricing import PricingSettings
from structllm.usage import BUCKETS, Part, Usage

few = settings(max_examples=60, deadline=None)
PRICES = GenaiPrices()

_names = st.sampled_from(
    ["gpt-9", "o3-mini", "o3", "gpt-", "models/gpt-9", "us.anthropic.claude-9", "(gpt", ".*", "a|b"]
)
_texts = _names | st.text(max_size=12)
_amounts = st.sampled_from([0, "0", "1.1", 1e-9, "1e3", -1, "x", None, True, 10**9]) | st.floats()
_rates = st.dictionaries(st.sampled_from([*BUCKETS, "input", "output", "x"]), _amounts, max_size=4)
_overrides = st.fixed_dictionaries(
    {"model": _texts},
    optional={
        "match": st.sampled_from(["exact", "prefix", "regex", "other"]),
        "provider": st.sampled_from(["openai", "azure", "", None]),
        "effective_from": st.sampled_from(["2026-01-01", "2026-12-01", "soon"]),
        "effective_to": st.sampled_from(["2026-06-01", "2027-01-01"]),
        "rates": _rates,
        "multiplier": _amounts,
        "examples": st.lists(_names, max_size=2),
    },
)
_good_overrides = st.fixed_dictionaries(
    {
        "model": _names,
        "rates": st.dictionaries(st.sampled_from(BUCKETS), st.sampled_from(["0.1", 3, "1e-9", 250]), min_size=1),
    }
)
_counts = st.integers(0, 10**12) | st.integers(0, 3)
_plain_usages = st.tuples(*[_counts for _ in BUCKETS]).map(lambda counts: Usage(*counts))
_parts = st.lists(st.tuples(st.none() | _texts, _plain_usages), max_size=2)
_usages = st.tuples(_plain_usages, _parts).map(
    lambda both: both[0]._replace(parts=tuple(Part(*part) for part in both[1]))
)
_times = st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31), timezones=st.sampled_from([UTC, None]))
_providers = st.none() | st.sampled_from(["openai", "azure", "aws", "anthropic", "nobody"]) | st.text(max_size=8)
_tiers = st.none() | st.sampled_from(["flex", "priority", "batch", "default", "x"])


class TestEveryTable:
    @few
    @given(st.lists(_overrides, max_size=3), _usages, _texts, _providers, _times, _tiers)
    def test_refused_or_used(
        self,
        overrides: list[Any],
        usage: Usage,
        model: str,
        provider: str | None,
        at: datetime,
        tier: str | None,
    ) -> None:
        """A table is refused with a ConfigError or it prices every usage, or says that it cannot."""
        try:
            prices = open_prices(PricingSettings(overrides=overrides))
        except ConfigError:
            return
        cost = prices.price(usage, model, provider=provider, at=at, service_tier=tier)
        if cost is not None:
            assert cost.cost_usd.is_finite()
            assert cost.cost_usd >= 0
            with localcontext(prec=60):
                assert cost.cost_usd == sum(cost.breakdown.values())

    @few
    @given(st.lists(_good_overrides, max_size=3), _usages, _names, _providers, _times, _tiers)
    def test_no_zero_for_want_of_knowledge(
        self, overrides: list[Any], usage: Usage, model: str, provider: str | None, at: datetime, tier: str | None
    ) -> None:
        """Where no price is zero, a call with tokens costs more than zero, or it is not said what it costs."""
        price = Price(open_prices(PricingSettings(overrides=overrides)))
        cost = price._source.price(usage, model, provider=provider, at=at, service_tier=tier)
        if cost is not None and not cost.unpriced and usage.total_tokens:
            assert cost.cost_usd > 0

    @few
    @given(_amounts, st.dictionaries(_texts, _texts, max_size=2), st.dictionaries(_texts, _texts, max_size=2), _texts)
    def test_other_settings(
        self, discount: Any, deployments: dict[str, str], base_urls: dict[str, str], name: str
    ) -> None:
        """Discounts and maps are refused or used, too, and no base URL is a problem."""
        try:
            prices = open_prices(PricingSettings(discount=discount, deployments=deployments, base_urls=base_urls))
        except ConfigError:
            return
        prices.provider_at(name)
        cost = prices.price(Usage(1000), name, provider=None, at=datetime(2026, 11, 1, tzinfo=UTC))
        assert cost is None or cost.cost_usd >= 0


_listed = [
    (provider.id, model.id)
    for provider in get_snapshot().providers
    for model in provider.models
    if "/" not in provider.id
]


class TestEveryListedModel:
    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(_listed), st.integers(1, 10**6), st.integers(1, 10**5), st.integers(0, 60 * 24 * 700))
    def test_equals_the_list_or_is_unknown(
        self, listed: tuple[str, str], length: int, output: int, minutes: int
    ) -> None:
        """Of whatever model and time, a price is the one that the list itself computes for that model."""
        provider, name = listed
        at = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
        cost = PRICES.price(Usage(length, output_text=output), name, provider=provider, at=at)
        if cost is None or cost.unpriced:
            return
        theirs = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=length, output_tokens=output),
            name,
            provider_id=provider,
            genai_request_timestamp=at,
        )
        assert (theirs.total_price, f"{theirs.provider.id}/{theirs.model.id}") == (cost.cost_usd, cost.price_model)

    def test_most_are_priced(self) -> None:
        """Strictness about names costs no model of the list its price."""
        at = datetime(2026, 11, 1, tzinfo=UTC)
        lost = []
        for provider, name in _listed:
            try:
                theirs = genai_prices.calc_price(
                    genai_prices.Usage(input_tokens=1000), name, provider_id=provider, genai_request_timestamp=at
                )
            except LookupError:
                continue
            if theirs.total_price > 0 and PRICES.price(Usage(1000), name, provider=provider, at=at) is None:
                lost.append((provider, name))
        assert [] == lost

    def test_sums_are_exact(self) -> None:
        """Counts of any size and rates of any scale add up without rounding."""
        usage = Usage(10**12, cache_read=10**12 - 1, output_text=7, output_reasoning=1)
        prices = open_prices(
            PricingSettings(
                overrides=[{"model": "m", "rates": {"input": "999999.999999999", "cache_read": "1e-15", "output": 3}}]
            )
        )
        cost = prices.price(usage, "m", provider=None, at=datetime(2026, 11, 1, tzinfo=UTC))
        assert cost is not None
        # The products by hand: 10^6 (in millions) x 999999.999999999; 999999.999999 x 10^-15; 8 x 0.000003.
        parts = ["999999999999.999", "0.000000000999999999999", "0.000024"]
        with localcontext(prec=60):
            assert sum(map(Decimal, parts)) == cost.cost_usd
