"""Context reaches events from tasks and threads, and what is said at the call wins."""

import asyncio
import threading
from typing import Any

import pytest
import structlog

from structllm.processors.context import (
    BindContext,
    bind_context,
    bind_market,
    bind_session,
    current_context,
    drop_market,
    wrap_context,
)


def bound(event: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """Return the event after BindContext."""
    return dict(BindContext(**options)(None, "info", event if event is not None else {}))


class TestBindContext:
    def test_nothing_bound_changes_nothing(self) -> None:
        """Without context an event stays as it is."""
        assert bound({"event": "x"}) == {"event": "x"}

    def test_adds_free_fields(self) -> None:
        """Bound fields appear under their own names."""
        with bind_context(strategy="momentum"):
            assert bound({"event": "x"}) == {"event": "x", "strategy": "momentum"}

    def test_event_wins_over_context(self) -> None:
        """A field of the event is not overwritten by a bound one."""
        with bind_context(strategy="momentum"):
            assert bound({"strategy": "mean-reversion"}) == {"strategy": "mean-reversion"}

    def test_inner_wins_over_outer_and_ends(self) -> None:
        """Nested contexts add up, the inner one wins, and each ends with its block."""
        with bind_context(a=1, b=1):
            with bind_context(b=2):
                assert bound() == {"a": 1, "b": 2}
            assert bound() == {"a": 1, "b": 1}
        assert bound() == {}

    def test_context_ends_with_an_exception(self) -> None:
        """An exception in the block takes the context down with it."""
        with pytest.raises(ValueError, match="boom"), bind_context(a=1):
            raise ValueError("boom")
        assert current_context() == {}


class TestSession:
    def test_bound_session_replaces_the_loggers_own(self) -> None:
        """One logger is one session unless bound otherwise."""
        with bind_session("abc12345", trader="t1"):
            event = bound({"session_id": "own"}, default_session_id="own")
        assert event == {"session_id": "abc12345", "trader": "t1"}

    def test_session_given_at_the_call_stays(self) -> None:
        """A session id that is not the logger's own was chosen on purpose and stays."""
        with bind_session("abc12345"):
            assert bound({"session_id": "chosen"}, default_session_id="own") == {"session_id": "chosen"}


class TestMarket:
    def test_market_goes_to_requests(self) -> None:
        """A request gets the bound market state; what it says itself wins."""
        with bind_market(symbol="BTC-USD", rsi=62.5), bind_market(rsi=63.0):
            event = bound({"event_type": "completion_request", "market_context": {"symbol": "ETH-USD"}})
        assert event["market_context"] == {"symbol": "ETH-USD", "rsi": 63.0}

    def test_market_does_not_go_to_other_events(self) -> None:
        """Responses and decisions reach the market state through their request."""
        with bind_market(symbol="BTC-USD"):
            assert bound({"event_type": "completion_response"}) == {"event_type": "completion_response"}

    def test_market_goes_to_events_of_foreign_chains(self) -> None:
        """Events that are not ours carry everything that is bound."""
        with bind_market(symbol="BTC-USD"):
            assert bound({"event": "hello"}) == {"event": "hello", "market_context": {"symbol": "BTC-USD"}}

    def test_drop_market_removes_it(self) -> None:
        """With log_market_context=false no event keeps a market context, wherever it comes from."""
        assert drop_market(None, "info", {"a": 1, "market_context": {"rsi": 1}}) == {"a": 1}
        assert drop_market(None, "info", {"a": 1}) == {"a": 1}

    def test_market_that_is_no_mapping_is_replaced(self) -> None:
        """Binding a market state over something that is none does not raise."""
        with bind_context(market_context="closed"), bind_market(symbol="BTC-USD"):
            assert bound({"event": "x"})["market_context"] == {"symbol": "BTC-USD"}

    def test_callers_mapping_is_not_changed(self) -> None:
        """Merging builds a new mapping."""
        given = {"rsi": 1}
        with bind_market(symbol="BTC-USD"):
            bound({"event_type": "completion_request", "market_context": given})
        assert given == {"rsi": 1}


class TestStructlogContextvars:
    def test_are_ignored_by_default(self) -> None:
        """The host's structlog context is not read unless asked for."""
        with structlog.contextvars.bound_contextvars(host="a"):
            assert bound() == {}

    def test_arrive_when_asked_for(self) -> None:
        """As an option the host's structlog context arrives; ours wins."""
        with structlog.contextvars.bound_contextvars(host="a", b="theirs"), bind_context(b="ours"):
            assert bound(structlog_contextvars=True) == {"host": "a", "b": "ours"}


class TestPropagation:
    async def test_tasks_inherit_and_do_not_mix(self) -> None:
        """A task sees the context of where it was created, and what it binds stays its own."""

        async def work(name: str) -> dict[str, Any]:
            with bind_context(task=name):
                await asyncio.sleep(0)
                return bound()

        with bind_session("s1"):
            results = await asyncio.gather(*(work(str(number)) for number in range(20)))
            assert bound() == {"session_id": "s1"}
        assert results == [{"session_id": "s1", "task": str(number)} for number in range(20)]

    def test_bare_thread_needs_wrap_context(self) -> None:
        """A bare thread starts without context; wrap_context carries it over."""
        seen: dict[str, Any] = {}

        def work(name: str) -> None:
            seen[name] = bound()

        with bind_session("s1"):
            threads = [
                threading.Thread(target=work, args=("bare",)),
                threading.Thread(target=wrap_context(work), args=("wrapped",)),
            ]
        for thread in threads:
            thread.start()
            thread.join(timeout=10)
        assert seen == {"bare": {}, "wrapped": {"session_id": "s1"}}

    def test_wrapped_function_runs_in_many_threads_at_once(self) -> None:
        """One wrapped function may run in several threads at the same time, each with a context of its own."""
        barrier = threading.Barrier(4, timeout=10)
        seen: list[dict[str, Any]] = []

        def work(number: int) -> None:
            with bind_context(number=number):
                barrier.wait()
                seen.append(bound())

        with bind_session("s1"):
            wrapped = wrap_context(work)
        threads = [threading.Thread(target=wrapped, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=10)
        assert sorted(event["number"] for event in seen) == [0, 1, 2, 3]

    def test_wrapped_function_keeps_signature_and_result(self) -> None:
        """Wrapping changes neither name, arguments nor result."""

        def double(value: int) -> int:
            return value * 2

        assert (wrap_context(double)(21), wrap_context(double).__name__) == (42, "double")


class TestForeignChain:
    def test_works_in_a_structlog_chain(self) -> None:
        """The processor is a plain structlog processor."""
        capture = structlog.testing.CapturingLogger()
        log = structlog.wrap_logger(capture, processors=[BindContext(), structlog.processors.KeyValueRenderer()])
        with bind_context(strategy="momentum"):
            log.info("hello")
        assert capture.calls[0].args == ("event='hello' strategy='momentum'",)
