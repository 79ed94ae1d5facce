"""The settings for people and editors: the effective values with their sources, and a JSON Schema of the file."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, cast

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.json_schema import models_json_schema

from structllm._options import Checked, KeyPath, dotted, is_secret_name
from structllm.settings import LLMSettings
from structllm.settings_sources import Sources
from structllm.sinks.config import SinkConfig
from structllm.sinks.registry import BUILT_IN, load_sink_type

MASK = "********"

_DEFAULT = "default"
_LOG_FILE = "completion_log_file"

_USER_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")


class SettingRow(NamedTuple):
    """One effective setting.

    Attributes:
        name: As in a file, e.g. `redaction.enabled`; a sink by its name or else its position: `sinks.main.path`.
        value: JSON-safe, secrets masked.
        source: `default`, `argument`, `LLM__... (env)`, `structllm.json (file)`.
    """

    name: str
    value: Any
    source: str

    @property
    def text(self) -> str:
        """The value as it would be written in a variable."""
        return self.value if isinstance(self.value, str) else json.dumps(self.value, ensure_ascii=False)

    @property
    def is_default(self) -> bool:
        """Whether nobody set it: a default, or what follows from `completion_log_file`, which has a row of its own."""
        return self.source in {_DEFAULT, _LOG_FILE}


def explain(settings: LLMSettings, sources: Sources | None = None) -> list[SettingRow]:
    """Return every effective setting with where it came from, secrets masked.

    Args:
        settings: The settings.
        sources: What `load_with_sources` returned beside them; without it each value is an argument or a default.
    """
    rows = [row for name in LLMSettings.model_fields if name != "sinks" for row in _rows(settings, name, (), sources)]
    for position, sink in enumerate(settings.effective_sinks()):
        path: KeyPath = ("sinks", position)
        if isinstance(sink, SinkConfig):
            fields = [row for name in type(sink).model_fields for row in _rows(sink, name, path, sources)]
            fields = [_labelled(row, path, sink.name) for row in fields]
            rows.extend(fields if settings.sinks else map(_from_log_file, fields))
        else:
            rows.append(SettingRow(dotted(path), type(sink).__name__, "argument"))
    return rows


def settings_schema() -> dict[str, Any]:
    """Return the JSON Schema of a config file, built-in sink types included, for editors."""
    sink_types = [load_sink_type(name) for name in BUILT_IN]
    models: list[type[Checked]] = [LLMSettings, *sink_types]
    found, schema = models_json_schema([(model, "validation") for model in models])
    definitions: dict[str, Any] = schema["$defs"]
    for definition in definitions.values():
        definition["description"] = definition["description"].partition("\n")[0]
    for model in sink_types:
        definitions[model.__name__]["required"] = sorted({"type", *definitions[model.__name__].get("required", [])})
    definitions["LLMSettings"]["properties"]["sinks"]["items"] = {
        "anyOf": [
            {"type": "string", "description": "A URL, e.g. stdout:?format=console", "pattern": "^[A-Za-z][^ #]*$"},
            *({"$ref": found[model, "validation"]["$ref"]} for model in sink_types),
            {"type": "object", "required": ["type"], "properties": {"type": {"not": {"enum": sorted(BUILT_IN)}}}},
        ]
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "structllm config file",
        "type": "object",
        "properties": {"llm": {"$ref": "#/$defs/LLMSettings"}},
        "$defs": definitions,
    }


def _rows(model: Checked, name: str, path: KeyPath, sources: Sources | None) -> Iterator[SettingRow]:
    value: object = getattr(model, name)
    here: KeyPath = (*path, name)
    if isinstance(value, Checked):
        for inner in type(value).model_fields:
            yield from _rows(value, inner, here, sources)
        return
    origin = sources.origin(here) if sources else None
    # A configuration object need not be told its type, but a sink in the list is there because somebody listed it.
    is_set = name in model.model_fields_set or (path[:1] == ("sinks",) and name == "type")
    source = str(origin or "argument") if is_set else _DEFAULT
    # Outside sinks every secret is a SecretStr, while names such as enable_token_usage_tracking sound like one.
    judge = is_secret_name if path[:1] == ("sinks",) else _no_secret
    yield SettingRow(dotted(here), _display(name, value, judge), source)


def _labelled(row: SettingRow, path: KeyPath, name: str | None) -> SettingRow:
    """Return the row of the sink at `path` under the sink's name, where it has one."""
    return row._replace(name=dotted(("sinks", name)) + row.name.removeprefix(dotted(path))) if name else row


def _from_log_file(row: SettingRow) -> SettingRow:
    return row if row.is_default else row._replace(source=_LOG_FILE)


def _no_secret(name: str) -> bool:
    return False


def _display(name: str, value: object, judge: Callable[[str], bool]) -> Any:
    """Return a value as JSON can hold it, secrets masked, also those under a name that is judged to say so."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, SecretStr | SecretBytes | bytes) or judge(name):
        return MASK
    if isinstance(value, BaseModel):
        return {field: _display(field, getattr(value, field), judge) for field in type(value).model_fields}
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {str(key): _display(str(key), inner, judge) for key, inner in items}
    if isinstance(value, set | frozenset):
        return sorted(str(_display("", item, judge)) for item in cast("frozenset[object]", value))
    if isinstance(value, list | tuple):
        return [_display("", item, judge) for item in cast("Sequence[object]", value)]
    if isinstance(value, str | Path | Decimal | date):
        return _USER_IN_URL.sub(MASK, str(value))
    return value if isinstance(value, int | float) else type(value).__name__
