"""The logger that agent code holds: it turns calls into events and never disturbs its caller."""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, Self, TypeVar, cast

from structllm._core import Core
from structllm._event_logger import EventLogger
from structllm._fanout import flush
from structllm._fields import (
    as_id,
    causing_cost,
    causing_ids,
    describe,
    elapsed_ms,
    from_request,
    from_view,
    imported_time,
    scan_chars,
    symbol_and_price,
    truth,
)
from structllm._pending import PendingRequest
from structllm.completion import Completion
from structllm.messages import prompt_view, response_view
from structllm.processors.context import current_context, merged_market
from structllm.settings import LLMSettings

M = TypeVar("M", bound=Callable[..., None])


def _never_raises(method: M) -> M:
    """Count what goes wrong in a method: it must not reach the host program."""

    @wraps(method)
    def guarded(self: "ChatCompletionLogger", *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.count_error(method.__name__, error)

    return cast("M", guarded)


class ChatCompletionLogger:
    """Logs completions, decisions and metrics as structured events.

    Built by `create_llm_logger`. All methods may be called from any thread or task. None of them raises an Exception
    because of what it is given, blocks longer than one write to each direct sink, or changes an object of the caller.
    Keyword fields that a method does not name land in the event under their own names.
    """

    def __init__(self, log: EventLogger, core: Core) -> None:
        self._log = log
        self._core = core

    @property
    def session_id(self) -> str:
        """The session of events that are logged where none is bound."""
        return self._log.emitter.session_id

    @property
    def writer(self) -> str:
        """The id of this process's writer, shared with the loggers bound from this one."""
        return self._log.emitter.writer

    @property
    def settings(self) -> LLMSettings:
        """The settings that this logger was built from."""
        return self._core.settings

    @property
    def enabled(self) -> bool:
        """False where `enable_completion_logging` is off and nothing is logged."""
        return True

    def bind(self, **context: Any) -> Self:
        """Return a logger that adds these fields to its events. Cheap; this logger stays as it is."""
        return type(self)(self._log.bind(**context), self._core)

    def log_completion_request(
        self,
        prompt: object,
        model: str,
        temperature: float | None = None,
        max_tokens: int | None = None,
        market_context: Mapping[str, Any] | None = None,
        *,
        provider: str | None = None,
        request_id: str | None = None,
        timestamp: datetime | str | None = None,
        **fields: Any,
    ) -> str:
        """Log that a model is about to be asked.

        Args:
            prompt: The prompt as text, or the messages in any client's shape. Only a preview is written.
            model: The model as asked for, e.g. `o3-mini`.
            temperature: Sampling temperature.
            max_tokens: Upper bound on output tokens.
            market_context: State of the market; added to what `bind_market` bound, and winning over it.
            provider: `openai`, `anthropic`, …; helps to find the price.
            request_id: The id to use; default: a fresh one.
            timestamp: The event's own time (aware datetime or RFC 3339 text) when importing; default: now.
            **fields: Further fields of the event.

        Returns:
            The request id, to be given to `log_completion_response`.
        """
        request_id = as_id(request_id) if request_id is not None else self._core.ids("req")
        try:
            self._log_request(
                request_id, prompt, model, temperature, max_tokens, market_context, provider, timestamp, fields
            )
        except Exception as error:
            self.count_error("log_completion_request", error)
        return request_id

    def _log_request(
        self,
        request_id: str,
        prompt: object,
        model: str,
        temperature: float | None,
        max_tokens: int | None,
        market_context: Mapping[str, Any] | None,
        provider: str | None,
        timestamp: datetime | str | None,
        fields: dict[str, Any],
    ) -> None:
        view = prompt_view(prompt, scan_chars(self.settings.log_prompt_preview_length))
        event: dict[str, Any] = {
            "request_id": request_id,
            "completion_number": next(self._core.numbers),
            "model": model,
            "temperature": temperature,
            "max_tokens": max_tokens,
            "prompt_length": view.length,
            "prompt_preview": view.text,
        }
        if market_context is not None:
            event["market_context"] = market_context
        if provider is not None:
            event["provider"] = provider
        if view.message_count is not None:
            event["message_count"] = view.message_count
        event.update(fields)
        own_time = imported_time(timestamp)
        # A sink that passes the request over may want it yet, should it fail.
        late = bool(self._log.emitter.late_routes("completion_request", "INFO", "ERROR"))
        written = self._log.emit("completion_request", "INFO", event, own_time, keep=late)
        held = written if late else None
        bound = merged_market(current_context().get("market_context"), self._log.bound.get("market_context"))
        market = merged_market(bound, market_context)
        symbol, price = symbol_and_price(market) if self.settings.log_market_context else (None, None)
        self._core.requests.begin(
            request_id,
            PendingRequest(
                model, provider, fields.get("service_tier"), self._core.monotonic(), own_time, symbol, price, held
            ),
        )

    @_never_raises
    def log_completion_response(
        self,
        request_id: str,
        response: object = None,
        response_time: float | None = None,
        token_usage: Mapping[str, Any] | None = None,
        success: bool = True,
        error: BaseException | str | None = None,
        *,
        timestamp: datetime | str | None = None,
        **fields: Any,
    ) -> None:
        """Log how a request ended. A request has one ending: a second one is refused and counted.

        Args:
            request_id: What `log_completion_request` returned.
            response: The answer: text, a dict, a LangChain message or result, or an OpenAI or Anthropic response.
                Its text, token usage, model and ids are read from it.
            response_time: Seconds from request to end; measured when absent.
            token_usage: Token counts, e.g. `{"prompt_tokens": 150, "completion_tokens": 75}`; wins over what the
                response says.
            success: Whether an answer came back. An `error` makes it False.
            error: The exception or its text.
            timestamp: The event's own time when importing; default: now.
            **fields: Further fields; `outcome`, `service_tier` and `provider` have a meaning of their own.
        """
        request_id = as_id(request_id)
        first, request = self._core.requests.end(request_id)
        if not first:
            self._log.emitter.diagnostics.notice("repeated", "a request was ended twice; the second ending is counted")
            return
        success = truth(success) and error is None
        own_time = imported_time(timestamp)
        view = response_view(response, scan_chars(self.settings.log_response_preview_length))
        event: dict[str, Any] = {
            "request_id": request_id,
            "success": success,
            "response_time_ms": elapsed_ms(response_time, request, own_time, self._core.monotonic()),
            "token_usage": None,
            "cost_estimate_usd": None,
            "response_preview": view.text,
            "outcome": "ok" if success else "error",
        }
        event.update(from_view(view))
        if request is not None and request.service_tier is not None:
            event.setdefault("service_tier", request.service_tier)  # the one that served wins over the one asked for
        event.update(from_request(request))  # what the caller said wins: a provider may speak another one's protocol
        if token_usage is not None:
            event["token_usage"], event["usage_source"] = token_usage, "caller"
            event.pop("raw_usage", None)
        if error is not None:
            event.update(describe(error))
        event.update(fields)
        level = "INFO" if success else "ERROR"
        if level == "ERROR" and request is not None and request.held is not None:
            emitter = self._log.emitter
            emitter.write_late(request.held, emitter.late_routes("completion_request", "INFO", "ERROR"))
        written = self._log.emit("completion_response", level, event, own_time)
        if written is not None:
            self._core.requests.priced(request_id, written.get("cost_estimate_usd"))
        if self.settings.enable_performance_tracking and self._core.metrics.due(self.settings.performance_log_interval):
            self.log_performance_metrics()

    def log_trading_decision(
        self,
        request_id: str | None = None,
        action: str = "UNKNOWN",
        size_pct: float | None = None,
        rationale: str | None = None,
        symbol: str | None = None,
        current_price: float | None = None,
        validation_result: str | None = None,
        risk_assessment: str | None = None,
        indicators: Mapping[str, Any] | None = None,
        *,
        caused_by: Iterable[str] | None = None,
        decision_id: str | None = None,
        timestamp: datetime | str | None = None,
        **fields: Any,
    ) -> str:
        """Log what the agent decided, tied to the completions that led to it.

        Args:
            request_id: The completion that led to it.
            action: LONG, SHORT, HOLD, CLOSE, or the agent's own word; always give it.
            size_pct: Position size in percent of equity.
            rationale: Why.
            symbol: What was decided about; default: the symbol of the request's market context.
            current_price: Price at that time; default: that of the request's market context.
            validation_result: `PASSED`, or why not.
            risk_assessment: Verdict of the risk check.
            indicators: What the agent looked at.
            caused_by: All requests that led to it, when more than one; `request_id` is always among them.
            decision_id: The id to use; default: a fresh one.
            timestamp: The event's own time when importing; default: now.
            **fields: Further fields of the event.

        Returns:
            The decision id, to be given to `log_decision_outcome`.
        """
        decision_id = as_id(decision_id) if decision_id is not None else self._core.ids("dec")
        try:
            request_id = as_id(request_id) if request_id is not None else None
            known = self._core.requests.peek(request_id)
            if known is not None:
                symbol = symbol if symbol is not None else known.symbol
                current_price = current_price if current_price is not None else known.current_price
            causes = causing_ids(request_id, caused_by)
            calls = [self._core.requests.peek(cause) for cause in causes]
            event: dict[str, Any] = {
                "request_id": request_id,
                "action": action,
                "size_pct": size_pct,
                "rationale": rationale,
                "symbol": symbol,
                "current_price": current_price,
                "validation_result": validation_result,
                "risk_assessment": risk_assessment,
                "indicators": indicators,
                "decision_id": decision_id,
                "caused_by": causes,
                **(causing_cost(calls) if self.settings.enable_token_usage_tracking else {}),
                **fields,
            }
            self._log.emit("trading_decision", "INFO", event, imported_time(timestamp))
        except Exception as error:
            self.count_error("log_trading_decision", error)
        return decision_id

    @_never_raises
    def log_decision_outcome(
        self,
        decision_id: str,
        kind: str,
        value: Any = None,
        idempotency_key: str | None = None,
        *,
        timestamp: datetime | str | None = None,
        **fields: Any,
    ) -> None:
        """Log what became of a decision.

        Args:
            decision_id: What `log_trading_decision` returned.
            kind: `fill`, `pnl`, `rejected`, …
            value: What happened, in any shape.
            idempotency_key: Readers count outcomes with the same key once.
            timestamp: The event's own time when importing; default: now.
            **fields: Further fields of the event.
        """
        event = {"decision_id": decision_id, "kind": kind, "value": value, "idempotency_key": idempotency_key, **fields}
        self._log.emit("decision_outcome", "INFO", event, imported_time(timestamp))

    @_never_raises
    def log_run(
        self,
        *,
        kind: str,
        name: str | None,
        run_id: str,
        parent_run_id: str | None = None,
        duration_ms: float | None = None,
        success: bool = True,
        error_type: str | None = None,
        tags: Iterable[str] | None = None,
        **fields: Any,
    ) -> None:
        """Log a step of a framework (chain, tool, retriever, agent) at DEBUG.

        Args:
            kind: `chain`, `tool`, `retriever` or `agent`.
            name: The step's name.
            run_id: The step's id.
            parent_run_id: The id of the step that called it.
            duration_ms: Milliseconds from start to end.
            success: Whether it ended without error.
            error_type: Class of the error.
            tags: The framework's tags.
            **fields: Further fields of the event.
        """
        event: dict[str, Any] = {
            "kind": kind,
            "name": name,
            "run_id": run_id,
            "parent_run_id": parent_run_id,
            "duration_ms": duration_ms,
            "success": success,
        }
        if error_type is not None:
            event["error_type"] = error_type
        if tags is not None:
            event["tags"] = tags
        self._log.emit("run", "DEBUG", {**event, **fields}, None)

    def log_performance_metrics(self) -> dict[str, Any]:
        """Log the metrics so far and return them; see `get_metrics`."""
        metrics = self.get_metrics()
        self._log.emit("performance_metrics", "INFO", metrics, None)
        return metrics

    def get_metrics(self) -> dict[str, Any]:
        """Return the cumulative metrics of this logger: the fields of `performance_metrics`, without logging them."""
        return self._core.metrics.snapshot(self._log.emitter.dropped(), self._core.redactions())

    def stats(self) -> dict[str, Any]:
        """Return the account of the logger: writer, requests, redactions by rule, failures of processors, and per sink
        `accepted = delivered + dropped{reason} + pending` (records)."""
        return {
            **self._log.emitter.stats(),
            "requests": self._core.requests.stats(),
            "redactions": dict(self._core.redactions()),
        }

    def count_error(self, name: str, error: Exception) -> None:
        """Count a failure of an integration in `stats()`, under this name. The error's text is not kept."""
        self._log.emitter.count_error(name, error)

    def completion(self, *, prompt: object, model: str, **request: Any) -> Completion:
        """Return a context manager (`with` or `async with`) that logs the request and exactly one ending.

        Give the answer to `call.response(...)`. Leaving the block with an exception ends the request as `error`, or
        `cancelled`; leaving it without an answer ends it as `abandoned`. The arguments are those of
        `log_completion_request`. The exception goes on to the caller.
        """
        return Completion(self, prompt, model, request)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Return True only if every accepted record reached its destination within `timeout_s` seconds."""
        deadline = time.monotonic() + (timeout_s if isinstance(cast("object", timeout_s), int | float) else 5.0)
        return flush(self._log.emitter.fan_out.routes, deadline)

    def close(self) -> None:
        """Flush and close the sinks within 5 s; what waits after that is dropped as `shutdown_abandoned`. What is
        logged afterwards is dropped and counted as `closed`."""
        self._log.emitter.close()
