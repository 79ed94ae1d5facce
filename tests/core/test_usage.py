"""Usage objects of the providers become disjoint buckets, or a UsageError with a reason."""

import copy
from collections.abc import Iterator, Mapping
from decimal import Decimal, localcontext
from enum import IntEnum
from typing import Any

import pytest

from structllm.usage import BUCKETS, MAX_TOKENS, Part, Usage, UsageError, read_usage


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
        expected = Usage(input_uncached=30, input_image=60, input_video=10, output_text=10, output_image=40)
        assert expected == usage

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

    @pytest.mark.parametrize("names", [("cached_tokens", "num_cached_tokens"), ("num_cached_tokens", "cached_tokens")])
    def test_two_counts_of_one_thing(self, names: tuple[str, str]) -> None:
        """Of two names for one thing the larger count is taken, whichever comes first."""
        usage = read_usage({"prompt_tokens": 100, "completion_tokens": 5, names[0]: 40, names[1]: 0})
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

    def test_lone_iteration(self) -> None:
        """A lone message is the top level itself."""
        iterations = [{"type": "message", "input_tokens": 10, "output_tokens": 5}]
        usage = read_usage({"input_tokens": 10, "output_tokens": 5, "iterations": iterations})
        assert Usage(input_uncached=10, output_text=5) == usage

    def test_iterations_beside_the_top_level(self) -> None:
        """A compaction and an advisor's answer are parts; the totals include them, the buckets do not."""
        compaction = {
            "type": "compaction",
            "input_tokens": 100,
            "cache_creation_input_tokens": 50_000,
            "cache_creation": {"ephemeral_5m_input_tokens": 50_000},
            "output_tokens": 130,
        }
        advice = {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 2500, "output_tokens": 40}
        messages = [
            {"type": "message", "input_tokens": 120, "output_tokens": 3},
            {"type": "message", "input_tokens": 100, "cache_read_input_tokens": 70, "output_tokens": 2},
        ]
        usage = read_usage(
            {
                "input_tokens": 220,
                "cache_read_input_tokens": 70,
                "output_tokens": 5,
                "iterations": [compaction, messages[0], advice, messages[1]],
            }
        )
        parts = (
            Part(None, Usage(input_uncached=100, cache_write_5m=50_000, output_text=130)),
            Part("claude-opus-4-8", Usage(input_uncached=2500, output_text=40)),
        )
        assert Usage(input_uncached=220, cache_read=70, output_text=5, parts=parts) == usage
        expected = {
            "prompt_tokens": 290 + 50_100 + 2500,
            "completion_tokens": 5 + 130 + 40,
            "total_tokens": 52_890 + 175,
            "cached_tokens": 70,
            "cache_write_tokens": 50_000,
        }
        assert expected == usage.token_usage()

    def test_iterations_of_another_top_level(self) -> None:
        """Where the messages are not what the top level says, it is not known what was billed."""
        iterations = [
            {"type": "message", "input_tokens": 10, "output_tokens": 5},
            {"type": "fallback_message", "model": "claude-opus-4-8", "input_tokens": 12, "output_tokens": 6},
        ]
        raw = {"input_tokens": 12, "output_tokens": 6, "iterations": iterations}
        assert ("contradiction", "iterations") == _reason(raw)

    def test_total_in_the_other_way(self) -> None:
        """A total that was added decides whether the cache is inside of the input."""
        raw = {"input_tokens": 100, "cache_read_input_tokens": 80, "output_tokens": 10}
        assert Usage(input_uncached=100, cache_read=80, output_text=10) == read_usage(raw | {"total_tokens": 190})
        assert Usage(input_uncached=20, cache_read=80, output_text=10) == read_usage(raw | {"total_tokens": 110})
        assert ("contradiction", "total_tokens") == _reason(raw | {"total_tokens": 150})

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

    def test_sum_of_lifetimes_repeated(self) -> None:
        """Some versions give the sum of the lifetimes beside them; it is counted once."""
        details = {"cache_creation": 30, "ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}
        usage = read_usage({"input_tokens": 100, "output_tokens": 5, "input_token_details": details})
        assert Usage(input_uncached=70, cache_write_5m=10, cache_write_1h=20, output_text=5) == usage

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


class TestCopiesOfOpenAI:
    def test_deepseek(self) -> None:
        """Hits and misses of the cache are the input."""
        usage = read_usage({"prompt_cache_hit_tokens": 512, "prompt_cache_miss_tokens": 51, "completion_tokens": 9})
        assert Usage(input_uncached=51, cache_read=512, output_text=9) == usage

    def test_openrouter_counts_reasoning_with_another_tokenizer(self) -> None:
        """Where the total confirms the output, more reasoning than output is all of the output."""
        raw = {"prompt_tokens": 43, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 11}}
        assert Usage(input_uncached=43, output_reasoning=10) == read_usage(raw | {"total_tokens": 53})
        assert ("parts_exceed_whole", "completion_tokens") == _reason(raw)

    def test_perplexity_research(self) -> None:
        """Research bills reasoning, citations and searches beside the input and the output."""
        usage = read_usage(
            {
                "prompt_tokens": 33,
                "completion_tokens": 7000,
                "total_tokens": 7033,
                "citation_tokens": 20_000,
                "reasoning_tokens": 74_000,
                "num_search_queries": 18,
            }
        )
        expected = Usage(
            input_uncached=33, output_text=7000, output_reasoning=74_000, output_other=20_000, web_searches=18
        )
        assert expected == usage

    @pytest.mark.parametrize(
        ("key", "counts", "searches"),
        [
            ("server_tool_use_details", {"web_search_requests": 2}, 2),
            ("server_side_tool_usage_details", {"web_search_calls": 2, "x_search_calls": 3, "mcp_calls": 7}, 5),
        ],
    )
    def test_searches(self, key: str, counts: dict[str, int], searches: int) -> None:
        """Searches are counted wherever they are reported."""
        usage = read_usage({"prompt_tokens": 10, "completion_tokens": 5, key: counts})
        assert Usage(input_uncached=10, output_text=5, web_searches=searches) == usage

    def test_realtime(self) -> None:
        """Realtime says how much of which kind was cached."""
        usage = read_usage(
            {
                "input_tokens": 200,
                "output_tokens": 50,
                "total_tokens": 250,
                "input_token_details": {
                    "text_tokens": 70,
                    "audio_tokens": 100,
                    "image_tokens": 30,
                    "cached_tokens": 90,
                    "cached_tokens_details": {"text_tokens": 20, "audio_tokens": 60, "image_tokens": 10},
                },
                "output_token_details": {"text_tokens": 20, "audio_tokens": 30},
            }
        )
        expected = Usage(
            input_uncached=50,
            cache_read=20,
            input_audio=40,
            output_text=20,
            output_audio=30,
            cache_read_audio=60,
            cache_read_image=10,
            input_image=20,
        )
        assert expected == usage


class TestCachedKinds:
    """How much of the audio was cached, where that is not reported."""

    @pytest.mark.parametrize(
        ("prompt", "details", "expected"),
        [
            (100, {"audio_tokens": 100, "cached_tokens": 60}, Usage(cache_read_audio=60, input_audio=40)),
            (100, {"audio_tokens": 30, "cached_tokens": 100}, Usage(cache_read=70, cache_read_audio=30)),
            (100, {"audio_tokens": 80, "cached_tokens": 50}, Usage(cache_read=20, input_other=80)),
            (100, {"audio_tokens": 20, "image_tokens": 10, "cached_tokens": 5}, Usage(65, 5, input_other=30)),
            (
                100,
                {"audio_tokens": 20, "image_tokens": 80, "cached_tokens": 100},
                Usage(cache_read_audio=20, cache_read_image=80),
            ),
        ],
    )
    def test_what_follows(self, prompt: int, details: dict[str, int], expected: Usage) -> None:
        """What follows from the counts is used; the rest has no rate. The sum is the prompt in every case."""
        usage = read_usage({"prompt_tokens": prompt, "completion_tokens": 0, "prompt_tokens_details": details})
        assert expected == usage
        assert prompt == usage.prompt_tokens

    def test_writes_are_no_reads(self) -> None:
        """What was written to the cache is neither cached nor audio."""
        details = {"audio_tokens": 60, "cached_tokens": 60, "cache_write_tokens": 40}
        usage = read_usage({"prompt_tokens": 100, "completion_tokens": 0, "prompt_tokens_details": details})
        assert Usage(cache_read_audio=60, cache_write_5m=40, cache_lifetime_assumed=True) == usage


class _Modality(IntEnum):
    AUDIO = 4


def _modalities(count: str = "tokenCount", **tokens: int) -> list[dict[str, Any]]:
    return [{"modality": modality, count: number} for modality, number in tokens.items()]


class TestGemini:
    def test_thoughts_and_tools_are_beside(self) -> None:
        """The prompt includes the cache; thoughts are more output, and what tools add is more input."""
        usage = read_usage(
            {
                "promptTokenCount": 100,
                "cachedContentTokenCount": 60,
                "candidatesTokenCount": 20,
                "thoughtsTokenCount": 30,
                "toolUsePromptTokenCount": 7,
                "totalTokenCount": 157,
                "trafficType": "ON_DEMAND",
            }
        )
        assert Usage(input_uncached=47, cache_read=60, output_text=20, output_reasoning=30) == usage
        assert 157 == usage.total_tokens

    def test_snake_case_is_the_same(self) -> None:
        """The Python client's names give what the wire's names give."""
        camel = {
            "promptTokenCount": 100,
            "cachedContentTokenCount": 60,
            "candidatesTokenCount": 20,
            "thoughtsTokenCount": 30,
            "toolUsePromptTokenCount": 7,
            "totalTokenCount": 157,
            "promptTokensDetails": _modalities(TEXT=50, AUDIO=50),
            "cacheTokensDetails": _modalities(TEXT=20, AUDIO=40),
            "toolUsePromptTokensDetails": _modalities(AUDIO=7),
            "candidatesTokensDetails": _modalities(IMAGE=15),
        }
        snake = {
            "prompt_token_count": 100,
            "cached_content_token_count": 60,
            "candidates_token_count": 20,
            "thoughts_token_count": 30,
            "tool_use_prompt_token_count": 7,
            "total_token_count": 157,
            "prompt_tokens_details": _modalities("token_count", TEXT=50, AUDIO=50),
            "cache_tokens_details": _modalities("token_count", TEXT=20, AUDIO=40),
            "tool_use_prompt_tokens_details": _modalities("token_count", AUDIO=7),
            "candidates_tokens_details": _modalities("token_count", IMAGE=15),
        }
        expected = Usage(
            input_uncached=30,
            cache_read=20,
            input_audio=17,
            output_text=5,
            output_reasoning=30,
            cache_read_audio=40,
            output_image=15,
        )
        assert expected == read_usage(camel)
        assert expected == read_usage(snake)

    @pytest.mark.parametrize("modality", ["AUDIO", "audio", "MediaModality.AUDIO", 4, _Modality.AUDIO])
    def test_spellings_of_a_modality(self, modality: Any) -> None:
        """A modality is a name, an enumeration's name, or its number."""
        details = [{"modality": modality, "tokenCount": 30}]
        usage = read_usage({"promptTokenCount": 100, "promptTokensDetails": details, "candidatesTokenCount": 1})
        assert Usage(input_uncached=70, input_audio=30, output_text=1) == usage

    def test_modalities(self) -> None:
        """Documents are read as images; what the list leaves out is text; a new modality has no rate."""
        details = _modalities(TEXT=10, IMAGE=20, DOCUMENT=5, VIDEO=30, SMELL=4)
        usage = read_usage({"promptTokenCount": 100, "promptTokensDetails": details})
        assert Usage(input_uncached=41, input_image=25, input_video=30, input_other=4) == usage

    def test_cached_audio_without_details(self) -> None:
        """Without details of the cache it is not known how much of the audio was cached."""
        raw = {"promptTokenCount": 100, "promptTokensDetails": _modalities(AUDIO=30), "cachedContentTokenCount": 50}
        assert Usage(input_uncached=20, cache_read=50, input_other=30) == read_usage(raw)
        details = {"cacheTokensDetails": _modalities(TEXT=50)}
        assert Usage(input_uncached=20, cache_read=50, input_audio=30) == read_usage(raw | details)

    def test_cached_video_and_text_have_one_rate(self) -> None:
        """Cached video is read at the rate of cached text."""
        usage = read_usage(
            {
                "promptTokenCount": 100,
                "promptTokensDetails": _modalities(VIDEO=90, TEXT=10),
                "cachedContentTokenCount": 80,
                "cacheTokensDetails": _modalities(VIDEO=75, TEXT=5),
            }
        )
        assert Usage(input_uncached=5, cache_read=80, input_video=15) == usage

    def test_thoughts_among_the_candidates(self) -> None:
        """Where the total says so, the thoughts are counted among the candidates."""
        usage = read_usage(
            {"promptTokenCount": 10, "candidatesTokenCount": 50, "thoughtsTokenCount": 30, "totalTokenCount": 60}
        )
        assert Usage(input_uncached=10, output_text=20, output_reasoning=30) == usage

    def test_zeros_are_left_out(self) -> None:
        """Google's JSON leaves out zeros: the total gives an absent prompt, and what it does not explain is kept."""
        assert Usage(output_text=18, output_reasoning=58) == read_usage(
            {"candidatesTokenCount": 18, "thoughtsTokenCount": 58}
        )
        assert Usage(input_uncached=4, output_text=18) == read_usage(
            {"candidatesTokenCount": 18, "totalTokenCount": 22}
        )
        assert Usage(input_uncached=4, unsplit=18) == read_usage({"promptTokenCount": 4, "totalTokenCount": 22})
        assert Usage(unsplit=22) == read_usage({"totalTokenCount": 22})

    def test_embeddings(self) -> None:
        """Embeddings have a prompt and nothing else."""
        raw = {"promptTokenCount": 7, "promptTokenDetails": _modalities(TEXT=7)}
        assert Usage(input_uncached=7) == read_usage(raw)

    def test_interactions(self) -> None:
        """The Interactions API has names of its own for the same counts."""
        usage = read_usage(
            {
                "input_tokens_by_modality": _modalities("tokens", text=9, image=258),
                "total_cached_tokens": 0,
                "total_input_tokens": 267,
                "total_output_tokens": 3,
                "total_thought_tokens": 57,
                "total_tool_use_tokens": 0,
                "total_tokens": 327,
            }
        )
        assert Usage(input_uncached=9, output_text=3, output_reasoning=57, input_image=258) == usage


class TestBedrock:
    def test_converse(self) -> None:
        """Converse counts the cache beside the input, and says how long it was written for."""
        usage = read_usage(
            {
                "inputTokens": 3,
                "outputTokens": 61,
                "totalTokens": 2435,
                "cacheReadInputTokens": 2074,
                "cacheReadInputTokenCount": 2074,
                "cacheWriteInputTokens": 297,
                "cacheWriteInputTokenCount": 297,
                "cacheDetails": [{"inputTokens": 200, "ttl": "1h"}, {"inputTokens": 97, "ttl": "5m"}],
                "serverToolUsage": {},
            }
        )
        expected = Usage(input_uncached=3, cache_read=2074, cache_write_5m=97, cache_write_1h=200, output_text=61)
        assert expected == usage
        assert 2435 == usage.total_tokens

    def test_total_without_the_cache(self) -> None:
        """A total may leave the cache out; more than that is not explained, and less is a contradiction."""
        raw = {"inputTokens": 3, "outputTokens": 7, "cacheReadInputTokens": 100}
        expected = Usage(input_uncached=3, cache_read=100, output_text=7)
        assert expected == read_usage(raw | {"totalTokens": 10})
        assert expected == read_usage(raw)
        assert expected._replace(unsplit=5) == read_usage(raw | {"totalTokens": 115})
        assert ("contradiction", "totalTokens") == _reason(raw | {"totalTokens": 50})

    def test_writes_without_lifetime(self) -> None:
        """Without details a write is taken for the default lifetime; details that do not add up are refused."""
        raw: dict[str, Any] = {"inputTokens": 3, "outputTokens": 7, "cacheWriteInputTokens": 20}
        expected = Usage(input_uncached=3, cache_write_5m=20, output_text=7, cache_lifetime_assumed=True)
        assert expected == read_usage(raw)
        wrong = {"cacheDetails": [{"inputTokens": 19, "ttl": "1h"}]}
        assert ("contradiction", "cacheDetails") == _reason(raw | wrong)

    @pytest.mark.parametrize(
        "raw",
        [
            {"inputTokens": 5, "outputTokens": 2, "cacheReadInputTokenCount": 0, "totalTokens": 7},
            {"inputTokenCount": 5, "outputTokenCount": 2, "invocationLatency": 800},
            {"inputTextTokenCount": 5, "outputTokenCount": 2},
            {"inputTextTokenCount": 5, "totalOutputTextTokenCount": 2},
            {"prompt_token_count": 5, "generation_token_count": 2},
            {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 5, "outputTokenCount": 2}},
        ],
    )
    def test_models_that_are_invoked(self, raw: dict[str, Any]) -> None:
        """Nova, Titan, Llama and the metrics of an invocation have two counts under names of their own."""
        assert Usage(input_uncached=5, output_text=2) == read_usage(raw)


class TestCohere:
    def test_billed_units(self) -> None:
        """The billed units count; tokens and cached tokens include what Cohere adds."""
        raw = {
            "billed_units": {"input_tokens": 2406, "output_tokens": 2},
            "cached_tokens": 2928,
            "tokens": {"input_tokens": 2935, "output_tokens": 4},
        }
        assert Usage(input_uncached=2406, output_text=2) == read_usage(raw)
        assert Usage(input_uncached=2406, output_text=2) == read_usage({"meta": raw})

    def test_tokens_alone(self) -> None:
        """Without billed units the tokens count, of which some were cached."""
        raw = {"cached_tokens": 10, "tokens": {"input_tokens": 30, "output_tokens": 4}}
        assert Usage(input_uncached=20, cache_read=10, output_text=4) == read_usage(raw)

    def test_units_that_are_no_tokens(self) -> None:
        """Images and searches are units of their own."""
        assert Usage(input_uncached=4, input_image=9) == read_usage(
            {"billed_units": {"input_tokens": 4, "image_tokens": 9}}
        )
        assert Usage(web_searches=1) == read_usage({"billed_units": {"search_units": 1}})


class TestOllama:
    def test_counts(self) -> None:
        """Ollama reports what it evaluated and what it generated."""
        assert Usage(input_uncached=17, output_text=66) == read_usage({"prompt_eval_count": 17, "eval_count": 66})


class TestWrappers:
    @pytest.mark.parametrize("keys", [["x_groq", "usage"], ["usage"], ["token_usage"], ["x_groq"]])
    def test_usage_inside_of_something(self, keys: list[str]) -> None:
        """A usage object is found in what a provider wraps it in."""
        raw: dict[str, Any] = {"prompt_tokens": 10, "completion_tokens": 5}
        for key in reversed(keys):
            raw = {"id": "req", key: raw}
        assert Usage(input_uncached=10, output_text=5) == read_usage(raw)

    @pytest.mark.parametrize("key", ["usageMetadata", "usage_metadata"])
    def test_response_of_gemini(self, key: str) -> None:
        """Whole responses of Gemini hold it under a name of their own."""
        assert Usage(input_uncached=10) == read_usage({key: {"promptTokenCount": 10, "totalTokenCount": 10}})

    def test_counts_go_first(self) -> None:
        """An object with counts of its own is not looked into."""
        raw = {"prompt_tokens": 10, "completion_tokens": 5, "usage": {"prompt_tokens": 99, "completion_tokens": 99}}
        assert Usage(input_uncached=10, output_text=5) == read_usage(raw)


class TestReportedCost:
    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"cost": 4.8e-05, "is_byok": False, "cost_details": {"upstream_inference_cost": None}}, "0.000048"),
            ({"cost": 0.00183}, "0.00183"),
            ({"cost": 2}, "2"),
            ({"cost": 0}, "0"),
            ({"cost": {"input_tokens_cost": 0.1, "total_cost": 0.832}}, "0.832"),
            ({"cost_in_usd_ticks": 37_756_000}, "0.0037756"),
        ],
    )
    def test_cost(self, fields: dict[str, Any], expected: str) -> None:
        """The provider's cost is kept as exactly as it was written."""
        usage = read_usage({"prompt_tokens": 10, "completion_tokens": 5, **fields})
        assert Usage(input_uncached=10, output_text=5, reported_usd=Decimal(expected)) == usage

    @pytest.mark.parametrize(
        "fields",
        [
            {"cost": 0.01, "is_byok": True},
            {"cost": None},
            {"cost": "0.01"},
            {"cost": True},
            {"cost": -0.01},
            {"cost": float("nan")},
            {"cost": float("inf")},
            {"cost": 1e30},
            {"cost": 10**400},
            {"cost": Decimal("sNaN")},
            {"cost": [0.01]},
            {"cost": {"input_cost": 0.01}},
            {"cost_in_usd_ticks": "37756000"},
        ],
    )
    def test_no_cost(self, fields: dict[str, Any]) -> None:
        """What is no cost of the call is left out, and the counts are read all the same."""
        usage = read_usage({"prompt_tokens": 10, "completion_tokens": 5, **fields})
        assert Usage(input_uncached=10, output_text=5) == usage

    def test_context_of_the_host(self) -> None:
        """A program that computes with few digits does not round the provider's cost."""
        with localcontext(prec=2):
            usage = read_usage({"prompt_tokens": 10, "completion_tokens": 5, "cost_in_usd_ticks": 123_456_789})
        assert Decimal("0.0123456789") == usage.reported_usd

    def test_in_every_dialect(self) -> None:
        """A router reports its cost in the dialect that it was asked in."""
        usage = read_usage({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 0, "cost": 0.5})
        assert Decimal("0.5") == usage.reported_usd


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

    def test_cached_audio(self) -> None:
        """Cached audio is among the cached tokens, named beside them, and read back as what it is."""
        usage = Usage(input_uncached=10, cache_read=20, input_audio=5, output_text=1, cache_read_audio=7)
        expected = {
            "prompt_tokens": 42,
            "completion_tokens": 1,
            "total_tokens": 43,
            "cached_tokens": 27,
            "cached_audio_tokens": 7,
            "audio_input_tokens": 5,
        }
        assert expected == usage.token_usage()
        assert usage == read_usage(expected)

    def test_buckets_are_the_counts(self) -> None:
        """`BUCKETS` names every count of a usage in its order, and nothing else."""
        counts = tuple(name for name, default in Usage._field_defaults.items() if type(default) is int)
        assert counts == BUCKETS
        assert Usage._fields[: len(BUCKETS)] == BUCKETS

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
            ({"invented_tokens": 5}, ("no_counts", "usage")),
            ({"promptTokenCount": None}, ("empty", "usage")),
            ({"promptTokenCount": None, "trafficType": "ON_DEMAND"}, ("no_counts", "promptTokenCount")),
            ({"promptTokenCount": 5, "totalTokenCount": 4}, ("contradiction", "totalTokenCount")),
            ({"promptTokenCount": 5, "promptTokensDetails": 3}, ("not_a_list", "promptTokensDetails")),
            ({"promptTokenCount": 5, "promptTokensDetails": [3]}, ("not_an_object", "promptTokensDetails")),
            (
                {"promptTokenCount": 5, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 6}]},
                ("parts_exceed_whole", "promptTokenCount"),
            ),
            ({"promptTokenCount": 5, "cachedContentTokenCount": 6}, ("parts_exceed_whole", "promptTokenCount")),
            ({"inputTokens": 5, "outputTokens": 1, "totalTokens": 5}, ("contradiction", "totalTokens")),
            ({"outputTokens": 1}, ("no_input_count", "inputTokens")),
            ({"billed_units": {"classifications": 1}}, ("no_counts", "billed_units")),
            ({"billed_units": 3}, ("not_an_object", "billed_units")),
            ({"tokens": {"output_tokens": 1}}, ("no_input_count", "tokens")),
            ({"eval_count": 5}, ("no_input_count", "prompt_eval_count")),
            ({"x_groq": {"usage": {"x_groq": {"usage": {"x_groq": {}}}}}}, ("no_counts", "usage")),
            ({"usage": 5}, ("not_an_object", "usage")),
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

    def test_input_is_left_as_it_is(self) -> None:
        """Reading changes nothing, in the object or below."""
        raw = {
            "usage": {
                "input_tokens": 10,
                "cache_creation": {"ephemeral_1h_input_tokens": 7},
                "iterations": [{"type": "message", "input_tokens": 10}],
            }
        }
        before = copy.deepcopy(raw)
        read_usage(raw)
        assert before == raw

    def test_message_holds_no_value(self) -> None:
        """The value of a bad count is the caller's and stays out of the message."""
        with pytest.raises(UsageError) as caught:
            read_usage({"prompt_tokens": "my private text", "completion_tokens": 5})
        assert "not_a_count: prompt_tokens" == str(caught.value)
