"""Settings put together from several sources, with a memory of where each value came from.

The merge is our own because messages and `structllm config show` name the variable or file of each value, and because a
variable can patch one sink of a list.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from structllm._options import KeyPath, Problem, did_you_mean, dotted, printable, shown
from structllm.errors import ConfigError
from structllm.settings_readers import (
    SECTION,
    KnownSettings,
    Variables,
    json_object,
    near_misses,
    read_config_file,
)
from structllm.sinks.config import is_usable_name
from structllm.sinks.registry import read_sink_list, read_sink_url, sink_types

# Settings are nested less deeply than this; what is deeper is a value, which is replaced as a whole.
_DEEPEST = 4


class Origin(NamedTuple):
    """Where a value came from.

    Attributes:
        place: `env`, `secret`, `argument`, or the name of a file.
        variable: The variable, where it came from one.
        at: The setting that the variable stands for; what it sets may lie deeper, where its value is an object.
    """

    place: str
    variable: str | None = None
    at: KeyPath = ()

    def __str__(self) -> str:
        if self.variable:
            return f"{self.variable} ({self.place})"
        return self.place if self.place == "argument" else f"{self.place} (file)"

    def name_of(self, path: KeyPath) -> str:
        """Return how the user wrote the setting at `path` there."""
        if self.variable:
            return str(self)
        return f"{dotted(path if self.place == 'argument' else (SECTION, *path))} ({self.place})"

    def tell(self, problem: Problem) -> str:
        """Return a problem with a setting from here as a sentence."""
        inside: KeyPath = problem.path[len(self.at) :] if self.variable else ()
        item = "sink" if self.at == ("sinks",) else "item"
        names = [f"{item} {part}" if isinstance(part, int) else shown(part) for part in inside]
        return ": ".join([self.name_of(problem.path), *names, problem.text])


class Sources:
    """The settings as given, from the weakest source to the strongest: add them in this order.

    Args:
        known: The settings that exist.

    Attributes:
        values: The settings given, nested.
        ignored: Variables that were not read although they look like ours, and a file without our section, in words.
    """

    def __init__(self, known: KnownSettings) -> None:
        self.values: dict[str, Any] = {}
        self.ignored: list[str] = []
        self._known = known
        self._origins: dict[KeyPath, Origin] = {}
        self._problems: list[str] = []
        self._sink_problems: list[str] = []
        self._sinks_are_known = True

    def add_file(self, path: Path, named_by: Origin | None = None) -> None:
        """Add the section `llm` of a JSON or TOML file, which a variable may have named."""
        try:
            section = read_config_file(path, self._known)
        except ConfigError as error:
            self.add_problems(error, named_by)
            self._sinks_are_known = False  # so that the patches of its sinks are not called wrong as well
        else:
            if section is None:
                self.ignored.append(f"{printable(path)}: has no section '{SECTION}', so nothing is read from it")
            self._put((), section or {}, Origin(printable(path)))

    def add_variables(self, variables: Variables, place: str) -> None:
        """Add variables named `LLM__...`, and `LLM` where it holds a JSON object; note those that only look like it."""
        if SECTION in variables:
            section = json_object(variables[SECTION])
            if section is None:
                hint = "use LLM__<SETTING>=value for one setting"
                self.ignored.append(f"LLM ({place}): ignored, it is no JSON object; {hint}")
            else:
                self._put((), section, Origin(place, "LLM"))
        prefix = f"{SECTION}__"
        ours = [name for name in variables if name.startswith(prefix)]
        # Whole values first, so that what patches a part of them comes after.
        for name in sorted(ours, key=lambda name: (name.count("__"), name)):
            path = tuple(name.removeprefix(prefix).split("__"))
            self._add_variable(path, variables[name], Origin(place, shown(name.upper()), path))
        for name, meant in near_misses(variables, self._known):
            self.ignored.append(f"{name} ({place}): not read; did you mean {meant}?")

    def add_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Add keyword arguments. A mapping is merged; an object replaces what weaker sources say."""
        for name, value in arguments.items():
            self._put((name,), value, Origin("argument"))

    def add_problems(self, error: ConfigError, named_by: Origin | None = None) -> None:
        """Note what was wrong with a source, which a variable may have named."""
        self._problems.extend(f"{named_by}: {problem}" if named_by else problem for problem in error.problems)

    def choose_destination(self) -> None:
        """Where `completion_log_file` and `sinks` are both set, let an argument win, else call it a problem."""
        file, sinks = self._origins.get(("completion_log_file",)), self._origins.get(("sinks",))
        if file is None or sinks is None or not self.values.get("sinks"):
            return
        if (file.place == "argument") != (sinks.place == "argument"):
            self._drop("sinks" if file.place == "argument" else "completion_log_file")
            return
        names = f"{file.name_of(('completion_log_file',))} and {sinks.name_of(('sinks',))}"
        self._problems.append(f"{names}: set only one, or every event is written twice")
        self._drop("completion_log_file")

    def problems(self, found: Iterable[str] = ()) -> list[str]:
        """Return every problem once: those of the sources, and those found in the merged values."""
        return list(dict.fromkeys([*self._problems, *self._sink_problems, *map(self._tell, found)]))

    def origin(self, path: KeyPath) -> Origin | None:
        """Return where the setting at `path` came from; None where nobody set it."""
        outwards = (path[:length] for length in range(len(path), 0, -1))
        return next((self._origins[outer] for outer in outwards if outer in self._origins), None)

    def _tell(self, problem: str) -> str:
        if not isinstance(problem, Problem):
            return problem
        origin = self.origin(problem.path)
        return origin.tell(problem) if origin else str(problem)

    def _add_variable(self, path: tuple[str, ...], value: str, origin: Origin) -> None:
        name, *inner = path
        if name == "sinks" and inner:
            self._patch_sink(path[1:], value, origin)
        elif inner and name in self._known and not self._known[name]:
            self._problems.append(f"{origin}: unknown setting; did you mean '{name}'?")
        elif not inner and self._known.get(name):
            section = json_object(value)
            if section is None:
                hint = f"use {origin.variable}__<SETTING>=value for one setting"
                self._problems.append(f"{origin}: must be a JSON object; {hint}")
            else:
                self._put(path, section, origin)
        else:
            self._put(path, value, origin)

    def _put(self, path: KeyPath, value: Any, origin: Origin) -> None:
        """Set a value. An object is merged into what is there, anything else replaces it."""
        if path == ("sinks",):
            self._put_sinks(value, origin)
        elif isinstance(value, Mapping) and len(path) < _DEEPEST and (value or not path):
            for key, inner in cast("Mapping[object, Any]", value).items():
                self._put((*path, str(key)), inner, origin)
        else:
            inside = self.values
            for depth, key in enumerate(path[:-1], start=1):
                if not isinstance(inside.get(str(key)), dict):
                    inside[str(key)] = {}
                    self._forget(path[:depth])
                inside = inside[str(key)]
            last = str(path[-1])
            if value == {} and isinstance(inside.get(last), dict):
                return  # an empty object says nothing about what it could hold
            inside[last] = value
            self._forget(path)
            self._origins[path] = origin

    def _put_sinks(self, value: Any, origin: Origin) -> None:
        self._drop("sinks")
        self._sinks_are_known = True
        if isinstance(value, str):
            try:
                value = read_sink_list(value)
            except ConfigError as error:
                self._sink_problems.extend(f"{origin.name_of(('sinks',))}: {problem}" for problem in error.problems)
                self._sinks_are_known = False
                return
        self.values["sinks"] = value
        self._origins["sinks",] = origin

    def _patch_sink(self, path: tuple[str, ...], value: str, origin: Origin) -> None:
        """Set one setting of one sink, which `path` names by name, type or position."""
        sinks: object = self.values.get("sinks", [])
        if not self._sinks_are_known or not isinstance(sinks, list):
            return
        items = [*cast("Iterable[Any]", sinks)]
        which, *keys = path
        if not keys:
            self._sink_problems.append(f"{origin}: name the setting to change: {origin.variable}__<SETTING>=value")
            return
        try:
            position = _position(which, items)
        except ConfigError as error:
            self._sink_problems.extend(f"{origin}: {problem}" for problem in error.problems)
            return
        sink = _as_object(items[position])
        if sink is not None:  # what is wrong with one that is no object is told where it stands
            self.values["sinks"] = [*items[:position], sink, *items[position + 1 :]]
            _set_inside(sink, keys, value)
            patched: KeyPath = ("sinks", position, *keys)
            self._origins[patched] = origin._replace(at=patched)

    def _drop(self, name: str) -> None:
        self.values.pop(name, None)
        self._forget((name,))
        if name == "sinks":
            self._sink_problems.clear()

    def _forget(self, path: KeyPath) -> None:
        self._origins = {known: origin for known, origin in self._origins.items() if known[: len(path)] != path}


def _position(which: str, sinks: list[Any]) -> int:
    """Return the position of the sink that is meant; raise ConfigError where none or several are."""
    objects = [_as_object(item) or {} for item in sinks]
    if which.isdecimal() and len(which) < 5 and int(which) < len(sinks):
        return int(which)
    names = [_folded(sink.get("name") or sink.get("type")) for sink in objects]
    matches = [position for position, name in enumerate(names) if name == _folded(which)]
    if len(matches) == 1:
        return matches[0]
    if not sinks:
        raise ConfigError("there is no sink to change; set LLM__SINKS, or list sinks in the config file")
    if matches:
        listed = " and ".join(str(position) for position in matches)
        raise ConfigError(f"sinks {listed} share that name; give them names, or say LLM__SINKS__{matches[0]}__...")
    listed = ", ".join(_label(position, sink) for position, sink in enumerate(objects))
    hint = did_you_mean(_folded(which), filter(None, names))
    raise ConfigError(f"no sink is called '{shown(which)}'{hint} (sinks: {listed})")


def _label(position: int, sink: Mapping[str, Any]) -> str:
    """Return what a variable may call the sink: its name, else position and type. A broken name is not repeated."""
    name, kind = sink.get("name"), sink.get("type")
    if isinstance(name, str) and is_usable_name(name):
        return _folded(name)
    return f"{position} {kind if kind in sink_types() else '?'}"


def _folded(name: object) -> str:
    """Return a sink's name as it can be written in a variable."""
    return name.lower().replace("-", "_").replace(".", "_") if isinstance(name, str) else ""


def _as_object(item: object) -> dict[str, Any] | None:
    """Return a copy of the object that an item of the list of sinks is, or None where it is none."""
    if isinstance(item, str):
        try:
            return read_sink_url(item)
        except ConfigError:
            return None
    return dict(cast("Mapping[str, Any]", item)) if isinstance(item, Mapping) else None


def _set_inside(sink: dict[str, Any], keys: list[str], value: str) -> None:
    *outer, last = keys
    for key in outer:
        nested: object = sink.get(key)
        sink[key] = dict(cast("Mapping[str, Any]", nested)) if isinstance(nested, Mapping) else {}
        sink = sink[key]
    sink[last] = value
