"""Watching an answer while the host reads it, at the one place where all ways to read it meet.

Streams, their helpers, raw and streaming responses all read the bytes of one HTTP response. This one object becomes one
of a subclass, until it is closed, that sees the bytes go by and the response being closed. The host gets the same bytes
and the same exceptions; nothing is read that the host does not read.
"""

import sys
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache, wraps
from typing import Any, Protocol, TypeVar, cast

from structllm.clients.bodies import BodyReader, EventReader

Hook = TypeVar("Hook", bound=Callable[..., None])

_CUT_SHORT = "the stream ended before the answer was complete"
_UNREADABLE = "the answer cannot be read"
_TAP = "_structllm_tap"


class Ending(Protocol):
    """The call that an answer belongs to."""

    def end(self, answer: object = None, **ending: Any) -> None:
        """Log how the call ended; a second ending is ignored."""
        ...

    def first_token(self) -> None:
        """Note that a token came."""
        ...

    def uncounted(self) -> None:
        """Note that a whole stream came without token counts."""
        ...

    def count_error(self, error: Exception) -> None:
        """Count a failure of ours."""
        ...


def _never_raises(hook: Hook) -> Hook:
    """Count what goes wrong: the host is in the middle of reading its answer."""

    @wraps(hook)
    def guarded(self: "Tap", *args: Any) -> None:
        if self.is_open:
            try:
                hook(self, *args)
            except Exception as error:
                self.call.count_error(error)

    return cast("Hook", guarded)


class Tap:
    """What the host has read of an answer so far, and how it ends.

    Args:
        call: The call, to be ended once.
        reader: Reads the bytes.

    Attributes:
        is_open: Whether the end is still to come.
        pulling: Whether the host waits for bytes right now. A response that is closed meanwhile came to its end or
            failed, which the bytes tell.
    """

    def __init__(self, call: Ending, reader: EventReader | BodyReader) -> None:
        self.call = call
        self.is_open = True
        self.pulling = False
        self._reader = reader
        self._forget: Callable[[], object] | None = None

    def watch(self, response: Any) -> None:
        """See what is read from this HTTP response, sync or async, of httpx or httpx2. It is not kept alive."""
        self._forget = weakref.finalize(response, self.lost).detach
        response.__dict__[_TAP] = self
        response.__class__ = _tapped(cast("Any", type(response)))

    def split(self, chunk: bytes) -> list[bytes]:
        """Return the chunk in the pieces that the host shall get."""
        try:
            return self._reader.split(chunk) if self.is_open else [chunk]
        except Exception as error:
            self.call.count_error(error)
            return [chunk]

    @_never_raises
    def saw(self, piece: bytes) -> None:
        """Take what the host gets next."""
        self._reader.feed(piece)
        if isinstance(self._reader, EventReader):
            if self._reader.answering.has_token:
                self.call.first_token()
            if self._reader.answering.is_complete:
                self._settle(None)

    @_never_raises
    def finished(self) -> None:
        """The host has read everything."""
        if isinstance(self._reader, BodyReader):
            answer, readable = self._reader.answer()
            self._end(answer, **({} if readable else {"error": _UNREADABLE, "error_type": "MalformedAnswer"}))
        elif not self._settle(None):
            self._end(error=_CUT_SHORT, error_type="IncompleteStream")

    @_never_raises
    def failed(self, error: BaseException) -> None:
        """The connection broke, or the host was cancelled while it waited."""
        self._end(error=error)

    @_never_raises
    def closing(self) -> None:
        """The host, or its client, closes the response."""
        error = sys.exc_info()[1]
        if not self.pulling and not self._settle(error):
            self._leave(error)

    @_never_raises
    def lost(self) -> None:
        """Nobody has the response any more."""
        if not self._settle(None):
            self._leave(None)

    def _settle(self, error: BaseException | None) -> bool:
        """End the call if the events so far say how; `error` is what the host is about to see."""
        if isinstance(self._reader, BodyReader):
            return False
        answering = self._reader.answering
        if answering.problem is not None or (self._reader.malformed and not answering.has_ended):
            if isinstance(error, Exception):
                self._end(error=error)
            else:
                self._end(error=answering.problem or _UNREADABLE, error_type="StreamError")
        elif answering.has_ended:
            self._end()
            if answering.usage() is None:
                self.call.uncounted()
        return not self.is_open

    def _leave(self, error: BaseException | None) -> None:
        if error is None or isinstance(error, Exception | GeneratorExit):
            self._end(success=False, outcome="abandoned")
        else:
            self._end(error=error)

    def _end(self, answer: object = None, **ending: Any) -> None:
        self.is_open = False
        if self._forget is not None:
            self._forget()
        if isinstance(self._reader, EventReader):
            answering = self._reader.answering
            answer, usage, length = answering.answer(), answering.usage(), answering.length
            if length is not None:
                ending["response_length"] = length
            if usage is not None and answering.has_ended and answer is not None:
                answer["usage"] = usage
            elif usage is not None:  # of what came until then: the whole is not known
                ending["partial_usage"] = usage
        self.call.end(answer, **ending)


class Pieces:
    """The bytes of a response, seen as the host takes them. An iterator and no generator: leaving it runs nothing."""

    def __init__(self, chunks: Iterator[bytes], tap: Tap, *, sizes_matter: bool) -> None:
        self._chunks = chunks
        self._tap = tap
        self._sizes_matter = sizes_matter
        self._waiting: deque[bytes] = deque()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._waiting:
            chunk = self._pull()
            self._waiting.extend([chunk] if self._sizes_matter else self._tap.split(chunk))
        piece = self._waiting.popleft()
        self._tap.saw(piece)
        return piece

    def close(self) -> None:
        """Close what is read from."""
        cast("Any", self._chunks).close()

    def _pull(self) -> bytes:
        self._tap.pulling = True
        try:
            return next(self._chunks)
        except StopIteration:
            self._tap.finished()
            raise
        except BaseException as error:
            self._tap.failed(error)
            raise
        finally:
            self._tap.pulling = False


class AsyncPieces:
    """The same for an async response."""

    def __init__(self, chunks: AsyncIterator[bytes], tap: Tap, *, sizes_matter: bool) -> None:
        self._chunks = chunks
        self._tap = tap
        self._sizes_matter = sizes_matter
        self._waiting: deque[bytes] = deque()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._waiting:
            chunk = await self._pull()
            self._waiting.extend([chunk] if self._sizes_matter else self._tap.split(chunk))
        piece = self._waiting.popleft()
        self._tap.saw(piece)
        return piece

    async def aclose(self) -> None:
        """Close what is read from."""
        await cast("Any", self._chunks).aclose()

    async def _pull(self) -> bytes:
        self._tap.pulling = True
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            self._tap.finished()
            raise
        except BaseException as error:
            self._tap.failed(error)
            raise
        finally:
            self._tap.pulling = False


@cache
def _tapped(kind: Any) -> Any:
    """Return a subclass of a class of HTTP responses, for one that is watched.

    Not two attributes on the object: they would hold it, or hold it weakly, and a response that the collector takes
    with its readers is closed by them after all weak references to it are gone.
    """

    def untap(response: Any) -> None:
        response.__class__ = kind
        response.__dict__.pop(_TAP).closing()

    def iter_bytes(self: Any, chunk_size: int | None = None) -> Pieces:
        return Pieces(kind.iter_bytes(self, chunk_size), self.__dict__[_TAP], sizes_matter=chunk_size is not None)

    def aiter_bytes(self: Any, chunk_size: int | None = None) -> AsyncPieces:
        return AsyncPieces(kind.aiter_bytes(self, chunk_size), self.__dict__[_TAP], sizes_matter=chunk_size is not None)

    def close(self: Any) -> None:
        untap(self)
        kind.close(self)

    async def aclose(self: Any) -> None:
        untap(self)
        await kind.aclose(self)

    methods = {"iter_bytes": iter_bytes, "aiter_bytes": aiter_bytes, "close": close, "aclose": aclose}
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind)(kind.__name__, (kind,), {**names, **methods})
