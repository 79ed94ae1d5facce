"""`structllm demo`: a trading agent's session, recorded, priced, redacted and summarised within seconds.

Everything that takes time to import is imported by the functions that need it, so that `--help` and wrong usage answer
at once. The tables are those of the commands `stats`, `cost` and `decisions`, run on the files that were just written.
"""

import asyncio
import os
import shlex
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, NamedTuple

import click

from structllm.cli.output import Failure, emit, emit_json, hint, wants_color
from structllm.cli.source import json_option
from structllm.console import escape, style
from structllm.demo.screen import PLAIN_COLUMNS, Screen, open_screen

if TYPE_CHECKING:
    from structllm.demo.session import Recording
    from structllm.demo.storage import Storage

BUILT_IN = "demo-rules"
BILLED_AS = "openai:o3-mini"
MOST_STEPS = 904
"""Four symbols in each of the 226 weeks that the data set has after the indicators' warm-up."""

_KEYS: Mapping[str, tuple[str, str]] = {
    "openai": ("OPENAI_API_KEY", "langchain-openai"),
    "anthropic": ("ANTHROPIC_API_KEY", "langchain-anthropic"),
}
"""Provider to the variable of its key and the package of its models."""


class Choice(NamedTuple):
    """Which model answers, and how its calls are priced.

    Attributes:
        model: The built-in model, or `provider:name`.
        billed_as: `provider:name` whose prices the built-in model's calls are given; None for no such thing.
    """

    model: str
    billed_as: str | None

    @property
    def built_in(self) -> bool:
        """Whether the built-in model answers."""
        return self.model == BUILT_IN

    @property
    def who(self) -> str:
        """What answers, in one sentence."""
        if self.built_in:
            return f"{BUILT_IN} answers: rules in this package, no network, no tokens bought."
        return f"{self.model} answers, through LangChain: every decision is a paid call."

    @property
    def costs(self) -> str:
        """What the costs mean, in one sentence."""
        if not self.built_in:
            return "Costs are estimates from the price list."
        if self.billed_as is None:
            return f"Costs are unknown: no price list has {BUILT_IN}."
        return f"Costs are what {self.billed_as} would bill for as many tokens."


@click.command()
@click.option(
    "--model", default=BUILT_IN, show_default=True, metavar="NAME", help="Or openai:NAME, anthropic:NAME, with a key."
)
@click.option(
    "--price-as",
    metavar="NAME",
    help=f"Price the built-in model's calls as this one's; none leaves them unpriced.  [default: {BILLED_AS}]",
)
@click.option("--steps", type=click.IntRange(1, MOST_STEPS), default=24, show_default=True, help="Decisions to take.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-logs"),
    show_default=True,
    help="Each run makes a directory of its own in here.",
)
@click.option(
    "--archive",
    type=click.Choice(["auto", "directory", "none"]),
    default="auto",
    show_default=True,
    help="Archive it all as well: in SeaweedFS where that is installed, else in a directory.",
)
@click.option("-q", "--quiet", is_flag=True, help="No line for each event.")
@json_option
def demo_command(
    model: str,
    price_as: str | None,
    steps: int,
    directory: Path,
    archive: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Record a trading agent's session here and show what came of it.

    An agent looks at real market prices and asks a model, through LangChain, what to do. The model is a set of rules in
    this package: it needs no key and no network. A few failures and a fake API key are planted on the way.
    """
    choice = _choose(model, price_as)
    with ExitStack() as stack:
        with open_screen(steps, terminal=sys.stdout.isatty(), lines=not quiet, silent=as_json) as screen:
            recording, storage = _record(choice, steps, directory, archive, screen, stack)
        _report(choice, recording, storage, as_json)


def _report(choice: Choice, recording: "Recording", storage: "Storage | None", as_json: bool) -> None:
    """Show what came of it, while the archive is there."""
    from structllm.demo import report
    from structllm.demo.storage import archived

    there = None if storage is None else archived(storage)
    if as_json:
        emit_json(report.summary(recording, there, choice.model, choice.billed_as, choice.built_in))
        return
    color, width = wants_color("auto"), get_terminal_size((PLAIN_COLUMNS, 24)).columns
    _show_tables(recording.directory, color)
    if storage is not None:
        _show_archive(storage, color)
    emit("")
    emit(choice.costs)
    emit("")
    for line in report.findings(recording, there, simulated=choice.built_in, color=color, width=width):
        emit(line)


def _show_archive(storage: "Storage", color: bool) -> None:
    """Run the command that proves the archive whole."""
    from structllm.cli.archive import verify

    emit("")
    emit(style(f"$ structllm archive verify {shlex.join([storage.place])}", "bold", color))
    try:
        verify.main([storage.place], standalone_mode=False)
    except click.exceptions.Exit as ended:
        if ended.exit_code:
            raise


def _choose(model: str, price_as: str | None) -> Choice:
    """Check the options before anything is loaded or written."""
    if model == BUILT_IN:
        return Choice(model, None if price_as == "none" else price_as or BILLED_AS)
    provider, _, name = model.partition(":")
    if provider not in _KEYS or not name:
        raise Failure(f"--model is {BUILT_IN}, openai:NAME or anthropic:NAME, for example {BILLED_AS}")
    variable, package = _KEYS[provider]
    if price_as is not None:
        raise Failure(f"--price-as is for the built-in model; the calls of --model {provider}:... have their own price")
    if not os.environ.get(variable):
        raise Failure(f"--model {provider}:... needs a key of {provider} in the variable {variable}")
    if find_spec(package.replace("-", "_")) is None:
        raise Failure(f"--model {provider}:... needs {package}: pip install {package}")
    return Choice(model, None)


def _record(
    choice: Choice, steps: int, parent: Path, archive: str, screen: Screen, stack: ExitStack
) -> tuple["Recording", "Storage | None"]:
    """Run the session in a new directory; what it is archived in is there until the stack ends."""
    from structllm.demo import session
    from structllm.demo.market import market_states
    from structllm.demo.storage import storage_for

    if choice.billed_as is not None and not session.BilledAs(choice.billed_as).is_known():
        raise Failure(f"--price-as names no model of the price list; try {BILLED_AS}, or none")
    model = session.demo_model() if choice.built_in else session.provider_model(choice.model)
    states = market_states(steps)
    try:
        directory = session.new_directory(parent)
    except OSError as error:
        raise Failure(f"cannot create a directory in {parent}: {error.strerror}; choose one with --directory") from None
    first, last = (state.timestamp.date() for state in (states[0], states[-1]))
    decisions = "1 decision" if steps == 1 else f"{steps} decisions"
    about = f"{decisions} about real prices of {first}{f' to {last}' if last > first else ''}."
    for line in (about, choice.who, choice.costs, f"Logging to {escape(str(directory))}/"):
        screen.say(line)
    storage = None
    if archive != "none":
        storage = stack.enter_context(storage_for(directory, server=archive == "auto"))
        screen.say(f"Archiving to {escape(storage.place)} ({storage.about})")
    screen.say("")
    try:
        recording = asyncio.run(
            session.record(
                model,
                states,
                directory,
                simulated=choice.built_in,
                billed_as=choice.billed_as,
                show=screen.show,
                advance=screen.advance,
                archive=None if storage is None else storage.sink,
            )
        )
    except session.BrokenClaim as error:
        hint(str(error))
        click.get_current_context().exit(1)
    return recording, storage


def _show_tables(directory: Path, color: bool) -> None:
    """Run the commands that anybody can run on these files, and say which."""
    from structllm.cli.cost import cost
    from structllm.cli.decisions import decisions
    from structllm.cli.stats import stats

    reports: list[tuple[click.Command, list[str]]] = [(stats, []), (cost, ["--by", "symbol"]), (decisions, [])]
    for command, options in reports:
        arguments = [*options, str(directory)]
        emit("")
        emit(style(f"$ structllm {command.name} {shlex.join(arguments)}", "bold", color))
        # With the parent: a command remembers its help option as it was first asked for, `-h` and all.
        command.main(arguments, standalone_mode=False, parent=click.get_current_context())
