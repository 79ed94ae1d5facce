"""redact: takes secrets and personal data out of an event, before anything is cut or written.

What is scanned follows from the event definitions: ids and times are not, numbers never are, and everything else is,
to the bottom of nested values, keys included. A value under a name that says "secret" goes whole, and under one that
says "card" also a number. A text that no rule
touches costs one pass for the whole event and nothing is copied.

In a structlog chain of your own, place it last before the renderer, behind `format_exc_info` or `dict_tracebacks`: an
object it does not know becomes its type's name, because a renderer would print what is in it.
"""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from threading import get_ident
from typing import Any

from structlog import DropEvent

from structllm._types import Event
from structllm.cut import cut_text
from structllm.errors import ConfigError
from structllm.events import EVENTS, event_fields, field_kinds
from structllm.processors.truncate import PREVIEW_CHARS
from structllm.redaction.actions import Pseudonyms, checked_actions, with_actions
from structllm.redaction.key_pairs import rule_of_keys
from structllm.redaction.keys import KeyRules, Verdict
from structllm.redaction.known import KnownValues, known_here
from structllm.redaction.packs import DEFAULT_PACKS, PACKS
from structllm.redaction.rule import ERROR_RULE, KNOWN_RULE, Action, Rule, marker_of
from structllm.redaction.scan import OVERLAP_CHARS, Hit, Scanner
from structllm.redaction.walk import (
    INERT,
    LONG_NAME_CHARS,
    MAX_CONTAINERS,
    Gone,
    Walk,
    hides,
    is_pair,
    may_hide,
    unused_name,
)

DROP_REASON = "redaction"
"""What the `DropEvent` says that is raised for an event that a rule drops."""

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
        packs: Rule packs to use: credentials, crypto, payment, pii, entropy; default: all but entropy.
        deny_keys: More names whose value goes whole, e.g. `account_id`.
        allow_keys: Names that the built-in key rules are to leave to scanning, e.g. `cookie`.
        preview_chars: Field to the number of code points that will be kept of it. Only this much and the next 2,048
            characters are scanned, and the rest is cut here, so that a long prompt costs what its preview costs.
        rules: More rules, behind those of the packs.
        actions: Pack or rule id to what becomes of what it finds: mask, partial, hmac, drop_field, drop_event. A rule's
            own entry wins over that of its pack.
        action: What becomes of all the rest.
        allow: RE2 patterns; a secret that one of them matches as a whole is left alone, unless it is a known value or
            a block with a private key.
        hmac_key: Key of the pseudonyms, 32 bytes or more; without one, `hmac` masks.
        hmac_key_id: Names the key in each pseudonym.
        known: Values to look for; default: what `redact_value` registered and what the environment's secrets are.

    Raises:
        ConfigError: A pack is unknown, a key entry is empty, a preview is negative, an action does not exist, the key
            is too short, or a rule or pattern is wrong.
    """

    def __init__(
        self,
        *,
        packs: Collection[str] = DEFAULT_PACKS,
        deny_keys: Sequence[str] = (),
        allow_keys: Sequence[str] = (),
        preview_chars: Mapping[str, int] | None = None,
        rules: Sequence[Rule] = (),
        actions: Mapping[str, Action] | None = None,
        action: Action = "mask",
        allow: Sequence[str] = (),
        hmac_key: bytes | None = None,
        hmac_key_id: str = "k1",
        known: KnownValues | None = None,
    ) -> None:
        previews = PREVIEW_CHARS if preview_chars is None else preview_chars
        for field, chars in previews.items():
            if chars < 0:
                raise ConfigError(f"redaction: the preview of {field} must be 0 characters or more")
        self._key_rules = KeyRules(deny_keys, allow_keys)
        self._known = known_here(os.environ, self._key_rules) if known is None else known
        self._pseudonyms = None if hmac_key is None else Pseudonyms(hmac_key, hmac_key_id)
        chosen = _chosen(actions or {}, [rule.id for rule in rules])
        all_rules = with_actions((*_rules_of(_checked(packs)), *rules, rule_of_keys(self._key_rules)), chosen, action)
        self._key_rule = all_rules[-1]
        self._scanner = Scanner(
            all_rules,
            known=self._known,
            pseudonyms=self._pseudonyms,
            allow=allow,
            known_action=chosen.get(KNOWN_RULE, "mask"),
        )
        self._verdicts: dict[str, Verdict] = {}
        self._version = self._known.version
        self._unknown_type = self._actions(field_kinds(""), previews)
        self._foreign = self._actions({}, previews)
        self._by_type = {name: self._actions(field_kinds(name), previews) for name in EVENTS}
        self._counts: dict[int, dict[str, int]] = {}
        self._drops: dict[int, int] = {}

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

    @property
    def dropped(self) -> int:
        """How many events went as a whole, by the action `drop_event`."""
        return sum(self._drops.copy().values())

    def explain(self, text: str) -> list[Hit]:
        """Say what becomes of a text, in order: by which rule, where, and what stands there then; never a secret."""
        return self._scanner.explain(text)

    def __call__(self, logger: Any, method_name: str, event_dict: Event) -> Event:
        """Redact the event in place and return it.

        Raises:
            DropEvent: A rule that drops events found something.
        """
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
            if self._known.version != self._version:  # a remembered name may be a secret by now
                self._version = self._known.version
                self._verdicts.clear()
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
                label = value.get("name", value.get("key")) if "value" in value else None
                if type(label) is str and not self._is_open(label, value["value"]):
                    return False
                items = value.values()
            elif kind is list or kind is tuple:
                for item in value:
                    if is_pair(item) and not self._is_open(item[0], item[1]):
                        return False
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
        actions = self._actions_for(event)
        walk = Walk(self._scanner, self._key_rules, self._key_rule, self._pseudonyms, self._verdict)
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
            if type(new) is Gone:
                if not _is_required(name, event):
                    del event[name]
                    continue
                new = str(new)
            if new_name is not name:
                del event[name]
                new_name = unused_name(new_name, event)
            event[new_name] = new
        self._note(event, walk.rules)
        if walk.drops_event:
            thread = get_ident()
            self._drops[thread] = self._drops.get(thread, 0) + 1
            raise DropEvent(DROP_REASON)

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


def _chosen(actions: Mapping[str, Action], own: Sequence[str]) -> dict[str, Action]:
    """Return rule id to action, those of packs spelled out.

    Raises:
        ConfigError: An action does not exist, or what it is for.
    """
    checked_actions(actions, PACKS, (*(rule.id for rules in PACKS.values() for rule in rules), *own))
    packs: dict[str, Action] = {
        rule.id: actions[pack] for pack, rules in PACKS.items() if pack in actions for rule in rules
    }
    packs.update((name, action) for name, action in actions.items() if name not in PACKS)
    return packs


def _is_required(name: Any, event: Event) -> bool:
    """Say whether readers count on a field: where it should go, a marker stays."""
    event_type = event.get("event_type")
    if event_type is None:
        return bool(name == "event")  # structlog's renderers count on their message
    known = event_type if type(event_type) is str and event_type in EVENTS else ""
    field = event_fields(known).get(name) if known else None
    return field is not None and field.required
