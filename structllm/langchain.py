"""LangChain: model calls become completion events; chains, tools, retrievers and agents become `run` events.

Pass the handler (`config={"callbacks": [create_langchain_callback(logger)]}`) or call `instrument(logger)` once, which
reaches every model call of the process. Several handlers of one logger log a call once.

The handler runs inline: it does nothing but hand values to the logger, whose bounds are its own, and so it sees starts
and ends in order and in the context of the caller. It keeps no message, prompt or answer and changes none.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import UUID
from weakref import WeakValueDictionary

from structllm._calls import class_name, parent_of, request_fields
from structllm._question import current_question
from structllm._runs import OpenRuns, Run
from structllm.clients.claims import expect_call
from structllm.errors import ConfigError, MissingExtra
from structllm.logger import ChatCompletionLogger
from structllm.processors.context import current_context

if TYPE_CHECKING:
    from langchain_core.agents import AgentAction, AgentFinish
    from langchain_core.callbacks.base import BaseCallbackHandler
    from langchain_core.documents import Document
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, GenerationChunk, LLMResult
else:
    try:
        from langchain_core.callbacks.base import BaseCallbackHandler
    except ImportError:
        BaseCallbackHandler = object

Hook = TypeVar("Hook", bound=Callable[..., None])

_ENDED_FROM_OUTSIDE = {"CancelledError": "cancelled", "KeyboardInterrupt": "cancelled", "GeneratorExit": "abandoned"}


def create_langchain_callback(logger: ChatCompletionLogger) -> "LangChainCallbackHandler":
    """Return a callback handler that logs to `logger`.

    Where `enable_langchain_callbacks` or logging as a whole is off, the handler records nothing.

    Raises:
        MissingExtra: langchain-core is not installed.
        ConfigError: `logger` is no logger.
    """
    if not isinstance(cast("object", logger), ChatCompletionLogger):
        raise ConfigError("a LangChain callback needs a logger: give it what create_llm_logger returned")
    return LangChainCallbackHandler(logger, enabled=logger.settings.enable_langchain_callbacks)


def instrument(logger: ChatCompletionLogger) -> "LangChainCallbackHandler":
    """Log every LangChain call of this process to `logger`, in all threads and tasks, without passing callbacks.

    Another logger takes the place of the first; calling it again with the same one changes nothing.

    Returns:
        The handler in use.

    Raises:
        MissingExtra: langchain-core is not installed.
    """
    handler = create_langchain_callback(logger)
    _everywhere.use(handler)
    return handler


def uninstrument() -> None:
    """Undo `instrument`. Calls that have begun are still logged to their end."""
    _everywhere.use(None)


class _Everywhere:
    """What LangChain asks, whenever a run begins, for a handler that nobody passed.

    It stands where LangChain expects a ContextVar and gives the same answer in every thread and task, whenever they
    were created; a real one would be empty in those that were there before. LangChain's list of such hooks is one per
    process and forgets nothing, so there is one of these too, and it is added once.
    """

    def __init__(self) -> None:
        self._handler: LangChainCallbackHandler | None = None
        self._known_to_langchain = False
        self._lock = threading.RLock()
        # Handlers of one logger share their open runs: thereby a call is logged once whatever reaches it.
        self._runs: WeakValueDictionary[str, OpenRuns] = WeakValueDictionary()

    def get(self) -> "LangChainCallbackHandler | None":
        """Return the handler to add to the run, or None."""
        return self._handler

    def use(self, handler: "LangChainCallbackHandler | None") -> None:
        """Use this handler from now on."""
        with self._lock:
            if handler is not None and not self._known_to_langchain:
                from langchain_core.tracers.context import register_configure_hook

                register_configure_hook(cast("Any", self), inheritable=True)
                self._known_to_langchain = True
            self._handler = handler

    def runs_of(self, logger: ChatCompletionLogger) -> OpenRuns:
        """Return the open runs of a logger, which are those of the loggers bound from it too."""
        writer = logger.writer
        with self._lock:
            return self._runs.setdefault(writer, OpenRuns())

    def reset_after_fork(self) -> None:
        """Take a new lock: the old one may be held by a thread that this process does not have."""
        self._lock = threading.RLock()


_everywhere = _Everywhere()
os.register_at_fork(after_in_child=_everywhere.reset_after_fork)


def _never_raises(hook: Hook) -> Hook:
    """Count what goes wrong in a hook: LangChain would print the error, which may quote the prompt."""

    @wraps(hook)
    def guarded(self: "LangChainCallbackHandler", *args: Any, **kwargs: Any) -> None:
        if self.enabled:
            try:
                hook(self, *args, **kwargs)
            except Exception as error:
                self.handler_errors += 1
                self.logger.count_error("langchain", error)

    return cast("Hook", guarded)


class LangChainCallbackHandler(BaseCallbackHandler):
    """Logs what LangChain reports. One handler serves any number of threads, tasks and sessions.

    Args:
        logger: Where to log.
        enabled: False makes a handler that records nothing.
        monotonic: Clock of durations, in seconds.

    Attributes:
        logger: Where it logs.
        enabled: Whether it records anything.
        handler_errors: How often a hook failed. Such a failure costs one event and never reaches LangChain.

    Raises:
        MissingExtra: langchain-core is not installed.
    """

    run_inline = True
    raise_error = False

    def __init__(
        self,
        logger: ChatCompletionLogger,
        *,
        enabled: bool = True,
        monotonic: Callable[[], float] = time.perf_counter,
    ) -> None:
        if cast("Any", BaseCallbackHandler) is object:
            raise MissingExtra("LangChain callback", "langchain-core", "langchain")
        self.logger = logger
        self._monotonic = monotonic
        self._runs = _everywhere.runs_of(logger)
        self.enabled = enabled and logger.enabled
        self.handler_errors = 0

    @property
    def open_runs(self) -> int:
        """How many steps of this handler's logger have begun and not ended."""
        return len(self._runs)

    # LangChain passes further keyword arguments, different ones from version to version: kwargs takes them.

    @_never_raises
    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: "list[list[BaseMessage]]", *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Log the request to a chat model."""
        self._begin_model("chat", messages[0] if len(messages) == 1 else messages, serialized, run_id, kwargs)

    @_never_raises
    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **kwargs: Any) -> None:
        """Log the request to a text completion model."""
        self._begin_model("completion", prompts[0] if len(prompts) == 1 else prompts, serialized, run_id, kwargs)

    @_never_raises
    def on_llm_new_token(
        self,
        token: str | list[str | dict[str, Any]],
        *,
        chunk: "GenerationChunk | ChatGenerationChunk | None" = None,
        run_id: UUID,
        **kwargs: Any,
    ) -> None:
        """Note when the first token came. A chunk that carries only a role or the usage is none."""
        run = self._runs.peek(run_id)
        if run is not None and run.first_token_ms is None:
            message = getattr(chunk, "message", None)
            if token or getattr(message, "tool_call_chunks", None):
                run.first_token_ms = self._elapsed_ms(run)

    @_never_raises
    def on_llm_end(self, response: "LLMResult", *, run_id: UUID, **kwargs: Any) -> None:
        """Log the answer."""
        self._end_model(run_id, response=response)

    @_never_raises
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Log the failure, with what had been streamed until then."""
        self._end_model(run_id, response=kwargs.get("response"), **_failure(error))

    @_never_raises
    def on_chain_start(
        self, serialized: dict[str, Any], inputs: dict[str, Any], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Note that a chain began."""
        self._begin("chain", serialized, run_id, kwargs)

    @_never_raises
    def on_chain_end(self, outputs: dict[str, Any], *, run_id: UUID, **kwargs: Any) -> None:
        """Log the chain."""
        self._end(run_id)

    @_never_raises
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Log the failed step."""
        self._end(run_id, error)

    on_tool_error = on_retriever_error = on_chain_error

    @_never_raises
    def on_tool_start(self, serialized: dict[str, Any], input_str: str, *, run_id: UUID, **kwargs: Any) -> None:
        """Note that a tool began."""
        self._begin("tool", serialized, run_id, kwargs)

    @_never_raises
    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Log the tool."""
        self._end(run_id)

    @_never_raises
    def on_retriever_start(self, serialized: dict[str, Any], query: str, *, run_id: UUID, **kwargs: Any) -> None:
        """Note that a retriever began."""
        self._begin("retriever", serialized, run_id, kwargs)

    @_never_raises
    def on_retriever_end(self, documents: "Sequence[Document]", *, run_id: UUID, **kwargs: Any) -> None:
        """Log the retriever."""
        self._end(run_id)

    @_never_raises
    def on_agent_action(self, action: "AgentAction", *, run_id: UUID, **kwargs: Any) -> None:
        """Log which tool an agent chose. It has no duration, and its ids are those of the agent's chain."""
        self._log_agent(action.tool, run_id)

    @_never_raises
    def on_agent_finish(self, finish: "AgentFinish", *, run_id: UUID, **kwargs: Any) -> None:
        """Log that an agent is done."""
        self._log_agent("finish", run_id)

    def end_open(self, run_ids: Sequence[UUID], error: BaseException) -> None:
        """End those of these model calls that are still open: the caller knows that no end will come."""
        outcome = "cancelled" if isinstance(error, asyncio.CancelledError | TimeoutError) else "error"
        for run_id in run_ids:
            self._end_model(run_id, **({"outcome": outcome} | _failure(error)))

    def _begin_model(
        self, operation: str, prompt: object, serialized: object, run_id: UUID, kwargs: Mapping[str, Any]
    ) -> None:
        run = self._begin("model", serialized, run_id, kwargs)
        if run is None:
            return
        request = request_fields(serialized, kwargs)
        request |= {"operation": operation, "run_id": str(run_id)}
        if run.parent_run_id is not None:
            request["parent_run_id"] = run.parent_run_id
        run.request_id = self.logger.log_completion_request(prompt, **request)
        run.started_s = self._monotonic()
        run.expected = expect_call(run.logger.writer)  # a wrapped client below the model does not log it again
        if self._runs.peek(run_id) is None:
            # Another thread needed the place before the request had an id to be ended by.
            self._log_ending(run, success=False, outcome="abandoned")
        question = current_question.get()
        if question is not None:
            question.began(run_id, run.request_id)

    def _end_model(self, run_id: UUID, **ending: Any) -> None:
        run = self._runs.end(run_id)
        if run is not None:
            self._log_ending(run, run_id=str(run_id), **ending)

    def _log_ending(self, run: Run, **ending: Any) -> None:
        if run.expected is not None:
            run.expected.over()
        if run.first_token_ms is not None:
            ending["time_to_first_token_ms"] = run.first_token_ms
        if run.parent_run_id is not None:
            ending["parent_run_id"] = run.parent_run_id
        run.log(run.logger.log_completion_response, request_id=run.request_id, **ending)

    def _begin(self, kind: str, serialized: object, run_id: UUID, kwargs: Mapping[str, Any]) -> Run | None:
        """Remember that a step began; return None where another handler of this logger has it already."""
        run = Run(
            kind=kind,
            name=kwargs.get("name") or class_name(serialized),
            logger=self.logger,
            owner=self,
            parent_run_id=parent_of(kwargs),
            tags=list(kwargs.get("tags") or ()),
            context=current_context(),
            started_s=self._monotonic(),
        )
        if not self._runs.begin(run_id, run):
            return None
        for oldest in self._runs.surplus():
            if oldest.request_id:
                self._log_ending(oldest, success=False, outcome="abandoned")
        return run

    def _end(self, run_id: UUID, error: BaseException | None = None) -> None:
        run = self._runs.end(run_id)
        if run is None:
            return
        run.log(
            run.logger.log_run,
            kind=run.kind,
            name=run.name,
            run_id=str(run_id),
            parent_run_id=run.parent_run_id,
            duration_ms=self._elapsed_ms(run),
            success=error is None,
            error_type=None if error is None else type(error).__name__,
            tags=run.tags,
        )

    def _log_agent(self, name: str, run_id: UUID) -> None:
        run = self._runs.peek(run_id)
        if run is not None and run.owner is self:
            run.log(self.logger.log_run, kind="agent", name=name, run_id=str(run_id), parent_run_id=run.parent_run_id)

    def _elapsed_ms(self, run: Run) -> float:
        return round((self._monotonic() - run.started_s) * 1000, 3)


def _failure(error: BaseException) -> dict[str, Any]:
    outcome = _ENDED_FROM_OUTSIDE.get(type(error).__name__)
    return {"success": False, "error": error} | ({"outcome": outcome} if outcome else {})
