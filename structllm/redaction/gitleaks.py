"""Rules out of a configuration of gitleaks, the secret scanner for repositories.

Its patterns are of the same family as ours (Go's syntax is RE2's). Its rules have no examples, so only their patterns
are checked. Repositories have paths and commits, and texts have none: what speaks of those is passed over, and that is
told.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Literal, cast

from pydantic import Field

from structllm._options import Checked, KeyPath, Problem, printable
from structllm.errors import ConfigError
from structllm.redaction.patterns import Patterns, compile_pattern, only_group
from structllm.redaction.rule import Check, Rule
from structllm.redaction.validators import entropy_bits

_NO_ID = re.compile(r"[^a-z0-9]+")
_MOST_ID_CHARS = 48
_PREFIX = "gitleaks-"
_AROUND_BYTES = 1024  # of a secret, in which the whole match is looked for again
_LINE_BYTES = 4096  # that a line may have before and behind a secret
_MOST_NAMED = 5


class _Allowlist(Checked, extra="ignore"):
    """What is left alone."""

    condition: Literal["OR", "AND", "||", "&&", "or", "and", ""] = ""
    regexes: tuple[str, ...] = ()
    regextarget: Literal["", "secret", "match", "line"] = ""
    stopwords: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()
    targetrules: tuple[str, ...] = ()

    @property
    def speaks_of_repositories(self) -> bool:
        """Whether paths or commits are part of it."""
        return bool(self.paths or self.commits)

    @property
    def needs_all(self) -> bool:
        """Whether everything in it has to hold."""
        return self.condition.lower() in ("and", "&&")

    @property
    def applies(self) -> bool:
        """Whether it can leave anything alone here: a path or commit that is required is never there."""
        return bool(self.regexes or self.stopwords) and not (self.needs_all and self.speaks_of_repositories)


class _Rule(Checked, extra="ignore"):
    """One `[[rules]]`."""

    id: str = Field(min_length=1)
    regex: str = ""
    path: str = ""
    secretgroup: int = Field(default=0, ge=0)
    entropy: float = Field(default=0.0, ge=0)
    keywords: tuple[str, ...] = ()
    required: tuple[dict[str, Any], ...] = ()
    allowlist: _Allowlist | None = None
    allowlists: tuple[_Allowlist, ...] = ()

    @property
    def all_allowlists(self) -> tuple[_Allowlist, ...]:
        """Those of either spelling."""
        return (*self.allowlists, *(() if self.allowlist is None else (self.allowlist,)))


class _File(Checked, extra="ignore"):
    """The whole file."""

    rules: tuple[_Rule, ...] = ()
    allowlist: _Allowlist | None = None
    allowlists: tuple[_Allowlist, ...] = ()
    extend: dict[str, Any] | None = None

    @property
    def all_allowlists(self) -> tuple[_Allowlist, ...]:
        """Those for all rules, of either spelling."""
        return (*self.allowlists, *(() if self.allowlist is None else (self.allowlist,)))


def is_gitleaks(content: Mapping[str, Any]) -> bool:
    """Say whether the content of a TOML file is in the form of gitleaks: `regex` is what our form calls `pattern`."""
    names = {str(name).lower() for name in content}
    rules: object = content.get("rules")
    tables = cast("list[object]", rules) if isinstance(rules, list) else []
    keys = {
        str(key).lower()
        for table in tables
        if isinstance(table, Mapping)
        for key in cast("Mapping[object, Any]", table)
    }
    return bool(names & {"allowlist", "allowlists", "extend"}) or (
        "pattern" not in keys and bool(keys & {"regex", "path"})
    )


def load_gitleaks(
    content: Mapping[str, Any], taken: Collection[str], notice: Callable[[str], None]
) -> tuple[Rule, ...]:
    """Return the rules of a configuration of gitleaks.

    Args:
        content: What the TOML file holds.
        taken: Ids that are taken; a rule of such an id gets `gitleaks-` before it.
        notice: Is told what has no meaning here, in a sentence each.

    Raises:
        ConfigError: Something is wrong with them; all problems at once.
    """
    file = _File(**_lowered(content))
    problems = list(_problems(file, taken))
    if problems:
        raise ConfigError(problems)
    for sentence in _notices(file):
        notice(sentence)
    everywhere = file.all_allowlists
    return tuple(_compiled(rule, everywhere, _id_of(rule, taken)) for rule in file.rules if rule.regex)


def _lowered(value: object) -> Any:
    """Return a value with all its keys in lower case: gitleaks knows `secretGroup` and `secretgroup` alike."""
    if isinstance(value, Mapping):
        return {str(key).lower(): _lowered(inner) for key, inner in cast("Mapping[object, Any]", value).items()}
    return [_lowered(item) for item in cast("list[object]", value)] if isinstance(value, list) else value


def _id_of(rule: _Rule, taken: Collection[str]) -> str:
    """Return the rule's id as it can stand in a marker."""
    name = _NO_ID.sub("-", rule.id.lower()).strip("-")[:_MOST_ID_CHARS]
    return f"{_PREFIX}{name}"[:_MOST_ID_CHARS] if name in taken else name


def _problems(file: _File, taken: Collection[str]) -> Iterator[Problem]:
    seen = set[str]()
    for position, rule in enumerate(file.rules):
        path: KeyPath = ("rules", position)
        label = f"rule {printable(rule.id)}"
        name = _id_of(rule, taken)
        if not name or name in seen:
            text = "is there twice" if name else "needs a letter or digit"
            yield Problem(f"{label}: {text}", (*path, "id"))
        seen.add(name)
        if rule.regex:
            yield from _problem_of(rule.regex, label, (*path, "regex"))
            groups = _groups_in(rule.regex)
            if groups is not None and rule.secretgroup > groups:
                yield Problem(f"{label}: is out of range", (*path, "secretGroup"))
        for allowlist in rule.all_allowlists:
            yield from _problems_of_allowlist(allowlist, label, path)
    if not file.rules:
        yield Problem("has no rules; each begins with [[rules]]")
    for allowlist in file.all_allowlists:
        yield from _problems_of_allowlist(allowlist, "for all rules", ())


def _problems_of_allowlist(allowlist: _Allowlist, label: str, path: KeyPath) -> Iterator[Problem]:
    for regex in allowlist.regexes if allowlist.applies else ():
        yield from _problem_of(regex, label, (*path, "allowlist", "regexes"))


def _problem_of(regex: str, label: str, path: KeyPath) -> Iterator[Problem]:
    try:
        compile_pattern(regex)
    except ValueError as reason:
        yield Problem(f"{label}: {reason}", path)


def _groups_in(regex: str) -> int | None:
    try:
        return cast("int", compile_pattern(regex).groups)
    except ValueError:
        return None


def _notices(file: _File) -> Iterator[str]:
    """Yield what has no meaning here, each kind once."""
    lists = [*file.all_allowlists, *(one for rule in file.rules for one in rule.all_allowlists)]
    if file.extend:
        yield "[extend] is not followed: name the other file in redaction.rule_files as well"
    without = [rule.id for rule in file.rules if not rule.regex]
    if without:
        yield f"only paths and no regex, so left out: {_listed(without)}"
    limited = [rule.id for rule in file.rules if rule.regex and rule.path]
    if limited:
        yield f"looks at every text, whatever its path says: {_listed(limited)}"
    if any(one.speaks_of_repositories for one in lists):
        yield "paths and commits of allowlists have no meaning here"
    if any(rule.required for rule in file.rules):
        yield "finds its secret alone, without the rules that it requires: " + _listed(
            [rule.id for rule in file.rules if rule.required]
        )


def _listed(ids: list[str]) -> str:
    named = ", ".join(map(printable, ids[:_MOST_NAMED]))
    return f"{named} and {len(ids) - _MOST_NAMED} more" if len(ids) > _MOST_NAMED else named


def _compiled(rule: _Rule, everywhere: Iterable[_Allowlist], id: str) -> Rule:
    own = [*rule.all_allowlists, *(one for one in everywhere if not one.targetrules or rule.id in one.targetrules)]
    allowlists = [one for one in own if one.applies]
    return Rule(
        id=id,
        pattern=only_group(rule.regex, rule.secretgroup) if rule.secretgroup else rule.regex,
        matches=(),
        misses=(),
        check=_check(rule, allowlists) if allowlists or rule.entropy else None,
        keywords=tuple(filter(None, rule.keywords)),
    )


def _check(rule: _Rule, allowlists: Iterable[_Allowlist]) -> Check:
    """Return what decides about a hit: more entropy than the rule says, and in no allowlist."""
    whole = Patterns([rule.regex]) if any(one.regextarget == "match" for one in allowlists) else None
    spares = [_spared_by(one, whole) for one in allowlists]

    def check(text: bytes, start: int, end: int) -> bool:
        if rule.entropy and entropy_bits(text[start:end]) <= rule.entropy:
            return False
        return not any(spared(text, start, end) for spared in spares)

    return check


def _spared_by(allowlist: _Allowlist, whole: Patterns | None) -> Check:
    """Return what says whether an allowlist holds a hit. Patterns may occur anywhere in their target."""
    patterns = Patterns(allowlist.regexes)
    stopwords = [word.lower().encode() for word in allowlist.stopwords if word]

    def target(text: bytes, start: int, end: int) -> bytes | None:
        if allowlist.regextarget == "match" and whole is not None:
            return whole.match_around(text, start, end, _AROUND_BYTES)
        if allowlist.regextarget == "line":
            return _line_around(text, start, end)
        return text[start:end]

    def by_regex(text: bytes, start: int, end: int) -> bool:
        looked_at = target(text, start, end) if allowlist.regexes else None
        return looked_at is not None and patterns.found_in(looked_at)

    def spared(text: bytes, start: int, end: int) -> bool:
        secret = text[start:end].lower()
        has_word = any(word in secret for word in stopwords)
        if allowlist.needs_all:
            return (has_word or not stopwords) and (not allowlist.regexes or by_regex(text, start, end))
        return has_word or by_regex(text, start, end)

    return spared


def _line_around(text: bytes, start: int, end: int) -> bytes:
    begin = text.rfind(b"\n", max(0, start - _LINE_BYTES), start) + 1
    stop = text.find(b"\n", end, end + _LINE_BYTES)
    return text[max(begin, start - _LINE_BYTES) : stop if stop >= 0 else end + _LINE_BYTES]
