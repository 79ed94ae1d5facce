"""The guide's own examples, events and shell recipes, as its readers would use them."""

import asyncio
import os
import secrets
import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate

import structllm
from structllm import create_langchain_callback, create_llm_logger
from structllm.agent import LLMAgent
from structllm.sinks.memory import MemorySink
from tests.wire import Text, Wire


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty directory, as a reader who tries the examples does."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(path: Path = Path("logs/llm_completions.log")) -> list[dict[str, Any]]:
    """Return the events in a log file."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


class TestUsageExamples:
    def test_basic_usage(self) -> None:
        """The basic example writes a request and its response; a total alone has no price."""
        # Create logger
        completion_logger = create_llm_logger(
            log_level="INFO",
            log_file="logs/llm_completions.log"
        )  # fmt: skip

        # Log a request
        request_id = completion_logger.log_completion_request(
            prompt="Should I buy BTC?",
            model="o3-mini",
            temperature=0.1,
            max_tokens=1000,
            market_context={"symbol": "BTC-USD", "price": 45000}
        )  # fmt: skip

        # Log response
        completion_logger.log_completion_response(
            request_id=request_id,
            response={"action": "LONG", "rationale": "Bullish signals"},
            response_time=1.5,
            token_usage={"total_tokens": 200},
            success=True
        )  # fmt: skip

        request, response = written()
        assert (request["prompt_preview"], request["prompt_length"]) == ("Should I buy BTC?", 17)
        assert request["market_context"] == {"symbol": "BTC-USD", "price": 45000}
        assert (response["request_id"], response["response_time_ms"]) == (request_id, 1500)
        assert response["response_preview"] == '{"action": "LONG", "rationale": "Bullish signals"}'
        assert response["token_usage"]["total_tokens"] == 200
        assert (response["cost_estimate_usd"], response["cost_status"]) == (None, "no_split")

    async def test_langchain(self) -> None:
        """The LangChain example logs the call of the chain's model."""
        prompt = ChatPromptTemplate.from_messages([("human", "{question}")])
        chain = prompt | GenericFakeChatModel(messages=iter([AIMessage("LONG")]))
        inputs = {"question": "Should I buy BTC?"}

        # Create logger and callback
        completion_logger = create_llm_logger()
        callback_handler = create_langchain_callback(completion_logger)

        # Use with LangChain chain
        result = await chain.ainvoke(
            inputs,
            config={"callbacks": [callback_handler]}
        )  # fmt: skip

        request, response = written()
        assert (result.content, request["prompt_preview"]) == ("LONG", "Should I buy BTC?")
        assert (response["request_id"], response["response_preview"]) == (request["request_id"], "LONG")

    def test_metrics(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The cost example prints the session's total and the cost per completion."""
        completion_logger = create_llm_logger(log_file="logs/llm_completions.log")
        for _ in range(2):
            request_id = completion_logger.log_completion_request("Should I buy BTC?", "o3-mini")
            usage = {"prompt_tokens": 150, "completion_tokens": 75}
            completion_logger.log_completion_response(request_id, "LONG", 1.0, usage)

        # Get current session metrics
        metrics = completion_logger.log_performance_metrics()

        print(f"Total Cost: ${metrics['total_cost_estimate_usd']:.6f}")
        print(f"Cost per Completion: ${metrics['total_cost_estimate_usd'] / metrics['total_completions']:.6f}")

        assert capsys.readouterr().out == "Total Cost: $0.000990\nCost per Completion: $0.000495\n"

    async def test_agent(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """The agent example logs a completion and its decision, and the status shows the metrics."""
        answer = '{"action": "LONG", "size_pct": 15.0, "rationale": "Bullish momentum"}'
        market_state = {"symbol": "BTC-USD", "current_price": 45230.5, "indicators": {"rsi": 62.5}}
        with Wire(Text(answer)) as wire:
            monkeypatch.setenv("LLM__MODEL", "openai:gpt-4o-mini")
            monkeypatch.setenv("OPENAI_API_KEY", "sk-" + secrets.token_hex(8))
            monkeypatch.setenv("OPENAI_BASE_URL", f"{wire.url}/v1")

            # Create agent (logging configured via settings)
            agent = LLMAgent()

            # Analyze market (automatically logs completion)
            trade_action = await agent.analyze_market(market_state)

            # Get status including logging metrics
            status = agent.get_status()
            print(f"Completions: {status['completion_count']}")
            print(f"Avg Response Time: {status['avg_response_time_ms']}ms")

        kinds = [event["event_type"] for event in written()]
        assert (trade_action.action, kinds) == (
            "LONG",
            ["completion_request", "completion_response", "trading_decision"],
        )
        assert capsys.readouterr().out.startswith("Completions: 1\nAvg Response Time: ")

    def test_debug_mode(self) -> None:
        """A logger at DEBUG also writes the steps of chains."""
        completion_logger = create_llm_logger(log_level="DEBUG")
        prompt = ChatPromptTemplate.from_messages([("human", "{question}")])
        chain = prompt | GenericFakeChatModel(messages=iter([AIMessage("LONG")]))
        callbacks = [create_langchain_callback(completion_logger)]
        asyncio.run(chain.ainvoke({"question": "?"}, config={"callbacks": callbacks}))
        assert {event["event_type"] for event in written()} == {"completion_request", "completion_response", "run"}


# The guide's samples, with its two wrong numbers corrected: 150 + 75 tokens of o3-mini cost $0.000495, and 2,250 tokens
# in 10 calls of 1,520 ms are 148 tokens per second.
SAMPLES: dict[str, dict[str, Any]] = {
    "completion_request": {
        "event_type": "completion_request",
        "timestamp": "2024-01-15T10:30:45.123Z",
        "session_id": "abc12345",
        "request_id": "req_67890def",
        "completion_number": 1,
        "model": "o3-mini",
        "temperature": 0.1,
        "max_tokens": 30000,
        "prompt_length": 1250,
        "prompt_preview": "You are an expert cryptocurrency futures trader...",
        "market_context": {
            "symbol": "BTC-USD",
            "current_price": 45230.50,
            "cipher_a_dot": 0.75,
            "cipher_b_wave": 0.32,
            "rsi": 62.5,
            "stablecoin_dominance": 8.2,
            "market_sentiment": "BULLISH",
        },
    },
    "completion_response": {
        "event_type": "completion_response",
        "timestamp": "2024-01-15T10:30:46.890Z",
        "session_id": "abc12345",
        "request_id": "req_67890def",
        "success": True,
        "response_time_ms": 1767,
        "token_usage": {"prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225},
        "cost_estimate_usd": 0.000495,
        "response_preview": '{"action": "LONG", "size_pct": 15.0, "rationale": "Bullish momentum..."}',
    },
    "trading_decision": {
        "event_type": "trading_decision",
        "timestamp": "2024-01-15T10:30:47.123Z",
        "session_id": "abc12345",
        "request_id": "req_67890def",
        "action": "LONG",
        "size_pct": 15.0,
        "rationale": "Bullish momentum with healthy RSI",
        "symbol": "BTC-USD",
        "current_price": 45230.50,
        "validation_result": "PASSED",
        "risk_assessment": "APPROVED - Within risk parameters",
        "indicators": {"cipher_a_dot": 0.75, "cipher_b_wave": 0.32, "rsi": 62.5},
    },
    "performance_metrics": {
        "event_type": "performance_metrics",
        "timestamp": "2024-01-15T10:45:30.456Z",
        "session_id": "abc12345",
        "total_completions": 10,
        "avg_response_time_ms": 1520,
        "min_response_time_ms": 890,
        "max_response_time_ms": 2340,
        "total_tokens": 2250,
        "total_cost_estimate_usd": 0.00495,
        "tokens_per_second": 148.0,
    },
}


def json_type(value: Any) -> str:
    """Return the JSON type of a value: JSON knows one kind of number."""
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


class TestSampleEvents:
    """Each sample is produced through the public API, by the calls that the guide's bot would make."""

    def check(self, event: dict[str, Any]) -> None:
        """Compare an event with the guide's sample: the sample's fields with its values, in its order."""
        sample = SAMPLES[event["event_type"]]
        assert {name: event[name] for name in sample} == sample
        assert [name for name in event if name in sample] == list(sample)
        assert {name: json_type(event[name]) for name in sample} == {name: json_type(sample[name]) for name in sample}

    def test_request_response_and_decision(self) -> None:
        """The first three samples come out of one completion and its decision."""
        sink = MemorySink()
        request, response, decision = (SAMPLES[name] for name in list(SAMPLES)[:3])
        logger = create_llm_logger(sinks=[sink], session_id="abc12345")
        preview = request["prompt_preview"]
        prompt = preview + "x" * (request["prompt_length"] - len(preview))
        logger.log_completion_request(
            prompt=prompt,
            model="o3-mini",
            temperature=0.1,
            max_tokens=30000,
            market_context=request["market_context"],
            request_id=request["request_id"],
            timestamp=request["timestamp"],
        )
        logger.log_completion_response(
            request_id=request["request_id"],
            response={"action": "LONG", "size_pct": 15.0, "rationale": "Bullish momentum..."},
            token_usage={"prompt_tokens": 150, "completion_tokens": 75},
            timestamp=response["timestamp"],
        )
        logger.log_trading_decision(
            request_id=request["request_id"],
            action="LONG",
            size_pct=15.0,
            rationale="Bullish momentum with healthy RSI",
            validation_result="PASSED",
            risk_assessment="APPROVED - Within risk parameters",
            indicators=decision["indicators"],
            timestamp=decision["timestamp"],
        )
        events = sink.events
        # The sample shows the beginning of a longer prompt; ours shows its first 500 characters.
        assert events[0]["prompt_preview"] == prompt[:500]
        events[0]["prompt_preview"] = preview
        for event in events:
            self.check(event)

    def test_performance_metrics(self) -> None:
        """Ten completions of 225 tokens that took 15.2 s give the fourth sample, its numbers corrected."""
        sink = MemorySink()
        now = datetime.fromisoformat("2024-01-15T10:30:30.456+00:00")

        def clock() -> datetime:
            return now

        logger = create_llm_logger(sinks=[sink], session_id="abc12345", clock=clock)
        for seconds in (0.89, 2.34, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.47):
            request_id = logger.log_completion_request("Should I buy BTC?", "o3-mini")
            usage = {"prompt_tokens": 150, "completion_tokens": 75}
            now += timedelta(seconds=90)
            logger.log_completion_response(request_id, "LONG", seconds, usage)
        metrics = sink.events[-1]
        assert metrics["timestamp"] == "2024-01-15T10:45:30.456Z"
        self.check(metrics)
        assert (metrics["window"]["duration_s"], metrics["completions_per_hour"]) == (900, 40.0)


# git, make and Python are enough for the tests; where jq is missing, its recipes cannot be tried.
needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")


class TestShellRecipes:
    """The guide's shell lines, in the form that is right for JSON lines without spaces."""

    @pytest.fixture(autouse=True)
    def log(self, directory: Path) -> None:
        """Write a log with two good completions, one failed one, and metrics; one prompt quotes our own format."""
        logger = create_llm_logger()
        for prompt in ("Should I buy BTC?", 'what is "event_type":"completion_request" and "success":false?'):
            request_id = logger.log_completion_request(prompt, "o3-mini")
            logger.log_completion_response(request_id, "LONG", 1.0, {"prompt_tokens": 150, "completion_tokens": 75})
        request_id = logger.log_completion_request("Should I buy BTC?", "o3-mini")
        logger.log_completion_response(request_id, error=TimeoutError("no answer"))
        logger.log_performance_metrics()

    def shell(self, line: str) -> str:
        """Run a shell line and return what it prints."""
        done = subprocess.run(
            ["/bin/sh", "-c", line], capture_output=True, text=True, timeout=30, check=True, env=dict(os.environ)
        )
        return done.stdout

    def test_count_completions_by_type(self) -> None:
        """event_type is the first key of every line, so a count is exact whatever the prompts say."""
        line = """grep -c '^{"event_type":"completion_request"' logs/llm_completions.log"""
        assert self.shell(line) == "3\n"

    @needs_jq
    def test_extract_performance_metrics(self) -> None:
        """Metrics can be cut out and laid out with jq."""
        line = """grep '^{"event_type":"performance_metrics"' logs/llm_completions.log | jq .total_completions"""
        assert self.shell(line) == "3\n"

    def test_error_rate(self) -> None:
        """Failures are counted by grep."""
        assert self.shell("""grep -cE '"success": ?false' logs/llm_completions.log""") == "1\n"

    @needs_jq
    def test_error_rate_by_jq(self) -> None:
        """The jq form survives a half-written last line."""
        with Path("logs/llm_completions.log").open("a") as file:
            file.write('{"event_type":"completion_resp')
        line = """jq -cR 'fromjson? | select(.success==false) | .error_type' logs/llm_completions.log"""
        assert self.shell(line) == '"TimeoutError"\n'

    def test_view_latest_completions(self) -> None:
        """tail -F follows the file across rotations; plain tail shows the end."""
        last = orjson.loads(self.shell("tail -n 1 logs/llm_completions.log"))
        assert last["event_type"] == "performance_metrics"

    def test_follow_across_a_rotation(self) -> None:
        """tail -F goes on with the new file when the log is rotated."""
        path = Path("logs/llm_completions.log")
        follow = subprocess.Popen(
            ["tail", "-F", "-n", "1", str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            assert follow.stdout is not None
            assert b"performance_metrics" in follow.stdout.readline()
            path.rename("logs/llm_completions.log.1")
            create_llm_logger().log_trading_decision(action="HOLD")
            assert b"trading_decision" in follow.stdout.readline()
        finally:
            follow.kill()
            follow.wait(timeout=10)
            assert follow.stdout is not None
            follow.stdout.close()


def test_module_is_a_drop_in() -> None:
    """Every name that the guide imports is in the package."""
    assert all(hasattr(structllm, name) for name in ("create_llm_logger", "create_langchain_callback", "LLMAgent"))
