"""Write the generated pages of `docs/reference/` from the code that they describe.

`make docs` runs this; a test fails while a page differs from what this would write.
"""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import click

from docs.generate_api import api_page
from structllm.cli import cli
from structllm.cli.group import Lazy
from structllm.events import EVENTS, Envelope, FieldInfo, event_fields, field_infos, json_schema
from structllm.settings import LLMSettings
from structllm.settings_view import settings_schema
from structllm.sinks.registry import BUILT_IN, load_sink_type

REFERENCE = Path(__file__).parent / "reference"

EVENTS_HEAD = """# Events

One JSON object per line, `event_type` first. Generated from `structllm/events.py`; the same as a JSON Schema is in
[events.schema.json](events.schema.json). Fields marked * are always present. Lines may hold further fields: what
was bound, and the keyword fields of the logger's methods.

Kinds: `id`, `number`, `flag` and `time` are never scanned for secrets; `label`, `text` and `free` (nested data of the
caller) always are, and so are further fields.
"""

SETTINGS_HEAD = """# Settings

Under `llm` in a JSON or TOML file, or as `LLM__NAME` in the environment. Sources, first wins: arguments, environment,
`.env` when asked for, file (`STRUCTLLM_CONFIG` or an argument), defaults. Generated from `structllm/settings.py`; for
editors there is a JSON Schema in [settings.schema.json](settings.schema.json).
"""

MODULES_HEAD = """# Modules

Every module and what it is for, in its own words. A leading underscore marks what is not for use from outside. How an
event passes through them is told in [architecture](../explanation/architecture.md).
"""

ROOMS = {
    "structllm": ("structllm", "the logger, what feeds it, and the read side"),
    "structllm.processors": ("processors", "the steps of the chain"),
    "structllm.sinks": ("sinks", "the destinations"),
    "structllm.segment": ("structllm/segment", "log files: found, opened, read"),
    "structllm.cli": ("structllm/cli", "the command"),
    "structllm.demo": ("structllm/demo", "the demo"),
}

CLI_HEAD = """# Command line

Data goes to standard output, hints to standard error. Exit status: 0 fine, 1 a problem was found, 2 wrong usage.
Generated from the commands' own help.
"""


def pages() -> dict[str, str]:
    """Return the generated pages by file name."""
    return {
        "events.md": events_page(),
        "events.schema.json": json.dumps(json_schema(), indent=2) + "\n",
        "settings.md": settings_page(),
        "settings.schema.json": json.dumps(settings_schema(), indent=2) + "\n",
        "cli.md": cli_page(),
        "modules.md": modules_page(),
        "api.md": api_page(),
    }


def events_page() -> str:
    """Return the reference of all events."""
    envelope = list(field_infos(Envelope))
    names = {info.name for info in envelope}
    parts = [EVENTS_HEAD, "## Envelope\n\nEvery event begins with these.\n", table(envelope)]
    for event_type, definition in EVENTS.items():
        own = [info for info in event_fields(event_type).values() if info.name not in names]
        parts += [f"## {event_type}\n\n{definition.__doc__}\n", table(own)]
    return "\n".join(parts)


def table(infos: list[FieldInfo]) -> str:
    """Return a table of fields."""
    rows = ["| field | type | kind | meaning |", "|---|---|---|---|"]
    for info in infos:
        mark = " *" if info.required else ""
        rows.append(f"| `{info.name}`{mark} | {type_name(info.type)} | {info.kind} | {info.doc} |")
    return "\n".join(rows) + "\n"


def type_name(hint: Any) -> str:
    """Return a type as JSON's readers call it."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return " or ".join(type_name(option) for option in get_args(hint))
    if origin is list:
        return f"list of {type_name(get_args(hint)[0])}"
    if origin is dict or hasattr(hint, "__required_keys__"):
        return "object"
    names = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null", Any: "any"}
    return names[hint]


def settings_page() -> str:
    """Return the reference of all settings and of the built-in sinks."""
    parts = [SETTINGS_HEAD, "## llm\n", settings_table(LLMSettings.model_json_schema())]
    for name in BUILT_IN:
        config = load_sink_type(name)
        parts += [f"## Sink `{name}`\n\n{(config.__doc__ or '').strip().splitlines()[0]}\n"]
        parts += [settings_table(config.model_json_schema())]
    return "\n".join(parts)


def settings_table(schema: dict[str, Any]) -> str:
    """Return a table of the settings of a JSON Schema, nested ones by their path."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    rows += [f"| `{path}` | {default} | {text} |" for path, default, text in settings_rows(schema, schema, "")]
    return "\n".join(rows) + "\n"


def settings_rows(schema: dict[str, Any], root: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    """Yield path, default and meaning of each setting."""
    for name, entry in schema.get("properties", {}).items():
        nested = root.get("$defs", {}).get(entry.get("$ref", "").rpartition("/")[2])
        if nested is not None and nested.get("properties"):
            yield from settings_rows(nested, root, f"{prefix}{name}.")
            continue
        default = f"`{json.dumps(entry['default'])}`" if "default" in entry else ""
        yield f"{prefix}{name}", default, entry.get("description", "").replace("|", "\\|")


def cli_page() -> str:
    """Return the help of the command and of every subcommand."""
    return "\n".join([CLI_HEAD, *command_sections(cli, "structllm", None)])


def command_sections(item: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
    """Yield a section for a command and those below it."""
    item = item.load() if isinstance(item, Lazy) else item
    settings: dict[str, Any] = {
        **item.context_settings,
        "max_content_width": 100,
        "color": False,
        "terminal_width": 100,
    }
    context = click.Context(item, info_name=path.rpartition(" ")[2], parent=parent, **settings)
    yield f"## {path}\n\n```text\n{item.get_help(context).rstrip()}\n```\n"
    if isinstance(item, click.Group):
        for name in item.list_commands(context):
            below = item.get_command(context, name)
            if below is not None:
                yield from command_sections(below, f"{path} {name}", context)


def modules_page() -> str:
    """Return the first line of every module's docstring, by package."""
    parts = [MODULES_HEAD]
    for package, (folder, purpose) in ROOMS.items():
        rows = ["| module | what it is for |", "|---|---|"]
        for path in sorted((REFERENCE.parent.parent / folder).glob("*.py")):
            said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            if path.stem not in {"__init__", "__main__"}:
                rows.append(f"| `{path.stem}` | {said.splitlines()[0]} |")
        parts += [f"## {package}\n\nIn `{folder}/`: {purpose}.\n", "\n".join(rows) + "\n"]
    return "\n".join(parts)


def main() -> int:
    """Write every page that differs; with `--check` write nothing and return 1 if one does."""
    check = "--check" in sys.argv[1:]
    REFERENCE.mkdir(exist_ok=True)
    stale = [
        name
        for name, text in pages().items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text() != text
    ]
    for name in stale:
        print(f"{'stale' if check else 'written'}: docs/reference/{name}")
        if not check:
            (REFERENCE / name).write_text(pages()[name])
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
