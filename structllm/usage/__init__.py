"""Token usage: what the providers report, in buckets that do not overlap.

Providers count in two ways. OpenAI, everything that speaks its dialect, Gemini and LangChain count cached tokens
*inside* the input tokens; Anthropic and Bedrock count them *beside* the input tokens. Reasoning is counted inside the
output by some and beside it by others. `read_usage` turns all of them into the same `Usage`, whose buckets can be
priced one by one and add up to the provider's own totals. One module reads one family of dialects.
"""

from structllm.usage.buckets import BUCKETS, Part, Usage
from structllm.usage.counts import MAX_TOKENS, UsageError
from structllm.usage.reading import read_usage

__all__ = ["BUCKETS", "MAX_TOKENS", "Part", "Usage", "UsageError", "read_usage"]
