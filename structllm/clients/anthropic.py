"""Streams of Anthropic's messages, and of its old text completions."""

from collections.abc import Mapping
from typing import Any

from structllm._content import Excerpt
from structllm.clients.bodies import parsed
from structllm.clients.openai import listed, mapping, said_of

MAX_BLOCKS = 1024
"""Blocks of one answer that are kept."""

_CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")


class MessageAnswer:
    """A message, put together from its events.

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
        self._message: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._stop_reason: str | None = None
        self._calls: dict[object, tuple[Mapping[str, Any], Excerpt]] = {}

    @property
    def length(self) -> int | None:
        """Characters of the text where the answer holds only the beginning of it."""
        return self._text.length if self._text.length > self._limit_chars else None

    def add(self, event: Mapping[str, Any]) -> None:
        """Take the next event."""
        kind = event.get("type")
        if kind == "error":
            self.problem = said_of(event.get("error"))
        elif kind == "message_start":
            self._message = dict(mapping(event.get("message")))
            self._count(self._message.pop("usage", None))
        elif kind == "content_block_start":
            self._begin(event.get("index"), mapping(event.get("content_block")))
        elif kind == "content_block_delta":
            self._delta(event.get("index"), mapping(event.get("delta")))
        elif kind == "message_delta":
            self._count(event.get("usage"))
            self._stop(mapping(event.get("delta")).get("stop_reason"))
        elif kind == "message_stop":
            self.is_complete = self.has_ended = True
        elif kind == "completion":
            self._say(event.get("completion"))
            self._message.setdefault("model", event.get("model"))
            self._stop(event.get("stop_reason"))

    def done(self) -> None:
        """Take the mark that OpenAI's dialect ends with, should somebody send it."""
        self.is_complete = self.has_ended = True

    def answer(self) -> dict[str, Any] | None:
        """Return the message so far."""
        if not self._message and not self.has_token:
            return None
        content: list[Any] = [*listed(self._message.get("content")), {"type": "text", "text": self._text.text}]
        for block, written in self._calls.values():
            content.append({**block, "input": (parsed(written.text.encode()) or written.text) or block.get("input")})
        return {**self._message, "content": content, "stop_reason": self._stop_reason}

    def usage(self) -> Mapping[str, Any] | None:
        """Return the newest token counts."""
        return self._usage or None

    def _count(self, usage: object) -> None:
        """Take token counts: those of later events are sums so far, and stand in place of the earlier ones."""
        self._usage |= {name: count for name, count in mapping(usage).items() if count is not None}

    def _stop(self, reason: object) -> None:
        if isinstance(reason, str) and reason:
            self._stop_reason, self.has_ended = reason, True

    def _begin(self, index: object, block: Mapping[str, Any]) -> None:
        self._say(block.get("text"))
        if block.get("type") in _CALLS and len(self._calls) < MAX_BLOCKS:
            self.has_token = True
            self._calls[index] = (block, Excerpt(self._limit_chars))

    def _delta(self, index: object, delta: Mapping[str, Any]) -> None:
        self._say(delta.get("text"))
        self.has_token = self.has_token or bool(delta.get("thinking"))
        written = delta.get("partial_json")
        if isinstance(written, str) and index in self._calls:
            self._calls[index][1].add(written)

    def _say(self, said: object) -> None:
        if isinstance(said, str) and said:
            self.has_token = True
            self._text.add(said)
