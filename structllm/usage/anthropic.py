"""Usage in Anthropic's dialect: cached tokens are counted beside the input tokens, and so are further model calls.

A response that was compacted on the way, or for which the model asked an advisor, lists every model call in
`iterations`. The counts on the top level are those of the calls of type `message`; the others are billed beside them.
"""

from collections.abc import Mapping
from typing import Any

from structllm.usage.buckets import Part, Usage
from structllm.usage.counts import UsageError, collect, lifetimes, mappings, rest

_TOP = {
    "input_tokens": "input",
    "output_tokens": "output",
    "total_tokens": "total",
    "cache_read_input_tokens": "cached",
    "cache_creation_input_tokens": "written",
}
_NESTED = {
    "cache_creation": {"ephemeral_5m_input_tokens": "written_5m", "ephemeral_1h_input_tokens": "written_1h"},
    "server_tool_use": {"web_search_requests": "web_searches"},
    "output_tokens_details": {"thinking_tokens": "reasoning"},
}


def read_anthropic(raw: Mapping[str, Any]) -> Usage:
    """Read an object of this dialect; see `structllm.usage.read_usage`."""
    usage = _read_call(raw)
    iterations = raw.get("iterations")
    return usage if iterations is None else _with_parts(usage, iterations)


def _read_call(raw: Mapping[str, Any]) -> Usage:
    counts = collect(raw, _TOP, _NESTED)
    get = counts.get
    if "input" not in counts:
        raise UsageError("no_input_count" if counts else "no_counts", "input_tokens")
    uncached, output, cached, reasoning = counts["input"], get("output", 0), get("cached", 0), get("reasoning", 0)
    short, long, assumed = lifetimes(get("written"), get("written_5m", 0), get("written_1h", 0), "cache_creation")
    total = get("total")
    if total is not None and total != uncached + output + cached + short + long:
        # Anthropic reports no total. Those who add one in OpenAI's way may count the cache inside of the input.
        if total != uncached + output:
            raise UsageError("contradiction", "total_tokens")
        uncached = rest(uncached, cached + short + long, "input_tokens")
    return Usage(
        uncached,
        cached,
        short,
        long,
        output_text=rest(output, reasoning, "output_tokens"),
        output_reasoning=reasoning,
        web_searches=get("web_searches", 0),
        cache_lifetime_assumed=assumed,
    )


def _with_parts(usage: Usage, iterations: object) -> Usage:
    """Add the model calls that the counts on the top level leave out."""
    parts: list[Part] = []
    messages: list[Usage] = []
    for raw in mappings(iterations, "iterations"):
        call = _read_call(raw)
        if raw.get("type") == "message":
            messages.append(call)
        else:
            model = raw.get("model")
            parts.append(Part(model if isinstance(model, str) and model else None, call))
    if not parts:
        return usage
    if _sums(messages) != _sums([usage]):
        # Which of the calls the top level stands for is not known, so neither is what was billed.
        raise UsageError("contradiction", "iterations")
    return usage._replace(parts=tuple(parts))


def _sums(calls: list[Usage]) -> tuple[int, ...]:
    """Return the sums that the top level and its iterations share."""
    return (
        sum(call.input_uncached for call in calls),
        sum(call.cache_read for call in calls),
        sum(call.cache_write_5m + call.cache_write_1h for call in calls),
        sum(call.completion_tokens for call in calls),
    )
