"""`structllm rules`: what redaction looks for, whether its rules are sound, and what they do to a text.

No secret is shown: a hit is told by its rule and place. The settings and the engine are imported by the functions that
need them.
"""

import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from structllm.cli.output import Column, Failure, emit, emit_facts, emit_json, emit_table, hint, wants_color
from structllm.cli.source import json_option
from structllm.console import escape
from structllm.errors import ConfigError
from structllm.figures import counted

if TYPE_CHECKING:
    from structllm.processors.redact import Redact
    from structllm.redaction.rule import Rule
    from structllm.redaction.scan import Hit
    from structllm.settings import LLMSettings, RedactionSettings

_MOST_BYTES = 16 * 2**20
_ALWAYS = "always"

config_option = click.option(
    "--config",
    "config",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Read the settings from this file, not that of STRUCTLLM_CONFIG.",
)


class Row(NamedTuple):
    """One rule.

    Attributes:
        id: As in markers.
        pack: Its pack, or the setting or file that it comes from.
        action: What becomes of what it finds; `off` where its pack is not in use.
        match: Number of examples in which it finds something.
        no_match: Number of examples that it leaves alone.
        keywords: Of which one has to stand near.
    """

    id: str
    pack: str
    action: str
    match: int
    no_match: int
    keywords: Sequence[str]


@click.group()
def rules() -> None:
    """What redaction looks for, and what it does to a text."""


@rules.command("list")
@click.option("--pack", metavar="NAME", help="Only the rules of this pack.")
@config_option
@json_option
def list_rules(pack: str | None, config: str | None, as_json: bool) -> None:
    """The rules: of the packs, and your own.

    key-name and known-value have no pattern: one judges names, the other looks for the secrets that the program itself
    holds.
    """
    settings = _settings(config)
    rows = list(_rows(settings.redaction))
    if pack is not None:
        packs = list(dict.fromkeys(row.pack for row in rows))
        if pack not in packs:
            raise click.BadParameter(f"no such pack; there are {', '.join(packs)}", param_hint="--pack")
        rows = [row for row in rows if row.pack == pack]
    if as_json:
        emit_json({"enabled": settings.redaction.enabled, "rules": [row._asdict() for row in rows]})
    else:
        emit_table(_COLUMNS, [[row.id, row.pack, row.action, str(row.match + row.no_match)] for row in rows])


_COLUMNS = (Column("Rule", style="bold"), Column("Pack"), Column("Action"), Column("Examples", right=True))


@rules.command("test")
@click.argument("stdin", required=False, type=click.Choice(["-"]), metavar="[-]")
@click.option("--text", metavar="TEXT", help="A text; a real secret is better off in a file, outside your history.")
@click.option("--file", "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True), help="A file with text.")
@click.option(
    "--rules",
    "rule_file",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Use the rules of this file as well, as if redaction.rule_files named it.",
)
@config_option
@json_option
@click.pass_context
def test_rules(
    ctx: click.Context,
    stdin: str | None,
    text: str | None,
    file: str | None,
    rule_file: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Whether the rules are sound; or with a text, what they do to it.

    Without a text, every rule is tried on its own examples, and your own rules are timed on texts that are hard for
    them; exits 1 if there is a problem. With --text, --file or - (standard input), shows the text as it would be
    written, and which rule did what where; never what it was.
    """
    if sum(given is not None for given in (stdin, text, file)) > 1:
        raise click.UsageError("give one text: --text, --file or -")
    given = text if text is not None else _text_of(stdin or file)
    if given is None:
        ctx.exit(_check(config, rule_file, as_json))
    settings = _with_file(_settings(config), rule_file)
    hits = _redaction(settings).explain(given)
    shown = redacted(given, hits)
    if as_json:
        emit_json({"text": shown, "hits": [hit._asdict() for hit in hits]})
    else:
        _emit_hits(given, shown, hits)


def _check(config: str | None, rule_file: str | None, as_json: bool) -> int:
    """Try all rules, and say how that went; return the exit status."""
    from structllm.redaction.fuzz import time_problem

    counts, problems = {"rules": 0, "examples": 0, "timed": 0}, list[str]()
    try:
        settings = _with_file(_settings(config), rule_file)
        _redaction(settings)
    except ConfigError as error:
        problems += error.problems
    else:
        rows = [row for row in _rows(settings.redaction) if row.action != "off"]
        own = settings.redaction.own_rules()
        counts = {
            "rules": len(rows),
            "examples": sum(row.match + row.no_match for row in rows),
            "timed": len(own),
        }
        timed = ((rule.id, time_problem(rule)) for rule in own)
        problems += [f"rule {name}: {problem}" for name, problem in timed if problem is not None]
    if as_json:
        emit_json({"ok": not problems, **counts, "problems": problems})
    else:
        for problem in problems:
            emit(f"problem  {escape(problem)}")
        if not problems:
            facts = {
                "tried": f"{counted(counts['rules'], 'rule')} on {counted(counts['examples'], 'example')}",
                "timed": f"{counted(counts['timed'], 'rule')} of your own",
            }
            emit_facts(facts, wants_color("auto"))
        emit(counted(len(problems), "problem") if problems else "no problems")
    return 1 if problems else 0


def redacted(text: str, hits: Iterable["Hit"]) -> str:
    """Return the text with the replacements in it; where hits overlap, the first counts."""
    pieces, position = list[str](), 0
    for hit in hits:
        if hit.start >= position:
            pieces += (text[position : hit.start], hit.replacement)
            position = hit.end
    return "".join([*pieces, text[position:]])


def _emit_hits(text: str, shown: str, hits: Sequence["Hit"]) -> None:
    for line in shown.removesuffix("\n").split("\n"):
        emit(escape(line))
    if not hits:
        hint("no rule found anything")
        return
    emit("")
    columns = (
        Column("Rule", style="bold"),
        Column("Action"),
        Column("Line", right=True),
        Column("Column", right=True),
        Column("Characters", right=True),
    )
    emit_table(columns, [[hit.rule, hit.action, *_place(text, hit)] for hit in hits])
    for action, what in (("drop_event", "the whole event"), ("drop_field", "the whole field")):
        dropping = [hit.rule for hit in hits if hit.action == action]
        if dropping:
            hint(f"in an event, {what} would go, because of {dropping[0]}")
            return


def _place(text: str, hit: "Hit") -> list[str]:
    line = text.count("\n", 0, hit.start) + 1
    column = hit.start - text.rfind("\n", 0, hit.start)
    return [str(line), str(column), str(hit.end - hit.start)]


def _settings(config: str | None) -> "LLMSettings":
    from structllm.settings import load_settings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # variables that look like settings are for `config show` and the doctor
        settings = load_settings(config)
    if not settings.redaction.enabled:
        hint("redaction is turned off in the settings (redaction.enabled): nothing is redacted")
    return settings


def _with_file(settings: "LLMSettings", rule_file: str | None) -> "LLMSettings":
    """Return the settings with redaction turned on, and with one more file of rules."""
    from structllm.redaction.rule_files import load_rule_file
    from structllm.settings import RedactionSettings

    redaction = settings.redaction
    values: dict[str, Any] = {name: getattr(redaction, name) for name in redaction.model_fields_set}
    values["enabled"] = True
    if rule_file is not None:
        load_rule_file(rule_file)  # so that what is wrong with it is told by the file's name alone
        values["rule_files"] = (*redaction.rule_files, Path(rule_file))
    return settings.replace(redaction=RedactionSettings(**values))


def _redaction(settings: "LLMSettings") -> "Redact":
    from structllm.assemble import build_redaction

    redact = build_redaction(settings)
    if redact is None:
        raise Failure("redaction is turned off (redaction.enabled)")
    return redact


def _rows(redaction: "RedactionSettings") -> Iterator[Row]:
    from structllm.redaction.packs import PACKS
    from structllm.redaction.rule import KEY_RULE, KNOWN_RULE

    chosen = redaction.chosen_actions()

    def row(rule: "Rule", pack: str, is_used: bool = True) -> Row:
        action = chosen.get(rule.id) or chosen.get(pack) or redaction.action
        return Row(rule.id, pack, action if is_used else "off", len(rule.matches), len(rule.misses), rule.keywords)

    for pack, pack_rules in PACKS.items():
        yield from (row(rule, pack, pack in redaction.packs) for rule in pack_rules)
    for source, own in redaction.rules_by_source():
        yield from (row(rule, source) for rule in own)
    yield Row(KEY_RULE, _ALWAYS, chosen.get(KEY_RULE, redaction.action), 0, 0, ())
    yield Row(KNOWN_RULE, _ALWAYS, chosen.get(KNOWN_RULE, "mask"), 0, 0, ())


def _text_of(name: str | None) -> str | None:
    """Return the text of a file, or of standard input for `-`; None for none."""
    if name is None:
        return None
    try:
        if name == "-":
            data = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise Failure(f"cannot read {name}: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise Failure(f"{name} is larger than 16 MiB")
    return data.decode("utf-8", "replace")
