"""The demo model: its rules, its usage, and that LangChain can do with it what it does with any chat model."""

import asyncio
import itertools
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage

from structllm.demo.model import (
    GARBAGE,
    MODEL_NAME,
    DemoRateLimitError,
    RuleBasedDemoModel,
    decide,
    estimate_tokens,
    read_indicators,
)

RISING = {"rsi": 55.0, "ema_fast": 11.0, "ema_slow": 10.0, "macd_histogram": 0.5, "volatility_pct": 40.0}
FALLING = {"rsi": 45.0, "ema_fast": 10.0, "ema_slow": 11.0, "macd_histogram": -0.5, "volatility_pct": 40.0}
PROMPT = [SystemMessage("You trade."), HumanMessage(f"Indicators: {json.dumps(RISING)}")]

numbers = st.floats(min_value=-1e6, max_value=1e6)


def instant(**options: object) -> RuleBasedDemoModel:
    """The model without its waits."""
    return RuleBasedDemoModel.model_validate({"latency_ms": 0, "ms_per_token": 0, "slow_s": 0, **options})


class TestDecide:
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({}, "LONG"),
            ({"rsi": 70.0}, "LONG"),
            ({"rsi": 70.1}, "CLOSE"),
            ({"macd_histogram": 0.0}, "HOLD"),
            ({"ema_fast": 9.0}, "HOLD"),
            ({"ema_fast": 9.0, "macd_histogram": -0.1}, "SHORT"),
            ({"ema_fast": 9.0, "macd_histogram": -0.1, "rsi": 30.0}, "SHORT"),
            ({"ema_fast": 9.0, "macd_histogram": -0.1, "rsi": 29.9}, "HOLD"),
        ],
    )
    def test_rules(self, change: dict[str, float], expected: str) -> None:
        """Each documented rule decides its case, up to its boundary."""
        assert expected == decide(RISING | change).action

    @pytest.mark.parametrize(
        ("volatility", "expected"), [(40.0, 10.0), (10.0, 20.0), (0.0, 20.0), (1000.0, 1.0), (None, 10.0)]
    )
    def test_size_follows_volatility(self, volatility: float | None, expected: float) -> None:
        """4 % over the volatility, between 1 and 20 % of equity; 40 % is assumed where it is not known."""
        indicators = {name: value for name, value in FALLING.items() if name != "volatility_pct"}
        if volatility is not None:
            indicators["volatility_pct"] = volatility
        assert expected == decide(indicators).size_pct

    @pytest.mark.parametrize("name", ["rsi", "ema_fast", "ema_slow", "macd_histogram"])
    def test_holds_without_an_indicator(self, name: str) -> None:
        """What is missing is named, and nothing is traded on a guess."""
        verdict = decide({other: value for other, value in RISING.items() if other != name})
        assert ("HOLD", 0.0, f"Not enough to go by: {name} missing") == tuple(verdict)

    @given(st.fixed_dictionaries(dict.fromkeys(RISING, numbers)))
    @settings(max_examples=200)
    def test_sizes_only_what_it_trades(self, indicators: dict[str, float]) -> None:
        """LONG and SHORT have 1 to 20 % of equity, HOLD and CLOSE have none."""
        verdict = decide(indicators)
        assert (verdict.action in ("LONG", "SHORT")) == (1 <= verdict.size_pct <= 20)
        assert verdict.size_pct >= 0


class TestReadIndicators:
    @pytest.mark.parametrize(
        "prompt",
        [
            '{"rsi": 62.5, "macd": -1e-05}',
            "rsi: 62.5\nmacd: -0.00001",
            "rsi=62.5, macd=-1e-05",
            "'rsi':62.5 macd = -1E-5",
        ],
    )
    def test_reads_the_usual_spellings(self, prompt: str) -> None:
        """JSON, lists and assignments are read alike."""
        assert {"rsi": 62.5, "macd": -1e-05} == read_indicators(prompt)

    def test_last_one_counts(self) -> None:
        """The current state comes after older messages."""
        assert read_indicators("rsi: 1 ... rsi: 2") == {"rsi": 2.0}


class TestEstimateTokens:
    @given(st.text(max_size=200))
    @settings(max_examples=100)
    def test_is_a_quarter_rounded_up(self, text: str) -> None:
        """The stated rule, and nothing else."""
        assert math.ceil(len(text) / 4) == estimate_tokens(text)


class TestModel:
    def test_is_named_as_what_it_is(self) -> None:
        """Nothing about the model carries a provider's or a real model's name."""
        model = instant()
        params = model._get_ls_params()
        assert (MODEL_NAME, "structllm") == (params["ls_model_name"], params["ls_provider"])
        assert model._llm_type == "structllm-demo-rules"
        assert MODEL_NAME == model.invoke(PROMPT).response_metadata["model_name"]

    def test_answers_the_decision_as_json(self) -> None:
        """The text is what `decide` says about the indicators in the prompt."""
        assert decide(RISING)._asdict() == json.loads(str(instant().invoke(PROMPT).text))

    def test_reports_usage(self) -> None:
        """Tokens are those of all messages and of the answer, by the stated rule."""
        answer = instant().invoke(PROMPT)
        prompt_text = "\n".join(str(message.text) for message in PROMPT)
        expected = estimate_tokens(prompt_text), estimate_tokens(str(answer.text))
        assert answer.usage_metadata is not None
        assert expected == (answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"])
        assert sum(expected) == answer.usage_metadata["total_tokens"]

    def test_runs_are_equal(self) -> None:
        """The same prompts give the same answers."""
        assert instant().invoke(PROMPT).content == instant().invoke(PROMPT).content

    async def test_every_way_to_ask_agrees(self) -> None:
        """invoke, ainvoke, stream and astream give the same text, usage and metadata."""
        model = instant()
        streamed = [chunk async for chunk in model.astream(PROMPT)]
        answers = [
            model.invoke(PROMPT),
            await model.ainvoke(PROMPT),
            _joined(list(model.stream(PROMPT))),
            _joined(streamed),
        ]
        assert 1 == len({answer.text for answer in answers})
        assert [answers[0].usage_metadata] * 4 == [answer.usage_metadata for answer in answers]
        assert [answers[0].response_metadata] * 4 == [answer.response_metadata for answer in answers]
        assert len(streamed) > 10

    def test_batch_answers_each(self) -> None:
        """Threads of one batch do not mix their prompts."""
        prompts = [[HumanMessage(json.dumps(RISING))], [HumanMessage(json.dumps(FALLING))]] * 4
        actions = [json.loads(str(answer.text))["action"] for answer in instant().batch(prompts)]
        assert ["LONG", "SHORT"] * 4 == actions


class TestFaults:
    def test_happen_at_their_call_only(self) -> None:
        """The second call answers nonsense, the third is refused, the fourth is well again."""
        model = instant(faults={2: "garbage", 3: "rate_limit"})
        texts = [str(model.invoke(PROMPT).text), str(model.invoke(PROMPT).text)]
        with pytest.raises(DemoRateLimitError, match="planted by the demo"):
            model.invoke(PROMPT)
        texts.append(str(model.invoke(PROMPT).text))
        assert [GARBAGE] == [text for text in texts if not text.startswith("{")]
        assert texts[1] == GARBAGE

    def test_garbage_is_no_json(self) -> None:
        """Nobody can read the planted nonsense as an action."""
        starts = [at for at, letter in enumerate(GARBAGE) if letter == "{"]
        for text in [GARBAGE, *(GARBAGE[start:] for start in starts)]:
            with pytest.raises(json.JSONDecodeError):
                json.loads(text)

    async def test_slow_call_can_be_given_up(self) -> None:
        """A call that takes its time is ended by the caller's deadline."""
        model = instant(faults={1: "slow"}, slow_s=60)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await model.ainvoke(PROMPT)

    async def test_count_streams_too(self) -> None:
        """A fault strikes whichever way the model is asked."""
        model = instant(faults={1: "garbage", 2: "garbage"})
        first = _joined(list(model.stream(PROMPT)))
        second = _joined([chunk async for chunk in model.astream(PROMPT)])
        assert (GARBAGE, GARBAGE) == (first.text, second.text)


def _joined(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    return list(itertools.accumulate(chunks))[-1]
