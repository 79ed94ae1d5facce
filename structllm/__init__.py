"""structllm: the flight recorder for agents that call language models.

Everything public is loaded on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structllm._types import Processor, Record, Sink
    from structllm.agent import LLMAgent, MarketState, TradeAction
    from structllm.assemble import create_llm_logger
    from structllm.clients.wrapping import wrap
    from structllm.errors import ConfigError, MissingExtra, StructllmError
    from structllm.langchain import LangChainCallbackHandler, create_langchain_callback
    from structllm.logger import ChatCompletionLogger
    from structllm.processors.context import bind_context, bind_market, bind_session, wrap_context
    from structllm.redaction.known import redact_value
    from structllm.settings import LLMSettings, load_settings
    from structllm.sinks.file import FileSink
    from structllm.sinks.memory import MemorySink
    from structllm.sinks.stdout import StdoutSink

__version__ = "0.1.0"

_HOMES = {
    "ChatCompletionLogger": "structllm.logger",
    "ConfigError": "structllm.errors",
    "FileSink": "structllm.sinks.file",
    "LLMAgent": "structllm.agent",
    "LLMSettings": "structllm.settings",
    "LangChainCallbackHandler": "structllm.langchain",
    "MarketState": "structllm.agent",
    "MemorySink": "structllm.sinks.memory",
    "MissingExtra": "structllm.errors",
    "Processor": "structllm._types",
    "Record": "structllm._types",
    "Sink": "structllm._types",
    "StdoutSink": "structllm.sinks.stdout",
    "StructllmError": "structllm.errors",
    "TradeAction": "structllm.agent",
    "bind_context": "structllm.processors.context",
    "bind_market": "structllm.processors.context",
    "bind_session": "structllm.processors.context",
    "create_langchain_callback": "structllm.langchain",
    "create_llm_logger": "structllm.assemble",
    "load_settings": "structllm.settings",
    "redact_value": "structllm.redaction.known",
    "wrap": "structllm.clients.wrapping",
    "wrap_context": "structllm.processors.context",
}

__all__ = [
    "ChatCompletionLogger",
    "ConfigError",
    "FileSink",
    "LLMAgent",
    "LLMSettings",
    "LangChainCallbackHandler",
    "MarketState",
    "MemorySink",
    "MissingExtra",
    "Processor",
    "Record",
    "Sink",
    "StdoutSink",
    "StructllmError",
    "TradeAction",
    "bind_context",
    "bind_market",
    "bind_session",
    "create_langchain_callback",
    "create_llm_logger",
    "load_settings",
    "redact_value",
    "wrap",
    "wrap_context",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'structllm' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
