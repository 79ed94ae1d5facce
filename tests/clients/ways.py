"""The ways in which a host asks a model through a client, each of them sync and async."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import anthropic
import openai
from pydantic import BaseModel

import structllm
from structllm import LLMSettings, MemorySink
from structllm.clients.wrapping import wrap
from structllm.logger import ChatCompletionLogger
from tests.clients.serving import Wire

CHAT: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "BTC?"}]}
COUNTED: dict[str, Any] = {**CHAT, "stream_options": {"include_usage": True}}
ASKED: dict[str, Any] = {"model": "gpt-4o-mini", "input": "BTC?"}
PROMPTED: dict[str, Any] = {"model": "gpt-3.5-turbo-instruct", "prompt": "BTC?"}
EMBEDDED: dict[str, Any] = {"model": "text-embedding-3-small", "input": ["BTC?"]}
SAID: dict[str, Any] = {"model": "claude-sonnet-4-6", "max_tokens": 50, "messages": CHAT["messages"]}


class Verdict(BaseModel):
    """What a model is asked to fill in."""

    action: str


class Way(NamedTuple):
    """One way to ask.

    Attributes:
        name: Of the test.
        package: `openai` or `anthropic`.
        make: Begins to ask, and returns what the client returns.
        streamed: Whether the answer is asked for as a stream.
        read: How the host reads it: `value`, `stream`, `raw`, `raw_stream`, `streaming`, `streaming_stream`, `lines`.
        text: Whether the answer is a text.
    """

    name: str
    package: str
    make: Callable[[Any], Any]
    streamed: bool = False
    read: str = "value"
    text: bool = True


def streamed(name: str, package: str, make: Callable[[Any], Any], read: str = "stream") -> Way:
    """A way that streams."""
    return Way(name, package, make, streamed=True, read=read)


WAYS = [
    Way("chat", "openai", lambda c: c.chat.completions.create(**CHAT)),
    Way("chat.parse", "openai", lambda c: c.chat.completions.parse(**CHAT, response_format=Verdict)),
    Way("chat.raw", "openai", lambda c: c.chat.completions.with_raw_response.create(**CHAT), read="raw"),
    Way("chat.open", "openai", lambda c: c.chat.completions.with_streaming_response.create(**CHAT), read="streaming"),
    streamed("chat+", "openai", lambda c: c.chat.completions.create(**COUNTED, stream=True)),
    streamed("chat.stream", "openai", lambda c: c.chat.completions.stream(**COUNTED)),
    streamed(
        "chat.raw+",
        "openai",
        lambda c: c.chat.completions.with_raw_response.create(**COUNTED, stream=True),
        "raw_stream",
    ),
    streamed(
        "chat.open+",
        "openai",
        lambda c: c.chat.completions.with_streaming_response.create(**COUNTED, stream=True),
        "streaming_stream",
    ),
    streamed(
        "chat.lines+",
        "openai",
        lambda c: c.chat.completions.with_streaming_response.create(**COUNTED, stream=True),
        "lines",
    ),
    Way("text", "openai", lambda c: c.completions.create(**PROMPTED)),
    streamed(
        "text+",
        "openai",
        lambda c: c.completions.create(**PROMPTED, stream=True, stream_options={"include_usage": True}),
    ),
    Way("responses", "openai", lambda c: c.responses.create(**ASKED)),
    Way("responses.parse", "openai", lambda c: c.responses.parse(**ASKED, text_format=Verdict)),
    streamed("responses+", "openai", lambda c: c.responses.create(**ASKED, stream=True)),
    streamed("responses.stream", "openai", lambda c: c.responses.stream(**ASKED)),
    Way("embeddings", "openai", lambda c: c.embeddings.create(**EMBEDDED), text=False),
    Way("messages", "anthropic", lambda c: c.messages.create(**SAID)),
    Way("messages.raw", "anthropic", lambda c: c.messages.with_raw_response.create(**SAID), read="raw"),
    Way("messages.open", "anthropic", lambda c: c.messages.with_streaming_response.create(**SAID), read="streaming"),
    Way("messages.beta", "anthropic", lambda c: c.beta.messages.create(**SAID)),
    streamed("messages+", "anthropic", lambda c: c.messages.create(**SAID, stream=True)),
    streamed("messages.stream", "anthropic", lambda c: c.messages.stream(**SAID)),
]
STREAMS = [way for way in WAYS if way.streamed]


def named(way: Way) -> str:
    """The name of a way in the test's id."""
    return way.name


def new_logger(**settings: Any) -> tuple[ChatCompletionLogger, MemorySink]:
    """A logger, and the sink that it writes to."""
    sink = MemorySink()
    given = LLMSettings(sinks=[sink], enable_performance_tracking=False, **settings)
    return structllm.create_llm_logger(settings=given), sink


def events(sink: MemorySink, kind: str) -> list[dict[str, Any]]:
    """The events of one kind, oldest first."""
    return [dict(record.event) for record in sink.records if record.event_type == f"completion_{kind}"]


def ending(sink: MemorySink) -> dict[str, Any]:
    """The one response event, of which the one request event is the beginning."""
    (request,), (response,) = events(sink, "request"), events(sink, "response")
    assert request["request_id"] == response["request_id"]
    return response


def new_client(way: Way | str, wire: Wire, *, is_async: bool, **options: Any) -> Any:
    """A client of the way's package that talks to the wire."""
    package = way if isinstance(way, str) else way.package
    if package == "openai":
        kind: Any = openai.AsyncOpenAI if is_async else openai.OpenAI
        return kind(api_key="sk-test", base_url=f"{wire.url}/v1", **options)
    kind = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
    return kind(api_key="sk-test", base_url=wire.url, **options)


def wrapped(way: Way | str, wire: Wire, logger: ChatCompletionLogger, *, is_async: bool, **options: Any) -> Any:
    """The same, wrapped."""
    return wrap(new_client(way, wire, is_async=is_async, **options), logger)


def ask(way: Way, client: Any) -> Any:
    """Ask and read the whole answer."""
    made = way.make(client)
    match way.read:
        case "stream":
            with made as stream:
                return list(stream)
        case "raw":
            return made.parse()
        case "raw_stream":
            with made.parse() as stream:
                return list(stream)
        case "streaming":
            with made as response:
                return response.parse()
        case "streaming_stream":
            with made as response:
                return list(response.parse())
        case "lines":
            with made as response:
                return list(response.iter_lines())
        case _:
            return made


async def ask_async(way: Way, client: Any, items: list[Any] | None = None) -> Any:
    """Ask and read the whole answer; what a stream brings is added to `items` as it comes."""
    items = [] if items is None else items
    made = way.make(client)
    made = await made if inspect.isawaitable(made) else made
    match way.read:
        case "stream":
            async with made as stream:
                return await gathered(stream, items)
        case "raw":
            return await settled(made.parse())
        case "raw_stream":
            async with await settled(made.parse()) as stream:
                return await gathered(stream, items)
        case "streaming":
            async with made as response:
                return await response.parse()
        case "streaming_stream":
            async with made as response:
                return await gathered(await response.parse(), items)
        case "lines":
            async with made as response:
                return await gathered(response.iter_lines(), items)
        case _:
            return made


async def gathered(stream: Any, items: list[Any]) -> list[Any]:
    """Read a stream to its end."""
    async for item in stream:
        items.append(item)
    return items


async def settled(value: Any) -> Any:
    """The value, or what it is the promise of: the libraries differ in what a raw response's `parse` returns."""
    return await value if inspect.isawaitable(value) else value
