"""The settings of `pricing`: what is taken, and what is said about what is not."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from structllm.errors import ConfigError
from structllm.settings import LLMSettings, load_settings
from structllm.settings_pricing import PricingSettings
from structllm.settings_view import explain, settings_schema


def _problems(**pricing: Any) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        PricingSettings(**pricing)
    return [str(problem) for problem in refused.value.problems]


def _override(**fields: Any) -> dict[str, Any]:
    return {"model": "gpt-9", "rates": {"input": "1"}} | fields


class TestTaken:
    def test_defaults(self) -> None:
        """Nothing is changed by default, and the provider's word counts."""
        expected = PricingSettings(
            overrides=(), deployments={}, base_urls={}, discount=0, prefer_provider_cost=True, prices_file=None
        )
        assert expected == LLMSettings().pricing

    def test_from_a_file(self, tmp_path: Path) -> None:
        """A TOML file may hold all of it, dates as dates."""
        path = tmp_path / "structllm.toml"
        path.write_text(
            "[llm.pricing]\ndiscount = 0.1\n"
            "[llm.pricing.deployments]\nprod = 'gpt-4o'\n"
            "[[llm.pricing.overrides]]\nmodel = 'gpt-9'\neffective_from = 2026-03-01\n"
            "rates = {input = '1.10', output = 4.4}\n"
        )
        pricing = load_settings(path).pricing
        assert (Decimal("0.1"), {"prod": "gpt-4o"}) == (pricing.discount, pricing.deployments)
        assert {"input": Decimal("1.10"), "output": Decimal("4.4")} == pricing.overrides[0].rates
        assert "2026-03-01" == str(pricing.overrides[0].effective_from)

    def test_from_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Variables hold single values, or JSON."""
        monkeypatch.setenv("LLM__PRICING__DISCOUNT", "0.25")
        monkeypatch.setenv("LLM__PRICING__OVERRIDES", '[{"model": "gpt-9", "rates": {"input": 1}}]')
        monkeypatch.setenv("LLM__PRICING__DEPLOYMENTS", '{"prod": "gpt-4o"}')
        pricing = load_settings().pricing
        assert (Decimal("0.25"), "gpt-9", {"prod": "gpt-4o"}) == (
            pricing.discount,
            pricing.overrides[0].model,
            pricing.deployments,
        )

    def test_are_shown(self) -> None:
        """`config show` has their values in words."""
        settings = LLMSettings(pricing={"discount": "0.1", "overrides": [_override(effective_to="2026-03-01")]})
        rows = {row.name: row.text for row in explain(settings)}
        assert "0.1" == rows["pricing.discount"]
        assert '"effective_to": "2026-03-01"' in rows["pricing.overrides"]
        assert '"rates": {"input": "1"}' in rows["pricing.overrides"]

    def test_schema(self) -> None:
        """Editors know them."""
        assert {"PricingSettings", "PriceOverride"} <= settings_schema()["$defs"].keys()


class TestRefused:
    @pytest.mark.parametrize(
        ("override", "problem"),
        [
            ({"model": "gpt-9"}, "overrides.0 (argument): needs either rates or a multiplier"),
            (_override(multiplier=1), "overrides.0 (argument): needs either rates or a multiplier"),
            (_override(rates={}), "overrides.0.rates (argument): must not be empty"),
            (
                _override(rates={"outptu": 1}),
                "overrides.0.rates.outptu (argument): unknown kind of token; did you mean 'output'?",
            ),
            (
                _override(rates={"input": 1, "input_uncached": 2}),
                "overrides.0.rates (argument): gives one kind of token two rates",
            ),
            (_override(rates={"input": -1}), "overrides.0.rates.input (argument): must be from 0 to 1,000,000"),
            (_override(rates={"input": "1e9"}), "overrides.0.rates.input (argument): must be from 0 to 1,000,000"),
            (
                _override(rates={"input": True}),
                "overrides.0.rates.input (argument): must be a number, or text that is one",
            ),
            (
                _override(rates={"input": "nan"}),
                "overrides.0.rates.input (argument): must be a number, or text that is one",
            ),
            (
                _override(rates={"input": "1e-16"}),
                "overrides.0.rates.input (argument): must have at most 15 digits after the point",
            ),
            (
                _override(effective_from="2026-03-02", effective_to="2026-03-01"),
                "overrides.0.effective_to (argument): ends before it begins",
            ),
            (
                _override(match="prefix"),
                "overrides.0.examples (argument): are needed for a prefix: models that it must match",
            ),
            (
                _override(match="prefix", examples=["gpt-9", "gpt-8"]),
                "overrides.0.examples.1 (argument): is not matched by this override",
            ),
            (_override(examples="gpt-8"), "overrides.0.examples.0 (argument): is not matched by this override"),
            (
                _override(model="(gpt", match="regex", examples=["gpt"]),
                "overrides.0.model (argument): is no pattern in RE2's syntax, or too large a one",
            ),
            (
                _override(model="((a{100}){100}){100}", match="regex", examples=["a"]),
                "overrides.0.model (argument): is no pattern in RE2's syntax, or too large a one",
            ),
        ],
    )
    def test_override(self, override: dict[str, Any], problem: str) -> None:
        """An override that cannot be right is refused in one sentence."""
        assert [problem] == _problems(overrides=[override])

    def test_all_at_once(self) -> None:
        """Every problem is told, each where it stands."""
        problems = _problems(discount=2, overrides=[_override(), _override(match="exakt")], deployments={"x": ""})
        starts = ["overrides.1.match", "deployments.x", "discount"]
        assert all(any(problem.startswith(start) for problem in problems) for start in starts)

    @pytest.mark.parametrize("value", ["[1", "gpt-9"])
    def test_text_that_is_no_json(self, value: str) -> None:
        """Text in place of a list is JSON, and its content is not repeated."""
        assert ["overrides (argument): must be JSON where it is given as text"] == _problems(overrides=value)

    @pytest.mark.parametrize("url", ["/v1", "http://", "http://[broken"])
    def test_base_url(self, url: str) -> None:
        """A base URL names a host."""
        assert ["base_urls (argument): must be hosts or URLs"] == [
            problem.partition(",")[0] for problem in _problems(base_urls={url: "groq"})
        ]

    def test_value_is_not_told(self) -> None:
        """No problem repeats a value."""
        assert not any("sesame" in problem for problem in _problems(discount="sesame", prefer_provider_cost="sesame"))

    def test_source_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The variable that is wrong is named."""
        monkeypatch.setenv("LLM__PRICING__DISCOUNT", "much")
        with pytest.raises(ConfigError, match=r"LLM__PRICING__DISCOUNT \(env\): must be a number"):
            load_settings()
