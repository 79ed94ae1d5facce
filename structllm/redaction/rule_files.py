"""Files of rules: TOML with `[[rules]]`, in our own form or in that of gitleaks."""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

from structllm._options import Problem, did_you_mean, dotted, printable, shown
from structllm.errors import ConfigError
from structllm.redaction.custom import CustomRule, as_problem, built_in_ids, read_rules
from structllm.redaction.gitleaks import is_gitleaks, load_gitleaks
from structllm.redaction.rule import Action, Rule

_MOST_BYTES = 16 * 2**20

Notice: TypeAlias = Callable[[str], None]


class _Content(NamedTuple):
    """What a file says: rules in our form or in that of gitleaks, what is wrong, and what has no meaning here."""

    own: tuple[CustomRule, ...] = ()
    foreign: tuple[Rule, ...] = ()
    problems: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def load_rule_file(path: str | Path, *, action: Action = "mask", notice: Notice | None = None) -> tuple[Rule, ...]:
    """Return the rules of a file.

    Args:
        path: A TOML file in our own form (see `CustomRule`), or a configuration of gitleaks.
        action: The action of rules that name none.
        notice: Is told, in one line, what in a file of gitleaks has no meaning here.

    Raises:
        ConfigError: The file cannot be read, or something is wrong with its rules; all problems at once.
    """
    content = _read(_text_of(Path(path)))
    if content.problems:
        raise ConfigError([f"{printable(path)}: {problem}" for problem in content.problems])
    if notice is not None and content.notices:
        notice(f"{printable(path)}: {'; '.join(content.notices)}")
    foreign = (rule if rule.action == action else replace(rule, action=action) for rule in content.foreign)
    return (*(rule.compiled(action) for rule in content.own), *foreign)


@lru_cache(maxsize=8)
def _read(text: str) -> _Content:
    """Settings are checked and later used; a file that did not change need not be compiled twice."""
    notices: list[str] = []
    try:
        content = _parse(text)
        if is_gitleaks(content):
            rules = load_gitleaks(content, built_in_ids(), notices.append)
            return _Content(foreign=rules, notices=tuple(notices))
        return _Content(own=read_rules(_rules_in(content)))
    except ConfigError as error:
        return _Content(problems=tuple(map(_in_file, error.problems)))


def _in_file(problem: str) -> str:
    told = as_problem(problem)
    return f"{dotted(told.path)}: {told.text}" if told.path else told.text


def _rules_in(content: Mapping[str, Any]) -> list[Any]:
    """Return what stands under `[[rules]]`."""
    problems = [
        f"{shown(name)}: there are only [[rules]] in a file of rules{did_you_mean(name, ['rules'])}"
        for name in content
        if name != "rules"
    ]
    rules: object = content.get("rules", [])
    if not isinstance(rules, list) or not rules:
        problems.append("has no rules; each begins with [[rules]]")
    if problems:
        raise ConfigError(problems)
    return cast("list[Any]", rules)


def _text_of(path: Path) -> str:
    try:
        with path.expanduser().open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except (OSError, RuntimeError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
    else:
        if len(content) > _MOST_BYTES:
            reason = "larger than 16 MiB"
        else:
            try:
                return content.decode("utf-8-sig")
            except UnicodeDecodeError:
                reason = "not UTF-8 text"
    raise ConfigError(f"{printable(path)}: file of rules cannot be read ({reason})")


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).rpartition(" (at ")
        line = re.search(r"\d+", place)
        problem = f"not valid TOML ({reason or 'broken'})" + (f" in line {line[0]}" if line else "")
    except (ValueError, RecursionError):
        problem = "not valid TOML (a value is too long or nested too deeply)"
    raise ConfigError(Problem(problem))
