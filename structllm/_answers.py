"""The answers of OpenAI, Anthropic and LangChain: where each keeps its text, token counts, ids and reasons.

They are known by their shape, as dicts, objects or mixtures of both; see `_content` for how they are read.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

from structllm._content import Excerpt, Piece, is_list, items, message_pieces, read, text_of
from structllm.processors.normalise import normalise_value

_USAGE_NAMES = ("token_usage", "usage")
# Ids that LangChain makes up where the provider gave none.
_MADE_UP_IDS = ("run-", "lc_")
_USAGE_DEPTH = 8


class ResponseView(NamedTuple):
    """What is logged of an answer; None where it does not say.

    Attributes:
        text: The beginning of the answer as text.
        length: Characters of the whole text.
        usage: The provider's token counts, verbatim and JSON-safe.
        usage_source: Where they were: `response`, `response_metadata`, `llm_output` or `usage_metadata`.
        model: The model that answered.
        response_id: The provider's id of the answer.
        finish_reason: Why the model stopped, in the provider's word.
        service_tier: The tier that served the call.
        provider: Who answered; None for OpenAI's protocol, which many providers speak.
    """

    text: str | None = None
    length: int | None = None
    usage: Mapping[str, Any] | None = None
    usage_source: str | None = None
    model: str | None = None
    response_id: str | None = None
    finish_reason: str | None = None
    service_tier: str | None = None
    provider: str | None = None


def read_answer(response: object, excerpt: Excerpt) -> ResponseView | None:
    """Return what a known kind of answer says, its text put into `excerpt`; None for what is no known kind.

    Raises:
        Exception: Whatever happens with an object that looks like an answer and is none.
    """
    data = read(response)
    if data is None:
        return None
    if isinstance(data.get("generations"), list):
        return _from_result(data, excerpt)
    if "parsing_error" in data and "raw" in data:
        return read_answer(data["raw"], excerpt)
    if "content" in data and "response_metadata" in data:
        return _from_langchain(data, {}, {}, excerpt)
    if "message" in data and "generation_info" in data:
        return _from_langchain(read(data["message"]) or {}, read(data["generation_info"]) or {}, {}, excerpt)
    if isinstance(data.get("choices"), list) and _is_completion(data):
        return _from_choices(data, excerpt)
    if isinstance(data.get("output"), list) and ("usage" in data or data.get("object") == "response"):
        return _from_responses(data, excerpt)
    if "stop_reason" in data and ("content" in data or "completion" in data):
        return _from_anthropic(data, excerpt)
    if any("embedding" in (read(item) or {}) for item in items(data.get("data"))[:1]):
        return _from_embeddings(data, excerpt)
    if isinstance(data.get("role"), str) and "content" in data:
        return _with_text(ResponseView(), message_pieces(data), excerpt)
    return None


def _is_completion(data: Mapping[str, Any]) -> bool:
    choices = items(data["choices"])
    names = ("message", "text", "delta") if choices else ("object", "usage", "model")
    holder = read(choices[0]) or {} if choices else data
    return any(name in holder for name in names)


def _with_text(view: ResponseView, pieces: Iterable[Piece], excerpt: Excerpt) -> ResponseView:
    excerpt.add_pieces(pieces, joint="")
    return view._replace(text=excerpt.text, length=excerpt.length)


def _own_words(data: Mapping[str, Any]) -> ResponseView:
    """Return what the answers of OpenAI and Anthropic have at their top."""
    usage = _verbatim(data.get("usage"))
    return ResponseView(
        usage=usage,
        usage_source=None if usage is None else "response",
        model=text_of(data.get("model")),
        response_id=text_of(data.get("id")),
        service_tier=text_of(data.get("service_tier")) or text_of((usage or {}).get("service_tier")),
    )


def _from_choices(data: Mapping[str, Any], excerpt: Excerpt) -> ResponseView:
    choice = next((read(choice) or {} for choice in items(data["choices"])), None)
    view = _own_words(data)
    if choice is None:
        return view
    view = view._replace(finish_reason=text_of(choice.get("finish_reason")))
    message = read(choice.get("message")) or read(choice.get("delta"))
    return _with_text(view, message_pieces(message or {"content": choice.get("text")}), excerpt)


def _from_responses(data: Mapping[str, Any], excerpt: Excerpt) -> ResponseView:
    view = _own_words(data)._replace(finish_reason=_status(data))
    return _with_text(view, message_pieces({"content": data["output"]}), excerpt)


def _status(data: Mapping[str, Any]) -> str | None:
    """Return why an answer of OpenAI's Responses ended."""
    return text_of((read(data.get("incomplete_details")) or {}).get("reason")) or text_of(data.get("status"))


def _from_anthropic(data: Mapping[str, Any], excerpt: Excerpt) -> ResponseView:
    view = _own_words(data)._replace(finish_reason=text_of(data.get("stop_reason")), provider="anthropic")
    return _with_text(view, message_pieces({"content": data.get("content", data.get("completion"))}), excerpt)


def _from_embeddings(data: Mapping[str, Any], excerpt: Excerpt) -> ResponseView:
    vectors = items(data["data"])
    excerpt.add(f"[{len(vectors)} embedding{'' if len(vectors) == 1 else 's'}]")
    return _own_words(data)._replace(text=excerpt.text, length=excerpt.length)


def _from_result(data: Mapping[str, Any], excerpt: Excerpt) -> ResponseView:
    """Read an LLMResult or ChatResult of LangChain: its first generation."""
    first: Any = next(iter(items(data["generations"])), None)
    if is_list(first):
        first = next(iter(first), None)
    generation = read(first) or {}
    output, info = read(data.get("llm_output")) or {}, read(generation.get("generation_info")) or {}
    message = read(generation.get("message"))
    if message is None:
        message = {"content": generation["text"]} if "text" in generation else {}
    view = _from_langchain(message, info, output, excerpt)
    return view if message else view._replace(text=None, length=None)


def _from_langchain(
    message: Mapping[str, Any], info: Mapping[str, Any], output: Mapping[str, Any], excerpt: Excerpt
) -> ResponseView:
    metadata = read(message.get("response_metadata")) or {}
    # An answer that failed validation was billed all the same; LangChain keeps the provider's body then.
    body = read(metadata.get("body")) or {}
    said = (metadata, output, body, info)
    usage, source = _langchain_usage(message, metadata, output, body)
    made_up = str(message.get("id")).startswith(_MADE_UP_IDS)
    provider = _said(said, "model_provider")
    view = ResponseView(
        usage=usage,
        usage_source=source,
        model=_said(said, "model_name", "model"),
        response_id=_said(said, "id") or (None if made_up else text_of(message.get("id"))),
        finish_reason=_said(said, "finish_reason", "stop_reason", "done_reason") or _status(metadata),
        service_tier=_said(said, "service_tier") or text_of((usage or {}).get("service_tier")),
        provider=None if provider == "openai" else provider,
    )
    return _with_text(view, message_pieces(message), excerpt)


def _langchain_usage(
    message: Mapping[str, Any], metadata: Mapping[str, Any], output: Mapping[str, Any], body: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, str | None]:
    """Return the token counts and where they were: the provider's own, which say more, before LangChain's."""
    common = message.get("usage_metadata")
    places = ((metadata, "response_metadata"), (output, "llm_output"), (body, "response_metadata"))
    # LangChain marks an answer from its cache by a cost; the provider's counts are those of the first time.
    if "total_cost" not in (read(common) or {}):
        for place, source in places:
            for name in _USAGE_NAMES:
                usage = _verbatim(place.get(name))
                if usage is not None:
                    return usage, source
    usage = _verbatim(common)
    return usage, None if usage is None else "usage_metadata"


def _said(places: Iterable[Mapping[str, Any]], *names: str) -> str | None:
    """Return the first text under one of the names."""
    return next((text for place in places for name in names if (text := text_of(place.get(name)))), None)


def _verbatim(usage: object) -> dict[str, Any] | None:
    """Return token counts as the server sent them: without the fields that only the client's class knows."""
    if usage is None:
        return None
    counts = normalise_value(usage if usage.__class__ is dict else _sent(usage, 0))
    return cast("dict[str, Any]", counts) if isinstance(counts, dict) and counts else None


def _sent(value: object, depth: int) -> object:
    if depth > _USAGE_DEPTH:
        return value
    if is_list(value):
        return [_sent(item, depth + 1) for item in value]
    data = read(value)
    if data is None:
        return value
    try:
        names = object.__getattribute__(value, "__pydantic_fields_set__")
        extra: Mapping[str, Any] = object.__getattribute__(value, "__pydantic_extra__") or {}
    except AttributeError:
        names, extra = data, {}
    return {name: _sent(item, depth + 1) for name, item in data.items() if name in names or name in extra}
