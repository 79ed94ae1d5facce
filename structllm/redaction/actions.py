"""What takes the place of a secret: a marker, last characters, or a pseudonym that only the key's owner can make."""

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

from structllm.errors import ConfigError
from structllm.redaction.rule import KEY_RULE, KNOWN_RULE, Action, Rule, marker_of

ACTIONS: tuple[Action, ...] = get_args(Action)
"""What can become of a secret."""

MIN_KEY_BYTES = 32

_KEY_ID = re.compile(r"[0-9A-Za-z_-]{1,16}")
_SHOWN_MOST = 4
_SHOWN_FROM_BYTES, _SHOWN_FROM_DIGITS = 16, 9  # a shorter secret would be half shown
_DIGITS = re.compile(rb"[0-9]")
_NO_ALNUM = re.compile(rb"[^0-9A-Za-z]")


class Pseudonyms:
    """Gives the same secret the same pseudonym, so that events can be joined without anybody knowing by what.

    The key decides: without it a pseudonym says nothing, and nobody can try out all telephone numbers. Plain hashes
    can be tried out, hence there are none.

    Args:
        key: At least 32 random bytes.
        key_id: Names the key in every pseudonym, for the day when it is replaced.

    Raises:
        ConfigError: The key is too short or its id malformed.
    """

    def __init__(self, key: bytes, key_id: str = "k1") -> None:
        if len(key) < MIN_KEY_BYTES:
            raise ConfigError(f"redaction.hmac_key: give at least {MIN_KEY_BYTES} random bytes")
        if not _KEY_ID.fullmatch(key_id):
            raise ConfigError("redaction.hmac_key_id: give 1 to 16 letters, digits, hyphens or underscores")
        self._key = bytes(key)
        self._key_id = key_id

    def of(self, rule: str, secret: bytes) -> str:
        """Return the pseudonym: 64 bits of HMAC-SHA256 over the rule's id, a zero byte and the secret."""
        digest = hmac.digest(self._key, rule.encode() + b"\0" + secret, "sha256")
        return f"[PSEUDO:{rule}:{self._key_id}:{digest[:8].hex()}]"


def replacement_of(rule: Rule, secret: bytes, pseudonyms: Pseudonyms | None) -> str:
    """Return what stands in the place of a secret. Without a key there are no pseudonyms, and it is masked."""
    if rule.action == "hmac" and pseudonyms is not None:
        return pseudonyms.of(rule.id, secret if rule.canonical is None else rule.canonical(secret))
    if rule.action == "partial" and rule.shows_last:
        return marker_of(rule.id, _last_of(secret, rule.shows_last))
    return marker_of(rule.id)


def _last_of(secret: bytes, most: int) -> str:
    if len(secret) < _SHOWN_FROM_BYTES and len(_DIGITS.findall(secret)) < _SHOWN_FROM_DIGITS:
        return ""
    return _NO_ALNUM.sub(b"", secret[-64:]).decode()[-min(most, _SHOWN_MOST) :]


def with_actions(rules: Sequence[Rule], chosen: Mapping[str, Action], general: Action) -> list[Rule]:
    """Return the rules with the actions chosen for their ids; else their own, or the general one in place of mask."""
    return [
        _with_action(rule, chosen.get(rule.id) or (general if rule.action == "mask" else rule.action)) for rule in rules
    ]


def checked_actions(actions: Mapping[str, Action], packs: Mapping[str, Sequence[Rule]], ids: Sequence[str]) -> None:
    """Refuse actions that do not exist, or for what does not exist.

    Raises:
        ConfigError: All problems at once.
    """
    known = {*packs, *ids, KEY_RULE, KNOWN_RULE}
    problems = [
        f"redaction.actions: entry {position} names neither a pack nor a rule"
        for position, name in enumerate(actions, 1)
        if name not in known
    ]
    problems += [
        f"redaction.actions.{name}: no such action; give one of {', '.join(ACTIONS)}"
        for name, action in actions.items()
        if name in known and action not in ACTIONS
    ]
    if problems:
        raise ConfigError(problems)


def _with_action(rule: Rule, action: Action) -> Rule:
    return rule if rule.action == action else replace(rule, action=action)
