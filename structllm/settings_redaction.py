"""The settings of `redaction`: what is looked for in texts before they are written, and what becomes of it."""

import re
from collections.abc import Callable, Iterator
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, SecretStr, model_validator

from structllm._options import SPLIT, Checked, LogPath, Problem, Word, did_you_mean, printable
from structllm.errors import ConfigError
from structllm.redaction.custom import CustomRule, names_of_actions
from structllm.redaction.patterns import compile_pattern
from structllm.redaction.rule import Action, Rule
from structllm.redaction.rule_files import load_rule_file
from structllm.settings_pricing import FROM_JSON

Pack: TypeAlias = Literal["credentials", "crypto", "payment", "pii", "entropy"]

_KEY_ID = re.compile(r"[0-9A-Za-z_-]{1,16}")
_LEAST_KEY_BYTES = 32  # as many as HMAC-SHA256 has to give


def _long_enough(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value().encode("utf-8", "surrogatepass")) < _LEAST_KEY_BYTES:
        text = f"must have at least {_LEAST_KEY_BYTES} bytes, random ones: openssl rand -hex {_LEAST_KEY_BYTES}"
        raise ConfigError(Problem(text))
    return key


def _fit_for_marker(key_id: str) -> str:
    if not _KEY_ID.fullmatch(key_id):
        raise ConfigError(Problem("must be 1 to 16 letters, digits, hyphens or underscores"))
    return key_id


def _patterns(given: tuple[str, ...]) -> tuple[str, ...]:
    problems: list[Problem] = []
    for position, pattern in enumerate(given):
        try:
            compile_pattern(pattern)
        except ValueError as reason:
            problems.append(Problem(str(reason), (position,)))
    if problems:
        raise ConfigError(problems)
    return given


def _readable(path: LogPath) -> LogPath:
    """Read a file of rules, so that what is wrong with it is told with everything else that is wrong."""
    try:
        load_rule_file(path)
    except ConfigError as error:
        problems = [Problem(problem) for problem in error.problems]
    else:
        return path
    raise ConfigError(problems)


_RuleFile: TypeAlias = Annotated[LogPath, AfterValidator(_readable)]
_KeyId: TypeAlias = Annotated[Word, AfterValidator(_fit_for_marker)]


class RedactionSettings(Checked):
    """What is taken out of texts before they are written."""

    enabled: bool = Field(default=True, description="Redact; false writes every text as it is, secrets included.")
    packs: Annotated[tuple[Pack, ...], SPLIT] = Field(
        default=("credentials", "crypto", "payment", "pii"), description="Groups of rules in use; entropy is one more."
    )
    rules: Annotated[tuple[CustomRule, ...], FROM_JSON] = Field(
        default=(), description="Own rules: id, pattern, tests {match, no_match}, keywords, validators, action, ..."
    )
    rule_files: Annotated[tuple[_RuleFile, ...], SPLIT] = Field(
        default=(), description="TOML files with [[rules]]: own ones, or a configuration of gitleaks."
    )
    deny_keys: Annotated[tuple[Word, ...], SPLIT] = Field(
        default=(), description="More key names whose values are redacted whatever they are."
    )
    allow_keys: Annotated[tuple[Word, ...], SPLIT] = Field(
        default=(), description="Key names whose values are not redacted for the name's sake."
    )
    allow: Annotated[tuple[str, ...], FROM_JSON, AfterValidator(_patterns)] = Field(
        default=(), description="Patterns (RE2) of whole secrets that are left alone, e.g. a public support address."
    )
    action: Action = Field(
        default="mask", description="What becomes of a secret: mask, partial, hmac, drop_field, drop_event."
    )
    actions: Annotated[dict[Word, Action], FROM_JSON] = Field(
        default_factory=dict, description="Another action for a pack or a rule, e.g. {pii = 'hmac'}."
    )
    hmac_key: Annotated[SecretStr, AfterValidator(_long_enough)] | None = Field(
        default=None, description="Key of action hmac, 32 bytes or more; without it, hmac masks. Never shown."
    )
    hmac_key_id: _KeyId = Field(default="k1", description="Name of that key in pseudonyms: [PSEUDO:email:k1:...].")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = [*self._taken_ids(), *self._unknown_names()]
        if problems:
            raise ConfigError(problems)
        return self

    def _taken_ids(self) -> Iterator[Problem]:
        seen = set[str]()
        for position, own in enumerate(self.rules):
            if own.id in seen:
                yield Problem(f"rule {own.id}: is there twice", ("rules", position, "id"))
            seen.add(own.id)
        for position, path in enumerate(self.rule_files):
            ids = {rule.id for rule in load_rule_file(path)}
            for taken in sorted(seen & ids):
                text = f"{printable(path)}: rule {taken}: is in another file or in redaction.rules as well"
                yield Problem(text, ("rule_files", position))
            seen |= ids

    def _unknown_names(self) -> Iterator[Problem]:
        if not self.actions:
            return
        known = names_of_actions(self.own_rules())
        for name in self.actions:
            if name not in known:
                yield Problem(f"neither a pack nor a rule{did_you_mean(name, sorted(known))}", ("actions", name))

    def own_rules(self, notice: Callable[[str], None] | None = None) -> tuple[Rule, ...]:
        """Return the user's own rules, those of the settings before those of files.

        Args:
            notice: Is told, in a line for each, what in files of gitleaks has no meaning here.

        Raises:
            ConfigError: A file has changed since it was checked, and something is wrong with it now.
        """
        return tuple(rule for _, rules in self.rules_by_source(notice) for rule in rules)

    def rules_by_source(self, notice: Callable[[str], None] | None = None) -> Iterator[tuple[str, tuple[Rule, ...]]]:
        """Yield the user's own rules by the setting or the file that they come from; see `own_rules`."""
        if self.rules:
            yield "redaction.rules", tuple(rule.compiled(self.action) for rule in self.rules)
        for path in self.rule_files:
            yield str(path), load_rule_file(path, action=self.action, notice=notice)

    def chosen_actions(self) -> dict[str, Action]:
        """Return the action by pack or rule: those of own rules, and `actions`, which win."""
        return {**{rule.id: rule.action for rule in self.own_rules()}, **self.actions}

    def lacks_key(self) -> bool:
        """Say whether there are pseudonyms to make and no key to make them with."""
        return self.hmac_key is None and "hmac" in {self.action, *self.chosen_actions().values()}
