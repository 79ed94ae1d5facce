"""Which dialect a usage object is in, told by its shape alone."""

from collections.abc import Callable, Mapping, Set
from typing import Any

from structllm.usage import bedrock, gemini
from structllm.usage.anthropic import read_anthropic
from structllm.usage.buckets import Usage
from structllm.usage.cohere import read_cohere
from structllm.usage.counts import UsageError, mapping
from structllm.usage.ollama import read_ollama
from structllm.usage.openai import read_openai
from structllm.usage.reported import reported_usd

_Reader = Callable[[Mapping[str, Any]], Usage]

_BESIDE = frozenset({"cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "iterations"})
"""Keys by which Anthropic's dialect is known among those that say `input_tokens`."""

_READERS: tuple[tuple[Set[str], _Reader], ...] = (
    (bedrock.MARKS, bedrock.read_bedrock),
    (gemini.MARKS, gemini.read_gemini),
    (frozenset({"billed_units", "tokens"}), read_cohere),
    (frozenset({"prompt_eval_count", "eval_count"}), read_ollama),
)
_WRAPPERS = (
    "usage",
    "x_groq",
    "usageMetadata",
    "usage_metadata",
    "token_usage",
    "meta",
    "amazon-bedrock-invocationMetrics",
)
"""Keys under which a usage object lies in what surrounds it: Groq's streams, whole responses, Cohere's first API."""

_DEPTH = 3


def read_usage(raw: Mapping[str, Any]) -> Usage:
    """Read the usage object of a provider, of LangChain or of this package.

    Args:
        raw: The object as a mapping; keys that are not known are ignored, and None counts as absent.

    Returns:
        The disjoint buckets. Their sums are the totals that the provider reported.

    Raises:
        UsageError: It holds no counts, counts of an unknown dialect, or counts that contradict each other.
    """
    try:
        return _read(raw, _DEPTH)
    except UsageError:
        raise
    except Exception as error:
        # Whatever a hostile mapping raises while it is read: the caller is pricing, and must not fail for it.
        raise UsageError("unreadable") from error


def _read(raw: Mapping[str, Any], depth: int) -> Usage:
    mapping(raw, "usage")
    if "prompt_tokens" in raw or "completion_tokens" in raw:
        usage = read_openai(raw)
    elif "input_tokens" in raw or "output_tokens" in raw:
        usage = read_openai(raw) if _BESIDE.isdisjoint(raw) else read_anthropic(raw)
    else:
        reader = next((reader for marks, reader in _READERS if not marks.isdisjoint(raw)), None)
        if reader is None:
            wrapped = next((raw[key] for key in _WRAPPERS if raw.get(key) is not None), None) if depth else None
            return read_openai(raw) if wrapped is None else _read(mapping(wrapped, "usage"), depth - 1)
        usage = reader(raw)
    if "cost" in raw or "cost_in_usd_ticks" in raw:
        usage = usage._replace(reported_usd=reported_usd(raw))
    return usage
