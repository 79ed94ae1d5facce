"""Rules of the user's own: what one may say, and what is checked when it is read.

A rule comes with its own examples; one without does not exist. Whatever is wrong is told when the rules are loaded, all
of it at once. Files of rules are read by `rule_files`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Self, TypeAlias, cast

from pydantic import Field, model_validator

from structllm._options import SPLIT, Checked, KeyPath, Problem, Word, Words
from structllm.errors import ConfigError
from structllm.redaction.patterns import compile_pattern, only_group, secret_of
from structllm.redaction.rule import ERROR_RULE, KEY_RULE, KNOWN_RULE, Action, Rule, Sample
from structllm.redaction.validators import all_of, validator_of

_RESERVED = (ERROR_RULE, KEY_RULE, KNOWN_RULE, "budget", "media", "url-password")
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")
_LEAST_KEYWORD_CHARS = 3
_MOST_WINDOW_BYTES = 16 * 1024
_SHOWS_LAST = 4  # characters, where the user asks for action partial

_Bytes: TypeAlias = Annotated[int, Field(ge=0, le=_MOST_WINDOW_BYTES)]


class RuleTests(Checked):
    """The examples of a rule."""

    match: tuple[str, ...] = Field(default=(), description="Texts in which it must find something; at least one.")
    no_match: tuple[str, ...] = Field(default=(), description="Texts that it must leave alone; at least one.")


class CustomRule(Checked):
    """A rule of the user's own."""

    id: Word = Field(description="Stands in the marker: lower-case letters, digits and hyphens, at most 48.")
    description: str = Field(default="", description="What it finds, for people.")
    pattern: str = Field(min_length=1, description="What it looks for, in RE2's syntax.")
    group: int | None = Field(
        default=None, ge=0, description="Group that is the secret, 0 for all; default: the first that takes part."
    )
    keywords: Words = Field(default=(), description="A match counts only where one of them stands, in any case.")
    window: tuple[_Bytes, _Bytes] | None = Field(
        default=None, description="How near: bytes before the secret and behind it, up to 16384; default: anywhere."
    )
    validators: Annotated[tuple[Word, ...], SPLIT] = Field(
        default=(), description="What the secret must be as well: luhn, iban, ssn, base64, mixed, entropy>=3, ..."
    )
    allow: tuple[str, ...] = Field(default=(), description="Patterns of whole secrets that are left alone.")
    action: Action | None = Field(default=None, description="What becomes of the secret; default: redaction.action.")
    tests: RuleTests = Field(default=RuleTests(), description="Examples, of which there must be some of both kinds.")

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        problems = list(self._problems())
        if not problems:
            problems = list(self._problems_of_examples())
        if problems:
            name = f"rule {self.id}: " if _ID.fullmatch(self.id) else ""
            raise ConfigError([Problem(name + text, path) for text, path in problems])
        return self

    def _problems(self) -> Iterator[tuple[str, KeyPath]]:
        if not _ID.fullmatch(self.id):
            yield "must be lower-case letters, digits and hyphens, at most 48", ("id",)
        elif self.id in built_in_ids():
            yield "is taken by a built-in rule", ("id",)
        try:
            groups = compile_pattern(self.pattern).groups
        except ValueError as reason:
            yield str(reason), ("pattern",)
        else:
            if self.group is not None and self.group > groups:
                yield f"is out of range: the pattern has {groups or 'no'} group{'s' * (groups != 1)}", ("group",)
        for position, keyword in enumerate(self.keywords):
            if len(keyword) < _LEAST_KEYWORD_CHARS:
                yield f"is too short; give at least {_LEAST_KEYWORD_CHARS} characters", ("keywords", position)
        if self.window is not None and not self.keywords:
            yield "needs keywords to be near", ("window",)
        for position, validator in enumerate(self.validators):
            try:
                validator_of(validator)
            except ValueError as reason:
                yield str(reason), ("validators", position)
        for position, pattern in enumerate(self.allow):
            try:
                compile_pattern(pattern)
            except ValueError as reason:
                yield str(reason), ("allow", position)
        for name in ("match", "no_match"):
            if not getattr(self.tests, name):
                yield "give at least one example", ("tests", name)

    def _problems_of_examples(self) -> Iterator[tuple[str, KeyPath]]:
        rule = self.compiled()
        pattern = compile_pattern(rule.pattern)
        for position, text in enumerate(self.tests.match):
            path: KeyPath = ("tests", "match", position)
            found = self._first_hit(rule, pattern, text)
            if isinstance(found, str):
                yield found, path
            elif found.text != text:
                yield "has {} before the secret; put something else there", path
        for position, text in enumerate(self.tests.no_match):
            if isinstance(self._first_hit(rule, pattern, text), Sample):
                yield "is found, although it must be left alone", ("tests", "no_match", position)

    def compiled(self, default: Action = "mask") -> Rule:
        """Return the rule in the form that redaction uses.

        Args:
            default: The action of a rule that names none.
        """
        rule = Rule(
            id=self.id,
            pattern=self.pattern if self.group is None else only_group(self.pattern, self.group),
            matches=(),
            misses=self.tests.no_match,
            check=all_of(tuple(map(validator_of, self.validators))),
            keywords=self.keywords,
            window=self.window,
            allow=self.allow,
            action=self.action or default,
            shows_last=_SHOWS_LAST,
        )
        pattern = compile_pattern(rule.pattern)
        hits = [self._first_hit(rule, pattern, text) for text in self.tests.match]
        return replace(rule, matches=tuple(hit for hit in hits if isinstance(hit, Sample)))

    def _first_hit(self, rule: Rule, pattern: Any, text: str) -> Sample | str:
        """Return the first secret with the text around it, or why there is none."""
        data, reason = text.encode("utf-8", "surrogatepass"), "is not matched by the pattern"
        for match in pattern.finditer(data):
            start, end = secret_of(match)
            if start == end:
                reason = "is matched, but the secret in it is empty"
            elif not _has_keyword_near(rule, data, start, end):
                reason = "is matched, but no keyword stands near"
            elif rule.check is not None and not rule.check(data, start, end):
                failed = [name for name in self.validators if not validator_of(name)(data, start, end)]
                reason = f"is matched, but what is found fails {', '.join(failed)}"
            elif any(compile_pattern(allowed).fullmatch(data[start:end]) for allowed in rule.allow):
                reason = "is matched, but left alone by allow"
            else:
                before, secret, after = (
                    part.decode("utf-8", "replace") for part in (data[:start], data[start:end], data[end:])
                )
                return Sample(secret, f"{before}{{}}{after}")
        return reason


def load_rules(objects: Iterable[Mapping[str, Any] | CustomRule], *, action: Action = "mask") -> tuple[Rule, ...]:
    """Return the rules that objects of this form stand for.

    Args:
        objects: What the setting `redaction.rules` or a file of rules holds.
        action: The action of rules that name none.

    Raises:
        ConfigError: Something is wrong with them; all problems at once, none with a value.
    """
    return tuple(rule.compiled(action) for rule in read_rules(objects))


def read_rules(objects: Iterable[Mapping[str, Any] | CustomRule]) -> tuple[CustomRule, ...]:
    """Return the rules as they are written, checked; see `load_rules`."""
    rules, problems = list[CustomRule](), list[Problem]()
    for position, item in enumerate(objects):
        path: KeyPath = ("rules", position)
        try:
            rule = item if isinstance(item, CustomRule) else CustomRule(**_as_object(item))
        except ConfigError as error:
            problems += [as_problem(problem).inside(path) for problem in error.problems]
            continue
        if any(rule.id == other.id for other in rules):
            problems.append(Problem(f"rule {rule.id}: is there twice", (*path, "id")))
        rules.append(rule)
    if problems:
        raise ConfigError(problems)
    return tuple(rules)


def as_problem(problem: str) -> Problem:
    """Return a problem with its place, which those of `Checked` know."""
    return problem if isinstance(problem, Problem) else Problem(problem)


def built_in_ids() -> frozenset[str]:
    """Return the ids that no rule of a user may have."""
    from structllm.redaction.packs import PACKS  # late: putting the packs together takes longer than reading settings

    return frozenset([*_RESERVED, *PACKS, *(rule.id for rules in PACKS.values() for rule in rules)])


def names_of_actions(own: Iterable[Rule]) -> frozenset[str]:
    """Return what `redaction.actions` may name: packs, rules of packs and these ones, key names and known values."""
    from structllm.redaction.packs import PACKS

    packed = (rule.id for rules in PACKS.values() for rule in rules)
    return frozenset([*PACKS, *packed, *(rule.id for rule in own), KEY_RULE, KNOWN_RULE])


def _as_object(item: object) -> dict[str, Any]:
    if isinstance(item, Mapping):
        return {str(name): value for name, value in cast("Mapping[object, Any]", item).items()}
    raise ConfigError(Problem("must be an object with id, pattern and tests"))


def _has_keyword_near(rule: Rule, data: bytes, start: int, end: int) -> bool:
    before, after = rule.window or (len(data), len(data))
    near = data[max(0, start - before) : end + after].lower()
    return not rule.keywords or any(keyword.lower().encode() in near for keyword in rule.keywords)
