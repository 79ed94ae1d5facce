"""What a completion costs its caller: a request and its response, logged through the public API with default settings.

The floor and the standard library write the very events that structllm wrote, ready made. They do not bind context,
price, redact, truncate or count; the standard library's handler does rotate.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson

import structllm
from benchmarks.peers import floor, read, repeat, rotating_handler, through_logging
from benchmarks.racing import Race, Target, Variant

BLOCK = 10
METRICS_EVERY = 10

PROMPT = [
    {"role": "system", "content": "You are an expert futures trader. " * 20},
    {"role": "user", "content": "BTC-USD stands at 45230.5, RSI 62.5, dominance 8.2. What do you do, and why? " * 20},
]
MARKET = {"symbol": "BTC-USD", "current_price": 45230.5, "rsi": 62.5, "cipher_b_wave": 0.32, "sentiment": "BULLISH"}
ANSWER = {"action": "LONG", "size_pct": 15.0, "rationale": "Momentum holds while the trend is intact. " * 15}
USAGE = {"prompt_tokens": 612, "completion_tokens": 181}


def log_completion(logger: structllm.ChatCompletionLogger) -> None:
    """One request and its response, as an agent logs them."""
    request_id = logger.log_completion_request(
        prompt=PROMPT, model="gpt-4o-mini", temperature=0.1, max_tokens=1000, market_context=MARKET, provider="openai"
    )
    logger.log_completion_response(request_id=request_id, response=ANSWER, response_time=1.5, token_usage=USAGE)


def example(path: Path) -> list[dict[str, Any]]:
    """The two events of a completion, as structllm writes them."""
    logger = structllm.create_llm_logger(log_file=path)
    log_completion(logger)
    logger.close()
    events = read(path)
    assert ["completion_request", "completion_response"] == [event["event_type"] for event in events]
    return events


def public_api(path: Path, closing: ExitStack) -> Variant:
    """The whole default pipeline, the metrics event every ten completions included."""
    logger = structllm.create_llm_logger(log_file=path)
    closing.callback(logger.close)
    return Variant("structllm", repeat(lambda: log_completion(logger)))


class TestEmit:
    """One completion, from the caller's point of view."""

    def test_completion(self, race: Callable[[Race], Race], tmp_path: Path, closing: ExitStack) -> None:
        """Every variant writes every event, whole and once; then what each costs."""
        events = example(tmp_path / "example.log")
        paths = {name: tmp_path / f"{name}.log" for name in ("floor", "standard library", "structllm")}
        variants = [
            floor(paths["floor"], events, closing),
            through_logging("standard library", rotating_handler(paths["standard library"]), events, closing),
            public_api(paths["structllm"], closing),
        ]
        for variant in variants:
            variant.run(METRICS_EVERY)
            self.check(read(paths[variant.name])[: 2 * METRICS_EVERY], events)
        done = race(
            Race(
                "a completion through the public API",
                variants,
                BLOCK,
                [Target("structllm", "floor", 4.0), Target("structllm", "standard library", 2.0, faster=True)],
            )
        )
        completions = METRICS_EVERY + done.repetitions
        assert 2 * completions == len(read(paths["floor"])) == len(read(paths["standard library"]))
        written = read(paths["structllm"])
        assert 2 * completions + completions // METRICS_EVERY == len(written)
        assert list(range(1, len(written) + 1)) == [event["seq"] for event in written]

    def check(self, written: list[dict[str, Any]], events: list[dict[str, Any]]) -> None:
        """Compare what a variant wrote with the example: the same fields, and lines of the same length."""
        assert len(events) * METRICS_EVERY == len(written)
        for event, expected in zip(written, events * METRICS_EVERY, strict=True):
            assert expected.keys() == event.keys()
            longer = len(orjson.dumps(event)) - len(orjson.dumps(expected))
            assert abs(longer) <= 8, "lines differ by more than the digits of a time or a number"
