"""Finds secrets in one text: known values and what rules look for, as they are and in any disguise."""

from collections.abc import Callable, Sequence
from itertools import islice
from time import thread_time
from typing import Any, NamedTuple

from structllm.errors import ConfigError
from structllm.redaction.budget import Budget, Exhausted, seconds_for
from structllm.redaction.encodings import base64_runs, unescaped
from structllm.redaction.known import KnownValues
from structllm.redaction.rule import BLOCK_RULE, ERROR_RULE, KEY_RULE, KNOWN_RULE, MARKER, Rule
from structllm.redaction.rules import NOTHING, Seen, Span, any_of, encode, engine_options, reason_of, rule_set_of

KNOWN = -1
"""The rank of known values: before all rules."""

_ALLOW_BYTES = 16 * 2**20
_HALF_SPENT = 4  # when half of the time is over, the rules that are left look at one part of so many
_FEW_RUNS = 16  # of base64 are looked at to say that a text is clean; more get the closer look, which has a budget
_BEGINNING_BYTES = 4096  # shown of a text that is too much work, unless even this is
_BEGINNING_SECONDS = 0.02
_OWN_IDS = frozenset({ERROR_RULE, KEY_RULE, KNOWN_RULE, "url-password"})


class Found(NamedTuple):
    """Secrets in a text, and up to where (bytes) all rules have looked: nothing behind it may be shown."""

    spans: list[Span]
    limit: int


class Search:
    """Rules, known values and an allow-list. Safe to share between threads; see `Scanner` for the arguments."""

    def __init__(
        self,
        rules: Sequence[Rule],
        known: KnownValues | None = None,
        allow: Sequence[str] = (),
        clock: Callable[[], float] = thread_time,
    ) -> None:
        self.rule_set = rule_set_of(rules)
        self._known = known
        self._allow = _compiled(allow)
        self._clock = clock
        self._ids = frozenset(rule.id.encode() for rule in rules) | {own.encode() for own in _OWN_IDS}
        self._always = frozenset({KNOWN, *(rank for rank, rule in enumerate(rules) if rule.id == BLOCK_RULE)})

    def is_clean(self, text: str) -> bool:
        """Say whether nothing may have to go: one pass, and one for known values. False may come to nothing."""
        data = encode(text)
        seen = self.rule_set.look(data)
        if seen.media or self._may_hide(data, seen):
            return False
        return not (seen.escapes or seen.base64) or self._is_clean_decoded(data, seen)

    def _is_clean_decoded(self, data: bytes, seen: Seen) -> bool:
        if seen.escapes:
            view = unescaped(data)
            data, seen = view.data, self.rule_set.look(view.data)
            if view.is_partial or self._may_hide(data, seen):
                return False
        if not seen.base64:
            return True
        runs = list(islice(base64_runs(data), _FEW_RUNS))
        return len(runs) < _FEW_RUNS and not any(self._may_hide(run.data, self.rule_set.look(run.data)) for run in runs)

    def _may_hide(self, data: bytes, seen: Seen) -> bool:
        return bool(seen.ranks) or (self._known is not None and self._known.occur_in(data))

    def allows(self, secret: bytes) -> bool:
        """Say whether the allow-list names this secret."""
        return self._allow is not None and self._allow.fullmatch(secret) is not None

    def find(self, data: bytes) -> Found:
        """Find all secrets in a text.

        Raises:
            RuleFailed: A rule did.
            Exhausted: Not even the beginning could be scanned within the budget.
        """
        seen = self.rule_set.look(data)
        if seen is NOTHING and (self._known is None or not self._known.occur_in(data)):
            return Found([], len(data))
        try:
            spans, limit = self._disguised(data, seen, Budget(self._clock, seconds_for(len(data))))
        except Exhausted:
            if len(data) <= _BEGINNING_BYTES:
                raise
            beginning = data[: 2 * _BEGINNING_BYTES]
            spans, limit = self._disguised(
                beginning, self.rule_set.look(beginning), Budget(self._clock, _BEGINNING_SECONDS)
            )
            limit = min(limit, _BEGINNING_BYTES)
        if limit < len(data):
            while limit and data[limit] & 0xC0 == 0x80:  # inside a character
                limit -= 1
            spans = [span for span in spans if span.start < limit]
        return Found(self._beyond_markers(data, spans) if spans and b"[" in data else spans, limit)

    def _disguised(self, data: bytes, seen: Seen, budget: Budget) -> Found:
        """Find secrets as they are and behind percent-encoding, unseen characters and base64."""
        spans, limit = self._encoded(data, seen, budget)
        if not seen.escapes:
            return Found(spans, limit)
        view = unescaped(data[:limit] if limit < len(data) else data)
        inner, inner_limit = self._encoded(view.data, self.rule_set.look(view.data), budget)
        spans += [Span(view.origin(start), view.origin(end), rank, secret) for start, end, rank, secret in inner]
        if inner_limit < len(view.data) or view.is_partial:
            limit = min(limit, view.origin(inner_limit))
        return Found(spans, limit)

    def _encoded(self, data: bytes, seen: Seen, budget: Budget) -> Found:
        """Find secrets as they are and behind base64."""
        spans, limit = self._plain(data, seen, budget)
        if not seen.base64:
            return Found(spans, limit)
        for run in base64_runs(data):
            if run.start >= limit:
                break
            if budget.spend():
                return Found(spans, run.start)
            inner, inner_limit = self._plain(run.data, self.rule_set.look(run.data), budget)
            if inner_limit < len(run.data):
                return Found(spans, run.start)
            spans += [Span(run.start, run.end, span.rank, span.secret) for span in inner]
        return Found(spans, limit)

    def _plain(self, data: bytes, seen: Seen, budget: Budget) -> Found:
        """Find secrets as they are."""
        spans, limit = list[Span](), len(data)
        if self._known is not None:
            places = list[tuple[int, int]]()
            limit = self._known.find(data, limit, budget, places)
            spans += [Span(start, end, KNOWN, data[start:end]) for start, end in places]
        for rank in seen.ranks:
            if budget.is_half_spent():
                limit //= _HALF_SPENT
            limit = self.rule_set.find(rank, data, limit, budget, spans)
        if self._allow is not None:
            spans = [span for span in spans if span.rank in self._always or not self.allows(span.secret)]
        return Found(spans, limit)

    def _beyond_markers(self, data: bytes, spans: list[Span]) -> list[Span]:
        """Leave out what was found inside a marker, and take in the whole of a marker that a secret cuts."""
        marks = [match.span() for match in MARKER.finditer(data) if self._is_own(match[0])]
        if not marks:
            return spans
        kept, position = list[Span](), 0
        for span in sorted(spans):
            start, end = span.start, span.end
            while position < len(marks) and marks[position][1] <= start:
                position += 1
            at = position
            if at < len(marks) and marks[at][0] <= start and end <= marks[at][1]:
                continue
            while at < len(marks) and marks[at][0] < end:
                start, end = min(start, marks[at][0]), max(end, marks[at][1])
                at += 1
            kept.append(Span(start, end, span.rank, span.secret))
        return kept

    def _is_own(self, marker: bytes) -> bool:
        """Say whether we may have written a marker: what a stranger puts into brackets is a text like any other."""
        kind, *names = marker[1:-1].split(b":")
        return kind == b"TRUNCATED" or not self._ids.isdisjoint(names[:2])


def _compiled(allow: Sequence[str]) -> Any:
    """Return the allow-list as one pattern; None for an empty one."""
    problems = list[str]()
    for position, pattern in enumerate(allow, 1):
        try:
            any_of((pattern,), engine_options(_ALLOW_BYTES))
        except Exception as error:
            problems.append(f"redaction.allow: entry {position} is no pattern of RE2: {reason_of(error)}")
    if problems:
        raise ConfigError(problems)
    return any_of(allow, engine_options(_ALLOW_BYTES))
