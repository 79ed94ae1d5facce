"""Names of models: every spelling finds its model, and no name gets another model's price."""

from datetime import UTC, datetime

import pytest
from genai_prices import types as genai_types

from structllm.pricing import GenaiPrices
from structllm.pricing.matching import covers
from structllm.pricing.names import host_path, readings
from structllm.usage import Usage

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"
ARN = "arn:aws:bedrock:us-east-1"


@pytest.fixture(scope="module")
def prices() -> GenaiPrices:
    return GenaiPrices()


def _found(prices: GenaiPrices, provider: str | None, model: str) -> str | None:
    cost = prices.price(Usage(1, output_text=1), model, provider=provider, at=NOW)
    return None if cost is None else cost.price_model


class TestSpellings:
    @pytest.mark.parametrize(
        ("provider", "model", "expected"),
        [
            ("google", "publishers/google/models/gemini-2.5-pro", "google/gemini-2.5-pro"),
            (None, "vertex_ai/gemini-2.5-pro", "google/gemini-2.5-pro"),
            ("vertex_ai", "claude-sonnet-4-5@20250929", "google/claude-sonnet-4-5"),
            ("azure_openai", "gpt-4o", "azure/gpt-4o"),
            ("az.ai.openai", "gpt-35-turbo", "azure/gpt-3.5-turbo"),
            ("openai", "gpt-5.2-20251211", "openai/gpt-5.2"),
            ("openai", "openrouter/anthropic/claude-sonnet-4.5", "openrouter/anthropic/claude-sonnet-4.5"),
            ("litellm", "bedrock/converse/us.amazon.nova-lite-v1:0", "aws/amazon.nova-lite-v1:0"),
            ("openai", "ft:gpt-4o-mini-2024-07-18:acme::x", "openai/ft:gpt-4o-mini"),
            (None, "ft:gpt-4o-mini-2024-07-18:acme::x", "openai/ft:gpt-4o-mini"),
            ("xai", "grok-3", "x-ai/grok-3"),
        ],
    )
    def test_clients_and_gateways(self, prices: GenaiPrices, provider: str | None, model: str, expected: str) -> None:
        """What clients and gateways put around a name is taken off."""
        assert expected == _found(prices, provider, model)

    @pytest.mark.parametrize(
        ("model", "expected"),
        [
            (SONNET, f"aws/regional.{SONNET}"),
            (f"us.{SONNET}", f"aws/regional.{SONNET}"),
            (f"apac.{SONNET}", f"aws/regional.{SONNET}"),
            (f"global.{SONNET}", f"aws/global.{SONNET}"),
            ("us.amazon.nova-lite-v1:0", "aws/amazon.nova-lite-v1:0"),
            (f"{ARN}::foundation-model/{HAIKU}", f"aws/regional.{HAIKU}"),
            (f"{ARN}:012345678901:inference-profile/us.{SONNET}", f"aws/regional.{SONNET}"),
        ],
    )
    @pytest.mark.parametrize("provider", ["aws", "amazon_bedrock", None])
    def test_bedrock(self, prices: GenaiPrices, provider: str | None, model: str, expected: str) -> None:
        """Bedrock's regions and ARNs lead to the model, and to the price of the profile where that has its own."""
        assert expected == _found(prices, provider, model)

    def test_region_without_a_price_of_its_own(self) -> None:
        """The name with its region is tried first, the name without it after that."""
        expected = [("aws", "ca.amazon.nova-lite-v1:0"), ("aws", "amazon.nova-lite-v1:0")]
        assert expected == list(dict.fromkeys(readings("bedrock", "ca.amazon.nova-lite-v1:0")))

    @pytest.mark.parametrize(
        "arn",
        [
            f"{ARN}:012345678901:application-inference-profile/us.{SONNET}",
            f"{ARN}:012345678901:provisioned-model/{HAIKU}",
            f"arn:aws:sagemaker:us-east-1:012345678901:endpoint/{HAIKU}",
        ],
    )
    def test_arn_of_the_account_s_own(self, prices: GenaiPrices, arn: str) -> None:
        """What is behind an ARN of the account's own no list can say, whatever it is called."""
        assert None is _found(prices, "aws", arn)

    @pytest.mark.parametrize("model", ["", "  ", "x" * 257])
    def test_no_name(self, model: str) -> None:
        """What is no name has no reading."""
        assert [] == list(readings("openai", model))

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("https://user:pw@Example.com/v1/?key=1", "example.com/v1"),
            ("example.com", "example.com"),
            ("example.com:8080/v1/", "example.com:8080/v1"),
        ],
    )
    def test_host_path(self, url: str, expected: str) -> None:
        """Of a URL only what says who answers is compared."""
        assert expected == host_path(url)


class TestStrict:
    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("deepseek", "deepseek-r1-distill-llama-70b"),
            (None, "deepseek-r1-distill-qwen-14b"),
            ("azure", "deepseek-r1-distill-llama-70b"),
            ("together", "deepseek-r1-distill-qwen-14b"),
            (None, "deepseek-r1:8b"),
            ("google", "gemini-1.5-flash-8b"),
            ("anthropic", "claude-opus-4-1-mini"),
            ("anthropic", "claude-3-opus-next"),
            ("aws", "my-claude-3-haiku-20240307"),
            ("openai", "ft:gpt-4.1-2025-04-14:acme::x"),
            ("openai", "gpt-4o-2039-01-01"),
            ("portkey", "gpt-4o"),
            ("ollama", "gpt-oss:20b"),
        ],
    )
    def test_another_model(self, prices: GenaiPrices, provider: str | None, model: str) -> None:
        """A name that only contains a listed one is another model, and unknown."""
        assert None is _found(prices, provider, model)

    @pytest.mark.parametrize(
        ("provider", "model", "expected"),
        [
            ("deepseek", "deepseek-r1-0528", "deepseek/deepseek-reasoner"),
            ("groq", "deepseek-r1-distill-llama-70b", "groq/deepseek-r1-distill-llama-70b"),
            ("anthropic", "claude-2.1", "anthropic/claude-2"),
            ("anthropic", "claude-sonnet-4-20250514", "anthropic/claude-sonnet-4-0"),
            ("anthropic", "claude-3-5-haiku-latest", "anthropic/claude-3-5-haiku-latest"),
            ("google", "gemini-2.5-pro-preview-05-06", "google/gemini-2.5-pro"),
            ("google", "gemini-2.0-flash-001", "google/gemini-2.0-flash"),
            ("openai", "gpt-5-nano-2025-08-07", "openai/gpt-5-nano"),
            ("minimax", "MiniMax-M2.1-highspeed", "minimax/MiniMax-M2.1-highspeed"),
        ],
    )
    def test_dates_and_versions(self, prices: GenaiPrices, provider: str, model: str, expected: str) -> None:
        """Dates, snapshots and versions do not make another model."""
        assert expected == _found(prices, provider, model)

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("ab-1", True),
            ("x/ab-1", True),
            ("ab-1-20250514", True),
            ("ab-1-v2:0", True),
            ("ab-1-preview-05-06", True),
            ("xab-1", False),
            ("x-ab-1", False),
            ("ab-1-mini", False),
            ("ab-1.5", False),
            ("ab-12", False),
        ],
    )
    def test_containing_rule(self, name: str, expected: bool) -> None:
        """A rule that says "contains" means the name alone, in its place, with decoration."""
        assert expected == covers(genai_types.ClauseContains("ab-1"), name)

    @pytest.mark.parametrize(("name", "expected"), [("ab-1", True), ("x.ab-1", True), ("x-ab-1", False)])
    def test_ending_rule(self, name: str, expected: bool) -> None:
        """A rule that says "ends with" allows what stands in front of a name, but no part of a name."""
        assert expected == covers(genai_types.ClauseEndsWith("ab-1"), name)

    def test_combined_rules(self) -> None:
        """All of several rules have to mean a name, or any of them."""
        start, pattern = genai_types.ClauseStartsWith("ab"), genai_types.ClauseRegex("^(?!.*-tts)")
        both = genai_types.ClauseAnd([start, pattern])
        assert [True, False, False] == [covers(both, name) for name in ("ab-latest", "ab-pro", "ab-tts")]
        either = genai_types.ClauseOr([start, genai_types.ClauseEquals("ab-pro")])
        assert [True, True, False] == [covers(either, name) for name in ("ab", "ab-pro", "ab-mini")]
