"""The settings, and how they are read.

`LLMSettings(...)` builds settings from its arguments alone. `load_settings()` also reads, first wins: arguments,
environment variables (`LLM__COMPLETION_LOG_LEVEL`), a `.env` file and a directory of secrets when asked, a JSON or TOML
file, and the defaults below. Wrong settings raise one `ConfigError` that lists every problem and shows no value.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypedDict, Unpack, cast

from pydantic import Field, PlainValidator, WithJsonSchema, field_validator, model_validator

from structllm._options import Checked, LogPath, Problem, Word, printable
from structllm._types import Sink
from structllm.errors import ConfigError
from structllm.settings_checks import checked_sink, level_not_path, settings_mapping, unique_parts
from structllm.settings_pricing import PricingSettings as PricingSettings
from structllm.settings_readers import (
    CONFIG_VARIABLE,
    KnownSettings,
    Variables,
    read_env_file,
    read_environment,
    read_secrets,
)
from structllm.settings_redaction import Pack as Pack
from structllm.settings_redaction import RedactionSettings as RedactionSettings
from structllm.settings_sources import Origin, Sources
from structllm.sinks.config import Level, SinkConfig
from structllm.sinks.registry import load_sink_config, read_sink_list

SinkInput: TypeAlias = Sink | SinkConfig | Mapping[str, Any] | str
"""What a list of sinks may hold: a sink, its configuration, an object with `type`, or a URL."""


class SettingsWarning(UserWarning):
    """Something looks as if it were meant for structllm, but is not read: a variable, or a file without `llm`."""


class SettingsInput(TypedDict, total=False):
    """The keyword arguments of `LLMSettings` and `load_settings`, for type checkers."""

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
    pricing: PricingSettings | Mapping[str, Any]
    bind_structlog_contextvars: bool


class LLMSettings(Checked):
    """The settings of the recorder; in files they stand under `llm`, in variables after `LLM__`.

    Raises:
        ConfigError: Something is wrong; all problems at once.
    """

    enable_completion_logging: bool = Field(default=True, description="Record at all; false makes every call a no-op.")
    completion_log_level: Level = Field(
        default="INFO", description="Least level of the events written, in any case; a request follows its response."
    )
    completion_log_file: LogPath = Field(
        default=Path("logs/llm_completions.log"),
        description="The one rotating file (50 MB, 5 rotated files kept) where there are no sinks; not empty.",
    )
    log_prompt_preview_length: int = Field(
        default=500, ge=0, le=10_000_000, description="Characters of a prompt that are kept, from 0 to 10,000,000."
    )
    log_response_preview_length: int = Field(
        default=1000, ge=0, le=10_000_000, description="Characters of an answer that are kept, from 0 to 10,000,000."
    )
    enable_performance_tracking: bool = Field(
        default=True, description="Write a performance_metrics event every `performance_log_interval` completions."
    )
    enable_langchain_callbacks: bool = Field(
        default=True, description="Let LangChain callbacks record; false makes them record nothing."
    )
    log_market_context: bool = Field(default=True, description="Keep market_context in events; false drops it.")
    enable_token_usage_tracking: bool = Field(
        default=True, description="Keep token usage and cost in events and totals; false leaves both out."
    )
    performance_log_interval: int = Field(
        default=10, ge=1, le=1_000_000_000, description="Completions between two performance_metrics events, from 1."
    )
    sinks: tuple[Annotated[Sink | SinkConfig, PlainValidator(checked_sink), WithJsonSchema({})], ...] = Field(
        default=(), description="Where events go, in place of completion_log_file: objects with a 'type', or URLs."
    )
    service: Word | None = Field(
        default=None, max_length=200, description="Name of the program, written in each event."
    )
    model: Word | None = Field(
        default=None, max_length=200, description="Model of LLMAgent() without arguments, as provider:name."
    )
    redaction: RedactionSettings = Field(
        default_factory=RedactionSettings, description="How texts are redacted before they are written."
    )
    pricing: PricingSettings = Field(
        default_factory=PricingSettings, description="What you know about prices that no price list does."
    )
    bind_structlog_contextvars: bool = Field(
        default=False, description="Add what the program bound with structlog.contextvars to each event."
    )

    def __init__(self, /, **settings: Unpack[SettingsInput]) -> None:
        super().__init__(**settings)

    @classmethod
    def of(cls, given: "LLMSettings | Mapping[str, Any] | None") -> "LLMSettings":
        """Return settings for what a program passes as `settings=`; without anything, what `load_settings()` reads.

        Args:
            given: Settings, or a mapping of their names to values: what the section `llm` of a file holds.

        Raises:
            ConfigError: It is neither, or a setting in it is unknown or wrong; all problems at once.
        """
        if given is None:
            return load_settings()
        return given if isinstance(given, LLMSettings) else cls(**cast("SettingsInput", settings_mapping(given)))

    def effective_sinks(self) -> tuple[Sink | SinkConfig, ...]:
        """Return the sinks to write to: `sinks`, or else the one file that `completion_log_file` names."""
        return self.sinks or (load_sink_config({"type": "file", "path": self.completion_log_file}),)

    def replace(self, /, **changes: Unpack[SettingsInput]) -> "LLMSettings":
        """Return settings with some values changed; new `sinks` put an old `completion_log_file` aside, and vice versa.

        Raises:
            ConfigError: A change is wrong.
        """
        values: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        if changes.get("sinks"):
            values.pop("completion_log_file", None)
        elif "completion_log_file" in changes:
            values.pop("sinks", None)
        return LLMSettings(**cast("SettingsInput", {**values, **changes}))

    @field_validator("completion_log_level", mode="before")
    @classmethod
    def _no_path(cls, given: object) -> object:
        return level_not_path(given)

    @field_validator("sinks", mode="before")
    @classmethod
    def _list_of_sinks(cls, given: object) -> object:
        if isinstance(given, str):
            return read_sink_list(given)
        if isinstance(given, Mapping | SinkConfig) or not hasattr(given, "__iter__"):
            raise ConfigError(Problem("must be a list of sinks; in TOML each begins with [[llm.sinks]]"))
        return given

    @model_validator(mode="after")
    def _written_once(self) -> "LLMSettings":
        if self.sinks and "completion_log_file" in self.model_fields_set:
            raise ConfigError(Problem("completion_log_file and sinks: set only one, or every event is written twice"))
        seen: dict[tuple[str, str], int] = {}
        problems: list[Problem] = []
        for position, sink in enumerate(self.sinks):
            for key in unique_parts(sink):
                if seen.setdefault(key, position) != position:
                    text = f"has the same {key[0]} as sink {seen[key]}"
                    problems.append(Problem(text, ("sinks", position)))
        if problems:
            raise ConfigError(problems)
        return self


def load_settings(
    path: str | Path | None = None,
    *,
    env_file: str | Path | None = None,
    secrets_dir: str | Path | None = None,
    **arguments: Unpack[SettingsInput],
) -> LLMSettings:
    """Read the settings; see the module for the sources and their order.

    Args:
        path: A `.json` or `.toml` file whose section `llm` holds settings; default: the one that `STRUCTLLM_CONFIG`
            names, if any. It must exist.
        env_file: A file of variables such as `.env`; default: none is read. It must exist.
        secrets_dir: A directory with one file per variable (`llm__model`), such as `/run/secrets`; default: none.
        arguments: Settings; they win over every other source. A mapping such as `redaction={...}` is merged with what
            weaker sources say, an object replaces it.

    Raises:
        ConfigError: A source cannot be read, or a setting is unknown or wrong; all problems at once.

    Warns:
        SettingsWarning: Variables look like settings but are not read, or the file has no section `llm`; one for all.
    """
    settings, problems, sources = _load(path, env_file, secrets_dir, arguments)
    if sources.ignored:
        lines = "\n".join(f"  {sentence}" for sentence in dict.fromkeys(sources.ignored))
        warnings.warn(SettingsWarning(f"structllm: given but not read\n{lines}"), stacklevel=2)
    if settings is None:
        raise ConfigError(problems)
    return settings


def load_with_sources(
    path: str | Path | None = None,
    *,
    env_file: str | Path | None = None,
    secrets_dir: str | Path | None = None,
    **arguments: Unpack[SettingsInput],
) -> tuple[LLMSettings, Sources]:
    """Like `load_settings`, but also return where each value came from, and leave `sources.ignored` to the caller."""
    settings, problems, sources = _load(path, env_file, secrets_dir, arguments)
    if settings is None:
        raise ConfigError(problems)
    return settings, sources


def known_settings() -> KnownSettings:
    """Return the settings that exist, each with the settings inside it."""
    inner = {
        name: tuple(field.annotation.model_fields)
        for name, field in LLMSettings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Checked)
    }
    return {name: inner.get(name, ()) for name in LLMSettings.model_fields}


def _load(
    path: str | Path | None, env_file: str | Path | None, secrets_dir: str | Path | None, arguments: SettingsInput
) -> tuple[LLMSettings | None, list[str], Sources]:
    sources = Sources(known_settings())
    layers: list[tuple[Variables, str]] = [(read_environment(), "env")]
    for place, given, read in (
        (printable(env_file), env_file, read_env_file),
        ("secret", secrets_dir, read_secrets),
    ):
        if given is not None:
            try:
                layers.append((read(Path(given)), place))
            except ConfigError as error:
                sources.add_problems(error)
    if path is not None:
        sources.add_file(Path(path))
    else:
        for variables, place in layers:
            if named := variables.get(CONFIG_VARIABLE.lower()):
                sources.add_file(Path(named), Origin(place, CONFIG_VARIABLE))
                break
    for variables, place in reversed(layers):
        sources.add_variables(variables, place)
    sources.add_arguments(arguments)
    sources.choose_destination()
    try:
        settings = LLMSettings(**cast("SettingsInput", sources.values))
    except ConfigError as error:
        return None, sources.problems(error.problems), sources
    problems = sources.problems()
    return (None if problems else settings), problems, sources
