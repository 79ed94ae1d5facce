"""Usage in OpenAI's dialect: input tokens include the cached ones, output tokens include the reasoning.

Chat, Responses, Realtime, completions and embeddings, on OpenAI and Azure and wherever the API is copied (Mistral,
Groq, DeepSeek, OpenRouter, Together, xAI, Perplexity); LangChain's `UsageMetadata`; this package's own `token_usage`.
"""

from collections.abc import Mapping
from typing import Any

from structllm.usage.buckets import Usage
from structllm.usage.counts import UsageError, Words, collect, rest
from structllm.usage.kinds import Kinds, divide_input

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
    "cached_prompt_text_tokens": "cached",
    "prompt_cache_miss_tokens": "missed",
    "cache_write_tokens": "written",
    "cache_creation_input_tokens": "written",
    "reasoning_tokens": "reasoning",
    "audio_input_tokens": "own_audio",
    "cached_audio_tokens": "cached_audio",
    "audio_output_tokens": "output_audio",
    "citation_tokens": "citations",
    "num_search_queries": "queries",
}
_LIFETIMES = {"ephemeral_5m_input_tokens": "written_5m", "ephemeral_1h_input_tokens": "written_1h"}
_INPUT_PARTS = _LIFETIMES | {
    "cached_tokens": "cached",
    "cache_read": "cached",
    "cache_read_input_tokens": "cached",
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
_SEARCHES = {"web_search_requests": "web_searches", "web_search_calls": "web_searches", "x_search_calls": "x_searches"}
_NESTED: Mapping[str, Words] = {
    "prompt_tokens_details": _INPUT_PARTS,
    "prompt_token_details": _INPUT_PARTS,
    "input_tokens_details": _INPUT_PARTS,
    "input_token_details": _INPUT_PARTS,
    "completion_tokens_details": _OUTPUT_PARTS,
    "completion_token_details": _OUTPUT_PARTS,
    "output_tokens_details": _OUTPUT_PARTS,
    "output_token_details": _OUTPUT_PARTS,
    "cache_creation": _LIFETIMES,
    "server_tool_use": _SEARCHES,
    "server_tool_use_details": _SEARCHES,
    "server_side_tool_usage_details": _SEARCHES,
}
_COMMON = frozenset({"prompt", "completion", "total", "cached", "missed", "reasoning"})
"""Words of counts that nearly every call has; a call that has no others is read on a shorter way."""


def read_openai(raw: Mapping[str, Any]) -> Usage:
    """Read an object of this dialect; see `structllm.usage.read_usage`."""
    counts = collect(raw, _TOP, _NESTED)
    get = counts.get
    reasoning = get("reasoning", 0)
    prompt = get("prompt")
    if prompt is None and "missed" in counts:
        prompt = counts["missed"] + get("cached", 0)
    if "citations" in counts:
        return _read_research(counts, prompt)
    prompt, completion, unsplit = _split(prompt, get("completion"), get("total"), reasoning)
    cached = get("cached", 0)
    if not counts.keys() <= _COMMON:
        return _read_kinds(counts, prompt, completion, unsplit)
    if cached > prompt:
        raise UsageError("parts_exceed_whole", "prompt_tokens")
    if reasoning > completion:
        if "total" in counts and not unsplit:
            # The total confirms the output; reasoning was counted by another tokenizer (OpenRouter).
            return Usage(prompt - cached, cached, output_reasoning=completion)
        raise UsageError("parts_exceed_whole", "completion_tokens")
    return Usage(prompt - cached, cached, 0, 0, 0, 0, completion - reasoning, reasoning, 0, 0, unsplit)


def _read_kinds(counts: Mapping[str, int], prompt: int, completion: int, unsplit: int) -> Usage:
    """Read what is rare: cache writes, audio, images, searches."""
    get = counts.get
    written_5m, written_1h, untimed = get("written_5m", 0), get("written_1h", 0), get("written", 0)
    if untimed == written_5m + written_1h:
        untimed = 0  # the sum of the lifetimes, repeated
    written = written_5m + written_1h + untimed
    cached_audio, cached_image = get("cached_audio", 0), get("cached_image", 0)
    audio, overlap = get("input_audio", 0), None
    if "own_audio" in counts or "cached_audio" in counts or "cached_kinds" in counts:
        # This package's own counts set cached audio apart; only Realtime's are nested in each other.
        audio = audio if "cached_kinds" in counts else get("own_audio", 0) + cached_audio
        overlap = Kinds(cached_audio, cached_image)
    kinds = Kinds(audio, get("input_image", 0), get("input_video", 0))
    divided = divide_input(rest(prompt, written, "prompt_tokens"), get("cached", 0), kinds, overlap, "prompt_tokens")
    reasoning, output_audio = get("reasoning", 0), get("output_audio", 0)
    output_image, output_video = get("output_image", 0), get("output_video", 0)
    special = reasoning + output_audio + output_image + output_video
    return Usage(
        input_uncached=divided.uncached,
        cache_read=divided.cache_read,
        cache_write_5m=written_5m + untimed,
        cache_write_1h=written_1h,
        input_audio=divided.audio,
        input_other=divided.other,
        output_text=rest(completion, special, "completion_tokens"),
        output_reasoning=reasoning,
        output_audio=output_audio,
        unsplit=unsplit,
        web_searches=get("web_searches", 0) + get("x_searches", 0),
        cache_read_audio=divided.cache_read_audio,
        cache_read_image=divided.cache_read_image,
        input_image=divided.image,
        input_video=divided.video,
        output_image=output_image,
        output_video=output_video,
        cache_lifetime_assumed=untimed > 0,
    )


def _read_research(counts: Mapping[str, int], prompt: int | None) -> Usage:
    """Read Perplexity's research, which bills reasoning, citations and searches beside its input and output.

    Its `total_tokens` leaves them out and is not used.
    """
    if prompt is None:
        raise UsageError("no_input_count", "prompt_tokens")
    return Usage(
        input_uncached=prompt,
        output_text=counts.get("completion", 0),
        output_reasoning=counts.get("reasoning", 0),
        output_other=counts["citations"],
        web_searches=counts.get("queries", 0),
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
