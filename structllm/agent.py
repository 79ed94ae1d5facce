"""A trading agent around any LangChain chat model: one market state in, one logged decision out.

The agent never raises into the trading loop: a model that fails, is too slow or answers nonsense leads to a HOLD that
says why. Every model call is logged, and the decision names the requests that led to it.
"""

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import to_json

from structllm._question import Question
from structllm.errors import ConfigError, MissingExtra
from structllm.langchain import LangChainCallbackHandler
from structllm.logger import ChatCompletionLogger
from structllm.processors.context import bind_market
from structllm.processors.normalise import error_message
from structllm.settings import LLMSettings, load_settings
from structllm.trading import (
    AnswerError,
    Check,
    MarketState,
    SizeCap,
    TradeAction,
    Verdict,
    read_answer,
    validate_action,
)

__all__ = ["SYSTEM_PROMPT", "LLMAgent", "MarketState", "SizeCap", "TradeAction", "Verdict", "validate_action"]

SYSTEM_PROMPT = """\
You are a careful trader. You are given the state of one market as JSON and decide what to do with the position in it.
Answer with one JSON object and nothing else:
{"action": "LONG" | "SHORT" | "HOLD" | "CLOSE", "size_pct": 0 to 100, "rationale": "one or two sentences"}
size_pct is the size of the position in percent of equity; it is 0 for HOLD and CLOSE. HOLD when in doubt."""

_MAX_ERROR_CHARS = 2_000


class LLMAgent:
    """Asks a model what to do and logs question, answer and decision.

    Model calls are logged also where `enable_langchain_callbacks` is off: that setting is about handlers that you
    create yourself.

    Args:
        model: A LangChain chat model, or any runnable that turns messages into an answer. Default: the model that the
            setting `llm.model` names; as `provider:name` it may also be given here.
        logger: Where to log; default: one built from the settings.
        settings: Default: those of the logger, else `load_settings()`.
        validate: Check of the answer; default: `validate_action`.
        assess_risk: Check of a valid action; default: `SizeCap()`.
        timeout_s: Seconds that the model has for its answer; None waits for ever.
        system_prompt: Instructions to the model in place of ours; the answer must be a JSON object with `action`.

    Attributes:
        logger: Where it logs. Who built the agent closes it.

    Raises:
        ConfigError: No model is given or set, or it cannot be started.
        MissingExtra: LangChain is not installed.
    """

    def __init__(
        self,
        model: Any = None,
        *,
        logger: ChatCompletionLogger | None = None,
        settings: LLMSettings | None = None,
        validate: Check | None = None,
        assess_risk: Check | None = None,
        timeout_s: float | None = 60.0,
        system_prompt: str | None = None,
    ) -> None:
        if timeout_s is not None and not timeout_s > 0:
            raise ConfigError("timeout_s of LLMAgent is a number of seconds above 0, or None")
        settings = settings or (logger.settings if logger is not None else load_settings())
        self._model = _started(model, settings)
        self.logger = logger if logger is not None else _new_logger(settings)
        self._handler = LangChainCallbackHandler(self.logger)
        self._validate = validate or validate_action
        self._assess_risk = assess_risk or SizeCap()
        self._timeout_s = timeout_s
        self._system_prompt = system_prompt or SYSTEM_PROMPT
        self._decisions = 0
        self._errors: Counter[str] = Counter()
        self._last_action: str | None = None

    async def analyze_market(self, market_state: MarketState | Mapping[str, Any] | BaseModel) -> TradeAction:
        """Ask the model about a market, check its answer, and log the decision.

        Args:
            market_state: A `MarketState`, or a mapping or other object with its fields.

        Returns:
            What to do; a HOLD with the reason wherever something failed. Nothing is raised unless the caller's own
            task is cancelled; then no decision is logged.
        """
        try:
            market = MarketState.of(market_state)
        except Exception as error:
            return self._decide(_hold("market_state", f"the market state is unusable: {_described(error)}"), None, ())
        question = Question(self._handler)
        with bind_market(**market.flat()):
            try:
                decision = await self._decision(question, market)
            except Exception as error:
                decision = _hold("agent", f"the agent failed: {_described(error)}")
            return self._decide(decision, market, question.request_ids)

    def get_status(self) -> dict[str, Any]:
        """Return the state of the agent.

        `decision_count`, `last_action`, `error_count` and `errors` (by kind: `market_state`, `timeout`, `model`,
        `answer`, `validation`, `risk`, `agent`) are the agent's own; completions, times and cost are its logger's.
        """
        metrics = self.logger.get_metrics()
        return {
            "model": _model_name(self._model),
            "session_id": self.logger.session_id,
            "completion_count": metrics["total_completions"],
            "avg_response_time_ms": metrics["avg_response_time_ms"],
            "decision_count": self._decisions,
            "last_action": self._last_action,
            "error_count": self._errors.total(),
            "errors": dict(self._errors),
            "total_tokens": metrics["total_tokens"],
            "total_cost_estimate_usd": metrics["total_cost_estimate_usd"],
            "unpriced_calls": metrics["unpriced_calls"],
        }

    async def _decision(self, question: Question, market: MarketState) -> "_Decision":
        try:
            answer = await question.ask(self._model, self._messages(market), self._timeout_s)
        except TimeoutError as error:
            within = f"no answer within {self._timeout_s:g} s" if self._timeout_s else _described(error)
            return _hold("timeout", within)
        except Exception as error:
            return _hold("model", f"the model call failed: {_described(error)}")
        try:
            proposed = read_answer(answer)
        except AnswerError as error:
            return _hold("answer", str(error))
        return await self._checked(proposed, market)

    async def _checked(self, proposed: TradeAction, market: MarketState) -> "_Decision":
        validation = await _judge("validation", "FAILED", self._validate, proposed, market)
        action = validation.action or proposed
        if not validation.approved:
            return _hold("validation", validation.text, action, validation=validation.text)
        risk = await _judge("risk", "REJECTED", self._assess_risk, action, market)
        if not risk.approved:
            return _hold("risk", risk.text, action, validation=validation.text, risk=risk.text)
        return _Decision(risk.action or action, validation.text, risk.text, None)

    def _messages(self, market: MarketState) -> list[tuple[str, str]]:
        state = to_json(market, inf_nan_mode="null", fallback=_type_name).decode()
        return [("system", self._system_prompt), ("human", f"Market state:\n{state}\nYour decision as JSON:")]

    def _decide(self, decision: "_Decision", market: MarketState | None, request_ids: Sequence[str]) -> TradeAction:
        """Count and log the decision and return its action."""
        action = decision.action
        self._decisions += 1
        self._last_action = action.action
        if decision.failure is not None:
            self._errors[decision.failure] += 1
        more: dict[str, Any] = {} if action.confidence is None else {"confidence": action.confidence}
        self.logger.log_trading_decision(
            request_id=request_ids[-1] if request_ids else None,
            action=action.action,
            size_pct=action.size_pct,
            rationale=action.rationale,
            symbol=market.symbol if market is not None else None,
            current_price=market.current_price if market is not None else None,
            validation_result=decision.validation,
            risk_assessment=decision.risk,
            indicators=market.indicators if market is not None else None,
            caused_by=request_ids,
            **more,
        )
        return action


class _Decision(NamedTuple):
    """An action with what the checks said; `failure` is the kind of failure behind a HOLD."""

    action: TradeAction
    validation: str
    risk: str | None
    failure: str | None


def _hold(
    failure: str,
    reason: str,
    proposed: TradeAction | None = None,
    *,
    validation: str | None = None,
    risk: str | None = None,
) -> _Decision:
    """Return the HOLD for a reason; what the model wanted stays readable in the rationale."""
    rationale = f"Holding: {reason}"
    if proposed is not None:
        rationale += f". The model wanted {proposed.action} {proposed.size_pct:g} %: {proposed.rationale}"
    action = TradeAction(action="HOLD", rationale=rationale)
    return _Decision(action, validation or f"FAILED - {reason}", risk, failure)


async def _judge(kind: str, negative: str, check: Check, action: TradeAction, market: MarketState) -> Verdict:
    """Return the verdict of a check. One that raises or returns something else is a no."""
    try:
        verdict = check(action, market)
        if inspect.isawaitable(verdict):
            verdict = await verdict
    except Exception as error:
        return Verdict(False, f"{negative} - the {kind} check raised {_described(error)}")
    if not isinstance(verdict, Verdict):
        return Verdict(False, f"{negative} - the {kind} check returned {_type_name(verdict)}, not a Verdict")
    return verdict


def _described(error: BaseException) -> str:
    """Return an error in one line. Its text comes whole or not at all: redaction does not know half a secret."""
    text = error_message(error)
    if len(text) > _MAX_ERROR_CHARS:
        text = f"(a message of {len(text):,} characters)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _type_name(value: object) -> str:
    return f"<{type(value).__name__}>"


def _model_name(model: object) -> str:
    name = getattr(model, "model_name", None) or getattr(model, "model", None)
    return name if isinstance(name, str) else type(model).__name__


def _started(model: Any, settings: LLMSettings) -> Any:
    """Return the model that is given, or LangChain's for `provider:name`, given or in the setting `llm.model`."""
    setting = "llm.model (variable LLM__MODEL)" if model is None else "model of LLMAgent"
    name = settings.model if model is None else model
    if name is None:
        raise ConfigError(
            f"{setting}: no model: set it to provider:name, e.g. openai:o3-mini, or give LLMAgent a model"
        )
    if not isinstance(name, str):
        if not callable(getattr(name, "ainvoke", None)):
            raise ConfigError(f"{setting}: give a LangChain chat model, or provider:name")
        return name
    try:
        from langchain.chat_models import init_chat_model
    except ImportError:
        raise MissingExtra("A model from the settings", "langchain", "demo") from None
    try:
        return init_chat_model(name)
    except ImportError:
        problem = "the provider's LangChain package is not installed: for openai it is langchain-openai, and so on"
        raise ConfigError(f"{setting}: {problem}") from None
    except Exception as error:
        problem = f"LangChain cannot start it ({type(error).__name__}): it wants provider:name and usually a key"
        raise ConfigError(f"{setting}: {problem}") from None


def _new_logger(settings: LLMSettings) -> ChatCompletionLogger:
    # Through the public door: the composition root knows everybody and is known by nobody else.
    import structllm

    return structllm.create_llm_logger(settings=settings)
