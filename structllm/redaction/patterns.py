"""Patterns that a user wrote: what RE2 has against them, which group of them is the secret, and how checks use them.

Reasons never repeat the pattern, which may quote what it looks for.
"""

import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from structllm.redaction.forks import enrol

_MEMORY_BYTES = 8 * 2**20  # of one compiled pattern: RE2's own default, 100 times what a long rule takes

# What RE2 calls it, to what to do about it; the rest of RE2's message is a part of the pattern.
_REASONS = {
    "invalid repetition size": "repeats something more than 1,000 times, also counted through nested repeats; "
    "write {n,} for n or more",
    "bad repetition operator": "has two repetitions in a row, such as ** or a++",
    "no argument for repetition operator": "repeats nothing; write \\* for the character itself",
    "invalid escape sequence": "has an escape that RE2 does not know, such as a back-reference (\\1), \\Z or \\u0041; "
    "write \\z and \\x{0041}",
    "invalid perl operator": "has a group that RE2 does not know, such as (?>...), (?#...) or (?x)",
    "pattern too large - compile failed": "is too large once its repeats are written out",
}
_LOOK_AROUND = re.compile(r"\(\?<?[=!]")
_BACK_REFERENCE = re.compile(r"\\[1-9]|\(\?P=")

# What stands in a pattern where a bracket is none: escapes, quotations, classes. Then the groups that capture.
_TOKEN = re.compile(
    r"(?s)\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]|(?P<named>\(\?P?<[^>=!]+>)|(?P<bare>\((?!\?))"
)

# Most patterns that can match nothing do so in one of these; `\b` needs a letter, `^` and `$` need nothing.
_PROBES = (b"", b"a", b" a1_-.\n", b"\n\n", "\u00e9 \u4e2d".encode())


def compile_pattern(pattern: str) -> Any:
    """Return the compiled pattern.

    Raises:
        ValueError: It is not in RE2's syntax, too large, or matches the empty text; the message says what to do.
    """
    engine = _engine()
    try:
        compiled = engine.compile(pattern, _options())
    except engine.error as error:
        reason = _reason(pattern, error.args[0])
    else:
        if not _finds_nothing(compiled):
            return compiled
        reason = "matches the empty text; let it require at least one character"
    raise ValueError(reason)


def only_group(pattern: str, group: int) -> str:
    """Return the same pattern in which this group alone captures; group 0 is the whole match, and none does."""
    number = 0

    def rewritten(token: re.Match[str]) -> str:
        nonlocal number
        if token["named"] is None and token["bare"] is None:
            return token[0]
        number += 1
        return token[0] if number == group else "(?:"

    return _TOKEN.sub(rewritten, pattern)


class Patterns:
    """Patterns of RE2 for use in a check, in forked children as well. Each must be one that `compile_pattern` takes."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(patterns)
        self._inherited: list[object] = []  # not freed: a thread of the parent may have left them half changed
        self._compile()
        enrol(self)

    def _compile(self) -> None:
        # The engine keeps what it has compiled with these options, so they differ from those of an inherited one.
        engine, options = _engine(), _options(len(self._inherited))
        self._compiled = [engine.compile(pattern, options) for pattern in self._patterns]

    def renew_after_fork(self) -> None:
        """Compile them anew in this process, a forked child."""
        self._inherited.append(self._compiled)
        self._compile()

    def found_in(self, text: bytes) -> bool:
        """Say whether one of them occurs in the text."""
        return any(compiled.search(text) is not None for compiled in self._compiled)

    def match_around(self, text: bytes, start: int, end: int, reach: int) -> bytes | None:
        """Return the whole match of which these bytes are the secret, looked for so many bytes around them."""
        first = max(0, start - reach)
        window = text[first : end + reach]
        for compiled in self._compiled:
            for match in compiled.finditer(window):
                if secret_of(match) == (start - first, end - first):
                    whole: bytes = match.group()
                    return whole
        return None


def secret_of(match: Any) -> tuple[int, int]:
    """Return where the secret of a match is: in the first group that takes part, or else all of it."""
    groups = range(1, match.re.groups + 1)
    span: tuple[int, int] = match.span(next((group for group in groups if match.start(group) >= 0), 0))
    return span


def _engine() -> Any:
    """Return RE2, late: settings without patterns need none."""
    return import_module("re2")


def _options(more_bytes: int = 0) -> Any:
    options = _engine().Options()
    options.log_errors = False
    options.max_mem = _MEMORY_BYTES + more_bytes
    return options


def _reason(pattern: str, said: Any) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    if _LOOK_AROUND.search(pattern):
        return "has a look-ahead or look-behind, which RE2 does not know; use a validator, keywords or allow instead"
    if _BACK_REFERENCE.search(pattern):
        return "has a back-reference, which RE2 does not know"
    kind = text.partition(":")[0]
    return _REASONS.get(kind, f"is not in RE2's syntax: {kind}")


def _finds_nothing(compiled: Any) -> bool:
    return any(match.start() == match.end() for probe in _PROBES for match in compiled.finditer(probe))
