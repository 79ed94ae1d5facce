"""One library that prices completions, in the interpreter that has it installed: `compare_prices.py` starts this.

    python price_peers.py LIBRARY       one of structllm, genai-prices, litellm, tokencost

It reads commands as lines of JSON and answers each with a line of JSON. Each library is given all that it has a way to
take: the provider, the service tier, the time of the call, and its own readers of the provider's usage. Nothing is
imported at the top but the standard library, since the time of the imports is one of the answers.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple, cast

Record = Mapping[str, Any]
"""A call: name, provider, api, model, at, usage as the provider sent it, service_tier where there was one."""


class UnknownCost(Exception):
    """The library says that it does not know."""


class Library(NamedTuple):
    """A library, ready to price.

    Attributes:
        version: Its version.
        price: Prices a record in USD; raises UnknownCost where the library says that it does not know, and anything
            else where the library does.
    """

    version: str
    price: Callable[[Record], float]


def structllm() -> Library:
    """Price events as a logger with default settings does."""
    from structllm.pricing import open_prices
    from structllm.processors.price import Price
    from structllm.settings_pricing import PricingSettings

    processor = Price(open_prices(PricingSettings()))

    def price(record: Record) -> float:
        event = processor(
            None,
            "",
            {
                "event_type": "completion_response",
                "timestamp": record["at"],
                "model": record["model"],
                "provider": record["provider"],
                "service_tier": record.get("service_tier"),
                "raw_usage": record["usage"],
            },
        )
        cost = cast("float | None", event["cost_estimate_usd"])
        if cost is None:
            raise UnknownCost(event["cost_status"])
        return cost

    return Library(version("structllm-logging"), price)


GENAI_FLAVORS = {"chat": "chat", "completions": "chat", "responses": "responses", "embeddings": "embeddings"}
GENAI_ONE_FLAVOR = frozenset({"mistral", "groq", "cohere", "perplexity"})
"""Providers whose only reader for chat is called `default`."""


def genai_prices() -> Library:
    """Read the usage with genai-prices' own extractors, and price that."""
    module = import_module("genai_prices")
    snapshot = import_module("genai_prices.data_snapshot").get_snapshot()

    def price(record: Record) -> float:
        name, api, model, tier = record["provider"], record["api"], record["model"], record.get("service_tier")
        google = api == "generate_content"
        body = {"modelVersion" if google else "model": model, "usageMetadata" if google else "usage": record["usage"]}
        flavor = "default" if name in GENAI_ONE_FLAVOR else GENAI_FLAVORS.get(api, "default")
        context = {"processing": "batch"} if tier == "batch" else {"service_tier": tier} if tier else None
        try:
            provider = snapshot.find_provider(None, name, None)
            if not provider.extractors:
                provider = snapshot.find_provider(None, "openai", None)
            _, usage = provider.extract_usage(body, api_flavor=flavor)
            priced = snapshot.calc(usage, model, name, None, datetime.fromisoformat(record["at"]), context)
        except LookupError as error:
            raise UnknownCost(str(error)) from None
        return float(priced.total_price)

    return Library(module.__version__, price)


LITELLM_PROVIDERS = {
    "google": "gemini",
    "google-vertex": "vertex_ai",
    "aws": "bedrock",
    "x-ai": "xai",
    "cohere": "cohere_chat",
    "together": "together_ai",
}
LITELLM_CALLS = {"responses": "responses", "embeddings": "embedding", "completions": "text_completion"}


def litellm() -> Library:
    """Read the usage with litellm's own transformers, and price that. It knows no other time than now."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # the list that is installed, instead of one from the network
    module = import_module("litellm")
    calculator = import_module("litellm.cost_calculator")
    gemini = import_module("litellm.llms.vertex_ai.gemini.vertex_and_google_ai_studio_gemini").VertexGeminiConfig
    converse = import_module("litellm.llms.bedrock.chat.converse_transformation").AmazonConverseConfig()

    def price(record: Record) -> float:
        usage, provider, api = record["usage"], record["provider"], record["api"]
        if provider == "openrouter" and usage.get("cost") is not None:
            headers = {"llm_provider-x-litellm-response-cost": usage["cost"]}  # as its client keeps it
            return float(calculator.get_response_cost_from_hidden_params({"additional_headers": headers}))
        if api == "generate_content":
            usage = gemini.calculate_usage({"usageMetadata": usage})
        elif api == "converse":
            usage = converse.transform_usage(usage)
        elif provider == "cohere":
            usage = chat_usage(usage["billed_units"])
        provider = LITELLM_PROVIDERS.get(provider, provider)
        if record.get("service_tier") == "batch":
            counts = calculator.get_usage_object({"usage": usage})
            return float(sum(calculator.batch_cost_calculator(counts, record["model"], provider)))
        try:
            cost = module.completion_cost(
                completion_response={"model": record["model"], "usage": usage},
                model=record["model"],
                custom_llm_provider=provider,
                call_type=LITELLM_CALLS.get(api, "completion"),
                service_tier=record.get("service_tier"),
            )
        except Exception as error:
            # It raises plain exceptions; those that mean "not in the list" say so.
            if any(words in str(error) for words in ("isn't mapped", "not mapped", "not found in cost map")):
                raise UnknownCost(str(error)) from None
            raise
        return float(cost)

    return Library(version("litellm"), price)


def tokencost() -> Library:
    """Price input, cached input and output: tokencost reads no usage, and knows no other kinds of token."""
    module = import_module("tokencost")

    def price(record: Record) -> float:
        model = record["model"]
        try:
            return float(
                sum(
                    module.calculate_cost_by_tokens(count, model, kind)
                    for kind, count in plain_counts(record).items()
                    if count
                )
            )
        except KeyError as error:
            if "Model" in str(error):
                raise UnknownCost(str(error)) from None
            raise

    return Library(version("tokencost"), price)


def chat_usage(counts: Mapping[str, int]) -> dict[str, int]:
    """Put input and output into OpenAI's words."""
    given, taken = counts["input_tokens"], counts["output_tokens"]
    return {"prompt_tokens": given, "completion_tokens": taken, "total_tokens": given + taken}


def plain_counts(record: Record) -> dict[str, int]:
    """Return input, cached input and output: what a caller of tokencost has to find out by itself."""
    usage = cast("Mapping[str, Any]", record["usage"])

    def get(key: str) -> int:
        return usage.get(key) or 0

    match record["api"]:
        case "messages":
            cached, given = get("cache_read_input_tokens"), usage["input_tokens"] + get("cache_creation_input_tokens")
            return {"input": given, "cached": cached, "output": usage["output_tokens"]}
        case "converse":
            cached, given = get("cacheReadInputTokens"), usage["inputTokens"] + get("cacheWriteInputTokens")
            return {"input": given, "cached": cached, "output": usage["outputTokens"]}
        case "generate_content":
            cached, given = get("cachedContentTokenCount"), usage["promptTokenCount"] + get("toolUsePromptTokenCount")
            output = usage["candidatesTokenCount"] + get("thoughtsTokenCount")
            return {"input": given - cached, "cached": cached, "output": output}
    if "billed_units" in usage:
        usage = cast("Mapping[str, Any]", chat_usage(usage["billed_units"]))
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    given, cached = get("prompt_tokens") or get("input_tokens"), details.get("cached_tokens", 0)
    if not given:
        raise UnknownCost("no input tokens")
    return {"input": given - cached, "cached": cached, "output": get("completion_tokens") or get("output_tokens")}


LIBRARIES: dict[str, Callable[[], Library]] = {
    "structllm": structllm,
    "genai-prices": genai_prices,
    "litellm": litellm,
    "tokencost": tokencost,
}


def answer(library: Library, record: Record) -> dict[str, Any]:
    """Price a record: `usd`, or `unknown` or `raised` with a reason."""
    try:
        return {"usd": library.price(record)}
    except UnknownCost as error:
        return {"unknown": str(error)[:200]}
    except Exception as error:
        return {"raised": f"{type(error).__name__}: {error}"[:200]}


def block_us(library: Library, records: list[Record], times: int) -> float:
    """Price these records so many times; return microseconds per call."""
    price = library.price
    start = time.perf_counter_ns()
    for _ in range(times):
        for record in records:
            price(record)
    return (time.perf_counter_ns() - start) / 1000 / times / len(records)


def main(name: str) -> int:
    """Answer commands until there are no more.

    The first line of the answers is `{"version": ..., "ready_s": ...}`: how long the import and a first price took.
    Then `{"answer": [records]}` is answered by a list, `{"time": [records], "times": n}` by microseconds per call.
    """
    # What libraries print goes to stderr; the answers alone go to stdout.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        start = time.perf_counter()
        try:
            library = LIBRARIES[name]()
        except ImportError as error:
            answers.write(json.dumps({"missing": str(error)}) + "\n")
            return 1
        first = {"provider": "openai", "api": "chat", "model": "gpt-4o", "at": "2026-01-01T00:00:00Z"}
        answer(library, {**first, "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})
        ready = {"version": library.version, "ready_s": time.perf_counter() - start}
        answers.write(json.dumps(ready) + "\n")
        answers.flush()
        for line in sys.stdin:
            command = json.loads(line)
            result: Any
            if "answer" in command:
                result = [answer(library, record) for record in command["answer"]]
            else:
                result = block_us(library, command["time"], command["times"])
            answers.write(json.dumps(result) + "\n")
            answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
