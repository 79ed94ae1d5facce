"""Takes the secrets out of one text and puts into their place what the action of their rule says."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import thread_time
from typing import Literal, NamedTuple

from structllm.cut import cut_text
from structllm.redaction.actions import Pseudonyms, replacement_of
from structllm.redaction.budget import Exhausted
from structllm.redaction.known import KnownValues
from structllm.redaction.media import media_in
from structllm.redaction.rule import (
    BUDGET_MARKER,
    ERROR_RULE,
    KNOWN_RULE,
    Action,
    Rule,
    Sample,
    error_marker_of,
    marker_of,
)
from structllm.redaction.rules import RuleFailed, Span, encode
from structllm.redaction.search import Found, Search

OVERLAP_CHARS = 2048
"""How far beyond a preview's end is scanned, to see the whole of a secret that begins in the preview."""

BUDGET_RULE = "budget"
"""Rule id under which texts count whose end took too long to scan."""

MEDIA_RULE = "media"
"""What `explain` calls pictures and the like."""

Drop = Literal["", "drop_field", "drop_event"]
"""What else is to go because of a text: nothing, the field, the event."""

_DROPS: tuple[Drop, ...] = ("drop_event", "drop_field")
_KNOWN_VALUE = Rule(KNOWN_RULE, "", (Sample(""),), ("",))


class Redacted(NamedTuple):
    """A text without its secrets, the rule of each one that was replaced, and what else is to go because of one."""

    text: str
    rules: tuple[str, ...]
    drop: Drop = ""


class Hit(NamedTuple):
    """One replacement: by which rule and action, where (code points of the original), and what stands there then."""

    rule: str
    action: str
    start: int
    end: int
    replacement: str


class Scanner:
    """Rules at work. Safe to share between threads.

    Args:
        rules: In order of rank: where spans overlap, the marker names the first rule, or one that drops the event or
            field.
        known: Values that are secrets wherever they stand; they win over all rules.
        pseudonyms: Makes pseudonyms for rules with the action `hmac`.
        allow: RE2 patterns; a secret that one of them matches as a whole is left alone, unless it is a known value or
            a block with a private key.
        known_action: What becomes of a known value.
        clock: Tells how long a text has taken, in seconds.

    Raises:
        ConfigError: A rule's id is malformed or taken, its pattern is not RE2 syntax, or it fails its own examples.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        known: KnownValues | None = None,
        pseudonyms: Pseudonyms | None = None,
        allow: Sequence[str] = (),
        known_action: Action = "mask",
        clock: Callable[[], float] = thread_time,
    ) -> None:
        self.search = Search(rules, known, allow, clock)
        self._rules = (*rules, replace(_KNOWN_VALUE, action=known_action))  # the rank of known values is -1
        self._pseudonyms = pseudonyms

    def is_clean(self, text: str) -> bool:
        """Say whether nothing may have to go: one pass, and one for known values. False may come to nothing."""
        return self.search.is_clean(text)

    def redact(self, text: str, limit_chars: int | None = None) -> Redacted:
        """Replace every secret by what its rule's action says; a failing rule costs the whole text.

        Args:
            text: What to scan.
            limit_chars: Where to cut the text, in code points of the original; a secret that begins before it is
                replaced as a whole, and a marker is never cut. None keeps the whole text.

        Returns:
            The same text object when nothing was found and nothing had to be cut.
        """
        window, cut = text, len(text)
        if limit_chars is not None and len(text) > limit_chars:
            window = text[: limit_chars + OVERLAP_CHARS]
            cut = len(cut_text(window, limit_chars))
        data = encode(window)
        try:
            found = self.search.find(data)
            if not found.spans and found.limit == len(data):
                return Redacted(text if cut == len(text) else text[:cut], ())
            clean = self._replaced(data, found, len(data) if cut == len(text) else len(encode(text[:cut])))
        except RuleFailed as failure:
            return Redacted(error_marker_of(failure.rule), (ERROR_RULE,))
        except Exhausted:
            return Redacted(BUDGET_MARKER, (BUDGET_RULE,))
        return clean if limit_chars is None else clean._replace(text=cut_text(clean.text, limit_chars))

    def _replaced(self, data: bytes, found: Found, end: int) -> Redacted:
        pieces, rules, position = list[bytes](), list[str](), 0
        shown = min(end, found.limit)
        spans = [span for span in self._merged(found.spans) if span.start < shown]
        for action in _DROPS:
            for span in spans:
                if self._rules[span.rank].action == action:
                    rule = self._rules[span.rank].id
                    return Redacted(marker_of(rule), (rule,), action)
        for span in spans:
            pieces += (data[position : span.start], self._replacement(span))
            rules.append(self._rules[span.rank].id)
            position = span.end
        pieces.append(data[position:shown])
        if found.limit < end:
            pieces.append(BUDGET_MARKER.encode())
            rules.append(BUDGET_RULE)
        return Redacted(b"".join(pieces).decode("utf-8", "surrogatepass"), tuple(rules))

    def _replacement(self, span: Span) -> bytes:
        rule = self._rules[span.rank]
        try:
            return replacement_of(rule, span.secret, self._pseudonyms).encode()
        except Exception as error:
            raise RuleFailed(rule.id) from error

    def _merged(self, spans: list[Span]) -> list[Span]:
        """Join overlapping spans; the best of them names the whole."""
        merged = list[Span]()
        for span in sorted(spans):
            if merged and span.start < merged[-1].end:
                last = merged[-1]
                best = min(last, span, key=self._order)
                merged[-1] = Span(last.start, max(last.end, span.end), best.rank, best.secret)
            else:
                merged.append(span)
        return merged

    def _order(self, span: Span) -> tuple[int, int]:
        action = self._rules[span.rank].action
        return (_DROPS.index(action) if action in _DROPS else len(_DROPS), span.rank)

    def explain(self, text: str) -> list[Hit]:
        """Say what becomes of a text, in order, without any secret in it."""
        media = media_in(text)
        plain, places, position = list[str](), [0], 0
        for start, end, shown in media:  # in the original from `position` on is in the plain text from `places` on
            plain += (text[position:start], shown)
            position = end
            places.append(sum(map(len, plain)))
        plain.append(text[position:])
        hits = [Hit(MEDIA_RULE, "mask", *each) for each in media]
        data = encode("".join(plain))

        def origin(place: int) -> int:
            at = len(data[:place].decode("utf-8", "surrogatepass"))
            last = max(number for number, begin in enumerate(places) if begin <= at)
            return at - places[last] + (media[last - 1][1] if last else 0)

        try:
            found = self.search.find(data)
            for span in self._merged(found.spans):
                rule, shown = self._rules[span.rank], self._replacement(span).decode()
                hits.append(Hit(rule.id, rule.action, origin(span.start), origin(span.end), shown))
            if found.limit < len(data):
                hits.append(Hit(BUDGET_RULE, "mask", origin(found.limit), len(text), BUDGET_MARKER))
        except RuleFailed as failure:
            return [Hit(failure.rule, "mask", 0, len(text), error_marker_of(failure.rule))]
        except Exhausted:
            return [Hit(BUDGET_RULE, "mask", 0, len(text), BUDGET_MARKER)]
        return sorted(hits, key=lambda hit: hit.start)
