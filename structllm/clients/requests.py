"""What a call through a client asks: read from the options that the client hands to its own `request` method.

Those are the same for every way to make a call. Nothing in them is changed, and no iterator in them is touched: the
client has yet to send it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

CHAT = "chat"
RESPONSES = "responses"
MESSAGES = "messages"
TEXT = "text"
EMBEDDINGS = "embeddings"

_ENDPOINTS = MappingProxyType(
    {
        "/chat/completions": CHAT,
        "/completions": TEXT,
        "/responses": RESPONSES,
        "/embeddings": EMBEDDINGS,
        "/v1/messages": MESSAGES,
        "/v1/complete": TEXT,
    }
)
"""Path of a call, as the clients name it, to the dialect that is spoken there."""

_OPERATIONS = MappingProxyType({TEXT: "completion", EMBEDDINGS: "embedding"})
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tokens_to_sample")
_COUNTED_WHEN_ASKED = (CHAT, TEXT)
"""Dialects whose streams carry token counts only where the request asks for them."""

_HOSTS = MappingProxyType({"openai.com": "openai", "anthropic.com": "anthropic"})
_CLIENTS = (("Azure", "azure"), ("Bedrock", "aws"), ("Vertex", "google_vertexai"))


class Asked(NamedTuple):
    """A call that is about to be made.

    Attributes:
        dialect: `chat`, `text`, `responses`, `embeddings` or `messages`.
        prompt: The messages or text, as the client has them.
        streamed: Whether the answer is asked for as a stream.
        fields: What the request event says beside the prompt: model, parameters, tools.
    """

    dialect: str
    prompt: object
    streamed: bool
    fields: dict[str, Any]


def read_request(options: object) -> Asked | None:
    """Return what these options of a client ask, or None where no model is asked."""
    if str(getattr(options, "method", "")).lower() != "post":
        return None
    path = str(getattr(options, "url", "")).partition("?")[0]
    dialect = _ENDPOINTS.get(f"/{path.strip('/')}")
    body = _body(options)
    if dialect is None or body is None:
        return None
    streamed = body.get("stream") is True
    fields: dict[str, Any] = {
        "model": _text(body.get("model")) or "unknown",
        "temperature": _number(body.get("temperature")),
        "max_tokens": next((limit for name in _LIMITS if (limit := _number(body.get(name))) is not None), None),
        "operation": _OPERATIONS.get(dialect, "chat"),
    }
    tier = _text(body.get("service_tier"))
    tools = _tools(body.get("tools"))
    fields |= {"service_tier": tier} if tier not in (None, "auto") else {}
    fields |= {"tools": tools} if tools else {}
    fields |= {"stream": True} if streamed else {}
    return Asked(dialect, _prompt(dialect, body), streamed, fields)


def asking_for_usage(options: Any, asked: Asked) -> Any:
    """Return the options with a request for token counts at the end of the stream; unchanged where the caller decided
    about that, or the server sends them anyway. The caller's own objects are not changed."""
    body = getattr(options, "json_data", None)
    if not asked.streamed or asked.dialect not in _COUNTED_WHEN_ASKED or not isinstance(body, dict):
        return options
    known = cast("dict[str, Any]", _body(options))
    wishes = known.get("stream_options")
    wishes = cast("dict[str, Any]", wishes) if isinstance(wishes, dict) else {}
    if "include_usage" in wishes or "stream_options" in (getattr(options, "extra_json", None) or {}):
        return options
    changed = options.model_copy() if hasattr(options, "model_copy") else options.copy()
    changed.json_data = {**cast("dict[str, Any]", body), "stream_options": {**wishes, "include_usage": True}}
    return changed


def served_by(client: object) -> dict[str, str]:
    """Return `base_url`, which names the server to the price list, and `provider` where that is beyond doubt.

    Whoever speaks OpenAI's dialect at an address of their own is not called `openai`.
    """
    found: dict[str, str] = {}
    parts = urlsplit(str(getattr(client, "base_url", "")))
    if parts.hostname:
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        port = f":{parts.port}" if parts.port is not None else ""
        found["base_url"] = f"{parts.scheme}://{host}{port}{parts.path}"  # without user, password and query
    names = [kind.__name__ for kind in type(client).__mro__]
    special = (provider for word, provider in _CLIENTS if any(word in name for name in names))
    host = parts.hostname or ""
    plain = (provider for home, provider in _HOSTS.items() if host == home or host.endswith(f".{home}"))
    provider = next(special, None) or next(plain, None)
    return found | ({"provider": provider} if provider else {})


def _body(options: object) -> Mapping[str, Any] | None:
    body = getattr(options, "json_data", None)
    if not isinstance(body, Mapping):
        return None
    more = getattr(options, "extra_json", None)
    own = cast("Mapping[str, Any]", body)
    return {**own, **cast("Mapping[str, Any]", more)} if isinstance(more, Mapping) else own


def _prompt(dialect: str, body: Mapping[str, Any]) -> object:
    if dialect == CHAT:
        return body.get("messages")
    if dialect == MESSAGES:
        return _with_system(body.get("system"), body.get("messages"))
    if dialect == RESPONSES:
        asked = body.get("input")
        messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
        instructions = _text(body.get("instructions"))
        return asked if instructions is None else _with_system(instructions, messages)
    return body.get("input") if dialect == EMBEDDINGS else body.get("prompt")


def _with_system(system: object, messages: object) -> object:
    given: object = {"system": system, "messages": messages}
    return given if system and isinstance(system, str | list) else messages


def _tools(tools: object) -> list[str]:
    """Return the names of tools; those that the provider runs go by their type."""
    names: list[str] = []
    for tool in cast("list[object]", tools) if isinstance(tools, list | tuple) else ():
        if not isinstance(tool, Mapping):
            continue
        described = cast("Mapping[str, Any]", tool)
        inner = described.get("function", described)
        name = cast("Mapping[str, Any]", inner).get("name") if isinstance(inner, Mapping) else None
        name = _text(name) or _text(described.get("type"))
        names += [name] if name else []
    return names


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: object) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
