"""Steps of a framework that have begun and not ended."""

from collections.abc import Callable, Iterator, Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from structllm.clients.claims import ExpectedCall
from structllm.logger import ChatCompletionLogger
from structllm.processors.context import bind_context, current_context

MAX_OPEN_RUNS = 10_000
"""Steps whose end is awaited, per logger. Some never end (a cancelled await); the oldest go first."""


@dataclass(slots=True)
class Run:
    """What the end of a step needs to know. Holds nothing of the framework's, so it keeps no message alive.

    Attributes:
        kind: `model`, or the `kind` of a `run` event.
        name: The step's name.
        logger: Where its end is logged.
        owner: The handler that saw it begin.
        parent_run_id: The step that called it.
        tags: The framework's tags.
        context: What was bound when it began.
        started_s: Monotonic time in seconds.
        request_id: Of a model call.
        first_token_ms: Milliseconds from start to the first streamed token.
    """

    kind: str
    name: str | None
    logger: ChatCompletionLogger
    owner: object
    parent_run_id: str | None
    tags: list[str]
    context: Mapping[str, Any]
    started_s: float
    request_id: str = ""
    first_token_ms: float | None = None
    expected: ExpectedCall | None = None

    def log(self, write: Callable[..., None], **fields: Any) -> None:
        """Call a method of the logger with what was bound when the step began, and nothing else."""
        if current_context() is self.context:
            write(**fields)
        else:
            Context().run(self._log_bound, write, fields)

    def _log_bound(self, write: Callable[..., None], fields: dict[str, Any]) -> None:
        with bind_context(**self.context):
            write(**fields)


class OpenRuns:
    """The open steps of one logger, by run id.

    Without a lock: dict operations are atomic, and a dropped stream ends inside the garbage collector, which may
    strike while this very thread is in here.
    """

    def __init__(self) -> None:
        self._open: dict[UUID, Run] = {}

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, run_id: UUID, run: Run) -> bool:
        """Remember the step; False if it is open already, because several handlers of one logger see it."""
        return self._open.setdefault(run_id, run) is run

    def peek(self, run_id: UUID) -> Run | None:
        """Return an open step."""
        return self._open.get(run_id)

    def end(self, run_id: UUID) -> Run | None:
        """Forget the step and return it, or None if it is not open here (any more)."""
        return self._open.pop(run_id, None)

    def surplus(self) -> Iterator[Run]:
        """Forget and yield the oldest steps beyond the bound."""
        while len(self._open) > MAX_OPEN_RUNS:
            try:
                run = self._open.pop(next(iter(self._open)), None)
            except (RuntimeError, StopIteration):
                return  # another thread changed the dict just now; its own visit takes care of the bound
            if run is not None:
                yield run
