"""A proxy between a client and an S3 server on this machine, which does to single requests what networks do.

It reads one request per connection and tells both sides to close it then, so that a fault meets exactly the request
that it is meant for. `Expect: 100-continue`, which boto3 sends with each put, it answers itself: a cut "before the
reply" would otherwise hit the 100, before the body.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

LONGEST_WAIT_S = 30.0
_CHUNK = 1 << 14


@dataclass(frozen=True)
class Cut:
    """The connection is reset when this many bytes of the request's body have gone to the server."""

    after_bytes: int = 0


@dataclass(frozen=True)
class LoseReply:
    """The server does what it is asked for and answers; the client gets a reset instead."""


@dataclass(frozen=True)
class ReplaceReply:
    """The server does what it is asked for; the client gets this status instead of its answer."""

    status: int = 500


@dataclass(frozen=True)
class Stall:
    """After this many bytes of the request's body nothing moves any more, until the client gives up."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Corrupt:
    """One bit of this byte of the request's body arrives turned."""

    at_byte: int = 0


@dataclass(frozen=True)
class CutReply:
    """The connection is closed when this many bytes of the answer's body have come; with `reset`, rudely."""

    after_bytes: int = 0
    reset: bool = False


@dataclass(frozen=True)
class StallReply:
    """After this many bytes of the answer's body nothing comes any more, until the client gives up."""

    after_bytes: int = 0


@dataclass(frozen=True)
class CorruptReply:
    """One bit of this byte of the answer's body arrives turned."""

    at_byte: int = 0


Fault = Cut | LoseReply | ReplaceReply | Stall | Corrupt | CutReply | StallReply | CorruptReply
Choice = Callable[[str, str], Fault | None]
"""Method and path of a request, the path with its percent forms resolved, to what happens to it."""


class _Closed(Exception):
    """The other side has gone."""


class Proxy:
    """The proxy; use it as a context manager.

    Attributes:
        requests: Method and path of every request, in order of arrival.
        faults: What has happened, in order.
        choose: Decides for each request whether and how it fails; `on` sets a simple one.
    """

    def __init__(self, upstream_port: int) -> None:
        self.requests: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.choose: Choice = lambda method, path: None
        self._upstream_port = upstream_port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(LONGEST_WAIT_S)
        for thread in self._threads:
            thread.join(LONGEST_WAIT_S)
        self._listener.close()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def on(self, method: str, fault: Fault, *, path: str = "", times: int | None = None) -> None:
        """Let requests of this method fail, those whose path holds `path`: the next `times` of them, or all."""
        left = [times]

        def choose(asked: str, where: str) -> Fault | None:
            if asked != method or path not in where or left[0] == 0:
                return None
            if left[0] is not None:
                left[0] -= 1
            return fault

        self.choose = choose

    def heal(self) -> None:
        """Let nothing fail any more."""
        self.choose = lambda method, path: None

    def count(self, method: str) -> int:
        """Return how many requests of this method there were."""
        return sum(asked == method for asked, _ in self.requests)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with self._kept(client), contextlib.suppress(OSError, _Closed):
            head, rest = _read_head(client)
            method, target = head.split(b" ", 2)[:2]
            path = unquote(target.decode())
            with self._lock:
                self.requests.append((method.decode(), path))
                fault = self.choose(method.decode(), path)
                if fault is not None:
                    self.faults.append(fault)
            server = socket.create_connection(("127.0.0.1", self._upstream_port), LONGEST_WAIT_S)
            with self._kept(server):
                self._send(client, server, head, rest, fault)
                self._answer(client, server, method, fault)

    def _send(
        self, client: socket.socket, server: socket.socket, head: bytes, rest: bytes, fault: Fault | None
    ) -> None:
        fields = _fields(head)
        if fields.get(b"expect", b"").lower() == b"100-continue":
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        server.sendall(_without(head, b"expect", b"connection") + b"Connection: close\r\n\r\n")
        left, sent = int(fields.get(b"content-length", b"0")), 0
        limit = fault.after_bytes if isinstance(fault, Cut | Stall) else None
        while sent < left and sent != limit:
            data = rest or client.recv(min(_CHUNK, left - sent))
            if not data:
                raise _Closed
            rest = b""
            if limit is not None:
                data = data[: limit - sent]
            if isinstance(fault, Corrupt):
                data = _turned(data, fault.at_byte - sent)
            server.sendall(data)
            sent += len(data)
        if isinstance(fault, Cut):
            _reset(client)
            _reset(server)
            raise _Closed
        if isinstance(fault, Stall):
            self._wait_for_end(client)
            raise _Closed

    def _answer(self, client: socket.socket, server: socket.socket, method: bytes, fault: Fault | None) -> None:
        head, rest = _read_head(server)
        if isinstance(fault, LoseReply | ReplaceReply):
            while server.recv(_CHUNK):
                pass
            if isinstance(fault, LoseReply):
                _reset(client)
            else:
                client.sendall(b"HTTP/1.1 %d Fault\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % fault.status)
            return
        client.sendall(_without(head, b"connection") + b"Connection: close\r\n\r\n")
        limit = fault.after_bytes if isinstance(fault, CutReply | StallReply) else None
        sent = 0
        while sent != limit and (data := rest or server.recv(_CHUNK)):
            rest = b""
            if limit is not None:
                data = data[: limit - sent]
            if isinstance(fault, CorruptReply):
                data = _turned(data, fault.at_byte - sent)
            client.sendall(data)
            sent += len(data)
        if isinstance(fault, CutReply) and fault.reset:
            _reset(client)
        if isinstance(fault, StallReply):
            self._wait_for_end(client)

    def _wait_for_end(self, client: socket.socket) -> None:
        """Take what still comes, until the client or the proxy closes."""
        client.settimeout(LONGEST_WAIT_S)
        while client.recv(_CHUNK):
            pass

    @contextlib.contextmanager
    def _kept(self, connection: socket.socket):
        """Close a connection in the end, or when the proxy closes."""
        connection.settimeout(LONGEST_WAIT_S)
        with self._lock:
            self._open.add(connection)
        if self._closing.is_set():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


def _read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    """Return the lines of a head, without the empty one, and what has come behind it; skip a `100 Continue`."""
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            more = connection.recv(_CHUNK)
            if not more:
                raise _Closed
            data += more
        head, _, data = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 100"):
            return head + b"\r\n", data


def _fields(head: bytes) -> dict[bytes, bytes]:
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    return {name.lower(): value.strip() for name, _, value in lines if name}


def _without(head: bytes, *names: bytes) -> bytes:
    first, *lines = head.split(b"\r\n")[:-1]
    kept = [line for line in lines if line.partition(b":")[0].lower() not in names]
    return b"".join(line + b"\r\n" for line in (first, *kept))


def _turned(data: bytes, index: int) -> bytes:
    if not 0 <= index < len(data):
        return data
    return data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
