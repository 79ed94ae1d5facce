"""Usage in Cohere's dialect: billed units are what is billed; tokens are all that the model saw."""

from collections.abc import Mapping
from typing import Any

from structllm.usage.buckets import Usage
from structllm.usage.counts import UsageError, collect, mapping, rest

_UNITS = {
    "input_tokens": "input",
    "output_tokens": "output",
    "image_tokens": "image",
    "search_units": "searches",
}


def read_cohere(raw: Mapping[str, Any]) -> Usage:
    """Read an object of this dialect; see `structllm.usage.read_usage`."""
    billed = raw.get("billed_units")
    if billed is not None:
        counts = collect(mapping(billed, "billed_units"), _UNITS, {})
        if not counts:
            raise UsageError("no_counts", "billed_units")
        return Usage(
            input_uncached=counts.get("input", 0),
            output_text=counts.get("output", 0),
            web_searches=counts.get("searches", 0),
            input_image=counts.get("image", 0),
        )
    counts = collect(mapping(raw.get("tokens"), "tokens"), _UNITS, {})
    if "input" not in counts:
        raise UsageError("no_input_count", "tokens")
    cached = collect(raw, {"cached_tokens": "cached"}, {}).get("cached", 0)
    return Usage(rest(counts["input"], cached, "tokens"), cached, output_text=counts.get("output", 0))
