"""redact: takes secrets and personal data out of an event, before anything is cut or written.

What is scanned follows from the event definitions: ids and times are not, numbers never are, and everything else is,
to the bottom of nested values, keys included. A value under a name that says "secret" goes whole, and under one that
says "card" also a number. A text that no rule
touches costs one pass for the whole event and nothing is copied.

In a structlog chain of your own, place it last before the renderer, behind `format_exc_info` or `dict_tracebacks`: an
object it does not know becomes its type's name, because a renderer would print what is in it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from threading import get_ident
from typing import Any

from structllm._types import Event
from structllm.cut import cut_text
from structllm.errors import ConfigError
from structllm.events import EVENTS, field_kinds
from structllm.processors.truncate import PREVIEW_CHARS
from structllm.redaction.keys import KeyRules, Verdict
from structllm.redaction.packs import PACKS
from structllm.redaction.rule import Rule, marker_of
from structllm.redaction.scan import OVERLAP_CHARS, Scanner
from structllm.redaction.walk import (
    ERROR_RULE,
    INERT,
    LONG_NAME_CHARS,
    MAX_CONTAINERS,
    Walk,
    hides,
    may_hide,
    unused_name,
)

_MAX_NAMES = 4096  # names remembered; agents use a few hundred
_MAX_NAME_CHARS = 128
_SEPARATOR = "\n\0\n"  # joins texts into one pass; no rule's match crosses it and counts

# What to do with a field, beside the characters of a preview (0 and more).
_SKIP, _SCAN, _DENY = -1, -2, -3


class Redact:
    """Processor that replaces secrets by `[REDACTED:rule-id]`; see the module for what it looks at.

    Writes `redactions: {"count": …, "rules": […]}` into an event in which something was replaced. Never changes nested
    objects of the caller: what has to change is built anew. Where scanning a text fails, that whole text goes.

    Args:
        packs: Rule packs to use: credentials, crypto, payment, pii.
        deny_keys: More names whose value goes whole, e.g. `account_id`.
        allow_keys: Names that the built-in key rules are to leave to scanning, e.g. `cookie`.
        preview_chars: Field to the number of code points that will be kept of it. Only this much and the next 2,048
            characters are scanned, and the rest is cut here, so that a long prompt costs what its preview costs.
        rules: More rules, behind those of the packs.

    Raises:
        ConfigError: A pack is unknown, a key entry is empty, a preview is negative, or a rule is wrong.
    """

    def __init__(
        self,
        *,
        packs: Collection[str] = tuple(PACKS),
        deny_keys: Sequence[str] = (),
        allow_keys: Sequence[str] = (),
        preview_chars: Mapping[str, int] | None = None,
        rules: Sequence[Rule] = (),
    ) -> None:
        previews = PREVIEW_CHARS if preview_chars is None else preview_chars
        for field, chars in previews.items():
            if chars < 0:
                raise ConfigError(f"redaction: the preview of {field} must be 0 characters or more")
        self._key_rules = KeyRules(deny_keys, allow_keys)
        self._scanner = Scanner((*_rules_of(_checked(packs)), *rules)) if rules else _scanner_of(_checked(packs))
        self._verdicts: dict[str, Verdict] = {}
        self._unknown_type = self._actions(field_kinds(""), previews)
        self._foreign = self._actions({}, previews)
        self._by_type = {name: self._actions(field_kinds(name), previews) for name in EVENTS}
        self._counts: dict[int, dict[str, int]] = {}

    @property
    def counts(self) -> dict[str, int]:
        """How often each rule replaced something so far.

        Each thread counts in a dict of its own, so that counting needs no lock, which a fork could leave locked.
        """
        total: dict[str, int] = {}
        for counts in list(self._counts.values()):
            for rule, count in counts.copy().items():
                total[rule] = total.get(rule, 0) + count
        return total

    @property
    def errors(self) -> int:
        """How many texts went because scanning them failed."""
        return self.counts.get(ERROR_RULE, 0)

    def __call__(self, logger: Any, method_name: str, event_dict: Event) -> Event:
        """Redact the event in place and return it."""
        cuts = self._cuts_if_clean(event_dict)
        if cuts is None:
            self._rewrite(event_dict)
        else:
            event_dict.update(cuts)
        return event_dict

    def on_error(self, event_dict: Event) -> Event:
        """Replace everything that would have been scanned, numbers excepted: for when the processor itself failed."""
        actions = self._actions_for(event_dict)
        if actions is self._foreign:
            actions = self._unknown_type
        failed = [
            name
            for name, value in event_dict.items()
            if actions.get(name) != _SKIP
            and (type(value) not in INERT or hides(self._key_rules.judge(str(name)), value))
        ]
        for name in failed:
            event_dict[name] = marker_of(ERROR_RULE)
        self._note(event_dict, [ERROR_RULE] * len(failed))
        return event_dict

    # ---- what to do with which field

    def _actions(self, kinds: Mapping[str, str], previews: Mapping[str, int]) -> dict[str, int]:
        actions: dict[str, int] = {}
        for name in (*kinds, *previews):
            if kinds.get(name) in ("id", "time"):
                actions[name] = _SKIP
            elif self._key_rules.judge(name) is Verdict.DENIED:
                actions[name] = _DENY
            else:
                actions[name] = previews.get(name, _SCAN)
        return actions

    def _actions_for(self, event: Event) -> dict[str, int]:
        event_type = event.get("event_type")
        if event_type is None:
            return self._foreign
        return self._by_type.get(event_type, self._unknown_type) if type(event_type) is str else self._unknown_type

    def _verdict(self, name: Any) -> Verdict | None:
        """Judge a name; None when it may hold a secret itself or is no text."""
        if type(name) is not str:
            return Verdict.OPEN if type(name) in INERT else None
        if len(name) >= LONG_NAME_CHARS and "://" in name:
            return None
        verdict = self._verdicts.get(name)
        if verdict is None and self._scanner.is_clean(name):
            verdict = self._key_rules.judge(name)
            if len(self._verdicts) >= _MAX_NAMES:
                self._verdicts.clear()
            if len(name) <= _MAX_NAME_CHARS:
                self._verdicts[name] = verdict
        return verdict

    # ---- the usual event: nothing to replace

    def _cuts_if_clean(self, event: Event) -> dict[str, str] | None:
        """Return the previews to cut when nothing has to be replaced, None when the event needs a closer look."""
        texts: list[str] = []
        cuts: dict[str, str] = {}
        nested: list[Any] = []
        try:
            actions = self._actions_for(event)
            for name, value in event.items():
                action = actions.get(name)
                if action == _SKIP:
                    continue
                kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]  # the class of anything
                if action is None:
                    if not self._is_open(name, value):
                        return None
                elif action == _DENY:
                    return None
                if kind in INERT:
                    continue
                if kind is not str:
                    nested.append(value)
                elif action is not None and 0 <= action < len(value):
                    window = value[: action + OVERLAP_CHARS]
                    texts.append(window)
                    cuts[name] = cut_text(window, action)
                else:
                    texts.append(value)
            if nested and not self._collect(nested, texts):
                return None
            return cuts if self._scanner.is_clean(_SEPARATOR.join(texts)) else None
        except Exception:  # the closer look fails per field, and closed
            return None

    def _collect(self, nested: list[Any], texts: list[str]) -> bool:
        """Add the texts of nested values; False when there is something that has to be replaced or looked at."""
        containers = MAX_CONTAINERS
        while nested:
            value = nested.pop()
            kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]  # the class of anything
            containers -= 1
            if not containers:
                return False
            items: Iterable[Any]
            if kind is dict:
                for name, item in value.items():
                    if self._verdicts.get(name) is not Verdict.OPEN and not self._is_open(name, item):
                        return False
                items = value.values()
            elif kind is list or kind is tuple:
                items = value
            else:
                return False
            for item in items:
                kind = type(item)  # pyright: ignore[reportUnknownVariableType]  # the class of anything
                if kind is str:
                    texts.append(item)
                elif kind not in INERT:
                    nested.append(item)
        return True

    def _is_open(self, name: Any, value: Any) -> bool:
        verdict = self._verdict(name)
        return verdict is Verdict.OPEN or (verdict is not None and not may_hide(verdict, value))

    # ---- the rare event: something may have to go

    def _rewrite(self, event: Event) -> None:
        actions, walk = self._actions_for(event), Walk(self._scanner, self._key_rules, self._verdict)
        for name, value in list(event.items()):
            action = actions.get(name)
            if action == _SKIP:
                continue
            found = len(walk.rules)
            try:
                if action is None:
                    new_name, new = walk.item(name, value)
                elif action == _DENY:
                    new_name, new = name, walk.denied(value)
                elif action >= 0 and isinstance(value, str):
                    new_name, new = name, walk.text(value, action)
                else:
                    new_name, new = name, walk.value(value)
            except Exception:
                is_known = action is not None or name in self._verdicts
                new_name, new = name if is_known else marker_of(ERROR_RULE), marker_of(ERROR_RULE)
                walk.rules[found:] = [ERROR_RULE]
            if new_name is not name:
                del event[name]
                new_name = unused_name(new_name, event)
            event[new_name] = new
        self._note(event, walk.rules)

    def _note(self, event: Event, rules: list[str]) -> None:
        if not rules:
            return
        count, ids = len(rules), set(rules)
        match event.get("redactions"):
            case {"count": int(before), "rules": [*others]}:
                count += before
                ids.update(str(rule) for rule in others)
            case _:
                pass
        event["redactions"] = {"count": count, "rules": sorted(ids)}
        own = self._counts.setdefault(get_ident(), {})
        for rule in rules:
            own[rule] = own.get(rule, 0) + 1


def _checked(packs: Collection[str]) -> frozenset[str]:
    known = ", ".join(PACKS)
    if isinstance(packs, str):
        raise ConfigError(f"redaction.packs: give a list; the packs are {known}")
    for position, pack in enumerate(packs, 1):
        if pack not in PACKS:
            raise ConfigError(f"redaction.packs: entry {position} is no pack; the packs are {known}")
    return frozenset(packs)


def _rules_of(packs: Collection[str]) -> list[Rule]:
    """Return the packs' rules in their order of rank."""
    return [rule for pack, rules in PACKS.items() if pack in packs for rule in rules]


@cache
def _scanner_of(packs: frozenset[str]) -> Scanner:
    """Return the one scanner of these packs: it does not change, and building it takes 30 ms."""
    return Scanner(_rules_of(packs))
