"""What the commands print: data on standard output, hints on standard error, nothing that could act on a terminal."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any, ClassVar, NamedTuple, cast

import click

_MOST_DEPTH = 200

UNNAMED = "(unknown)"
"""What a model, type or action without a name is called in tables."""


class Failure(click.ClickException):
    """The command cannot do what was asked; the message says why and what to do about it."""

    exit_code: ClassVar[int] = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message on standard error, as `structllm: ...`."""
        hint(self.message)


class OutputFull(Failure):
    """Standard output takes no more; the user's command was right."""

    exit_code: ClassVar[int] = 1


class NothingFound(Failure):
    """What the user named by its id is not in the log; the command itself was right."""

    exit_code: ClassVar[int] = 1


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

    try:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except TypeError:
        # The name of a file need not be text in any encoding; the standard library writes such names as escapes. And
        # what was read may be nested more deeply than either library writes.
        text = json.dumps(_bounded(value), indent=2)
    for line in text.split("\n"):
        emit(escape_json(line))


def _bounded(value: object, depth: int = 0) -> object:
    """Return the value, what is nested too deeply in it replaced by an ellipsis."""
    if not isinstance(value, dict | list | tuple):
        return value
    if depth >= _MOST_DEPTH:
        return "…"
    if isinstance(value, dict):
        return {name: _bounded(item, depth + 1) for name, item in cast("dict[object, object]", value).items()}
    return [_bounded(item, depth + 1) for item in cast("Sequence[object]", value)]


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
        free: Whether its cells may be wrapped on a terminal, as prose may. Numbers are never cut.
        identity: Whether its cells are ids, of which a terminal that is too narrow gets the first eight characters.
        least: Columns to which a terminal that is still too narrow may cut its cells; 0 cuts none.
        rank: On a terminal that even then is too narrow, the columns with the highest rank are left out; 0 never is.
    """

    title: str
    right: bool = False
    style: str = ""
    free: bool = False
    identity: bool = False
    least: int = 0
    rank: int = 0


def emit_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], total: Sequence[str] | None = None) -> None:
    """Print a table: drawn on a terminal, plain aligned text elsewhere, so that pipes and tests see stable output."""
    from structllm.console import one_line

    lines = [[one_line(cell) for cell in line] for line in (*rows, *([total] if total else []))]
    if sys.stdout.isatty():
        _draw(columns, lines, total is not None)
    else:
        _align(columns, lines)


def _align(columns: Sequence[Column], lines: Sequence[Sequence[str]]) -> None:
    from structllm.console import cells

    widths = _widths(columns, lines)
    for line in [[column.title.upper() for column in columns], *lines]:
        padded = [
            " " * (width - cells(cell)) + cell if column.right else cell + " " * (width - cells(cell))
            for column, width, cell in zip(columns, widths, line, strict=True)
        ]
        emit("  ".join(padded).rstrip(" "))


def _draw(columns: Sequence[Column], lines: Sequence[Sequence[str]], has_total: bool) -> None:
    # 0.2 s, which only tables on a terminal are worth.
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from structllm.console import shorten

    console = Console(highlight=False)
    table = Table(box=box.SIMPLE_HEAD, show_footer=has_total, collapse_padding=True, pad_edge=False)
    if _needed(columns, _widths(columns, lines)) > console.width:
        lines = _with_short_ids(columns, lines)
    widths = _fitting(columns, _widths(columns, lines), console.width)
    shown = [index for index, width in enumerate(widths) if width]
    # Where even the least does not fit, the terminal breaks the lines; a number that is cut would be another number.
    console.width = max(console.width, _needed(columns, widths))
    for index in shown:
        column = columns[index]
        table.add_column(
            column.title,
            footer=Text(lines[-1][index], style="bold") if has_total else "",
            justify="right" if column.right else "left",
            style=column.style or None,
            no_wrap=not column.free,
            min_width=None if column.free else widths[index],
        )
    for line in lines[:-1] if has_total else lines:
        table.add_row(
            *[Text(line[at] if columns[at].free else shorten(line[at], widths[at])) for at in shown],
        )
    with console.capture() as drawn:
        console.print(table)
    output = drawn.get().split("\n")
    # The box leaves a line free above and below; the commands place their own.
    emit("\n".join(output[1:-2]))
    if len(shown) < len(columns):
        sys.stdout.flush()
        left_out = ", ".join(column.title for column, width in zip(columns, widths, strict=True) if not width)
        hint(f"no room for {left_out}; a wider terminal or --json shows all")


def _widths(columns: Sequence[Column], lines: Sequence[Sequence[str]]) -> list[int]:
    from structllm.console import cells

    return [max(map(cells, [column.title, *cell])) for column, *cell in zip(columns, *lines, strict=True)]


def _with_short_ids(columns: Sequence[Column], lines: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the lines with their ids shortened, except those of a column in which two would become one."""
    from structllm.figures import short_id

    texts = [list(column) for column in zip(*lines, strict=True)]
    for index, column in enumerate(columns):
        short = [text if text.startswith("(") else short_id(text) for text in texts[index]]
        if column.identity and len(set(short)) == len(set(texts[index])):
            texts[index] = short
    return [list(line) for line in zip(*texts, strict=True)]


def _fitting(columns: Sequence[Column], widths: Sequence[int], room: int) -> list[int]:
    """Return the width of each column, 0 for one that is left out: the longest cells are cut first."""
    fitting = [min(width, room) if column.least else width for column, width in zip(columns, widths, strict=True)]
    # With columns left out there may be room again, so cutting starts anew.
    while True:
        cut = _cut(columns, fitting, room)
        left = [index for index, width in enumerate(cut) if width and columns[index].rank]
        if _needed(columns, cut) <= room or not left:
            return cut
        fitting[max(left, key=lambda index: columns[index].rank)] = 0


def _cut(columns: Sequence[Column], widths: Sequence[int], room: int) -> list[int]:
    """Return the widths after cutting the widest of the columns that may be cut, as far as is needed and allowed."""
    cut = list(widths)
    while _needed(columns, cut) > room:
        least = [max(column.least, len(column.title)) for column in columns]
        longer = [index for index, column in enumerate(columns) if column.least and cut[index] > least[index]]
        if not longer:
            break
        cut[max(longer, key=lambda index: cut[index])] -= 1
    return cut


def _needed(columns: Sequence[Column], widths: Sequence[int]) -> int:
    """Return the width of a table of columns of these widths, those of prose taken as narrow as they may be."""
    taken = [min(width, _FREE_COLUMNS) if column.free else width for column, width in zip(columns, widths, strict=True)]
    return sum(_GAP + width for width in taken if width)


_GAP = 2
_FREE_COLUMNS = 24  # that prose is given at least


def emit_facts(facts: Mapping[str, str], color: bool) -> None:
    """Print names and values, one below the other; a value may have several lines."""
    from structllm.console import escape, style

    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        for index, line in enumerate(value.split("\n")):
            emit(f"{style((name if index == 0 else '').ljust(width), 'dim', color)}  {escape(line)}".rstrip(" "))
