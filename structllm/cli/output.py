"""What the commands print: data on standard output, hints on standard error, nothing that could act on a terminal."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any, NamedTuple

import click


UNNAMED = "(unknown)"
"""What a model, type or action without a name is called in tables."""


class Failure(click.ClickException):
    """The command cannot do what was asked; the message says why and what to do about it."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message on standard error, as `structllm: ...`."""
        hint(self.message)


def hint(text: str) -> None:
    """Print a sentence for people on standard error."""
    from structllm.console import escape

    click.echo("\n".join(escape(line) for line in f"structllm: {text}".split("\n")), err=True)


def emit(text: str) -> None:
    """Print one line of data that is safe already; without a flush, which would make long output slow."""
    sys.stdout.write(f"{text}\n")


def emit_json(value: object) -> None:
    """Print a value as indented JSON."""
    import orjson

    from structllm.console import escape_json

    for line in orjson.dumps(value, option=orjson.OPT_INDENT_2).decode().split("\n"):
        emit(escape_json(line))


def wants_color(choice: str) -> bool:
    """Return whether to use colours: `always`, `never`, or `auto` (on a terminal unless NO_COLOR is set)."""
    if choice == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return choice == "always"


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: Its heading.
        right: Whether its cells stand to the right, as numbers do.
        style: Style of its cells on a terminal.
        free: Whether it may be wrapped where the terminal is too narrow, as prose may.
    """

    title: str
    right: bool = False
    style: str = ""
    free: bool = False


def emit_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], total: Sequence[str] | None = None) -> None:
    """Print a table: drawn on a terminal, plain aligned text elsewhere, so that pipes and tests see stable output."""
    from structllm.console import one_line

    safe = [[one_line(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(columns, safe, total)
    else:
        _align(columns, [*safe, *([list(total)] if total else [])])


def _align(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    from structllm.console import cells

    lines = [[column.title.upper() for column in columns], *rows]
    widths = [max(cells(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        padded = [
            " " * (width - cells(cell)) + cell if column.right else cell + " " * (width - cells(cell))
            for column, width, cell in zip(columns, widths, line, strict=True)
        ]
        emit("  ".join(padded).rstrip(" "))


def _draw(columns: Sequence[Column], rows: Sequence[Sequence[str]], total: Sequence[str] | None) -> None:
    # 0.2 s, which only tables on a terminal are worth.
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_footer=total is not None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(
            column.title,
            footer=Text(total[index], style="bold") if total else "",
            justify="right" if column.right else "left",
            style=column.style or None,
            no_wrap=not column.free,
            overflow="fold" if column.free else "ellipsis",
        )
    for row in rows:
        table.add_row(*[Text(cell) for cell in row])
    Console(highlight=False, soft_wrap=False).print(table)


def emit_facts(facts: Mapping[str, str], color: bool) -> None:
    """Print names and values, one below the other; a value may have several lines."""
    from structllm.console import escape, style

    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        for index, line in enumerate(value.split("\n")):
            emit(f"{style((name if index == 0 else '').ljust(width), 'dim', color)}  {escape(line)}".rstrip(" "))
