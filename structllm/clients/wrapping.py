"""`structllm.wrap`: log every model call of an OpenAI or Anthropic client.

All ways to make a call (create, parse, stream, raw and streaming responses, sync and async, beta or not) end in one
public method of the client, `request(cast_to, options, ...)`, in old and new releases of both libraries alike; retries
happen inside of it. So that method is what is wrapped, and not the dozens above it, which come and go: one call of it
is one call of a model. Beside it `_process_response` is seen, from which we learn the HTTP response and the number of
retries, and without which a wrapped client works the same: what it tells is then read from what is returned or raised,
as far as it is there.

The client becomes one of a subclass of its class, in place. Thereby everything that holds it already (`client.chat`, a
LangChain model) is covered, `isinstance` stays true, and `copy` and `with_options`, which build another one of
`self.__class__`, return wrapped clients. No client library is imported here: the caller has done that.
"""

import copyreg
import inspect
from contextlib import suppress
from functools import wraps
from typing import Any, TypeVar, cast

from structllm.clients.calls import Watch, current_call
from structllm.errors import ConfigError
from structllm.logger import ChatCompletionLogger

Client = TypeVar("Client")

_LIBRARIES = frozenset({"openai", "anthropic"})
_PLAIN = "_structllm_plain"


def wrap(client: Client, logger: ChatCompletionLogger | None = None, *, include_usage: bool = False) -> Client:
    """Log the model calls of this client from now on, and return it.

    Chat completions, Responses, text completions, embeddings and messages are logged, whole or streamed, each with one
    request and one response event. What is sent, returned and raised stays as it is. `client.copy()` of a wrapped
    client is wrapped; to keep an unwrapped one, wrap a copy. Wrapping again replaces the logger.

    Args:
        client: An OpenAI, AsyncOpenAI, Anthropic or AsyncAnthropic, or one of their Azure, Bedrock and Vertex kinds.
        logger: Where to log; default: one built from the settings.
        include_usage: Ask for token counts in streams of chat and text completions, which have none otherwise. This
            adds `stream_options` to the request where the caller gave none, and so a last chunk without choices.

    Raises:
        ConfigError: `client` is no such client, or `logger` no logger.
    """
    kind: Any = type(client)
    plain = kind.__dict__.get(_PLAIN, kind)
    if not _is_client(plain):
        raise ConfigError(
            f"structllm.wrap takes a client of openai or anthropic, such as OpenAI(), and not {_described(client)}"
        )
    if logger is None:
        logger = _new_logger()
    elif not isinstance(cast("object", logger), ChatCompletionLogger):
        raise ConfigError("structllm.wrap needs a logger: give it what create_llm_logger returned")
    watch = Watch(logger, include_usage=include_usage)
    try:
        cast("Any", client).__class__ = _wrapped(plain, watch)
    except TypeError:
        raise ConfigError(f"structllm.wrap cannot wrap {_described(client)}: its class allows no subclass") from None
    return client


def _is_client(kind: type[Any]) -> bool:
    homes = {base.__module__.partition(".")[0] for base in kind.__mro__}
    return bool(homes & _LIBRARIES) and all(callable(getattr(kind, name, None)) for name in ("request", "post"))


def _described(client: object) -> str:
    kind = client if isinstance(client, type) else type(client)
    article = "the class" if isinstance(client, type) else "a"
    return f"{article} {kind.__module__}.{kind.__qualname__}"


def _new_logger() -> ChatCompletionLogger:
    # Through the public door: the composition root knows everybody and is known by nobody else.
    import structllm

    return structllm.create_llm_logger()


def _wrapped(plain: Any, watch: Watch) -> Any:
    """Return a subclass of a class of clients whose objects log their calls."""
    methods = _async_methods(plain, watch) if inspect.iscoroutinefunction(plain.request) else _methods(plain, watch)
    if not hasattr(plain, "_process_response"):
        del methods["_process_response"]

    def reduce(self: Any, protocol: Any) -> Any:
        """A pickled client is a plain one: a logger belongs to its process."""
        constructor, arguments, *state = plain.__reduce_ex__(self, protocol)
        if (
            constructor is vars(copyreg)["__newobj__"]
        ):  # pickle has it make nothing but objects of the class that the object says it has
            constructor = object.__new__
        return (constructor, tuple(plain if part is type(self) else part for part in arguments), *state)

    def copy(self: Any) -> Any:
        twin: Any = object.__new__(cast("Any", type(self)))
        twin.__dict__.update(self.__dict__)
        return twin

    names = {"__module__": plain.__module__, "__qualname__": plain.__qualname__, "__doc__": plain.__doc__}
    methods |= {"__reduce_ex__": reduce} | ({} if hasattr(plain, "__copy__") else {"__copy__": copy})
    return type(plain)(plain.__name__, (plain,), {**names, **methods, _PLAIN: plain})


def _methods(plain: Any, watch: Watch) -> dict[str, Any]:
    @wraps(plain.request)
    def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        call, (args, kwargs) = watch.begin(self, (args, kwargs))
        if call is None:
            return plain.request(self, *args, **kwargs)
        token = current_call.set(call)
        try:
            result = plain.request(self, *args, **kwargs)
        except BaseException as error:
            call.failed(error)
            raise
        finally:
            current_call.reset(token)
        call.returned(result)
        return result

    def process_response(self: Any, *args: Any, **kwargs: Any) -> Any:
        _tell(kwargs)
        return plain._process_response(self, *args, **kwargs)

    return {"request": request, "_process_response": process_response}


def _async_methods(plain: Any, watch: Watch) -> dict[str, Any]:
    @wraps(plain.request)
    async def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        call, (args, kwargs) = watch.begin(self, (args, kwargs))
        if call is None:
            return await plain.request(self, *args, **kwargs)
        token = current_call.set(call)
        try:
            result = await plain.request(self, *args, **kwargs)
        except BaseException as error:
            call.failed(error)
            raise
        finally:
            with suppress(ValueError):  # a coroutine that nobody awaits any more is closed in another context
                current_call.reset(token)
        call.returned(result)
        return result

    async def process_response(self: Any, *args: Any, **kwargs: Any) -> Any:
        _tell(kwargs)
        return await plain._process_response(self, *args, **kwargs)

    return {"request": request, "_process_response": process_response}


def _tell(exchange: dict[str, Any]) -> None:
    call = current_call.get()
    if call is not None:
        call.sent(exchange.get("response"), exchange.get("retries_taken"))
