"""Rules, compiled: RE2 looks for all of them in a single pass, and only what it reports is looked at again.

Measured on 2,000 characters without a secret: one `re2.Set` of all rules 4.3 us, one alternation 4.9 us, one
`re.sub` per rule above 1,000 us. RE2 takes time linear in the text whatever the text is, and releases the GIL.

Everything works on UTF-8 bytes: RE2 does, and so no offset has to be translated for text that is not ASCII.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import re2  # type: ignore[import-untyped]  # google-re2 has no stubs

from structllm.errors import ConfigError
from structllm.redaction.budget import Budget, Exhausted
from structllm.redaction.encodings import BASE64, PERCENT, UNSEEN
from structllm.redaction.forks import enrol
from structllm.redaction.media import MEDIA
from structllm.redaction.rule import BLOCK_RULE, MARKER, Rule, marker_of

_engine: Any = re2

_MEMORY_BYTES = 64 * 2**20  # bound of RE2's lazily built automaton; the default of 8 MiB is rebuilt often on mixed text
_DETECTORS = (PERCENT, UNSEEN, BASE64, MEDIA)


class RuleFailed(Exception):
    """A rule's pattern, check or action failed on a text.

    Attributes:
        rule: Its id.
    """

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


class Span(NamedTuple):
    """Where a secret stands (bytes), the rank of the rule that found it, and what it is without its disguise."""

    start: int
    end: int
    rank: int
    secret: bytes


class Seen(NamedTuple):
    """What one pass saw: ranks of the rules that may have found something, encodings, media."""

    ranks: tuple[int, ...]
    escapes: bool
    base64: bool
    media: bool


class _Extras(NamedTuple):
    """Of one rule, compiled: its keywords and what it lets pass."""

    keywords: Any
    allow: Any


OVERLAP_BYTES = 8192
"""How far beyond the place where looking stops is read, to see the whole of a secret that begins before it."""

NOTHING = Seen((), escapes=False, base64=False, media=False)


class RuleSet:
    """A compiled set of rules. Safe to share between threads.

    Args:
        rules: In order of rank: where spans overlap, the marker names the first rule.

    Raises:
        ConfigError: A rule's id is malformed or taken, its pattern is not RE2 syntax, or it fails its own examples.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.inherited: list[object] = []
        self._compile()
        problems = list(self._try_examples())
        if problems:
            raise ConfigError(problems)
        enrol(self)

    def _compile(self) -> None:
        options = engine_options(_MEMORY_BYTES + len(self.inherited))
        patterns, extras, whole = list[Any](), list[_Extras](), _engine.Set.SearchSet(options)
        problems = list(self._add(options, patterns, extras, whole))
        if problems:
            raise ConfigError(problems)
        for pattern in _DETECTORS:
            whole.Add(pattern)
        whole.Compile()
        self.patterns, self._extras = patterns, extras
        self._set: Any = whole  # last: what it finds is looked at with the patterns

    def renew_after_fork(self) -> None:
        """Compile the rules anew in this process, a forked child, when they are needed for the first time.

        A thread of the parent may have been in the middle of a scan: of its locks the child has a copy that nobody will
        ever release. What was inherited is not freed either, since that thread may have left it half changed.
        """
        self.inherited.append((self._set, self.patterns, self._extras))
        self._set = _Later(self)

    def match_anew(self, data: bytes) -> Any:
        """Compile the rules, and match."""
        self._compile()
        return self._set.Match(data)

    def _add(self, options: Any, patterns: list[Any], extras: list[_Extras], whole: Any) -> Iterator[str]:
        ids = set[str]()
        for rule in self.rules:
            if not MARKER.fullmatch(marker_of(rule.id).encode()) or rule.id in ids:
                yield f"redaction rule {rule.id}: give it an id of its own, of lower-case letters, digits and hyphens"
            ids.add(rule.id)
            if bool(rule.matches) != bool(rule.misses):  # rules in the format of gitleaks have neither
                yield f"redaction rule {rule.id}: give it at least one example that matches and one that does not"
            if not all(rule.keywords) or (rule.window is not None and min(rule.window) < 0):
                yield f"redaction rule {rule.id}: keywords must not be empty, and a window not negative"
            try:
                keywords = any_of(map(_engine.escape, sorted(rule.keywords, key=len)), options, "(?i)")
                extras.append(_Extras(keywords, any_of(rule.allow, options)))
                patterns.append(_engine.compile(rule.pattern, options))
                whole.Add(rule.pattern)
            except _engine.error as error:
                yield f"redaction rule {rule.id}: {reason_of(error)}; RE2 has no look-around and no back-references"

    def _try_examples(self) -> Iterator[str]:
        """Also notices a set that was given too little memory: it would silently report nothing."""
        for rank, rule in enumerate(self.rules):
            try:
                yield from self._try_examples_of(rank, rule)
            except RuleFailed as failure:
                cause = type(failure.__cause__).__name__
                yield f"redaction rule {rule.id}: its check raised {cause} on its own examples"

    def _try_examples_of(self, rank: int, rule: Rule) -> Iterator[str]:
        for sample in rule.matches:
            start = len(sample.around.partition("{}")[0].encode())
            secret = sample.secret.encode()
            if Span(start, start + len(secret), rank, secret) not in self._found_by(rank, sample.text):
                yield f"redaction rule {rule.id}: does not find the secret of its own example"
        for text in rule.misses:
            if self._found_by(rank, text):
                yield f"redaction rule {rule.id}: finds a secret in an example that has none"

    def _found_by(self, rank: int, text: str) -> list[Span]:
        data, found = encode(text), list[Span]()
        if rank in self.look(data).ranks:
            self.find(rank, data, len(data), Budget(), found)
        return found

    def look(self, data: bytes) -> Seen:
        """Look for all rules, encodings and media at once: one pass, no checks."""
        hits = self._set.Match(data)
        if hits is None:  # None, not an empty list, where nothing matches
            return NOTHING
        count = len(self.rules)
        percent, unseen, base64, media = range(count, count + len(_DETECTORS))
        ranks = tuple(rank for rank in sorted(hits) if rank < count and self._has_keyword(rank, data))
        return Seen(ranks, percent in hits or unseen in hits, base64 in hits, media in hits)

    def _has_keyword(self, rank: int, data: bytes) -> bool:
        keywords = self._extras[rank].keywords
        return keywords is None or keywords.search(data) is not None

    def find(self, rank: int, data: bytes, limit: int, budget: Budget, found: list[Span]) -> int:
        """Add what one rule finds; return up to where it looked, at most the limit.

        Raises:
            RuleFailed: Its pattern or check failed.
            Exhausted: The budget of the text is spent.
        """
        rule = self.rules[rank]
        try:
            return self._find(rank, rule, data, limit, budget, found)
        except Exhausted:
            raise
        except Exception as error:
            raise RuleFailed(rule.id) from error

    def _find(self, rank: int, rule: Rule, data: bytes, limit: int, budget: Budget, found: list[Span]) -> int:
        pattern, extras = self.patterns[rank], self._extras[rank]
        near = _Near(extras.keywords, rule.window, data) if rule.keywords and rule.window is not None else None
        groups = range(1, pattern.groups + 1)
        position, end_of_look = 0, min(len(data), limit + OVERLAP_BYTES)
        while position <= limit and (match := pattern.search(data, position, end_of_look)) is not None:
            group = next((group for group in groups if match.start(group) >= 0), 0)
            start, end = match.span(group)
            if match.start() > limit:
                break
            if budget.spend():
                return int(match.start())
            position = max(match.end(), position + 1)
            if start == end or MARKER.fullmatch(data, start, end):
                continue
            if rule.check is None or rule.check(data, start, end):
                if (near is None or near.has(start, end)) and not self._allows(rule, extras.allow, data[start:end]):
                    found.append(Span(start, end, rank, data[start:end]))
            elif rule.rescan:
                position = max(start, match.start() + 1)
        return limit

    def _allows(self, rule: Rule, allow: Any, secret: bytes) -> bool:
        return allow is not None and rule.id != BLOCK_RULE and allow.fullmatch(secret) is not None


class _Near:
    """Finds keywords near candidates. Candidates come in order, so that each keyword is looked for once."""

    def __init__(self, keywords: Any, window: tuple[int, int], data: bytes) -> None:
        self._keywords = keywords
        self._before, self._after = window
        self._data = data
        self._next: tuple[int, int] | None = (-1, -1)
        self._from = -1

    def has(self, start: int, end: int) -> bool:
        """Say whether a keyword stands in the window around a candidate."""
        first = max(0, start - self._before)
        if first < self._from or (self._next is not None and self._next[0] < first):
            match = self._keywords.search(self._data, first)
            self._next, self._from = None if match is None else match.span(), first
        return self._next is not None and self._next[1] <= end + self._after


class _Later:
    """Stands in the place of a set that is compiled when somebody matches."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules

    def Match(self, data: bytes) -> Any:  # the engine's name for it
        return self._rules.match_anew(data)


def rule_set_of(rules: Sequence[Rule]) -> RuleSet:
    """Return the rules compiled: the same set for the same rules, since it does not change and takes 30 ms to build.

    Raises:
        ConfigError: See `RuleSet`.
    """
    plain = tuple(rule if rule.action == "mask" else replace(rule, action="mask") for rule in rules)
    try:
        hash(plain)
    except TypeError:  # a check that cannot be remembered
        return RuleSet(plain)
    return _remembered(plain)


_remembered = lru_cache(maxsize=8)(RuleSet)


def engine_options(memory_bytes: int) -> Any:
    """Return options of RE2. The engine keeps what it compiled with equal ones: vary them to get anything anew."""
    options = _engine.Options()
    options.log_errors = False
    options.max_mem = memory_bytes
    return options


def any_of(patterns: Any, options: Any, flags: str = "") -> Any:
    """Return one compiled pattern for several; None for none. Raises what the engine raises."""
    parts = [f"(?:{pattern})" for pattern in patterns]
    return _engine.compile(flags + "|".join(parts), options) if parts else None


def reason_of(error: Exception) -> str:
    """Return what the engine says is wrong with a pattern."""
    reason = error.args[0]
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)


def encode(text: str) -> bytes:
    """Return a text as it is scanned; lone surrogates are kept."""
    return text.encode("utf-8", "surrogatepass")
