"""The closer look at an event in which something may have to go: rebuilds what changes and nothing else."""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from operator import is_
from types import NoneType
from typing import Any
from uuid import UUID

from structllm.redaction.actions import Pseudonyms, replacement_of
from structllm.redaction.checks import is_card_number, is_token
from structllm.redaction.keys import KeyRules, Verdict
from structllm.redaction.media import without_media
from structllm.redaction.rule import ERROR_RULE, MARKER, Rule, error_marker_of, marker_of
from structllm.redaction.scan import OVERLAP_CHARS, Scanner

INERT: frozenset[Any] = frozenset({NoneType, bool, int, float, datetime, date, time, timedelta, Decimal, UUID})
"""Types whose values hold no text of anybody: never scanned, never changed."""

MAX_CONTAINERS = 20_000
"""Containers looked at in one event; a list that contains itself twice has no end."""

LONG_NAME_CHARS = 200
"""Names that were no text are cut here by `Normalise`, maybe inside a secret."""

_MAX_DEPTH = 64
_URL_BEYOND_USER = re.compile(r"[\s/?#@\[]")


class Gone(str):
    """The marker of a value whose field is to go: it stands where a field cannot go, as an element of a list."""

    __slots__ = ()


class Walk:
    """One event's closer look: replaces what has to go and remembers by which rules.

    Args:
        scanner: Finds secrets in texts.
        key_rules: Judge names.
        key_rule: What becomes of values that go because of their name.
        pseudonyms: For those.
        verdict: Judges a name from memory; None for one that is not known to hold no secret itself.

    Attributes:
        rules: Rule ids, one for each replacement.
        drops_event: Whether the event is to go.
    """

    def __init__(
        self,
        scanner: Scanner,
        key_rules: KeyRules,
        key_rule: Rule,
        pseudonyms: Pseudonyms | None,
        verdict: Callable[[Any], Verdict | None],
    ) -> None:
        self.rules: list[str] = []
        self.drops_event = False
        self._scanner = scanner
        self._key_rules = key_rules
        self._key_rule = key_rule
        self._pseudonyms = pseudonyms
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
            if clean is text:
                return value
            return clean if isinstance(clean, Gone) else clean.encode("latin-1")
        if isinstance(value, (Mapping, list, tuple, set, frozenset)):
            return self._container(value, verdict)
        return value if isinstance(value, (int, float)) else _type_name(value)

    def text(self, text: str, limit_chars: int | None = None) -> str:
        """Return the text without secrets, cut if it is a preview; a marker alone when scanning failed."""
        plain = text if type(text) is str else str.__str__(text)
        try:
            plain = without_media(plain, None if limit_chars is None else limit_chars + OVERLAP_CHARS)
            clean, rules, drop = self._scanner.redact(plain, limit_chars)
        except Exception:
            clean, rules, drop = marker_of(ERROR_RULE), (ERROR_RULE,), ""
        self.rules += rules
        self.drops_event = self.drops_event or drop == "drop_event"
        return Gone(clean) if drop == "drop_field" else clean

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
        clean = _standing(self.value(name))
        if not isinstance(clean, str) or len(clean) < LONG_NAME_CHARS:
            return clean
        before, scheme, authority = clean.rpartition("://")
        user, colon, password = authority.partition(":")
        if not scheme or not colon or password.isdigit() or _URL_BEYOND_USER.search(authority):
            return clean
        self.rules.append("url-password")
        return f"{before}{scheme}{user}:{marker_of('url-password')}"

    def denied(self, value: Any) -> Any:
        """Return what stands for a value whose name says secret, unless there is nothing to hide or it was hidden."""
        if value is None:
            return value
        rule, data = self._key_rule, _data_of(value)
        if isinstance(value, str):
            if MARKER.fullmatch(data):
                return value
            if self._scanner.search.allows(data):
                return self.text(value)
        try:
            shown, rules = replacement_of(rule, data, self._pseudonyms) if data else marker_of(rule.id), rule.id
        except Exception:
            shown, rules = error_marker_of(rule.id), ERROR_RULE
        self.rules.append(rules)
        self.drops_event = self.drops_event or rule.action == "drop_event"
        return Gone(shown) if rule.action == "drop_field" else shown

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
            if name == "value" and type(value.get("name", value.get("key"))) is str:
                # {"name": "X-API-Key", "value": ...}, as HAR files and CloudEvents have it
                new_item = self.item(value.get("name", value.get("key")), item, verdict)[1]
                changed = changed or new_item is not item
            if type(new_item) is Gone:
                continue
            clean[unused_name(new_name, clean)] = new_item
        return clean if changed else value

    def _pair(self, value: Any, verdict: Verdict) -> Any:
        """Judge a value in a list by the name before it."""
        name, item = map(_standing, self.item(value[0], value[1], verdict))
        return value if name is value[0] and item is value[1] else type(value)((name, item))

    def _elements(self, value: Any, verdict: Verdict) -> Any:
        kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]  # the class of anything
        plain: Any = next(plain for plain in (list, tuple, set, frozenset) if issubclass(kind, plain))
        old: list[Any] = list(value)
        new = [_standing(self._pair(item, verdict) if is_pair(item) else self.value(item, verdict)) for item in old]
        return value if kind is plain and all(map(is_, new, old)) else plain(new)


def is_pair(item: Any) -> bool:
    """Say whether an element of a list is a name with its value, as HTTP clients and ASGI pass headers on."""
    kind: Any = type(item)  # pyright: ignore[reportUnknownVariableType]  # the class of anything
    return (kind is list or kind is tuple) and len(item) == 2 and isinstance(item[0], (str, bytes))


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


def _data_of(value: Any) -> bytes:
    """Return the bytes of a text or number, of which a pseudonym can be made; none for anything else."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    return str(value).encode("utf-8", "surrogatepass") if isinstance(value, (str, int, float)) else b""


def _standing(value: Any) -> Any:
    """Return a marker as it stands where no field can go."""
    return str(value) if type(value) is Gone else value


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
