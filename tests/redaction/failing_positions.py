"""What fails with a secret in its error: sinks, processors, clocks, settings. None of it is written anywhere."""

import contextlib
import json
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structllm
from structllm import LLMSettings, MemorySink, load_settings
from structllm._types import Record
from structllm.errors import SinkRejected, SinkUnavailable
from structllm.langchain import create_langchain_callback
from tests.redaction.planting import MODEL, Stage, position

FAILURES, SETTINGS = "failures", "settings"


class Failing:
    """A sink that fails at everything.

    Args:
        error: Makes what it raises.
    """

    def __init__(self, error: Callable[[], BaseException]) -> None:
        self._error = error

    def write(self, batch: Sequence[Record], /) -> None:
        """Raise."""
        raise self._error()

    def flush(self, timeout_s: float, /) -> bool:
        """Raise."""
        raise self._error()

    def close(self) -> None:
        """Raise."""
        raise self._error()

    def health(self) -> Mapping[str, Any]:
        """Raise."""
        raise self._error()


def used(stage: Stage, *, sinks: Sequence[Any] = (), **arguments: Any) -> None:
    """Use a logger that something fails for, and keep what it tells of itself."""
    sink = MemorySink()
    settings = LLMSettings(sinks=[sink, *sinks], performance_log_interval=1)
    logger = structllm.create_llm_logger(settings=settings, **arguments)
    request_id = logger.log_completion_request("Hi.", MODEL)
    logger.log_completion_response(request_id, "Fine.", token_usage={"prompt_tokens": 1, "completion_tokens": 1})
    logger.flush(1.0)
    stage.printed.write(json.dumps([logger.stats(), logger.get_metrics()], default=repr) + "\n")
    logger.close()
    stage.printed.write(b"".join(record.line for record in sink.records).decode() + "\n")


@position(FAILURES, "sink raises", shown=False)
def _(stage: Stage) -> None:
    used(stage, sinks=[Failing(lambda: RuntimeError(stage.text()))])


@position(FAILURES, "sink is unavailable", shown=False)
def _(stage: Stage) -> None:
    used(stage, sinks=[Failing(lambda: SinkUnavailable("network", stage.text()))])


@position(FAILURES, "reason of a sink that is unavailable", shown=False)
def _(stage: Stage) -> None:
    used(stage, sinks=[Failing(lambda: SinkUnavailable(stage.text()))])


@position(FAILURES, "reason of a sink that rejects", shown=False)
def _(stage: Stage) -> None:
    used(stage, sinks=[Failing(lambda: SinkRejected(stage.text()))])


@position(FAILURES, "class of a sink's error", shown=False)
def _(stage: Stage) -> None:
    used(stage, sinks=[Failing(lambda: type(stage.text(), (Exception,), {})())])


def raising(stage: Stage) -> Callable[..., Any]:
    """Return a function that fails with a secret."""

    def fail(*_: Any, **__: Any) -> Any:
        raise LookupError(stage.text())

    return fail


@position(FAILURES, "processor raises", shown=False)
def _(stage: Stage) -> None:
    used(stage, processors=[raising(stage)])


@position(FAILURES, "class of a processor's error", shown=False)
def _(stage: Stage) -> None:
    def fail(*_: Any) -> Any:
        raise type(stage.text(), (Exception,), {})

    used(stage, processors=[fail])


@position(FAILURES, "ids raise", shown=False)
def _(stage: Stage) -> None:
    used(stage, ids=raising(stage))


@position(FAILURES, "what cannot be read", shown=False)
def _(stage: Stage) -> None:
    class Odd(dict[str, Any]):
        """A mapping that fails with a secret, whatever it is asked."""

        __getitem__ = __iter__ = keys = items = get = copy = __len__ = __bool__ = __repr__ = __str__ = raising(stage)

    stage.request([Odd(role="user", content="Hi.")], market_context=Odd(), note=Odd(), tags=Odd())
    stage.respond(Odd(choices=[]), token_usage=Odd())
    stage.logger.log_trading_decision(action="HOLD", caused_by=Odd(), indicators=Odd())


@position(FAILURES, "hook of LangChain raises", shown=False)
def _(stage: Stage) -> None:
    class Odd:
        """Parameters that fail with a secret."""

        get = __getitem__ = __bool__ = raising(stage)

    handler = create_langchain_callback(stage.logger)
    handler.on_chat_model_start({}, [[]], run_id=object(), invocation_params=Odd())  # type: ignore[arg-type]


def told(stage: Stage, wrong: Callable[[], object]) -> None:
    """Keep everything that a refusal says."""
    try:
        wrong()
    except Exception as error:
        stage.printed.write("".join(traceback.format_exception(error)) + repr(error) + "\n")


@position(SETTINGS, "wrong values", shown=False)
def _(stage: Stage) -> None:
    for name in (
        "completion_log_level",
        "log_prompt_preview_length",
        "sinks",
        "redaction",
        "enable_completion_logging",
    ):
        given = stage.text()
        told(stage, lambda name=name, given=given: LLMSettings(**{name: given}))


@position(SETTINGS, "wrong values of redaction", shown=False)
def _(stage: Stage) -> None:
    for name in ("packs", "deny_keys", "rules", "allow", "action", "hmac_key", "actions"):
        for given in (stage.text(), [stage.text()], stage.mapping()):
            told(stage, lambda name=name, given=given: LLMSettings(redaction={name: given}))


@position(SETTINGS, "wrong sink", shown=False)
def _(stage: Stage) -> None:
    for sink in ({"type": stage.text()}, {"type": "file", "path": "x.log", "max_bytes": stage.text()}, stage.text()):
        told(stage, lambda sink=sink: LLMSettings(sinks=[sink]))


@position(SETTINGS, "wrong variable", shown=False)
def _(stage: Stage) -> None:
    variables = {
        "LLM__COMPLETION_LOG_LEVEL": stage.text(),
        "LLM__REDACTION__PACKS": stage.text(),
        "LLM__SINKS": stage.text(),
    }
    os.environ.update(variables)
    try:
        told(stage, load_settings)
    finally:
        for name in variables:
            del os.environ[name]


@position(SETTINGS, "wrong arguments", shown=False)
def _(stage: Stage) -> None:
    told(stage, lambda: structllm.create_llm_logger(processors=stage.text()))  # type: ignore[arg-type]
    told(stage, lambda: structllm.create_langchain_callback(stage.text()))  # type: ignore[arg-type]
    told(stage, lambda: structllm.LLMAgent(stage.text(), logger=stage.logger))
    with contextlib.suppress(Exception):
        told(stage, lambda: structllm.redact_value(5))
