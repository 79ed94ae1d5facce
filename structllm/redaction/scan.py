"""Finds secrets in one text: RE2 looks for all rules in a single pass, and only what it reports is looked at again.

Measured on 2,000 characters without a secret: one `re2.Set` of all rules 4.3 us, one alternation 4.9 us, one
`re.sub` per rule above 1,000 us. RE2 takes time linear in the text whatever the text is, and releases the GIL.

Everything works on UTF-8 bytes: RE2 does, and so no offset has to be translated for text that is not ASCII.
"""

import os
import sys
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import re2  # type: ignore[import-untyped]  # google-re2 has no stubs

from structllm.cut import cut_text
from structllm.errors import ConfigError
from structllm.redaction.rule import MARKER, Rule, marker_of

_engine: Any = re2

OVERLAP_CHARS = 2048
"""How far beyond a preview's end is scanned, to see the whole of a secret that begins in the preview."""

_MEMORY_BYTES = 64 * 2**20  # bound of RE2's lazily built automaton; the default of 8 MiB is rebuilt often on mixed text


class Redacted(NamedTuple):
    """A text without its secrets, and the rule of each one that was replaced."""

    text: str
    rules: tuple[str, ...]


class _Span(NamedTuple):
    start: int
    end: int
    rank: int


class Scanner:
    """A compiled set of rules. Safe to share between threads.

    Args:
        rules: In order of rank: where spans overlap, the marker names the first rule.

    Raises:
        ConfigError: A rule's id is malformed or taken, its pattern is not RE2 syntax, or it fails its own examples.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._inherited: list[object] = []
        self._compile()
        problems = list(self._try_examples())
        if problems:
            raise ConfigError(problems)
        _forks.scanners.add(self)

    def _compile(self) -> None:
        options = _engine.Options()
        options.log_errors = False
        # The engine keeps what it has compiled with these options, so they differ from those of an inherited one.
        options.max_mem = _MEMORY_BYTES + len(self._inherited)
        patterns, whole = list[Any](), _engine.Set.SearchSet(options)
        problems = list(self._add(options, patterns, whole))
        if problems:
            raise ConfigError(problems)
        whole.Compile()
        self._patterns = patterns
        self._set: Any = whole  # last: what it finds is looked at with the patterns

    def renew_after_fork(self) -> None:
        """Compile the rules anew in this process, a forked child, when they are needed for the first time.

        A thread of the parent may have been in the middle of a scan: of its locks the child has a copy that nobody will
        ever release. What was inherited is not freed either, since that thread may have left it half changed.
        """
        self._inherited.append((self._set, self._patterns))
        self._set = _Later(self)

    def match_anew(self, data: bytes) -> Any:
        """Compile the rules, and match."""
        self._compile()
        return self._set.Match(data)

    def _add(self, options: Any, patterns: list[Any], whole: Any) -> Iterator[str]:
        ids = set[str]()
        for rule in self._rules:
            if not MARKER.fullmatch(marker_of(rule.id).encode()) or rule.id in ids:
                yield f"redaction rule {rule.id}: give it an id of its own, of lower-case letters, digits and hyphens"
            ids.add(rule.id)
            if not rule.matches or not rule.misses:
                yield f"redaction rule {rule.id}: give it at least one example that matches and one that does not"
            try:
                patterns.append(_engine.compile(rule.pattern, options))
                whole.Add(rule.pattern)
            except _engine.error as error:
                reason = _text(error.args[0])
                yield f"redaction rule {rule.id}: {reason}; RE2 has no look-around and no back-references"

    def _try_examples(self) -> Iterator[str]:
        """Also notices a set that was given too little memory: it would silently report nothing."""
        for rank, rule in enumerate(self._rules):
            try:
                yield from self._try_examples_of(rank, rule)
            except Exception as error:
                yield f"redaction rule {rule.id}: its check raised {type(error).__name__} on its own examples"

    def _try_examples_of(self, rank: int, rule: Rule) -> Iterator[str]:
        for sample in rule.matches:
            start = len(sample.around.partition("{}")[0].encode())
            if _Span(start, start + len(sample.secret.encode()), rank) not in self._candidates(sample.text.encode()):
                yield f"redaction rule {rule.id}: does not find the secret of its own example"
        for text in rule.misses:
            if any(span.rank == rank for span in self._candidates(text.encode())):
                yield f"redaction rule {rule.id}: finds a secret in an example that has none"

    def is_clean(self, text: str) -> bool:
        """Say whether no rule's pattern occurs: one pass, no checks. False may yet come to nothing."""
        return not self._rules or self._set.Match(_encode(text)) is None

    def redact(self, text: str, limit_chars: int | None = None) -> Redacted:
        """Replace every secret by the marker of its rule.

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
        data = _encode(window)
        spans = _merge(self._candidates(data))
        if not spans:
            return Redacted(text if cut == len(text) else text[:cut], ())
        end = len(data) if cut == len(text) else len(_encode(text[:cut]))
        pieces, rules, position = list[bytes](), list[str](), 0
        for span in spans:
            if span.start >= end:
                break
            rule = self._rules[span.rank].id
            pieces += (data[position : span.start], marker_of(rule).encode())
            rules.append(rule)
            position = span.end
        pieces.append(data[position:end])
        clean = b"".join(pieces).decode("utf-8", "surrogatepass")
        return Redacted(clean if limit_chars is None else cut_text(clean, limit_chars), tuple(rules))

    def _candidates(self, data: bytes) -> list[_Span]:
        hits = self._set.Match(data) if self._rules else None  # None, not an empty list, where nothing matches
        return [span for rank in hits or () for span in self._spans_of(rank, data)]

    def _spans_of(self, rank: int, data: bytes) -> Iterator[_Span]:
        rule, pattern = self._rules[rank], self._patterns[rank]
        groups = range(1, pattern.groups + 1)
        position = 0
        while (match := pattern.search(data, position)) is not None:
            group = next((group for group in groups if match.start(group) >= 0), 0)
            start, end = match.span(group)
            position = max(match.end(), position + 1)
            if start == end or MARKER.fullmatch(data, start, end):
                continue
            if rule.check is None or rule.check(data, start, end):
                yield _Span(start, end, rank)
            elif rule.rescan:
                position = max(start, match.start() + 1)


class _Later:
    """Stands in the place of a set that is compiled when somebody matches."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner

    def Match(self, data: bytes) -> Any:  # the engine's name for it
        return self._scanner.match_anew(data)


class _Forks:
    """Tells all scanners of a forked child that its parent had several threads."""

    def __init__(self) -> None:
        self.scanners: weakref.WeakSet[Scanner] = weakref.WeakSet()
        self._had_threads = False

    def before(self) -> None:
        # Threads that the `threading` module does not know may scan as well; this function is public in all but name.
        self._had_threads = len(sys._current_frames()) > 1  # pyright: ignore[reportPrivateUsage]

    def after_in_child(self) -> None:
        if self._had_threads:
            for scanner in list(self.scanners):
                scanner.renew_after_fork()


# The hooks cannot be taken back, so there is one of each for all scanners.
_forks = _Forks()
os.register_at_fork(before=_forks.before, after_in_child=_forks.after_in_child)


def _merge(spans: list[_Span]) -> list[_Span]:
    """Join overlapping spans; the best rank names the whole."""
    merged: list[_Span] = []
    for span in sorted(spans):
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            merged[-1] = _Span(last.start, max(last.end, span.end), min(last.rank, span.rank))
        else:
            merged.append(span)
    return merged


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(reason: Any) -> str:
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
