"""What a completion costs its caller: a request and its response, logged through the public API with default settings.

The floor and the standard library write the very events that structllm wrote, ready made. They do not bind context,
price, redact, truncate or count; the standard library's handler does rotate.
"""

import json
import logging
import logging.handlers
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

import structllm
from benchmarks.floor import Floor
from benchmarks.racing import Race, Target, Variant

BLOCK = 10
METRICS_EVERY = 10
ENVELOPE = ("event_type", "timestamp", "session_id", "level", "schema_version", "writer", "seq")

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


def repeat(action: Callable[[], None]) -> Callable[[int], None]:
    """Run an action a number of times."""

    def run(count: int) -> None:
        for _ in range(count):
            action()

    return run


def read(path: Path) -> list[dict[str, Any]]:
    """Every line of a file, each of which has to be a JSON object."""
    lines = path.read_bytes().split(b"\n")
    assert b"" == lines.pop(), "the last line is torn"
    return [orjson.loads(line) for line in lines]


def example(path: Path) -> list[dict[str, Any]]:
    """The two events of a completion, as structllm writes them."""
    logger = structllm.create_llm_logger(log_file=path)
    log_completion(logger)
    logger.close()
    events = read(path)
    assert ["completion_request", "completion_response"] == [event["event_type"] for event in events]
    return events


def floor(path: Path, events: list[dict[str, Any]], closing: ExitStack) -> Variant:
    """The floor, writing these events: the envelope is its context, the rest its fields."""
    writers = []
    for event in events:
        envelope = {key: event[key] for key in ENVELOPE}
        writer = Floor(path, envelope)
        closing.callback(writer.close)
        writers.append((writer, {key: value for key, value in event.items() if key not in ENVELOPE}))

    def write() -> None:
        for writer, fields in writers:
            writer.write(fields)

    return Variant("floor", repeat(write))


def standard_library(path: Path, events: list[dict[str, Any]], closing: ExitStack) -> Variant:
    """logging, RotatingFileHandler and json.dumps."""
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=52_428_800, backupCount=5, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("structllm.benchmark")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    closing.callback(handler.close)
    closing.callback(logger.removeHandler, handler)

    def write() -> None:
        for event in events:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            logger.info(json.dumps({**event, "timestamp": now}, separators=(",", ":"), ensure_ascii=False))

    return Variant("standard library", repeat(write))


def public_api(path: Path, closing: ExitStack) -> Variant:
    """The whole default pipeline, the metrics event every ten completions included."""
    logger = structllm.create_llm_logger(log_file=path)
    closing.callback(logger.close)
    return Variant("structllm", repeat(lambda: log_completion(logger)))


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Where variants leave what has to be closed."""
    with ExitStack() as stack:
        yield stack


class TestEmit:
    """One completion, from the caller's point of view."""

    def test_completion(self, race: Callable[[Race], Race], tmp_path: Path, closing: ExitStack) -> None:
        """Every variant writes every event, whole and once; then what each costs."""
        events = example(tmp_path / "example.log")
        paths = {name: tmp_path / f"{name}.log" for name in ("floor", "standard library", "structllm")}
        variants = [
            floor(paths["floor"], events, closing),
            standard_library(paths["standard library"], events, closing),
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
