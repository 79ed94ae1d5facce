"""A loopback server that speaks as much of the wires of OpenAI and Anthropic as wrapped clients are tested with.

It answers what it is told, in order, the last for ever:

    ok          an answer with its token counts, whole or as a stream
    401, 429, 500   the error; clients try again at once after the latter two
    malformed   an answer, or an event of a stream, that is no JSON
    cut         the connection breaks in the middle of the answer
    stall       the answer stops half way (a stream after its first word) until the server closes
    failing     a stream that says half way that it failed
"""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

LONGEST_WAIT_S = 30.0
TEXT = '{"action": "LONG"}'
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
EMBEDDING_USAGE = {"prompt_tokens": 11, "total_tokens": 11}
OTHER_USAGE = {"input_tokens": 11, "output_tokens": 7}

VARYING = ("host", "idempotency-key", "x-stainless-idempotency-key")

Event = dict[str, Any]


class Server(ThreadingHTTPServer):
    """One thread per connection; clients that leave are no news."""

    daemon_threads = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


class Wire:
    """The server; use it as a context manager.

    Args:
        replies: What to answer, in order.
        text: What the model says.

    Attributes:
        requests: Path and body of every request, as they came.
        headers: The headers of every request, without what differs from one connection to the next.
        stalled: Set when a client has been left waiting.
    """

    def __init__(self, *replies: str, text: str = TEXT) -> None:
        self.requests: list[tuple[str, bytes]] = []
        self.headers: list[list[tuple[str, str]]] = []
        self.stalled = threading.Event()
        self.text = text
        self._replies = list(replies) or ["ok"]
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = Server(("127.0.0.1", 0), self._handler())
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
        """Base URL for Anthropic's clients; OpenAI's want `/v1` behind it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def next(self, path: str, body: bytes, headers: list[tuple[str, str]]) -> str:
        """Note a request and return what to answer."""
        with self._lock:
            self.requests.append((path, body))
            self.headers.append([pair for pair in headers if pair[0].lower() not in VARYING])
            return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]

    def stall(self) -> None:
        """Wait until the server closes."""
        self.stalled.set()
        self._closing.wait(LONGEST_WAIT_S)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        wire = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                """Stay quiet."""

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                reply, body = wire.next(self.path, content, self.headers.items()), json.loads(content)
                if reply.isdecimal():
                    self._fail(int(reply))
                elif body.get("stream"):
                    self._stream(reply, streamed(self.path, wire.text, body))
                else:
                    self._whole(reply, json.dumps(whole(self.path, wire.text)).encode())

            def _fail(self, status: int) -> None:
                error = {"type": "test_error", "code": None, "param": None, "message": "The wire said no."}
                content = json.dumps({"type": "error", "error": error}).encode()
                self._head(status, "application/json", len(content), {"retry-after-ms": "1"})
                self.wfile.write(content)

            def _whole(self, reply: str, content: bytes) -> None:
                if reply == "stall":
                    wire.stall()
                    return
                if reply == "malformed":
                    content = content[:20]
                self._head(200, "application/json", len(content) + (1000 if reply == "cut" else 0), {})
                self.wfile.write(content)

            def _stream(self, reply: str, events: list[Event | str]) -> None:
                lines = [line(event) for event in events]
                broken = reply in ("cut", "stall", "malformed", "failing")
                half = next((number for number, event in enumerate(events) if is_word(event)), 0) + 1
                lines = lines[:half] if broken else lines
                lines += [re.sub(b"data:.*", b"data: {no", lines[-1])] if reply == "malformed" else []
                lines += [failure()] if reply == "failing" else []
                missing = 1000 if reply in ("cut", "stall") else 0
                self._head(200, "text/event-stream", sum(map(len, lines)) + missing, {})
                for text in lines:
                    self.wfile.write(text)
                    self.wfile.flush()
                if reply == "stall":
                    wire.stall()

            def _head(self, status: int, kind: str, length: int, more: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {"content-type": kind, "content-length": str(length), **more}.items():
                    self.send_header(name, value)
                self.send_header("x-request-id", "req-of-the-wire")
                self.send_header("request-id", "req-of-the-wire")
                self.end_headers()

        return Handler


def line(event: Event | str) -> bytes:
    """An event as it goes over the wire."""
    if isinstance(event, str):
        return f"data: {event}\n\n".encode()
    head = f"event: {event['type']}\n" if "type" in event else ""
    return f"{head}data: {json.dumps(event)}\n\n".encode()


def failure() -> bytes:
    """What a provider sends when it fails in the middle of a stream."""
    error = {"type": "overloaded_error", "message": "The wire gave up."}
    return b"event: error\ndata: " + json.dumps({"type": "error", "error": error}).encode() + b"\n\n"


def is_word(event: Event | str) -> bool:
    """Whether an event brings the first word."""
    if isinstance(event, str):
        return False
    kind = str(event.get("type", ""))
    choices = event.get("choices") or [{}]
    return kind.endswith("delta") or bool(choices[0].get("text") or choices[0].get("delta", {}).get("content"))


def whole(path: str, text: str) -> Event:
    """An answer that comes at once."""
    if path.endswith("/embeddings"):
        vector = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
        return {"object": "list", "data": [vector], "model": "text-embedding-3-small", "usage": EMBEDDING_USAGE}
    if path.endswith("/messages"):
        content = [{"type": "text", "text": text}]
        return {**message(), "content": content, "stop_reason": "end_turn", "usage": OTHER_USAGE}
    if path.endswith("/responses"):
        return response(text)
    if path.endswith("/chat/completions"):
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return {**completion("chat.completion"), "choices": [choice], "usage": USAGE}
    choice = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}
    return {**completion("text_completion"), "choices": [choice], "usage": USAGE}


def streamed(path: str, text: str, body: Event) -> list[Event | str]:
    """The events of an answer that comes word by word."""
    if path.endswith("/messages"):
        return list(message_events(text))
    if path.endswith("/responses"):
        return list(response_events(text))
    return list(chunks(text, body, chat=path.endswith("/chat/completions")))


def words(text: str) -> list[str]:
    """The text in the stretches in which it is streamed."""
    return [word if number == 0 else f" {word}" for number, word in enumerate(text.split(" "))]


def completion(kind: str) -> Event:
    """What every completion and every chunk begins with."""
    return {"id": "cmpl-1", "object": kind, "created": 1700000000, "model": "gpt-4o-mini-2024-07-18"}


def message() -> Event:
    """What every message begins with."""
    model = "claude-sonnet-4-6"
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_sequence": None}


def chunks(text: str, body: Event, *, chat: bool) -> Iterator[Event | str]:
    """The stream of a chat or text completion; with token counts where they are asked for."""
    common = completion("chat.completion.chunk" if chat else "text_completion")
    said: list[Event] = [{"delta": {"content": word}} if chat else {"text": word} for word in words(text)]
    first: list[Event] = [{"delta": {"role": "assistant", "content": ""}}] if chat else []
    for choice in [*first, *said]:
        yield {**common, "choices": [{"index": 0, "finish_reason": None, **choice}]}
    last: Event = {"delta": {}} if chat else {"text": ""}
    yield {**common, "choices": [{"index": 0, "finish_reason": "stop", **last}]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**common, "choices": [], "usage": USAGE}
    yield "[DONE]"


def response(text: str) -> Event:
    """A finished answer of Responses."""
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    head = {"id": "resp_1", "object": "response", "created_at": 1700000000, "model": "gpt-4o-mini-2024-07-18"}
    parameters = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return {**head, **parameters, "status": "completed", "output": [item], "usage": {**OTHER_USAGE, "total_tokens": 18}}


def response_events(text: str) -> Iterator[Event]:
    """The stream of an answer of Responses."""
    done = response(text)
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    (item,) = done["output"]
    (part,) = item["content"]
    empty = {**item, "status": "in_progress", "content": []}
    events: list[Event] = [
        {"type": "response.created", "response": {**done, "status": "in_progress", "output": [], "usage": None}},
        {"type": "response.output_item.added", "output_index": 0, "item": empty},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": word, "logprobs": []} for word in words(text)),
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": done},
    ]
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}


def message_events(text: str) -> Iterator[Event]:
    """The stream of a message."""
    usage = {"input_tokens": 11, "output_tokens": 1}
    yield {"type": "message_start", "message": {**message(), "content": [], "stop_reason": None, "usage": usage}}
    yield {"type": "ping"}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for word in words(text):
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
    yield {"type": "content_block_stop", "index": 0}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}}
    yield {"type": "message_stop"}
