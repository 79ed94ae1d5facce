"""Sink types by name, and sink configurations from what users write: objects, URL strings or ready configurations.

A type is built in, or comes from an installed package through an entry point in the group `structllm.sinks`, whose name
is the type and whose value names a subclass of `SinkConfig`. A type's module is imported when the type is first used.
"""

import json
import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from structllm._options import KeyPath, Problem, did_you_mean, is_secret_name, nearest, shown
from structllm.errors import ConfigError, StructllmError
from structllm.sinks.config import SinkConfig

ENTRY_POINT_GROUP = "structllm.sinks"

BUILT_IN: Mapping[str, str] = {
    "directory": "structllm.sinks.directory:DirectorySinkConfig",
    "file": "structllm.sinks.file:FileSinkConfig",
    "memory": "structllm.sinks.memory:MemorySinkConfig",
    "s3": "structllm.sinks.s3:S3SinkConfig",
    "stdout": "structllm.sinks.stdout:StdoutSinkConfig",
}
"""Type to where its configuration class is. An installed package cannot replace these."""

_HOW_TO_WRITE = "a sink URL begins with its type and ':', as in 'file:logs/llm.jsonl' or 'stdout:?format=console'"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)")


def sink_types() -> list[str]:
    """Return the names of all sink types, built in and installed, sorted."""
    return sorted({*BUILT_IN, *(entry.name for entry in entry_points(group=ENTRY_POINT_GROUP))})


def load_sink_type(name: str) -> type[SinkConfig]:
    """Return the configuration class of a sink type.

    Raises:
        ConfigError: There is no such type, or the package that offers it cannot be loaded.
    """
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        return cast("type[SinkConfig]", getattr(import_module(module), attribute))
    offers = {entry.value: entry for entry in entry_points(group=ENTRY_POINT_GROUP, name=name)}
    if not offers:
        raise ConfigError(Problem(_unknown_type(name)))
    if len(offers) > 1:
        packages = ", ".join(sorted(_package(entry) for entry in offers.values()))
        raise ConfigError(Problem(f"several packages offer this sink type: {packages}; uninstall all but one"))
    return _load_offer(*offers.values())


def load_sink_config(given: SinkConfig | Mapping[str, Any] | str) -> SinkConfig:
    """Return the configuration that an object or a URL string stands for.

    Args:
        given: A ready configuration, an object with `type` and the type's settings, or a URL such as
            `file:///var/log/llm.jsonl?max_bytes=52428800`, `file:logs/llm.jsonl`, `stdout:?format=console`.

    Raises:
        ConfigError: What is given is no sink configuration; all problems at once, without values.
    """
    if isinstance(given, SinkConfig):
        return given
    if isinstance(given, str):
        return _from_url(given)
    return _from_object(given)


def read_sink_url(url: str) -> dict[str, Any]:
    """Return a sink URL as the object that it stands for; option values stay text.

    Raises:
        ConfigError: It is no sink URL, its type is unknown, or it holds a secret.
    """
    kind, host, path, query = _split_url(url)
    config_type = load_sink_type(kind)
    options = {"type": kind, **config_type.from_location(host, path)}
    for option in filter(None, query.split("&")):
        name, equals, value = option.partition("=")
        name = unquote(name)
        problem = _option_problem(name, config_type)
        if problem is None and not equals:
            problem = f"option '{name}' in the URL has no '=value'"
        if problem is None and name in options:
            problem = f"'{name}' is given twice in the URL"
        if problem is not None:
            raise ConfigError(Problem(problem))
        options[name] = unquote(value)
    return options


def read_sink_list(text: str) -> list[Any]:
    """Return the items of a list of sinks given as text: a JSON list, or URLs between spaces or commas.

    A comma in a URL's query belongs to the URL (`?events=run,trading_decision`) unless another URL begins after it.

    Raises:
        ConfigError: It is a broken JSON list, or no list at all.
    """
    if text.lstrip()[:1] in {"[", "{"}:
        return _read_json_list(text)
    urls: list[str] = []
    for word in text.split():
        start = len(urls)
        for part in word.split(","):
            if len(urls) > start and "?" in urls[-1] and not _SCHEME.match(part):
                urls[-1] += "," + part
            elif part:
                urls.append(part)
    if not urls:
        raise ConfigError(f"no list of sinks; {_HOW_TO_WRITE}")
    return urls


def _read_json_list(text: str) -> list[Any]:
    try:
        items: object = json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"not a valid JSON list (character {error.pos + 1}: {error.msg})"
    except (ValueError, RecursionError):
        problem = "not a valid JSON list"
    else:
        if isinstance(items, list):
            return [*cast("Iterable[Any]", items)]
        problem = "must be a JSON list: put the object between '[' and ']'"
    raise ConfigError(problem)


def _from_url(url: str) -> SinkConfig:
    settings = read_sink_url(url)
    try:
        return load_sink_type(settings["type"])(**settings)
    except ConfigError as error:
        problems = [_of_option(problem) for problem in error.problems]
    raise ConfigError(problems)


def _from_object(given: object) -> SinkConfig:
    if not isinstance(given, Mapping):
        raise ConfigError(Problem(f"must be an object with a 'type', or a URL; {_HOW_TO_WRITE}"))
    settings: dict[str, Any] = {str(name): value for name, value in cast("Mapping[object, object]", given).items()}
    kind = settings.get("type")
    if not isinstance(kind, str):
        fault = "must be text" if "type" in settings else "is missing"
        raise ConfigError(Problem(f"'type' {fault} (installed: {', '.join(sink_types())})"))
    return load_sink_type(kind)(**settings)


def _option_problem(name: str, config_type: type[SinkConfig]) -> str | None:
    """Say why a URL must not have this option. Its name may be the rest of a value with an '&': it is not repeated."""
    known = [field for field in config_type.model_fields if field != "type"]
    if name == "type":
        return "the type in the URL is what stands before the ':', not an option"
    if name not in known:
        meant = nearest(name, known)
        return "unknown option in the URL; " + (
            f"did you mean '{meant}'?" if meant else f"known are {', '.join(known)}"
        )
    return f"a secret does not belong in a URL; give '{name}' in an object" if is_secret_name(name) else None


def _of_option(problem: str) -> Problem:
    """Say it of the URL as a whole: its options have no place of their own in a file or variable."""
    path: KeyPath = problem.path if isinstance(problem, Problem) else ()
    text = problem.text if isinstance(problem, Problem) else problem
    return Problem(f"'{path[0]}' in the URL: {text}" if path else text)


def _split_url(url: str) -> tuple[str, str, str, str]:
    """Return type, host, path and query of a URL."""
    if url.lower() in BUILT_IN:
        return url.lower(), "", "", ""
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise ConfigError(Problem(f"no sink URL; {_HOW_TO_WRITE}"))
    if any(character <= " " for character in url):
        raise ConfigError(Problem("a space or control character in a URL is written in percent form, as in '%20'"))
    if "#" in url:
        raise ConfigError(Problem("a '#' in a URL is written '%23'"))
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None:
        raise ConfigError(Problem("no valid URL"))
    if "@" in parts.netloc:
        raise ConfigError(Problem("a user name or password does not belong in a URL; give it in an object"))
    return scheme.group().lower(), unquote(parts.netloc), unquote(parts.path), parts.query


def _unknown_type(name: str) -> str:
    """Say which types there are. The name is repeated only where it is nearly one of them: it might be anything."""
    installed = sink_types()
    meant = did_you_mean(name, installed)
    named = f" '{shown(name)}'{meant}" if meant else ""
    return f"unknown type{named} (installed: {', '.join(installed)})"


def _load_offer(entry: EntryPoint) -> type[SinkConfig]:
    try:
        offered: object = entry.load()
    except StructllmError:
        raise
    except Exception as error:
        # A plugin may fail in any way at import. Module names are safe to show, other messages may not be.
        reason = str(error) if isinstance(error, ImportError) else type(error).__name__
        offered = None
    else:
        reason = "what it names is no SinkConfig"
    if isinstance(offered, type) and issubclass(offered, SinkConfig):
        return offered
    raise ConfigError(Problem(f"sink type '{entry.name}' of package {_package(entry)} cannot be loaded: {reason}"))


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.module
