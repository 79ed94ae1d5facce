"""The closer look at an event in which something may have to go: rebuilds what changes and nothing else."""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from operator import is_
from types import NoneType
from typing import Any
from uuid import UUID

from structllm.redaction.checks import is_card_number, is_token
from structllm.redaction.keys import KeyRules, Verdict
from structllm.redaction.rule import MARKER, marker_of
from structllm.redaction.scan import Scanner

KEY_RULE = "key-name"
"""Rule id of values that went because of their name."""

ERROR_RULE = "error"
"""Rule id of texts that went because scanning them failed."""

INERT: frozenset[Any] = frozenset({NoneType, bool, int, float, datetime, date, time, timedelta, Decimal, UUID})
"""Types whose values hold no text of anybody: never scanned, never changed."""

MAX_CONTAINERS = 20_000
"""Containers looked at in one event; a list that contains itself twice has no end."""

LONG_NAME_CHARS = 200
"""Names that were no text are cut here by `Normalise`, maybe inside a secret."""

_MAX_DEPTH = 64
_URL_BEYOND_USER = re.compile(r"[\s/?#@\[]")


class Walk:
    """One event's closer look: replaces what has to go and remembers by which rules.

    Args:
        scanner: Finds secrets in texts.
        key_rules: Judge names.
        verdict: Judges a name from memory; None for one that is not known to hold no secret itself.
    """

    def __init__(self, scanner: Scanner, key_rules: KeyRules, verdict: Callable[[Any], Verdict | None]) -> None:
        self.rules: list[str] = []
        self._scanner = scanner
        self._key_rules = key_rules
        self._verdict = verdict
        self._above: set[int] = set()
        self._containers = MAX_CONTAINERS

    def value(self, value: Any, verdict: Verdict = Verdict.OPEN) -> Any:
        """Return the value without secrets: the same object when there was none.

        Args:
            value: Anything.
            verdict: What the name above the value says about it.
        """
        if verdict is not Verdict.OPEN and hides(verdict, value):
            return self.denied(value)
        if type(value) in INERT:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, (bytes, bytearray)):
            text = value.decode("latin-1")
            clean = self.text(text)
            return value if clean is text else clean.encode("latin-1")
        if isinstance(value, (Mapping, list, tuple, set, frozenset)):
            return self._container(value, verdict)
        return value if isinstance(value, (int, float)) else _type_name(value)

    def text(self, text: str, limit_chars: int | None = None) -> str:
        """Return the text without secrets, cut if it is a preview; a marker alone when scanning failed."""
        plain = text if type(text) is str else str.__str__(text)
        try:
            clean, rules = self._scanner.redact(plain, limit_chars)
        except Exception:
            clean, rules = marker_of(ERROR_RULE), (ERROR_RULE,)
        self.rules += rules
        return clean

    def item(self, name: Any, value: Any, above: Verdict = Verdict.OPEN) -> tuple[Any, Any]:
        """Return name and value of a field, the value judged by its name first, then by the name above it."""
        verdict, new_name = self._verdict(name), name
        if verdict is None:
            verdict, new_name = self._key_rules.judge(_as_text(name)), self._name(name)
        if verdict is Verdict.OPEN and above is not Verdict.OPEN and not self._key_rules.describes(_as_text(name)):
            verdict = above
        return new_name, self.value(value, verdict)

    def _name(self, name: Any) -> Any:
        """Return a name without secrets; of one as long as a cut one, also the URL password whose end was cut off."""
        clean = self.value(name)
        if not isinstance(clean, str) or len(clean) < LONG_NAME_CHARS:
            return clean
        before, scheme, authority = clean.rpartition("://")
        user, colon, password = authority.partition(":")
        if not scheme or not colon or password.isdigit() or _URL_BEYOND_USER.search(authority):
            return clean
        self.rules.append("url-password")
        return f"{before}{scheme}{user}:{marker_of('url-password')}"

    def denied(self, value: Any) -> Any:
        """Return the marker, unless there is nothing to hide or it was hidden before."""
        if value is None or (isinstance(value, str) and MARKER.fullmatch(value.encode("utf-8", "replace"))):
            return value
        self.rules.append(KEY_RULE)
        return marker_of(KEY_RULE)

    def _container(self, value: Any, verdict: Verdict) -> Any:
        self._containers -= 1
        identity, is_mapping = id(value), isinstance(value, Mapping)
        if identity in self._above or len(self._above) >= _MAX_DEPTH or self._containers < 0:
            return _type_name(value)
        self._above.add(identity)
        try:
            return self._mapping(value, verdict) if is_mapping else self._elements(value, verdict)
        finally:
            self._above.discard(identity)

    def _mapping(self, value: Any, verdict: Verdict) -> Any:
        clean: dict[Any, Any] = {}
        changed = type(value) is not dict
        for name, item in value.items():
            new_name, new_item = self.item(name, item, verdict)
            changed = changed or new_name is not name or new_item is not item
            clean[unused_name(new_name, clean)] = new_item
        return clean if changed else value

    def _elements(self, value: Any, verdict: Verdict) -> Any:
        kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]  # the class of anything
        plain: Any = next(plain for plain in (list, tuple, set, frozenset) if issubclass(kind, plain))
        old: list[Any] = list(value)
        new = [self.value(item, verdict) for item in old]
        return value if kind is plain and all(map(is_, new, old)) else plain(new)


def hides(verdict: Verdict, value: Any) -> bool:
    """Say whether a value goes whole because of what its name says."""
    if verdict is Verdict.SUSPECT:
        return _looks_random(value)
    return verdict is Verdict.DENIED or (verdict is Verdict.CARD and is_card_number(value))


def may_hide(verdict: Verdict, value: Any) -> bool:
    """Say whether a value, or something inside it, may go because of what its name says."""
    if type(value) not in INERT and not isinstance(value, str) and verdict is not Verdict.OPEN:
        return True
    return hides(verdict, value)


def _looks_random(value: Any) -> bool:
    """Say whether a value under a name that may mean a secret is a text that looks like one."""
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
    elif isinstance(value, (bytes, bytearray)):
        data = bytes(value)
    else:
        return False
    return not MARKER.fullmatch(data) and is_token(data, 0, len(data))


def _as_text(name: Any) -> str:
    if isinstance(name, bytes):
        return name.decode("latin-1")
    return name if isinstance(name, str) else ""


def _type_name(value: Any) -> str:
    return f"<{type(value).__name__}>"


def unused_name(name: Any, taken: Mapping[Any, Any]) -> Any:
    """Return the name, numbered if it is taken: two secret keys get the same marker, and no value may be lost."""
    if name not in taken:
        return name
    number = 2
    while f"{name}#{number}" in taken:
        number += 1
    return f"{name}#{number}"
