"""Token usage: what the providers report, in buckets that do not overlap.

Providers count in two ways. OpenAI, everything that speaks its dialect and LangChain's `UsageMetadata` count cached
tokens *inside* the input tokens; Anthropic counts them *beside* the input tokens. `read_usage` turns both into the same
`Usage`, whose buckets can be priced one by one and add up to the provider's own totals.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from structllm.errors import StructllmError

MAX_TOKENS = 10**12
"""Larger counts are taken for garbage: no model reads or writes that much in one call."""


class UsageError(StructllmError, ValueError):
    """A usage object that cannot be read.

    Args:
        reason: Short word for events and counters, e.g. `negative`; `empty` where there is nothing in it.
        field: The field that is wrong, in our own spelling; never a value.
    """

    def __init__(self, reason: str, field: str = "usage") -> None:
        self.reason = reason
        self.field = field
        super().__init__(f"{reason}: {field}")


class Usage(NamedTuple):
    """Token counts of one completion in disjoint buckets.

    Attributes:
        input_uncached: Input read at the full rate.
        cache_read: Input read from the provider's cache.
        cache_write_5m: Input written to the cache for five minutes, or for the provider's only lifetime.
        cache_write_1h: Input written to the cache for an hour.
        input_audio: Input of audio.
        input_other: Input that has no bucket of its own: images, video, audio of which an unknown part was cached.
        output_text: Output that is none of the following.
        output_reasoning: Output spent on reasoning.
        output_audio: Output of audio.
        output_other: Output that has no bucket of its own: images, video.
        unsplit: Tokens of the total that are reported neither as input nor as output.
        web_searches: Searches that the provider made for the model; a count, no tokens.
        beyond: Names of charges that the provider reports outside of these counts.
        cache_lifetime_assumed: True where cache writes came without their lifetime.
    """

    input_uncached: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    input_audio: int = 0
    input_other: int = 0
    output_text: int = 0
    output_reasoning: int = 0
    output_audio: int = 0
    output_other: int = 0
    unsplit: int = 0
    web_searches: int = 0
    beyond: tuple[str, ...] = ()
    cache_lifetime_assumed: bool = False

    @property
    def prompt_tokens(self) -> int:
        """Input tokens of every kind."""
        return (
            self.input_uncached
            + self.cache_read
            + self.cache_write_5m
            + self.cache_write_1h
            + self.input_audio
            + self.input_other
        )

    @property
    def completion_tokens(self) -> int:
        """Output tokens of every kind."""
        return self.output_text + self.output_reasoning + self.output_audio + self.output_other

    @property
    def total_tokens(self) -> int:
        """Input, output and what is neither."""
        return self.prompt_tokens + self.completion_tokens + self.unsplit

    @property
    def has_split(self) -> bool:
        """Whether it says how the total divides into input and output; without that no price can be had."""
        return not self.unsplit or self.prompt_tokens + self.completion_tokens > 0

    def token_usage(self) -> dict[str, int]:
        """Return the event's `token_usage`: the totals, then the kinds that occurred."""
        prompt, completion = self.prompt_tokens, self.completion_tokens
        total = prompt + completion + self.unsplit
        if self.unsplit == total and total:
            return {"total_tokens": total}
        counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
        if self.cache_read:
            counts["cached_tokens"] = self.cache_read
        if written := self.cache_write_5m + self.cache_write_1h:
            counts["cache_write_tokens"] = written
        if self.output_reasoning:
            counts["reasoning_tokens"] = self.output_reasoning
        if self.input_audio:
            counts["audio_input_tokens"] = self.input_audio
        if self.output_audio:
            counts["audio_output_tokens"] = self.output_audio
        return counts


def read_usage(raw: Mapping[str, Any]) -> Usage:
    """Read a usage object of OpenAI (chat, Responses, embeddings), Anthropic, LangChain or this package.

    Args:
        raw: The object as a mapping; keys that are not known are ignored, and None counts as absent.

    Returns:
        The disjoint buckets. Their sums are the totals that the provider reported.

    Raises:
        UsageError: It holds no counts, counts of an unknown dialect, or counts that contradict each other.
    """
    try:
        counts = _collect(raw)
        beside = not _BESIDE.isdisjoint(raw) and "prompt_tokens" not in raw and "completion_tokens" not in raw
        return _read_beside(raw, counts) if beside else _read_inside(counts)
    except UsageError:
        raise
    except Exception as error:
        # Whatever a hostile mapping raises while it is read: the caller is pricing, and must not fail for it.
        raise UsageError("unreadable") from error


_TOP = {
    "prompt_tokens": "prompt",
    "input_tokens": "prompt",
    "completion_tokens": "completion",
    "output_tokens": "completion",
    "total_tokens": "total",
    "cached_tokens": "cached",
    "cache_read_input_tokens": "cached",
    "num_cached_tokens": "cached",
    "prompt_cache_hit_tokens": "cached",
    "cache_write_tokens": "written",
    "cache_creation_input_tokens": "written",
    "reasoning_tokens": "reasoning",
    "audio_input_tokens": "input_audio",
    "audio_output_tokens": "output_audio",
}
_LIFETIMES = {"ephemeral_5m_input_tokens": "written_5m", "ephemeral_1h_input_tokens": "written_1h"}
_INPUT_PARTS = _LIFETIMES | {
    "cached_tokens": "cached",
    "cache_read": "cached",
    "priority_cache_read": "cached",
    "flex_cache_read": "cached",
    "cache_write_tokens": "written",
    "cache_creation_tokens": "written",
    "cache_creation": "written",
    "priority_cache_creation": "written",
    "flex_cache_creation": "written",
    "audio_tokens": "input_audio",
    "audio": "input_audio",
    "image_tokens": "input_image",
    "image": "input_image",
    "video_tokens": "input_video",
    "video": "input_video",
}
_OUTPUT_PARTS = {
    "reasoning_tokens": "reasoning",
    "reasoning": "reasoning",
    "priority_reasoning": "reasoning",
    "flex_reasoning": "reasoning",
    "thinking_tokens": "reasoning",
    "audio_tokens": "output_audio",
    "audio": "output_audio",
    "image_tokens": "output_image",
    "image": "output_image",
    "video_tokens": "output_video",
    "video": "output_video",
}
_NESTED: Mapping[str, Mapping[str, str]] = {
    "prompt_tokens_details": _INPUT_PARTS,
    "prompt_token_details": _INPUT_PARTS,
    "input_tokens_details": _INPUT_PARTS,
    "input_token_details": _INPUT_PARTS,
    "completion_tokens_details": _OUTPUT_PARTS,
    "completion_token_details": _OUTPUT_PARTS,
    "output_tokens_details": _OUTPUT_PARTS,
    "output_token_details": _OUTPUT_PARTS,
    "cache_creation": _LIFETIMES,
    "server_tool_use": {"web_search_requests": "web_searches"},
}
_BESIDE = frozenset(
    {"cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "server_tool_use", "iterations"}
)
"""Keys by which Anthropic's dialect is known, where cached tokens are counted beside the input tokens."""


def _collect(raw: Mapping[str, Any]) -> dict[str, int]:
    """Return every count that is present, under our word for it; of two words for one thing the larger count."""
    counts: dict[str, int] = {}
    empty = True
    for key, value in _object(raw, "usage").items():
        if value is None:
            continue
        empty = False
        if word := _TOP.get(key):
            _note(counts, word, key, value)
        elif parts := _NESTED.get(key):
            for part, count in _object(value, key).items():
                if count is not None and (word := parts.get(part)):
                    _note(counts, word, part, count)
    if empty:
        raise UsageError("empty")
    return counts


def _object(value: object, name: str) -> Mapping[str, Any]:
    if type(value) is not dict and not isinstance(value, Mapping):
        raise UsageError("not_an_object", name)
    return cast("Mapping[str, Any]", value)


def _note(counts: dict[str, int], word: str, key: str, value: Any) -> None:
    if type(value) is not int:
        if type(value) is not float or not value.is_integer():
            raise UsageError("not_a_count", key)
        value = int(value)
    if value < 0:
        raise UsageError("negative", key)
    if value > MAX_TOKENS:
        raise UsageError("too_large", key)
    counts[word] = max(value, counts.get(word, 0))


def _read_inside(counts: dict[str, int]) -> Usage:
    """Read a dialect whose input tokens include the cached ones and whose output tokens include the reasoning."""
    get = counts.get
    reasoning = get("reasoning", 0)
    prompt, completion, unsplit = _split(get("prompt"), get("completion"), get("total"), reasoning)
    cached, untimed, written_1h = get("cached", 0), get("written", 0), get("written_1h", 0)
    written_5m = get("written_5m", 0) + untimed
    audio, other = get("input_audio", 0), get("input_image", 0) + get("input_video", 0)
    if audio and cached:
        # Cached audio is counted on both sides and the overlap is not reported: no rate fits all of it.
        audio, other = 0, other + audio
    output_audio, output_other = get("output_audio", 0), get("output_image", 0) + get("output_video", 0)
    return Usage(
        input_uncached=_rest(prompt, cached + written_5m + written_1h + audio + other, "prompt_tokens"),
        cache_read=cached,
        cache_write_5m=written_5m,
        cache_write_1h=written_1h,
        input_audio=audio,
        input_other=other,
        output_text=_rest(completion, reasoning + output_audio + output_other, "completion_tokens"),
        output_reasoning=reasoning,
        output_audio=output_audio,
        output_other=output_other,
        unsplit=unsplit,
        cache_lifetime_assumed=untimed > 0,
    )


def _read_beside(raw: Mapping[str, Any], counts: dict[str, int]) -> Usage:
    """Read Anthropic's dialect, whose input tokens exclude what was read from and written to the cache."""
    get = counts.get
    if "prompt" not in counts:
        raise UsageError("no_input_count" if counts else "no_counts", "input_tokens")
    reasoning, written_1h = get("reasoning", 0), get("written_1h", 0)
    timed = get("written_5m", 0) + written_1h
    written = get("written", timed)
    if timed not in (0, written):
        raise UsageError("contradiction", "cache_creation")
    return Usage(
        input_uncached=counts["prompt"],
        cache_read=get("cached", 0),
        cache_write_5m=written - written_1h,
        cache_write_1h=written_1h,
        output_text=_rest(get("completion", 0), reasoning, "output_tokens"),
        output_reasoning=reasoning,
        web_searches=get("web_searches", 0),
        beyond=_iterations(raw.get("iterations")),
        cache_lifetime_assumed=written > 0 and not timed,
    )


def _split(prompt: int | None, completion: int | None, total: int | None, reasoning: int) -> tuple[int, int, int]:
    """Return input, output and what the total holds beyond them."""
    if prompt is None and completion is None:
        if total is None:
            raise UsageError("no_counts")
        return 0, 0, total
    if total is None:
        if prompt is None:
            # Every call has an input; to take it for zero would bill too little.
            raise UsageError("no_input_count", "prompt_tokens")
        return prompt, completion or 0, 0
    if prompt is None:
        prompt = total - (completion or 0)
    elif completion is None:
        completion = total - prompt
    completion = completion or 0
    unsplit = total - prompt - completion
    if prompt < 0 or completion < 0 or unsplit < 0:
        raise UsageError("contradiction", "total_tokens")
    if unsplit and unsplit == reasoning:
        # xAI, and Gemini behind OpenAI's dialect, count reasoning beside the output instead of inside.
        return prompt, completion + reasoning, 0
    return prompt, completion, unsplit


def _iterations(iterations: Any) -> tuple[str, ...]:
    """Return a mark where Anthropic billed more model calls than the counts on the top level describe."""
    if iterations is None:
        return ()
    if not isinstance(iterations, list | tuple):
        raise UsageError("not_a_list", "iterations")
    parts = cast("Sequence[object]", iterations)
    return () if all(_object(part, "iterations").get("type") == "message" for part in parts) else ("iterations",)


def _rest(whole: int, parts: int, field: str) -> int:
    if parts > whole:
        raise UsageError("parts_exceed_whole", field)
    return whole - parts
