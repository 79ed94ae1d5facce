"""Prices: the right rates at the right time, and None where they are not known."""

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from importlib.metadata import version
from typing import Any

import genai_prices
import pytest
from genai_prices import types as genai_types
from genai_prices.data_snapshot import get_snapshot

from structllm.pricing import Cost, GenaiPrices, genai
from structllm.pricing.tables import RateTables
from structllm.usage import Part, Usage, read_usage

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def prices() -> GenaiPrices:
    return GenaiPrices()


def _known(cost: Cost | None) -> Cost:
    assert cost is not None
    return cost


def _tables(schedule: genai._Schedule, at: datetime) -> RateTables:
    tables = schedule.at(at)
    assert tables is not None
    return tables


class TestFacts:
    def test_o3_mini(self, prices: GenaiPrices) -> None:
        """150 tokens at 1.10 and 75 at 4.40 USD per million are 0.000495 USD."""
        usage = Usage(input_uncached=150, output_text=75)
        expected = Cost(
            cost_usd=Decimal("0.000495"),
            source="genai-prices",
            price_model="openai/o3-mini",
            price_version=f"genai-prices/{version('genai-prices')}",
            breakdown={"input_uncached": Decimal("0.000165"), "output_text": Decimal("0.00033")},
        )
        assert expected == prices.price(usage, "o3-mini", provider="openai", at=NOW)

    @pytest.mark.parametrize(
        ("at", "expected"),
        [
            (datetime(2025, 6, 9, 23, 59, 59, tzinfo=UTC), Decimal("1.4")),
            (datetime(2025, 6, 10, tzinfo=UTC), Decimal("0.28")),
            (datetime(2025, 6, 10, 1, tzinfo=timezone(timedelta(hours=2))), Decimal("1.4")),
            (datetime(2025, 6, 9, 23, tzinfo=timezone(timedelta(hours=-2))), Decimal("0.28")),
            (datetime(2025, 6, 10), Decimal("0.28")),
        ],
    )
    def test_price_of_the_day(self, prices: GenaiPrices, at: datetime, expected: Decimal) -> None:
        """o3 became cheaper on 2025-06-10 UTC: 100,000 and 10,000 tokens were 1.40 USD before, 0.28 from then on."""
        usage = Usage(input_uncached=100_000, output_text=10_000)
        assert expected == _known(prices.price(usage, "o3", provider="openai", at=at)).cost_usd

    @pytest.mark.parametrize(("tokens", "expected"), [(200_000, "0.26"), (200_001, "0.5150025")])
    def test_long_prompt_is_a_cliff(self, prices: GenaiPrices, tokens: int, expected: str) -> None:
        """From 200,001 input tokens gemini-2.5-pro bills every token at the higher rate."""
        usage = Usage(input_uncached=tokens, output_text=1000)
        cost = _known(prices.price(usage, "gemini-2.5-pro", provider="google", at=NOW))
        assert Decimal(expected) == cost.cost_usd

    def test_cliff_counts_cached_tokens(self, prices: GenaiPrices) -> None:
        """The length of a prompt includes what was read from the cache."""
        usage = Usage(input_uncached=1, cache_read=200_000)
        cost = _known(prices.price(usage, "gemini-2.5-pro", provider="google", at=NOW))
        assert Decimal("0.0000025") == cost.breakdown["input_uncached"]

    def test_cache_lifetimes(self, prices: GenaiPrices) -> None:
        """10,000 tokens, of which 2,000 read, 1,000 written for 5 minutes, 2,000 for an hour, and 500 out: 0.03885."""
        usage = Usage(input_uncached=5000, cache_read=2000, cache_write_5m=1000, cache_write_1h=2000, output_text=500)
        cost = _known(prices.price(usage, "claude-sonnet-4-5", provider="anthropic", at=NOW))
        expected = {
            "input_uncached": Decimal("0.015"),
            "cache_read": Decimal("0.0006"),
            "cache_write_5m": Decimal("0.00375"),
            "cache_write_1h": Decimal("0.012"),
            "output_text": Decimal("0.0075"),
        }
        assert expected == cost.breakdown
        assert Decimal("0.03885") == cost.cost_usd

    @pytest.mark.parametrize(
        "at", [datetime(2025, 7, 1, hour, minute, tzinfo=UTC) for hour in (0, 16) for minute in (29, 30)]
    )
    def test_time_of_day(self, prices: GenaiPrices, at: datetime) -> None:
        """DeepSeek's rates by the hour switch at the minute that the list says."""
        expected = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=1000, output_tokens=100),
            "deepseek-chat",
            provider_id="deepseek",
            genai_request_timestamp=at,
        ).total_price
        usage = Usage(input_uncached=1000, output_text=100)
        assert expected == _known(prices.price(usage, "deepseek-chat", provider="deepseek", at=at)).cost_usd

    def test_web_searches(self, prices: GenaiPrices) -> None:
        """A search costs a hundredth of a dollar."""
        usage = Usage(input_uncached=7744, output_text=353, web_searches=1)
        cost = _known(prices.price(usage, "claude-sonnet-4-5", provider="anthropic", at=NOW))
        assert Decimal("0.038527") == cost.cost_usd

    def test_fee_per_request(self, prices: GenaiPrices) -> None:
        """A fee per request is part of the cost."""
        usage = Usage(input_uncached=10, output_text=5)
        expected = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=10, output_tokens=5),
            "sonar",
            provider_id="perplexity",
            genai_request_timestamp=NOW,
        ).total_price
        cost = _known(prices.price(usage, "sonar", provider="perplexity", at=NOW))
        assert expected == cost.cost_usd
        assert cost.breakdown["request"] > 0

    def test_reasoning_is_output(self, prices: GenaiPrices) -> None:
        """Reasoning is billed as output and shown apart."""
        usage = Usage(input_uncached=100, output_text=30, output_reasoning=45)
        cost = _known(prices.price(usage, "o3-mini", provider="openai", at=NOW))
        assert Decimal("0.000198") == cost.breakdown["output_reasoning"]
        assert () == cost.unpriced

    def test_free_models_cost_nothing(self, prices: GenaiPrices) -> None:
        """A model that is free by its name has a price, and it is zero."""
        usage = Usage(input_uncached=100, output_text=30)
        name = next(
            model.id
            for provider in get_snapshot().providers
            if provider.id == "openrouter"
            for model in provider.models
            if model.id.endswith(":free")
            and isinstance(model.prices, genai_types.ModelPrice)
            and not vars(model.prices)
        )
        cost = _known(prices.price(usage, name, provider="openrouter", at=NOW))
        assert (Decimal(0), ()) == (cost.cost_usd, cost.unpriced)


class TestPartial:
    def test_audio_without_rate(self, prices: GenaiPrices) -> None:
        """Tokens of a kind without a rate of its own are named, and not billed at another kind's rate."""
        usage = Usage(input_uncached=100, input_audio=69, output_text=10)
        cost = _known(prices.price(usage, "o3-mini", provider="openai", at=NOW))
        assert ("input_audio",) == cost.unpriced
        assert Decimal("0.000154") == cost.cost_usd

    def test_unsplit_tokens(self, prices: GenaiPrices) -> None:
        """Tokens that are neither input nor output have no rate."""
        usage = Usage(input_uncached=100, output_text=10, unsplit=5)
        assert ("unsplit",) == _known(prices.price(usage, "o3-mini", provider="openai", at=NOW)).unpriced

    def test_assumed_lifetime_is_flagged(self, prices: GenaiPrices) -> None:
        """A cache write of unknown lifetime is doubtful where the lifetimes differ in price, and only there."""
        usage = Usage(input_uncached=10, cache_write_5m=5, output_text=1, cache_lifetime_assumed=True)
        doubtful = _known(prices.price(usage, "claude-sonnet-4-5", provider="anthropic", at=NOW))
        certain = _known(prices.price(usage, "gpt-5.6-luna", provider="openai", at=NOW))
        assert (("cache_lifetime_assumed",), ()) == (doubtful.flags, certain.flags)


class TestTiers:
    def test_listed_tier(self, prices: GenaiPrices) -> None:
        """A tier that the list knows has its own rates."""
        usage = Usage(input_uncached=1000, output_text=100)
        standard = _known(prices.price(usage, "gpt-5", provider="openai", at=NOW))
        flex = _known(prices.price(usage, "gpt-5", provider="openai", at=NOW, service_tier="flex"))
        assert standard.cost_usd / 2 == flex.cost_usd
        assert () == flex.flags

    def test_batch(self, prices: GenaiPrices) -> None:
        """Batch is a way of processing in the list and a tier in events."""
        usage = Usage(input_uncached=1000, output_text=100)
        standard = _known(prices.price(usage, "claude-sonnet-4-5", provider="anthropic", at=NOW))
        batch = _known(prices.price(usage, "claude-sonnet-4-5", provider="anthropic", at=NOW, service_tier="batch"))
        assert standard.cost_usd / 2 == batch.cost_usd

    @pytest.mark.parametrize("tier", ["flex", "platinum", "scale"])
    def test_unlisted_tier(self, prices: GenaiPrices, tier: str) -> None:
        """What may be cheaper than the standard tier has no price and no bound where the list does not have it."""
        usage = Usage(input_uncached=1000, output_text=100)
        cost = _known(prices.price(usage, "o3-mini", provider="openai", at=NOW, service_tier=tier))
        assert (0, {}, ("service_tier",), ("tier_not_listed",)) == (
            cost.cost_usd,
            cost.breakdown,
            cost.unpriced,
            cost.flags,
        )

    @pytest.mark.parametrize("tier", ["priority", "fast", "Priority"])
    def test_unlisted_dearer_tier(self, prices: GenaiPrices, tier: str) -> None:
        """What is dearer than the standard tier costs at least the standard price where the list does not have it."""
        usage = Usage(input_uncached=1000, output_text=100)
        standard = _known(prices.price(usage, "o3-mini", provider="openai", at=NOW))
        cost = _known(prices.price(usage, "o3-mini", provider="openai", at=NOW, service_tier=tier))
        assert standard.breakdown == cost.breakdown
        assert (standard.cost_usd, ("service_tier",)) == (cost.cost_usd, cost.unpriced)

    def test_tier_by_contract(self, prices: GenaiPrices) -> None:
        """Anthropic's priority is paid for in advance: the standard price says nothing about it."""
        usage = Usage(input_uncached=1000, output_text=100)
        cost = _known(prices.price(usage, "claude-sonnet-4-5", provider="anthropic", at=NOW, service_tier="priority"))
        assert (0, ("service_tier",)) == (cost.cost_usd, cost.unpriced)

    def test_tier_at_the_standard_price(self, prices: GenaiPrices) -> None:
        """Groq's flex costs what the standard tier costs."""
        usage, model = Usage(input_uncached=1000, output_text=100), "llama-3.3-70b-versatile"
        standard = prices.price(usage, model, provider="groq", at=NOW)
        assert standard == prices.price(usage, model, provider="groq", at=NOW, service_tier="flex")

    def test_tier_before_it_was_listed(self, prices: GenaiPrices) -> None:
        """A tier that the list prices from some day on is not priced as standard before that day."""
        usage, before = Usage(input_uncached=1000, output_text=100), datetime(2025, 11, 1, tzinfo=UTC)
        cost = _known(prices.price(usage, "gpt-5", provider="openai", at=before, service_tier="flex"))
        assert ("service_tier",) == cost.unpriced

    @pytest.mark.parametrize("tier", [None, "", "default", "standard", "auto", "on_demand", "Default"])
    def test_standard_tiers(self, prices: GenaiPrices, tier: str | None) -> None:
        """The words for the normal tier change nothing."""
        usage = Usage(input_uncached=150, output_text=75)
        cost = _known(prices.price(usage, "o3-mini", provider="openai", at=NOW, service_tier=tier))
        assert (Decimal("0.000495"), ()) == (cost.cost_usd, cost.flags)

    def test_borrowed_model_has_no_tiers(self, prices: GenaiPrices) -> None:
        """Azure's models are looked up at OpenAI, whose tiers are not Azure's."""
        usage = Usage(input_uncached=1000, output_text=100)
        standard = _known(prices.price(usage, "gpt-5", provider="azure", at=NOW))
        flex = _known(prices.price(usage, "gpt-5", provider="azure", at=NOW, service_tier="flex"))
        priority = _known(prices.price(usage, "gpt-5", provider="azure", at=NOW, service_tier="priority"))
        assert [((), standard.cost_usd), (("service_tier",), Decimal(0)), (("service_tier",), standard.cost_usd)] == [
            (cost.unpriced, cost.cost_usd) for cost in (standard, flex, priority)
        ]


class TestParts:
    COMPACTION = Usage(229, output_text=5, parts=(Part(None, Usage(100, cache_write_5m=55_096, output_text=131)),))

    def test_compaction(self, prices: GenaiPrices) -> None:
        """229 in, 5 out; compacted before with 100 in, 55,096 written to the cache, 131 out: 0.209637 USD.

        At 3, 3.75 and 15 USD per million: 0.000687 + 0.000075 + 0.0003 + 0.20661 + 0.001965.
        """
        cost = _known(prices.price(self.COMPACTION, "claude-sonnet-4-6", provider="anthropic", at=NOW))
        expected = {
            "input_uncached": Decimal("0.000687"),
            "output_text": Decimal("0.000075"),
            "part1.input_uncached": Decimal("0.0003"),
            "part1.cache_write_5m": Decimal("0.20661"),
            "part1.output_text": Decimal("0.001965"),
        }
        assert (Decimal("0.209637"), expected, ()) == (cost.cost_usd, cost.breakdown, cost.unpriced)

    def test_from_the_provider_s_object(self, prices: GenaiPrices) -> None:
        """The same from what Anthropic reports, whose counts on top leave the compaction out."""
        counts = {
            "input_tokens": 229,
            "output_tokens": 5,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        }
        compaction = {"type": "compaction", "input_tokens": 100, "output_tokens": 131, "cache_read_input_tokens": 0}
        compaction |= {"cache_creation_input_tokens": 55_096, "cache_creation": {"ephemeral_5m_input_tokens": 55_096}}
        usage = read_usage({**counts, "iterations": [compaction, {"type": "message", **counts}]})
        cost = _known(prices.price(usage, "claude-sonnet-4-6", provider="anthropic", at=NOW))
        assert Decimal("0.209637") == cost.cost_usd

    def test_each_part_has_its_model(self, prices: GenaiPrices) -> None:
        """An adviser of another model is billed at that model's rates."""
        usage = Usage(1000, parts=(Part("claude-opus-4-8", Usage(1000, output_text=10)),) * 2)
        own = _known(prices.price(Usage(1000), "claude-sonnet-4-6", provider="anthropic", at=NOW))
        adviser = _known(prices.price(Usage(1000, output_text=10), "claude-opus-4-8", provider="anthropic", at=NOW))
        cost = _known(prices.price(usage, "claude-sonnet-4-6", provider="anthropic", at=NOW))
        assert own.cost_usd + 2 * adviser.cost_usd == cost.cost_usd == sum(cost.breakdown.values())
        assert 2 * adviser.breakdown["output_text"] == cost.breakdown["claude-opus-4-8.output_text"]

    def test_part_of_an_unknown_model(self, prices: GenaiPrices) -> None:
        """A part without a price makes the rest a lower bound."""
        usage = Usage(1000, parts=(Part("claude-9", Usage(5)), Part(None, Usage(1, input_audio=1))))
        cost = _known(prices.price(usage, "claude-sonnet-4-6", provider="anthropic", at=NOW))
        assert (("claude-9", "part2.input_audio"), Decimal("0.003003")) == (cost.unpriced, cost.cost_usd)

    def test_long_parts_do_not_add_up(self, prices: GenaiPrices) -> None:
        """Two prompts below the cliff are not one beyond it."""
        usage = Usage(150_000, parts=(Part(None, Usage(150_000)),))
        cost = _known(prices.price(usage, "gemini-2.5-pro", provider="google", at=NOW))
        assert Decimal("0.375") == cost.cost_usd


class TestSearches:
    @pytest.mark.parametrize(
        ("tokens", "searches", "flags"), [(200_001, 1, ("tier_ambiguous",)), (200_001, 0, ()), (200_000, 1, ())]
    )
    def test_sum_of_several_prompts(
        self, prices: GenaiPrices, tokens: int, searches: int, flags: tuple[str, ...]
    ) -> None:
        """A long prompt that may be the sum of several short ones is doubtful where length changes the rate."""
        usage = Usage(tokens, web_searches=searches)
        assert flags == _known(prices.price(usage, "claude-sonnet-4-5", provider="anthropic", at=NOW)).flags


class TestNames:
    @pytest.mark.parametrize(
        ("provider", "model", "expected"),
        [
            ("openai", "gpt-4o", "openai/gpt-4o"),
            (None, "gpt-4o", "openai/gpt-4o"),
            ("OpenAI", "GPT-4o", "openai/gpt-4o"),
            (None, "openai:gpt-4o", "openai/gpt-4o"),
            ("openai", "openai:gpt-4o", "openai/gpt-4o"),
            ("litellm", "openai/gpt-4o", "openai/gpt-4o"),
            (None, "azure/gpt-4o", "azure/gpt-4o"),
            ("azure", "azure/gpt-4o", "azure/gpt-4o"),
            ("openai", "azure/gpt-4o", "azure/gpt-4o"),
            ("openai", "anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
            ("openai", "ft:gpt-4o-mini-2024-07-18:acme::x", "openai/ft:gpt-4o-mini"),
            (None, "models/gemini-2.5-pro", "google/gemini-2.5-pro"),
            ("google", "models/gemini-2.5-pro", "google/gemini-2.5-pro"),
            (None, "publishers/google/models/gemini-2.5-pro", "google/gemini-2.5-pro"),
            (None, "projects/p/locations/l/publishers/google/models/gemini-2.5-pro", "google/gemini-2.5-pro"),
            ("google_vertexai", "gemini-2.5-pro", "google/gemini-2.5-pro"),
            (
                "amazon_bedrock",
                "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
            ),
        ],
    )
    def test_spellings(self, prices: GenaiPrices, provider: str | None, model: str, expected: str) -> None:
        """The spellings of clients and gateways all find their model."""
        cost = _known(prices.price(Usage(input_uncached=1), model, provider=provider, at=NOW))
        assert expected == cost.price_model

    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("openai", "gpt-9-unknown"),
            (None, "gpt-9-unknown"),
            (None, "my-own-model"),
            ("my-gateway", "gpt-4o"),
            ("openrouter", "openai/gpt-9-unknown"),
            ("groq", "openai/gpt-4o"),
            ("openai", ""),
            ("openai", "x" * 10_000),
            ("openai", "[[[((("),
            ("openai", "models/"),
            ("openai", "omni-moderation-latest"),
        ],
    )
    def test_unknown(self, prices: GenaiPrices, provider: str | None, model: str) -> None:
        """What the list does not know has no price; another provider's price is never borrowed on a guess."""
        assert None is prices.price(Usage(input_uncached=1), model, provider=provider, at=NOW)


class TestCache:
    def test_misses_are_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An unknown model is looked up once."""
        calls: list[str] = []

        def find(providers: Any, provider: str | None, model: str) -> None:
            calls.append(model)

        monkeypatch.setattr(genai, "find_model", find)
        prices = GenaiPrices()
        for _ in range(5):
            assert None is prices.price(Usage(1), "nope", provider=None, at=NOW)
        assert ["nope"] == calls

    def test_memory_is_bounded(self) -> None:
        """Neither our cache nor the list's own bookkeeping grows with the number of unknown names."""
        snapshot = get_snapshot()
        before = len(snapshot._provider_misses), len(snapshot._lookup_cache), len(snapshot._provider_cache)
        prices = GenaiPrices(cache_size=8)
        for number in range(50):
            prices.price(Usage(1), f"nope-{number}", provider=None, at=NOW)
            prices.price(Usage(1), f"o3-mini-{number}", provider="openai", at=NOW)
        after = len(snapshot._provider_misses), len(snapshot._lookup_cache), len(snapshot._provider_cache)
        assert before == after
        assert 8 == prices._schedule.cache_info().currsize  # type: ignore[attr-defined]  # an lru_cache

    def test_bands_do_not_mix(self, prices: GenaiPrices) -> None:
        """Going back and forth in time gives each time its own price."""
        usage = Usage(input_uncached=100_000, output_text=10_000)
        days = [datetime(2025, 6, day, tzinfo=UTC) for day in (9, 10, 9, 10)]
        expected = [Decimal("1.4"), Decimal("0.28")] * 2
        assert expected == [_known(prices.price(usage, "o3", provider="openai", at=day)).cost_usd for day in days]

    def test_other_libraries_cannot_exchange_the_list(self) -> None:
        """The bundled list counts, not the process-wide one, since `price_version` names the former."""
        from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot

        set_custom_snapshot(DataSnapshot(providers=[], from_auto_update=True))
        try:
            cost = GenaiPrices().price(Usage(1), "o3-mini", provider="openai", at=NOW)
        finally:
            set_custom_snapshot(None)
        assert "openai/o3-mini" == _known(cost).price_model

    def test_list_is_imported_late(self) -> None:
        """Neither importing the module nor making a source imports the price list, which takes a while."""
        code = (
            "import sys, structllm.pricing as p, structllm.processors.price as q; q.Price(p.GenaiPrices());"
            "print('genai_prices' in sys.modules)"
        )
        command = [sys.executable, "-c", code]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert "False" == result.stdout.strip()

    def test_load(self) -> None:
        """Loading ahead of time is possible and harmless."""
        prices = GenaiPrices()
        prices.load()
        assert prices.price(Usage(150, output_text=75), "o3-mini", provider="openai", at=NOW) is not None


class TestFailures:
    def test_lookup_raises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An exception of the list while a model is looked up means that the price is not known."""

        def fail(*_: Any) -> None:
            raise AttributeError("modality")

        monkeypatch.setattr(genai, "find_model", fail)
        assert None is GenaiPrices().price(Usage(1), "o3-mini", provider="openai", at=NOW)

    def test_rates_raise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An exception of the list while rates are read means that the price is not known."""

        def fail(*_: Any) -> None:
            raise KeyError("rate")

        prices = GenaiPrices()
        monkeypatch.setattr(genai_types.ModelInfo, "get_prices", fail)
        assert None is prices.price(Usage(1), "o3", provider="openai", at=NOW)

    def test_package_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the package every price is unknown."""
        monkeypatch.setitem(sys.modules, "genai_prices.data", None)
        assert None is GenaiPrices().price(Usage(1), "o3-mini", provider="openai", at=NOW)


class TestArithmetic:
    def test_decimal_context_of_the_host(self, prices: GenaiPrices) -> None:
        """A host program that computes with few digits does not change a cost."""
        usage = Usage(input_uncached=123_456_789, output_text=987_654_321)
        with localcontext() as context:
            context.prec = 3
            cost = _known(prices.price(usage, "o3-mini", provider="openai", at=NOW))
        expected = (Decimal("1.10") * 123_456_789 + Decimal("4.40") * 987_654_321) / 1_000_000
        assert expected == cost.cost_usd

    def test_time_zone_of_a_constraint(self) -> None:
        """A time of day in another zone is a boundary in UTC."""
        east = timezone(timedelta(hours=3))
        assert [time(22), time(9, 30)] == [genai._utc(time(1, tzinfo=east)), genai._utc(time(9, 30))]

    @pytest.fixture
    def model(self) -> genai_types.ModelInfo:
        rows = [
            genai_types.ConditionalPrice(prices=genai_types.ModelPrice(input_mtok=Decimal(1))),
            genai_types.ConditionalPrice(
                constraint=genai_types.StartDateConstraint(date(2026, 1, 1)),
                prices=genai_types.ModelPrice(
                    input_mtok=genai_types.TieredPrices(
                        base=Decimal(2), tiers=[genai_types.Tier(200, Decimal(4)), genai_types.Tier(100, Decimal(3))]
                    ),
                    cache_read_mtok=Decimal("0.5"),
                ),
            ),
        ]
        return genai_types.ModelInfo(id="m", match=genai_types.ClauseEquals("m"), prices=rows)

    @pytest.mark.parametrize(("tokens", "rate"), [(1, 2), (100, 2), (101, 3), (200, 3), (201, 4), (10_000, 4)])
    def test_several_tiers(self, model: genai_types.ModelInfo, tokens: int, rate: int) -> None:
        """The highest tier that the prompt exceeds sets the rate of all its tokens, and only of what is tiered."""
        provider = genai_types.Provider(id="p", name="p", api_pattern="", models=[model])
        schedule = genai._Schedule(provider, model, None, "1")
        cost = _tables(schedule, NOW).price(Usage(input_uncached=tokens - 1, cache_read=1))
        expected = (Decimal(rate) * (tokens - 1) + Decimal("0.5")) / 1_000_000
        assert expected == cost.cost_usd

    def test_before_the_first_date(self, model: genai_types.ModelInfo) -> None:
        """Before a price began, the one before it holds."""
        provider = genai_types.Provider(id="p", name="p", api_pattern="", models=[model])
        schedule = genai._Schedule(provider, model, None, "1")
        cost = _tables(schedule, datetime(2025, 12, 31, tzinfo=UTC)).price(Usage(input_uncached=1_000_000))
        assert Decimal(1) == cost.cost_usd


class TestRealUsage:
    def test_compatible_provider(self, prices: GenaiPrices) -> None:
        """From a provider's own object to a cost: reasoning within, cached within, at the day's rates."""
        raw = {
            "prompt_tokens": 1_000_000,
            "completion_tokens": 1_000_000,
            "prompt_tokens_details": {"cached_tokens": 400_000},
            "completion_tokens_details": {"reasoning_tokens": 999_999},
        }
        cost = _known(prices.price(read_usage(raw), "o3-mini", provider="openai", at=NOW))
        assert Decimal("0.6") * Decimal("1.10") + Decimal("0.4") * Decimal("0.55") + Decimal("4.40") == cost.cost_usd
