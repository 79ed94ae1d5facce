"""A loopback server that speaks as much of the OpenAI and Anthropic wire as the tests need.

It answers chat completions and messages, whole or streamed, with the replies it was told, in order; the last one is
repeated. Nothing leaves the machine and every wait has an end.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

LONGEST_WAIT_S = 30.0


@dataclass(frozen=True)
class Text:
    """An answer with its usage; it is streamed word by word where the client asks for a stream."""

    text: str = "All quiet."
    model: str = "gpt-4o-mini-2024-07-18"
    prompt_tokens: int = 11
    completion_tokens: int = 7
    cached_tokens: int = 0


@dataclass(frozen=True)
class Failure:
    """An HTTP error in the provider's shape."""

    status: int
    message: str = "The wire said no."


@dataclass(frozen=True)
class Silence:
    """The request is taken and never answered, until the wire closes."""


@dataclass(frozen=True)
class Cut:
    """A stream whose connection breaks after its first word."""

    text: str = "Half an"


Reply = Text | Failure | Silence | Cut


class Wire:
    """The server; use it as a context manager.

    Attributes:
        bodies: The parsed body of every request, in order.
        arrived: Set when a request has come in.
    """

    def __init__(self, *replies: Reply) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.arrived = threading.Event()
        self._replies = list(replies) or [Text()]
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join(LONGEST_WAIT_S)
        self._server.server_close()

    @property
    def url(self) -> str:
        """Base URL for Anthropic clients; OpenAI's want `/v1` behind it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _next(self, body: dict[str, Any]) -> Reply:
        with self._lock:
            self.bodies.append(body)
            self.arrived.set()
            return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        wire = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                """Stay quiet."""

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                reply = wire._next(body)
                speak = _anthropic if self.path.endswith("/messages") else _openai
                if isinstance(reply, Silence):
                    wire._closing.wait(LONGEST_WAIT_S)
                elif isinstance(reply, Failure):
                    error = {"type": "test_error", "code": None, "param": None, "message": reply.message}
                    self._send(reply.status, json.dumps({"type": "error", "error": error}).encode())
                elif body.get("stream"):
                    self._stream(speak(reply, body))
                else:
                    (whole,) = speak(reply, body)
                    self._send(200, json.dumps(whole).encode())

            def _send(self, status: int, content: bytes, kind: str = "application/json") -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _stream(self, events: Iterator[dict[str, Any]]) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                # Longer than what comes, so that a cut stream is an error and not an end.
                lines = [_line(event) for event in events]
                broken = lines[-1] == b""
                self.send_header("content-length", str(sum(map(len, lines)) + (1000 if broken else 0)))
                self.end_headers()
                try:
                    for line in lines:
                        self.wfile.write(line)
                        self.wfile.flush()
                except (BrokenPipeError, ConnectionResetError):
                    return  # the client left

        return Handler


def _line(event: dict[str, Any]) -> bytes:
    if not event:
        return b""
    if event.get("done"):
        return b"data: [DONE]\n\n"
    head = f"event: {event['type']}\n" if "type" in event else ""
    return f"{head}data: {json.dumps(event)}\n\n".encode()


def _words(text: str) -> list[str]:
    return [word if number == 0 else f" {word}" for number, word in enumerate(text.split(" "))]


def _openai(reply: Text | Cut, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    common = {"id": "chatcmpl-test", "created": 1700000000, "model": getattr(reply, "model", "gpt-4o-mini")}
    if not body.get("stream"):
        assert isinstance(reply, Text)
        message = {"role": "assistant", "content": reply.text}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        yield {**common, "object": "chat.completion", "choices": [choice], "usage": _openai_usage(reply)}
        return
    common["object"] = "chat.completion.chunk"
    for delta in [{"role": "assistant", "content": ""}, *({"content": word} for word in _words(reply.text))]:
        yield {**common, "choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None}
        if isinstance(reply, Cut) and delta["content"]:
            yield {}
            return
    yield {**common, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None}
    if (body.get("stream_options") or {}).get("include_usage") and isinstance(reply, Text):
        yield {**common, "choices": [], "usage": _openai_usage(reply)}
    yield {"done": True}


def _openai_usage(reply: Text) -> dict[str, Any]:
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
    }


def _anthropic(reply: Text | Cut, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    model = getattr(reply, "model", "claude-sonnet-4-5")
    head = {"id": "msg_test", "type": "message", "role": "assistant", "model": model, "stop_sequence": None}
    usage = {
        "input_tokens": getattr(reply, "prompt_tokens", 0),
        "cache_read_input_tokens": getattr(reply, "cached_tokens", 0),
        "output_tokens": getattr(reply, "completion_tokens", 0),
    }
    if not body.get("stream"):
        content = [{"type": "text", "text": reply.text}]
        yield {**head, "content": content, "stop_reason": "end_turn", "usage": usage}
        return
    first = {**head, "content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    yield {"type": "message_start", "message": first}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for word in _words(reply.text):
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        if isinstance(reply, Cut):
            yield {}
            return
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage}
    yield {"type": "message_stop"}
