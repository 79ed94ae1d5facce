"""The positions of wrapped clients: what an agent sends, what comes back, and how that fails."""

import contextlib
from typing import Any

import anthropic
import openai

import structllm
from tests.redaction.planting import MODEL, Stage, position

CLIENT = "wrapped client"
WAIT_S = 20.0


def asked(stage: Stage, text: str, **more: Any) -> Any:
    """Ask through a wrapped client of OpenAI; what comes back is read to its end."""
    plain = openai.OpenAI(base_url=f"{stage.wire_url}/v1", api_key="none", max_retries=0, timeout=WAIT_S)
    with structllm.wrap(plain, stage.logger) as client:
        chat: Any = client.chat.completions
        answer = chat.create(model=MODEL, messages=[{"role": "user", "content": text}], **more)
        return list(answer) if more.get("stream") else answer


@position(CLIENT, "prompt and answer")
def _(stage: Stage) -> None:
    asked(stage, "echo: " + stage.text())


@position(CLIENT, "prompt and streamed answer")
def _(stage: Stage) -> None:
    asked(stage, "echo: " + stage.text(), stream=True)


@position(CLIENT, "error body")
def _(stage: Stage) -> None:
    with contextlib.suppress(openai.APIError):
        asked(stage, "fail: " + stage.text())


@position(CLIENT, "tool and its description", shown=False)
def _(stage: Stage) -> None:
    function = {"name": "order", "description": stage.text(), "parameters": {"type": "object", "properties": {}}}
    asked(stage, "Hi.", tools=[{"type": "function", "function": function}])


@position(CLIENT, "header", shown=False)
def _(stage: Stage) -> None:
    # Headers are ASCII without line ends; what no header can hold is no secret in one.
    text = stage.text()
    if text.isascii() and text.isprintable():
        asked(stage, "Hi.", extra_headers={"X-Note": text})


@position(CLIENT, "user and metadata", shown=False)
def _(stage: Stage) -> None:
    asked(stage, "Hi.", user=stage.text(), metadata=stage.mapping())


@position(CLIENT, "awaited: prompt and answer")
async def _(stage: Stage) -> None:
    plain = openai.AsyncOpenAI(base_url=f"{stage.wire_url}/v1", api_key="none", max_retries=0, timeout=WAIT_S)
    async with structllm.wrap(plain, stage.logger) as client:
        await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "echo: " + stage.text()}]
        )


@position(CLIENT, "Anthropic: prompt and answer")
def _(stage: Stage) -> None:
    plain = anthropic.Anthropic(base_url=stage.wire_url, api_key="none", max_retries=0, timeout=WAIT_S)
    with structllm.wrap(plain, stage.logger) as client:
        client.messages.create(
            model="claude-sonnet-4-5", max_tokens=50, messages=[{"role": "user", "content": "echo: " + stage.text()}]
        )
