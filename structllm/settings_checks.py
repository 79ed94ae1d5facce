"""Checks of what programs pass as settings, where a plain type does not say enough: sinks, levels, whole mappings."""

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, cast, get_args

from structllm._options import Problem
from structllm._types import Sink
from structllm.errors import ConfigError
from structllm.settings_readers import SECTION
from structllm.sinks.config import LevelName, SinkConfig
from structllm.sinks.registry import load_sink_config

_LIKE_A_PATH = re.compile(r"[/\\]|^~|\.(log|txt|jsonl?|out)$", re.IGNORECASE)


def checked_sink(given: object) -> Sink | SinkConfig:
    """Return the sink or sink configuration that an item of a list of sinks stands for.

    Raises:
        ConfigError: It stands for none.
    """
    if isinstance(given, SinkConfig | Mapping | str):
        return load_sink_config(cast("SinkConfig | Mapping[str, Any] | str", given))
    if isinstance(given, type):
        raise ConfigError(Problem("is a class; give an instance of it"))
    # An open file has the three methods of a sink as well, but they are not those of a sink.
    if hasattr(given, "writelines"):
        raise ConfigError(Problem("is an open file; give a sink such as 'stdout:' or 'file:logs/llm.jsonl'"))
    if isinstance(given, Sink):
        return given
    raise ConfigError(Problem("is no sink, sink configuration, object with a 'type', or URL"))


def unique_parts(sink: Sink | SinkConfig) -> list[tuple[str, str]]:
    """Return what no other sink may have, as pairs of setting and value: its name and, for a file, its path."""
    if not isinstance(sink, SinkConfig):
        return []
    path: object = getattr(sink, "path", None) if getattr(sink, "type", None) == "file" else None
    keys = [("name", sink.name.lower())] if sink.name else []
    return [*keys, ("path", os.path.abspath(path))] if isinstance(path, Path) else keys


def level_not_path(given: object) -> object:
    """Return what is given as the level, unless it is a path: the first argument that comes to mind is the log file.

    Raises:
        ConfigError: It looks like a path.
    """
    if isinstance(given, PurePath) or (isinstance(given, str) and _LIKE_A_PATH.search(given.strip())):
        *levels, last = [f"'{level}'" for level in get_args(LevelName)]
        hint = "this looks like a path, which belongs in log_file= (setting completion_log_file)"
        raise ConfigError(Problem(f"must be {', '.join(levels)} or {last}; {hint}"))
    return given


def settings_mapping(given: object) -> dict[str, Any]:
    """Return the keyword arguments of `LLMSettings` in a mapping.

    Raises:
        ConfigError: It is no mapping, or one of whole sections.
    """
    if not isinstance(given, Mapping):
        expected = "must be LLMSettings or a mapping of settings, e.g. {'completion_log_level': 'DEBUG'}"
        hint = "; load_settings(path) reads a file" if isinstance(given, str | PurePath) else ""
        raise ConfigError(f"settings (argument): {expected}{hint}")
    values = {str(name): value for name, value in cast("Mapping[object, Any]", given).items()}
    if SECTION in values:
        hint = f"pass settings['{SECTION}']"
        raise ConfigError(f"settings (argument): must be what the section '{SECTION}' holds; {hint}")
    return values
