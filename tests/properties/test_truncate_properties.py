"""Wherever a cut falls, what is left is a beginning, within its limit, and without half a character or marker."""

import re
import unicodedata
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from structllm.cut import cut_text
from structllm.processors.render import Render
from structllm.processors.truncate import Truncate
from structllm.shrink import IDENTITY, free_names

EXAMPLES = 200
LINE_EXAMPLES = 80
LONGEST_MARKER = 120

characters = st.sampled_from("ab[] \u00e9\u4f60\U0001f600\u0301\u200d\ufe0f\U0001f3fd\U0001f1e9\U0001f1ea")
markers = st.sampled_from(["[REDACTED:openai-key]", "[PSEUDO:email:k1:9f3a1c0d5e7b2a44]", "[REDACTED:", "[REDACTED:x"])
texts = st.lists(characters | markers, max_size=60).map("".join)
limits = st.integers(min_value=0, max_value=80)
MARKER = re.compile(r"\[(?:REDACTED|PSEUDO):[a-z0-9:-]+\]")

names = st.sampled_from(["rationale", "market_context", "indicators", "x", "request_id", "session_id"])
nested = st.recursive(
    st.text(max_size=80) | st.integers(-9, 9) | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)

# What is written in one to six bytes, and cut where it may be: escapes, two to four bytes of UTF-8, marks, markers.
written = st.sampled_from('ab "\\\n\x01\x7f\u00e9\u4f60\u2028\U0001f600\u0301\U0001f1e9')
long_texts = st.builds(str.__mul__, st.text(written, max_size=8) | markers, st.integers(0, 400))
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    long_texts | numbers | st.none() | st.booleans() | st.lists(numbers, max_size=300),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(long_texts, inner, max_size=6),
    max_leaves=30,
)
any_names = names | st.sampled_from(["event_type", "writer", "seq", "caused_by", "prompt_preview", "truncated_fields"])
json_events = st.dictionaries(any_names | long_texts, json_values, max_size=12)


def all_chars(value: Any) -> int:
    """Count the characters of all strings and keys."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + all_chars(item) for key, item in value.items())
    return sum(map(all_chars, value)) if isinstance(value, list) else 0


class TestCutText:
    @settings(max_examples=EXAMPLES)
    @given(texts, limits)
    def test_a_beginning_within_the_limit(self, text: str, limit: int) -> None:
        """A cut text is a prefix; it exceeds the limit only by the rest of a marker."""
        kept = cut_text(text, limit)
        assert text.startswith(kept)
        assert len(kept) <= limit or (kept.endswith("]") and len(kept) <= limit + LONGEST_MARKER)
        assert len(cut_text(text, limit, keep_marker=False)) <= limit

    @settings(max_examples=EXAMPLES)
    @given(texts, st.integers(min_value=1, max_value=80))
    def test_no_half_markers(self, text: str, limit: int) -> None:
        """No marker of the text is cut in two."""
        for kept in (cut_text(text, limit), cut_text(text, limit, keep_marker=False)):
            for marker in MARKER.finditer(text):
                assert not marker.start() < len(kept) < marker.end()

    @settings(max_examples=EXAMPLES)
    @given(texts, limits)
    def test_no_half_characters(self, text: str, limit: int) -> None:
        """What follows a cut does not belong to the character before it."""
        kept = cut_text(text, limit)
        rest = text[len(kept) :]
        # Beyond 32 code points it is no character any more, and a marker ends where it ends.
        if kept and rest and len(kept) <= 32 and not kept.endswith("]"):
            assert not unicodedata.combining(rest[0])
            assert rest[0] not in "\u200d\ufe0f\U0001f3fd"
            assert not kept.endswith("\u200d") or rest[0].isascii() or rest[0] < "\u0300"

    @settings(max_examples=EXAMPLES)
    @given(texts)
    def test_short_texts_are_whole(self, text: str) -> None:
        """A text that fits is not touched."""
        assert text == cut_text(text, len(text))


class TestWholeEvents:
    @settings(max_examples=EXAMPLES)
    @given(st.dictionaries(names, nested, max_size=6), st.integers(min_value=0, max_value=300))
    def test_size_is_bounded(self, event: dict[str, Any], limit: int) -> None:
        """What may be cut fits, but for a mark in place of each field that was left out; ids stay."""
        before = dict(event)
        after = dict(Truncate(max_event_chars=limit)(None, "info", dict(event)))
        cut = after.pop("truncated_fields", [])
        fixed = [name for name in before if name.endswith("_id")]
        assert {name: before[name] for name in fixed} == {name: after[name] for name in fixed}
        assert list(before) == list(after)
        free = sum(all_chars(after[name]) for name in after if name not in fixed)
        assert free <= limit + len("<truncated>") * len(cut)
        if sum(map(len, before)) + sum(map(all_chars, before.values())) <= limit:
            assert (before, []) == (after, cut)

    @settings(max_examples=EXAMPLES)
    @given(st.dictionaries(names, nested, max_size=6), st.integers(min_value=0, max_value=60))
    def test_every_cut_is_named(self, event: dict[str, Any], limit: int) -> None:
        """A field that differs from what it was is listed."""
        before = dict(event)
        after = dict(Truncate(max_field_chars=limit)(None, "info", dict(event)))
        changed = {name for name in before if before[name] != after[name]}
        listed = {re.split(r"[.\[]", path)[0] for path in after.get("truncated_fields", [])}
        assert changed == listed


class TestLines:
    @settings(max_examples=LINE_EXAMPLES)
    @given(json_events, st.integers(min_value=1024, max_value=8192), st.booleans())
    def test_every_line_fits(self, event: dict[str, Any], limit: int, append_newline: bool) -> None:
        """Whatever an event holds, its line fits, is JSON, begins with the event type, and is whole where it fitted."""
        whole = Render(append_newline=append_newline)(None, "info", event)
        line = Render(append_newline=append_newline, max_bytes=limit)(None, "info", event)
        assert len(line) + (not append_newline) <= limit
        assert append_newline == line.endswith(b"\n")
        shorter = orjson.loads(line)
        if len(whole) + (not append_newline) <= limit:
            assert whole == line
        else:
            assert "render_error" in shorter or shorter["truncated_fields"]
        if "event_type" in event:
            assert "event_type" == next(iter(shorter))

    @settings(max_examples=LINE_EXAMPLES)
    @given(json_events, st.integers(min_value=1024, max_value=8192))
    def test_ids_are_intact(self, event: dict[str, Any], limit: int) -> None:
        """Ids and envelope keep their values where they fit; those that identify the event, as long as they do."""
        before = orjson.loads(orjson.dumps(event))
        shorter = orjson.loads(Render(max_bytes=limit)(None, "info", event))
        fixed = {name: before[name] for name in before.keys() - {*free_names(before), "truncated_fields"}}
        identity = {name: value for name, value in before.items() if name in IDENTITY}
        # Beside them there is the list of what was cut, which has an eighth of the line.
        if len(orjson.dumps(fixed)) < limit * 7 // 8 - 8:
            assert fixed.items() <= shorter.items()
        elif len(orjson.dumps(identity)) < limit * 7 // 8 - 8:
            assert identity.items() <= shorter.items()
        else:
            assert "render_error" in shorter or identity.items() <= shorter.items()

    @settings(max_examples=LINE_EXAMPLES)
    @given(json_events, st.integers(min_value=1024, max_value=8192))
    def test_the_event_is_not_changed(self, event: dict[str, Any], limit: int) -> None:
        """Shrinking a line leaves the event that other sinks get as it was."""
        before = orjson.dumps(event)
        Render(max_bytes=limit)(None, "info", event)
        assert before == orjson.dumps(event)
