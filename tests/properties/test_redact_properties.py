"""Redaction against whatever Hypothesis thinks of: texts, places, structures, limits."""

import copy
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from structllm.processors.redact import Redact
from structllm.processors.truncate import Truncate
from structllm.redaction.keys import KeyRules, Verdict
from structllm.redaction.packs import DEFAULT_PACKS, PACKS
from structllm.redaction.rule import Sample
from structllm.redaction.scan import OVERLAP_CHARS, Scanner

REDACT = Redact(preview_chars={})
SCANNER = Scanner([rule for pack in DEFAULT_PACKS for rule in PACKS[pack]])
SAMPLES = [sample for pack in DEFAULT_PACKS for rule in PACKS[pack] for sample in rule.matches]

texts = st.text(st.characters(), max_size=60)  # lone surrogates included
edges = st.sampled_from(
    [" ", "\n", "\t", ";", '"', "'", "(", ")", "{", "}", "|", "é", "中", "\U0001f680", "\x00", "«", "\n\n"]
)
samples = st.sampled_from(SAMPLES)
numbers = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
KEY_RULES = KeyRules((), ())
names = st.from_regex(r"[a-z]{1,8}(_(id|price|pct|ms|level)){0,2}", fullmatch=True).filter(
    lambda name: KEY_RULES.judge(name) is not Verdict.DENIED  # under `pwd` a number goes, too
)
values: st.SearchStrategy[Any] = st.recursive(
    numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
foreign: st.SearchStrategy[Any] = st.recursive(
    numbers | texts | st.binary(max_size=20) | st.builds(object) | st.complex_numbers() | st.dates() | st.decimals(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(texts | st.integers() | st.binary(max_size=5), inner, max_size=4)
        | st.sets(texts | st.integers(), max_size=3)
    ),
    max_leaves=12,
)


@st.composite
def planted(draw: st.DrawFn) -> tuple[Sample, str]:
    """A secret and a text with it, at any offset, between characters that do not belong to a word."""
    sample = draw(samples)
    return sample, draw(texts) + draw(edges) + sample.text + draw(edges) + draw(texts)


@st.composite
def holding(draw: st.DrawFn, text: str) -> Any:
    """Return a nested value that holds the text somewhere, as a value or as a key."""
    value: Any = text
    for _ in range(draw(st.integers(0, 5))):
        match draw(st.integers(0, 3)):
            case 0:
                value = [draw(values), value]
            case 1:
                value = {draw(names): value, draw(names) + "_x": draw(values)}
            case 2:
                value = (value, draw(numbers))
            case _:
                value = {text: value}
    return value


def all_texts(value: Any) -> Iterator[str]:
    """Every text in a value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from all_texts(key)
            yield from all_texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from all_texts(item)


def all_numbers(value: Any) -> Iterator[Any]:
    """Every leaf that is no text, in order."""
    if isinstance(value, dict):
        for item in value.values():
            yield from all_numbers(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from all_numbers(item)
    elif not isinstance(value, str):
        yield value


def leaks(secret: str, shown: Any) -> list[str]:
    """Return the pieces of six characters of the secret that can still be read."""
    read = "\n".join(re.sub(r"\[REDACTED:[a-z0-9-]+\]", "", text) for text in all_texts(shown))
    return [piece for start in range(max(1, len(secret) - 5)) if (piece := secret[start : start + 6]) in read]


class TestSecrets:
    @given(st.data(), planted(), st.sampled_from(["prompt_preview", "market_context", "tags", "own_field"]))
    @settings(max_examples=200)
    def test_planted_secret_never_survives(self, data: st.DataObject, plant: tuple[Sample, str], name: str) -> None:
        """A secret of any kind, at any offset of any text, anywhere in any field, is gone afterwards."""
        sample, text = plant
        value = data.draw(holding(text))
        before = copy.deepcopy(value)
        event = REDACT(None, "info", {"event_type": "completion_request", "request_id": "req_1", name: value})
        assert event.pop("redactions")["count"] >= 1
        harmless = text.replace(sample.secret, "")  # a webhook's address has words of its secret part
        assert [] == [piece for piece in leaks(sample.secret, dict(event)) if piece not in harmless]
        assert "req_1" == event["request_id"]
        assert before == value

    @given(planted(), st.integers(0, 300), st.sampled_from([0, 1, OVERLAP_CHARS]))
    @settings(max_examples=200)
    def test_preview_of_any_length_shows_nothing(self, plant: tuple[Sample, str], limit: int, before: int) -> None:
        """Wherever a preview ends, it and what truncation makes of it show no six characters of the secret."""
        sample, text = plant
        limits = {"prompt_preview": before + limit}
        event: dict[str, Any] = {"event_type": "completion_request", "prompt_preview": "." * before + text}
        event = dict(Redact(preview_chars=limits)(None, "info", event))
        truncated = Truncate(limits)(None, "info", dict(event))
        harmless = text.replace(sample.secret, "")
        leaked = leaks(sample.secret, event["prompt_preview"]) + leaks(sample.secret, truncated["prompt_preview"])
        assert [] == [piece for piece in leaked if piece not in harmless]

    @given(planted())
    @settings(max_examples=200)
    def test_twice_is_once(self, plant: tuple[Sample, str]) -> None:
        """Redacting what is redacted changes nothing."""
        once = SCANNER.redact(plant[1]).text
        assert once == SCANNER.redact(once).text

    @given(st.lists(planted(), min_size=2, max_size=4))
    @settings(max_examples=100)
    def test_several_secrets_in_one_text(self, plants: list[tuple[Sample, str]]) -> None:
        """Secrets do not hide each other."""
        clean = SCANNER.redact("\n".join(text for _, text in plants)).text
        harmless = "\n".join(text.replace(sample.secret, "") for sample, text in plants)
        assert [] == [piece for sample, _ in plants for piece in leaks(sample.secret, clean) if piece not in harmless]


class TestHarmlessValues:
    @given(st.dictionaries(names, values, max_size=6))
    @settings(max_examples=200)
    def test_numbers_are_unchanged(self, value: dict[str, Any]) -> None:
        """Every number comes out as it went in, in its place, whatever stands beside it."""
        event = REDACT(None, "info", {"event_type": "x", "data": value, "note": "mail jane" + "@example.com"})
        assert list(all_numbers(value)) == list(all_numbers(event["data"]))
        assert 1 <= event["redactions"]["count"]

    @given(texts)
    @settings(max_examples=200)
    @example("4111 1111 1111 1112")
    @example("[REDACTED:email]")
    def test_text_without_marker_is_the_same_text(self, text: str) -> None:
        """A text is either untouched or shows a marker."""
        clean, rules, _ = SCANNER.redact(text)
        assert (clean == text) is (rules == ())

    @given(texts, st.integers(0, 80))
    @settings(max_examples=200)
    def test_preview_is_a_beginning(self, text: str, limit: int) -> None:
        """Without a secret a preview is the beginning of the text, at most as long as the limit."""
        clean, rules, _ = SCANNER.redact(text, limit)
        assert rules or (text.startswith(clean) and len(clean) <= limit)


class TestForeignValues:
    @given(st.dictionaries(texts, foreign, max_size=5))
    @settings(max_examples=200)
    def test_never_raises_and_never_changes_the_callers_objects(self, event: dict[str, Any]) -> None:
        """Anything a foreign chain carries comes through; numbers of errors stay zero."""
        processor = Redact()
        before = copy.copy(event)
        nested = [(value, copy.copy(value)) for value in event.values() if isinstance(value, dict | list | set)]
        processor(None, "info", event)
        processor.on_error(before)
        assert [] == [value for value, copied in nested if value != copied]
        assert "error" not in str(event.get("redactions"))
