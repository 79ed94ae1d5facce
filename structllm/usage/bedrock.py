"""Usage in the dialects of Amazon Bedrock: Converse, Nova, Titan, Llama, and the metrics of an invocation.

Where these count the cache, they count it beside the input tokens, as Anthropic does. What they call a total includes
the cache in some answers and leaves it out in others.
"""

from collections.abc import Mapping
from typing import Any

from structllm.usage.buckets import Usage
from structllm.usage.counts import UsageError, collect, count, lifetimes, mappings

_TOP = {
    "inputTokens": "input",
    "inputTokenCount": "input",
    "inputTextTokenCount": "input",
    "prompt_token_count": "input",
    "outputTokens": "output",
    "outputTokenCount": "output",
    "totalOutputTextTokenCount": "output",
    "generation_token_count": "output",
    "totalTokens": "total",
    "cacheReadInputTokens": "cached",
    "cacheReadInputTokenCount": "cached",
    "cacheWriteInputTokens": "written",
    "cacheWriteInputTokenCount": "written",
}
MARKS = frozenset(_TOP) - {"prompt_token_count"}
"""Keys by which the dialect is known; Llama shares its name for the input with Gemini."""


def read_bedrock(raw: Mapping[str, Any]) -> Usage:
    """Read an object of this dialect; see `structllm.usage.read_usage`."""
    counts = collect(raw, _TOP, {})
    get = counts.get
    if "input" not in counts:
        if counts.keys() == {"total"}:
            return Usage(unsplit=counts["total"])
        raise UsageError("no_input_count" if counts else "no_counts", "inputTokens")
    uncached, output, cached = counts["input"], get("output", 0), get("cached", 0)
    timed = {"5m": 0, "1h": 0}
    for detail in mappings(raw.get("cacheDetails"), "cacheDetails"):
        lifetime, tokens = detail.get("ttl"), detail.get("inputTokens")
        if tokens is not None and isinstance(lifetime, str) and lifetime in timed:
            timed[lifetime] += count(tokens, "cacheDetails")
    short, long, assumed = lifetimes(get("written"), timed["5m"], timed["1h"], "cacheDetails")
    total = get("total", uncached + output)
    unsplit = 0
    if total != uncached + output:
        unsplit = total - uncached - output - cached - short - long
        if unsplit < 0:
            raise UsageError("contradiction", "totalTokens")
    return Usage(uncached, cached, short, long, output_text=output, unsplit=unsplit, cache_lifetime_assumed=assumed)
