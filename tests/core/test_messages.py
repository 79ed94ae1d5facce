"""Prompts and answers of every client are read by their shape, and nothing that looks like one can do harm."""

import base64
import dataclasses
import subprocess
import sys
import types
from typing import Any
from unittest.mock import MagicMock

import pytest
from anthropic.types import Message
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation, LLMResult
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.responses import Response
from pydantic import BaseModel

from structllm.messages import PromptView, ResponseView, prompt_view, response_view

LIMIT = 10_000
PIXELS = base64.b64encode(b"x" * 1234).decode()
DATA_URI = f"data:image/png;base64,{PIXELS}"


def prompt_text(prompt: object) -> str:
    """Return a prompt as text, checking that its length is counted right."""
    view = prompt_view(prompt, LIMIT)
    assert len(view.text) == view.length
    return view.text


def response_text(response: object) -> str | None:
    """Return an answer as text, checking that its length is counted right."""
    view = response_view(response, LIMIT)
    assert (None if view.text is None else len(view.text)) == view.length
    return view.text


class TestPromptText:
    def test_text(self) -> None:
        """A text is itself, and no conversation."""
        assert PromptView("Should I buy BTC?", 17, None) == prompt_view("Should I buy BTC?", LIMIT)

    def test_a_single_user_message_is_its_text(self) -> None:
        """One message of the user needs no heading."""
        assert PromptView("hi", 2, 1) == prompt_view([{"role": "user", "content": "hi"}], LIMIT)

    def test_several_messages_have_headings(self) -> None:
        """Several messages are `role: content` with blank lines between."""
        prompt = [{"role": "system", "content": "Trade."}, {"role": "user", "content": "BTC?"}]
        assert PromptView("system: Trade.\n\nuser: BTC?", 26, 2) == prompt_view(prompt, LIMIT)

    def test_one_message_of_another_role_has_a_heading(self) -> None:
        """A lone system message is not taken for the user's."""
        assert "system: Trade." == prompt_text({"role": "system", "content": "Trade."})

    @pytest.mark.parametrize(
        "prompt",
        [
            [SystemMessage("Trade."), HumanMessage("BTC?")],
            (SystemMessage("Trade."), HumanMessage("BTC?")),
            [[SystemMessage("Trade."), HumanMessage("BTC?")]],
            [("system", "Trade."), ("human", "BTC?")],
            [("system", "Trade."), "BTC?"],
            ChatPromptValue(messages=[SystemMessage("Trade."), HumanMessage("BTC?")]),
            {"model": "claude", "system": "Trade.", "messages": [{"role": "user", "content": "BTC?"}]},
            {
                "system": [{"type": "text", "text": "Trade."}],
                "messages": [{"role": "user", "content": [{"type": "text", "text": "BTC?"}]}],
            },
            [{"role": "system", "parts": [{"text": "Trade."}]}, {"role": "user", "parts": [{"text": "BTC?"}]}],
        ],
    )
    def test_every_shape_of_a_conversation(self, prompt: object) -> None:
        """LangChain's messages, pairs, batches and values, and Anthropic's and Gemini's dicts read alike."""
        assert PromptView("system: Trade.\n\nuser: BTC?", 26, 2) == prompt_view(prompt, LIMIT)

    def test_subclass_of_text(self) -> None:
        """A text of a class of its own is a plain text."""
        view = prompt_view(type("Template", (str,), {})("hi"), LIMIT)
        assert (PromptView("hi", 2, None), str) == (view, type(view.text))

    def test_string_prompt_value(self) -> None:
        """A string prompt of LangChain is its text."""
        assert PromptView("hi", 2, None) == prompt_view(StringPromptValue(text="hi"), LIMIT)

    def test_list_of_texts(self) -> None:
        """Several texts, as for completions or embeddings, are joined and are no conversation."""
        assert PromptView("one\n\ntwo", 8, None) == prompt_view(["one", "two"], LIMIT)

    def test_empty_conversation(self) -> None:
        """No messages are an empty text."""
        assert PromptView("", 0, 0) == prompt_view([], LIMIT)

    def test_openai_objects_in_the_history(self) -> None:
        """An answer that is sent back as an object is read like a dict."""
        answer = ChatCompletionMessage.model_validate({"role": "assistant", "content": "42"})
        assert "user: hi\n\nassistant: 42" == prompt_text([{"role": "user", "content": "hi"}, answer])

    def test_responses_items(self) -> None:
        """Calls and their outputs, which have no role in OpenAI's Responses, get one."""
        items = [
            {"role": "user", "content": [{"type": "input_text", "text": "BTC?"}]},
            {"type": "function_call", "name": "quote", "arguments": '{"s":"BTC"}', "call_id": "1"},
            {"type": "function_call_output", "call_id": "1", "output": "42"},
        ]
        assert 'user: BTC?\n\nassistant: [tool_call quote {"s":"BTC"}]\n\ntool: 42' == prompt_text(items)

    @pytest.mark.parametrize(
        ("expected", "prompt"),
        [
            ('{"symbol": "BTC", "n": 1}', {"symbol": "BTC", "n": 1}),
            ("[1, 2, 3]", [1, 2, 3]),
            ("<object>", object()),
            ("5", 5),
            ("null", None),
        ],
    )
    def test_anything_else_is_json(self, expected: str, prompt: object) -> None:
        """What is no prompt that we know is JSON of its normalised form."""
        assert expected == prompt_text(prompt)


class TestParts:
    def test_texts_are_lines(self) -> None:
        """The text parts of a message stand below each other."""
        content = [{"type": "text", "text": "one"}, "two", {"type": "input_text", "text": "three"}]
        assert "one\ntwo\nthree" == prompt_text([{"role": "user", "content": content}])

    @pytest.mark.parametrize(
        ("expected", "part"),
        [
            ("[image/png 1234 bytes]", {"type": "image_url", "image_url": {"url": DATA_URI}}),
            ("[image/png 1234 bytes]", {"type": "image_url", "image_url": DATA_URI}),
            ("[image/png 1234 bytes]", {"type": "input_image", "image_url": DATA_URI}),
            ("[image]", {"type": "image_url", "image_url": {"url": "https://example.com/x.png?sig=1"}}),
            (
                "[image/png 1234 bytes]",
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXELS}},
            ),
            ("[image]", {"type": "image", "source": {"type": "url", "url": "https://example.com/x.png"}}),
            ("[image/png 1234 bytes]", {"type": "image", "base64": PIXELS, "mime_type": "image/png"}),
            (
                "[image/png 1234 bytes]",
                {"type": "image", "source_type": "base64", "data": PIXELS, "mime_type": "image/png"},
            ),
            ("[audio/wav 1234 bytes]", {"type": "input_audio", "input_audio": {"data": PIXELS, "format": "wav"}}),
            ("[text/csv 9 bytes]", {"type": "file", "file": {"file_data": "data:text/csv,price;BTC"}}),
            ("[file]", {"type": "input_file", "file_id": "file-1"}),
            (
                "[text/plain 5 bytes]",
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "notes"}},
            ),
            ("[image/png 1234 bytes]", {"inline_data": {"mime_type": "image/png", "data": b"x" * 1234}}),
            ("[cache_point]", {"type": "cache_point"}),
            ("[part]", {"blob": "x" * 100}),
            ("5", 5),
        ],
    )
    def test_what_is_no_text(self, expected: str, part: object) -> None:
        """Images, audio and files are named by type and size; their data is never in the text."""
        assert expected == prompt_text([{"role": "user", "content": [part]}])

    @pytest.mark.parametrize(
        "message",
        [
            {"content": None, "tool_calls": [{"id": "1", "function": {"name": "quote", "arguments": '{"s": "BTC"}'}}]},
            {"content": [{"type": "tool_use", "id": "1", "name": "quote", "input": {"s": "BTC"}}]},
            {"content": "", "tool_calls": [{"name": "quote", "args": {"s": "BTC"}, "id": "1"}]},
            {"content": None, "function_call": {"name": "quote", "arguments": '{"s": "BTC"}'}},
            {
                "content": [{"type": "tool_use", "id": "1", "name": "quote", "input": {"s": "BTC"}}],
                "tool_calls": [{"name": "quote", "args": {"s": "BTC"}, "id": "1"}],
            },
        ],
    )
    def test_tool_calls(self, message: dict[str, Any]) -> None:
        """A call is its name and arguments, once, wherever the client keeps it."""
        expected = 'assistant: [tool_call quote {"s": "BTC"}]'
        assert expected == prompt_text([{"role": "assistant", **message}])

    def test_tool_results(self) -> None:
        """What a tool returned is text, an image in it is not."""
        content = [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "42"}]}]
        assert "42" == prompt_text([{"role": "user", "content": content}])
        assert "tool: 42" == prompt_text([ToolMessage("42", tool_call_id="1")])

    def test_thoughts_are_left_out(self) -> None:
        """Reasoning is no part of what was said."""
        content = [{"type": "thinking", "thinking": "hm", "signature": "x"}, {"type": "text", "text": "yes"}]
        assert "assistant: yes" == prompt_text([{"role": "assistant", "content": content}])


class TestLimits:
    @pytest.mark.parametrize("limit", [0, 1, 5, 13, 14, 15, 16, 25, 100, -1])
    def test_text_is_the_beginning_and_length_counts_all(self, limit: int) -> None:
        """At every limit the text is a prefix of the whole and the length that of the whole."""
        prompt = [
            {"role": "system", "content": [{"type": "text", "text": "Tr"}, {"type": "text", "text": "ade."}]},
            {"role": "user", "content": "BTC?"},
        ]
        whole = prompt_text(prompt)
        assert PromptView(whole[: max(limit, 0)], len(whole), 2) == prompt_view(prompt, limit)
        assert PromptView("abcdef"[: max(limit, 0)], 6, None) == prompt_view("abcdef", limit)
        assert ("abcdef"[: max(limit, 0)], 6) == response_view("abcdef", limit)[:2]
        assert ('{"a": 1}'[: max(limit, 0)], 8) == response_view({"a": 1}, limit)[:2]

    def test_lengths_are_code_points(self) -> None:
        """A character outside of ASCII counts as one."""
        assert ("\U0001f600", 2) == prompt_view("\U0001f600\u00e9", 1)[:2]
        assert ('{"a": "\u00e9"}', 10) == response_view({"a": "\u00e9"}, LIMIT)[:2]


COUNTS = {"prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225, "cost": 0.000495}
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "o3-mini-2025-01-31",
    "service_tier": "default",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "HOLD"}}],
    "usage": COUNTS | {"completion_tokens_details": {"reasoning_tokens": 64}},
}
RESPONSES = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-5",
    "status": "incomplete",
    "incomplete_details": {"reason": "max_output_tokens"},
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "service_tier": "flex",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "HO", "annotations": []}, {"type": "refusal", "refusal": "LD"}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "quote", "arguments": "{}"},
    ],
    "usage": {
        "input_tokens": 5,
        "output_tokens": 6,
        "total_tokens": 11,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 1},
    },
}
ANTHROPIC = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "text", "text": "HO"},
        {"type": "text", "text": "LD"},
        {"type": "tool_use", "id": "t1", "name": "quote", "input": {"symbol": "BTC"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 48,
        "output_tokens": 42,
        "service_tier": "standard",
        "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 6},
        "iterations": [{"input_tokens": 4, "type": "message"}],
    },
}
EMBEDDINGS = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}


class TestOpenai:
    @pytest.mark.parametrize("response", [CHAT, ChatCompletion.construct(**CHAT), ChatCompletion.model_validate(CHAT)])
    def test_chat_completion(self, response: object) -> None:
        """A chat completion as a dict, as the client builds it and as pydantic does reads alike, usage verbatim."""
        expected = ResponseView(
            text="HOLD",
            length=4,
            usage=CHAT["usage"],
            usage_source="response",
            model="o3-mini-2025-01-31",
            response_id="chatcmpl-1",
            finish_reason="stop",
            service_tier="default",
        )
        assert expected == response_view(response, LIMIT)

    def test_tool_calls_and_refusals(self) -> None:
        """An answer without content is what it has instead."""
        function = {"name": "decide", "arguments": '{"action": "LONG"}'}
        call = {"content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]}
        for message, expected in (
            (call, '[tool_call decide {"action": "LONG"}]'),
            ({"content": None, "refusal": "No."}, "No."),
            ({"content": None, "audio": {"transcript": "Hold.", "data": PIXELS}}, "Hold."),
        ):
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
            assert expected == response_text(ChatCompletion.construct(**(CHAT | {"choices": [choice]})))

    def test_no_choices(self) -> None:
        """An answer without choices has no text, but its usage was billed."""
        view = response_view(ChatCompletion.construct(**(CHAT | {"choices": []})), LIMIT)
        assert (None, None, CHAT["usage"]) == view[:3]

    def test_text_completion(self) -> None:
        """The older completions keep their text in the choice."""
        choice = {"index": 0, "finish_reason": "length", "text": "HOLD"}
        view = response_view(Completion.construct(**(CHAT | {"choices": [choice]})), LIMIT)
        assert ("HOLD", "length", "o3-mini-2025-01-31") == (view.text, view.finish_reason, view.model)

    def test_last_chunk_of_a_stream(self) -> None:
        """The chunk that carries the usage of a stream gives it."""
        view = response_view(CHAT | {"object": "chat.completion.chunk", "choices": []}, LIMIT)
        assert (CHAT["usage"], "response") == (view.usage, view.usage_source)

    @pytest.mark.parametrize("response", [RESPONSES, Response.construct(**RESPONSES)])
    def test_responses(self, response: object) -> None:
        """An answer of the Responses API: messages and calls without the reasoning, and why it ended."""
        expected = ResponseView(
            text="HOLD\n[tool_call quote {}]",
            length=25,
            usage=RESPONSES["usage"],
            usage_source="response",
            model="gpt-5",
            response_id="resp_1",
            finish_reason="max_output_tokens",
            service_tier="flex",
        )
        assert expected == response_view(response, LIMIT)

    @pytest.mark.parametrize("response", [EMBEDDINGS, CreateEmbeddingResponse.construct(**EMBEDDINGS)])
    def test_embeddings(self, response: object) -> None:
        """Embeddings are counted, not written."""
        view = response_view(response, LIMIT)
        assert ("[1 embedding]", EMBEDDINGS["usage"], EMBEDDINGS["model"]) == (view.text, view.usage, view.model)


class TestAnthropic:
    @pytest.mark.parametrize("response", [ANTHROPIC, Message.construct(**ANTHROPIC)])
    def test_message(self, response: object) -> None:
        """A message: its text without the thinking, its calls, and the usage with what the client does not know."""
        expected = ResponseView(
            text='HOLD\n[tool_call quote {"symbol": "BTC"}]',
            length=40,
            usage=ANTHROPIC["usage"],
            usage_source="response",
            model="claude-sonnet-4-5",
            response_id="msg_1",
            finish_reason="tool_use",
            service_tier="standard",
            provider="anthropic",
        )
        assert expected == response_view(response, LIMIT)

    def test_old_completion(self) -> None:
        """The older completions keep their text as `completion`."""
        body = {"id": "c1", "completion": " HOLD", "model": "claude-2", "stop_reason": "stop_sequence"}
        view = response_view(body, LIMIT)
        assert (" HOLD", "claude-2", "stop_sequence") == (view.text, view.model, view.finish_reason)


RAW = {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
COMMON: Any = {"input_tokens": 5, "output_tokens": 6, "total_tokens": 11}


class TestLangchain:
    def test_openai_message(self) -> None:
        """The provider's own counts win over LangChain's, and what the metadata says is taken over."""
        metadata = {
            "token_usage": RAW,
            "model_name": "o3-mini-2025-01-31",
            "model_provider": "openai",
            "id": "chatcmpl-1",
            "finish_reason": "stop",
            "service_tier": "default",
        }
        message = AIMessage("HOLD", response_metadata=metadata, usage_metadata=COMMON, id="lc_run-1")
        expected = ResponseView(
            "HOLD", 4, RAW, "response_metadata", "o3-mini-2025-01-31", "chatcmpl-1", "stop", "default", None
        )
        assert expected == response_view(message, LIMIT)

    def test_anthropic_message(self) -> None:
        """Blocks and Anthropic's words for the same things."""
        metadata = {
            "usage": ANTHROPIC["usage"],
            "model": "claude-sonnet-4-5",
            "model_provider": "anthropic",
            "id": "msg_1",
            "stop_reason": "tool_use",
        }
        message = AIMessage(
            ANTHROPIC["content"],
            response_metadata=metadata,
            tool_calls=[{"name": "quote", "args": {"symbol": "BTC"}, "id": "t1"}],
        )
        view = response_view(message, LIMIT)
        assert response_view(ANTHROPIC, LIMIT)._replace(usage_source="response_metadata") == view

    def test_streamed_message(self) -> None:
        """Where the provider's counts were lost in a stream, LangChain's are taken; a made-up id is not."""
        chunk = AIMessageChunk(
            content="HOLD",
            response_metadata={"model_name": "gpt-5", "finish_reason": "stop"},
            usage_metadata=COMMON,
            id="lc_run--1",
        )
        expected = ResponseView("HOLD", 4, COMMON, "usage_metadata", "gpt-5", None, "stop", None, None)
        assert expected == response_view(chunk, LIMIT)

    def test_own_id_of_a_message(self) -> None:
        """An id that the provider gave is taken where it is the message's only one."""
        assert "msg_9" == response_view(AIMessage("x", id="msg_9"), LIMIT).response_id

    def test_answer_from_the_cache(self) -> None:
        """An answer from LangChain's cache is marked so; the old counts are not taken for new ones."""
        message = AIMessage("HOLD", response_metadata={"token_usage": RAW}, usage_metadata=COMMON)
        cached = message.model_copy(update={"usage_metadata": {**COMMON, "total_cost": 0}})
        view = response_view(cached, LIMIT)
        assert ({**COMMON, "total_cost": 0}, "usage_metadata") == (view.usage, view.usage_source)

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda generation, output: LLMResult(generations=[[generation]], llm_output=output),
            lambda generation, output: ChatResult(generations=[generation], llm_output=output),
        ],
    )
    def test_results(self, wrap: Any) -> None:
        """Of a result the first generation counts, and what only the result says is taken from there."""
        message = AIMessage("HOLD", usage_metadata=COMMON)
        generation = ChatGeneration(message=message, generation_info={"finish_reason": "stop"})
        result = wrap(generation, {"token_usage": RAW, "model_name": "o3-mini"})
        expected = ResponseView("HOLD", 4, RAW, "llm_output", "o3-mini", None, "stop", None, None)
        assert expected == response_view(result, LIMIT)

    def test_text_generation(self) -> None:
        """A completion model's result is its text."""
        result = LLMResult(
            generations=[[Generation(text="HOLD", generation_info={"finish_reason": "length"})]],
            llm_output={"token_usage": RAW, "model_name": "davinci", "id": "cmpl-1"},
        )
        expected = ResponseView("HOLD", 4, RAW, "llm_output", "davinci", "cmpl-1", "length", None, None)
        assert expected == response_view(result, LIMIT)

    @pytest.mark.parametrize("generations", [[], [[]]])
    def test_empty_results(self, generations: Any) -> None:
        """A result without generations has no text, but its usage was billed."""
        view = response_view(LLMResult(generations=generations, llm_output={"token_usage": RAW}), LIMIT)
        assert ResponseView(usage=RAW, usage_source="llm_output") == view

    def test_empty_usage_is_none(self) -> None:
        """In a batch only the first result has the counts; the others have an empty dict."""
        result = LLMResult(generations=[[Generation(text="x")]], llm_output={"token_usage": {}})
        assert (None, None) == response_view(result, LIMIT)[2:4]

    def test_failed_validation_keeps_the_bill(self) -> None:
        """An answer that did not fit the schema carries the provider's body, and its usage counts."""
        message = AIMessage("", response_metadata={"body": CHAT, "status_code": 200, "headers": {}})
        view = response_view(LLMResult(generations=[[ChatGeneration(message=message)]]), LIMIT)
        assert (CHAT["usage"], "o3-mini-2025-01-31", "chatcmpl-1") == (view.usage, view.model, view.response_id)

    def test_structured_output_with_raw(self) -> None:
        """Of a parsed answer with its raw message the message is read."""
        raw = AIMessage("{}", response_metadata={"token_usage": RAW})
        view = response_view({"raw": raw, "parsed": None, "parsing_error": None}, LIMIT)
        assert ("{}", RAW) == (view.text, view.usage)


class Action(BaseModel):
    action: str
    size_pct: float


@dataclasses.dataclass
class Plan:
    action: str


class TestOtherAnswers:
    def test_nothing(self) -> None:
        """No answer says nothing."""
        assert ResponseView() == response_view(None, LIMIT)

    @pytest.mark.parametrize(
        ("expected", "response"),
        [
            ("HOLD", "HOLD"),
            ('{"action": "LONG", "size_pct": 15.0}', {"action": "LONG", "size_pct": 15.0}),
            ('{"action": "LONG", "size_pct": 15.0}', Action(action="LONG", size_pct=15.0)),
            ('{"action": "LONG"}', Plan("LONG")),
            ("[1, 2]", [1, 2]),
            ('{"price": "NaN"}', {"price": float("nan")}),
            ('{"choices": ["a", "b"], "model": "x"}', {"choices": ["a", "b"], "model": "x"}),
            ("HOLD", {"role": "assistant", "content": "HOLD"}),
            ("<object>", object()),
            ("<MagicMock>", MagicMock()),
            ("<generator>", (number for number in range(3))),
            ("ValueError: bad", ValueError("bad")),
        ],
    )
    def test_text(self, expected: str, response: object) -> None:
        """A parsed answer is JSON with blanks, an unknown object is named, and neither says more."""
        assert ResponseView(expected, len(expected)) == response_view(response, LIMIT)

    def test_own_classes_with_a_known_shape(self) -> None:
        """Objects of no known client that store the same fields read the same."""
        message = types.SimpleNamespace(role="assistant", content="HOLD")
        choice = types.SimpleNamespace(message=message, finish_reason="stop")
        usage = types.SimpleNamespace(prompt_tokens=1)
        view = response_view(types.SimpleNamespace(choices=[choice], model="m", usage=usage), LIMIT)
        assert ("HOLD", {"prompt_tokens": 1}, "m", "stop") == (view.text, view.usage, view.model, view.finish_reason)


class TestHarmlessness:
    @pytest.mark.parametrize("read", [prompt_view, response_view])
    def test_hostile_objects(self, read: Any) -> None:
        """An object that raises on everything is named."""

        class Hostile:
            def __getattribute__(self, name: str) -> Any:
                raise RuntimeError(name)

        class Fields(dict[str, Any]):
            def get(self, *args: Any) -> Any:
                raise RuntimeError("no")

        assert ("<Hostile>", 9) == read(Hostile(), LIMIT)[:2]
        assert ('{"choices": []}', 15) == read(Fields(choices=[]), LIMIT)[:2]
        assert '["<Hostile>"]' == read([Hostile()], LIMIT)[0]

    def test_endless_prompts(self) -> None:
        """Messages inside themselves, or doubling at every level, end."""
        cyclic: list[Any] = []
        cyclic.append(cyclic)
        result: dict[str, Any] = {"type": "tool_result", "content": "end"}
        for _ in range(60):
            result = {"type": "tool_result", "content": [result, result]}
        assert '["<cycle>"]' == prompt_text(cyclic)
        assert "\n".join(["[tool_result]"] * 16) == prompt_text([{"role": "user", "content": [result]}])

    def test_nothing_is_changed(self) -> None:
        """The caller's messages and answers stay as they were."""
        message = AIMessage(
            [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": DATA_URI}}],
            response_metadata={"token_usage": dict(RAW)},
        )
        before = message.model_copy(deep=True)
        prompt_view([message], 1)
        view = response_view(message, 1)
        assert isinstance(view.usage, dict)
        view.usage["prompt_tokens"] = 0
        assert before == message

    def test_no_client_is_imported(self) -> None:
        """Reading needs none of the clients."""
        code = (
            "import sys, structllm.messages as m; m.prompt_view([{'role': 'user', 'content': 'x'}], 5);"
            "m.response_view({'choices': []}, 5);"
            "print(sorted({'openai', 'anthropic', 'langchain_core', 'pydantic', 'numpy'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert "[]\n" == done.stdout
