"""The agent: every market state gets one logged decision, and no failure of the model reaches the loop."""

import asyncio
import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

import structllm
from structllm import ConfigError, LLMAgent, LLMSettings, MarketState, MemorySink, TradeAction
from structllm.agent import Verdict
from structllm.langchain import create_langchain_callback, instrument, uninstrument
from structllm.logger import ChatCompletionLogger
from tests.wire import Failure, Silence, Text, Wire

WAIT_S = 20.0
MARKET = {"symbol": "BTC-USD", "current_price": 45230.5, "indicators": {"rsi": 62.5, "cipher_a_dot": 0.75}}
LONG = '{"action": "LONG", "size_pct": 15.0, "rationale": "Bullish momentum with healthy RSI"}'

Recorded = tuple[ChatCompletionLogger, MemorySink]


def new_logger(**settings: Any) -> Recorded:
    sink = MemorySink()
    return structllm.create_llm_logger(settings=LLMSettings(sinks=[sink], **settings)), sink


@pytest.fixture
def recorded() -> Recorded:
    return new_logger()


def of_type(sink: MemorySink, event_type: str) -> list[dict[str, Any]]:
    return [event for event in sink.events if event["event_type"] == event_type]


def decisions(sink: MemorySink) -> list[dict[str, Any]]:
    return of_type(sink, "trading_decision")


def fake(*answers: str) -> GenericFakeChatModel:
    usage: Any = {"input_tokens": 150, "output_tokens": 75, "total_tokens": 225}

    def messages() -> Iterator[AIMessage]:
        yield from (AIMessage(answer, usage_metadata=usage) for answer in answers)

    return GenericFakeChatModel(messages=messages())


def openai(wire: Wire) -> ChatOpenAI:
    key = SecretStr("sk-" + secrets.token_hex(8))
    return ChatOpenAI(base_url=f"{wire.url}/v1", api_key=key, model="gpt-4o-mini", max_retries=0, timeout=WAIT_S)


class TestDecision:
    """What one good answer leads to."""

    async def test_action_and_events(self, recorded: Recorded) -> None:
        """The action comes back, and request, response and decision are logged under one request id."""
        logger, sink = recorded
        action = await LLMAgent(fake(LONG), logger=logger).analyze_market(MARKET)
        assert TradeAction(action="LONG", size_pct=15.0, rationale="Bullish momentum with healthy RSI") == action
        request, response, decision = sink.events
        assert ["completion_request", "completion_response", "trading_decision"] == [
            event["event_type"] for event in sink.events
        ]
        assert request["request_id"] == response["request_id"] == decision["request_id"]
        expected = {
            "action": "LONG",
            "size_pct": 15.0,
            "rationale": "Bullish momentum with healthy RSI",
            "symbol": "BTC-USD",
            "current_price": 45230.5,
            "validation_result": "PASSED",
            "risk_assessment": "APPROVED - Within risk parameters",
            "indicators": {"rsi": 62.5, "cipher_a_dot": 0.75},
            "caused_by": [request["request_id"]],
        }
        assert expected == {name: decision[name] for name in expected}

    async def test_market_context(self, recorded: Recorded) -> None:
        """The request carries the market in one level, and nothing stays bound afterwards."""
        logger, sink = recorded
        await LLMAgent(fake(LONG), logger=logger).analyze_market({**MARKET, "mood": "calm"})
        logger.log_completion_request(prompt="hi", model="m")
        first, second = of_type(sink, "completion_request")
        expected = {"symbol": "BTC-USD", "current_price": 45230.5, "rsi": 62.5, "cipher_a_dot": 0.75, "mood": "calm"}
        assert expected == first["market_context"]
        assert "market_context" not in second

    async def test_model_sees_the_market(self, recorded: Recorded) -> None:
        """The model gets the instructions and the market as JSON, whatever values are in it."""
        logger, _ = recorded
        with Wire(Text(LONG)) as wire:
            agent = LLMAgent(openai(wire), logger=logger, system_prompt="Only bonds.")
            action = await agent.analyze_market({**MARKET, "odd": object(), "gap": float("nan")})
        assert "LONG" == action.action
        system, human = wire.bodies[0]["messages"]
        assert "Only bonds." == system["content"]
        state = json.loads(human["content"].split("\n")[1])
        assert {**MARKET, "odd": "<object>", "gap": None} == state

    @pytest.mark.parametrize("answer", [LONG, json.loads(LONG)])
    async def test_any_runnable(self, recorded: Recorded, answer: Any) -> None:
        """A chain that ends in a text or a parsed object does as well as a chat model."""
        logger, sink = recorded
        model = RunnableLambda(lambda messages: answer)
        action = await LLMAgent(model, logger=logger).analyze_market(MarketState(**MARKET))
        assert "LONG" == action.action
        assert [None] == [decision["request_id"] for decision in decisions(sink)]

    async def test_every_cause(self, recorded: Recorded) -> None:
        """After a retry the decision names both requests, and is tied to the one that answered."""
        logger, sink = recorded
        with Wire(Failure(500), Text(LONG)) as wire:
            model = openai(wire).with_retry(wait_exponential_jitter=False)
            await LLMAgent(model, logger=logger).analyze_market(MARKET)
        failed, answered = [response["request_id"] for response in of_type(sink, "completion_response")]
        (decision,) = decisions(sink)
        assert answered == decision["request_id"]
        assert {failed, answered} == set(decision["caused_by"])

    async def test_fallback(self, recorded: Recorded) -> None:
        """After a fallback too, though LangChain gives its parts no parent."""
        logger, sink = recorded
        with Wire(Failure(401)) as wire:
            model = openai(wire).with_fallbacks([fake(LONG)])
            action = await LLMAgent(model, logger=logger).analyze_market(MARKET)
        assert "LONG" == action.action
        (decision,) = decisions(sink)
        assert 2 == len(decision["caused_by"])

    async def test_logged_once(self, recorded: Recorded) -> None:
        """A model that has a handler of its own, in a process that is instrumented, is logged once and tied."""
        logger, sink = recorded
        instrument(logger)
        try:
            model = fake(LONG)
            model.callbacks = [create_langchain_callback(logger)]
            await LLMAgent(model, logger=logger).analyze_market(MARKET)
        finally:
            uninstrument()
        assert 3 == len(sink.events)
        assert 1 == len({event["request_id"] for event in sink.events})

    async def test_many_at_once(self, recorded: Recorded) -> None:
        """Market states that are analysed at the same time each get their own decision on their own request."""
        logger, sink = recorded
        agent = LLMAgent(fake(*[LONG] * 20), logger=logger)
        symbols = [f"S{number}" for number in range(20)]
        await asyncio.gather(*(agent.analyze_market({**MARKET, "symbol": symbol}) for symbol in symbols))
        asked = {
            request["request_id"]: request["market_context"]["symbol"]
            for request in of_type(sink, "completion_request")
        }
        assert asked == {decision["request_id"]: decision["symbol"] for decision in decisions(sink)}
        assert set(symbols) == set(asked.values())

    async def test_confidence(self, recorded: Recorded) -> None:
        """A confidence is logged where the model gives one."""
        logger, sink = recorded
        agent = LLMAgent(fake(LONG.replace("}", ', "confidence": 0.8}'), LONG), logger=logger)
        await agent.analyze_market(MARKET)
        await agent.analyze_market(MARKET)
        assert [0.8, None] == [decision.get("confidence") for decision in decisions(sink)]


class TestHold:
    """What goes wrong is a HOLD with the reason."""

    async def check(self, agent: LLMAgent, sink: MemorySink, kind: str, reason: str, market: Any = MARKET) -> None:
        """Expect one logged HOLD with this reason, counted under this kind."""
        action = await agent.analyze_market(market)
        assert ("HOLD", 0.0) == (action.action, action.size_pct)
        assert reason in action.rationale
        (decision,) = decisions(sink)
        assert ("HOLD", action.rationale) == (decision["action"], decision["rationale"])
        assert decision["validation_result"].startswith("FAILED - ") or kind == "risk"
        status = agent.get_status()
        assert ({kind: 1}, 1, "HOLD") == (status["errors"], status["error_count"], status["last_action"])
        pending = agent.logger.stats()["requests"]["pending"]
        assert 0 == pending

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            ("To the moon!", "no JSON object with an action"),
            ('{"action": "YOLO"}', "not valid"),
            (LONG + LONG.replace("15", "99"), "several different actions"),
            (LONG[:-5], "broken JSON"),
            ("", "no text"),
        ],
    )
    async def test_garbage(self, recorded: Recorded, answer: str, reason: str) -> None:
        """An answer without one certain action is a HOLD on the request that was answered."""
        logger, sink = recorded
        await self.check(LLMAgent(fake(answer), logger=logger), sink, "answer", reason)
        assert of_type(sink, "completion_response")[0]["request_id"] == decisions(sink)[0]["request_id"]

    @pytest.mark.parametrize("status", [401, 500])
    async def test_model_fails(self, recorded: Recorded, status: int) -> None:
        """A failed call is a HOLD on the request that failed."""
        logger, sink = recorded
        with Wire(Failure(status, "the wire said no")) as wire:
            await self.check(LLMAgent(openai(wire), logger=logger), sink, "model", "the wire said no")
        (response,) = of_type(sink, "completion_response")
        assert (False, response["request_id"]) == (response["success"], decisions(sink)[0]["request_id"])

    async def test_model_too_slow(self, recorded: Recorded) -> None:
        """At the deadline the call is cancelled, its request ended, and the HOLD tied to it."""
        logger, sink = recorded
        with Wire(Silence()) as wire:
            agent = LLMAgent(openai(wire), logger=logger, timeout_s=0.3)
            await self.check(agent, sink, "timeout", "no answer within 0.3 s")
        (response,) = of_type(sink, "completion_response")
        assert ("cancelled", "TimeoutError") == (response["outcome"], response["error_type"])
        assert response["request_id"] == decisions(sink)[0]["request_id"]

    def test_not_a_model(self, recorded: Recorded) -> None:
        """Something that is no model at all is refused when the agent is built, not once per market."""
        with pytest.raises(ConfigError, match="model of LLMAgent"):
            LLMAgent(object(), logger=recorded[0])

    @pytest.mark.parametrize("market", [{}, None, {"symbol": "X", "current_price": "?"}, {**MARKET, 7: 8}])
    async def test_unusable_market(self, recorded: Recorded, market: Any) -> None:
        """A market state without symbol or price is a HOLD, and no model is asked."""
        logger, sink = recorded
        await self.check(LLMAgent(fake(LONG), logger=logger), sink, "market_state", "market state is unusable", market)
        assert 1 == len(sink.events)

    async def test_invalid_action(self, recorded: Recorded) -> None:
        """An action that fails validation is a HOLD that tells what the model wanted."""
        logger, sink = recorded
        agent = LLMAgent(fake(LONG.replace("15.0", "0")), logger=logger)
        await self.check(agent, sink, "validation", "The model wanted LONG 0 %: Bullish momentum with healthy RSI")
        assert [("FAILED - LONG without a size", None)] == [
            (decision["validation_result"], decision["risk_assessment"]) for decision in decisions(sink)
        ]

    async def test_rejected_by_risk(self, recorded: Recorded) -> None:
        """An action that the risk check rejects is a HOLD with both verdicts."""
        logger, sink = recorded
        agent = LLMAgent(
            fake(LONG), logger=logger, assess_risk=lambda action, market: Verdict(False, "REJECTED - full")
        )
        await self.check(agent, sink, "risk", "REJECTED - full. The model wanted LONG 15 %")
        assert [("PASSED", "REJECTED - full")] == [
            (decision["validation_result"], decision["risk_assessment"]) for decision in decisions(sink)
        ]

    @pytest.mark.parametrize("which", ["validate", "assess_risk"])
    @pytest.mark.parametrize(
        ("answer", "reason"), [(RuntimeError("no limits loaded"), "no limits loaded"), (True, "returned <bool>")]
    )
    async def test_broken_check(self, recorded: Recorded, which: str, answer: Any, reason: str) -> None:
        """A check that raises, or answers something else than a verdict, approves nothing."""
        logger, sink = recorded

        def check(action: TradeAction, market: MarketState) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        checks: Any = {which: check}
        kind = {"validate": "validation", "assess_risk": "risk"}[which]
        await self.check(LLMAgent(fake(LONG), logger=logger, **checks), sink, kind, reason)

    async def test_bug_in_the_middle(self, recorded: Recorded) -> None:
        """Even a verdict with a nonsensical action does not reach the loop."""
        logger, sink = recorded
        nonsense: Any = "sell everything"
        agent = LLMAgent(fake(LONG), logger=logger, validate=lambda action, market: Verdict(False, "x", nonsense))
        action = await agent.analyze_market(MARKET)
        assert ("HOLD", {"agent": 1}, 1) == (action.action, agent.get_status()["errors"], len(decisions(sink)))

    async def test_cancelled(self, recorded: Recorded) -> None:
        """Cancelling the caller goes through: the request ends as cancelled, and no decision is made up."""
        logger, sink = recorded
        with Wire(Silence()) as wire:
            task = asyncio.create_task(LLMAgent(openai(wire), logger=logger).analyze_market(MARKET))
            assert await asyncio.to_thread(wire.arrived.wait, WAIT_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert ["cancelled"] == [response["outcome"] for response in of_type(sink, "completion_response")]
        assert [] == decisions(sink)

    async def test_goes_on(self, recorded: Recorded) -> None:
        """After a failure the next market state is analysed as if nothing had been."""
        logger, sink = recorded
        agent = LLMAgent(fake("garbage", LONG), logger=logger)
        actions = [(await agent.analyze_market(MARKET)).action for _ in range(2)]
        assert ["HOLD", "LONG"] == actions == [decision["action"] for decision in decisions(sink)]


class TestChecks:
    """The checks that are injected."""

    async def test_default_cap(self, recorded: Recorded) -> None:
        """Without a risk check of one's own, a position is cut to 25 percent."""
        logger, sink = recorded
        action = await LLMAgent(fake(LONG.replace("15.0", "80")), logger=logger).analyze_market(MARKET)
        assert 25.0 == action.size_pct
        assert ["APPROVED - size cut from 80 % to 25 %"] == [
            decision["risk_assessment"] for decision in decisions(sink)
        ]

    async def test_own_checks(self, recorded: Recorded) -> None:
        """Own checks see action and market, may be coroutines, and the later one sees what the earlier one made."""
        logger, sink = recorded
        seen: list[tuple[float, str]] = []

        async def validate(action: TradeAction, market: MarketState) -> Verdict:
            seen.append((action.size_pct, market.symbol))
            return Verdict(True, "PASSED - by me", action.model_copy(update={"size_pct": 7.0}))

        def assess_risk(action: TradeAction, market: MarketState) -> Verdict:
            seen.append((action.size_pct, market.symbol))
            return Verdict(True, "APPROVED - by me")

        agent = LLMAgent(fake(LONG), logger=logger, validate=validate, assess_risk=assess_risk)
        action = await agent.analyze_market(MARKET)
        assert ([(15.0, "BTC-USD"), (7.0, "BTC-USD")], 7.0) == (seen, action.size_pct)
        assert [("PASSED - by me", "APPROVED - by me", 7.0)] == [
            (decision["validation_result"], decision["risk_assessment"], decision["size_pct"])
            for decision in decisions(sink)
        ]


class TestStatus:
    """What the agent says of itself."""

    async def test_counts(self, recorded: Recorded) -> None:
        """It counts decisions and errors, and passes on times, tokens and cost of the logger."""
        logger, _ = recorded
        agent = LLMAgent(fake(LONG, "garbage"), logger=logger)
        await agent.analyze_market(MARKET)
        await agent.analyze_market(MARKET)
        await agent.analyze_market({})
        status = agent.get_status()
        expected = {
            "model": "GenericFakeChatModel",
            "session_id": logger.session_id,
            "completion_count": 2,
            "decision_count": 3,
            "last_action": "HOLD",
            "error_count": 2,
            "errors": {"answer": 1, "market_state": 1},
            "total_tokens": 450,
            "total_cost_estimate_usd": 0.0,
            "unpriced_calls": 2,
        }
        assert expected == {name: status[name] for name in expected}
        assert status["avg_response_time_ms"] >= 0

    def test_fresh(self, recorded: Recorded) -> None:
        """Before the first question everything is nothing."""
        status = LLMAgent(fake(), logger=recorded[0]).get_status()
        assert (0, 0, None, {}) == (
            status["completion_count"],
            status["decision_count"],
            status["last_action"],
            status["errors"],
        )

    async def test_priced(self, recorded: Recorded) -> None:
        """A known model has a cost, in the status and in the decision."""
        logger, sink = recorded
        with Wire(Text(LONG, prompt_tokens=1000, completion_tokens=100)) as wire:
            agent = LLMAgent(openai(wire), logger=logger)
            await agent.analyze_market(MARKET)
        status = agent.get_status()
        assert ("gpt-4o-mini", 0) == (status["model"], status["unpriced_calls"])
        assert 0.00021 == pytest.approx(status["total_cost_estimate_usd"])  # 0.15 and 0.60 USD per million tokens
        assert [status["total_cost_estimate_usd"]] == [decision["cost_usd"] for decision in decisions(sink)]


class TestSettings:
    """What the settings do to an agent."""

    async def test_callbacks_off(self) -> None:
        """`enable_langchain_callbacks` is about one's own handlers: the agent logs its calls all the same."""
        logger, sink = new_logger(enable_langchain_callbacks=False)
        await LLMAgent(fake(LONG), logger=logger).analyze_market(MARKET)
        assert 3 == len(sink.events)

    async def test_logging_off(self) -> None:
        """With logging off the agent decides as ever and writes nothing."""
        logger, sink = new_logger(enable_completion_logging=False)
        agent = LLMAgent(fake(LONG, "garbage"), logger=logger)
        assert ["LONG", "HOLD"] == [(await agent.analyze_market(MARKET)).action for _ in range(2)]
        assert [] == sink.events
        assert 2 == agent.get_status()["decision_count"]

    async def test_market_context_off(self) -> None:
        """With `log_market_context` off no request carries the market."""
        logger, sink = new_logger(log_market_context=False)
        await LLMAgent(fake(LONG), logger=logger).analyze_market(MARKET)
        assert ["market_context" in event for event in sink.events] == [False, False, False]

    def test_no_model(self, recorded: Recorded) -> None:
        """Without a model the error names the setting and its variable."""
        for make in (LLMAgent, lambda: LLMAgent(logger=recorded[0]), lambda: LLMAgent(settings=LLMSettings())):
            with pytest.raises(ConfigError, match=r"llm\.model") as caught:
                make()
            assert "LLM__MODEL" in str(caught.value)

    async def test_model_from_settings(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        """`LLMAgent()` takes model and log file from the environment and works."""
        with Wire(Text(LONG)) as wire:
            monkeypatch.setenv("LLM__MODEL", "openai:gpt-4o-mini")
            monkeypatch.setenv("LLM__COMPLETION_LOG_FILE", str(tmp_path / "logs" / "llm.log"))
            monkeypatch.setenv("OPENAI_API_KEY", "sk-" + secrets.token_hex(8))
            monkeypatch.setenv("OPENAI_BASE_URL", f"{wire.url}/v1")
            agent = LLMAgent()
            action = await agent.analyze_market(MARKET)
            agent.logger.close()
        assert "LONG" == action.action
        assert "gpt-4o-mini" == agent.get_status()["model"]
        events = [json.loads(line)["event_type"] for line in (tmp_path / "logs" / "llm.log").read_text().splitlines()]
        assert ["completion_request", "completion_response", "trading_decision"] == events

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("openai:gpt-4o-mini", "usually a key"),
            ("no-such-provider:x", "provider:name"),
            ("cohere:command", "package is not installed"),
        ],
    )
    def test_model_that_cannot_start(self, monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
        """A model that cannot be started is a ConfigError that names the setting, the remedy and not the value."""
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        with pytest.raises(ConfigError, match=hint) as caught:
            LLMAgent(settings=LLMSettings(model=name))
        assert "LLM__MODEL" in str(caught.value)
        assert name not in str(caught.value)

    @pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
    def test_timeout_is_positive(self, recorded: Recorded, timeout_s: float) -> None:
        """A timeout that no model could meet is refused when the agent is built."""
        with pytest.raises(ConfigError, match="timeout_s"):
            LLMAgent(fake(), logger=recorded[0], timeout_s=timeout_s)

    def test_without_langchain(self) -> None:
        """Without langchain the agent says what to install."""
        program = """
import sys
sys.modules["langchain"] = sys.modules["langchain.chat_models"] = None
import structllm
try:
    structllm.LLMAgent(settings=structllm.LLMSettings(model="openai:gpt-4o"))
except structllm.MissingExtra as error:
    print(error)
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
        assert "A model from the settings needs langchain: pip install 'structllm-logging[demo]'" == done.stdout.strip()

    def test_threads(self, recorded: Recorded) -> None:
        """Agents of one logger in several threads, each with a loop of its own, do not disturb each other."""
        logger, sink = recorded

        def work() -> None:
            asyncio.run(LLMAgent(fake(LONG), logger=logger).analyze_market(MARKET))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert 4 == len({decision["request_id"] for decision in decisions(sink)}) == len(decisions(sink))
