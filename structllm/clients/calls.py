"""One call through a wrapped client: its request event, and its one response event however it ends."""

import os
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar, copy_context
from types import MappingProxyType
from typing import Any

from structllm._content import read
from structllm._diagnostics import Diagnostics
from structllm._fields import scan_chars
from structllm.clients.anthropic import MessageAnswer
from structllm.clients.bodies import Answering, BodyReader, EventReader, read_body
from structllm.clients.claims import take_expected
from structllm.clients.openai import ChunkedAnswer, ResponsesAnswer, failure_of
from structllm.clients.requests import CHAT, MESSAGES, RESPONSES, TEXT, Asked, asking_for_usage, read_request, served_by
from structllm.clients.streams import Tap
from structllm.logger import ChatCompletionLogger

_STREAMS: Mapping[str, Callable[[int], Answering]] = MappingProxyType(
    {CHAT: ChunkedAnswer, TEXT: ChunkedAnswer, RESPONSES: ResponsesAnswer, MESSAGES: MessageAnswer}
)
_RETRIES = "x-stainless-retry-count"
_REQUEST_IDS = ("x-request-id", "request-id")

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Watch:
    """Where the calls of a wrapped client are logged, and how.

    Args:
        logger: Where.
        include_usage: Whether to ask for token counts where a stream comes without unless asked.
    """

    def __init__(self, logger: ChatCompletionLogger, *, include_usage: bool) -> None:
        self.logger = logger
        self._include_usage = include_usage
        self._to_tell = [True]

    def begin(self, client: object, arguments: Arguments) -> "tuple[Call | None, Arguments]":
        """Log the request that a client is about to make with these arguments of its `request` method.

        Returns:
            The call, or None where nothing is to be logged; and the arguments to go on with. Never raises.
        """
        try:
            return self._begin(client, arguments)
        except Exception as error:
            self.logger.count_error("client", error)
            return None, arguments

    def uncounted(self, model: object) -> None:
        """Say once that a stream came without token counts, and what helps."""
        try:
            self._to_tell.pop()
        except IndexError:
            return
        Diagnostics().notice(
            "client_usage",
            f"a stream of model {str(model)[:80]!r} came without token counts, so its cost is null: "
            "structllm.wrap(client, logger, include_usage=True) asks the server for them",
        )

    def _begin(self, client: object, arguments: Arguments) -> "tuple[Call | None, Arguments]":
        args, kwargs = arguments
        options = args[1] if len(args) > 1 else kwargs.get("options")
        asked = read_request(options) if self.logger.enabled else None
        if asked is None:
            return None, arguments
        if self._include_usage:
            changed = asking_for_usage(options, asked)
            if changed is not options and len(args) > 1:
                arguments = ((args[0], changed, *args[2:]), kwargs)
            elif changed is not options:
                arguments = (args, {**kwargs, "options": changed})
        if take_expected(self.logger.writer):
            return None, arguments
        return Call(self, asked, served_by(client)), arguments


class Call:
    """One call, from its request to its end, in the context in which it was made.

    Args:
        watch: Where it is logged.
        asked: What is asked.
        served: Who is asked: `base_url` and `provider`, as far as they are known.
    """

    def __init__(self, watch: Watch, asked: Asked, served: Mapping[str, str]) -> None:
        self._watch = watch
        self._asked = asked.dialect
        self._model = asked.fields["model"]
        self._served = served
        self._context = copy_context()
        self._open = [True]
        self._process = os.getpid()
        self._response: Any = None
        self._attempts: int | None = None
        self._answer_id: str | None = None
        self._first_token_ms: float | None = None
        fields: dict[str, Any] = {**asked.fields, **served}
        self._request_id = watch.logger.log_completion_request(asked.prompt, **fields)
        self._started_s = time.perf_counter()

    def sent(self, response: object, retries: object) -> None:
        """Note the HTTP response that answers the call, and how many attempts failed before. Never raises."""
        self._response = response
        if isinstance(retries, int):
            self._attempts = retries + 1

    def returned(self, result: object) -> None:
        """Log the answer that the client returns, or wait for the host to read it. Never raises."""
        try:
            response, self._response = self._response, None  # to be dropped when the host drops it
            response = response if response is not None else _response_of(result)
            self._note(response)
            if response is not None and not response.is_closed:
                self._tap(response).watch(response)
            elif response is not None and hasattr(result, "http_response"):
                self._end_with(*read_body(response.content))
            else:
                self._end_with(result, readable=True)
        except Exception as error:
            self.count_error(error)

    def failed(self, error: BaseException) -> None:
        """Log the exception that the host gets; an answer that came and could not be used was billed. Never raises."""
        try:
            self._note(_response_of(error))
            if self._attempts is None:
                self._attempts = _attempts(getattr(error, "request", None))
            answer = None
            if self._response is not None and self._response.is_success and self._response.is_closed:
                answer, _ = read_body(self._response.content)
            self.end(answer, error=error)
        except Exception as ours:
            self.count_error(ours)

    def end(self, answer: object = None, **ending: Any) -> None:
        """Log how the call ended; a second ending is ignored. Never raises."""
        try:
            self._open.pop()
        except IndexError:
            return
        if os.getpid() != self._process:
            return  # a fork has copies of its parent's streams, and the parent ends them itself
        try:
            error = ending.get("error")
            outcome = _outcome(error) if isinstance(error, BaseException) else None
            ending |= {"outcome": outcome} if outcome is not None else {}
            if self._attempts is not None:
                ending["attempts"] = self._attempts
            if self._answer_id is not None:
                ending["provider_request_id"] = self._answer_id
            if self._first_token_ms is not None:
                ending["time_to_first_token_ms"] = self._first_token_ms
            ending |= {"base_url": self._served["base_url"]} if "base_url" in self._served else {}
            log = self._watch.logger.log_completion_response
            self._context.run(log, self._request_id, answer, **ending)
        except Exception as ours:
            self.count_error(ours)

    def first_token(self) -> None:
        """Note that a token came, if it is the first."""
        if self._first_token_ms is None:
            self._first_token_ms = round((time.perf_counter() - self._started_s) * 1000, 3)

    def uncounted(self) -> None:
        """Note that a whole stream came without token counts."""
        self._watch.uncounted(self._model)

    def count_error(self, error: Exception) -> None:
        """Count a failure of ours in `stats()`."""
        self._watch.logger.count_error("client", error)

    def _end_with(self, answer: object, readable: bool) -> None:
        if not readable:
            self.end(error="the answer cannot be read", error_type="MalformedAnswer")
            return
        said = read(answer) or {}
        failure = failure_of({**said, "error": read(said.get("error"))}) if self._asked == RESPONSES else None
        self.end(answer, **({"error": failure, "error_type": "ResponseFailed"} if failure is not None else {}))

    def _tap(self, response: Any) -> Tap:
        kind = response.headers.get("content-type", "").lower()
        stream = _STREAMS.get(self._asked)
        if stream is None or "text/event-stream" not in kind:
            return Tap(self, BodyReader(is_json=not kind or "json" in kind))
        limit_chars = scan_chars(self._watch.logger.settings.log_response_preview_length)
        return Tap(self, EventReader(stream(limit_chars)))

    def _note(self, response: Any) -> None:
        if response is None:
            return
        self._answer_id = next((found for name in _REQUEST_IDS if (found := response.headers.get(name))), None)
        if self._attempts is None:
            self._attempts = _attempts(getattr(response, "request", None))


current_call: ContextVar[Call | None] = ContextVar("structllm_client_call", default=None)
"""The call whose HTTP exchange goes on here."""


def _response_of(result: object) -> Any:
    """Return the HTTP response behind what a client returned or raised, where it has one."""
    for name in ("http_response", "response"):
        response = getattr(result, name, None)
        if hasattr(response, "is_closed") and hasattr(response, "headers"):
            return response
    return None


def _attempts(request: object) -> int | None:
    """Return which attempt an HTTP request is: the clients count them in a header."""
    retries = getattr(request, "headers", {}).get(_RETRIES)
    return int(retries) + 1 if isinstance(retries, str) and retries.isdecimal() else None


def _outcome(error: BaseException) -> str | None:
    """Return how an exception that is no error ends a call."""
    if isinstance(error, GeneratorExit):
        return "abandoned"
    return None if isinstance(error, Exception) else "cancelled"
