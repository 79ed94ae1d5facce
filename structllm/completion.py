"""One request with exactly one ending, as a `with` block."""

from asyncio import CancelledError
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from structllm.logger import ChatCompletionLogger

T = TypeVar("T")


class Completion:
    """One request with exactly one ending; made by `ChatCompletionLogger.completion`."""

    def __init__(self, logger: "ChatCompletionLogger", prompt: object, model: str, request: dict[str, Any]) -> None:
        self._logger = logger
        self._prompt = prompt
        self._model = model
        self._request = request
        self._ended = False
        self.request_id = ""

    def response(self, response: T, **kwargs: Any) -> T:
        """Log the answer as the end of this request and return it unchanged.

        The keyword arguments are those of `log_completion_response`. A second call is ignored.
        """
        self._end(response=response, **kwargs)
        return response

    def error(self, error: BaseException | str, **kwargs: Any) -> None:
        """Log an error as the end of this request. A second ending is ignored."""
        self._end(error=error, **kwargs)

    def __enter__(self) -> Self:
        self.request_id = self._logger.log_completion_request(self._prompt, self._model, **self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._end(success=False, outcome="abandoned")
        elif isinstance(error, CancelledError | GeneratorExit | KeyboardInterrupt):
            self._end(error=error, outcome="cancelled")
        else:
            self._end(error=error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _end(self, **kwargs: Any) -> None:
        if not self._ended:
            self._ended = True
            self._logger.log_completion_response(self.request_id, **kwargs)
