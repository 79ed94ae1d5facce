"""Price sources one behind the other: the provider's word, the user's overrides, the list."""

import json
import os
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import re2

from structllm.errors import ConfigError
from structllm.pricing import Cost, GenaiPrices, Prices, open_prices
from structllm.pricing.genai import open_list
from structllm.pricing.overrides import compile_match
from structllm.settings_pricing import PricingSettings
from structllm.usage import Part, Usage

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
USAGE = Usage(150, output_text=75)
LISTED = Decimal("0.000495")
"""150 and 75 tokens of o3-mini at 1.10 and 4.40 USD per million."""


def _prices(**settings: Any) -> Prices:
    return open_prices(PricingSettings(**settings))


def _override(model: str = "o3-mini", **fields: Any) -> dict[str, Any]:
    return {"model": model, "rates": {"input": "2", "output": 4}} | fields


def _cost(prices: Prices, model: str = "o3-mini", provider: str | None = "openai", **fields: Any) -> Cost:
    cost = prices.price(fields.pop("usage", USAGE), model, provider=provider, **{"at": NOW, **fields})
    assert cost is not None
    return cost


OVERRIDDEN = Decimal("0.0006")
"""The same at 2 and 4 USD per million."""


class TestOrder:
    def test_provider_first(self) -> None:
        """What the provider reports is the cost, whatever overrides and list say; it needs no model of theirs."""
        prices = _prices(overrides=[_override()])
        usage = USAGE._replace(reported_usd=Decimal("0.5"))
        expected = Cost(Decimal("0.5"), "provider", "", "", {})
        assert [expected] * 2 == [_cost(prices, model, usage=usage) for model in ("o3-mini", "unheard-of")]

    def test_provider_may_be_put_aside(self) -> None:
        """Who does not trust what the provider reports gets the price of the list."""
        usage = USAGE._replace(reported_usd=Decimal("0.5"))
        cost = _cost(_prices(prefer_provider_cost=False), usage=usage)
        assert (LISTED, "genai-prices") == (cost.cost_usd, cost.source)

    def test_override_before_the_list(self) -> None:
        """An override counts before the list, with what identifies it."""
        cost = _cost(_prices(overrides=[_override()]))
        assert (OVERRIDDEN, "override", "o3-mini") == (cost.cost_usd, cost.source, cost.price_model)
        assert cost.price_version.startswith("override+sha256:")

    def test_list_at_last(self) -> None:
        """What no override means has the list's price, or none."""
        prices = _prices(overrides=[_override("gpt-9")])
        assert LISTED == _cost(prices).cost_usd
        assert None is prices.price(USAGE, "gpt-10", provider="openai", at=NOW)

    def test_first_override_wins(self) -> None:
        """Of several overrides the first in the settings counts."""
        first = _override("o3-", match="prefix", examples=["o3-mini"])
        second = _override(rates={"input": 100, "output": 100})
        assert [OVERRIDDEN, Decimal("0.0225")] == [
            _cost(_prices(overrides=overrides)).cost_usd for overrides in ([first, second], [second, first])
        ]

    def test_parts_are_overridden_too(self) -> None:
        """A further model call in a usage has the price that its model has alone."""
        usage = Usage(150, parts=(Part("gpt-9", Usage(1_000_000)),))
        assert Decimal("2.000165") == _cost(_prices(overrides=[_override("gpt-9")]), usage=usage).cost_usd


class TestOverrides:
    @pytest.mark.parametrize(
        ("override", "model", "is_meant"),
        [
            (_override("GPT-9"), "gpt-9", True),
            (_override("gpt-9"), "openai:GPT-9", True),
            (_override("gpt-9"), "models/gpt-9", True),
            (_override("gpt-9"), "gpt-9-mini", False),
            (_override("gpt-9", match="prefix", examples="gpt-9-mini"), "gpt-9-mini", True),
            (_override("gpt-9", match="prefix", examples="gpt-9-mini"), "x-gpt-9", False),
            (_override("gpt-(9|10)", match="regex", examples=["gpt-10"]), "GPT-10", True),
            (_override("gpt-(9|10)", match="regex", examples=["gpt-10"]), "gpt-10-mini", False),
        ],
    )
    def test_match(self, override: dict[str, Any], model: str, is_meant: bool) -> None:
        """A model is meant by its whole name, by how it begins, or by a pattern for all of it; case does not matter."""
        found = _prices(overrides=[override]).price(USAGE, model, provider="openai", at=NOW)
        assert is_meant == (found is not None)

    @pytest.mark.parametrize(
        ("own", "asked", "is_meant"),
        [("azure", "azure", True), ("azure", "azure_openai", True), ("Azure", "openai", False), ("azure", None, False)],
    )
    def test_provider(self, own: str, asked: str | None, is_meant: bool) -> None:
        """An override for a provider is for calls that it served, in whatever word that is said."""
        found = _prices(overrides=[_override("gpt-9", provider=own)]).price(USAGE, "gpt-9", provider=asked, at=NOW)
        assert is_meant == (found is not None)

    @pytest.mark.parametrize(
        ("at", "expected"),
        [
            (datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC), LISTED),
            (datetime(2026, 3, 1, tzinfo=UTC), OVERRIDDEN),
            (datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=2))), LISTED),
            (datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC), OVERRIDDEN),
            (datetime(2026, 3, 31, 23), OVERRIDDEN),
            (datetime(2026, 4, 1, tzinfo=UTC), LISTED),
        ],
    )
    def test_dates(self, at: datetime, expected: Decimal) -> None:
        """It holds from the first to the last of its UTC days, both included."""
        override = _override(effective_from="2026-03-01", effective_to=date(2026, 3, 31))
        assert expected == _cost(_prices(overrides=[override]), at=at).cost_usd

    def test_multiplier(self) -> None:
        """The listed price times a factor, which the version names."""
        cost = _cost(_prices(overrides=[{"model": "o3-mini", "multiplier": "1.1"}]))
        listed = _cost(_prices())
        assert (LISTED * Decimal("1.1"), "override") == (cost.cost_usd, cost.source)
        assert f"{listed.price_version}*1.1" == cost.price_version
        assert listed.price_model == cost.price_model

    def test_multiplier_of_nothing(self) -> None:
        """A factor does not make a price where the list has none."""
        prices = _prices(overrides=[{"model": "gpt-9", "multiplier": 0}])
        assert None is prices.price(USAGE, "gpt-9", provider="openai", at=NOW)

    def test_kind_without_a_rate(self) -> None:
        """What an override has no rate for makes the rest a lower bound; reasoning is output."""
        usage = Usage(1_000_000, cache_read=5, output_reasoning=1_000_000)
        cost = _cost(_prices(overrides=[_override()]), usage=usage)
        assert (Decimal(6), ("cache_read",)) == (cost.cost_usd, cost.unpriced)

    def test_total_alone(self) -> None:
        """Who pays one rate for all tokens can say so, and then a total is enough."""
        prices = _prices(overrides=[_override(rates={"input": 1, "output": 1, "unsplit": 1})])
        cost = _cost(prices, usage=Usage(unsplit=200))
        assert (Decimal("0.0002"), ()) == (cost.cost_usd, cost.unpriced)

    def test_numbers_are_read_as_written(self) -> None:
        """A tenth is a tenth, not the binary number next to it."""
        prices = _prices(overrides=[_override(rates={"input": 0.1, "web_searches": "10"})])
        assert Decimal("0.1100001") == _cost(prices, usage=Usage(1_000_001, web_searches=1)).cost_usd

    def test_hostile_pattern(self) -> None:
        """A pattern that other engines take for ever to refuse a name is refused at once."""
        override = _override("(a+)+b", match="regex", examples=["ab"])
        assert None is _prices(overrides=[override]).price(USAGE, "a" * 250, provider=None, at=NOW)


class TestMaps:
    def test_deployment(self) -> None:
        """A deployment's name stands for its model, in any case."""
        cost = _cost(_prices(deployments={"Prod-Chat": "o3-mini"}), "prod-chat", "azure")
        assert (LISTED, "azure/o3-mini") == (cost.cost_usd, cost.price_model)

    def test_arn(self) -> None:
        """So does the ARN of an account's own profile."""
        arn = "arn:aws:bedrock:us-east-1:012345678901:application-inference-profile/abc"
        model = "anthropic.claude-3-haiku-20240307-v1:0"
        cost = _cost(_prices(deployments={arn: model}), arn, "aws")
        assert f"aws/regional.{model}" == cost.price_model

    def test_override_of_a_deployment(self) -> None:
        """An override may mean the deployment itself, or the model behind it."""
        for model in ("prod-chat", "o3-mini"):
            prices = _prices(deployments={"prod-chat": "o3-mini"}, overrides=[_override(model)])
            assert OVERRIDDEN == _cost(prices, "prod-chat", "azure").cost_usd

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("https://proxy.example/v1/chat", "groq"),
            ("http://PROXY.example:8443/v1", "together"),
            ("https://proxy.example/v1/azure/x", "azure"),
            ("https://proxy.example.org/v1", None),
            ("https://api.groq.com/openai/v1", "groq"),
            ("https://user:pw@eu.openai.azure.com/", "azure"),
            ("https://acme.openai.azure.com/openai", "azure"),
        ],
    )
    def test_base_url(self, url: str, expected: str | None) -> None:
        """The longest beginning wins; what the settings do not name the list may know."""
        prices = _prices(
            base_urls={
                "proxy.example": "groq",
                "https://proxy.example/v1/azure": "azure",
                "proxy.example:8443": "together",
            }
        )
        assert expected == prices.provider_at(url)

    @pytest.mark.parametrize("url", ["", "http://[broken", "x" * 5000])
    def test_no_url(self, url: str) -> None:
        """What is no URL names nobody."""
        assert None is _prices().provider_at(url)


class TestDiscount:
    def test_of_the_list(self) -> None:
        """A discount is taken off listed prices, and the version says so."""
        cost = _cost(_prices(discount="0.1"))
        assert LISTED * Decimal("0.9") == cost.cost_usd == sum(cost.breakdown.values())
        assert cost.price_version.endswith("*0.9")

    def test_not_of_own_prices(self) -> None:
        """Own prices are what is paid."""
        assert OVERRIDDEN == _cost(_prices(discount="0.1", overrides=[_override()])).cost_usd

    def test_of_parts(self) -> None:
        """It is taken off everything that the list prices."""
        usage = USAGE._replace(parts=(Part(None, USAGE),))
        assert 2 * LISTED * Decimal("0.5") == _cost(_prices(discount=0.5), usage=usage).cost_usd


class TestRates:
    def test_of_the_list(self) -> None:
        """Rates are those of the day by length of the prompt, per million tokens."""
        rates = _prices().rates("gemini-2.5-pro", provider="google", at=NOW)
        assert rates is not None
        assert [0, 200_000] == [band.above_tokens for band in rates.bands]
        assert ["1.25", "2.5"] == [str(band.rates["input_uncached"]) for band in rates.bands]
        assert ("google/gemini-2.5-pro", "genai-prices") == (rates.price_model, rates.source)

    def test_since_is_not_about_other_tiers(self) -> None:
        """A day on which only the rates of a special tier came does not count for the standard ones."""
        rates = _prices().rates("o3-mini", provider="openai", at=datetime(2026, 11, 1, tzinfo=UTC))
        assert rates is not None
        assert None is rates.since

    @pytest.mark.parametrize(("day", "rate", "since"), [(9, Decimal(10), None), (10, Decimal(2), date(2025, 6, 10))])
    def test_since(self, day: int, rate: Decimal, since: date | None) -> None:
        """Where a price has changed, the day is named."""
        rates = _prices().rates("o3", provider="openai", at=datetime(2025, 6, day, tzinfo=UTC))
        assert rates is not None
        assert (rate, since) == (rates.bands[0].rates["input_uncached"], rates.since)

    def test_of_an_override(self) -> None:
        """An override's rates are shown as it gives them, with its first day."""
        prices = _prices(overrides=[_override(effective_from="2026-03-01")])
        rates = prices.rates("o3-mini", provider="openai", at=NOW)
        assert rates is not None
        expected = {"input_uncached": Decimal(2), "output_text": Decimal(4), "output_reasoning": Decimal(4)}
        assert (expected, "override", date(2026, 3, 1)) == (rates.bands[0].rates, rates.source, rates.since)

    def test_with_a_discount(self) -> None:
        """Rates are what is paid."""
        rates = _prices(discount="0.5").rates("o3-mini", provider="openai", at=NOW)
        assert rates is not None
        assert Decimal("0.55") == rates.bands[0].rates["input_uncached"]

    def test_unknown(self) -> None:
        """An unknown model has no rates."""
        assert None is _prices().rates("gpt-9", provider="openai", at=NOW)

    def test_names(self) -> None:
        """All names are there: those of the settings first."""
        names = _prices(overrides=[_override("gpt-9")]).names()
        assert "gpt-9" == names[0]
        assert "openai/o3-mini" in names


class TestListFile:
    LIST = (
        {
            "id": "acme",
            "name": "Acme",
            "api_pattern": "https://api\\.acme\\.example",
            "models": [{"id": "m1", "match": {"equals": "m1"}, "prices": {"input_mtok": 7, "output_mtok": 9}}],
        },
    )

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "prices.json"
        path.write_text(json.dumps(self.LIST))
        return path

    def test_is_used(self, file: Path) -> None:
        """A list file takes the place of the bundled list, and the version names its content."""
        prices = _prices(prices_file=file)
        cost = _cost(prices, "m1", "acme", usage=Usage(1_000_000))
        assert Decimal(7) == cost.cost_usd
        assert "+sha256:" in cost.price_version
        assert None is prices.price(USAGE, "o3-mini", provider="openai", at=NOW)
        assert "acme" == prices.provider_at("https://api.acme.example/v1")

    def test_read_list(self, file: Path) -> None:
        """A list can be looked at before it is used."""
        assert ["m1"] == [model.id for provider in open_list(file)[0] for model in provider.models]

    @pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"[1]", b"\xff", b'[{"id": "x"}]', b"[" * 100_000])
    def test_is_no_list(self, tmp_path: Path, content: bytes) -> None:
        """What is no price list is refused at once, by its path."""
        path = tmp_path / "prices.json"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="not a price list") as refused:
            GenaiPrices(path)
        assert str(path) in str(refused.value)

    def test_is_missing(self, tmp_path: Path) -> None:
        """A file that cannot be read is refused with the reason."""
        with pytest.raises(ConfigError, match="cannot be read"):
            _prices(prices_file=tmp_path / "none.json")


class TestElsewhere:
    """What holds for one place, or one process, and not for another."""

    @pytest.mark.parametrize("provider", ["google-vertex", "vertex_ai", "google_vertexai", "gcp.vertex_ai"])
    def test_vertex(self, provider: str) -> None:
        """The list's price for gemini-2.0-flash is the Gemini API's, and Vertex is dearer: unknown, never that."""
        listed, usage = GenaiPrices(), Usage(input_uncached=1000, output_text=100)
        at = datetime(2026, 11, 1, tzinfo=UTC)
        for name in ("gemini-2.0-flash", "publishers/google/models/gemini-2.0-flash-001"):
            assert listed.price(usage, name, provider=provider, at=at) is None
        assert listed.price(usage, "gemini-2.0-flash", provider="google", at=at) is not None
        assert listed.price(usage, "gemini-2.0-flash-lite", provider=provider, at=at) is not None

    def test_a_pattern_in_a_forked_child(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is compiled anew, since a thread of the parent may have held its locks when the child was made."""
        matches = compile_match("gpt-.*", "regex")
        compiled: list[str] = []
        real = re2.compile
        monkeypatch.setattr(re2, "compile", lambda *given: compiled.append(given[0]) or real(*given))
        assert matches("gpt-9")
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert (True, False, ["gpt-.*"]) == (matches("gpt-9"), matches("o3"), compiled)
