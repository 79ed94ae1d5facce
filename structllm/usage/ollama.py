"""Usage in Ollama's dialect: how many tokens were evaluated and how many were generated."""

from collections.abc import Mapping
from typing import Any

from structllm.usage.buckets import Usage
from structllm.usage.counts import UsageError, collect

_TOP = {"prompt_eval_count": "input", "eval_count": "output"}


def read_ollama(raw: Mapping[str, Any]) -> Usage:
    """Read an object of this dialect; see `structllm.usage.read_usage`."""
    counts = collect(raw, _TOP, {})
    if "input" not in counts:
        raise UsageError("no_input_count", "prompt_eval_count")
    return Usage(counts["input"], output_text=counts.get("output", 0))
