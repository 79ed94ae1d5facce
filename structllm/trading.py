"""What a trading agent is asked and what it answers: market state, action, and the checks between the two.

Everything here is lenient in form and strict in meaning. An answer may be wrapped in prose or a fence, but one that can
be read in two ways is refused: no decision is safer than the wrong one.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, NoReturn, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from structllm.errors import ConfigError, StructllmError

MAX_ANSWER_CHARS = 65_536
"""An answer longer than this is not searched for an action."""

_MAX_BRACES = 64  # opening braces tried in an answer, so that an answer full of them costs little


class AnswerError(StructllmError):
    """A model's answer has no action, or none that is certain. The message never quotes the answer."""


class TradeAction(BaseModel):
    """What to do.

    Attributes:
        action: LONG and SHORT open a position, CLOSE ends one, HOLD leaves things as they are.
        size_pct: Size of the position in percent of equity, 0 to 100.
        rationale: Why.
        symbol: What it is about, where the model says so.
        confidence: 0 to 1, where the model says so.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    action: Literal["LONG", "SHORT", "HOLD", "CLOSE"]
    size_pct: float = Field(default=0.0, ge=0, le=100, allow_inf_nan=False)
    rationale: str = ""
    symbol: str | None = None
    confidence: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)

    @field_validator("action", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return value.strip().upper() if isinstance(value, str) else value

    @field_validator("size_pct", mode="before")
    @classmethod
    def _plain_number(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("true and false are no size")
        return value.strip().removesuffix("%") if isinstance(value, str) else value


class MarketState(BaseModel):
    """What the agent sees of one market. Further fields are allowed and reach the model and the log.

    Attributes:
        symbol: For example `BTC-USD`.
        current_price: In the quote currency.
        indicators: Indicator name to value.
    """

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    symbol: str = Field(min_length=1)
    current_price: float = Field(allow_inf_nan=False)
    indicators: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def of(cls, state: object) -> "MarketState":
        """Return the market state in a mapping, another pydantic model, or any object with these attributes.

        Raises:
            ValidationError: It lacks a field or has an unusable one.
        """
        if isinstance(state, cls):
            return state
        if isinstance(state, BaseModel):
            state = state.model_dump()
        return cls.model_validate(state, from_attributes=True)

    def flat(self) -> dict[str, Any]:
        """Return everything in one level: the `market_context` of the log."""
        extra = self.model_extra or {}
        return {**self.indicators, **extra, "symbol": self.symbol, "current_price": self.current_price}


class Verdict(NamedTuple):
    """What a check says of a proposed action.

    Attributes:
        approved: False turns the action into a HOLD.
        text: For the log, e.g. `PASSED` or `REJECTED - the market is closed`.
        action: To be taken in place of the proposed one, e.g. a smaller one; None leaves it.
    """

    approved: bool
    text: str
    action: TradeAction | None = None


Check: TypeAlias = Callable[[TradeAction, MarketState], Any]
"""Takes the proposed action and the market; returns a `Verdict`, or an awaitable of one."""


def validate_action(action: TradeAction, market: MarketState) -> Verdict:
    """Default validation: a position to open has a size, and the action is about the market that was asked about."""
    if action.action in ("LONG", "SHORT") and action.size_pct == 0:
        return Verdict(False, f"FAILED - {action.action} without a size")
    if action.symbol is not None and action.symbol != market.symbol:
        return Verdict(False, "FAILED - the answer is about another symbol")
    return Verdict(True, "PASSED")


class SizeCap:
    """Default risk check: positions to open are cut to a largest size.

    Args:
        max_size_pct: Largest size in percent of equity.
    """

    def __init__(self, max_size_pct: float = 25.0) -> None:
        if not 0 <= max_size_pct <= 100:
            raise ConfigError("max_size_pct of SizeCap is a percentage: 0 to 100")
        self._max_size_pct = max_size_pct

    def __call__(self, action: TradeAction, market: MarketState) -> Verdict:
        """Approve the action, cut to the cap where it opens a position."""
        if action.action not in ("LONG", "SHORT") or action.size_pct <= self._max_size_pct:
            return Verdict(True, "APPROVED - Within risk parameters")
        smaller = action.model_copy(update={"size_pct": self._max_size_pct})
        return Verdict(True, f"APPROVED - size cut from {action.size_pct:g} % to {self._max_size_pct:g} %", smaller)


def read_answer(answer: object) -> TradeAction:
    """Return the action in a model's answer.

    Args:
        answer: A LangChain message or its text, or what a parser made of it (a mapping or a `TradeAction`).

    Raises:
        AnswerError: There is no action, or more than one, or it is not valid.
    """
    if isinstance(answer, TradeAction):
        return answer
    if isinstance(answer, Mapping):
        found = [dict(cast("Mapping[str, Any]", answer))]
    else:
        text = answer if isinstance(answer, str) else getattr(answer, "text", None)
        if not isinstance(text, str) or not text.strip():
            raise AnswerError("the model answered no text")
        if len(text) > MAX_ANSWER_CHARS:
            raise AnswerError("the model's answer is too long")
        found = [value for value in _json_objects(text) if "action" in value]
    if not found:
        raise AnswerError("the model's answer has no JSON object with an action")
    if any(other != found[0] for other in found[1:]):
        raise AnswerError("the model's answer has several different actions")
    try:
        return TradeAction.model_validate(_without_blanks(found[0]))
    except ValidationError as error:
        raise AnswerError(f"the model's action is not valid: {describe(error)}") from None


def describe(error: BaseException) -> str:
    """Return an error in one line for the log; of a validation error, which fields are wrong and why."""
    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems[:5])
    try:
        text = str(error)[:200]
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _json_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in a text, wherever they stand: bare, in a fence, or in the middle of prose."""
    decoder = json.JSONDecoder(parse_constant=_no_number, object_pairs_hook=_each_key_once)
    position = text.find("{")
    for _ in range(_MAX_BRACES):
        if position < 0:
            return
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            # In what begins as JSON and breaks off, an inner object may say the contrary of the outer one.
            if text[position + 1 : position + 1024].lstrip().startswith('"'):
                raise AnswerError("the model's answer has a broken JSON object") from None
            end = position + 1
        else:
            yield value
        position = text.find("{", end)
    raise AnswerError("the model's answer has too many braces")


def _no_number(constant: str) -> NoReturn:
    raise AnswerError("the model's answer has a NaN or Infinity")


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise AnswerError("the model's answer says the same key twice")
    return dict(pairs)


def _without_blanks(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer without nulls, and without a confidence in words or percent: it decides nothing."""
    stated = {name: value for name, value in answer.items() if value is not None}
    confidence = stated.get("confidence")
    if not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        stated.pop("confidence", None)
    return stated
