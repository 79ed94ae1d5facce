"""The group of commands, and what they have in common: how they are loaded and how they end.

Reading a log must feel instant, so nothing is imported that the command in hand does not need: the group knows its
commands by name and one line of help, and loads one when it is run or asked for its own help. No reading command
imports structlog, pydantic or the price list; rich only draws tables on a terminal.
"""

import errno
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from structllm.cli.output import Failure, OutputFull
from structllm.errors import StructllmError


class Lazy(click.Command):
    """A command that is loaded when it is run.

    Args:
        name: What the user types.
        target: Where the command is, as `module:attribute`.
        help: The one line that `structllm --help` shows; the command itself has its own.
    """

    def __init__(self, name: str, target: str, help: str) -> None:
        super().__init__(name, help=help)
        self._target = target

    def load(self) -> click.Command:
        """Import and return the command itself."""
        module, _, attribute = self._target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Hand over to the command itself."""
        return self.load().make_context(info_name, args, parent, **extra)

    def to_info_dict(self, ctx: click.Context) -> dict[str, Any]:
        """Describe the command itself, for generated documentation."""
        return self.load().to_info_dict(ctx)


class Commands(click.Group):
    """The group: adds what every command has in common about endings."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which one meets them, not in that of the alphabet."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; end quietly when nobody reads any more or Ctrl-C is pressed, and plainly on wrong settings."""
        try:
            return self._invoke(ctx)
        except click.UsageError as error:
            raise _harmless(error) from None

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                click.echo(err=True)  # after the terminal's ^C
            ctx.exit(130)
        except OSError as error:
            _end_of_output(ctx, error)
        except StructllmError as error:
            raise Failure(str(error).removeprefix("structllm: ")) from None


def _harmless(error: click.UsageError) -> click.UsageError:
    """Return the error with a message that acts on no terminal: it may quote the name of a file that a shell put in."""
    from structllm.console import escape

    message = error.format_message()
    harmless = "\n".join(escape(line) for line in message.split("\n"))
    return error if harmless == message else click.UsageError(harmless, error.ctx)


def _end_of_output(ctx: click.Context, error: OSError) -> NoReturn:
    if error.errno == errno.EPIPE:
        _discard_output()
        ctx.exit(0)
    if error.errno == errno.ENOSPC:
        _discard_output()
        raise OutputFull("standard output is full") from None
    raise error


def _discard_output() -> None:
    """Point standard output at nothing, so that the interpreter's own last flush does not fail again."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return


@click.group(
    cls=Commands,
    commands=[
        Lazy(
            "demo", "structllm.demo.run:demo_command", "Record a trading agent's session here and show what came of it."
        ),
        Lazy("tail", "structllm.cli.tail:tail", "Show the newest events; -f follows the log."),
        Lazy("show", "structllm.cli.show:show", "Tell one request or decision as a story."),
        Lazy("stats", "structllm.cli.stats:stats", "Calls, errors, latency, tokens and cost, by model."),
        Lazy(
            "cost",
            "structllm.cli.cost:cost",
            "What the calls cost, by model, day, symbol, decision, ...",
        ),
        Lazy("prices", "structllm.cli.prices:prices", "What a model costs by the price list; newer lists."),
        Lazy("reprice", "structllm.cli.reprice:reprice", "What the calls would cost by today's price list."),
        Lazy("errors", "structllm.cli.errors:errors", "Failed calls by type of error."),
        Lazy("decisions", "structllm.cli.decisions:decisions", "The decisions, and what they cost."),
        Lazy("sessions", "structllm.cli.sessions:sessions", "The sessions, and what happened in them."),
        Lazy("archive", "structllm.cli.archive:archive", "The archive: what is there, whether whole, and back again."),
        Lazy("config", "structllm.cli.config:config", "The settings in effect, and their schema."),
        Lazy("rules", "structllm.cli.rules:rules", "What redaction looks for, and what it does to a text."),
        Lazy("verify", "structllm.cli.verify:verify", "Check that nobody changed a log written with integrity."),
        Lazy("doctor", "structllm.cli.doctor:doctor", "Find what is wrong with settings, files and logs."),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog='Completion for your shell: eval "$(_STRUCTLLM_COMPLETE=bash_source structllm)" '
    "(or zsh_source, fish_source).",
)
@click.version_option(package_name="structllm-logging", message="structllm %(version)s")
def cli() -> None:
    """Read what an agent's language models were asked, answered, cost and led to.

    Commands read PATH... (files, directories, rotated and compressed files, s3://BUCKET/PREFIX, - for standard input);
    without one they read the file that the settings name, logs/llm_completions.log by default. Data goes to standard
    output, hints to standard error. Exit status: 0 fine, 1 a problem was found, 2 wrong usage.
    """
    # A prompt may hold any character; an output that cannot show one must not stop the report.
    reconfigure: Callable[..., None] | None = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def main() -> None:
    """Run the command line."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # for the whole process
    cli(prog_name="structllm")
