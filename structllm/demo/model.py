"""The demo's chat model: a rule set behind LangChain's interface. No network, no key, no randomness, no tokens bought.

It is a real `BaseChatModel`, so that the demo exercises the very path that a provider's model takes: callbacks, usage,
errors, time-outs, streaming. It never calls itself anything but `demo-rules`, which no price list knows.
"""

import asyncio
import itertools
import json
import math
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

from structllm.errors import StructllmError

MODEL_NAME = "demo-rules"
CHARS_PER_TOKEN = 4
GARBAGE = "Great question! Markets are complex, so let me think about that {action: maybe LONG?? or"

Fault = Literal["garbage", "rate_limit", "slow"]
"""What a call can be made to do: answer nonsense, be refused by the provider, or take `slow_s` seconds."""


class DemoRateLimitError(StructllmError):
    """What a provider's refusal looks like; planted by the demo, nobody was called."""


class Verdict(NamedTuple):
    """What the rules decide, in the fields of a trade action."""

    action: Literal["LONG", "SHORT", "HOLD", "CLOSE"]
    size_pct: float
    rationale: str


def decide(indicators: Mapping[str, float]) -> Verdict:
    """Decide by fixed rules, the first that applies.

    1. Without `rsi`, `ema_fast`, `ema_slow` and `macd_histogram`: HOLD.
    2. RSI above 70 (Wilder's overbought line): CLOSE.
    3. Fast EMA above slow and MACD histogram above 0: LONG.
    4. Fast EMA below slow and MACD histogram below 0: SHORT, but HOLD where RSI is below 30 (oversold).
    5. Otherwise: HOLD.

    A position is sized so that it alone moves the account by about 4 % a year: 4 % divided by the volatility, within 1
    to 20 % of equity. It illustrates logging and is no advice to trade.
    """
    missing = [name for name in ("rsi", "ema_fast", "ema_slow", "macd_histogram") if name not in indicators]
    if missing:
        return Verdict("HOLD", 0.0, f"Not enough to go by: {', '.join(missing)} missing")
    rsi, momentum = indicators["rsi"], indicators["macd_histogram"]
    trend = indicators["ema_fast"] - indicators["ema_slow"]
    rising, falling = trend > 0 and momentum > 0, trend < 0 and momentum < 0
    facts = f"RSI {rsi:.1f}, MACD histogram {momentum:+.2f}"
    size = round(min(20.0, max(1.0, 400 / max(indicators.get("volatility_pct", 40.0), 1.0))), 1)
    if rsi > 70:
        return Verdict("CLOSE", 0.0, f"Overbought, taking profit: {facts}")
    if rising:
        return Verdict("LONG", size, f"Uptrend with room left: {facts}")
    if falling and rsi < 30:
        return Verdict("HOLD", 0.0, f"Falling, yet already oversold: {facts}")
    if falling:
        return Verdict("SHORT", size, f"Downtrend: {facts}")
    return Verdict("HOLD", 0.0, f"Trend and momentum disagree: {facts}")


_NUMBER = re.compile(r"""["']?\b([a-z_]{3,32})["']?\s*[:=]\s*(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)""")


def read_indicators(prompt: str) -> dict[str, float]:
    """Return every `name: number` or `"name": number` of a prompt, the last of each name."""
    return {name: float(value) for name, value in _NUMBER.findall(prompt)}


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text: one per four characters, rounded up, the usual rule of thumb for English.

    Real tokenisers differ by some ten percent on prose and more on numbers; this serves the demo and nothing else.
    """
    return math.ceil(len(text) / CHARS_PER_TOKEN)


class RuleBasedDemoModel(BaseChatModel):
    """Answers every prompt with a trade action as JSON, decided by `decide` from the indicators in the prompt.

    The same prompts in the same order give the same answers. Time to answer: `latency_ms` plus `ms_per_token` for each
    token of the answer; a real model takes a hundred times as long.

    Attributes:
        faults: Number of the call (1, 2, 3 ...) to what goes wrong with it.
        latency_ms: Milliseconds before the first token.
        ms_per_token: Milliseconds for each token of the answer.
        slow_s: Seconds that a `slow` call takes.
    """

    faults: Mapping[int, Fault] = {}
    latency_ms: float = 12.0
    ms_per_token: float = 0.4
    slow_s: float = 30.0
    _numbers: Iterator[int] = PrivateAttr(default_factory=lambda: itertools.count(1))

    @property
    def _llm_type(self) -> str:
        return f"structllm-{MODEL_NAME}"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"model_name": MODEL_NAME}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return LangSmithParams(ls_provider="structllm", ls_model_name=MODEL_NAME, ls_model_type="chat")

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer, waits_s = self._begin(messages)
        time.sleep(sum(waits_s))
        return _result(messages, answer)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer, waits_s = self._begin(messages)
        await asyncio.sleep(sum(waits_s))
        return _result(messages, answer)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        answer, waits_s = self._begin(messages)
        for chunk, wait_s in zip(_chunks(messages, answer), waits_s, strict=True):
            time.sleep(wait_s)
            if run_manager is not None and chunk.text:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        answer, waits_s = self._begin(messages)
        for chunk, wait_s in zip(_chunks(messages, answer), waits_s, strict=True):
            await asyncio.sleep(wait_s)
            if run_manager is not None and chunk.text:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _begin(self, messages: Sequence[BaseMessage]) -> tuple[str, list[float]]:
        """Return the answer and the seconds to wait before each of its pieces, the last of which holds the usage."""
        fault = self.faults.get(next(self._numbers))
        if fault == "rate_limit":
            raise DemoRateLimitError("429 rate limit reached, retry in 1 s (planted by the demo)")
        answer = GARBAGE if fault == "garbage" else json.dumps(decide(read_indicators(_text(messages)))._asdict())
        per_piece_s = self.ms_per_token / 1000
        waits_s = [per_piece_s] * estimate_tokens(answer)
        waits_s[0] += self.slow_s if fault == "slow" else self.latency_ms / 1000
        return answer, [*waits_s, 0.0]


def _text(messages: Sequence[BaseMessage]) -> str:
    return "\n".join(str(message.text) for message in messages)


def _usage(messages: Sequence[BaseMessage], answer: str) -> UsageMetadata:
    prompt, completion = estimate_tokens(_text(messages)), estimate_tokens(answer)
    return UsageMetadata(input_tokens=prompt, output_tokens=completion, total_tokens=prompt + completion)


def _result(messages: Sequence[BaseMessage], answer: str) -> ChatResult:
    metadata = {"model_name": MODEL_NAME, "finish_reason": "stop"}
    message = AIMessage(answer, usage_metadata=_usage(messages, answer), response_metadata=metadata)
    return ChatResult(generations=[ChatGeneration(message=message)])


def _chunks(messages: Sequence[BaseMessage], answer: str) -> Iterator[ChatGenerationChunk]:
    """Cut the answer into its estimated tokens and end with a piece that carries usage and metadata only."""
    for start in range(0, len(answer), CHARS_PER_TOKEN):
        yield ChatGenerationChunk(message=AIMessageChunk(content=answer[start : start + CHARS_PER_TOKEN]))
    yield ChatGenerationChunk(
        message=AIMessageChunk(
            content="",
            usage_metadata=_usage(messages, answer),
            response_metadata={"model_name": MODEL_NAME, "finish_reason": "stop"},
            chunk_position="last",
        )
    )
