"""Usage in general: buckets add up to the providers' totals, and whatever comes is counts or a reason."""

import copy
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from structllm.usage import BUCKETS, Usage, UsageError, read_usage

few = settings(max_examples=150, deadline=None)
counts = st.integers(0, 10**7)

TOTALS = ["prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens"]
OPENAI = [
    *TOTALS,
    "cached_tokens",
    "prompt_cache_hit_tokens",
    "prompt_cache_miss_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "cached_audio_tokens",
    "audio_output_tokens",
    "cache_write_tokens",
    "citation_tokens",
    "num_search_queries",
    "cost",
    "is_byok",
    "cost_in_usd_ticks",
    "total_cost",
]
DETAILS = [
    "prompt_tokens_details",
    "input_token_details",
    "completion_tokens_details",
    "output_token_details",
    "cached_tokens_details",
    "audio_tokens",
    "image_tokens",
    "video_tokens",
    "text_tokens",
    "cache_read",
    "cache_creation",
    "priority_cache_read",
    "flex_reasoning",
    "reasoning",
]
ANTHROPIC = [
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "ephemeral_5m_input_tokens",
    "ephemeral_1h_input_tokens",
    "server_tool_use",
    "web_search_requests",
    "iterations",
    "type",
    "model",
]
GEMINI = [
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
    "cachedContentTokenCount",
    "totalTokenCount",
    "promptTokensDetails",
    "cacheTokensDetails",
    "candidatesTokensDetails",
    "prompt_token_count",
    "total_token_count",
    "modality",
    "tokenCount",
]
OTHERS = [
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "cacheReadInputTokens",
    "cacheWriteInputTokens",
    "cacheDetails",
    "ttl",
    "generation_token_count",
    "billed_units",
    "tokens",
    "prompt_eval_count",
    "eval_count",
    "usage",
    "x_groq",
    "meta",
]
_small = st.integers(0, 60)


def _objects(names: list[str], numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from(names)
    words = st.sampled_from(["AUDIO", "IMAGE", "TEXT", "VIDEO", "5m", "1h", "message", "compaction", "m"])
    return st.recursive(
        numbers | words,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=7),
        max_leaves=25,
    )


_odd = st.none() | st.booleans() | st.integers(-5, 10**15) | st.floats() | st.text(max_size=5) | st.binary(max_size=5)


def _numbers(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """An object with some of these counts, the first of them larger than the others."""
    return st.fixed_dictionaries({names[0]: st.integers(100, 200)}, optional=dict.fromkeys(names[1:], _small))


def _with(counted: st.SearchStrategy[dict[str, Any]], **nested: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Such an object, with some of these objects in it."""
    return st.builds(dict[str, Any].__or__, counted, st.fixed_dictionaries({}, optional=nested))


_of_input = _with(
    _numbers("text_tokens", "cached_tokens", "audio_tokens", "image_tokens", "cache_write_tokens"),
    cached_tokens_details=_numbers("text_tokens", "audio_tokens"),
)
_of_output = _numbers("text_tokens", "reasoning_tokens", "audio_tokens", "image_tokens")
_call = _with(
    _numbers("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
    cache_creation=_numbers("unknown", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
    type=st.sampled_from(["message", "compaction"]),
)
_modalities = st.lists(
    st.fixed_dictionaries({"modality": st.sampled_from(["TEXT", "AUDIO", "IMAGE", "VIDEO"]), "tokenCount": _small}),
    max_size=3,
)
plausible = st.one_of(
    _with(
        _numbers("prompt_tokens", "completion_tokens", *OPENAI[5:-1]),
        prompt_tokens_details=_of_input,
        completion_tokens_details=_of_output,
        total_tokens=st.integers(100, 300),
    ),
    _with(_call, iterations=st.lists(_call, max_size=3), total_tokens=st.integers(100, 300)),
    _with(
        _numbers("promptTokenCount", "candidatesTokenCount", "cachedContentTokenCount", "thoughtsTokenCount"),
        promptTokensDetails=_modalities,
        cacheTokensDetails=_modalities,
        candidatesTokensDetails=_modalities,
        toolUsePromptTokenCount=_small,
        totalTokenCount=st.integers(100, 400),
    ),
    _numbers("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens", "totalTokens"),
    _with(st.just({}), billed_units=_numbers("input_tokens", "output_tokens", "search_units", "image_tokens")),
    _numbers("prompt_eval_count", "eval_count").map(lambda inner: {"x_groq": {"usage": inner}}),
)
garbage = _objects(OPENAI + DETAILS + ANTHROPIC + GEMINI + OTHERS, _odd)


def _buckets(usage: Usage) -> Iterator[int]:
    yield from (getattr(usage, name) for name in BUCKETS)
    for part in usage.parts:
        yield from _buckets(part.usage)


def _tokens(usage: Usage) -> int:
    """Add up the buckets, one by one, as a price list does."""
    own = sum(getattr(usage, name) for name in BUCKETS if name != "web_searches")
    return own + sum(_tokens(part.usage) for part in usage.parts)


class TestAnything:
    @few
    @given(plausible | garbage)
    def test_counts_or_a_reason(self, raw: Any) -> None:
        """Whatever comes, the answer is counts that are not negative and add up, or a UsageError; nothing changes."""
        before = copy.deepcopy(raw)
        try:
            usage = read_usage(raw)
        except UsageError:
            pass
        else:
            assert min(_buckets(usage)) >= 0
            assert _tokens(usage) == usage.total_tokens
            assert usage.total_tokens >= usage.prompt_tokens + usage.completion_tokens
            assert usage.reported_usd is None or 0 <= usage.reported_usd < Decimal(10**17)
        assert repr(before) == repr(raw)

    @few
    @given(plausible, st.integers(0, 40))
    def test_hostile(self, raw: Any, patience: int) -> None:
        """An object that raises in the middle of being read gives a UsageError, and nothing else."""
        try:
            usage = read_usage(_hostile(raw, [patience]))
        except UsageError:
            return
        assert min(_buckets(usage)) >= 0

    @few
    @given(plausible)
    def test_own_counts_are_read_back(self, raw: Any) -> None:
        """The totals in an event are read back as the same totals."""
        try:
            counted = read_usage(raw).token_usage()
        except UsageError:
            return
        again = read_usage(counted).token_usage()
        assert counted["total_tokens"] == again["total_tokens"]
        if "prompt_tokens" in counted and counted["total_tokens"] == (
            counted["prompt_tokens"] + counted["completion_tokens"]
        ):
            assert counted == again


class _Hostile(Mapping[str, Any]):
    """A mapping that raises when its patience is at an end."""

    def __init__(self, inner: dict[str, Any], patience: list[int]) -> None:
        self._inner, self._patience = inner, patience

    def _endure(self) -> None:
        self._patience[0] -= 1
        if self._patience[0] < 0:
            raise RuntimeError("my private text")

    def __getitem__(self, key: str) -> Any:
        self._endure()
        return self._inner[key]

    def __iter__(self) -> Iterator[str]:
        for key in self._inner:
            self._endure()
            yield key

    def __len__(self) -> int:
        return len(self._inner)


def _hostile(raw: Any, patience: list[int]) -> Any:
    if isinstance(raw, dict):
        inner = cast("dict[str, Any]", raw)
        return _Hostile({key: _hostile(value, patience) for key, value in inner.items()}, patience)
    return [_hostile(value, patience) for value in cast("list[Any]", raw)] if isinstance(raw, list) else raw


class TestTotals:
    """The buckets of a consistent object add up to the provider's totals."""

    @few
    @given(st.dictionaries(st.sampled_from(DETAILS[4:]), _small), st.dictionaries(st.sampled_from(DETAILS[4:]), _small))
    def test_openai_details(self, of_prompt: dict[str, int], of_completion: dict[str, int]) -> None:
        """Whatever the details say, the totals stay what the provider reported."""
        of_prompt.pop("cached_tokens_details", None)
        of_completion.pop("cached_tokens_details", None)
        raw = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
        raw_details = {"prompt_tokens_details": of_prompt, "completion_tokens_details": of_completion}
        try:
            usage = read_usage(raw | raw_details)
        except UsageError:
            return
        assert (100, 50, 150) == (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
        assert of_completion.get("audio_tokens", 0) == usage.output_audio

    @few
    @given(counts, counts, counts, counts, counts, counts)
    def test_openai(self, cached: int, written: int, text: int, reasoning: int, audio: int, output: int) -> None:
        """A dialect that counts inside is taken apart into what was put in."""
        prompt, completion = cached + written + text, reasoning + audio + output
        usage = read_usage(
            {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
                "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
                "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": audio},
            }
        )
        expected = Usage(
            input_uncached=text,
            cache_read=cached,
            cache_write_5m=written,
            output_text=output,
            output_reasoning=reasoning,
            output_audio=audio,
            cache_lifetime_assumed=written > 0,
        )
        assert expected == usage
        assert prompt + completion == usage.total_tokens

    @few
    @given(counts, counts, counts, counts, counts)
    def test_anthropic_langchain_and_bedrock_agree(
        self, text: int, read: int, short: int, long: int, output: int
    ) -> None:
        """The same call gives the same buckets from Anthropic's own object, from LangChain's and from Bedrock's."""
        lifetimes = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
        prompt = text + read + short + long
        anthropic = {
            "input_tokens": text,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": short + long,
            "cache_creation": lifetimes,
            "output_tokens": output,
        }
        langchain = {
            "input_tokens": prompt,
            "output_tokens": output,
            "total_tokens": prompt + output,
            "input_token_details": {"cache_read": read, "cache_creation": 0, **lifetimes},
        }
        bedrock = {
            "inputTokens": text,
            "outputTokens": output,
            "totalTokens": prompt + output,
            "cacheReadInputTokens": read,
            "cacheWriteInputTokens": short + long,
            "cacheDetails": [{"inputTokens": long, "ttl": "1h"}, {"inputTokens": short, "ttl": "5m"}],
        }
        expected = Usage(text, read, short, long, output_text=output)
        assert [expected] * 3 == [read_usage(anthropic), read_usage(langchain), read_usage(bedrock)]

    @few
    @given(
        st.lists(st.tuples(st.sampled_from(["message", "compaction", "advisor_message"]), counts, counts), max_size=6)
    )
    def test_iterations(self, calls: list[tuple[str, int, int]]) -> None:
        """The totals are those of all calls, whatever the top level leaves out."""
        messages = [call for call in calls if call[0] == "message"]
        raw = {
            "input_tokens": sum(call[1] for call in messages),
            "output_tokens": sum(call[2] for call in messages),
            "iterations": [{"type": kind, "input_tokens": read, "output_tokens": said} for kind, read, said in calls],
        }
        usage = read_usage(raw)
        assert sum(call[1] for call in calls) == usage.prompt_tokens
        assert sum(call[2] for call in calls) == usage.completion_tokens
        assert len(calls) - len(messages) == len(usage.parts)

    @few
    @given(*([counts] * 4), st.lists(counts, min_size=4, max_size=4), st.lists(counts, min_size=4, max_size=4))
    def test_gemini(
        self, text: int, thoughts: int, tools: int, image: int, plain: list[int], cached: list[int]
    ) -> None:
        """With details of prompt and cache every bucket is what was put in, and the sum is Google's total."""
        kinds = ["TEXT", "AUDIO", "IMAGE", "VIDEO"]
        prompt = sum(plain) + sum(cached)
        total = prompt + text + image + thoughts + tools
        usage = read_usage(
            {
                "promptTokenCount": prompt,
                "promptTokensDetails": [
                    {"modality": kind, "tokenCount": one + other}
                    for kind, one, other in zip(kinds, plain, cached, strict=True)
                ],
                "cachedContentTokenCount": sum(cached),
                "cacheTokensDetails": [
                    {"modality": kind, "tokenCount": number} for kind, number in zip(kinds, cached, strict=True)
                ],
                "candidatesTokenCount": text + image,
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": image}],
                "thoughtsTokenCount": thoughts,
                "toolUsePromptTokenCount": tools,
                "totalTokenCount": total,
            }
        )
        expected = Usage(
            input_uncached=plain[0] + tools,
            cache_read=cached[0] + cached[3],
            input_audio=plain[1],
            output_text=text,
            output_reasoning=thoughts,
            cache_read_audio=cached[1],
            cache_read_image=cached[2],
            input_image=plain[2],
            input_video=plain[3],
            output_image=image,
        )
        assert expected == usage
        assert total == usage.total_tokens
