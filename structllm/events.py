"""The events: one definition of every field, from which types, schema and tables follow.

Each event type is a TypedDict whose fields carry a `Field`: what kind of value it is (which decides, for example, what
redaction scans) and what it means. The JSON Schema and the reference table in `docs/reference/` are generated from
here; `field_kinds` is what the processors look up.

Numbers keep their unit in their name: `_ms` milliseconds, `_s` seconds, `_usd` US dollars, `_tokens` tokens,
`_length` characters (Unicode code points).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Required, TypedDict, Union, get_args, get_origin, get_type_hints

SCHEMA_VERSION = 1

Kind = Literal["id", "number", "flag", "time", "label", "text", "free"]
"""What a field holds. `id`, `number`, `flag` and `time` are never scanned for secrets; `label` (short names such as a
model), `text` (prose) and `free` (nested data of the caller) always are, as is every field that is not listed here."""


@dataclass(frozen=True, slots=True)
class Field:
    """Kind and meaning of one event field."""

    kind: Kind
    doc: str


class Redactions(TypedDict):
    """What redaction replaced in an event."""

    count: Annotated[int, Field("number", "Replacements made in this event.")]
    rules: Annotated[list[str], Field("label", "Ids of the rules that replaced something, sorted.")]


class TokenUsage(TypedDict, total=False):
    """Token counts of one completion. `prompt_tokens` includes cached ones, `completion_tokens` includes reasoning."""

    prompt_tokens: Annotated[int, Field("number", "Input tokens, cached and cache-written ones included.")]
    completion_tokens: Annotated[int, Field("number", "Output tokens, reasoning included.")]
    total_tokens: Annotated[int, Field("number", "Prompt plus completion tokens.")]
    cached_tokens: Annotated[int, Field("number", "Input tokens read from the provider's cache.")]
    cached_audio_tokens: Annotated[int, Field("number", "Of the cached input tokens, those of audio.")]
    cache_write_tokens: Annotated[int, Field("number", "Input tokens written to the provider's cache.")]
    reasoning_tokens: Annotated[int, Field("number", "Output tokens spent on reasoning.")]
    audio_input_tokens: Annotated[int, Field("number", "Input tokens of audio.")]
    audio_output_tokens: Annotated[int, Field("number", "Output tokens of audio.")]


class Envelope(TypedDict, total=False):
    """The fields that every event has, in the order in which they are written."""

    event_type: Required[Annotated[str, Field("id", "What happened; always the first key of a line.")]]
    timestamp: Required[Annotated[str, Field("time", "UTC, RFC 3339 with milliseconds and `Z`.")]]
    session_id: Required[Annotated[str, Field("id", "The session: one logger unless bound otherwise.")]]
    level: Required[Annotated[str, Field("id", "DEBUG, INFO, WARNING, ERROR or CRITICAL.")]]
    schema_version: Required[Annotated[int, Field("number", "Version of these definitions.")]]
    writer: Required[Annotated[str, Field("id", "This process's logger; with `seq` it identifies the event.")]]
    seq: Required[Annotated[int, Field("number", "1, 2, 3 … per writer; a gap proves a loss.")]]
    service: Annotated[str, Field("label", "The `service` setting: which program this is.")]
    redactions: Annotated[Redactions, Field("free", "Present where something was redacted.")]
    truncated_fields: Annotated[list[str], Field("label", "Fields cut because the whole event was too large.")]
    processor_errors: Annotated[list[str], Field("label", "Processors that failed on this event.")]
    sink_seq: Annotated[int, Field("number", "1, 2, 3 … per writer and sink, where it has `integrity`.")]
    hash: Annotated[str, Field("id", "Chains the writer's lines of a sink; `structllm verify` checks it.")]


class CompletionRequest(Envelope, total=False):
    """A model is about to be asked."""

    request_id: Required[Annotated[str, Field("id", "Joins the request, its response and its decisions.")]]
    completion_number: Annotated[int, Field("number", "1, 2, 3 … per logger.")]
    model: Annotated[str, Field("label", "The model as asked for.")]
    temperature: Annotated[float | None, Field("number", "Sampling temperature.")]
    max_tokens: Annotated[int | None, Field("number", "Upper bound on output tokens.")]
    prompt_length: Annotated[int, Field("number", "Characters of the whole prompt, before any cut.")]
    prompt_preview: Annotated[str, Field("text", "The beginning of the prompt, redacted, then cut.")]
    market_context: Annotated[dict[str, Any], Field("free", "State of the market when the model was asked.")]
    provider: Annotated[str | None, Field("label", "openai, anthropic, …")]
    base_url: Annotated[str | None, Field("label", "The server that is asked, as far as the client tells.")]
    operation: Annotated[str, Field("label", "chat, completion, embedding, …")]
    message_count: Annotated[int, Field("number", "Messages in the prompt.")]
    tools: Annotated[list[str], Field("label", "Names of the tools offered to the model.")]
    stream: Annotated[bool, Field("flag", "Whether the answer was streamed.")]
    run_id: Annotated[str, Field("id", "The framework's id of this step, e.g. LangChain's.")]
    parent_run_id: Annotated[str, Field("id", "The step that called it.")]
    tags: Annotated[list[str], Field("label", "The framework's tags.")]
    attempt: Annotated[int, Field("number", "1 for the first try, 2 for the first retry, …")]
    prompt_truncated: Annotated[bool, Field("flag", "True where the preview is shorter than the prompt.")]


class CompletionResponse(Envelope, total=False):
    """The model answered, or the request ended in another way."""

    request_id: Required[Annotated[str, Field("id", "The request that this ends.")]]
    success: Required[Annotated[bool, Field("flag", "Whether an answer came back.")]]
    response_time_ms: Annotated[float | None, Field("number", "From request to end.")]
    token_usage: Annotated[TokenUsage | None, Field("free", "Token counts; null when the provider gave none.")]
    cost_estimate_usd: Annotated[float | None, Field("number", "Price of the call; null when it is not known.")]
    response_preview: Annotated[str | None, Field("text", "The beginning of the answer, redacted, then cut.")]
    outcome: Annotated[str, Field("label", "ok, error, cancelled, abandoned or (as read) orphaned.")]
    finish_reason: Annotated[str | None, Field("label", "Why the model stopped, in the provider's word.")]
    model: Annotated[str | None, Field("label", "The model as asked for.")]
    response_model: Annotated[str | None, Field("label", "The model that answered, in the provider's word.")]
    response_id: Annotated[str | None, Field("label", "The provider's id of the answer.")]
    provider: Annotated[str | None, Field("label", "openai, anthropic, …")]
    provider_request_id: Annotated[str | None, Field("label", "The provider's id of the request, for its support.")]
    base_url: Annotated[str | None, Field("label", "The server that was asked.")]
    attempts: Annotated[int, Field("number", "How often the client sent the request; 1 without a retry.")]
    service_tier: Annotated[str | None, Field("label", "The tier that served the call.")]
    response_length: Annotated[int, Field("number", "Characters of the whole answer, before any cut.")]
    time_to_first_token_ms: Annotated[float | None, Field("number", "From request to the first streamed token.")]
    error_type: Annotated[str | None, Field("label", "Class of the error, or the provider's code.")]
    error_message: Annotated[str | None, Field("text", "What the error says, redacted and cut.")]
    cost_status: Annotated[str, Field("label", "ok, unknown_model, no_usage, no_split, bad_usage, partial or cached.")]
    cost_source: Annotated[str | None, Field("label", "Who priced it, e.g. genai-prices.")]
    price_model: Annotated[str | None, Field("label", "The price list's model that was matched.")]
    price_version: Annotated[str | None, Field("label", "Version of the price list.")]
    cost_breakdown: Annotated[dict[str, Any], Field("free", "Cost in USD by kind of token.")]
    cost_flags: Annotated[list[str], Field("label", "Doubts about the price, e.g. tier_ambiguous.")]
    cost_lower_bound_usd: Annotated[float | None, Field("number", "The known part of a partial cost.")]
    usage_source: Annotated[str | None, Field("label", "Where the token counts came from.")]
    raw_usage: Annotated[dict[str, Any] | None, Field("free", "The provider's usage object, verbatim.")]
    partial_usage: Annotated[dict[str, Any], Field("free", "What a stream that was cut had said of its usage.")]
    response_truncated: Annotated[bool, Field("flag", "True where the preview is shorter than the answer.")]
    run_id: Annotated[str, Field("id", "The framework's id of this step.")]
    parent_run_id: Annotated[str, Field("id", "The step that called it.")]


class CostCorrection(Envelope, total=False):
    """A call was priced again, and costs something else. The newest one of a call counts in place of its response."""

    request_id: Required[Annotated[str, Field("id", "The call.")]]
    model: Annotated[str | None, Field("label", "The model as asked for.")]
    cost_estimate_usd: Annotated[float | None, Field("number", "Price of the call; null when it is not known.")]
    cost_status: Annotated[str, Field("label", "As of a response.")]
    cost_source: Annotated[str | None, Field("label", "Who priced it, e.g. genai-prices.")]
    price_model: Annotated[str | None, Field("label", "The price list's model that was matched.")]
    price_version: Annotated[str | None, Field("label", "Version of the price list.")]
    cost_breakdown: Annotated[dict[str, Any], Field("free", "Cost in USD by kind of token.")]
    cost_flags: Annotated[list[str], Field("label", "Doubts about the price, e.g. tier_ambiguous.")]
    cost_lower_bound_usd: Annotated[float | None, Field("number", "The known part of a partial cost.")]
    previous_cost_usd: Annotated[float | None, Field("number", "What it cost before; null when that was not known.")]
    previous_cost_status: Annotated[str | None, Field("label", "The status before.")]
    reprice_id: Annotated[str, Field("id", "The run of `structllm reprice` that found it.")]


class TradingDecision(Envelope, total=False):
    """The agent decided."""

    request_id: Annotated[str | None, Field("id", "The completion that led to it.")]
    action: Required[Annotated[str, Field("label", "LONG, SHORT, HOLD, CLOSE, or the agent's own word.")]]
    size_pct: Annotated[float | None, Field("number", "Position size in percent of equity.")]
    rationale: Annotated[str | None, Field("text", "Why, in the agent's words.")]
    symbol: Annotated[str | None, Field("label", "What was decided about, e.g. BTC-USD.")]
    current_price: Annotated[float | None, Field("number", "Price at the time of the decision.")]
    validation_result: Annotated[str | None, Field("label", "PASSED, or why not.")]
    risk_assessment: Annotated[str | None, Field("text", "The verdict of the risk check.")]
    indicators: Annotated[dict[str, Any] | None, Field("free", "The indicators that the agent looked at.")]
    decision_id: Annotated[str, Field("id", "Joins the decision and its outcomes.")]
    caused_by: Annotated[list[str], Field("id", "Every request that led to it.")]
    cost_usd: Annotated[float | None, Field("number", "Sum of the causing calls; null when one is not known.")]
    unpriced_calls: Annotated[int, Field("number", "Causing calls whose cost is not known.")]


class DecisionOutcome(Envelope, total=False):
    """What became of a decision."""

    decision_id: Required[Annotated[str, Field("id", "The decision.")]]
    kind: Required[Annotated[str, Field("label", "fill, pnl, rejected, …")]]
    value: Annotated[Any, Field("free", "What happened, in the caller's shape.")]
    idempotency_key: Annotated[str | None, Field("id", "The same key twice is one outcome.")]


class ModelMetrics(TypedDict):
    """Metrics of one model."""

    completions: Annotated[int, Field("number", "Completions that ended.")]
    errors: Annotated[int, Field("number", "Of which failed.")]
    avg_response_time_ms: Annotated[float | None, Field("number", "Mean response time.")]
    total_tokens: Annotated[int, Field("number", "Prompt plus completion tokens.")]
    cost_estimate_usd: Annotated[float, Field("number", "Sum of the priced calls.")]
    unpriced_calls: Annotated[int, Field("number", "Calls without a known cost.")]


class Window(TypedDict):
    """The time that metrics cover."""

    start: Annotated[str, Field("time", "When the logger began.")]
    end: Annotated[str, Field("time", "When the metrics were taken.")]
    duration_s: Annotated[float, Field("number", "From start to end.")]


class PerformanceMetrics(Envelope, total=False):
    """Cumulative metrics of one logger."""

    total_completions: Required[Annotated[int, Field("number", "Completions that ended.")]]
    avg_response_time_ms: Annotated[float | None, Field("number", "Mean response time.")]
    min_response_time_ms: Annotated[float | None, Field("number", "Fastest response.")]
    max_response_time_ms: Annotated[float | None, Field("number", "Slowest response.")]
    total_tokens: Annotated[int, Field("number", "Prompt plus completion tokens.")]
    total_cost_estimate_usd: Annotated[float, Field("number", "Sum of the priced calls; see unpriced_calls.")]
    tokens_per_second: Annotated[float | None, Field("number", "Total tokens per second of response time.")]
    p50_response_time_ms: Annotated[float | None, Field("number", "Median, within 1 %.")]
    p95_response_time_ms: Annotated[float | None, Field("number", "95th percentile, within 1 %.")]
    p99_response_time_ms: Annotated[float | None, Field("number", "99th percentile, within 1 %.")]
    success_rate: Annotated[float | None, Field("number", "0 to 1.")]
    completions_per_hour: Annotated[float | None, Field("number", "Completions per hour of the window.")]
    prompt_tokens: Annotated[int, Field("number", "Input tokens.")]
    completion_tokens: Annotated[int, Field("number", "Output tokens.")]
    by_model: Annotated[dict[str, ModelMetrics], Field("free", "The same per model.")]
    unpriced_calls: Annotated[int, Field("number", "Calls without a known cost: the total is a lower bound.")]
    errors_by_type: Annotated[dict[str, int], Field("free", "Failed completions by error_type.")]
    dropped: Annotated[dict[str, int], Field("free", "Records that sinks did not take, by reason.")]
    redactions_by_rule: Annotated[dict[str, int], Field("id", "How often redaction replaced something, by rule.")]
    window: Annotated[Window, Field("free", "The time covered.")]


class Run(Envelope, total=False):
    """A step of a framework: a chain, tool, retriever or agent."""

    kind: Required[Annotated[str, Field("label", "chain, tool, retriever or agent.")]]
    name: Annotated[str | None, Field("label", "The step's name.")]
    run_id: Required[Annotated[str, Field("id", "The step's id.")]]
    parent_run_id: Annotated[str | None, Field("id", "The step that called it.")]
    duration_ms: Annotated[float | None, Field("number", "From start to end.")]
    success: Annotated[bool, Field("flag", "Whether it ended without error.")]
    error_type: Annotated[str | None, Field("label", "Class of the error.")]
    tags: Annotated[list[str], Field("label", "The framework's tags.")]


class LogGap(Envelope, total=False):
    """Records were dropped at a sink, which takes records again. Written to that sink whatever its filters say."""

    sink: Required[Annotated[str, Field("id", "The sink's name, as in stats().")]]
    dropped: Required[Annotated[dict[str, int], Field("free", "Records dropped since the last such event, by reason.")]]
    dropped_total: Annotated[int, Field("number", "Records that this writer's sink has dropped so far.")]
    first_seq: Annotated[int | None, Field("number", "Least seq among those dropped.")]
    last_seq: Annotated[int | None, Field("number", "Greatest seq among those dropped.")]
    first_dropped_at: Annotated[str | None, Field("time", "Timestamp of the earliest event dropped.")]
    last_dropped_at: Annotated[str | None, Field("time", "Timestamp of the latest event dropped.")]


EVENTS: Mapping[str, type] = {
    "completion_request": CompletionRequest,
    "completion_response": CompletionResponse,
    "cost_correction": CostCorrection,
    "trading_decision": TradingDecision,
    "performance_metrics": PerformanceMetrics,
    "decision_outcome": DecisionOutcome,
    "run": Run,
    "log_gap": LogGap,
}
"""Event type to its definition."""


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field of one event type, as read from the definitions above."""

    name: str
    kind: Kind
    doc: str
    type: Any
    required: bool


@cache
def event_fields(event_type: str) -> Mapping[str, FieldInfo]:
    """Return the fields of an event type in writing order; raise KeyError when there is no such type."""
    return {info.name: info for info in field_infos(EVENTS[event_type])}


@cache
def field_kinds(event_type: str) -> Mapping[str, Kind]:
    """Return field name to kind for an event type; unknown types give the envelope's fields."""
    return {info.name: info.kind for info in field_infos(EVENTS.get(event_type, Envelope))}


def field_infos(definition: type) -> Iterator[FieldInfo]:
    """Yield the fields of one of the TypedDicts above, in writing order."""
    required = definition.__required_keys__  # type: ignore[attr-defined]  # every TypedDict has it
    for name, hint in get_type_hints(definition, include_extras=True).items():
        while get_origin(hint) is Required:
            hint = get_args(hint)[0]
        inner, field = get_args(hint)
        yield FieldInfo(name, field.kind, field.doc, inner, name in required)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a line: one alternative per event type, free fields allowed."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "structllm event",
        "oneOf": [
            _object_schema(definition) | {"title": name, "description": (definition.__doc__ or "").strip()}
            for name, definition in EVENTS.items()
        ],
    }


def _object_schema(definition: type) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    for info in field_infos(definition):
        properties[info.name] = _value_schema(info.type) | {"description": info.doc}
        if info.required:
            required.append(info.name)
    name = next((name for name, known in EVENTS.items() if known is definition), None)
    if name is not None:
        properties["event_type"]["const"] = name
    return {"type": "object", "properties": properties, "required": required}


def _value_schema(hint: Any) -> dict[str, Any]:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return {"anyOf": [_value_schema(option) for option in get_args(hint)]}
    if origin is list:
        return {"type": "array", "items": _value_schema(get_args(hint)[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _value_schema(get_args(hint)[1])}
    if isinstance(hint, type) and hasattr(hint, "__required_keys__"):
        return _object_schema(hint)
    names = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
    return {"type": names[hint]} if hint in names else {}
