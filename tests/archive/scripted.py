"""A fake S3 server that answers what it is told, for the codes that a real one cannot be made to answer.

Unscripted requests meet a small store in memory, so that a test can mix faults with success. It checks no signature and
no checksum: it proves how we react, never that bytes are whole.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

LONGEST_WAIT_S = 30.0


@dataclass(frozen=True)
class Answer:
    """An answer in S3's shape.

    Attributes:
        status: HTTP status.
        code: S3's code, which a HEAD has no body for.
        headers: More of them.
        stored: Whether the request was done all the same.
    """

    status: int
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    stored: bool = False


SLOW_DOWN = Answer(503, "SlowDown")
INTERNAL_ERROR = Answer(500, "InternalError")
BAD_GATEWAY = Answer(502)
TOO_MANY = Answer(429, "TooManyRequests")
CONFLICT = Answer(409, "ConditionalRequestConflict")
EXPIRED_TOKEN = Answer(400, "ExpiredToken")
CLOCK_SKEW = Answer(403, "RequestTimeTooSkewed")
ACCESS_DENIED = Answer(403, "AccessDenied")
NO_SUCH_BUCKET = Answer(404, "NoSuchBucket")
BAD_DIGEST = Answer(400, "BadDigest")
TOO_LARGE = Answer(400, "EntityTooLarge")
WRONG_REGION = Answer(301, "PermanentRedirect")
HEADER_UNKNOWN = Answer(501, "NotImplemented")


class Request(NamedTuple):
    """What came in; the path with its percent forms resolved, names of headers in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class ScriptedS3:
    """The server; use it as a context manager.

    Attributes:
        requests: All of them, in order.
        objects: What the store holds: path (`/bucket/key`) to body.
        script: Returns what a request is answered with; None for what the store says. `say` sets a simple one.
        conditional: Whether the store honours `If-None-Match`.
        echoes: Whether it answers a put with the checksum that it was given.
        keeps: What it keeps in place of the body of a put; None for the body.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.objects: dict[str, bytes] = {}
        self.script: Callable[[Request], Answer | None] = lambda request: None
        self.conditional = True
        self.echoes = True
        self.keeps: bytes | None = None
        self._headers: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(LONGEST_WAIT_S)
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def say(self, *answers: Answer | None, method: str = "PUT") -> None:
        """Answer the next requests of a method so, one after the other; those behind meet the store."""
        left = list(answers)
        self.script = lambda request: left.pop(0) if left and request.method == method else None

    def methods(self) -> list[str]:
        """Return the methods of all requests."""
        return [request.method for request in self.requests]

    def _take(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        with self._lock:
            self.requests.append(request)
            told = self.script(request)
            if told is None:
                return self._store(request)
            if told.stored:
                self._store(request)
        body = f"<?xml version='1.0'?><Error><Code>{told.code}</Code><Message>told so</Message></Error>".encode()
        return told.status, dict(told.headers), body if told.code else b""

    def _store(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        path = request.path.partition("?")[0]
        if request.method == "PUT":
            if self.conditional and request.headers.get("if-none-match") == "*" and path in self.objects:
                return 412, {}, b"<Error><Code>PreconditionFailed</Code></Error>"
            self.objects[path] = request.body if self.keeps is None else self.keeps
            kept = ("x-amz-checksum-sha256", "x-amz-meta-")
            self._headers[path] = {name: text for name, text in request.headers.items() if name.startswith(kept)}
            checksum = request.headers.get("x-amz-checksum-sha256", "")
            return 200, {"x-amz-checksum-sha256": checksum} if self.echoes and checksum else {}, b""
        if path.count("/") == 1:
            return 200, {}, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
        if path not in self.objects:
            return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        return 200, self._headers.get(path, {}), self.objects[path]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = LONGEST_WAIT_S

            def log_message(self, format: str, *args: Any) -> None:
                """Stay quiet."""

            def _respond(self) -> None:
                size = int(self.headers.get("content-length", "0"))
                body = self.rfile.read(size)
                if len(body) < size:  # it was cut off, and nobody waits for an answer
                    self.close_connection = True
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, fields, answer = scripted._take(Request(self.command, unquote(self.path), headers, body))
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.send_header("Connection", "close")  # no thread is left to wait for a next request
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)
                self.close_connection = True

            do_PUT = do_HEAD = do_GET = do_DELETE = _respond

        return Handler
