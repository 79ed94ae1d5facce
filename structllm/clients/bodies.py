"""Reading the body of an answer while the host reads it: whole JSON, or the events of a stream.

A reader is fed the bytes that the host is about to get, and tells at any time what they say so far.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, cast

import orjson

MAX_BODY_BYTES = 16 * 1024 * 1024
"""Largest body or single event that is kept to be read; of larger ones no text and no token counts are known."""

_EVENT_END = re.compile(rb"\r?\n\r?\n")


class Answering(Protocol):
    """An answer that is being streamed, in the dialect of one provider.

    Attributes:
        has_token: Whether something of the answer itself has come.
        has_ended: Whether the model said why it stopped: nothing of the answer is missing.
        is_complete: Whether nothing more will come.
        problem: What the server says went wrong.
    """

    has_token: bool
    has_ended: bool
    is_complete: bool
    problem: str | None

    @property
    def length(self) -> int | None:
        """Characters of the text where the answer holds only the beginning of it."""
        ...

    def add(self, event: Mapping[str, Any]) -> None:
        """Take the next event of the stream."""
        ...

    def done(self) -> None:
        """Take the mark that ends a stream of OpenAI's."""
        ...

    def answer(self) -> dict[str, Any] | None:
        """Return the answer so far as the provider would have sent it whole, or None where nothing came."""
        ...

    def usage(self) -> Mapping[str, Any] | None:
        """Return the newest token counts."""
        ...


class EventReader:
    """Reads a stream of server-sent events.

    Args:
        answering: What takes the events.

    Attributes:
        malformed: Whether an event was no JSON, at which the client raises.
    """

    def __init__(self, answering: Answering) -> None:
        self.answering = answering
        self.malformed = False
        self._line: list[bytes] = []
        self._line_bytes = 0
        self._data: list[bytes] = []

    def split(self, chunk: bytes) -> list[bytes]:
        """Return the chunk cut behind each event, so that the host gets, and we count, one event at a time: whoever
        leaves a stream after three of them has seen three, however they came over the network."""
        ends = [match.end() for match in _EVENT_END.finditer(chunk)]
        if not ends or ends == [len(chunk)]:
            return [chunk]
        starts = [0, *ends]
        pieces = [chunk[start:end] for start, end in zip(starts, [*ends, len(chunk)], strict=True)]
        return pieces if pieces[-1] else pieces[:-1]

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        for line in self._lines(piece):
            if line:
                if line.startswith(b"data:"):
                    self._data.append(line[5:].removeprefix(b" "))
            elif self._data:
                data, self._data = b"\n".join(self._data), []
                self._event(data)

    def _lines(self, piece: bytes) -> Iterator[bytes]:
        *ended, rest = piece.split(b"\n")
        for line in ended:
            self._line.append(line)
            yield b"".join(self._line).rstrip(b"\r")
            self._line, self._line_bytes = [], 0
        self._line_bytes += len(rest)
        if self._line_bytes <= MAX_BODY_BYTES:
            self._line.append(rest)
        else:
            self._line = []

    def _event(self, data: bytes) -> None:
        if data.startswith(b"[DONE]"):
            self.answering.done()
            return
        event = parsed(data)
        if isinstance(event, dict):
            self.answering.add(cast("dict[str, Any]", event))
        elif event is None:
            self.malformed = True


class BodyReader:
    """Reads an answer that comes whole, while the host reads it piece by piece.

    Args:
        is_json: Whether it can be read at all; of other formats (such as AWS's binary events) nothing is known.
    """

    def __init__(self, *, is_json: bool = True) -> None:
        self._is_json = is_json
        self._parts: list[bytes] = []
        self._bytes = 0

    def split(self, chunk: bytes) -> list[bytes]:
        """Return the chunk as it is."""
        return [chunk]

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._bytes += len(piece)
        if self._is_json and self._bytes <= MAX_BODY_BYTES:
            self._parts.append(piece)
        else:
            self._parts.clear()

    def answer(self) -> tuple[dict[str, Any] | None, bool]:
        """Return the answer, and whether it is sound, as one counts that is not known."""
        is_known = self._is_json and self._bytes <= MAX_BODY_BYTES
        return read_body(b"".join(self._parts)) if is_known else (None, True)


def read_body(content: bytes) -> tuple[dict[str, Any] | None, bool]:
    """Return the answer in a body, and whether it is sound, as one counts that is too large to be looked at."""
    if len(content) > MAX_BODY_BYTES:
        return None, True
    body = parsed(content)
    return (cast("dict[str, Any]", body), True) if isinstance(body, dict) else (None, False)


def parsed(data: bytes) -> object:
    """Return what JSON says, or None where it is none."""
    try:
        return orjson.loads(data)
    except ValueError:
        pass
    try:
        return json.loads(data)  # takes NaN, and so do the clients
    except (ValueError, RecursionError):
        return None
