"""What a rule is: a pattern with its own examples, and the marker that takes the place of what it finds."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

MARKER = re.compile(rb"\[REDACTED:[a-z0-9-]{1,48}\]")
"""What stands where something was redacted."""


def marker_of(rule: str) -> str:
    """Return what stands in the place of a secret."""
    return f"[REDACTED:{rule}]"


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
        check: Looks at a candidate, `(utf8_text, start, end)` in bytes; None takes every match.
        rescan: True where a candidate that was turned down may hide a real one that starts inside it. Only for checks
            that turn down candidates of bounded length, or scanning would no longer be linear.
    """

    id: str
    pattern: str
    matches: tuple[Sample, ...]
    misses: tuple[str, ...]
    check: Callable[[bytes, int, int], bool] | None = None
    rescan: bool = False
