"""The positions of the logger in what models are asked, what they answer, and how they fail."""

import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, Field, SecretStr

from tests.redaction.canaries import FRAGMENT_CHARS
from tests.redaction.planting import MODEL, Stage, position

# ---- the logger: prompts

LOGGER = "logger"


class Text(str):
    """A text of the caller's own class."""


def prompt(name: str, build: Callable[[Stage], object], *, shown: bool = True) -> None:
    """Register a prompt as a position."""

    def plant(stage: Stage) -> None:
        stage.request(build(stage))

    position(LOGGER, f"prompt: {name}", shown=shown)(plant)


def said(content: object, role: str = "user", **more: object) -> dict[str, object]:
    """Return a message."""
    return {"role": role, "content": content, **more}


def called(arguments: object, name: str = "place_order") -> dict[str, object]:
    """Return a tool call of OpenAI's."""
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}


def as_json(stage: Stage) -> str:
    """Return the arguments of a tool call as text."""
    return json.dumps({"side": "buy", **stage.mapping()})


prompt("text", Stage.text)
prompt("text of another class", lambda stage: Text(stage.text()))
prompt("list of texts", lambda stage: ["Hello.", stage.text()])
prompt("message", lambda stage: said(stage.text()))
prompt("messages", lambda stage: [said("Be brief.", "system"), said(stage.text())])
prompt("pairs", lambda stage: [("system", "Be brief."), ("human", stage.text())])
prompt("batch", lambda stage: [[said("One.")], [said(stage.text())]])
prompt("role", lambda stage: [said("Hi.", stage.text()), said("Ho.")], shown=False)
prompt("text part", lambda stage: said([{"type": "text", "text": stage.text()}]))
prompt("part that is a text", lambda stage: said([stage.text()]))
prompt(
    "second part", lambda stage: said([{"type": "text", "text": "See:"}, {"type": "input_text", "text": stage.text()}])
)
prompt("part of Gemini", lambda stage: {"role": "user", "parts": [{"text": stage.text()}]})
prompt("kind of a part", lambda stage: said([{"type": stage.text(), "x": 1}]))
prompt("part without a shape", lambda stage: said([7, [stage.text()]]))
prompt("refusal", lambda stage: said(None, "assistant", refusal=stage.text()))
prompt("transcript", lambda stage: said(None, "assistant", audio={"id": "a", "transcript": stage.text()}))
prompt("tool arguments as text", lambda stage: said(None, "assistant", tool_calls=[called(as_json(stage))]))
prompt("tool arguments", lambda stage: said([{"type": "tool_use", "name": "x", "input": stage.mapping()}], "assistant"))
prompt(
    "tool arguments of LangChain",
    lambda stage: said("", "assistant", tool_calls=[{"name": "x", "args": stage.mapping()}]),
)
prompt(
    "nested tool arguments",
    lambda stage: said([{"type": "tool_use", "name": "x", "input": {"a": [{"b": stage.mapping()}]}}]),
)
prompt("tool name", lambda stage: said(None, "assistant", tool_calls=[called("{}", stage.text())]))
prompt("function call", lambda stage: said(None, "assistant", function_call={"name": "x", "arguments": as_json(stage)}))
prompt("tool result", lambda stage: [said("Go.", "user"), said(stage.text(), "tool", tool_call_id="call_1")])
prompt(
    "tool result of Anthropic",
    lambda stage: said([{"type": "tool_result", "content": [{"type": "text", "text": stage.text()}]}]),
)
prompt(
    "tool output of Responses", lambda stage: [{"type": "function_call_output", "call_id": "c", "output": stage.text()}]
)
prompt("tool result as JSON", lambda stage: said([{"type": "tool_result", "content": as_json(stage)}]))
prompt("request", lambda stage: {"system": stage.text(), "messages": [said("Hi.")]})
prompt("unknown mapping", lambda stage: {"question": stage.mapping()})
prompt("unknown key", lambda stage: {"question": {stage.text(): 1}})
prompt("bytes", lambda stage: stage.text().encode())
prompt("set", lambda stage: {stage.text(), 5})
prompt("behind a long text", lambda stage: "word " * 60 + stage.text())
prompt(
    "across the cut",
    lambda stage: "x" * (500 - FRAGMENT_CHARS - stage.kind.around.index("{}") - 2) + " " + stage.text(),
)
prompt(
    "image URL",
    lambda stage: said([{"type": "image_url", "image_url": {"url": "https://host/?q=" + stage.text()}}]),
    shown=False,
)
prompt(
    "media type",
    lambda stage: said([{"type": "image", "source": {"media_type": stage.text(), "data": "aGk="}}]),
    shown=False,
)
prompt(
    "media type across its cut",
    lambda stage: said([{"type": "image", "source": {"media_type": "y" * 40 + " " + stage.text()}}]),
    shown=False,
)
prompt("thoughts", lambda stage: said([{"type": "thinking", "thinking": stage.text()}], "assistant"), shown=False)
prompt("SecretStr", lambda stage: {"question": SecretStr(stage.text())}, shown=False)

# ---- the logger: responses


def response(name: str, build: Callable[[Stage], object], *, shown: bool = True) -> None:
    """Register a response as a position."""

    def plant(stage: Stage) -> None:
        stage.respond(build(stage))

    position(LOGGER, f"response: {name}", shown=shown)(plant)


class Stored:
    """An object as clients return them: what it says is stored in it."""

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)


def chat(message: object, **more: object) -> dict[str, object]:
    """Return an answer of OpenAI's chat completions."""
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "chatcmpl-1", "model": MODEL, "choices": [choice], "usage": usage, **more}


response("text", Stage.text)
response("answer of OpenAI", lambda stage: chat(said(stage.text(), "assistant")))
response(
    "object of OpenAI",
    lambda stage: Stored(choices=[Stored(message=Stored(role="assistant", content=stage.text()))], model=MODEL),
)
response("tool arguments", lambda stage: chat(said(None, "assistant", tool_calls=[called(as_json(stage))])))
response(
    "tool arguments as a mapping", lambda stage: chat(said(None, "assistant", tool_calls=[called(stage.mapping())]))
)
response("model", lambda stage: chat(said("Hi.", "assistant"), model=stage.text()))
response("id", lambda stage: chat(said("Hi.", "assistant"), id=stage.text()))
response("tier", lambda stage: chat(said("Hi.", "assistant"), service_tier=stage.text()))
response("usage", lambda stage: chat(said("Hi.", "assistant"), usage={"prompt_tokens": 5, "details": stage.mapping()}))
response("usage key", lambda stage: chat(said("Hi.", "assistant"), usage={"prompt_tokens": 5, stage.text(): 1}))
response(
    "finish reason",
    lambda stage: {"choices": [{"message": said("Hi.", "assistant"), "finish_reason": stage.text()}], "model": MODEL},
)
response(
    "answer of Responses",
    lambda stage: {
        "object": "response",
        "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": stage.text()}]}
        ],
    },
)
response(
    "answer of Anthropic",
    lambda stage: {"stop_reason": "end_turn", "content": [{"type": "text", "text": stage.text()}]},
)
response(
    "tool use of Anthropic",
    lambda stage: {
        "stop_reason": "tool_use",
        "content": [{"type": "tool_use", "name": "x", "input": stage.mapping()}],
    },
)
response("mapping", lambda stage: {"decision": stage.mapping()})
response("key", lambda stage: {"decision": {stage.text(): True}})
response("bytes", lambda stage: stage.text().encode())
response("exception", lambda stage: RuntimeError(stage.text()))
response(
    "across the cut",
    lambda stage: "x" * (1000 - FRAGMENT_CHARS - stage.kind.around.index("{}") - 2) + " " + stage.text(),
)
response("headers", lambda stage: Stored(content="Hi.", headers=stage.mapping()), shown=False)


# ---- the logger: errors


def error(name: str, build: Callable[[Stage], Any], *, shown: bool = True) -> None:
    """Register an error as a position; `build` may also raise it."""

    def plant(stage: Stage) -> None:
        try:
            failure = build(stage)
        except Exception as raised:
            failure = raised
        stage.respond(error=failure)

    position(LOGGER, f"error: {name}", shown=shown)(plant)


def chained(stage: Stage) -> None:
    """Raise an error whose cause says the secret."""
    try:
        raise ValueError(stage.text())
    except ValueError as cause:
        raise RuntimeError("the request failed") from cause


def in_context(stage: Stage) -> None:
    """Raise an error while another one is handled, which says the secret."""
    try:
        raise ValueError(stage.text())
    except ValueError:
        raise RuntimeError("the request failed")  # noqa: B904  # the context is what is planted


def noted(stage: Stage) -> Exception:
    """Return an error with a note."""
    failure = RuntimeError("the request failed")
    failure.add_note(stage.text())
    return failure


def with_a_local(stage: Stage) -> None:
    """Raise an error from a frame that holds the secret in a variable."""
    held = stage.text()
    raise RuntimeError(f"the request failed after {len(held) // 1000} s")


class Strict(BaseModel):
    """A model that quotes what it was given in its errors."""

    size: int = Field(ge=0)


error("text", Stage.text)
error("exception", lambda stage: RuntimeError(stage.text()))
error("exception with several arguments", lambda stage: RuntimeError(stage.text(), 5))
error("exception with a mapping", lambda stage: RuntimeError(stage.mapping()))
error("exception with bytes", lambda stage: RuntimeError("refused", stage.text().encode()))
error("KeyError", lambda stage: KeyError(stage.text()))
error("OSError", lambda stage: FileNotFoundError(2, "No such file", stage.text()))
error("validation error", lambda stage: Strict.model_validate({"size": stage.text()}), shown=False)
error("group", lambda stage: ExceptionGroup(stage.text(), [ValueError("x")]))
error("inside a group", lambda stage: ExceptionGroup("several", [ValueError(stage.text())]), shown=False)
error("cause", chained, shown=False)
error("context", in_context, shown=False)
error("note", noted, shown=False)
error("local variable", with_a_local, shown=False)
error("object", lambda stage: Stored(message=stage.text()), shown=False)
