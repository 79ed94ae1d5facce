"""The settings: what they are, how they are read, and their JSON Schema.

`LLMSettings(...)` builds settings from arguments alone. `load_settings()` also reads, first wins: arguments, environment
variables (`LLM__COMPLETION_LOG_LEVEL`), a `.env` file and a directory of secrets when asked, a JSON or TOML file, and
the defaults below. Wrong settings raise one `ConfigError` that lists every problem and never shows a value.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypedDict, Unpack, cast

from pydantic import Field, PlainValidator, WithJsonSchema, field_validator, model_validator
from pydantic.json_schema import models_json_schema

from structllm._options import Checked, LogPath, Problem, Word, Words
from structllm._types import Sink
from structllm.errors import ConfigError
from structllm.sinks.config import Level, SinkConfig
from structllm.sinks.registry import BUILT_IN, load_sink_config, load_sink_type

Pack: TypeAlias = Literal["credentials", "crypto", "payment", "pii"]

DEFAULT_PACKS: tuple[Pack, ...] = ("credentials", "crypto", "payment", "pii")

SinkInput: TypeAlias = Sink | SinkConfig | Mapping[str, Any] | str
"""What a list of sinks may hold: a sink, its configuration, an object with `type`, or a URL."""


class RedactionSettings(Checked):
    """What is taken out of texts before they are written."""

    enabled: bool = Field(default=True, description="Redact; false writes texts as they are, secrets included.")
    packs: Annotated[tuple[Pack, ...], Words] = Field(default=DEFAULT_PACKS, description="Groups of rules in use.")
    deny_keys: Words = Field(default=(), description="More key names whose values are always redacted.")
    allow_keys: Words = Field(default=(), description="Key names whose values are never redacted for their name.")


class SettingsInput(TypedDict, total=False):
    """The keyword arguments of `LLMSettings` and `load_settings`, as type checkers see them."""

    enable_completion_logging: bool
    completion_log_level: str
    completion_log_file: str | Path
    log_prompt_preview_length: int
    log_response_preview_length: int
    enable_performance_tracking: bool
    enable_langchain_callbacks: bool
    log_market_context: bool
    enable_token_usage_tracking: bool
    performance_log_interval: int
    sinks: Sequence[SinkInput]
    service: str | None
    model: str | None
    redaction: RedactionSettings | Mapping[str, Any]
    bind_structlog_contextvars: bool
