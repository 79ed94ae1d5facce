"""`structllm config`: the settings in effect with where each came from, and their schema.

The settings bring pydantic with them, so they are imported by the functions that need them.
"""

import warnings

import click

from structllm.cli.output import Column, emit_json, emit_table, hint
from structllm.cli.source import json_option


@click.group()
def config() -> None:
    """The settings in effect, and their schema."""


@config.command()
@click.option("--file", "path", type=click.Path(), metavar="FILE", help="Read this file, not that of STRUCTLLM_CONFIG.")
@click.option("--changed", is_flag=True, help="Only what is not at its default.")
@json_option
def show(path: str | None, changed: bool, as_json: bool) -> None:
    """Every setting with its value and where it came from, secrets masked."""
    from structllm.settings import load_with_sources
    from structllm.settings_view import explain

    settings, sources = load_with_sources(path)
    rows = [row for row in explain(settings, sources) if not (changed and row.is_default)]
    if as_json:
        values = {row.name: {"value": row.value, "source": row.source} for row in rows}
        emit_json({"settings": values, "ignored": list(sources.ignored)})
    else:
        emit_table(_COLUMNS, [[row.name, row.text, row.source] for row in rows])
    for sentence in sources.ignored:
        hint(sentence)


_COLUMNS = (Column("Setting", style="bold"), Column("Value", free=True), Column("Source", style="dim"))


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs; the schema always is.")
def schema(as_json: bool) -> None:
    """The JSON Schema of a config file, for editors."""
    from structllm.settings_view import settings_schema

    emit_json(settings_schema())


def configured_files() -> list[str]:
    """Return the files that the settings write to.

    Raises:
        ConfigError: The settings are wrong.
    """
    from structllm.settings import load_settings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # variables that look like settings are for `config show` and the doctor
        sinks = load_settings().effective_sinks()
    return [str(getattr(sink, "path", "")) for sink in sinks if getattr(sink, "type", None) == "file"]
