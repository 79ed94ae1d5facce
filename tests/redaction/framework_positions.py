"""The positions of the LangChain handler, the agent, and structlog chains that use our processors."""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import structlog
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from structllm.agent import LLMAgent, TradeAction, Verdict
from structllm.langchain import create_langchain_callback
from structllm.processors.normalise import Normalise
from structllm.processors.redact import Redact
from structllm.redaction.known import known_here
from tests.redaction.canaries import DENIED_NAME
from tests.redaction.planting import MODEL, Stage, position

LANGCHAIN, PROVIDER, AGENT, STRUCTLOG = "LangChain", "LangChain's client of OpenAI", "agent", "structlog"
WAIT_S = 20.0
MARKET = {"symbol": "BTC-USD", "current_price": 45230.5, "indicators": {"rsi": 62.5}}
LONG = '{"action": "LONG", "size_pct": 5, "rationale": "up"}'


def fake(*answers: AIMessage | str) -> GenericFakeChatModel:
    """Return a chat model that gives these answers."""
    return GenericFakeChatModel(messages=iter(answers or ("All quiet.",)))


def config(stage: Stage, **more: Any) -> Any:
    """Return the configuration of a call, with the handler in it."""
    return {"callbacks": [create_langchain_callback(stage.logger)], **more}


# ---- LangChain


@position(LANGCHAIN, "prompt")
def _(stage: Stage) -> None:
    fake().invoke(stage.text(), config(stage))


@position(LANGCHAIN, "system message")
def _(stage: Stage) -> None:
    fake().invoke([SystemMessage(stage.text()), HumanMessage("Hi.")], config(stage))


@position(LANGCHAIN, "parts")
def _(stage: Stage) -> None:
    fake().invoke(
        [HumanMessage([{"type": "text", "text": "See:"}, {"type": "text", "text": stage.text()}])], config(stage)
    )


@position(LANGCHAIN, "tool call in the prompt")
def _(stage: Stage) -> None:
    call = {"name": "x", "args": stage.mapping(), "id": "c1"}
    fake().invoke(
        [HumanMessage("Hi."), AIMessage("", tool_calls=[call]), ToolMessage("ok", tool_call_id="c1")], config(stage)
    )


@position(LANGCHAIN, "tool result in the prompt")
def _(stage: Stage) -> None:
    fake().invoke([HumanMessage("Hi."), ToolMessage(stage.text(), tool_call_id="c1")], config(stage))


@position(LANGCHAIN, "answer")
def _(stage: Stage) -> None:
    fake(stage.text()).invoke("Hi.", config(stage))


@position(LANGCHAIN, "streamed answer")
async def _(stage: Stage) -> None:
    async for _chunk in fake(stage.text()).astream("Hi.", config(stage)):
        pass


@position(LANGCHAIN, "tool call of the answer")
def _(stage: Stage) -> None:
    fake(AIMessage("", tool_calls=[{"name": "x", "args": stage.mapping(), "id": "c1"}])).invoke("Hi.", config(stage))


@position(LANGCHAIN, "metadata of the answer")
def _(stage: Stage) -> None:
    fake(AIMessage("Hi.", response_metadata={"finish_reason": stage.text()})).invoke("Hi.", config(stage))


@position(LANGCHAIN, "headers of the answer", shown=False)
def _(stage: Stage) -> None:
    fake(AIMessage("Hi.", response_metadata={"headers": stage.mapping()})).invoke("Hi.", config(stage))


@position(LANGCHAIN, "tags")
def _(stage: Stage) -> None:
    fake().invoke("Hi.", config(stage, tags=[stage.text()]))


@position(LANGCHAIN, "metadata", shown=False)
def _(stage: Stage) -> None:
    fake().invoke("Hi.", config(stage, metadata=stage.mapping()))


@position(LANGCHAIN, "metadata that names the model")
def _(stage: Stage) -> None:
    fake().invoke("Hi.", config(stage, metadata={"ls_model_name": stage.text()}))


@position(LANGCHAIN, "metadata that names the provider")
def _(stage: Stage) -> None:
    started(stage, metadata={"ls_provider": stage.text()})


@position(LANGCHAIN, "name of the run", shown=False)
def _(stage: Stage) -> None:
    fake().invoke("Hi.", config(stage, run_name=stage.text()))


@position(LANGCHAIN, "invocation params", shown=False)
def _(stage: Stage) -> None:
    fake().invoke("Hi.", config(stage), stop=[stage.text()], extra_headers=stage.mapping())


def started(stage: Stage, **kwargs: Any) -> None:
    """Tell a handler that a call began and ended."""
    handler = create_langchain_callback(stage.logger)
    run_id, serialized = uuid4(), kwargs.pop("serialized", {"name": "ChatX"})
    handler.on_chat_model_start(serialized, [[HumanMessage("Hi.")]], run_id=run_id, **kwargs)
    handler.on_llm_end(LLMResult(generations=[[ChatGeneration(message=AIMessage("Hi."))]]), run_id=run_id)


@position(LANGCHAIN, "model in the invocation params")
def _(stage: Stage) -> None:
    started(stage, invocation_params={"model": stage.text()})


@position(LANGCHAIN, "odd model in the invocation params")
def _(stage: Stage) -> None:
    started(stage, invocation_params={"model": stage.mapping()})


@position(LANGCHAIN, "temperature in the invocation params")
def _(stage: Stage) -> None:
    started(stage, invocation_params={"model": MODEL, "temperature": stage.mapping(), "max_tokens": 5})


@position(LANGCHAIN, "tool in the invocation params")
def _(stage: Stage) -> None:
    started(stage, invocation_params={"model": MODEL, "tools": [{"function": {"name": stage.text()}}]})


@position(LANGCHAIN, "odd tool in the invocation params")
def _(stage: Stage) -> None:
    started(stage, invocation_params={"model": MODEL, "tools": [{"name": stage.mapping()}]})


@position(LANGCHAIN, "serialized name")
def _(stage: Stage) -> None:
    started(stage, serialized={"name": stage.text()})


@position(LANGCHAIN, "serialized id")
def _(stage: Stage) -> None:
    started(stage, serialized={"id": ["langchain", stage.mapping()]})


@position(LANGCHAIN, "serialized arguments", shown=False)
def _(stage: Stage) -> None:
    started(stage, serialized={"name": "ChatX", "kwargs": stage.mapping()})


@position(LANGCHAIN, "parent run id", shown=False)
def _(stage: Stage) -> None:
    started(stage, parent_run_id=stage.mapping())


@position(LANGCHAIN, "error of the model")
def _(stage: Stage) -> None:
    def fails() -> Iterator[AIMessage]:
        raise ConnectionError(stage.text())
        yield

    with contextlib.suppress(ConnectionError):
        GenericFakeChatModel(messages=fails()).invoke("Hi.", config(stage))


@position(LANGCHAIN, "name of a chain")
def _(stage: Stage) -> None:
    RunnableLambda(lambda text: text).invoke("Hi.", config(stage, run_name=stage.text()))


@position(LANGCHAIN, "tags of a chain")
def _(stage: Stage) -> None:
    RunnableLambda(lambda text: text).invoke("Hi.", config(stage, tags=[stage.text()]))


@position(LANGCHAIN, "input and output of a chain", shown=False)
def _(stage: Stage) -> None:
    RunnableLambda(lambda text: text).invoke(stage.text(), config(stage))


@position(LANGCHAIN, "error of a chain", shown=False)
def _(stage: Stage) -> None:
    def fail(_: object) -> None:
        raise ValueError(stage.text())

    with contextlib.suppress(ValueError):
        RunnableLambda(fail).invoke("Hi.", config(stage))


@tool
def search(query: str) -> str:
    """Search."""
    return query


@position(LANGCHAIN, "input and output of a tool", shown=False)
def _(stage: Stage) -> None:
    search.invoke({"query": stage.text()}, config(stage))


# ---- a real client, on a loopback provider that answers what it was asked


def client(stage: Stage, **more: Any) -> ChatOpenAI:
    """Return OpenAI's client."""
    key = more.pop("api_key", SecretStr("none"))
    return ChatOpenAI(
        base_url=f"{stage.wire_url}/v1", api_key=key, max_retries=0, timeout=WAIT_S, **{"model": MODEL, **more}
    )


@position(PROVIDER, "prompt and answer")
def _(stage: Stage) -> None:
    client(stage).invoke("echo: " + stage.text(), config(stage))


@position(PROVIDER, "error body")
def _(stage: Stage) -> None:
    with contextlib.suppress(Exception):
        client(stage).invoke("fail: " + stage.text(), config(stage))


@position(PROVIDER, "key of the client", shown=False)
def _(stage: Stage) -> None:
    with contextlib.suppress(Exception):  # not every secret can stand in a header
        client(stage, api_key=SecretStr(stage.secret())).invoke("Hi.", config(stage))


@position(PROVIDER, "user and headers of the client", shown=False)
def _(stage: Stage) -> None:
    with contextlib.suppress(Exception):
        client(stage, default_headers={"X-Note": stage.secret()}, model_kwargs={"user": stage.text()}).invoke(
            "Hi.", config(stage)
        )


# ---- the agent


@position(AGENT, "indicator")
async def _(stage: Stage) -> None:
    await LLMAgent(fake(LONG), logger=stage.logger).analyze_market(
        {**MARKET, "indicators": {"rsi": 5, **stage.mapping()}}
    )


@position(AGENT, "further field of the market")
async def _(stage: Stage) -> None:
    await LLMAgent(fake(LONG), logger=stage.logger).analyze_market({**MARKET, "news": [stage.text()]})


@position(AGENT, "symbol")
async def _(stage: Stage) -> None:
    await LLMAgent(fake(LONG), logger=stage.logger).analyze_market({**MARKET, "symbol": stage.text()})


@position(AGENT, "market state that is none", shown=False)
async def _(stage: Stage) -> None:
    await LLMAgent(fake(LONG), logger=stage.logger).analyze_market({"symbol": "BTC", "current_price": stage.text()})


@position(AGENT, "system prompt")
async def _(stage: Stage) -> None:
    await LLMAgent(fake(LONG), logger=stage.logger, system_prompt=stage.text()).analyze_market(MARKET)


@position(AGENT, "rationale of the answer")
async def _(stage: Stage) -> None:
    answer = TradeAction(action="HOLD", rationale=stage.text()).model_dump_json()
    await LLMAgent(fake(answer), logger=stage.logger).analyze_market(MARKET)


@position(AGENT, "answer that is none")
async def _(stage: Stage) -> None:
    await LLMAgent(fake(stage.text()), logger=stage.logger).analyze_market(MARKET)


@position(AGENT, "action that is none")
async def _(stage: Stage) -> None:
    answer = '{"action": "WAIT", "why": ' + json.dumps(stage.text()) + "}"
    await LLMAgent(fake(answer), logger=stage.logger).analyze_market(MARKET)


@position(AGENT, "error of the model")
async def _(stage: Stage) -> None:
    def fail(_: object) -> None:
        raise ConnectionError(stage.text())

    await LLMAgent(RunnableLambda(fail), logger=stage.logger).analyze_market(MARKET)


@position(AGENT, "long error of the model")
async def _(stage: Stage) -> None:
    def fail(_: object) -> None:
        raise ConnectionError("v" * (180 - stage.kind.around.index("{}")) + " " + stage.text())

    await LLMAgent(RunnableLambda(fail), logger=stage.logger).analyze_market(MARKET)


@position(AGENT, "verdict of the validation")
async def _(stage: Stage) -> None:
    agent = LLMAgent(fake(LONG), logger=stage.logger, validate=lambda *_: Verdict(False, stage.text()))
    await agent.analyze_market(MARKET)


@position(AGENT, "verdict of the risk check")
async def _(stage: Stage) -> None:
    agent = LLMAgent(fake(LONG), logger=stage.logger, assess_risk=lambda *_: Verdict(True, stage.text()))
    await agent.analyze_market(MARKET)


@position(AGENT, "error of the risk check")
async def _(stage: Stage) -> None:
    def fail(*_: object) -> Verdict:
        raise LookupError(stage.text())

    await LLMAgent(fake(LONG), logger=stage.logger, assess_risk=fail).analyze_market(MARKET)


# ---- a structlog chain of the host's own, with our processors


def log_of(stage: Stage, *before: Any) -> Any:
    """Return a logger of structlog's whose events our processors clean."""
    redact = (
        [Redact(deny_keys=[DENIED_NAME], known=known_here(os.environ))]
        if stage.logger.settings.redaction.enabled
        else []
    )
    processors = [*before, Normalise(), *redact, structlog.processors.JSONRenderer(sort_keys=True)]
    return structlog.wrap_logger(structlog.PrintLogger(stage.printed), processors=processors)


@position(STRUCTLOG, "event")
def _(stage: Stage) -> None:
    log_of(stage).info(stage.text())


@position(STRUCTLOG, "field")
def _(stage: Stage) -> None:
    log_of(stage).info("asked", note=stage.text(), headers=stage.mapping(), items={stage.text()})


@position(STRUCTLOG, "bound")
def _(stage: Stage) -> None:
    log_of(stage).bind(**stage.mapping()).info("asked")


@position(STRUCTLOG, "exception")
def _(stage: Stage) -> None:
    try:
        raise ValueError(stage.text())
    except ValueError as error:
        log_of(stage).info("failed", error=error)


@position(STRUCTLOG, "formatted exception with its cause")
def _(stage: Stage) -> None:
    try:
        try:
            raise ValueError(stage.text())
        except ValueError as cause:
            raise RuntimeError("failed") from cause
    except RuntimeError:
        log_of(stage, structlog.processors.format_exc_info).exception("failed")
