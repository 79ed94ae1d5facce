"""Market states, answers and checks: lenient in form, strict in meaning."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from pydantic import BaseModel, ValidationError

from structllm.errors import ConfigError
from structllm.trading import (
    MAX_ANSWER_CHARS,
    AnswerError,
    MarketState,
    SizeCap,
    TradeAction,
    Verdict,
    describe,
    read_answer,
    validate_action,
)

LONG = '{"action": "LONG", "size_pct": 15, "rationale": "Bullish momentum"}'
MARKET = MarketState(symbol="BTC-USD", current_price=45230.5, indicators={"rsi": 62.5})

actions = st.builds(
    TradeAction,
    action=st.sampled_from(["LONG", "SHORT", "HOLD", "CLOSE"]),
    size_pct=st.floats(0, 100),
    rationale=st.text(max_size=50),
    symbol=st.none() | st.text(max_size=10),
    confidence=st.none() | st.floats(0, 1),
)


class TestReadAnswer:
    """Which action is in what a model said."""

    @pytest.mark.parametrize(
        "answer",
        [
            LONG,
            f"  {LONG}\n",
            f"```json\n{LONG}\n```",
            f"```\n{LONG}\n```",
            f"After looking at {{momentum}} and {{ volume }} I decide:\n{LONG}\nGood luck {{trader}}!",
            f"[{LONG}]",
            f"{LONG}\nAs I said:\n{LONG}",
            '{"thought": "up"} ' + LONG,
            LONG.replace("LONG", " long "),
            LONG.replace("15", '"15 %"'),
            LONG.replace("}", ', "confidence": null, "symbol": null}'),
            LONG.replace("}", ', "confidence": "high"}'),
            LONG.replace("}", ', "confidence": 85}'),
            LONG.replace("}", ', "stop_loss": {"price": 44000}}'),
            json.loads(LONG),
            TradeAction(action="LONG", size_pct=15, rationale="Bullish momentum"),
            AIMessage(f"```json\n{LONG}\n```"),
            AIMessage([{"type": "text", "text": LONG}]),
            AIMessage([{"type": "reasoning", "reasoning": '{"action": "SHORT"}'}, {"type": "text", "text": LONG}]),
        ],
    )
    def test_readable(self, answer: object) -> None:
        """One action is found wherever it stands and however it is dressed."""
        assert TradeAction(action="LONG", size_pct=15.0, rationale="Bullish momentum") == read_answer(answer)

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            ("", "no text"),
            (" \n", "no text"),
            (None, "no text"),
            (b"{}", "no text"),
            (AIMessage(""), "no text"),
            ("Buy! Buy! Buy!", "no JSON object with an action"),
            ("{}", "no JSON object with an action"),
            ('{"decision": ' + LONG + "}", "no JSON object with an action"),
            (LONG + LONG.replace("LONG", "SHORT"), "several different actions"),
            (LONG.replace("15", "20") + LONG, "several different actions"),
            ('{"action": "LONG", "action": "SHORT"}', "same key twice"),
            ('{"action": "SHORT", "other": {"size_pct": 1, "size_pct": 2}}', "same key twice"),
            ('{"action": "SHORT", "alternatives": [' + LONG, "broken JSON object"),
            (LONG[:-1], "broken JSON object"),
            (LONG.replace("15", "NaN"), "NaN"),
            (LONG.replace("15", "-Infinity"), "Infinity"),
            (LONG.replace("15", "1e999"), "size_pct"),
            (LONG.replace("15", "-1"), "size_pct"),
            (LONG.replace("15", "100.5"), "size_pct"),
            (LONG.replace("15", "true"), "size_pct"),
            (LONG.replace("15", '"a lot"'), "size_pct"),
            (LONG.replace("LONG", "BUY"), "action"),
            (LONG.replace('"LONG"', "7"), "action"),
            ('{"action": null}', "action"),
            ({"no": "action"}, "action"),
            ("{" * 100, "too many braces"),
            ('{"a":' * 5000, "broken JSON object"),
            ('{"action":' + "[" * 5000, "broken JSON object"),
            ('{"action": ' + "9" * 5000 + "}", "broken JSON object"),
            (" " * MAX_ANSWER_CHARS + LONG, "too long"),
        ],
    )
    def test_refused(self, answer: object, reason: str) -> None:
        """What has no action, or could be read in two ways, is refused with the reason."""
        with pytest.raises(AnswerError, match=reason):
            read_answer(answer)

    def test_reason_does_not_quote(self) -> None:
        """The reason names fields and rules and repeats nothing that the model said."""
        with pytest.raises(AnswerError) as caught:
            read_answer(LONG.replace("LONG", "my-secret"))
        assert "my-secret" not in str(caught.value)

    @settings(max_examples=150)
    @given(st.text() | st.text(alphabet='{}[]":,action LNGOSHRTE019.\\'))
    def test_any_text(self, text: str) -> None:
        """Any text is an action or refused; nothing else comes out."""
        try:
            assert isinstance(read_answer(text), TradeAction)
        except AnswerError:
            return

    @settings(max_examples=100)
    @given(actions, st.text(alphabet=st.characters(exclude_characters="{}")), st.text(alphabet="`\n json"))
    def test_round_trip(self, action: TradeAction, prose: str, fence: str) -> None:
        """An action written as JSON comes back whole from the middle of any prose."""
        assert action == read_answer(f"{prose}{fence}{action.model_dump_json()}{fence}{prose}")


class TestTradeAction:
    """What an action is."""

    def test_hold_needs_nothing(self) -> None:
        """A HOLD is complete without size and reason."""
        assert (0.0, "", None) == (
            (hold := TradeAction(action="HOLD")).size_pct,
            hold.rationale,
            hold.confidence,
        )

    @pytest.mark.parametrize("fields", [{"size_pct": float("nan")}, {"size_pct": 101}, {"confidence": 2}])
    def test_limits(self, fields: dict[str, Any]) -> None:
        """Numbers out of their range are refused."""
        with pytest.raises(ValidationError):
            TradeAction(action="LONG", **fields)

    def test_frozen(self) -> None:
        """An action that was checked cannot be changed afterwards."""
        action = TradeAction(action="HOLD")
        with pytest.raises(ValidationError):
            action.size_pct = 50.0  # type: ignore[misc]  # that is what is tested


class TestMarketState:
    """What the agent is asked about."""

    def test_from_anything(self) -> None:
        """A mapping, another model and any object with the attributes are the same market."""

        class Theirs(BaseModel):
            symbol: str = "BTC-USD"
            current_price: float = 45230.5
            indicators: dict[str, float] = {"rsi": 62.5}

        @dataclass
        class Plain:
            symbol: str
            current_price: float
            indicators: dict[str, float]

        states = [MARKET.model_dump(), Theirs(), Plain("BTC-USD", 45230.5, {"rsi": 62.5}), MARKET]
        assert [MARKET] * 4 == [MarketState.of(state) for state in states]

    @pytest.mark.parametrize(
        "state",
        [{}, {"symbol": "", "current_price": 1}, {"symbol": "X", "current_price": float("nan")}, None, 7, "BTC"],
    )
    def test_unusable(self, state: object) -> None:
        """Without symbol and price there is nothing to decide about."""
        with pytest.raises(ValidationError):
            MarketState.of(state)

    def test_flat(self) -> None:
        """Indicators and further fields lie side by side; symbol and price are the market's own."""
        state = MarketState.of({**MARKET.model_dump(), "mood": "calm", "indicators": {"rsi": 62.5, "symbol": "no"}})
        assert {"symbol": "BTC-USD", "current_price": 45230.5, "rsi": 62.5, "mood": "calm"} == state.flat()


class TestChecks:
    """The default checks."""

    @pytest.mark.parametrize(
        ("action", "expected"),
        [
            (TradeAction(action="LONG", size_pct=15), Verdict(True, "PASSED")),
            (TradeAction(action="HOLD"), Verdict(True, "PASSED")),
            (TradeAction(action="CLOSE", symbol="BTC-USD"), Verdict(True, "PASSED")),
            (TradeAction(action="SHORT"), Verdict(False, "FAILED - SHORT without a size")),
            (TradeAction(action="CLOSE", symbol="X"), Verdict(False, "FAILED - the answer is about another symbol")),
        ],
    )
    def test_validation(self, action: TradeAction, expected: Verdict) -> None:
        """A position to open has a size, and the answer is about the market that was asked about."""
        assert expected == validate_action(action, MARKET)

    @pytest.mark.parametrize(
        ("name", "size", "expected"),
        [("LONG", 10.0, 10.0), ("LONG", 10.1, 10.0), ("SHORT", 100.0, 10.0), ("CLOSE", 100.0, 100.0), ("HOLD", 0, 0)],
    )
    def test_size_cap(self, name: Any, size: float, expected: float) -> None:
        """Positions to open are cut to the cap; a CLOSE is never made smaller."""
        proposed = TradeAction(action=name, size_pct=size)
        verdict = SizeCap(10.0)(proposed, MARKET)
        assert (True, expected) == (verdict.approved, (verdict.action or proposed).size_pct)
        assert verdict.text.startswith("APPROVED - ")
        assert ("cut from" in verdict.text) == (size != expected)

    @pytest.mark.parametrize("cap", [-1, 101, float("nan")])
    def test_cap_is_a_percentage(self, cap: float) -> None:
        """A cap outside of 0 to 100 is refused when it is built."""
        with pytest.raises(ConfigError, match="max_size_pct"):
            SizeCap(cap)


class TestDescribe:
    """Errors in one line."""

    def test_long_and_empty_and_broken(self) -> None:
        """A long text is cut, an empty one left out, and one that cannot be had does no harm."""

        class Broken(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        assert [211, "TimeoutError", "Broken"] == [
            len(describe(Exception("x" * 999))),
            describe(TimeoutError()),
            describe(Broken()),
        ]
