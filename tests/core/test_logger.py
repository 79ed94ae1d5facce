"""The logger's methods: what each writes, and that none disturbs its caller."""

import asyncio
import secrets
import threading
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from structllm import ConfigError, LLMSettings, bind_market, bind_session, create_llm_logger
from structllm.logger import ChatCompletionLogger
from structllm.sinks.config import SinkConfig
from structllm.sinks.memory import MemorySink, MemorySinkConfig
from structllm.testing import FrozenClock

USAGE = {"prompt_tokens": 150, "completion_tokens": 75}


def build(sink: MemorySink | None = None, **settings: Any) -> tuple[ChatCompletionLogger, MemorySink, FrozenClock]:
    """Return a logger over a memory sink, the sink, and its clock."""
    memory, time = sink or MemorySink(), FrozenClock()
    logger = create_llm_logger(settings=LLMSettings(sinks=[memory], **settings), session_id="abc12345", clock=time)
    return logger, memory, time


def kinds(sink: MemorySink) -> list[str]:
    """Return the event types written."""
    return [event["event_type"] for event in sink.events]


class TestRequest:
    def test_writes_what_it_is_given(self) -> None:
        """A request carries model, parameters, prompt and market context; other fields under their own names."""
        logger, sink, _ = build()
        request_id = logger.log_completion_request(
            "Should I buy?", "o3-mini", 0.1, 1000, {"symbol": "BTC-USD"}, provider="openai", strategy="momentum"
        )
        event = sink.events[0]
        assert request_id.startswith("req_")
        assert {name: event[name] for name in list(event)[7:]} == {
            "request_id": request_id,
            "completion_number": 1,
            "model": "o3-mini",
            "temperature": 0.1,
            "max_tokens": 1000,
            "prompt_length": 13,
            "prompt_preview": "Should I buy?",
            "market_context": {"symbol": "BTC-USD"},
            "provider": "openai",
            "strategy": "momentum",
            "prompt_truncated": False,
        }

    def test_takes_the_callers_id(self) -> None:
        """request_id= is used as it is."""
        logger, sink, _ = build()
        assert logger.log_completion_request("?", "m", request_id="mine") == "mine"
        assert sink.events[0]["request_id"] == "mine"

    def test_cuts_the_prompt_and_keeps_its_length(self) -> None:
        """Only the preview is written; the length is that of the whole prompt."""
        logger, sink, _ = build(log_prompt_preview_length=10)
        logger.log_completion_request("x" * 200_000, "m")
        event = sink.events[0]
        assert (event["prompt_preview"], event["prompt_length"], event["prompt_truncated"]) == ("x" * 10, 200_000, True)

    def test_takes_messages(self) -> None:
        """A list of messages is counted and shown."""
        logger, sink, _ = build()
        logger.log_completion_request(
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], "m"
        )
        event = sink.events[0]
        assert event["message_count"] == 2
        assert "Be brief." in event["prompt_preview"]

    def test_numbers_completions_across_bound_children(self) -> None:
        """completion_number counts per logger, its bound children included."""
        logger, sink, _ = build()
        logger.log_completion_request("?", "m")
        logger.bind(a=1).log_completion_request("?", "m")
        assert [event["completion_number"] for event in sink.events] == [1, 2]

    def test_gets_the_bound_market(self) -> None:
        """bind_market reaches the request; log_market_context=false keeps it out."""
        for setting, expected in ((True, {"symbol": "BTC-USD"}), (False, None)):
            logger, sink, _ = build(log_market_context=setting)
            with bind_market(symbol="BTC-USD"):
                logger.log_completion_request("?", "m")
            assert sink.events[0].get("market_context") == expected
            logger.log_trading_decision(sink.events[0]["request_id"], "LONG")
            assert sink.events[1]["symbol"] == (expected or {}).get("symbol")

    def test_secret_is_redacted_before_the_cut(self) -> None:
        """A key across the cut leaves no part of itself."""
        logger, sink, _ = build(log_prompt_preview_length=20)
        key = "sk-" + "proj-" + secrets.token_urlsafe(48)
        logger.log_completion_request("the key is " + key, "m")
        assert sink.events[0]["prompt_preview"].startswith("the key is [REDACTED:")
        assert key[:6] not in sink.records[0].line.decode()
        assert sink.events[0]["redactions"]["count"] == 1
        assert logger.stats()["redactions"] == {"openai-key": 1}


class TestResponse:
    def test_measures_time_and_prices_tokens(self) -> None:
        """The response time is measured from the request, and the tokens are priced."""
        logger, sink, time = build()
        request_id = logger.log_completion_request("?", "o3-mini")
        time.advance(1.767)
        logger.log_completion_response(request_id, "LONG", token_usage=USAGE)
        event = sink.events[1]
        assert (event["request_id"], event["success"], event["outcome"]) == (request_id, True, "ok")
        assert (event["response_time_ms"], event["response_preview"], event["response_length"]) == (1767, "LONG", 4)
        assert event["token_usage"] == {"prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225}
        assert (event["cost_estimate_usd"], event["cost_status"], event["model"]) == (0.000495, "ok", "o3-mini")

    def test_an_error_is_a_failed_response(self) -> None:
        """An exception gives success=false at ERROR with its class and text."""
        logger, sink, _ = build()
        request_id = logger.log_completion_request("?", "o3-mini")
        logger.log_completion_response(request_id, error=TimeoutError("no answer"))
        event = sink.events[1]
        assert (event["level"], event["success"], event["outcome"]) == ("ERROR", False, "error")
        assert (event["error_type"], event["error_message"]) == ("TimeoutError", "no answer")
        assert (event["cost_estimate_usd"], event["cost_status"]) == (None, "no_usage")

    def test_an_error_without_a_text_is_no_trouble(self) -> None:
        """An exception whose text cannot be had is logged by its class."""

        class Unspeakable(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        logger, sink, _ = build()
        logger.log_completion_response("r1", error=Unspeakable())
        assert (sink.events[0]["error_type"], sink.events[0]["error_message"]) == ("Unspeakable", "")

    def test_second_ending_is_refused_and_counted(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A request has one response event, however often it is ended."""
        logger, sink, _ = build()
        request_id = logger.log_completion_request("?", "o3-mini")
        for _ in range(3):
            logger.log_completion_response(request_id, "LONG")
        assert kinds(sink) == ["completion_request", "completion_response"]
        assert logger.stats()["requests"] == {"pending": 0, "forgotten": 0, "repeated_responses": 2}
        assert "ended twice" in capsys.readouterr().err

    def test_imported_events_keep_their_own_times(self) -> None:
        """Both events keep the time they are given, and the response time is the difference."""
        logger, sink, _ = build()
        request_id = logger.log_completion_request("?", "o3", timestamp="2025-06-09T12:00:00Z")
        moment = datetime(2025, 6, 9, 12, 0, 2, tzinfo=UTC)
        logger.log_completion_response(request_id, "LONG", token_usage=USAGE, timestamp=moment)
        assert [event["timestamp"] for event in sink.events] == ["2025-06-09T12:00:00.000Z", "2025-06-09T12:00:02.000Z"]
        assert sink.events[1]["response_time_ms"] == 2000

    @pytest.mark.parametrize("timestamp", ["yesterday", "2025-06-09T12:00:00", datetime(2025, 6, 9), 12])
    def test_a_time_without_zone_is_not_guessed(self, timestamp: Any) -> None:
        """What is no point in time is replaced by now."""
        logger, sink, _ = build()
        logger.log_completion_request("?", "m", timestamp=timestamp)
        assert sink.events[0]["timestamp"] == "2026-01-15T10:30:45.000Z"

    @pytest.mark.parametrize("response_time", ["1.5", float("nan"), float("inf"), 10**400, True, [1.5], None])
    def test_a_response_time_that_is_none_is_measured(self, response_time: Any) -> None:
        """A response time that is no number of seconds does not cost the event; the time is measured instead."""
        logger, sink, time = build()
        request_id = logger.log_completion_request("?", "m")
        time.advance(2)
        logger.log_completion_response(request_id, "LONG", response_time)
        assert sink.events[1]["response_time_ms"] == 2000

    def test_tier_asked_for_feeds_the_price_unless_the_answer_names_its_own(self) -> None:
        """service_tier of the request reaches the response; the tier that served wins."""
        logger, sink, _ = build()
        for served in ({}, {"service_tier": "flex"}):
            request_id = logger.log_completion_request("?", "m", service_tier="priority")
            logger.log_completion_response(request_id, "LONG", **served)
        responses = [event for event in sink.events if event["event_type"] == "completion_response"]
        assert [event["service_tier"] for event in responses] == ["priority", "flex"]

    @pytest.mark.parametrize(("given", "kept"), [(17, "17"), ([1], "odd-"), (None, "null"), ("\x1b[2J", "odd-")])
    def test_an_id_of_another_kind_does_not_cost_the_event(self, given: Any, kept: str) -> None:
        """An id that is no printable text is written as one that joins, and the response is counted."""
        logger, sink, _ = build()
        logger.log_completion_response(given, "LONG")
        assert sink.events[0]["request_id"].startswith(kept)
        assert logger.get_metrics()["total_completions"] == 1

    def test_success_and_time_that_cannot_be_read_do_not_cost_the_event(self) -> None:
        """A success that has no truth value (an array) and a time that raises leave a response all the same."""

        class Array:
            def __bool__(self) -> bool:
                raise ValueError

        class Zone(tzinfo):
            def utcoffset(self, moment: datetime | None, /) -> timedelta | None:
                raise RuntimeError

        logger, sink, _ = build()
        success: Any = Array()
        logger.log_completion_response("r1", "LONG", success=success, timestamp=datetime(2026, 1, 1, tzinfo=Zone()))
        assert sink.events[0]["success"] is True

    def test_without_token_tracking_there_are_no_tokens_and_no_cost(self) -> None:
        """enable_token_usage_tracking=false leaves both out of events and totals."""
        logger, sink, _ = build(enable_token_usage_tracking=False)
        request_id = logger.log_completion_request("?", "o3-mini")
        logger.log_completion_response(request_id, "LONG", token_usage=USAGE)
        assert {"token_usage", "cost_estimate_usd", "cost_status", "raw_usage"}.isdisjoint(sink.events[1])
        metrics = logger.get_metrics()
        assert (metrics["total_completions"], metrics["total_tokens"], metrics["total_cost_estimate_usd"]) == (
            1,
            0,
            0.0,
        )


class TestDecision:
    def test_is_tied_to_its_completion(self) -> None:
        """A decision names its request, takes symbol and price from its market, and says what it cost."""
        logger, sink, _ = build()
        market = {"symbol": "BTC-USD", "current_price": 45230.5}
        request_id = logger.log_completion_request("?", "o3-mini", market_context=market)
        logger.log_completion_response(request_id, "LONG", token_usage=USAGE)
        decision_id = logger.log_trading_decision(request_id, "LONG", 15.0, "Bullish", indicators={"rsi": 62.5})
        event = sink.events[2]
        assert decision_id.startswith("dec_")
        assert {name: event[name] for name in list(event)[7:]} == {
            "request_id": request_id,
            "action": "LONG",
            "size_pct": 15.0,
            "rationale": "Bullish",
            "symbol": "BTC-USD",
            "current_price": 45230.5,
            "validation_result": None,
            "risk_assessment": None,
            "indicators": {"rsi": 62.5},
            "decision_id": decision_id,
            "caused_by": [request_id],
            "cost_usd": 0.000495,
            "unpriced_calls": 0,
        }

    def test_cost_is_null_when_one_call_is_not_priced(self) -> None:
        """A sum with an unknown part is unknown, and says how many parts."""
        logger, sink, _ = build()
        requests = []
        for model in ("o3-mini", "no-such-model"):
            requests.append(logger.log_completion_request("?", model))
            logger.log_completion_response(requests[-1], "LONG", token_usage=USAGE)
        logger.log_trading_decision(requests[0], "LONG", caused_by=requests)
        event = sink.events[-1]
        assert (event["caused_by"], event["cost_usd"], event["unpriced_calls"]) == (requests, None, 1)

    def test_cost_of_several_calls_is_exact(self) -> None:
        """Costs are added without rounding errors."""
        logger, sink, _ = build()
        requests = []
        for _ in range(3):
            requests.append(logger.log_completion_request("?", "o3-mini"))
            logger.log_completion_response(requests[-1], "LONG", token_usage=USAGE)
        logger.log_trading_decision(requests[0], "LONG", caused_by=requests)
        assert sink.events[-1]["cost_usd"] == 0.001485

    @pytest.mark.parametrize(
        ("given", "kept"), [(5, ["r1", "5"]), ("r2", ["r1", "r2"]), (iter(["r1", "r3"]), ["r1", "r3"])]
    )
    def test_causes_of_any_shape(self, given: Any, kept: list[str]) -> None:
        """caused_by may be one id or any number of them; a wrong type does not cost the decision."""
        logger, sink, _ = build()
        logger.log_trading_decision("r1", "LONG", caused_by=given)
        assert sink.events[0]["caused_by"] == kept

    def test_an_action_that_is_not_given_is_not_invented(self) -> None:
        """A decision without an action says so."""
        logger, sink, _ = build()
        logger.log_trading_decision()
        assert sink.events[0]["action"] == "UNKNOWN"

    def test_outcome_names_its_decision(self) -> None:
        """What became of a decision is an event of its own."""
        logger, sink, _ = build()
        decision_id = logger.log_trading_decision(action="LONG")
        logger.log_decision_outcome(decision_id, kind="fill", value={"price": 45231.0}, idempotency_key="order-17")
        event = sink.events[1]
        assert (event["event_type"], event["decision_id"], event["kind"]) == ("decision_outcome", decision_id, "fill")
        assert (event["value"], event["idempotency_key"]) == ({"price": 45231.0}, "order-17")


class TestMetrics:
    def test_come_every_interval(self) -> None:
        """performance_metrics are written after every performance_log_interval completions."""
        logger, sink, _ = build(performance_log_interval=2)
        for _ in range(5):
            logger.log_completion_response(logger.log_completion_request("?", "o3-mini"), "LONG", 1.0, USAGE)
        totals = [e["total_completions"] for e in sink.events if e["event_type"] == "performance_metrics"]
        assert totals == [2, 4]

    def test_can_be_turned_off_and_still_answer(self) -> None:
        """enable_performance_tracking=false writes none by itself; asking for them still works."""
        logger, sink, _ = build(performance_log_interval=1, enable_performance_tracking=False)
        logger.log_completion_response(logger.log_completion_request("?", "o3-mini"), "LONG", 1.0, USAGE)
        assert "performance_metrics" not in kinds(sink)
        metrics = logger.log_performance_metrics()
        assert metrics["total_cost_estimate_usd"] == 0.000495
        written = sink.events[-1]
        assert {name: written[name] for name in metrics} == metrics

    def test_count_what_sinks_dropped(self) -> None:
        """Drops of sinks are in the metrics by sink and reason."""

        class Full(MemorySink):
            def write(self, batch: Any, /) -> None:
                raise RuntimeError

        logger, _, _ = build(Full())
        logger.log_completion_request("?", "m")
        assert logger.get_metrics()["dropped"] == {"Full:sink_bug:RuntimeError": 1}

    def test_count_redactions_by_rule(self) -> None:
        """What was redacted is in the metrics by rule, and a rule that is named like a secret keeps its number."""
        logger, sink, _ = build()
        logger.log_completion_request("the key is " + "sk-" + "proj-" + secrets.token_urlsafe(48), "m", api_key="x")
        begun = "-----BEGIN " + "PRIVATE KEY-----\n"
        logger.log_completion_request(begun + secrets.token_urlsafe(48), "m")
        logger.log_performance_metrics()
        expected = {"openai-key": 1, "key-name": 1, "private-key-block": 1}
        assert expected == sink.events[-1]["redactions_by_rule"]

    def test_count_responses_that_no_sink_takes(self) -> None:
        """A level that keeps completions out of the files does not keep them out of the metrics."""
        logger, sink, _ = build(completion_log_level="ERROR")
        logger.log_completion_response(logger.log_completion_request("?", "o3-mini"), "LONG", 1.0, USAGE)
        assert (kinds(sink), logger.get_metrics()["total_completions"]) == ([], 1)


class TestLevels:
    def test_request_and_response_pass_together(self) -> None:
        """At ERROR a failed call leaves its request and its response, a good one neither; seq has no gap."""
        logger, sink, _ = build(completion_log_level="ERROR")
        good = logger.log_completion_request("good", "m")
        bad = logger.log_completion_request("bad", "m")
        logger.log_completion_response(good, "fine")
        logger.log_completion_response(bad, error="boom")
        assert [(event["event_type"], event["request_id"], event["seq"]) for event in sink.events] == [
            ("completion_request", bad, 1),
            ("completion_response", bad, 2),
        ]

    def test_a_sink_with_a_level_gets_the_request_of_a_failure_too(self) -> None:
        """A sink at ERROR gets both events of a failed call, with the same writer and seq as every other sink."""
        logger = create_llm_logger(
            settings=LLMSettings(sinks=[MemorySinkConfig(name="all"), MemorySinkConfig(name="errors", level="ERROR")])
        )
        sinks: dict[str, Any] = {route.name: route.sink for route in logger._log.emitter.fan_out.routes}
        for error in (None, "boom"):
            logger.log_completion_response(logger.log_completion_request("?", "m"), error=error)
        everything, errors = sinks["all"].events, sinks["errors"].events
        assert [event["seq"] for event in everything] == [1, 2, 3, 4]
        assert errors == everything[2:]

    def test_runs_are_debug(self) -> None:
        """Steps of chains appear at DEBUG only."""
        for level, expected in (("INFO", []), ("DEBUG", ["run"])):
            logger, sink, _ = build(completion_log_level=level)
            logger.log_run(kind="chain", name="c", run_id="r1", duration_ms=1.5, tags=["a"], error_type=None)
            assert kinds(sink) == expected


class TestBinding:
    def test_child_adds_context_and_parent_stays(self) -> None:
        """bind returns another logger; both share sinks, requests and metrics."""
        logger, sink, _ = build()
        child = logger.bind(strategy="momentum")
        request_id = child.log_completion_request("?", "m")
        logger.log_completion_response(request_id, "LONG")
        assert [event.get("strategy") for event in sink.events] == ["momentum", None]
        assert logger.get_metrics() == child.get_metrics()

    def test_market_bound_to_a_logger(self) -> None:
        """bind(market_context=…) is merged into requests, gives decisions their symbol, and goes nowhere else."""
        logger, sink, _ = build()
        child = logger.bind(market_context={"symbol": "BTC-USD", "current_price": 1.5})
        request_id = child.log_completion_request("?", "m", market_context={"rsi": 62.5})
        child.log_completion_response(request_id, "LONG")
        child.log_trading_decision(request_id, "LONG")
        request, response, decision = sink.events
        assert request["market_context"] == {"symbol": "BTC-USD", "current_price": 1.5, "rsi": 62.5}
        assert (decision["symbol"], decision["current_price"]) == ("BTC-USD", 1.5)
        assert "market_context" not in {**response, **decision}

    def test_session_of_a_context_wins_over_the_loggers_own(self) -> None:
        """bind_session changes the session inside its block; a session bound to a logger is stronger."""
        logger, sink, _ = build()
        with bind_session("other"):
            logger.log_run(kind="chain", name=None, run_id="1")
            logger.log_trading_decision()
            logger.bind(session_id="bound").log_trading_decision()
        logger.log_trading_decision()
        assert [event["session_id"] for event in sink.events] == ["other", "bound", "abc12345"]


class TestCompletionBlock:
    def test_answer_ends_it(self) -> None:
        """call.response logs the one ending and hands the answer back."""
        logger, sink, _ = build()
        with logger.completion(prompt="?", model="o3-mini", market_context={"symbol": "BTC-USD"}) as call:
            answer = call.response("LONG", token_usage=USAGE)
            call.response("again")
        assert (answer, kinds(sink)) == ("LONG", ["completion_request", "completion_response"])
        assert (sink.events[1]["request_id"], sink.events[1]["success"]) == (call.request_id, True)
        assert logger.stats()["requests"]["repeated_responses"] == 0

    @pytest.mark.parametrize(
        ("error", "outcome"),
        [
            (ValueError("boom"), "error"),
            (KeyboardInterrupt(), "cancelled"),
            (asyncio.CancelledError(), "cancelled"),
            (SystemExit(1), "error"),
        ],
    )
    def test_exception_ends_it_and_goes_on(self, error: BaseException, outcome: str) -> None:
        """Whatever leaves the block ends the request, and reaches the caller."""
        logger, sink, _ = build()
        with pytest.raises(type(error)), logger.completion(prompt="?", model="m"):
            raise error
        event = sink.events[1]
        assert (event["success"], event["outcome"], event["error_type"]) == (False, outcome, type(error).__name__)

    def test_leaving_without_an_answer_is_abandoned(self) -> None:
        """A block that gives no answer leaves no request open."""
        logger, sink, _ = build()
        with logger.completion(prompt="?", model="m"):
            pass
        assert (sink.events[1]["success"], sink.events[1]["outcome"]) == (False, "abandoned")

    def test_error_can_be_given(self) -> None:
        """call.error ends the request without an exception."""
        logger, sink, _ = build()
        with logger.completion(prompt="?", model="m") as call:
            call.error("refused")
        assert (sink.events[1]["outcome"], sink.events[1]["error_message"]) == ("error", "refused")

    async def test_async_block_and_cancellation(self) -> None:
        """`async with` works alike; a cancelled task ends its request as cancelled."""
        logger, sink, _ = build()
        started = asyncio.Event()

        async def work() -> None:
            async with logger.completion(prompt="?", model="m"):
                started.set()
                await asyncio.sleep(30)

        task = asyncio.create_task(work())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sink.events[1]["outcome"] == "cancelled"


class Hostile:
    """An object that raises on everything that can be asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("hostile")


class TestNeverDisturbs:
    def test_hostile_arguments_do_not_raise(self) -> None:
        """Whatever is passed, every method returns, and every call leaves an event or a counted error."""
        logger, sink, _ = build()
        thing: Any = Hostile()
        request_id = logger.log_completion_request(thing, thing, thing, thing, thing, provider=thing, x=thing)
        logger.log_completion_response(request_id, thing, thing, thing, thing, x=thing)
        logger.log_trading_decision(thing, thing, thing, thing, thing, thing, thing, thing, thing, caused_by=thing)
        logger.log_decision_outcome(thing, thing, thing, thing)
        logger.log_run(kind=thing, name=thing, run_id=thing)
        failures = sum(logger.stats()["processor_errors"].values())
        assert len(sink.events) + failures >= 4

    def test_callers_objects_are_not_changed(self) -> None:
        """What the caller passes in is the same afterwards."""
        logger, _, _ = build()
        market = {"symbol": "BTC-USD", "levels": [1, 2], "api_key": "hunter2hunter2"}
        messages = [{"role": "user", "content": "my password is hunter2"}]
        logger.log_completion_request(messages, "m", market_context=market, notes=messages)
        assert market == {"symbol": "BTC-USD", "levels": [1, 2], "api_key": "hunter2hunter2"}
        assert messages == [{"role": "user", "content": "my password is hunter2"}]

    def test_threads_lose_and_repeat_nothing(self) -> None:
        """Threads log at once: every seq once, every request one response, metrics add up."""
        logger, sink, _ = build(MemorySink(max_records=100_000))

        def work() -> None:
            for _ in range(100):
                logger.log_completion_response(logger.log_completion_request("?", "o3-mini"), "LONG", 1.0, USAGE)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        events = sink.events
        assert sorted(event["seq"] for event in events) == list(range(1, len(events) + 1))
        assert kinds(sink).count("performance_metrics") == 40
        assert logger.get_metrics()["total_cost_estimate_usd"] == 0.198


class TestDisabled:
    def test_methods_do_nothing_and_give_ids(self, tmp_path: Path) -> None:
        """enable_completion_logging=false opens no file and writes nothing, and the host's code still runs."""
        path = tmp_path / "logs" / "a.log"
        settings = LLMSettings(enable_completion_logging=False, completion_log_file=path)
        logger = create_llm_logger(settings=settings).bind(a=1)
        request_id = logger.log_completion_request("?", "m", request_id=None)
        logger.log_completion_response(request_id, "LONG")
        decision_id = logger.log_trading_decision(request_id, "LONG")
        logger.log_decision_outcome(decision_id, "fill")
        logger.log_run(kind="chain", name=None, run_id="r")
        with logger.completion(prompt="?", model="m") as call:
            call.response("x")
        assert (request_id[:4], decision_id[:4], logger.enabled) == ("req_", "dec_", False)
        assert logger.log_performance_metrics()["total_completions"] == 0
        assert (logger.flush(), logger.close(), logger.stats()["sinks"]) == (True, None, {})
        assert not path.parent.exists()


class TestBuilding:
    def test_two_directories_from_configuration_alone(self, tmp_path: Path) -> None:
        """Completions and decisions go to files of their own by settings alone."""
        settings = LLMSettings(
            sinks=[
                {
                    "type": "file",
                    "name": "completions",
                    "path": str(tmp_path / "completions" / "llm.log"),
                    "events": ["completion_request", "completion_response", "performance_metrics"],
                },
                f"file:{tmp_path}/decisions/llm.log?events=trading_decision&name=decisions",
            ]
        )
        logger = create_llm_logger(settings=settings)
        request_id = logger.log_completion_request("?", "m")
        logger.log_completion_response(request_id, "LONG")
        logger.log_trading_decision(request_id, "LONG")
        logger.close()
        counts = {path.parent.name: len(path.read_text().splitlines()) for path in tmp_path.glob("*/llm.log")}
        assert counts == {"completions": 2, "decisions": 1}

    def test_log_file_and_sinks_replace_the_configured_ones(self, tmp_path: Path) -> None:
        """Arguments win over settings; both at once are refused."""
        configured = MemorySink()
        settings = LLMSettings(sinks=[configured])
        create_llm_logger(settings=settings, log_file=tmp_path / "a.log").log_trading_decision()
        given = MemorySink()
        create_llm_logger(settings=settings, sinks=[given]).log_trading_decision()
        assert (len(configured.events), len(given.events)) == (0, 1)
        assert len((tmp_path / "a.log").read_text().splitlines()) == 1
        with pytest.raises(ConfigError, match=r"log_file= and sinks="):
            create_llm_logger(log_file=tmp_path / "a.log", sinks=[given])

    def test_no_sinks_at_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """sinks=[] writes nowhere, and the metrics still count."""
        monkeypatch.chdir(tmp_path)
        logger = create_llm_logger(sinks=[])
        logger.log_completion_response(logger.log_completion_request("?", "o3-mini"), "LONG")
        assert (logger.stats()["sinks"], list(tmp_path.iterdir())) == ({}, [])
        assert logger.get_metrics()["total_completions"] == 1

    def test_a_source_of_ids_that_fails(self) -> None:
        """An own source of ids that raises or gives no text is replaced by random ids."""

        def ids(kind: str) -> str:
            raise RuntimeError

        logger = create_llm_logger(sinks=[MemorySink()], ids=ids)
        assert logger.log_completion_request("?", "m").startswith("req_")

    @pytest.mark.parametrize(
        ("arguments", "hint"),
        [
            ({"processors": [1]}, "processors"),
            ({"processors": print}, "processors"),
            ({"settings": 5}, "settings"),
            ({"sinks": 5}, "sinks"),
        ],
    )
    def test_wrong_arguments_are_found_when_building(self, arguments: Any, hint: str) -> None:
        """What cannot work is refused at once, by name."""
        with pytest.raises(ConfigError, match=hint):
            create_llm_logger(**{"sinks": [MemorySink()], **arguments})

    def test_settings_may_be_a_mapping(self) -> None:
        """A plain mapping is checked like settings."""
        logger = create_llm_logger(settings={"completion_log_level": "debug"}, sinks=[MemorySink()])
        assert logger.settings.completion_log_level == "DEBUG"

    def test_all_sinks_that_cannot_be_opened_are_named(self, tmp_path: Path) -> None:
        """Building says every problem at once and leaves no file open."""
        (tmp_path / "file").write_text("")
        paths = [str(tmp_path / "file" / name) for name in ("a.log", "b.log")]
        with pytest.raises(ConfigError) as caught:
            create_llm_logger(sinks=[{"type": "file", "path": path} for path in paths])
        assert len(caught.value.problems) == 2

    def test_sinks_of_one_type_get_names_of_their_own(self) -> None:
        """Sinks without a name are told apart in stats()."""
        logger = create_llm_logger(sinks=[MemorySink(), MemorySink(), MemorySinkConfig()])
        assert list(logger.stats()["sinks"]) == ["MemorySink", "MemorySink-2", "memory"]

    def test_wrong_level_is_refused(self) -> None:
        """A level that does not exist is a ConfigError, in any case of letters one that does is fine."""
        assert create_llm_logger(log_level="debug", sinks=[MemorySink()]).settings.completion_log_level == "DEBUG"
        with pytest.raises(ConfigError, match=r"completion_log_level|log_level"):
            create_llm_logger(log_level="LOUD", sinks=[MemorySink()])

    def test_own_processors_run_before_redaction(self) -> None:
        """What an own processor adds is normalised and redacted like everything else."""
        sink = MemorySink()
        secret = "sk-" + "ant-api03-" + secrets.token_urlsafe(60)

        def add(logger: Any, method_name: str, event: Any) -> Any:
            event["added"] = {"text": f"key {secret}", "when": datetime(2026, 1, 1, tzinfo=UTC)}
            return event

        create_llm_logger(sinks=[sink], processors=[add]).log_trading_decision()
        added = sink.events[0]["added"]
        assert (secret in added["text"], added["when"]) == (False, "2026-01-01T00:00:00.000Z")

    def test_flush_and_close(self, tmp_path: Path) -> None:
        """flush says the truth of all sinks; after close records are dropped and counted."""
        logger = create_llm_logger(log_file=tmp_path / "a.log")
        logger.log_trading_decision()
        assert logger.flush() is True
        logger.close()
        logger.close()
        logger.log_trading_decision()
        assert (logger.flush(), logger.flush()) == (False, True)
        account = logger.stats()["sinks"]["file"]
        account.pop("health")
        assert account == {"accepted": 2, "delivered": 1, "dropped": {"closed": 1}, "pending": 0}

    def test_sink_config_needs_build_and_check(self) -> None:
        """A sink configuration that defines neither is a programming error and says so."""
        with pytest.raises(NotImplementedError):
            SinkConfig().build()
        with pytest.raises(NotImplementedError):
            SinkConfig().check()
