"""The default packs on the labelled corpus: what they find, what they take by mistake, and what they leave alone.

Failures name kinds and layouts; the texts come back with `documents(seed)`.
"""

from collections import Counter
from functools import cache
from random import Random
from typing import Any

import pytest

from structllm.processors.redact import Redact
from structllm.redaction.rule import BUDGET_MARKER, MARKER
from tests.redaction.corpus import HARMLESS, Document, Label, documents
from tests.redaction.corpus_score import Replaced, Score

SEEDS = (20260304, 7)
RECALL = PRECISION = 0.99
ATTEMPTS = 3
"""A text on which the engine builds its automaton anew may be cut for the time that takes; then it is not again."""

EXCESS = 0.02
"""How much of what is no secret may go along with one: a URL's user, a name, quotes."""


@cache
def redact() -> Redact:
    """Return the processor with its defaults."""
    return Redact()


def written(text: str) -> str:
    """Return what becomes of a text in an event."""
    return str(redact()(None, "", {"event_type": "note", "note": text})["note"])


def replaced_in(text: str) -> list[Replaced]:
    """Return what is replaced, having made sure that this is what is written."""
    for _ in range(ATTEMPTS):
        hits, after = redact().explain(text), written(text)
        if not after.endswith(BUDGET_MARKER) and all(hit.replacement != BUDGET_MARKER for hit in hits):
            break
    pieces, position = list[str](), 0
    for hit in hits:
        pieces += (text[position : hit.start], hit.replacement)
        position = hit.end
    assert after == "".join((*pieces, text[position:]))
    return [Replaced(hit.start, hit.end, hit.rule) for hit in hits if MARKER.fullmatch(hit.replacement.encode())]


@cache
def score_of(seed: int) -> Score:
    """Put the corpus of a seed through the processor."""
    score = Score()
    for document in documents(seed):
        score.add(document, replaced_in(document.text))
    return score


@pytest.mark.parametrize("seed", SEEDS)
class TestCorpus:
    """The default packs, on texts that their rules were not written on."""

    def test_recall(self, seed: int) -> None:
        """Of all secrets at least 99 % are found."""
        score = score_of(seed)
        assert score.recall >= RECALL, f"seed {seed}\n{score.table()}"

    def test_every_kind(self, seed: int) -> None:
        """No kind is left out: of each most are found, however rare it is among the others."""
        score = score_of(seed)
        found, missed = Counter[str](), Counter[str]()
        for counts, cells in ((found, score.found), (missed, score.missed)):
            for (kind, _), count in cells.items():
                counts[kind] += count
        assert [] == [kind for kind in missed if missed[kind] > found[kind] / 9], f"seed {seed}\n{score.table()}"

    def test_precision(self, seed: int) -> None:
        """Of all replacements at least 99 % are of secrets."""
        score = score_of(seed)
        assert score.precision >= PRECISION, f"seed {seed}\n{score.table()}"

    def test_excess(self, seed: int) -> None:
        """What is no secret stays, also beside one."""
        score = score_of(seed)
        assert score.excess <= EXCESS * score.rest, f"seed {seed}: {score.excess} of {score.rest} characters"

    def test_numbers(self, seed: int) -> None:
        """Numbers, flags and nulls in an event are what they were, beside secrets and under names of any kind."""
        rng = Random(seed)
        numbers: dict[str, Any] = {
            "volume": rng.randint(0, 10**18),
            "close": rng.uniform(0, 1e5),
            "trade_id": 4_111_111_111_111_111,
            "ts_ms": rng.randint(10**12, 2 * 10**12),
            "max_tokens": 4096,
            "live": True,
            "stop": None,
            "candles": [[rng.randint(10**12, 2 * 10**12), rng.random(), -rng.random()] for _ in range(50)],
        }
        secrets = [document for document in documents(seed, secrets=1, harmless=0) if "\n" not in document.text][:40]
        event = {"event_type": "note", **numbers, "market_context": dict(numbers)}
        event["note"] = [{"text": document.text, **numbers} for document in secrets]
        after = redact()(None, "", dict(event))
        assert numbers == {name: after[name] for name in numbers}
        assert numbers == after["market_context"]
        assert [numbers] * len(secrets) == [
            {name: value for name, value in each.items() if name != "text"} for each in after["note"]
        ]


class TestDocuments:
    """The corpus itself."""

    def test_seeds(self) -> None:
        """A seed gives the same texts again, and another seed gives other secrets."""
        first, again, other = (list(documents(seed, secrets=1, harmless=1)) for seed in (1, 1, 2))
        assert first == again
        secrets = [{doc.text[slice(*label)] for doc in each for label in doc.labels} for each in (first, other)]
        assert set() == secrets[0] & secrets[1]

    def test_labels(self) -> None:
        """Labels lie inside of their text, in order, and no mark of the generator is left."""
        for document in documents(3, secrets=1, harmless=1):
            ends = [place for label in document.labels for place in label]
            assert sorted(ends) == ends
            assert (document.kind == HARMLESS) == (not document.labels)
            assert all(0 <= place <= len(document.text) for place in ends)
            assert not any("\ue000" <= char <= "\ue001" for char in document.text)


class TestScore:
    """The judge: it has to tell a miss from a hit."""

    document = Document("key", "prose", "my secret is 0123456789 here", (Label(13, 23),))

    @pytest.mark.parametrize(
        ("replaced", "expected"),
        [
            ([(13, 23)], (1, 0, 1, 0)),
            ([(3, 28)], (1, 0, 1, 15)),
            ([(13, 22)], (1, 0, 1, 0)),
            ([(13, 21)], (0, 0, 1, 0)),
            ([(13, 18), (18, 23)], (1, 0, 2, 0)),
            ([(3, 9)], (0, 1, 0, 6)),
            ([(3, 13)], (0, 1, 0, 10)),
            ([], (0, 0, 0, 0)),
        ],
    )
    def test_add(self, replaced: list[tuple[int, int]], expected: tuple[int, int, int, int]) -> None:
        """Nine tenths of a label are enough, and what touches none is false."""
        score = Score()
        score.add(self.document, [Replaced(*each, "rule") for each in replaced])
        assert expected == (score.found.total(), score.false.total(), score.right, score.excess)
