"""A labelled corpus: documents with secrets of every kind in every layout, and documents that only look like it.

Everything is drawn from a seed when it is asked for: no secret is written down anywhere. The same seed gives the same
texts; another one gives other secrets, sentences and surroundings.
"""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from tests.redaction.corpus_draws import CLOSE, OPEN
from tests.redaction.corpus_forms import FAMILIES, header_of
from tests.redaction.corpus_kinds import kinds
from tests.redaction.corpus_layouts import Layout
from tests.redaction.corpus_negatives import FILLERS, NEGATIVES

HARMLESS = "harmless"
"""Kind of a document without a secret."""


class Label(NamedTuple):
    """A secret in a document: code points from `start` up to `end`."""

    start: int
    end: int


class Document(NamedTuple):
    """A text and where its secrets are.

    Attributes:
        kind: Of its secret, or HARMLESS.
        layout: What the secret stands in, or what the harmless text is.
        text: The text.
        labels: Its secrets, in order; empty where it is harmless.
    """

    kind: str
    layout: str
    text: str
    labels: tuple[Label, ...]


def documents(seed: int, *, secrets: int = 2, harmless: int = 25) -> Iterator[Document]:
    """Draw the corpus.

    Args:
        seed: Of everything that is random in it.
        secrets: Documents for each kind in each layout.
        harmless: Documents for each kind of harmless text.
    """
    for kind in kinds():
        layouts: dict[str, Layout] = {**FAMILIES[kind.family], **header_of(kind)}
        for name, layout in layouts.items():
            for number in range(secrets):
                rng = Random(f"{seed} {kind.name} {name} {number}")
                text = layout(rng, kind, kind.draw(rng))
                yield read(kind.name, name, surrounded(rng, text, ends=name == "cut"))
    for name, negative in NEGATIVES.items():
        for number in range(harmless):
            rng = Random(f"{seed} {name} {number}")
            yield Document(HARMLESS, name, surrounded(rng, negative(rng)), ())


def surrounded(rng: Random, text: str, *, ends: bool = False) -> str:
    """Put harmless texts before and after most of them; nothing after one that ends where it was cut."""
    before = [rng.choice(FILLERS)(rng) for _ in range(rng.randint(0, 2))]
    after = [] if ends else [rng.choice(FILLERS)(rng) for _ in range(rng.randint(0, 2))]
    return "\n\n".join([*before, text, *after])


def read(kind: str, layout: str, marked: str) -> Document:
    """Turn the marks of a text into labels."""
    pieces, labels, length = list[str](), list[Label](), 0
    for number, piece in enumerate(marked.split(OPEN)):
        secret, closed, rest = piece.partition(CLOSE)
        if (number > 0) != bool(closed):
            raise ValueError(f"{kind} in {layout}: a mark without its other half")
        if number:
            labels.append(Label(length, length + len(secret)))
        pieces.append(secret + rest)
        length += len(secret) + len(rest)
    if not labels or any(label.start == label.end for label in labels):
        raise ValueError(f"{kind} in {layout}: no secret is marked")
    return Document(kind, layout, "".join(pieces), tuple(labels))
