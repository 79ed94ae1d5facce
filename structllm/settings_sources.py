"""Where settings come from: file, secrets, `.env`, environment and arguments, merged with a memory of each origin.

pydantic-settings reads the variables. The merge is our own, because messages and `structllm config show` need to know
which variable or file a value came from, and because one sink of a list can be patched by a variable.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from structllm._options import KeyPath, Problem, did_you_mean, dotted, nearest, shown
from structllm.errors import ConfigError
from structllm.sinks.registry import read_sink_url, sink_types, split_sink_urls

CONFIG_VARIABLE = "STRUCTLLM_CONFIG"
SECTION = "llm"
_PREFIX = "llm__"

# Settings are nested less deeply than this; what is deeper is a value, which is replaced as a whole.
_DEEPEST = 4

# Settings whose names are everyday words: LLM_MODEL belongs to other programs more often than it is a slip.
_EVERYDAY = frozenset({"model", "service"})

KnownSettings = Mapping[str, Sequence[str]]
"""The settings, each with the settings inside it (none for a plain value)."""


class Origin(NamedTuple):
    """Where a value came from.

    Attributes:
        place: `env`, `secret`, `argument`, or the name of the file.
        variable: The variable, where it came from one.
    """

    place: str
    variable: str | None = None

    def __str__(self) -> str:
        if self.variable:
            return f"{self.variable} ({self.place})"
        return self.place if self.place == "argument" else f"{self.place} (file)"

    def tell(self, text: str, path: KeyPath, set_at: KeyPath) -> str:
        """Return a problem with the setting at `path`, of which this origin set `set_at` or all of it, as a sentence."""
        if not self.variable:
            name = dotted(path if self.place == "argument" else (SECTION, *path))
            return f"{name} ({self.place}): {text}"
        rest = path[len(set_at) :]
        if set_at == ("sinks",) and rest:
            return f"{self}: sink {rest[0]}: " + (f"{dotted(rest[1:])}: {text}" if rest[1:] else text)
        return f"{self}: {dotted(rest)}: {text}" if rest else f"{self}: {text}"


class Sources:
    """The settings as given, put together from the weakest source to the strongest.

    Args:
        known: The settings that exist.

    Attributes:
        values: The settings given, nested; lists of sinks are lists.
        problems: What was wrong with the sources, in words.
        ignored: Variables that were not read although they look like ours, in words.
    """

    def __init__(self, known: KnownSettings) -> None:
        self.values: dict[str, Any] = {}
        self.problems: list[str] = []
        self.ignored: list[str] = []
        self._known = known
        self._origins: dict[KeyPath, Origin] = {}
        self._sink_problems: list[str] = []
        self._sinks_are_known = True

    def add_file(self, path: Path, named_by: Origin | None = None) -> None:
        """Add the section `llm` of a JSON or TOML file.

        Args:
            path: The file.
            named_by: The variable that named it, if one did.
        """
        try:
            section = _section(_parse_file(path), str(path))
        except ConfigError as error:
            prefix = f"{named_by}: " if named_by else ""
            self.problems.extend(prefix + problem for problem in error.problems)
            self._sinks_are_known = False  # so that patches of its sinks are not called wrong as well
        else:
            self._put((), section, Origin(str(path)))

    def add_variables(self, variables: Mapping[str, str | None], place: str) -> None:
        """Add variables named `LLM__...`, and `LLM` where it holds a JSON object; note those that only look like it."""
        whole = variables.get(SECTION)
        if whole:
            section = _json_object(whole)
            if section is None:
                self.ignored.append(
                    f"LLM ({place}): ignored, it is no JSON object; use LLM__<SETTING>=value for one setting"
                )
            else:
                self._put((), section, Origin(place, "LLM"))
        ours = [name for name, value in variables.items() if name.startswith(_PREFIX) and value]
        # Whole values first, so that what patches a part of them comes after.
        for name in sorted(ours, key=lambda name: (name.count("__"), name)):
            self._add_variable(name, str(variables[name]), Origin(place, shown(name.upper())))
        for name in variables:
            meant = _meant_variable(name, self._known)
            if meant:
                self.ignored.append(f"{shown(name.upper())} ({place}): not read; did you mean {meant}?")

    def add_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Add keyword arguments. A mapping is merged, an object replaces what weaker sources say."""
        for name, value in arguments.items():
            self._put((name,), value, Origin("argument"))

    def choose_destination(self) -> None:
        """Let `completion_log_file` or `sinks` go where an argument names the other; else both are a problem."""
        file, sinks = self._origins.get(("completion_log_file",)), self._origins.get(("sinks",))
        if file is None or sinks is None or not self.values["sinks"]:
            return
        if file == sinks == Origin("argument") or "argument" not in {file.place, sinks.place}:
            names = [origin.variable or str(origin) for origin in (file, sinks)]
            where = f" ({names[0]} and {names[1]})" if file != Origin("argument") else ""
            self.problems.append(
                f"completion_log_file and sinks are both set{where}; keep one, or every event is written twice"
            )
            self._drop("completion_log_file")
        else:
            self._drop("sinks" if file.place == "argument" else "completion_log_file")

    def all_problems(self, found: Iterable[str] = ()) -> list[str]:
        """Return every problem once: those of the sources, and those found in the merged values."""
        told = [self._tell(problem) if isinstance(problem, Problem) else problem for problem in found]
        return list(dict.fromkeys([*self.problems, *self._sink_problems, *told]))

    def origin(self, path: KeyPath) -> str:
        """Return where the setting at `path` came from, in words; `default` where nobody set it."""
        found = self._nearest_origin(path)
        return str(found[1]) if found else "default"

    def _tell(self, problem: Problem) -> str:
        found = self._nearest_origin(problem.path)
        return found[1].tell(problem.text, problem.path, found[0]) if found else problem.text

    def _nearest_origin(self, path: KeyPath) -> tuple[KeyPath, Origin] | None:
        for length in range(len(path), 0, -1):
            if path[:length] in self._origins:
                return path[:length], self._origins[path[:length]]
        return None

    def _add_variable(self, name: str, value: str, origin: Origin) -> None:
        first, *rest = path = tuple(name.removeprefix(_PREFIX).split("__"))
        if first == "sinks" and rest:
            self._patch_sink(path[1:], value, origin)
        elif rest and not self._known.get(first, [first]):
            self.problems.append(f"{origin}: unknown setting; did you mean '{first}'?")
        elif not rest and self._known.get(first):
            section = _json_object(value)
            if section is None:
                hint = f"use {origin.variable}__<SETTING>=value for one setting"
                self.problems.append(f"{origin}: must be a JSON object; {hint}")
            else:
                self._put(path, section, origin)
        else:
            self._put(path, value, origin)

    def _put(self, path: KeyPath, value: Any, origin: Origin) -> None:
        """Set a value. An object is merged into what is there, anything else replaces it."""
        if path == ("sinks",):
            self._put_sinks(value, origin)
        elif isinstance(value, Mapping) and value and len(path) < _DEEPEST:
            for key, inner in value.items():
                self._put((*path, str(key)), inner, origin)
        elif path and not (isinstance(value, Mapping) and self._nearest_origin(path)):
            inside = self.values
            for depth, key in enumerate(path[:-1], start=1):
                if not isinstance(inside.get(str(key)), dict):
                    inside[str(key)] = {}
                    self._forget(path[:depth])
                inside = inside[str(key)]
            inside[str(path[-1])] = value
            self._forget(path)
            self._origins[path] = origin

    def _put_sinks(self, value: Any, origin: Origin) -> None:
        self._drop("sinks")
        if isinstance(value, str):
            try:
                value = read_sink_list(value)
            except ConfigError as error:
                self._sink_problems.extend(origin.tell(str(problem), ("sinks",), ("sinks",)) for problem in error.problems)
                self._sinks_are_known = False
                return
        self._sinks_are_known = True
        self.values["sinks"] = list(value) if isinstance(value, list | tuple) else value
        self._origins["sinks",] = origin

    def _patch_sink(self, path: tuple[str, ...], value: str, origin: Origin) -> None:
        """Set one setting of one sink, which is named by its name, its type or its position."""
        sinks = self.values.get("sinks", [])
        if not self._sinks_are_known or not isinstance(sinks, list):
            return
        which, *keys = path
        if not keys or not all(keys):
            self._sink_problems.append(f"{origin}: add the setting to change: LLM__SINKS__<NAME or NUMBER>__<SETTING>")
            return
        try:
            position = _position(which, sinks)
            item = sinks[position]
            sink = read_sink_url(item) if isinstance(item, str) else item
        except ConfigError as error:
            # A broken URL is reported where it stands; that it cannot be patched needs no second sentence.
            self._sink_problems.extend(f"{origin}: {problem}" for problem in error.problems if not _broken(which, sinks))
            return
        if isinstance(sink, dict):
            inside = sinks[position] = dict(sink)
            for key in keys[:-1]:
                nested = inside.get(key)
                inside[key] = inside = dict(nested) if isinstance(nested, dict) else {}
            inside[keys[-1]] = value
            self._origins["sinks", position, *keys] = origin

    def _drop(self, name: str) -> None:
        self.values.pop(name, None)
        self._forget((name,))
        if name == "sinks":
            self._sink_problems.clear()

    def _forget(self, path: KeyPath) -> None:
        self._origins = {known: origin for known, origin in self._origins.items() if known[: len(path)] != path}
