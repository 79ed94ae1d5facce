"""What the demo shows while it runs: lines for events, and on a terminal a progress bar below them."""

import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import Any

from structllm.cli.output import emit, wants_color
from structllm.console import format_event

PLAIN_COLUMNS = 120
"""Width of a line where the output is no terminal: long enough for the facts, short enough for a build log."""


class Screen:
    """Where lines go while the session runs.

    Args:
        say: Prints one line.
        advance: Moves the progress bar by one decision.
        width: Columns that a line may take, asked for with every line.
        color: Whether lines of events are coloured.
        lines: Whether events are shown at all.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        advance: Callable[[], None],
        width: Callable[[], int],
        *,
        color: bool,
        lines: bool,
    ) -> None:
        self.say = say
        self.advance = advance
        self._width = width
        self._color = color
        self._lines = lines

    def show(self, event: Mapping[str, Any]) -> None:
        """Print the line of an event, if lines are wanted."""
        if self._lines:
            self.say(format_event(event, color=self._color, width=self._width()))


@contextmanager
def open_screen(steps: int, *, terminal: bool, lines: bool, silent: bool) -> Generator[Screen]:
    """Give the screen of a session.

    Args:
        steps: Decisions that will be taken.
        terminal: Whether to draw a progress bar.
        lines: Whether to print a line for each event.
        silent: Print nothing at all.
    """
    if silent:
        yield Screen(_nothing, _nothing, _terminal_columns, color=False, lines=False)
    elif not terminal:
        yield Screen(_emit_now, _nothing, lambda: PLAIN_COLUMNS, color=wants_color("auto"), lines=lines)
    else:
        with _progress_bar(steps) as (say, advance):
            yield Screen(say, advance, _terminal_columns, color=wants_color("auto"), lines=lines)


@contextmanager
def _progress_bar(steps: int) -> Generator[tuple[Callable[[str], None], Callable[[], None]]]:
    """Draw a progress bar; give the functions that print a line above it and move it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    console = Console(highlight=False)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("loading", total=steps)

        def say(line: str) -> None:
            # Through the bar's own console, which draws the bar anew below the line.
            console.print(Text.from_ansi(line), soft_wrap=True)

        def advance() -> None:
            progress.update(task, advance=1, description="deciding")

        yield say, advance


def _terminal_columns() -> int:
    return get_terminal_size((PLAIN_COLUMNS, 24)).columns


def _emit_now(line: str) -> None:
    emit(line)
    sys.stdout.flush()


def _nothing(*_: object) -> None:
    pass
