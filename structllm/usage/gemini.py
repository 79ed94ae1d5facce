"""Usage in Google's dialects: Gemini and Vertex, in camel case or snake case, and the Interactions API.

The prompt includes what was cached. Thoughts are counted beside the candidates, and what tools add to the prompt is
counted beside the prompt and billed as input. Lists give the modalities; what they leave out is text.
"""

from collections.abc import Mapping
from typing import Any

from structllm.usage.buckets import Usage
from structllm.usage.counts import UsageError, collect, count, mappings, rest
from structllm.usage.kinds import Kinds, divide_input

_TOP = {
    "promptTokenCount": "prompt",
    "prompt_token_count": "prompt",
    "total_input_tokens": "prompt",
    "candidatesTokenCount": "output",
    "candidates_token_count": "output",
    "responseTokenCount": "output",
    "response_token_count": "output",
    "total_output_tokens": "output",
    "thoughtsTokenCount": "thoughts",
    "thoughts_token_count": "thoughts",
    "total_thought_tokens": "thoughts",
    "toolUsePromptTokenCount": "tools",
    "tool_use_prompt_token_count": "tools",
    "total_tool_use_tokens": "tools",
    "cachedContentTokenCount": "cached",
    "cached_content_token_count": "cached",
    "total_cached_tokens": "cached",
    "totalTokenCount": "total",
    "total_token_count": "total",
    "total_tokens": "total",
}
MARKS = frozenset(_TOP) - {"total_tokens"}
"""Keys by which the dialect is known."""

_LISTS = {
    "promptTokensDetails": "prompt",
    "prompt_tokens_details": "prompt",
    "promptTokenDetails": "prompt",
    "input_tokens_by_modality": "prompt",
    "cacheTokensDetails": "cached",
    "cache_tokens_details": "cached",
    "cached_tokens_by_modality": "cached",
    "toolUsePromptTokensDetails": "tools",
    "tool_use_prompt_tokens_details": "tools",
    "tool_use_tokens_by_modality": "tools",
    "candidatesTokensDetails": "output",
    "candidates_tokens_details": "output",
    "responseTokensDetails": "output",
    "response_tokens_details": "output",
    "output_tokens_by_modality": "output",
}
_COUNTS = ("tokenCount", "token_count", "tokens")

_NONE = Kinds()
_TEXT = "text"
_KINDS = {
    "TEXT": _TEXT,
    "IMAGE": "image",
    "DOCUMENT": "image",  # pages are read as images and have their rate
    "VIDEO": "video",
    "AUDIO": "audio",
    1: _TEXT,
    2: "image",
    3: "video",
    4: "audio",
    5: "image",
}
"""Modalities by their name, and by their number where the object was made without names."""


def read_gemini(raw: Mapping[str, Any]) -> Usage:
    """Read an object of this dialect; see `structllm.usage.read_usage`."""
    counts = collect(raw, _TOP, {})
    get = counts.get
    output, thoughts, tools, total = get("output", 0), get("thoughts", 0), get("tools", 0), get("total")
    prompt = get("prompt")
    if prompt is None:
        if counts.keys() == {"total"}:
            return Usage(unsplit=counts["total"])
        if not counts:
            raise UsageError("no_counts", "promptTokenCount")
        # Google's JSON leaves out what is zero, so without a total an absent count is one.
        prompt = 0 if total is None else total - output - thoughts - tools
    unsplit, output_all = 0, output + thoughts
    if total is not None:
        unsplit = total - prompt - tools - output_all
        if thoughts and unsplit == -thoughts:
            unsplit, output_all = 0, output  # some models of Vertex count thoughts among the candidates
        if prompt < 0 or unsplit < 0:
            raise UsageError("contradiction", "totalTokenCount")
    kinds = {word: _kinds(value, key) for key, value in raw.items() if (word := _LISTS.get(key)) and value is not None}
    divided = divide_input(
        prompt, get("cached", 0), kinds.get("prompt", _NONE), kinds.get("cached"), "promptTokenCount"
    )
    tool_kinds, of_output = kinds.get("tools", _NONE), kinds.get("output", _NONE)
    return Usage(
        input_uncached=divided.uncached + rest(tools, sum(tool_kinds), "toolUsePromptTokenCount"),
        cache_read=divided.cache_read,
        input_audio=divided.audio + tool_kinds.audio,
        input_other=divided.other + tool_kinds.other,
        output_text=rest(output_all, thoughts + sum(of_output), "candidatesTokenCount"),
        output_reasoning=thoughts,
        output_audio=of_output.audio,
        output_other=of_output.other,
        unsplit=unsplit,
        cache_read_audio=divided.cache_read_audio,
        cache_read_image=divided.cache_read_image,
        input_image=divided.image + tool_kinds.image,
        input_video=divided.video + tool_kinds.video,
        output_image=of_output.image,
        output_video=of_output.video,
    )


def _kinds(modalities: object, field: str) -> Kinds:
    """Sum a list of modalities."""
    sums = {"audio": 0, "image": 0, "video": 0, "other": 0, _TEXT: 0}
    for entry in mappings(modalities, field):
        for key in _COUNTS:
            tokens = entry.get(key)
            if tokens is not None:
                sums[_kind(entry.get("modality"))] += count(tokens, field)
                break
    return Kinds(sums["audio"], sums["image"], sums["video"], sums["other"])


def _kind(modality: object) -> str:
    if isinstance(modality, str):
        return _KINDS.get(modality.rpartition(".")[2].upper(), "other")
    return _KINDS.get(int(modality), "other") if isinstance(modality, int) else "other"
