"""The content of a message as text, in any client's shape: parts, tool calls, and what is no text.

Nothing of a client is imported and no method of an object is called: objects are read as mappings of what they store.
Images, audio and files never enter the text; their kind and size stand for them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard, cast

from structllm._objects import declared_fields, stored
from structllm.processors.normalise import normalise_value

_THOUGHTS = frozenset({"thinking", "redacted_thinking", "reasoning", "item_reference", "compaction"})
_CALLS = frozenset({"function", "custom", "tool_use", "server_tool_use", "mcp_tool_use"})
_MEDIA = ("image", "audio", "video", "file", "document", "media")
_MEDIA_HOLDERS = ("source", "image_url", "input_audio", "file", "inline_data", "audio", "audio_url", "video_url")
_DATA_NAMES = ("data", "base64", "file_data", "bytes")
_PLAIN = (str, bytes, int, float, list, tuple, type)
_KIND_CHARS = 60
_URI_HEADER_CHARS = 200
# A message holds results, which hold parts: deeper ones are made up, and may grow without end.
_MAX_DEPTH = 4


class Piece(NamedTuple):
    """A stretch of text, or what stands for something that is no text."""

    text: str
    is_text: bool = True


class Excerpt:
    """Collects the beginning of a text that is too large to be built, and counts the rest.

    Args:
        limit_chars: Characters to keep.
    """

    __slots__ = ("_kept", "_limit_chars", "length")

    def __init__(self, limit_chars: int) -> None:
        self._limit_chars = max(limit_chars, 0)
        self._kept: list[str] = []
        self.length = 0

    def add(self, text: str) -> None:
        """Append a text."""
        room = self._limit_chars - self.length
        if room > 0:
            self._kept.append(text[:room])
        self.length += len(text)

    def add_pieces(self, pieces: Iterable[Piece], joint: str) -> None:
        """Append pieces: `joint` between two that are text, a new line around the others."""
        previous: Piece | None = None
        for piece in pieces:
            if not piece.text:
                continue
            if previous is not None:
                self.add(joint if previous.is_text and piece.is_text else "\n")
            self.add(piece.text)
            previous = piece

    @property
    def text(self) -> str:
        """The beginning."""
        return "".join(self._kept)


def read(value: object) -> Mapping[str, Any] | None:
    """Return what an object stores, by name; a dict is returned itself, plain values give None."""
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    if value is None or isinstance(value, _PLAIN):
        return None
    attributes = stored(value)
    if attributes is None:
        return declared_fields(value)
    try:
        extra: Mapping[str, Any] | None = object.__getattribute__(value, "__pydantic_extra__")
    except AttributeError:
        return attributes
    return {**attributes, **extra} if extra else attributes


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Say whether a value is a list."""
    return isinstance(value, list)


def is_tuple(value: object) -> TypeGuard[tuple[Any, ...]]:
    """Say whether a value is a tuple."""
    return isinstance(value, tuple)


def items(value: object) -> Sequence[Any]:
    """Return a list or tuple itself, anything else as nothing."""
    return value if is_list(value) or is_tuple(value) else ()


def text_of(value: object) -> str | None:
    """Return the value if it is a text with something in it."""
    return value if isinstance(value, str) and value else None


def as_json(value: object) -> str:
    """Return any value as text: a string as it is, anything else as JSON of its normalised form."""
    plain = normalise_value(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def as_message(item: object) -> Mapping[str, Any] | None:
    """Return an item of a conversation as a mapping with `role` and `content`, or None if it is no message.

    Understands dicts and objects of OpenAI (chat and Responses), Anthropic, Gemini and LangChain, and LangChain's
    `("system", "text")` pairs.
    """
    if is_tuple(item):
        is_message = len(item) == 2 and isinstance(item[0], str) and isinstance(item[1], str | list)
        return {"role": item[0], "content": item[1]} if is_message else None
    data = read(item)
    if data is None:
        return None
    if isinstance(data.get("role"), str):
        return data if "content" in data or "parts" in data or "tool_calls" in data else None
    if "content" in data and "additional_kwargs" in data:
        return data
    kind = data.get("type")
    if not isinstance(kind, str):
        return None
    if kind.endswith("_call_output"):
        return {"role": "tool", "content": [data]}
    return {"role": "assistant", "content": [data]} if kind.endswith("_call") or kind == "reasoning" else None


def message_pieces(message: Mapping[str, Any], depth: int = 0) -> Iterator[Piece]:
    """Yield what a message says, then the tools that it calls; `depth` counts the messages and results around it."""
    calls_in_content = False
    content = message.get("content", message.get("parts"))
    if type(content) is str:
        yield Piece(content)
    else:
        for part in _parts(content):
            calls_in_content = calls_in_content or _is_call(part)
            yield from _part_pieces(part, depth)
    audio = read(message.get("audio"))
    for said in (message.get("refusal"), audio and audio.get("transcript")):
        if isinstance(said, str):
            yield Piece(said)
    if calls_in_content:
        # Anthropic and OpenAI's Responses have them there, and LangChain repeats them.
        return
    for call in (*items(message.get("tool_calls")), *items(message.get("invalid_tool_calls"))):
        yield _call_piece(read(call) or {})
    if message.get("function_call"):
        yield _call_piece(read(message["function_call"]) or {})


def _parts(content: object) -> Iterable[Any]:
    if content is None:
        return ()
    return content if is_list(content) or is_tuple(content) else (content,)


def _kind(data: Mapping[str, Any]) -> str:
    kind = data.get("type")
    return kind if isinstance(kind, str) and len(kind) <= _KIND_CHARS else ""


def _is_call(part: object) -> bool:
    kind = _kind(read(part) or {})
    return kind in _CALLS or kind.endswith("_call")


def _part_pieces(part: object, depth: int) -> Iterator[Piece]:
    if isinstance(part, str):
        yield Piece(part)
        return
    data = read(part)
    if data is None:
        yield Piece(as_json(part))
        return
    kind = _kind(data)
    said = data.get("text", data.get("refusal"))
    if kind in _THOUGHTS:
        return
    if isinstance(said, str):
        yield Piece(said)
    elif kind == "message" and depth < _MAX_DEPTH:
        yield from message_pieces(data, depth + 1)
    elif (kind == "tool_result" or kind.endswith("_call_output")) and depth < _MAX_DEPTH:
        for inner in _parts(data.get("content", data.get("output"))):
            yield from _part_pieces(inner, depth + 1)
    elif _is_call(data):
        yield _call_piece(data)
    elif "inline_data" in data or any(word in kind for word in _MEDIA):
        yield Piece(_media_mark(kind, data), is_text=False)
    else:
        yield Piece(f"[{kind or 'part'}]", is_text=False)


def _call_piece(data: Mapping[str, Any]) -> Piece:
    """Return `[tool_call name arguments]`, the arguments in full: they may be the answer itself."""
    call = read(data.get("function")) or read(data.get("custom")) or data
    name = text_of(call.get("name"))
    arguments = next((call[key] for key in ("arguments", "args", "input") if call.get(key) is not None), None)
    words = ["tool_call" if name else _kind(data) or "tool_call"]
    words += [name] if name else []
    words += [as_json(arguments)] if arguments is not None else []
    return Piece(f"[{' '.join(words)}]", is_text=False)


def _media_mark(kind: str, data: Mapping[str, Any]) -> str:
    """Return for example `[image/png 1234 bytes]`, or `[image]` where it is elsewhere and its size not known."""
    media_type, size = "", None
    for holder in (data, *(read(data.get(name)) or {} for name in _MEDIA_HOLDERS)):
        for key, value in holder.items():
            if key in ("media_type", "mime_type", "format"):
                media_type = text_of(value) or media_type
            elif isinstance(value, str) and value[:5].lower() == "data:":
                start = value.find(",", 0, _URI_HEADER_CHARS) + 1
                header = value[5 : start - 1] if start else ""
                media_type = header.partition(";")[0] or media_type
                size = _base64_bytes(value, start) if header.endswith(";base64") else len(value) - start
            elif key in _DATA_NAMES and isinstance(value, bytes):
                size = len(value)
            elif key in _DATA_NAMES and isinstance(value, str):
                size = len(value.encode()) if holder.get("type") == "text" else _base64_bytes(value, 0)
    subject = kind.removeprefix("input_").removesuffix("_url")
    if media_type and "/" not in media_type:
        media_type = f"{subject}/{media_type}"
    # Never cut: redaction, which comes later, does not know half a secret.
    label = (media_type if len(media_type) <= _KIND_CHARS else "") or subject or "media"
    return f"[{label}]" if size is None else f"[{label} {size} bytes]"


def _base64_bytes(text: str, start: int) -> int:
    padding = 2 if text.endswith("==") else int(text.endswith("="))
    return max((len(text) - start) * 3 // 4 - padding, 0)
