"""Streams of OpenAI's protocols: the chunks of chat and text completions, and the events of Responses.

Many providers speak the first; what they add (Groq's `x_groq`, a price, a tier) is kept as it comes.
"""

from collections.abc import Mapping
from typing import Any, cast

from structllm._content import Excerpt, is_list

MAX_TOOL_CALLS = 256
"""Tool calls of one answer that are kept; servers number them, and a broken one may do so for ever."""

_HEAD = ("id", "object", "created", "model", "service_tier", "system_fingerprint", "provider")


class ChunkedAnswer:
    """A chat or text completion, put together from its chunks. Of several choices the first is read.

    Args:
        limit_chars: Characters of text to keep.
    """

    def __init__(self, limit_chars: int) -> None:
        self.has_token = False
        self.has_ended = False
        self.is_complete = False
        self.problem: str | None = None
        self._text = Excerpt(limit_chars)
        self._limit_chars = limit_chars
        self._head: dict[str, Any] = {}
        self._calls: dict[int, tuple[dict[str, Any], Excerpt]] = {}
        self._finish_reason: str | None = None
        self._usage: Mapping[str, Any] | None = None

    @property
    def length(self) -> int | None:
        """Characters of the text where the answer holds only the beginning of it."""
        return self._text.length if self._text.length > self._limit_chars else None

    def add(self, event: Mapping[str, Any]) -> None:
        """Take the next chunk."""
        if event.get("error"):
            self.problem = said_of(event["error"])
            return
        for name in _HEAD:
            if event.get(name) is not None:
                self._head.setdefault(name, event[name])
        if event.get("service_tier") is not None:
            self._head["service_tier"] = event["service_tier"]  # the last chunk knows what was served
        self._usage = mapping(event.get("usage")) or mapping(mapping(event.get("x_groq")).get("usage")) or self._usage
        for choice in listed(event.get("choices")):
            if mapping(choice).get("index") in (0, None):
                self._choice(mapping(choice))

    def done(self) -> None:
        """Take the mark behind the last chunk."""
        self.is_complete = self.has_ended = True

    def answer(self) -> dict[str, Any] | None:
        """Return the completion so far."""
        if not self._head and not self.has_token:
            return None
        message: dict[str, Any] = {"role": "assistant", "content": self._text.text}
        if self._calls:
            message["tool_calls"] = [
                {**call, "function": {"name": call["name"], "arguments": arguments.text}}
                for call, arguments in self._calls.values()
            ]
        choice = {"index": 0, "finish_reason": self._finish_reason, "message": message}
        return {**self._head, "choices": [choice]}

    def usage(self) -> Mapping[str, Any] | None:
        """Return the newest token counts."""
        return self._usage or None

    def _choice(self, choice: Mapping[str, Any]) -> None:
        delta = mapping(choice.get("delta"))
        for said in (delta.get("content"), delta.get("refusal"), choice.get("text")):
            self._say(said)
        for thought in ("reasoning", "reasoning_content", "audio"):
            self.has_token = self.has_token or bool(delta.get(thought))
        for call in listed(delta.get("tool_calls")):
            self._call(mapping(call))
        if delta.get("function_call"):
            self._call({"index": 0, "function": delta["function_call"]})
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self._finish_reason, self.has_ended = reason, True

    def _say(self, said: object) -> None:
        for part in (said,) if isinstance(said, str) else listed(said):
            text = part if isinstance(part, str) else mapping(part).get("text")
            if isinstance(text, str) and text:
                self.has_token = True
                self._text.add(text)

    def _call(self, call: Mapping[str, Any]) -> None:
        self.has_token = True
        index = call.get("index")
        index = index if isinstance(index, int) else len(self._calls)
        if index not in self._calls:
            if len(self._calls) >= MAX_TOOL_CALLS:
                return
            self._calls[index] = ({"type": "function", "name": ""}, Excerpt(self._limit_chars))
        known, arguments = self._calls[index]
        function = mapping(call.get("function"))
        if isinstance(call.get("id"), str):
            known["id"] = call["id"]
        if isinstance(function.get("name"), str):
            known["name"] = function["name"] or known["name"]
        if isinstance(function.get("arguments"), str):
            arguments.add(function["arguments"])


class ResponsesAnswer:
    """An answer of OpenAI's Responses, put together from its events. The last one holds it whole.

    Args:
        limit_chars: Characters of text to keep.
    """

    _LAST = ("response.completed", "response.incomplete", "response.failed")

    def __init__(self, limit_chars: int) -> None:
        self.has_token = False
        self.has_ended = False
        self.is_complete = False
        self.problem: str | None = None
        self._text = Excerpt(limit_chars)
        self._limit_chars = limit_chars
        self._head: dict[str, Any] = {}
        self._calls: list[Any] = []
        self._whole: dict[str, Any] | None = None

    @property
    def length(self) -> int | None:
        """Characters of the text where the answer holds only the beginning of it."""
        return self._text.length if self._text.length > self._limit_chars else None

    def add(self, event: Mapping[str, Any]) -> None:
        """Take the next event."""
        kind = str(event.get("type", ""))
        if kind == "error" or (event.get("error") and not kind.startswith("response.")):
            self.problem = said_of(event.get("error") or event)
        elif kind in self._LAST:
            self._whole = dict(mapping(event.get("response")))
            self.is_complete = self.has_ended = True
            self.problem = failure_of(self._whole)
        elif isinstance(event.get("response"), dict):
            self._head = {name: event["response"][name] for name in _HEAD if event["response"].get(name) is not None}
        elif kind == "response.output_item.done" and len(self._calls) < MAX_TOOL_CALLS:
            item = mapping(event.get("item"))
            self._calls += [item] if str(item.get("type", "")).endswith("_call") else []
        elif kind.endswith(".delta"):
            self.has_token = True
            said = event.get("delta")
            if kind in ("response.output_text.delta", "response.refusal.delta") and isinstance(said, str):
                self._text.add(said)

    def done(self) -> None:
        """Take the mark behind the last event, which some servers send."""
        self.is_complete = self.has_ended = True

    def answer(self) -> dict[str, Any] | None:
        """Return the answer so far."""
        if self._whole is not None or not (self._head or self.has_token):
            return self._whole
        message = {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": self._text.text}],
        }
        return {**self._head, "object": "response", "output": [message, *self._calls]}

    def usage(self) -> Mapping[str, Any] | None:
        """Return the token counts, which come with the last event."""
        return mapping((self._whole or {}).get("usage")) or None


def failure_of(response: Mapping[str, Any]) -> str | None:
    """Return why an answer of Responses failed, or None where it did not: the server says so in a 200."""
    if response.get("status") != "failed":
        return None
    return said_of(response.get("error") or "the response failed")


def said_of(error: object) -> str:
    """Return the text of an error in any provider's shape."""
    inner = mapping(error).get("error", error)
    told = mapping(inner).get("message") or mapping(inner).get("type") or inner
    return told if isinstance(told, str) else "the server reported an error"


def mapping(value: object) -> Mapping[str, Any]:
    """Return the value if it is a mapping, else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def listed(value: object) -> list[Any]:
    """Return the value if it is a list, else an empty one."""
    return value if is_list(value) else []
