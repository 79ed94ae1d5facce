"""Judges replacements against the labels of the corpus.

A secret is found where at least 90 % of its label is covered. A replacement that touches no label is false.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.redaction.corpus import HARMLESS, Document, Label

COVERED = 0.9


class Replaced(NamedTuple):
    """A replacement, in code points of the document."""

    start: int
    end: int
    rule: str


@dataclass
class Score:
    """What came of documents.

    Attributes:
        found, missed: Labels, by (kind, layout).
        false: Replacements that touch no label, by (kind, layout, rule).
        right: How many replacements touch one.
        flagged: How many harmless documents were changed.
        excess, rest: Characters outside of labels: replaced, and all.
    """

    found: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: Counter[tuple[str, str]] = field(default_factory=Counter)
    false: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    right: int = 0
    flagged: int = 0
    excess: int = 0
    rest: int = 0

    @property
    def recall(self) -> float:
        """The part of the secrets that is found."""
        return self.found.total() / (self.found.total() + self.missed.total())

    @property
    def precision(self) -> float:
        """The part of the replacements that is right."""
        return self.right / (self.right + self.false.total())

    def add(self, document: Document, replaced: Sequence[Replaced]) -> None:
        """Count what became of a document."""
        cell = (document.kind, document.layout)
        for label in document.labels:
            covered = sum(overlap(label, each) for each in replaced)
            (self.found if covered >= COVERED * (label.end - label.start) else self.missed)[cell] += 1
        for each in replaced:
            touched = sum(overlap(label, each) for label in document.labels)
            self.excess += each.end - each.start - touched
            if touched:
                self.right += 1
            else:
                self.false[*cell, each.rule] += 1
        self.flagged += bool(replaced) and document.kind == HARMLESS
        self.rest += len(document.text) - sum(label.end - label.start for label in document.labels)

    def table(self) -> str:
        """Say per kind what was found, and per layout what was not."""
        kinds = defaultdict[str, Counter[str]](Counter)
        for (kind, _), count in self.found.items():
            kinds[kind]["found"] += count
        for (kind, layout), count in self.missed.items():
            kinds[kind]["missed"] += count
            kinds[kind][f"  {layout}"] += count
        lines = [f"recall {self.recall:.4f}, precision {self.precision:.4f}, {self.flagged} harmless texts changed"]
        for kind, counts in kinds.items():
            layouts = ", ".join(f"{name.strip()} {count}" for name, count in counts.items() if name.startswith("  "))
            all_of_them = counts["found"] + counts["missed"]
            lines.append(f"{kind:<28} {counts['found']:>4} of {all_of_them:<4} {layouts and 'not in: ' + layouts}")
        rules = Counter[str]()
        for (*_, rule), count in self.false.items():
            rules[rule] += count
        for rule, count in rules.most_common():
            places = [f"{kind} {layout}" for kind, layout, each in self.false if each == rule]
            lines.append(f"false: {rule} {count}, for example in: {', '.join(places[:5])}")
        return "\n".join(lines)


def overlap(label: Label, replaced: Replaced) -> int:
    """Return how many characters they share."""
    return max(0, min(label.end, replaced.end) - max(label.start, replaced.start))
