"""The LangChain handler against LangChain's own models, its own tracer, and real clients on a loopback wire."""

import asyncio
import gc
import inspect
import secrets
import subprocess
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.agents import AgentAction, AgentFinish
from langchain_core.callbacks import BaseCallbackHandler, CallbackManager
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel, FakeListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import LLMResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import tool
from langchain_core.tracers.context import _configure_hooks
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_core.tracers.schemas import Run
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

import structllm
from structllm import LLMSettings, MemorySink, _runs
from structllm._question import Question
from structllm.langchain import (
    LangChainCallbackHandler,
    create_langchain_callback,
    instrument,
    uninstrument,
)
from structllm.logger import ChatCompletionLogger
from tests.wire import Cut, Failure, Silence, Text, Wire

WAIT_S = 20.0

Recorded = tuple[ChatCompletionLogger, MemorySink]


def new_logger(**settings: Any) -> Recorded:
    sink = MemorySink()
    settings = {"completion_log_level": "DEBUG", **settings}
    return structllm.create_llm_logger(settings=LLMSettings(sinks=[sink], **settings)), sink


@pytest.fixture
def recorded() -> Recorded:
    return new_logger()


@pytest.fixture(autouse=True)
def nothing_instrumented() -> Iterator[None]:
    yield
    uninstrument()


def of_type(sink: MemorySink, event_type: str) -> list[dict[str, Any]]:
    return [event for event in sink.events if event["event_type"] == event_type]


def requests(sink: MemorySink) -> list[dict[str, Any]]:
    return of_type(sink, "completion_request")


def responses(sink: MemorySink) -> list[dict[str, Any]]:
    return of_type(sink, "completion_response")


def fake(text: str = "All quiet.", **message: Any) -> GenericFakeChatModel:
    def answers() -> Iterator[AIMessage]:
        while True:
            yield AIMessage(text, **message)

    return GenericFakeChatModel(messages=answers())


def openai(wire: Wire, **kwargs: Any) -> ChatOpenAI:
    key = SecretStr("sk-" + secrets.token_hex(8))
    defaults: dict[str, Any] = {"model": "gpt-4o-mini", "temperature": 0.1, "max_retries": 0, "timeout": WAIT_S}
    return ChatOpenAI(base_url=f"{wire.url}/v1", api_key=key, **{**defaults, **kwargs})


def anthropic(wire: Wire, **kwargs: Any) -> ChatAnthropic:
    key = SecretStr("sk-" + "ant-" + secrets.token_hex(8))
    defaults: dict[str, Any] = {"model_name": "claude-next", "temperature": 0.1, "max_tokens": 500}
    defaults |= {"max_retries": 0, "timeout": WAIT_S, "stop": None}
    return ChatAnthropic(base_url=wire.url, api_key=key, **{**defaults, **kwargs})


PROVIDERS: dict[str, Callable[..., BaseChatModel]] = {"openai": openai, "anthropic": anthropic}


async def invoke(model: Runnable[Any, Any], config: Any) -> int:
    model.invoke("How is the market?", config)
    return 1


async def ainvoke(model: Runnable[Any, Any], config: Any) -> int:
    await model.ainvoke("How is the market?", config)
    return 1


async def stream(model: Runnable[Any, Any], config: Any) -> int:
    assert len(list(model.stream("How is the market?", config))) > 1
    return 1


async def astream(model: Runnable[Any, Any], config: Any) -> int:
    assert len([chunk async for chunk in model.astream("How is the market?", config)]) > 1
    return 1


async def batch(model: Runnable[Any, Any], config: Any) -> int:
    return len(model.batch(["How is it?", "And now?"], config))


async def abatch(model: Runnable[Any, Any], config: Any) -> int:
    return len(await model.abatch(["How is it?", "And now?"], config))


WAYS = [invoke, ainvoke, stream, astream, batch, abatch]
Way = Callable[[Runnable[Any, Any], Any], Awaitable[int]]


class TestCreateLangchainCallback:
    """Who gets a handler, and what it does when it is switched off."""

    @pytest.mark.parametrize("switched_off", ["enable_langchain_callbacks", "enable_completion_logging"])
    def test_switched_off(self, switched_off: str) -> None:
        """With either setting off, the handler exists and records nothing."""
        logger, sink = new_logger(**{switched_off: False})
        handler = create_langchain_callback(logger)
        model = fake() | StrOutputParser()
        assert "All quiet." == model.invoke("hi", {"callbacks": [handler]})
        assert [] == sink.events
        assert 0 == handler.open_runs

    def test_langchain_core_missing(self) -> None:
        """Without langchain-core the module can be imported, and using it says what to install."""
        program = """
import sys
class NotThere:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("langchain_core", "langchain"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NotThere())
import structllm, structllm.langchain as ours
logger = structllm.create_llm_logger(settings=structllm.LLMSettings(sinks=["memory:"]))
for use in (ours.create_langchain_callback, ours.instrument):
    try:
        use(logger)
    except structllm.MissingExtra as error:
        print(error)
ours.uninstrument()
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
        sentence = "LangChain callback needs langchain-core: pip install 'structllm-logging[langchain]'"
        assert [sentence, sentence] == done.stdout.splitlines()

    def test_runs_inline_and_lets_nothing_out(self, recorded: Recorded) -> None:
        """LangChain is told to call it in place and never to raise for it."""
        handler = create_langchain_callback(recorded[0])
        assert (True, False) == (handler.run_inline, handler.raise_error)
        assert isinstance(handler, BaseCallbackHandler)


class TestHooks:
    """The hooks as LangChain calls them."""

    @pytest.mark.parametrize("name", [name for name in vars(LangChainCallbackHandler) if name.startswith("on_")])
    def test_signature(self, name: str) -> None:
        """Every hook exists in LangChain and takes what LangChain's takes, under the same names."""
        ours = inspect.signature(getattr(LangChainCallbackHandler, name))
        base = inspect.signature(getattr(BaseCallbackHandler, name))
        required = [parameter for parameter in ours.parameters.values() if parameter.default is parameter.empty]
        assert {p.name for p in required if p.kind is not p.VAR_KEYWORD} <= set(base.parameters)
        positional = [p.name for p in base.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert positional == [p.name for p in ours.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert any(p.kind is p.VAR_KEYWORD for p in ours.parameters.values())

    @pytest.mark.parametrize("name", [name for name in vars(LangChainCallbackHandler) if name.startswith("on_")])
    def test_nothing_comes_out(self, recorded: Recorded, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """A hook that fails inside is counted and raises nothing into LangChain."""
        handler = create_langchain_callback(recorded[0])

        def broken(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError

        for method in ("begin", "peek", "end"):
            monkeypatch.setattr(_runs.OpenRuns, method, broken)
        getattr(handler, name)({}, *([[]] if name.endswith("start") else []), run_id=uuid4())
        assert 1 == handler.handler_errors

    def test_changes_no_live_object(self, recorded: Recorded) -> None:
        """The messages that go to the model are as they were, and still the same objects."""
        secret = "sk-" + secrets.token_hex(24)
        message = HumanMessage([{"type": "text", "text": f"my key is {secret}" + "x" * 2000}])
        before = message.model_copy(deep=True)
        handler = create_langchain_callback(recorded[0])
        handler.on_chat_model_start({}, [[message]], run_id=uuid4(), tags=["a"], invocation_params={"model": "m"})
        assert before == message

    def test_keeps_no_message_alive(self, recorded: Recorded) -> None:
        """A call whose end never comes does not hold on to its messages."""
        handler = create_langchain_callback(recorded[0])
        message = HumanMessage("hi")
        watched = weakref.ref(message)
        handler.on_chat_model_start({}, [[message]], run_id=uuid4(), invocation_params={"model": "m"})
        del message
        gc.collect()
        assert watched() is None
        assert 1 == handler.open_runs

    def test_request_fields(self, recorded: Recorded) -> None:
        """What LangChain tells of a call lands under the names of the event, wherever it came from."""
        logger, sink = recorded
        run_id, parent_run_id = uuid4(), uuid4()
        functions = [
            {"type": "function", "function": {"name": "buy", "parameters": {}}},
            {"name": "sell", "input_schema": {}},
            {"type": "web_search"},
            {},
            "junk",
        ]
        create_langchain_callback(logger).on_chat_model_start(
            {"name": "ChatThing"},
            [[HumanMessage("hi")]],
            run_id=run_id,
            parent_run_id=parent_run_id,
            tags=["seq:step:2", "retry:attempt:3"],
            metadata={"ls_provider": "openai", "ls_model_name": "other", "ls_temperature": 0.9},
            invocation_params={"model": "o3-mini", "max_completion_tokens": 77, "stream": True, "tools": functions},
        )
        (request,) = requests(sink)
        expected = {
            "model": "o3-mini",
            "temperature": 0.9,
            "max_tokens": 77,
            "provider": "openai",
            "operation": "chat",
            "tools": ["buy", "sell", "web_search"],
            "stream": True,
            "run_id": str(run_id),
            "parent_run_id": str(parent_run_id),
            "tags": ["seq:step:2", "retry:attempt:3"],
            "attempt": 3,
            "message_count": 1,
        }
        assert expected == {name: request[name] for name in expected}

    @pytest.mark.parametrize(
        ("serialized", "params", "metadata", "expected"),
        [
            ({"name": "ChatThing"}, {"model_name": "m1"}, {"ls_model_name": "m2"}, "m1"),
            ({"name": "ChatThing"}, {}, {"ls_model_name": "m2"}, "m2"),
            ({"id": ["a", "b", "ChatThing"]}, {}, {}, "ChatThing"),
            (None, None, None, "unknown"),
        ],
    )
    def test_model_name(self, recorded: Recorded, serialized: Any, params: Any, metadata: Any, expected: str) -> None:
        """The model is what was asked for; failing that, the class that was asked."""
        logger, sink = recorded
        handler = create_langchain_callback(logger)
        handler.on_llm_start(serialized, ["hi"], run_id=uuid4(), metadata=metadata, invocation_params=params)
        assert [expected] == [request["model"] for request in requests(sink)]

    def test_unknown_parts_are_left_out(self, recorded: Recorded) -> None:
        """A request says nothing of parents, tags, tools, attempts or streaming that LangChain does not tell."""
        logger, sink = recorded
        fake().invoke("hi", {"callbacks": [create_langchain_callback(logger)]})
        (request,) = requests(sink)
        assert set() == {"parent_run_id", "tags", "tools", "attempt", "stream"} & set(request)

    def test_first_token(self, recorded: Recorded) -> None:
        """The first token is the first that carries something: role and usage chunks are none."""
        logger, sink = recorded
        now = [10.0]
        handler = LangChainCallbackHandler(logger, monotonic=lambda: now[0])
        run_id = uuid4()
        handler.on_chat_model_start({}, [[HumanMessage("hi")]], run_id=run_id)
        for token, at in [("", 10.1), ("a", 10.25), ("b", 10.5)]:
            now[0] = at
            handler.on_llm_new_token(token, run_id=run_id)
        handler.on_llm_new_token("of a call that is not ours", run_id=uuid4())
        handler.on_llm_end(LLMResult(generations=[[]]), run_id=run_id)
        assert [250.0] == [response["time_to_first_token_ms"] for response in responses(sink)]

    def test_completion_model(self, recorded: Recorded) -> None:
        """A text completion model is logged with its prompt, its answer and its own operation."""
        logger, sink = recorded
        FakeListLLM(responses=["All quiet."]).invoke("hi", {"callbacks": [create_langchain_callback(logger)]})
        assert [("completion", "hi")] == [(r["operation"], r["prompt_preview"]) for r in requests(sink)]
        assert ["All quiet."] == [response["response_preview"] for response in responses(sink)]

    def test_ends_once(self, recorded: Recorded) -> None:
        """Of several ends that are reported for a call, the first counts."""
        logger, sink = recorded
        handler = create_langchain_callback(logger)
        run_id = uuid4()
        handler.on_chat_model_start({}, [[HumanMessage("hi")]], run_id=run_id)
        handler.on_llm_error(RuntimeError("first"), run_id=run_id)
        handler.on_llm_end(LLMResult(generations=[[]]), run_id=run_id)
        assert [False] == [response["success"] for response in responses(sink)]
        assert 0 == handler.open_runs


class TestOpenRuns:
    """The book of steps that have begun and not ended."""

    def test_bounded(self, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
        """Beyond the bound the oldest step is given up, and a request among them is ended as abandoned."""
        monkeypatch.setattr(_runs, "MAX_OPEN_RUNS", 5)
        logger, sink = recorded
        handler = create_langchain_callback(logger)
        handler.on_chain_start({}, {}, run_id=uuid4())
        for number in range(7):
            handler.on_chat_model_start({}, [[HumanMessage(str(number))]], run_id=uuid4())
        assert 5 == handler.open_runs
        gone = [request["request_id"] for request in requests(sink)[:2]]
        assert [(gone[0], "abandoned"), (gone[1], "abandoned")] == [
            (response["request_id"], response["outcome"]) for response in responses(sink)
        ]

    def test_bounded_by_all_threads(self, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
        """The bound holds while many threads begin steps at once, and every request given up is ended once."""
        monkeypatch.setattr(_runs, "MAX_OPEN_RUNS", 10)
        logger, sink = recorded
        handler = create_langchain_callback(logger)

        def begin() -> None:
            for _ in range(50):
                handler.on_chat_model_start({}, [[HumanMessage("hi")]], run_id=uuid4())

        threads = [threading.Thread(target=begin) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        handler.on_chain_start({}, {}, run_id=uuid4())
        assert 0 == handler.handler_errors
        assert 10 == handler.open_runs
        ended = [response["request_id"] for response in responses(sink)]
        assert 191 == len(ended) == len(set(ended))

    def test_freed_with_the_handler(self, recorded: Recorded) -> None:
        """Handlers leave nothing behind."""
        handler = create_langchain_callback(recorded[0])
        book = weakref.ref(handler._runs)
        del handler
        gc.collect()
        assert book() is None


class TestWire:
    """Real clients over HTTP: every way to call, what the provider answers, and how calls fail."""

    @pytest.mark.parametrize("provider", PROVIDERS)
    @pytest.mark.parametrize("way", WAYS)
    async def test_every_way(self, recorded: Recorded, provider: str, way: Way) -> None:
        """However a model is called, each call is one request and one response with text and usage."""
        logger, sink = recorded
        handler = create_langchain_callback(logger)
        with Wire(Text("All quiet on the market.", prompt_tokens=120, completion_tokens=30)) as wire:
            extra = {"stream_usage": True} if provider == "openai" else {}
            calls = await way(PROVIDERS[provider](wire, **extra), {"callbacks": [handler]})
        assert calls == len(requests(sink)) == len(responses(sink)) == len(wire.bodies)
        ids = [request["request_id"] for request in requests(sink)]
        assert sorted(ids) == sorted(response["request_id"] for response in responses(sink))
        for request in requests(sink):
            assert (provider, "chat", 0.1) == (request["provider"], request["operation"], request["temperature"])
        for response in responses(sink):
            assert (True, "ok", "All quiet on the market.") == (
                response["success"],
                response["outcome"],
                response["response_preview"],
            )
            usage = response["token_usage"]
            assert (120, 30, 150) == (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"])
            assert ("stream" in way.__name__) == ("time_to_first_token_ms" in response)
        assert (0, 0) == (handler.open_runs, handler.handler_errors)

    @pytest.mark.parametrize("provider", PROVIDERS)
    async def test_ids_and_finish(self, recorded: Recorded, provider: str) -> None:
        """The provider's own id, model and finish reason are in the response, the asked-for model in the request."""
        logger, sink = recorded
        with Wire(Text(model=f"{provider}-served-this")) as wire:
            await PROVIDERS[provider](wire).ainvoke("hi", {"callbacks": [create_langchain_callback(logger)]})
        (response,) = responses(sink)
        ids = {"openai": "chatcmpl-test", "anthropic": "msg_test"}
        reasons = {"openai": "stop", "anthropic": "end_turn"}
        assert (f"{provider}-served-this", ids[provider], reasons[provider]) == (
            response["response_model"],
            response["response_id"],
            response["finish_reason"],
        )
        assert requests(sink)[0]["run_id"] == response["run_id"]

    @pytest.mark.parametrize("provider", PROVIDERS)
    @pytest.mark.parametrize("status", [401, 500])
    @pytest.mark.parametrize("way", [invoke, ainvoke, stream, astream])
    async def test_http_error(self, recorded: Recorded, provider: str, status: int, way: Way) -> None:
        """A refused call raises to the caller as ever and is logged as an error with its class and text."""
        logger, sink = recorded
        handler = create_langchain_callback(logger)
        with Wire(Failure(status, "the wire said no")) as wire, pytest.raises(Exception, match="the wire said no"):
            await way(PROVIDERS[provider](wire), {"callbacks": [handler]})
        (response,) = responses(sink)
        expected = {401: "Authentication", 500: "APIError"}[status]
        assert (False, "error", "ERROR") == (response["success"], response["outcome"], response["level"])
        assert expected in response["error_type"]
        assert "the wire said no" in response["error_message"]
        assert response["token_usage"] is None
        assert response["cost_estimate_usd"] is None
        assert 0 == handler.open_runs

    @pytest.mark.parametrize(
        ("settings", "way", "expected"), [({"streaming": True}, ainvoke, True), ({}, astream, None)]
    )
    async def test_stream_is_told(
        self, recorded: Recorded, settings: dict[str, Any], way: Way, expected: bool | None
    ) -> None:
        """A request says that it streams where LangChain says so; of `.stream()` it denies it, so nothing is said."""
        logger, sink = recorded
        with Wire() as wire:
            await way(openai(wire, **settings), {"callbacks": [create_langchain_callback(logger)]})
        assert True is wire.bodies[0]["stream"]
        assert [expected] == [request.get("stream") for request in requests(sink)]

    async def test_stream_without_usage(self, recorded: Recorded) -> None:
        """A stream for which the provider sends no usage is logged without one, not with zeros."""
        logger, sink = recorded
        with Wire() as wire:
            await astream(openai(wire), {"callbacks": [create_langchain_callback(logger)]})
        (response,) = responses(sink)
        assert (True, None, None) == (response["success"], response["token_usage"], response["cost_estimate_usd"])

    @pytest.mark.parametrize("way", [stream, astream])
    async def test_cut_stream(self, recorded: Recorded, way: Way) -> None:
        """A stream that breaks is an error that keeps the text that had come."""
        logger, sink = recorded
        handler = create_langchain_callback(logger)
        with Wire(Cut("Half an answer")) as wire, pytest.raises(Exception):  # noqa: B017, PT011  each client has its own
            await way(openai(wire), {"callbacks": [handler]})
        (response,) = responses(sink)
        assert (False, "error", "Half") == (response["success"], response["outcome"], response["response_preview"])
        assert 0 == handler.open_runs

    def test_abandoned_stream(self, recorded: Recorded) -> None:
        """A stream that the caller drops is ended as abandoned."""
        logger, sink = recorded
        handler = create_langchain_callback(logger)
        chunks = fake("All quiet on the market.").stream("hi", {"callbacks": [handler]})
        assert "All" == next(chunks).content
        del chunks
        gc.collect()
        (response,) = responses(sink)
        assert (False, "abandoned") == (response["success"], response["outcome"])
        assert 0 == handler.open_runs

    async def test_wire_is_the_same_with_and_without(self, recorded: Recorded) -> None:
        """The handler adds nothing to what goes to the provider and takes nothing from it."""
        secret = "sk-" + secrets.token_hex(24)
        with Wire() as wire:
            for callbacks in ([], [create_langchain_callback(recorded[0])]):
                await openai(wire).ainvoke(f"my key is {secret}", {"callbacks": callbacks})
        assert wire.bodies[0] == wire.bodies[1]
        assert secret in wire.bodies[1]["messages"][0]["content"]

    def test_retries_are_attempts(self, recorded: Recorded) -> None:
        """With LangChain's own retries every attempt is a request of its own, numbered from the second on."""
        logger, sink = recorded
        with Wire(Failure(500), Text("All quiet.")) as wire:
            model = openai(wire).with_retry(wait_exponential_jitter=False)
            assert "All quiet." == model.invoke("hi", {"callbacks": [create_langchain_callback(logger)]}).content
        assert [None, 2] == [request.get("attempt") for request in requests(sink)]
        assert [False, True] == [response["success"] for response in responses(sink)]


class Library(BaseRetriever):
    """A retriever of one document."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        if query == "fire":
            raise LookupError("the library burnt down")
        return [Document("A quiet market.")]


@tool
def price_of(symbol: str) -> float:
    """Look up a price."""
    if symbol == "":
        raise LookupError("no symbol")
    return 45230.5


def chain() -> Runnable[Any, Any]:
    prompt = ChatPromptTemplate.from_template("{question}")
    lookup = RunnableLambda(lambda question: price_of.invoke({"symbol": question}), name="lookup")
    return (
        {"question": Library() | (lambda documents: documents[0].page_content), "price": lookup}
        | prompt
        | fake("All quiet.")
        | StrOutputParser()
    )


def tree(runs: list[Run]) -> list[tuple[str, UUID, UUID | None, str, bool]]:
    """Flatten LangChain's own run trees."""
    flat = []
    for run in runs:
        flat.append((run.run_type, run.id, run.parent_run_id, run.name, run.error is None))
        flat.extend(tree(run.child_runs))
    return flat


def steps(sink: MemorySink) -> list[tuple[str, UUID, UUID | None, str | None, bool]]:
    """Lay our events out in the same way; model calls have no name of their own."""
    ended = {response["request_id"]: response["success"] for response in responses(sink)}
    calls = [{**call, "kind": "llm", "name": None, "success": ended[call["request_id"]]} for call in requests(sink)]
    return [
        (
            step["kind"],
            UUID(step["run_id"]),
            UUID(step["parent_run_id"]) if step.get("parent_run_id") else None,
            step["name"],
            step["success"],
        )
        for step in [*of_type(sink, "run"), *calls]
    ]


class TestRuns:
    """Chains, tools, retrievers and agents as `run` events, held against LangChain's own tracer."""

    # Of a failing abatch LangChain does not await the other calls, so there is no moment to compare at.
    @pytest.mark.parametrize(("way", "broken"), [*((way, False) for way in WAYS), *((way, True) for way in WAYS[:-1])])
    async def test_same_as_the_tracer(self, recorded: Recorded, way: Way, broken: bool) -> None:
        """The steps, their ids, parents, names and ends are those that LangChain's own tracer sees."""
        logger, sink = recorded
        collector = RunCollectorCallbackHandler()
        collector.run_inline = True
        handler = create_langchain_callback(logger)

        def fail(text: str) -> str:
            raise LookupError("broken on purpose")

        runnable = chain() | RunnableLambda(fail) if broken else chain()
        config = {"callbacks": [handler, collector]}
        if broken:
            with pytest.raises(LookupError):
                await way(runnable, config)
        else:
            await way(runnable, config)
        theirs = [(kind, *rest) for kind, *rest in tree(collector.traced_runs)]
        unnamed = [
            (kind, run_id, parent, None if kind in ("llm", "chat_model") else name, success)
            for kind, run_id, parent, name, success in theirs
        ]
        kinds = {"chat_model": "llm", "prompt": "chain", "parser": "chain"}
        assert Counter((kinds.get(kind, kind), *rest) for kind, *rest in unnamed) == Counter(steps(sink))
        assert {"chain", "tool", "retriever", "llm"} == {kind for kind, *_ in steps(sink)}
        assert (0, 0) == (handler.open_runs, handler.handler_errors)

    def test_run_event(self, recorded: Recorded) -> None:
        """A step is one event at DEBUG, written when it ends, with its duration."""
        logger, sink = recorded
        now = [1.0]
        handler = LangChainCallbackHandler(logger, monotonic=lambda: now[0])
        run_id, parent = uuid4(), uuid4()
        handler.on_tool_start({"name": "buy"}, "", run_id=run_id, parent_run_id=parent, tags=["t"])
        assert [] == sink.events
        now[0] = 1.5
        handler.on_tool_error(LookupError("x"), run_id=run_id)
        (event,) = sink.events
        expected = {
            "event_type": "run",
            "level": "DEBUG",
            "kind": "tool",
            "name": "buy",
            "run_id": str(run_id),
            "parent_run_id": str(parent),
            "duration_ms": 500.0,
            "success": False,
            "error_type": "LookupError",
            "tags": ["t"],
        }
        assert expected == {name: event[name] for name in expected}

    @pytest.mark.parametrize(
        ("call", "kind"),
        [
            (lambda config: price_of.invoke({"symbol": ""}, config), "tool"),
            (lambda config: Library().invoke("fire", config), "retriever"),
        ],
    )
    def test_failed_step(self, recorded: Recorded, call: Callable[[Any], Any], kind: str) -> None:
        """A tool or retriever that fails is logged as failed with the class of the error, and raises as ever."""
        logger, sink = recorded
        with pytest.raises(LookupError):
            call({"callbacks": [create_langchain_callback(logger)]})
        assert [(kind, False, "LookupError")] == [(e["kind"], e["success"], e["error_type"]) for e in sink.events]

    def test_agent_steps(self, recorded: Recorded) -> None:
        """An agent's choices are logged with the ids of its chain, once however many handlers see them."""
        logger, sink = recorded
        manager = CallbackManager([create_langchain_callback(logger), create_langchain_callback(logger)])
        run = manager.on_chain_start({"name": "AgentExecutor"}, {})
        run.on_agent_action(AgentAction("price_of", "BTC-USD", ""))
        run.on_agent_finish(AgentFinish({}, ""))
        run.on_chain_end({})
        expected = [("agent", "price_of"), ("agent", "finish"), ("chain", "AgentExecutor")]
        assert expected == [(event["kind"], event["name"]) for event in sink.events]
        assert {str(run.run_id)} == {event["run_id"] for event in sink.events}

    def test_not_at_info(self) -> None:
        """Above DEBUG no step is written, and model calls are."""
        logger, sink = new_logger(completion_log_level="INFO")
        chain().invoke("hi", {"callbacks": [create_langchain_callback(logger)]})
        assert ["completion_request", "completion_response"] == [event["event_type"] for event in sink.events]


class TestContext:
    """Whose session and market an event belongs to."""

    def test_end_belongs_to_the_start(self, recorded: Recorded) -> None:
        """A call ends in the session in which it began, wherever its end is noticed."""
        logger, sink = recorded
        handler = create_langchain_callback(logger)
        run_id = uuid4()
        with structllm.bind_session("first", strategy="momentum"):
            handler.on_chat_model_start({}, [[HumanMessage("hi")]], run_id=run_id)
        with structllm.bind_session("second", other="not mine"):
            handler.on_llm_end(LLMResult(generations=[[]]), run_id=run_id)
        (response,) = responses(sink)
        assert ("first", "momentum", None) == (response["session_id"], response["strategy"], response.get("other"))

    async def test_many_sessions_on_one_handler(self, recorded: Recorded) -> None:
        """Sessions that share a handler and a loop never mix."""
        logger, sink = recorded
        handler = create_langchain_callback(logger)
        model = fake("All quiet.") | StrOutputParser()

        async def session(name: str) -> None:
            with structllm.bind_session(name):
                for _ in range(3):
                    await model.ainvoke(f"I am {name}.", {"callbacks": [handler]})

        await asyncio.gather(*(session(f"s{number}") for number in range(20)))
        assert 60 == len(requests(sink)) == len(responses(sink))
        for request in requests(sink):
            assert f"I am {request['session_id']}." in request["prompt_preview"]
        sessions = {request["request_id"]: request["session_id"] for request in requests(sink)}
        assert sessions == {response["request_id"]: response["session_id"] for response in responses(sink)}

    def test_bound_logger(self, recorded: Recorded) -> None:
        """A handler of a bound logger adds what is bound to it, and shares its calls with the parent's handler."""
        logger, sink = recorded
        child = create_langchain_callback(logger.bind(strategy="momentum"))
        fake().invoke("hi", {"callbacks": [child, create_langchain_callback(logger)]})
        assert ["momentum", "momentum"] == [event.get("strategy") for event in sink.events]


class TestInstrument:
    """Every call of the process without passing callbacks."""

    def test_everywhere(self, recorded: Recorded) -> None:
        """After `instrument` calls are logged; after `uninstrument` they are not."""
        logger, sink = recorded
        instrument(logger)
        fake().invoke("hi")
        assert (1, 1) == (len(requests(sink)), len(responses(sink)))
        uninstrument()
        fake().invoke("hi")
        assert 2 == len(sink.events)
        assert [] == CallbackManager.configure().handlers

    def test_threads_from_before(self, recorded: Recorded) -> None:
        """A thread that was there before `instrument` is reached too, and one from before `uninstrument` let go."""
        logger, sink = recorded
        go, done = threading.Semaphore(0), threading.Semaphore(0)

        def work() -> None:
            for _ in range(2):
                if go.acquire(timeout=WAIT_S):
                    fake().invoke("hi")
                done.release()

        thread = threading.Thread(target=work)
        thread.start()
        instrument(logger)
        go.release()
        assert done.acquire(timeout=WAIT_S)
        assert 1 == len(responses(sink))
        uninstrument()
        go.release()
        assert done.acquire(timeout=WAIT_S)
        thread.join(WAIT_S)
        assert 1 == len(responses(sink))

    async def test_tasks_from_before(self, recorded: Recorded) -> None:
        """A task that was created before `instrument` is reached too."""
        logger, sink = recorded
        go = asyncio.Event()

        async def work() -> None:
            await go.wait()
            await fake().ainvoke("hi")

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        await asyncio.to_thread(instrument, logger)
        go.set()
        await asyncio.wait_for(task, WAIT_S)
        assert 1 == len(responses(sink))

    @pytest.mark.parametrize("way", WAYS)
    async def test_no_double_logging(self, recorded: Recorded, way: Way) -> None:
        """A logger that reaches a call by several ways logs it once, steps included."""
        logger, sink = recorded
        instrument(logger)
        handlers = [create_langchain_callback(logger), create_langchain_callback(logger)]
        model = fake("All quiet on the market.")
        model.callbacks = [create_langchain_callback(logger)]
        calls = await way(model | StrOutputParser(), {"callbacks": handlers})
        assert calls == len(requests(sink)) == len(responses(sink))
        run_ids = [event["run_id"] for event in of_type(sink, "run")]
        assert len(set(run_ids)) == len(run_ids)

    def test_no_growth(self, recorded: Recorded) -> None:
        """However often it is called, LangChain's list of hooks gets one entry and a run one handler."""
        logger, sink = recorded
        instrument(logger)
        hooks = len(_configure_hooks)
        for _ in range(20):
            instrument(logger)
            uninstrument()
            instrument(logger)
        assert hooks == len(_configure_hooks)
        assert 1 == len(CallbackManager.configure().handlers)
        fake().invoke("hi")
        assert 2 == len(sink.events)

    def test_another_logger_takes_over(self, recorded: Recorded) -> None:
        """The last logger is the one; the one before gets nothing more and can be freed."""
        first, first_sink = recorded
        second, second_sink = new_logger()
        handler = weakref.ref(instrument(first))
        instrument(second)
        fake().invoke("hi")
        assert (0, 2) == (len(first_sink.events), len(second_sink.events))
        gc.collect()
        assert handler() is None

    def test_begun_calls_end(self, recorded: Recorded) -> None:
        """A call that began before `uninstrument` is logged to its end."""
        logger, sink = recorded
        instrument(logger)
        chunks = fake("All quiet.").stream("hi")
        next(chunks)
        uninstrument()
        assert [" ", "quiet."] == [chunk.content for chunk in chunks][:2]
        assert [True] == [response["success"] for response in responses(sink)]

    def test_switched_off(self) -> None:
        """A logger whose settings switch callbacks off can be instrumented and records nothing."""
        logger, sink = new_logger(enable_langchain_callbacks=False)
        instrument(logger)
        fake().invoke("hi")
        assert [] == sink.events


class TestQuestion:
    """One awaited question whose calls all end."""

    async def test_request_ids(self, recorded: Recorded) -> None:
        """It knows every request that it led to, in order, whichever handler logged it."""
        logger, sink = recorded
        model = fake("one").with_config(callbacks=[create_langchain_callback(logger)]) | StrOutputParser() | fake()
        question = Question(create_langchain_callback(logger))
        answer = await question.ask(model, "hi", WAIT_S)
        assert "All quiet." == answer.content
        assert [request["request_id"] for request in requests(sink)] == question.request_ids
        assert 2 == len(question.request_ids)

    async def test_others_are_not_mine(self, recorded: Recorded) -> None:
        """Calls outside of the question are not counted to it, though they share handler and loop."""
        logger, _ = recorded
        handler = create_langchain_callback(logger)
        question = Question(handler)
        await asyncio.gather(question.ask(fake(), "hi", WAIT_S), fake().ainvoke("ho", {"callbacks": [handler]}))
        assert 1 == len(question.request_ids)

    @pytest.mark.parametrize("provider", PROVIDERS)
    async def test_deadline(self, recorded: Recorded, provider: str) -> None:
        """At the deadline the call is cancelled and its request ends as cancelled, though LangChain reports no end."""
        logger, sink = recorded
        handler = create_langchain_callback(logger)
        with Wire(Silence()) as wire, pytest.raises(TimeoutError):
            await Question(handler).ask(PROVIDERS[provider](wire), "hi", 0.3)
        (response,) = responses(sink)
        assert (False, "cancelled", "TimeoutError") == (
            response["success"],
            response["outcome"],
            response["error_type"],
        )
        assert 0 == handler.open_runs

    async def test_cancelled(self, recorded: Recorded) -> None:
        """Cancelling the caller goes through, and the request ends as cancelled."""
        logger, sink = recorded
        handler = create_langchain_callback(logger)
        with Wire(Silence()) as wire:
            task = asyncio.create_task(Question(handler).ask(openai(wire), "hi", WAIT_S))
            assert await asyncio.to_thread(wire.arrived.wait, WAIT_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert [("cancelled", "CancelledError")] == [(r["outcome"], r["error_type"]) for r in responses(sink)]
        assert 0 == handler.open_runs

    async def test_error_is_ended_once(self, recorded: Recorded) -> None:
        """An error that LangChain did report is not reported again."""
        logger, sink = recorded
        with Wire(Failure(500)) as wire, pytest.raises(Exception, match="The wire said no"):
            await Question(create_langchain_callback(logger)).ask(openai(wire), "hi", WAIT_S)
        assert ["error"] == [response["outcome"] for response in responses(sink)]
        assert 0 == logger.stats()["requests"]["repeated_responses"]
