"""Reading streams of all dialects, event by event: nothing is added up twice, nothing lost, nothing grows for ever."""

import json
import random
from collections.abc import Mapping
from typing import Any

import pytest

from structllm.clients.anthropic import MessageAnswer
from structllm.clients.bodies import MAX_BODY_BYTES, Answering, BodyReader, EventReader
from structllm.clients.openai import MAX_TOOL_CALLS, ChunkedAnswer, ResponsesAnswer
from tests.clients.serving import TEXT, chunks, failure, line, message_events, response_events

LIMIT_CHARS = 1000
SEED = 20261124

STREAMS: dict[str, tuple[Any, list[bytes]]] = {
    "chat": (ChunkedAnswer, [line(e) for e in chunks(TEXT, {"stream_options": {"include_usage": True}}, chat=True)]),
    "text": (ChunkedAnswer, [line(e) for e in chunks(TEXT, {"stream_options": {"include_usage": True}}, chat=False)]),
    "responses": (ResponsesAnswer, [line(e) for e in response_events(TEXT)]),
    "messages": (MessageAnswer, [line(e) for e in message_events(TEXT)]),
}
every_dialect = pytest.mark.parametrize("dialect", STREAMS)


def text_of(answer: Mapping[str, Any] | None) -> str:
    """The text in an answer of any dialect."""
    assert answer is not None
    if "choices" in answer:
        return str(answer["choices"][0]["message"]["content"])
    content = answer["content"] if "content" in answer else answer["output"][0]["content"]
    return "".join(part.get("text", "") for part in content)


def chunk(**choice: Any) -> dict[str, Any]:
    """A chunk of a chat completion."""
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "finish_reason": None, **choice}]}


class TestEventReader:
    @every_dialect
    @pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
    def test_any_cut(self, dialect: str, ends: bytes) -> None:
        """However the bytes are cut on their way, and whatever ends a line, the answer is the same."""
        kind, lines = STREAMS[dialect]
        content = b"".join(lines).replace(b"\n", ends)
        generator = random.Random(SEED)
        for _ in range(50):
            answering: Answering = kind(LIMIT_CHARS)
            reader, rest, given = EventReader(answering), content, b""
            while rest:
                size = generator.randint(1, 200)
                for piece in reader.split(rest[:size]):
                    reader.feed(piece)
                    given += piece
                rest = rest[size:]
            assert content == given, f"seed {SEED}"
            assert TEXT == text_of(answering.answer()), f"seed {SEED}"
            assert (True, True, True, None) == (
                answering.has_token,
                answering.has_ended,
                answering.is_complete,
                answering.problem,
            )
            assert 7 in (answering.usage() or {}).values()

    @every_dialect
    def test_one_event_each(self, dialect: str) -> None:
        """A chunk of several events is given on event by event, and byte for byte."""
        kind, lines = STREAMS[dialect]
        assert lines == EventReader(kind(LIMIT_CHARS)).split(b"".join(lines))

    @every_dialect
    def test_every_half(self, dialect: str) -> None:
        """A stream that stops after any event has a beginning of the text, and no end unless it said so."""
        kind, lines = STREAMS[dialect]
        for count in range(len(lines)):
            answering: Answering = kind(LIMIT_CHARS)
            reader = EventReader(answering)
            for event in lines[:count]:
                reader.feed(event)
            answer = answering.answer()
            assert answer is None or TEXT.startswith(text_of(answer))
            assert not answering.has_ended or TEXT == text_of(answer)
            assert not answering.is_complete

    @every_dialect
    def test_failure(self, dialect: str) -> None:
        """A stream in which the server says that it failed has that as its problem."""
        kind, lines = STREAMS[dialect]
        answering: Answering = kind(LIMIT_CHARS)
        reader = EventReader(answering)
        for event in (lines[0], failure()):
            reader.feed(event)
        assert "The wire gave up." == answering.problem

    @every_dialect
    @pytest.mark.parametrize("event", ["[]", "1", "null", '"x"', "{}", '{"choices": 1, "usage": 2, "error": 0}'])
    def test_odd_events(self, dialect: str, event: str) -> None:
        """Events of no known shape are passed over."""
        kind, lines = STREAMS[dialect]
        answering: Answering = kind(LIMIT_CHARS)
        reader = EventReader(answering)
        for piece in (line(event), *lines):
            reader.feed(piece)
        assert TEXT == text_of(answering.answer())

    def test_no_json(self) -> None:
        """An event that is no JSON makes the stream malformed; NaN is what the clients take, too."""
        reader = EventReader(ChunkedAnswer(LIMIT_CHARS))
        reader.feed(b'data: {"id": NaN}\n\n')
        assert not reader.malformed
        reader.feed(b"data: {no\n\n")
        assert reader.malformed

    def test_endless_line(self) -> None:
        """A line without end is not kept."""
        reader = EventReader(ChunkedAnswer(LIMIT_CHARS))
        piece = b"x" * (1024 * 1024)
        for _ in range(MAX_BODY_BYTES // len(piece) + 2):
            reader.feed(piece)
        assert sum(map(len, reader._line)) <= MAX_BODY_BYTES
        reader.feed(b"\n\n" + line(chunk(delta={"content": "a"})))
        assert "a" == text_of(reader.answering.answer())


class TestBodyReader:
    def test_pieces(self) -> None:
        """A body that comes in pieces is read as a whole."""
        reader = BodyReader()
        for piece in (b'{"a"', b": 1}"):
            reader.feed(piece)
        assert ({"a": 1}, True) == reader.answer()

    def test_no_json(self) -> None:
        """A body that is no JSON object cannot be read."""
        for body in (b"", b"[]", b"{no"):
            reader = BodyReader()
            reader.feed(body)
            assert (None, False) == reader.answer()

    def test_too_large(self) -> None:
        """A body that is too large to be kept is not known, and no error."""
        reader = BodyReader()
        for _ in range(3):
            reader.feed(b" " * (MAX_BODY_BYTES // 2))
        assert (None, True) == reader.answer()


class TestChunkedAnswer:
    def test_tool_calls(self) -> None:
        """Arguments that come in stretches are put together, call by call."""
        answering = ChunkedAnswer(LIMIT_CHARS)
        first = {"index": 0, "id": "t0", "function": {"name": "buy", "arguments": ""}}
        second = {"index": 1, "id": "t1", "function": {"name": "sell", "arguments": '{"b":2}'}}
        for call in (first, {"index": 0, "function": {"arguments": '{"a"'}}, second):
            answering.add(chunk(delta={"tool_calls": [call]}))
        answering.add(chunk(delta={"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}))
        answer = answering.answer()
        assert answer is not None
        calls = [call["function"] for call in answer["choices"][0]["message"]["tool_calls"]]
        assert [{"name": "buy", "arguments": '{"a":1}'}, {"name": "sell", "arguments": '{"b":2}'}] == calls

    def test_old_function(self) -> None:
        """The old function call is a tool call."""
        answering = ChunkedAnswer(LIMIT_CHARS)
        answering.add(chunk(delta={"function_call": {"name": "buy", "arguments": "{}"}}))
        answer = answering.answer()
        assert answer is not None
        assert "buy" == answer["choices"][0]["message"]["tool_calls"][0]["name"]

    def test_too_many_calls(self) -> None:
        """A server that numbers calls without end fills no memory."""
        answering = ChunkedAnswer(LIMIT_CHARS)
        for index in range(MAX_TOOL_CALLS * 2):
            answering.add(chunk(delta={"tool_calls": [{"index": index, "function": {"name": "x"}}]}))
        answer = answering.answer()
        assert answer is not None
        assert MAX_TOOL_CALLS == len(answer["choices"][0]["message"]["tool_calls"])

    def test_long_text(self) -> None:
        """Of a long text the beginning is kept, and how long it was."""
        answering = ChunkedAnswer(10)
        for _ in range(5):
            answering.add(chunk(delta={"content": "12345"}))
        assert ("1234512345", 25) == (text_of(answering.answer()), answering.length)

    @pytest.mark.parametrize(
        "event",
        [
            {"x_groq": {"usage": {"total_tokens": 3}}, "choices": []},
            {"usage": {"total_tokens": 3}, "choices": []},
        ],
    )
    def test_usage(self, event: dict[str, Any]) -> None:
        """Token counts are found where each provider puts them; an earlier count gives way, a null does not count."""
        answering = ChunkedAnswer(LIMIT_CHARS)
        answering.add({**chunk(delta={}), "usage": {"total_tokens": 1}})
        answering.add(event)
        answering.add({**chunk(delta={}), "usage": None})
        assert {"total_tokens": 3} == answering.usage()

    def test_first_choice(self) -> None:
        """Of several choices the first is read."""
        answering = ChunkedAnswer(LIMIT_CHARS)
        answering.add(chunk(delta={"content": "a"}))
        answering.add(chunk(index=1, delta={"content": "b"}, finish_reason="stop"))
        assert ("a", False) == (text_of(answering.answer()), answering.has_ended)

    def test_parts_and_thoughts(self) -> None:
        """Content in parts is text; thoughts are a token and no text."""
        answering = ChunkedAnswer(LIMIT_CHARS)
        answering.add(chunk(delta={"role": "assistant", "content": ""}))
        assert not answering.has_token
        answering.add(chunk(delta={"reasoning_content": "hm"}))
        assert answering.has_token
        answering.add(chunk(delta={"content": [{"type": "text", "text": "a"}, "b", 3]}))
        assert "ab" == text_of(answering.answer())


class TestResponsesAnswer:
    def test_failed(self) -> None:
        """A response that failed ends with its token counts and what went wrong."""
        answering = ResponsesAnswer(LIMIT_CHARS)
        response = {"status": "failed", "output": [], "usage": {"input_tokens": 3}, "error": {"message": "No."}}
        answering.add({"type": "response.failed", "response": response})
        assert ("No.", True, {"input_tokens": 3}) == (answering.problem, answering.is_complete, answering.usage())

    def test_tool_calls_so_far(self) -> None:
        """Tool calls that came before the end are in what is known so far."""
        answering = ResponsesAnswer(LIMIT_CHARS)
        call = {"type": "function_call", "name": "buy", "arguments": "{}"}
        answering.add({"type": "response.function_call_arguments.delta", "delta": "{}"})
        answering.add({"type": "response.output_item.done", "item": call})
        answer = answering.answer()
        assert answer is not None
        assert call == answer["output"][1]

    def test_end_mark(self) -> None:
        """The end mark of OpenAI's other dialect, which some servers send, ends it too."""
        answering = ResponsesAnswer(LIMIT_CHARS)
        answering.done()
        assert answering.is_complete


class TestMessageAnswer:
    def test_counts_replace(self) -> None:
        """Later token counts are sums so far: they replace earlier ones, and what they do not name is kept."""
        answering = MessageAnswer(LIMIT_CHARS)
        details = {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5}
        usage = {"input_tokens": 11, "output_tokens": 1, "cache_creation": details}
        answering.add({"type": "message_start", "message": {"id": "m", "content": [], "usage": usage}})
        answering.add({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 282, "input_tokens": None}})
        assert {"input_tokens": 11, "output_tokens": 282, "cache_creation": details} == answering.usage()

    def test_tool_calls(self) -> None:
        """The input of a tool comes in stretches of JSON; what is cut stays as text."""
        answering = MessageAnswer(LIMIT_CHARS)
        for index in (0, 1):
            block = {"type": "tool_use", "name": "buy", "input": {}}
            answering.add({"type": "content_block_start", "index": index, "content_block": block})
            answering.add(self.written(index, '{"a"'))
        answering.add(self.written(0, ": 1}"))
        answer = answering.answer()
        assert answer is not None
        assert [{"a": 1}, '{"a"'] == [block["input"] for block in answer["content"] if block["type"] == "tool_use"]

    def written(self, index: int, text: str) -> dict[str, Any]:
        """A stretch of a tool's input."""
        return {
            "type": "content_block_delta",
            "index": index,
            "delta": {"type": "input_json_delta", "partial_json": text},
        }

    def test_thoughts(self) -> None:
        """Thoughts are a token and no text."""
        answering = MessageAnswer(LIMIT_CHARS)
        answering.add(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}
        )
        assert ("", True) == (text_of(answering.answer()), answering.has_token)

    def test_old_completions(self) -> None:
        """The events of the old text completions are read as well."""
        answering = MessageAnswer(LIMIT_CHARS)
        for said, reason in (("a", None), ("b", "stop_sequence")):
            answering.add({"type": "completion", "completion": said, "stop_reason": reason, "model": "claude-2"})
        assert ("ab", True) == (text_of(answering.answer()), answering.has_ended)
        assert "claude-2" == json.loads(json.dumps(answering.answer()))["model"]
