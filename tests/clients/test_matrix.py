"""Every way to ask through a wrapped client, and everything that may happen to the answer.

Each case runs twice, with a plain and with a wrapped client: what the host gets and what goes over the wire is equal.
"""

import asyncio
import gc
from typing import Any

import pytest

from structllm import MemorySink
from structllm.logger import ChatCompletionLogger
from tests.clients.serving import LONGEST_WAIT_S, TEXT, Wire
from tests.clients.ways import STREAMS, WAYS, Way, ask, ask_async, ending, named, new_client, new_logger, wrapped
from tests.waiting import comes_true

every_way = pytest.mark.parametrize("way", WAYS, ids=named)
every_stream = pytest.mark.parametrize("way", STREAMS, ids=named)
sync_and_async = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])

RETRIES = 2
COUNTS = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
HALF = '{"action":'
DEADLINE_S = 0.2


class Seen:
    """What a host saw of a call: the answer or the exception, and the requests on the wire."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.answer: Any = None
        self.error: BaseException | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seen) and self.told() == other.told()

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return repr(self.told())

    def told(self) -> tuple[Any, ...]:
        """What is compared."""
        error = None if self.error is None else (type(self.error), str(self.error))
        return type(self.answer), repr(self.answer), error, self.wire.requests, self.wire.headers


def called(
    way: Way, is_async: bool, replies: tuple[str, ...], logger: ChatCompletionLogger | None, **options: Any
) -> Seen:
    """Ask once with a client of its own; with a plain one where there is no logger."""
    with Wire(*replies) as wire:
        seen = Seen(wire)

        def new() -> Any:
            options.setdefault("max_retries", RETRIES)
            if logger is None:
                return new_client(way, wire, is_async=is_async, **options)
            return wrapped(way, wire, logger, is_async=is_async, **options)

        async def asking() -> Any:
            async with new() as client:
                return await asyncio.wait_for(ask_async(way, client), LONGEST_WAIT_S)

        try:
            if is_async:
                seen.answer = asyncio.run(asking())
            else:
                with new() as client:
                    seen.answer = ask(way, client)
        except Exception as error:
            seen.error = error
        return seen


def both(way: Way, is_async: bool, *replies: str, **options: Any) -> tuple[Seen, dict[str, Any]]:
    """Ask with a plain and with a wrapped client; return what both saw, and how the call was logged to end."""
    logger, sink = new_logger()
    expected = called(way, is_async, replies, None, **options)
    actual = called(way, is_async, replies, logger, **options)
    assert expected == actual
    return actual, settled(logger, sink)


def settled(logger: ChatCompletionLogger, sink: MemorySink) -> dict[str, Any]:
    """The one ending; nothing is pending, nothing of ours failed."""
    stats = logger.stats()
    assert (0, 0, {}) == (
        stats["requests"]["pending"],
        stats["requests"]["repeated_responses"],
        stats["processor_errors"],
    )
    return ending(sink)


def nothing_pending(logger: ChatCompletionLogger) -> bool:
    """Whether every call has ended, once what nobody has any more is collected."""
    gc.collect()
    return logger.stats()["requests"]["pending"] == 0


@every_way
@sync_and_async
class TestWhole:
    def test_ok(self, way: Way, is_async: bool) -> None:
        """An answer is logged with its text, token counts, cost and reason, and reaches the host as ever."""
        seen, event = both(way, is_async, "ok")
        assert seen.error is None
        assert ("ok", True, 1, "req-of-the-wire") == tuple(
            event[name] for name in ("outcome", "success", "attempts", "provider_request_id")
        )
        assert (TEXT if way.text else "[1 embedding]") == event["response_preview"]
        assert (COUNTS["total_tokens"] if way.text else 11) == event["token_usage"]["total_tokens"]
        assert not way.text or event["cost_estimate_usd"] > 0
        assert way.streamed == ("time_to_first_token_ms" in event)

    def test_refused(self, way: Way, is_async: bool) -> None:
        """A refused call ends as the error that the host gets."""
        seen, event = both(way, is_async, "401")
        assert "AuthenticationError" == type(seen.error).__name__ == event["error_type"]
        assert ("error", False, 1, None) == (
            event["outcome"],
            event["success"],
            event["attempts"],
            event["token_usage"],
        )

    def test_retried(self, way: Way, is_async: bool) -> None:
        """What the client tries again by itself is one call of two attempts."""
        seen, event = both(way, is_async, "429", "ok")
        assert seen.error is None
        assert ("ok", 2, 2) == (event["outcome"], event["attempts"], len(seen.wire.requests))

    def test_given_up(self, way: Way, is_async: bool) -> None:
        """A call that fails in every attempt is one call, with the number of attempts."""
        seen, event = both(way, is_async, "500")
        assert "InternalServerError" == type(seen.error).__name__ == event["error_type"]
        assert ("error", RETRIES + 1, RETRIES + 1) == (event["outcome"], event["attempts"], len(seen.wire.requests))

    def test_malformed(self, way: Way, is_async: bool) -> None:
        """An answer that cannot be read is an error, for whoever reads it as JSON and in the log."""
        seen, event = both(way, is_async, "malformed")
        assert (way.read == "lines") == (seen.error is None)
        assert ("error", False, None) == (event["outcome"], event["success"], event["token_usage"])

    def test_cut(self, way: Way, is_async: bool) -> None:
        """An answer whose connection breaks is an error; what came of a stream is kept."""
        seen, event = both(way, is_async, "cut", max_retries=0)
        assert seen.error is not None
        assert ("error", False, None) == (event["outcome"], event["success"], event["token_usage"])
        assert (HALF if way.streamed else None) == event["response_preview"]

    def test_times_out(self, way: Way, is_async: bool) -> None:
        """An answer that stops half way ends, where the host set a timeout, as an error."""
        seen, event = both(way, is_async, "stall", timeout=DEADLINE_S, max_retries=0)
        assert seen.error is not None
        assert ("error", False, None) == (event["outcome"], event["success"], event["token_usage"])


@every_way
class TestCancelled:
    async def test_task(self, way: Way) -> None:
        """A call whose task is cancelled while it waits is logged as cancelled, with what came of it."""
        logger, sink = new_logger()
        with Wire("stall") as wire:
            async with wrapped(way, wire, logger, is_async=True, max_retries=0) as client:
                items: list[Any] = []
                task = asyncio.create_task(ask_async(way, client, items))
                assert await asyncio.to_thread(wire.stalled.wait, LONGEST_WAIT_S)
                if way.streamed:
                    assert await asyncio.to_thread(comes_true, lambda: "action" in repr(items))
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.wait_for(task, LONGEST_WAIT_S)
        event = settled(logger, sink)
        assert ("cancelled", False, None) == (event["outcome"], event["success"], event["token_usage"])
        assert (HALF if way.streamed else None) == event["response_preview"]

    async def test_deadline(self, way: Way) -> None:
        """A call that runs into the host's deadline is logged as cancelled, and the host gets its TimeoutError."""
        logger, sink = new_logger()
        with Wire("stall") as wire:
            async with wrapped(way, wire, logger, is_async=True, max_retries=0) as client:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(DEADLINE_S):
                        await ask_async(way, client)
        assert "cancelled" == settled(logger, sink)["outcome"]


ITERABLE = [way for way in STREAMS if way.read == "stream"]


@pytest.mark.parametrize("way", ITERABLE, ids=named)
class TestLeft:
    def test_closed(self, way: Way) -> None:
        """A stream that the host closes early is logged as abandoned, with what the host had read."""
        logger, sink = new_logger()
        with Wire() as wire, wrapped(way, wire, logger, is_async=False) as client, way.make(client) as stream:
            for item in stream:
                if "action" in repr(item):
                    break
        event = settled(logger, sink)
        assert ("abandoned", False, None) == (event["outcome"], event["success"], event["token_usage"])
        assert HALF == event["response_preview"]

    async def test_closed_async(self, way: Way) -> None:
        """The same for an async stream."""
        logger, sink = new_logger()
        with Wire() as wire:
            async with wrapped(way, wire, logger, is_async=True) as client:
                made = way.make(client)
                async with made if hasattr(made, "__aenter__") else await made as stream:
                    async for item in stream:
                        if "action" in repr(item):
                            break
        event = settled(logger, sink)
        assert ("abandoned", HALF) == (event["outcome"], event["response_preview"])

    def test_dropped(self, way: Way) -> None:
        """A stream that the host drops without closing it is logged as abandoned when it is collected."""
        logger, sink = new_logger()
        with Wire() as wire, wrapped(way, wire, logger, is_async=False) as client:
            made = way.make(client)
            stream = iter(made if hasattr(made, "__iter__") else made.__enter__())
            next(stream)
            del stream, made
            assert comes_true(lambda: nothing_pending(logger))
        assert "abandoned" == settled(logger, sink)["outcome"]

    def test_never_read(self, way: Way) -> None:
        """A stream of which nothing was read is logged as abandoned when it is collected."""
        logger, sink = new_logger()
        with Wire() as wire, wrapped(way, wire, logger, is_async=False) as client:
            made = way.make(client)
            stream = made if hasattr(made, "__iter__") else made.__enter__()
            assert 1 == logger.stats()["requests"]["pending"]
            del stream, made
            assert comes_true(lambda: nothing_pending(logger))
        assert "abandoned" == settled(logger, sink)["outcome"]

    def test_failing(self, way: Way) -> None:
        """A stream in which the server says that it failed is an error, with what came before."""
        seen, event = both(way, False, "failing")
        assert seen.error is not None
        assert (type(seen.error).__name__, HALF) == (event["error_type"], event["response_preview"])
        assert ("error", False, None) == (event["outcome"], event["success"], event["token_usage"])
