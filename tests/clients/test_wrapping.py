"""What `wrap` does to a client, and what it leaves as it is."""

import asyncio
import copy
import gc
import importlib
import inspect
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from openai._models import FinalRequestOptions
from openai.types.chat import ChatCompletionChunk
from pydantic import ValidationError

import structllm
from structllm import ConfigError, MemorySink, bind_session
from structllm.clients import wrapping
from structllm.clients.claims import expect_call
from structllm.clients.wrapping import wrap
from structllm.logger import ChatCompletionLogger
from tests.clients.serving import LONGEST_WAIT_S, TEXT, USAGE, Wire, line, whole
from tests.clients.ways import (
    ASKED,
    CHAT,
    COUNTED,
    SAID,
    STREAMS,
    Verdict,
    Way,
    ask,
    ending,
    events,
    named,
    new_client,
    new_logger,
    wrapped,
)

WAIT_S = 20.0

LIBRARIES = {kind.__module__.partition(".")[0] for kind in openai.DefaultHttpxClient.__mro__} & {"httpx", "httpx2"}
httpx: Any = importlib.import_module(LIBRARIES.pop())
"""The HTTP library that the client is built on: httpx, or httpx2 in newer releases."""

KINDS: list[Any] = [openai.OpenAI, openai.AsyncOpenAI, anthropic.Anthropic, anthropic.AsyncAnthropic]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)

Recorded = tuple[ChatCompletionLogger, MemorySink]


@pytest.fixture
def recorded() -> Recorded:
    return new_logger()


def in_memory(answers: dict[str, Any], **options: Any) -> openai.OpenAI:
    """A client whose server is a function."""
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=answers, request=request))
    client = openai.DefaultHttpxClient(transport=transport)
    return openai.OpenAI(api_key="sk-test", http_client=client, **options)


class Portable(openai.OpenAI):
    """A client that can be pickled."""

    def __getstate__(self) -> dict[str, Any]:
        return {"portable": True}


class TestTransparent:
    @every_kind
    def test_type(self, kind: Any, recorded: Recorded) -> None:
        """A wrapped client is the same object, of its own class, and looks and is called like it."""
        plain, client = kind(api_key="x"), kind(api_key="x")
        signature = inspect.signature(client.request)
        assert client is wrap(client, recorded[0])
        assert isinstance(client, kind)
        assert repr(plain).partition(" at ")[0] == repr(client).partition(" at ")[0]
        assert signature == inspect.signature(client.request)
        assert inspect.iscoroutinefunction(plain.request) == inspect.iscoroutinefunction(client.request)

    @every_kind
    def test_pickling_fails_alike(self, kind: Any, recorded: Recorded) -> None:
        """A client that cannot be pickled cannot be pickled when it is wrapped, for the same reason."""
        client = kind(api_key="x")
        with pytest.raises(TypeError) as expected:
            pickle.dumps(client)
        with pytest.raises(TypeError) as actual:
            pickle.dumps(wrap(client, recorded[0]))
        assert str(expected.value) == str(actual.value)

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_pickled_plain(self, protocol: int, recorded: Recorded) -> None:
        """A client that can be pickled comes back as a plain one: the logger stays in its process."""
        client = wrap(Portable(api_key="x"), recorded[0])
        data = pickle.dumps(client, protocol)
        assert Portable is type(pickle.loads(data))
        assert b"structllm.clients.wrapping" not in data

    def test_answers_pickle(self, recorded: Recorded) -> None:
        """An answer of a wrapped client pickles like that of a plain one."""
        client = wrap(in_memory(whole("/chat/completions", TEXT)), recorded[0])
        answer = client.chat.completions.create(**CHAT)
        assert answer == pickle.loads(pickle.dumps(answer))

    @pytest.mark.parametrize("derive", [copy.copy, lambda c: c.copy(), lambda c: c.with_options(timeout=9.0)])
    def test_copies_are_wrapped(self, derive: Callable[[Any], Any], recorded: Recorded) -> None:
        """A copy of a wrapped client, and one with other options, is wrapped too."""
        logger, sink = recorded
        client = wrap(in_memory(whole("/chat/completions", TEXT)), logger)
        derive(client).chat.completions.create(**CHAT)
        assert "ok" == ending(sink)["outcome"]

    def test_earlier_copy_is_plain(self, recorded: Recorded) -> None:
        """Whoever wraps a copy keeps the first client as it is."""
        logger, sink = recorded
        client = in_memory(whole("/chat/completions", TEXT))
        wrap(client.copy(), logger)
        client.chat.completions.create(**CHAT)
        assert openai.OpenAI is type(client)
        assert 0 == len(sink.records)

    def test_held_before(self, recorded: Recorded) -> None:
        """Parts of the client that somebody holds already are covered."""
        logger, sink = recorded
        client = in_memory(whole("/chat/completions", TEXT))
        completions = client.chat.completions
        wrap(client, logger)
        completions.create(**CHAT)
        assert "ok" == ending(sink)["outcome"]

    def test_wrapped_again(self, recorded: Recorded) -> None:
        """A second wrap takes the place of the first: nothing is logged twice."""
        logger, sink = new_logger()
        client = wrap(wrap(in_memory(whole("/chat/completions", TEXT)), recorded[0]), logger)
        client.chat.completions.create(**CHAT)
        assert "ok" == ending(sink)["outcome"]
        assert 0 == len(recorded[1].records)
        assert openai.OpenAI in type(client).__bases__

    def test_keeps_nothing_alive(self, recorded: Recorded) -> None:
        """What the host drops after a stream is freed, while the client lives on."""
        with Wire() as wire, wrapped("openai", wire, recorded[0], is_async=False) as client:
            stream = client.chat.completions.create(**COUNTED, stream=True)
            list(stream)
            response = weakref.ref(stream.response)
            del stream
            gc.collect()
            assert response() is None

    def test_loads_no_library(self) -> None:
        """Importing the wrapper imports neither client library: the caller has done that or does without."""
        code = "import sys, structllm.clients.wrapping; print({'openai', 'anthropic', 'httpx'} & set(sys.modules))"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert "set()" == run.stdout.strip()


class TestRefused:
    @pytest.mark.parametrize("thing", [None, object(), "client", openai.OpenAI, openai, httpx])
    def test_no_client(self, thing: object, recorded: Recorded) -> None:
        """What is no client of the two libraries is refused in one sentence."""
        with pytest.raises(ConfigError, match="takes a client of openai or anthropic"):
            wrap(thing, recorded[0])

    def test_part_of_a_client(self, recorded: Recorded) -> None:
        """A part of a client is refused: the whole one is to be wrapped."""
        with pytest.raises(ConfigError, match="takes a client of openai or anthropic"):
            wrap(openai.OpenAI(api_key="x").chat, recorded[0])

    def test_no_subclass(self, recorded: Recorded) -> None:
        """A class that allows no subclass cannot be wrapped, which is said in one sentence."""

        class Closed(openai.OpenAI):
            def __init_subclass__(cls) -> None:
                raise TypeError("closed")

        with pytest.raises(ConfigError, match="allows no subclass"):
            wrap(Closed(api_key="x"), recorded[0])

    def test_no_logger(self) -> None:
        """Something else than a logger is refused when it is given, not when it is used."""
        logger: Any = "logger"
        with pytest.raises(ConfigError, match="needs a logger"):
            wrap(openai.OpenAI(api_key="x"), logger)


class TestLogger:
    def test_default(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a logger one is built from the settings."""
        monkeypatch.setenv("LLM__COMPLETION_LOG_FILE", str(tmp_path / "llm.log"))
        client = wrap(in_memory(whole("/chat/completions", TEXT)))
        client.chat.completions.create(**CHAT)
        assert 2 == len((tmp_path / "llm.log").read_text().splitlines())

    def test_disabled(self) -> None:
        """Where logging is off nothing is logged and the call goes on."""
        logger, sink = new_logger(enable_completion_logging=False)
        client = wrap(in_memory(whole("/chat/completions", TEXT)), logger)
        assert TEXT == client.chat.completions.create(**CHAT).choices[0].message.content
        assert 0 == len(sink.records)

    @pytest.mark.parametrize("method", ["log_completion_request", "log_completion_response"])
    @pytest.mark.parametrize("way", STREAMS, ids=named)
    def test_failing(self, method: str, way: Way, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
        """A failure of ours is counted, and the host gets its answer."""
        logger, _ = recorded

        def fail(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError("ours")

        monkeypatch.setattr(logger, method, fail)
        with Wire() as wire:
            with new_client(way, wire, is_async=False) as plain:
                expected = repr(ask(way, plain))
            with wrapped(way, wire, logger, is_async=False) as client:
                assert expected == repr(ask(way, client))
        assert {"client": 1} == logger.stats()["processor_errors"]

    @pytest.mark.parametrize("way", STREAMS, ids=named)
    def test_failing_reader(self, way: Way, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
        """A failure while the stream is read is counted as well."""

        def fail(*args: Any) -> None:
            raise RuntimeError("ours")

        monkeypatch.setattr("structllm.clients.bodies.EventReader.split", fail)
        monkeypatch.setattr("structllm.clients.bodies.EventReader.feed", fail)
        with Wire() as wire:
            with new_client(way, wire, is_async=False) as plain:
                expected = repr(ask(way, plain))
            with wrapped(way, wire, recorded[0], is_async=False) as client:
                assert expected == repr(ask(way, client))
        assert 2 <= recorded[0].stats()["processor_errors"]["client"]


class TestRequest:
    def test_fields(self, recorded: Recorded) -> None:
        """The request says what is asked: messages, model, parameters, tools by name."""
        logger, sink = recorded
        tool = {"type": "function", "function": {"name": "quote", "parameters": {}}}
        given = {"temperature": 0.5, "max_completion_tokens": 9, "tools": [tool], "service_tier": "flex"}
        client = wrap(in_memory(whole("/chat/completions", TEXT)), logger)
        client.chat.completions.create(**CHAT, **given)
        (event,) = events(sink, "request")
        expected = {
            "model": "gpt-4o-mini",
            "temperature": 0.5,
            "max_tokens": 9,
            "tools": ["quote"],
            "operation": "chat",
            "prompt_preview": "BTC?",
            "message_count": 1,
            "service_tier": "flex",
            "provider": "openai",
            "base_url": "https://api.openai.com/v1/",
        }
        assert expected == {name: event.get(name) for name in expected}

    def test_instructions(self, recorded: Recorded) -> None:
        """What the host says beside the messages is part of the prompt."""
        logger, sink = recorded
        with Wire() as wire:
            with wrapped("openai", wire, logger, is_async=False) as client:
                client.responses.create(**ASKED, instructions="Be brief.")
            with wrapped("anthropic", wire, logger, is_async=False) as client:
                client.messages.create(**SAID, system="Be brief.")
        previews = [event["prompt_preview"] for event in events(sink, "request")]
        assert ["system: Be brief.\n\nuser: BTC?"] * 2 == previews

    def test_one_shot_messages(self, recorded: Recorded) -> None:
        """Messages that can be read once are left for the client, which sends them."""
        logger, _ = recorded
        with Wire() as wire:
            for library, messages in (("openai", "chat.completions"), ("anthropic", "messages")):
                with wrapped(library, wire, logger, is_async=False) as client:
                    create = client.chat.completions.create if messages != "messages" else client.messages.create
                    create(**{**(CHAT if messages != "messages" else SAID), "messages": (m for m in CHAT["messages"])})
        assert all(b"BTC?" in body for _, body in wire.requests)

    def test_other_calls(self, recorded: Recorded) -> None:
        """A call that asks no model leaves no event."""
        logger, sink = recorded
        with Wire() as wire:
            with wrapped("anthropic", wire, logger, is_async=False) as client:
                client.messages.count_tokens(model=SAID["model"], messages=SAID["messages"])
            with wrapped("openai", wire, logger, is_async=False) as client:
                client.moderations.create(input="BTC?")
        assert 0 == len(sink.records)
        assert 2 == len(wire.requests)

    async def test_other_calls_async(self, recorded: Recorded) -> None:
        """The same for an async client."""
        logger, sink = recorded
        with Wire() as wire:
            async with wrapped("openai", wire, logger, is_async=True) as client:
                await client.moderations.create(input="BTC?")
        assert (0, 1) == (len(sink.records), len(wire.requests))

    @pytest.mark.parametrize(
        ("url", "served"),
        [
            ("https://api.groq.com/openai/v1", {"provider": None, "base_url": "https://api.groq.com/openai/v1/"}),
            ("https://user:secret@gate.example:8443/v1", {"base_url": "https://gate.example:8443/v1/"}),
            ("https://eu.api.openai.com/v1", {"provider": "openai", "base_url": "https://eu.api.openai.com/v1/"}),
        ],
    )
    def test_served_by(self, url: str, served: dict[str, Any], recorded: Recorded) -> None:
        """Both events name the server, without secrets; it is called `openai` only where it is that."""
        logger, sink = recorded
        wrap(in_memory(whole("/chat/completions", TEXT), base_url=url), logger).chat.completions.create(**CHAT)
        for event in (events(sink, "request")[0], ending(sink)):
            assert served == {name: event.get(name) for name in served}

    def test_azure(self, recorded: Recorded) -> None:
        """Azure is called by its name, and what is asked is read as everywhere."""
        logger, sink = recorded
        transport = httpx.MockTransport(lambda request: httpx.Response(200, json=whole("/chat/completions", TEXT)))
        client = openai.AzureOpenAI(
            api_key="x",
            api_version="2024-10-21",
            azure_endpoint="https://desk.openai.azure.com",
            http_client=openai.DefaultHttpxClient(transport=transport),
        )
        wrap(client, logger).chat.completions.create(**CHAT)
        event = ending(sink)
        assert ("azure", "ok") == (event["provider"], event["cost_status"])


class TestUsage:
    def test_asked_for(self, recorded: Recorded) -> None:
        """With `include_usage` a stream is asked for its token counts, and nothing of the caller's is changed."""
        logger, sink = recorded
        given = {**CHAT, "stream": True}
        with Wire() as wire, wrap(new_client("openai", wire, is_async=False), logger, include_usage=True) as client:
            list(client.chat.completions.create(**given))
        assert b'"stream_options":{"include_usage":true}' in wire.requests[0][1]
        assert USAGE["total_tokens"] == ending(sink)["token_usage"]["total_tokens"]
        assert {**CHAT, "stream": True} == given

    @pytest.mark.parametrize(
        "given",
        [
            {**CHAT},
            {**CHAT, "stream": True, "stream_options": {"include_usage": False}},
            {**CHAT, "stream": True, "extra_body": {"stream_options": {"include_usage": False}}},
        ],
    )
    def test_left_alone(self, given: dict[str, Any], recorded: Recorded) -> None:
        """With `include_usage` what needs none, or what the caller decided, goes over the wire as ever."""
        with Wire() as wire:
            plain = new_client("openai", wire, is_async=False)
            for client in (plain, wrap(plain.copy(), recorded[0], include_usage=True)):
                answer = client.chat.completions.create(**given)
                list(answer) if "stream" in given else None
            plain.close()
        assert wire.requests[0] == wire.requests[1]

    @pytest.mark.parametrize("by_name", [False, True])
    def test_own_options(self, by_name: bool, recorded: Recorded) -> None:
        """Options that the host makes itself are not changed, however it hands them over."""
        body = {**CHAT, "stream": True}
        options = FinalRequestOptions.construct(method="post", url="/chat/completions", json_data=body)
        given, before = {"options": options} if by_name else {}, options.json_data
        stream_kind = openai.Stream[ChatCompletionChunk]
        with (
            Wire() as wire,
            wrap(new_client("openai", wire, is_async=False), recorded[0], include_usage=True) as client,
        ):
            for _ in range(2):
                args = (ChatCompletionChunk,) if by_name else (ChatCompletionChunk, options)
                list(client.request(*args, **given, stream=True, stream_cls=stream_kind))
        assert before is options.json_data
        assert {**CHAT, "stream": True} == body
        assert all(b"include_usage" in content for _, content in wire.requests)

    def test_missing(self, recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
        """A stream without token counts has none in the log, and people are told once what helps."""
        logger, sink = recorded
        with Wire() as wire, wrapped("openai", wire, logger, is_async=False) as client:
            for _ in range(3):
                list(client.chat.completions.create(**CHAT, stream=True))
        assert [(None, None, "no_usage")] * 3 == [
            (event["token_usage"], event["cost_estimate_usd"], event["cost_status"])
            for event in events(sink, "response")
        ]
        assert 1 == capsys.readouterr().err.count("include_usage=True")

    @pytest.mark.parametrize("is_raw", [False, True])
    def test_mismatch(self, is_raw: bool, recorded: Recorded) -> None:
        """An answer that does not fit the schema is an error that was billed: its token counts and cost are kept."""
        logger, sink = recorded
        client = wrap(in_memory(whole("/chat/completions", "no JSON")), logger)
        if is_raw:
            client.chat.completions.with_raw_response.parse(**CHAT, response_format=Verdict)
        else:
            with pytest.raises(ValidationError):
                client.chat.completions.parse(**CHAT, response_format=Verdict)
        event = ending(sink)
        assert ("no JSON", USAGE["total_tokens"]) == (event["response_preview"], event["token_usage"]["total_tokens"])
        assert event["cost_estimate_usd"] > 0
        assert ("ok" if is_raw else "error") == event["outcome"]

    def test_half_told(self, recorded: Recorded) -> None:
        """Token counts of a stream that was left are those until then: kept as such, never taken for the whole."""
        logger, sink = recorded
        with Wire() as wire, wrapped("anthropic", wire, logger, is_async=False) as client:
            stream = client.messages.create(**SAID, stream=True)
            next(iter(stream))
            stream.close()
        event = ending(sink)
        assert (None, "no_usage") == (event["cost_estimate_usd"], event["cost_status"])
        assert {"input_tokens": 11, "output_tokens": 1} == event["partial_usage"]

    def test_failed_response(self, recorded: Recorded) -> None:
        """An answer of Responses that says it failed is an error, though its status was 200."""
        logger, sink = recorded
        failed = {**whole("/responses", ""), "status": "failed", "error": {"code": "server_error", "message": "No."}}
        wrap(in_memory(failed), logger).responses.create(**ASKED)
        event = ending(sink)
        assert ("error", "No.", 18) == (event["outcome"], event["error_message"], event["token_usage"]["total_tokens"])


class TestEnds:
    def test_interrupted(self, recorded: Recorded) -> None:
        """Ctrl-C in the middle of a call is logged as cancelled, and goes on."""
        logger, sink = recorded

        def interrupted(request: Any) -> Any:
            raise KeyboardInterrupt

        http = openai.DefaultHttpxClient(transport=httpx.MockTransport(interrupted))
        with pytest.raises(KeyboardInterrupt):
            wrap(openai.OpenAI(api_key="x", http_client=http), logger).chat.completions.create(**CHAT)
        assert ("cancelled", "KeyboardInterrupt") == (ending(sink)["outcome"], ending(sink)["error_type"])

    async def test_coroutine_closed(self, recorded: Recorded) -> None:
        """A call that is given up without being cancelled is logged as abandoned."""
        logger, sink = recorded

        async def waiting(request: Any) -> Any:
            await asyncio.sleep(LONGEST_WAIT_S)
            raise AssertionError

        http = openai.DefaultAsyncHttpxClient(transport=httpx.MockTransport(waiting))
        client = wrap(openai.AsyncOpenAI(api_key="x", http_client=http), logger)
        call = client.chat.completions.create(**CHAT)
        call.send(None)
        call.close()
        assert "abandoned" == ending(sink)["outcome"]

    async def test_cancelled_between(self, recorded: Recorded) -> None:
        """A task that is cancelled while it works on a part of the stream, and closes it, ends it as cancelled."""
        logger, sink = recorded
        with Wire() as wire:
            client = wrapped("openai", wire, logger, is_async=True)
            stream = await client.chat.completions.create(**COUNTED, stream=True)

            async def reading() -> None:
                async with stream:
                    await anext(stream)
                    raise asyncio.CancelledError

            with pytest.raises(asyncio.CancelledError):
                await reading()
            await client.close()
        assert ("cancelled", "CancelledError") == (ending(sink)["outcome"], ending(sink)["error_type"])

    def test_own_exception(self, recorded: Recorded) -> None:
        """A host that fails in the middle of a stream has abandoned it: the call itself did not fail."""
        logger, sink = recorded
        with Wire() as wire, wrapped("openai", wire, logger, is_async=False) as client:
            stream = client.chat.completions.create(**COUNTED, stream=True)

            def reading() -> None:
                with stream:
                    next(stream)
                    raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                reading()
        event = ending(sink)
        assert ("abandoned", None) == (event["outcome"], event.get("error_type"))

    def test_body_left(self, recorded: Recorded) -> None:
        """A whole answer that the host opens and does not read is abandoned."""
        logger, sink = recorded
        with Wire() as wire, wrapped("openai", wire, logger, is_async=False) as client:
            opening = client.chat.completions.with_streaming_response.create(**CHAT)
            with opening as response:
                assert 200 == response.status_code
        assert ("abandoned", None) == (ending(sink)["outcome"], ending(sink)["token_usage"])

    def test_at_exit(self, tmp_path: Path) -> None:
        """A stream that is open when the program ends is logged as abandoned, and the program ends as it would
        without us."""
        with Wire() as wire:
            plain = f"""
import openai
client = openai.OpenAI(api_key="x", base_url="{wire.url}/v1")
# wrap
stream = client.chat.completions.create(model="m", messages=[], stream=True)
next(stream)
"""
            wrap_it = f"""
import structllm
client = structllm.wrap(client, structllm.create_llm_logger(log_file={str(tmp_path / "x.log")!r}))
"""
            # Some interpreters crash in the client's own finalizers here, whether it is wrapped or not.
            statuses = [
                subprocess.run([sys.executable, "-c", code], check=False, timeout=60, capture_output=True).returncode
                for code in (plain, plain.replace("# wrap", wrap_it))
            ]
        assert statuses[0] == statuses[1]
        lines = (tmp_path / "x.log").read_text().splitlines()
        assert [False, True] == ['"outcome":"abandoned"' in line for line in lines]

    def test_forked(self, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
        """A stream that a fork has from its parent is not ended by the fork."""
        logger, sink = recorded
        with Wire() as wire, wrapped("openai", wire, logger, is_async=False) as client:
            stream = client.chat.completions.create(**COUNTED, stream=True)
            monkeypatch.setattr("structllm.clients.calls.os.getpid", lambda: -1)
            list(stream)
        assert [] == events(sink, "response")

    def test_no_end(self, recorded: Recorded) -> None:
        """A stream that ends as if it were whole, and says nowhere that the answer is, is an error."""
        logger, sink = recorded
        lines = line({"id": "c", "choices": [{"index": 0, "delta": {"content": "half"}, "finish_reason": None}]})
        list(self.answered_by("text/event-stream", lines, logger).chat.completions.create(**CHAT, stream=True))
        event = ending(sink)
        assert ("error", "IncompleteStream", "half") == (
            event["outcome"],
            event["error_type"],
            event["response_preview"],
        )

    def test_unknown_format(self, recorded: Recorded) -> None:
        """An answer in a format of its own is read by the host, and what it says is not known."""
        logger, sink = recorded
        client = self.answered_by("application/vnd.amazon.eventstream", b"\x00\x01", logger)
        with client.chat.completions.with_streaming_response.create(**CHAT) as response:
            assert b"\x00\x01" == response.read()
        event = ending(sink)
        assert ("ok", None, None) == (event["outcome"], event["token_usage"], event["response_preview"])

    @pytest.mark.parametrize(("size", "expected"), [(None, [8, 6]), (4, [4, 4, 4, 2])])
    def test_sizes(self, size: int | None, expected: list[int], recorded: Recorded) -> None:
        """Whoever asks for pieces of a size gets them."""
        logger, sink = recorded
        client = self.answered_by("text/event-stream", b"data:1\n\ndata:\n", logger)
        with client.chat.completions.with_streaming_response.create(**CHAT, stream=True) as response:
            assert expected == [len(piece) for piece in response.iter_bytes(size)]
        assert "IncompleteStream" == ending(sink)["error_type"]

    def answered_by(self, kind: str, content: bytes, logger: ChatCompletionLogger) -> openai.OpenAI:
        """A wrapped client whose server sends this."""

        def answer(request: Any) -> Any:
            return httpx.Response(200, headers={"content-type": kind}, content=iter([content]), request=request)

        http = openai.DefaultHttpxClient(transport=httpx.MockTransport(answer))
        return wrap(openai.OpenAI(api_key="x", http_client=http), logger)


class TestWithoutInside:
    @pytest.mark.parametrize("way", STREAMS, ids=named)
    def test_streams(self, way: Way, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client library that no longer tells us of its HTTP responses is recorded all the same."""
        monkeypatch.setattr(wrapping, "_tell", lambda exchange: None)
        logger, sink = recorded
        with Wire() as wire, wrapped(way, wire, logger, is_async=False) as client:
            ask(way, client)
        event = ending(sink)
        assert ("ok", TEXT, 1) == (event["outcome"], event["response_preview"], event["attempts"])


class TestManyAtOnce:
    def test_threads(self, recorded: Recorded) -> None:
        """Threads that share a client do not mix: each call has its own session, text and end."""
        logger, sink = recorded
        with Wire() as wire, wrapped("openai", wire, logger, is_async=False) as client:

            def work(number: int) -> None:
                with bind_session(f"session{number}"):
                    for _ in range(5):
                        prompt = [{"role": "user", "content": f"session{number}"}]
                        list(client.chat.completions.create(**{**COUNTED, "messages": prompt}, stream=True))

            threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(WAIT_S)
        self.check(sink, 20)

    async def test_tasks(self, recorded: Recorded) -> None:
        """The same for fifty tasks, half of them streaming."""
        logger, sink = recorded
        with Wire() as wire:
            async with wrapped("openai", wire, logger, is_async=True) as client:

                async def work(number: int) -> None:
                    with bind_session(f"session{number}"):
                        given = {**COUNTED, "messages": [{"role": "user", "content": f"session{number}"}]}
                        if number % 2:
                            stream = await client.chat.completions.create(**given, stream=True)
                            assert [chunk async for chunk in stream]
                        else:
                            given.pop("stream_options")
                            await client.chat.completions.create(**given)

                await asyncio.wait_for(asyncio.gather(*map(work, range(50))), LONGEST_WAIT_S)
        self.check(sink, 50)

    def check(self, sink: MemorySink, count: int) -> None:
        """Each request has its session's prompt and one ending in the same session."""
        requests = {event["request_id"]: event for event in events(sink, "request")}
        responses = {event["request_id"]: event for event in events(sink, "response")}
        assert count == len(requests) == len(responses) == len(events(sink, "response"))
        for request_id, request in requests.items():
            assert request["session_id"] == request["prompt_preview"] == responses[request_id]["session_id"]
            assert "ok" == responses[request_id]["outcome"]

    def test_read_elsewhere(self, recorded: Recorded) -> None:
        """A stream that is read in another context ends in the session that asked."""
        logger, sink = recorded
        with Wire() as wire, wrapped("openai", wire, logger, is_async=False) as client:
            with bind_session("asking"):
                stream = client.chat.completions.create(**COUNTED, stream=True)
            with bind_session("reading"):
                list(stream)
        assert "asking" == ending(sink)["session_id"]


class TestExpected:
    def test_once(self, recorded: Recorded) -> None:
        """A call that a framework's handler has logged is not logged again; the next one is."""
        logger, sink = recorded
        client = wrap(in_memory(whole("/chat/completions", TEXT)), logger)
        expect_call(logger.writer)
        client.chat.completions.create(**CHAT)
        assert 0 == len(sink.records)
        client.chat.completions.create(**CHAT)
        assert "ok" == ending(sink)["outcome"]

    def test_over(self, recorded: Recorded) -> None:
        """A call that ended without asking the client, such as one from a cache, expects none any more."""
        logger, sink = recorded
        expect_call(logger.writer).over()
        wrap(in_memory(whole("/chat/completions", TEXT)), logger).chat.completions.create(**CHAT)
        assert "ok" == ending(sink)["outcome"]

    def test_other_logger(self, recorded: Recorded) -> None:
        """What another logger has logged is logged here too."""
        logger, sink = recorded
        expect_call(new_logger()[0].writer)
        wrap(in_memory(whole("/chat/completions", TEXT)), logger).chat.completions.create(**CHAT)
        assert "ok" == ending(sink)["outcome"]

    def test_several(self, recorded: Recorded) -> None:
        """Of several calls that were announced together, each is taken once."""
        logger, sink = recorded
        client = wrap(in_memory(whole("/chat/completions", TEXT)), logger)
        for _ in range(2):
            expect_call(logger.writer)
        for _ in range(3):
            client.chat.completions.create(**CHAT)
        assert 1 == len(events(sink, "request"))


def test_public() -> None:
    """`structllm.wrap` is this function."""
    assert wrap is structllm.wrap
