"""One awaited question to a model, whatever calls it takes to answer it."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Protocol
from uuid import UUID


class CallLog(Protocol):
    """The part of a framework's handler that a question needs; the framework takes it as a callback handler."""

    def end_open(self, run_ids: Sequence[UUID], error: BaseException) -> None:
        """End those of these model calls that are still open."""
        ...


class Question:
    """One question to a model: knows the requests that it led to and sees that each of them ends.

    LangChain reports no end of a model call that was cancelled or ran into a deadline; here those calls are ended.

    Args:
        handler: Logs the calls, together with others that the model may carry.

    Attributes:
        request_ids: The requests so far, oldest first; several where the model retries or falls back.
    """

    def __init__(self, handler: CallLog) -> None:
        self._handler = handler
        self._runs: list[UUID] = []
        self.request_ids: list[str] = []

    async def ask(self, model: Any, messages: object, timeout_s: float | None) -> Any:
        """Return what `model.ainvoke` returns, or raise what it raises.

        Args:
            model: A chat model, or anything else with LangChain's `ainvoke`.
            messages: Its input.
            timeout_s: Seconds until the call is cancelled and TimeoutError is raised; None waits for ever.
        """
        token = current_question.set(self)
        try:
            async with asyncio.timeout(timeout_s):
                return await model.ainvoke(messages, config={"callbacks": [self._handler]})
        except BaseException as error:
            self._handler.end_open(self._runs, error)
            raise
        finally:
            current_question.reset(token)

    def began(self, run_id: UUID, request_id: str) -> None:
        """Note a request that belongs to this question."""
        self._runs.append(run_id)
        self.request_ids.append(request_id)


current_question: ContextVar[Question | None] = ContextVar("structllm_question", default=None)
"""The question that is being asked here; a handler tells it of each request."""
