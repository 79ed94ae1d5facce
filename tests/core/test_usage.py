"""Usage objects of the providers become disjoint buckets, or a UsageError with a reason."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from structllm.usage import MAX_TOKENS, Usage, UsageError, read_usage


def _reason(raw: Any) -> tuple[str, str]:
    with pytest.raises(UsageError) as caught:
        read_usage(raw)
    return caught.value.reason, caught.value.field


class TestPlain:
    def test_split(self) -> None:
        """Prompt and completion tokens alone are a full split."""
        expected = Usage(input_uncached=150, output_text=75)
        assert expected == read_usage({"prompt_tokens": 150, "completion_tokens": 75})

    def test_matching_total(self) -> None:
        """A total that equals the sum adds nothing."""
        expected = Usage(input_uncached=150, output_text=75)
        assert expected == read_usage({"prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225})

    def test_total_only(self) -> None:
        """A total alone has no split, and only the total is shown."""
        usage = read_usage({"total_tokens": 200})
        assert Usage(unsplit=200) == usage
        assert not usage.has_split
        assert {"total_tokens": 200} == usage.token_usage()

    def test_total_beside_nulls(self) -> None:
        """Null counts are absent counts."""
        assert Usage(unsplit=200) == read_usage({"prompt_tokens": None, "completion_tokens": None, "total_tokens": 200})

    def test_missing_completion_follows_from_the_total(self) -> None:
        """Embeddings report an input and a total; the output is their difference."""
        assert Usage(input_uncached=8) == read_usage({"prompt_tokens": 8, "total_tokens": 8})
        assert Usage(input_uncached=8, output_text=4) == read_usage({"prompt_tokens": 8, "total_tokens": 12})

    def test_missing_prompt_follows_from_the_total(self) -> None:
        """The input is the difference of total and output."""
        assert Usage(input_uncached=8, output_text=4) == read_usage({"completion_tokens": 4, "total_tokens": 12})

    def test_output_without_input_is_refused(self) -> None:
        """An input that is not reported is never taken for zero."""
        assert ("no_input_count", "prompt_tokens") == _reason({"completion_tokens": 5})

    def test_unaccounted_tokens_are_kept_apart(self) -> None:
        """Tokens of the total that are neither input nor output are counted, and have a split beside them."""
        usage = read_usage({"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109})
        assert Usage(input_uncached=35, output_text=12, unsplit=62) == usage
        assert usage.has_split
        assert {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109} == usage.token_usage()

    def test_zero_tokens(self) -> None:
        """Zero is a count, not an absence."""
        usage = read_usage({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})
        assert usage.has_split
        assert {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0} == usage.token_usage()

    def test_whole_floats_are_counts(self) -> None:
        """Counts that passed through a language without integers are read."""
        assert Usage(input_uncached=150, output_text=75) == read_usage(
            {"prompt_tokens": 150.0, "completion_tokens": 75.0}
        )


class TestOpenAI:
    def test_chat_details(self) -> None:
        """Cached, written, reasoning and audio tokens are taken out of the totals that include them."""
        usage = read_usage(
            {
                "prompt_tokens": 1000,
                "completion_tokens": 500,
                "total_tokens": 1500,
                "prompt_tokens_details": {"cached_tokens": 300, "cache_write_tokens": 200, "audio_tokens": 0},
                "completion_tokens_details": {
                    "reasoning_tokens": 120,
                    "audio_tokens": 30,
                    "accepted_prediction_tokens": 10,
                    "rejected_prediction_tokens": 5,
                },
            }
        )
        expected = Usage(
            input_uncached=500,
            cache_read=300,
            cache_write_5m=200,
            output_text=350,
            output_reasoning=120,
            output_audio=30,
            cache_lifetime_assumed=True,
        )
        assert expected == usage

    def test_audio_input(self) -> None:
        """Audio is a bucket of its own."""
        usage = read_usage(
            {
                "prompt_tokens": 100,
                "completion_tokens": 1,
                "prompt_tokens_details": {"audio_tokens": 69, "cached_tokens": 0},
            }
        )
        assert Usage(input_uncached=31, input_audio=69, output_text=1) == usage

    def test_audio_of_which_some_may_be_cached(self) -> None:
        """Where cached and audio tokens overlap by an unknown amount, the audio goes to the bucket without a rate."""
        details = {"audio_tokens": 20, "cached_tokens": 50}
        usage = read_usage({"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": details})
        assert Usage(input_uncached=30, cache_read=50, input_other=20, output_text=1) == usage

    def test_images_and_video(self) -> None:
        """Images and video are kept apart from text, which has another rate."""
        usage = read_usage(
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {"image_tokens": 60, "video_tokens": 10},
                "completion_tokens_details": {"image_tokens": 40},
            }
        )
        assert Usage(input_uncached=30, input_other=70, output_text=10, output_other=40) == usage

    def test_responses(self) -> None:
        """The Responses API has other names for the same counts."""
        usage = read_usage(
            {
                "input_tokens": 1000,
                "input_tokens_details": {"cached_tokens": 300},
                "output_tokens": 500,
                "output_tokens_details": {"reasoning_tokens": 120},
                "total_tokens": 1500,
            }
        )
        assert Usage(input_uncached=700, cache_read=300, output_text=380, output_reasoning=120) == usage

    def test_null_details(self) -> None:
        """Details may be null, whole or in part."""
        usage = read_usage(
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "prompt_tokens_details": None,
                "completion_tokens_details": {"reasoning_tokens": None},
            }
        )
        assert Usage(input_uncached=10, output_text=5) == usage

    @pytest.mark.parametrize("name", ["cached_tokens", "num_cached_tokens", "prompt_cache_hit_tokens"])
    def test_cached_tokens_on_the_top_level(self, name: str) -> None:
        """Compatible providers report cached tokens beside the totals, inside which they are counted all the same."""
        usage = read_usage({"prompt_tokens": 100, "completion_tokens": 5, name: 40})
        assert Usage(input_uncached=60, cache_read=40, output_text=5) == usage

    def test_cached_tokens_reported_twice(self) -> None:
        """The same count under two names is one count."""
        raw = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_cache_hit_tokens": 40}
        usage = read_usage(raw | {"prompt_tokens_details": {"cached_tokens": 40}})
        assert Usage(input_uncached=60, cache_read=40, output_text=5) == usage

    def test_reasoning_beside_the_output(self) -> None:
        """Providers that count reasoning beside the output betray it by the total."""
        usage = read_usage(
            {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "total_tokens": 420,
                "completion_tokens_details": {"reasoning_tokens": 300},
            }
        )
        assert Usage(input_uncached=100, output_text=20, output_reasoning=300) == usage


class TestAnthropic:
    def test_cache_is_beside_the_input(self) -> None:
        """Cache reads and writes are added to the input tokens, by lifetime where that is reported."""
        usage = read_usage(
            {
                "input_tokens": 5000,
                "cache_read_input_tokens": 2000,
                "cache_creation_input_tokens": 3000,
                "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
                "output_tokens": 500,
                "output_tokens_details": {"thinking_tokens": 100},
                "service_tier": "standard",
            }
        )
        expected = Usage(
            input_uncached=5000,
            cache_read=2000,
            cache_write_5m=1000,
            cache_write_1h=2000,
            output_text=400,
            output_reasoning=100,
        )
        assert expected == usage
        assert 10_000 == usage.prompt_tokens

    def test_writes_without_lifetime(self) -> None:
        """Without lifetimes a write is taken for the default one, and marked."""
        usage = read_usage({"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 7})
        assert Usage(input_uncached=10, cache_write_5m=7, output_text=5, cache_lifetime_assumed=True) == usage

    def test_lifetimes_without_sum(self) -> None:
        """Lifetimes alone give the sum."""
        usage = read_usage({"input_tokens": 10, "output_tokens": 5, "cache_creation": {"ephemeral_1h_input_tokens": 7}})
        assert Usage(input_uncached=10, cache_write_1h=7, output_text=5) == usage

    def test_lifetimes_that_contradict_the_sum(self) -> None:
        """Lifetimes that do not add up are refused."""
        raw = {
            "input_tokens": 10,
            "output_tokens": 5,
            "cache_creation_input_tokens": 7,
            "cache_creation": {"ephemeral_1h_input_tokens": 9},
        }
        assert ("contradiction", "cache_creation") == _reason(raw)

    def test_web_searches(self) -> None:
        """Searches are counted beside the tokens."""
        usage = read_usage({"input_tokens": 10, "output_tokens": 5, "server_tool_use": {"web_search_requests": 2}})
        assert Usage(input_uncached=10, output_text=5, web_searches=2) == usage
        assert 15 == usage.total_tokens

    @pytest.mark.parametrize(("kinds", "expected"), [(["message"], ()), (["compaction", "message"], ("iterations",))])
    def test_iterations(self, kinds: list[str], expected: tuple[str, ...]) -> None:
        """Model calls that the top level leaves out are marked; a lone message is the top level itself."""
        iterations = [{"type": kind, "input_tokens": 10, "output_tokens": 5} for kind in kinds]
        usage = read_usage({"input_tokens": 10, "output_tokens": 5, "iterations": iterations})
        assert expected == usage.beyond

    def test_delta_without_input(self) -> None:
        """The last event of a stream knows only the output, which is not enough."""
        assert ("no_input_count", "input_tokens") == _reason({"cache_read_input_tokens": 0, "output_tokens": 5})


class TestLangChain:
    def test_usage_metadata(self) -> None:
        """UsageMetadata includes the cache in the input, whatever the provider does."""
        usage = read_usage(
            {
                "input_tokens": 10_000,
                "output_tokens": 500,
                "total_tokens": 10_500,
                "input_token_details": {
                    "cache_read": 2000,
                    "cache_creation": 0,
                    "ephemeral_5m_input_tokens": 1000,
                    "ephemeral_1h_input_tokens": 2000,
                },
                "output_token_details": {"reasoning": 100},
            }
        )
        expected = Usage(
            input_uncached=5000,
            cache_read=2000,
            cache_write_5m=1000,
            cache_write_1h=2000,
            output_text=400,
            output_reasoning=100,
        )
        assert expected == usage

    def test_tier_prefixes(self) -> None:
        """Counts that carry the tier in their name are read like those that do not."""
        usage = read_usage(
            {
                "input_tokens": 100,
                "output_tokens": 50,
                "total_tokens": 150,
                "input_token_details": {"priority": 60, "priority_cache_read": 40},
                "output_token_details": {"priority": 30, "priority_reasoning": 20},
            }
        )
        assert Usage(input_uncached=60, cache_read=40, output_text=30, output_reasoning=20) == usage

    def test_audio(self) -> None:
        """Audio counts have short names here."""
        usage = read_usage(
            {
                "input_tokens": 100,
                "output_tokens": 50,
                "total_tokens": 150,
                "input_token_details": {"audio": 70},
                "output_token_details": {"audio": 20},
            }
        )
        assert Usage(input_uncached=30, input_audio=70, output_text=30, output_audio=20) == usage


class TestTokenUsage:
    def test_kinds_only_where_they_occurred(self) -> None:
        """The three totals are always there, the kinds only when they are not zero."""
        usage = Usage(10, 2, 3, 4, 5, 0, 6, 7, 8, 0)
        expected = {
            "prompt_tokens": 24,
            "completion_tokens": 21,
            "total_tokens": 45,
            "cached_tokens": 2,
            "cache_write_tokens": 7,
            "reasoning_tokens": 7,
            "audio_input_tokens": 5,
            "audio_output_tokens": 8,
        }
        assert expected == usage.token_usage()
        assert {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1} == Usage(1).token_usage()

    def test_frozen(self) -> None:
        """A usage cannot be changed by those who share it."""
        with pytest.raises(AttributeError):
            Usage().input_uncached = 1  # type: ignore[misc]  # the point of the test


class _Hostile(Mapping[str, Any]):
    """A mapping that raises whenever it is read."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("no")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no")

    def __len__(self) -> int:
        return 1


class TestMalformed:
    @pytest.mark.parametrize(
        ("raw", "expected"),
        [
            ({}, ("empty", "usage")),
            ({"prompt_tokens": None}, ("empty", "usage")),
            ({"promptTokenCount": 5}, ("no_counts", "usage")),
            ({"service_tier": "default"}, ("no_counts", "usage")),
            ([1, 2], ("not_an_object", "usage")),
            ("200", ("not_an_object", "usage")),
            ({"prompt_tokens": -1, "completion_tokens": 5}, ("negative", "prompt_tokens")),
            ({"prompt_tokens": "150", "completion_tokens": 5}, ("not_a_count", "prompt_tokens")),
            ({"prompt_tokens": True, "completion_tokens": 5}, ("not_a_count", "prompt_tokens")),
            ({"prompt_tokens": float("nan"), "completion_tokens": 5}, ("not_a_count", "prompt_tokens")),
            ({"prompt_tokens": float("inf"), "completion_tokens": 5}, ("not_a_count", "prompt_tokens")),
            ({"prompt_tokens": 1.5, "completion_tokens": 5}, ("not_a_count", "prompt_tokens")),
            ({"prompt_tokens": {"a": []}, "completion_tokens": 5}, ("not_a_count", "prompt_tokens")),
            ({"prompt_tokens": MAX_TOKENS + 1, "completion_tokens": 5}, ("too_large", "prompt_tokens")),
            ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 3}, ("contradiction", "total_tokens")),
            ({"completion_tokens": 5, "total_tokens": 3}, ("contradiction", "total_tokens")),
            (
                {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": [1]},
                ("not_an_object", "prompt_tokens_details"),
            ),
            (
                {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 11}},
                ("parts_exceed_whole", "prompt_tokens"),
            ),
            (
                {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 6}},
                ("parts_exceed_whole", "completion_tokens"),
            ),
            ({"input_tokens": 1, "output_tokens": 1, "iterations": 3}, ("not_a_list", "iterations")),
            ({"input_tokens": 1, "output_tokens": 1, "iterations": [3]}, ("not_an_object", "iterations")),
            (_Hostile(), ("unreadable", "usage")),
        ],
    )
    def test_reason(self, raw: Any, expected: tuple[str, str]) -> None:
        """Whatever is wrong, there is one kind of exception, and it names the reason and the field."""
        assert expected == _reason(raw)

    def test_message_holds_no_value(self) -> None:
        """The value of a bad count is the caller's and stays out of the message."""
        with pytest.raises(UsageError) as caught:
            read_usage({"prompt_tokens": "my private text", "completion_tokens": 5})
        assert "not_a_count: prompt_tokens" == str(caught.value)
