"""What a rule is: a pattern with its own examples, and the markers that take the place of what it finds."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

Action = Literal["mask", "partial", "hmac", "drop_field", "drop_event"]
"""What becomes of a secret: a marker, a marker with its last characters, a pseudonym, no field, no event."""

Check = Callable[[bytes, int, int], bool]
"""Looks at a candidate, `(utf8_text, start, end)` in bytes, and says whether it is a secret."""

Canonical = Callable[[bytes], bytes]
"""Brings spellings of the same secret to one form, so that they get the same pseudonym."""

MARKER = re.compile(
    rb"\[(?:REDACTED:(?:error:)?[a-z0-9-]{1,48}(?::[0-9A-Za-z]{1,8})?"
    rb"|PSEUDO:[a-z0-9-]{1,48}:[0-9A-Za-z_-]{1,16}:[0-9a-f]{16}"
    rb"|TRUNCATED:redaction_budget)\]"
)
"""What stands where something was redacted."""

BUDGET_MARKER = "[TRUNCATED:redaction_budget]"
"""What stands for the rest of a text that took too long to scan."""

ERROR_RULE = "error"
"""Rule id of texts that went because scanning them failed."""

KEY_RULE = "key-name"
"""Rule id of values that went because of their name."""

KNOWN_RULE = "known-value"
"""Rule id of values that the process holds as its own secrets."""

BLOCK_RULE = "private-key-block"
"""Rule id of key blocks, which no allow-list spares."""


def marker_of(rule: str, last: str = "") -> str:
    """Return what stands in the place of a secret, with its last characters where they may be shown."""
    return f"[REDACTED:{rule}:{last}]" if last else f"[REDACTED:{rule}]"


def error_marker_of(rule: str) -> str:
    """Return what stands for a text because a rule's pattern, check or action failed on it."""
    return f"[REDACTED:{ERROR_RULE}:{rule}]"


class Sample(NamedTuple):
    """A secret and the text around it; `{}` stands for the secret."""

    secret: str
    around: str = "{}"

    @property
    def text(self) -> str:
        """The whole example."""
        return self.around.replace("{}", self.secret, 1)


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret.

    Attributes:
        id: Stands in the marker, `[REDACTED:id]`: lower-case letters, digits and hyphens, at most 48.
        pattern: RE2 syntax. The first capture group that takes part is the secret; without groups, the whole match.
        matches: Examples whose secret must go, and nothing else.
        misses: Texts that the rule must leave alone.
        check: Looks at a candidate; None takes every match.
        rescan: True where a candidate that was turned down may hide a real one that starts inside it. Only for checks
            that turn down candidates of bounded length, or scanning would no longer be linear.
        keywords: A match counts only if one of these stands near; case does not matter (ASCII).
        window: How near: bytes before its start and after its end; None: anywhere in the text.
        allow: RE2 patterns; a secret that one of them matches as a whole is left alone.
        action: What becomes of a secret.
        canonical: Brings spellings of the same secret to one form before it gets a pseudonym.
        shows_last: How many last characters `partial` may show; 0 shows none.
    """

    id: str
    pattern: str
    matches: tuple[Sample, ...]
    misses: tuple[str, ...]
    check: Check | None = None
    rescan: bool = False
    keywords: tuple[str, ...] = ()
    window: tuple[int, int] | None = None
    allow: tuple[str, ...] = ()
    action: Action = "mask"
    canonical: Canonical | None = None
    shows_last: int = 0
