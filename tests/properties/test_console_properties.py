"""Whatever an event holds, its line is one line that cannot act on a terminal."""

import json
import string
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from structllm.console import EVENT_TYPES, cells, escape, escape_json, format_event, shorten

# Leaning towards what does harm: escapes, separators, bidi marks, wide and combining characters.
HOSTILE = st.text(
    alphabet=st.one_of(
        st.sampled_from("\x1b\x07\x00\n\r\t\x7f\x85\x9b\u061c\u200e\u202e\u2028\u2066\ud800日\u0301"),
        st.sampled_from(string.ascii_letters + " []{}"),
        st.characters(),
    ),
    max_size=40,
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), HOSTILE),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(HOSTILE, inner, max_size=3)),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        *("timestamp", "session_id", "level", "request_id", "decision_id", "model", "prompt_length", "prompt_preview"),
        *("market_context", "success", "response_time_ms", "token_usage", "cost_estimate_usd", "error_message"),
        *("action", "size_pct", "symbol", "current_price", "kind", "value", "dropped", "total_tokens", "attempt"),
    ]
)


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """An event of any type with any value in any field."""
    kind = draw(st.one_of(st.sampled_from(sorted(EVENT_TYPES.values())), VALUES))
    return {"event_type": kind, **draw(st.dictionaries(FIELDS, VALUES, max_size=8))}


class TestFormatEvent:
    """The line of an event."""

    @given(event=events(), width=st.one_of(st.none(), st.integers(1, 200)))
    @settings(max_examples=200)
    def test_is_one_harmless_line(self, event: dict[str, Any], width: int | None) -> None:
        """Nothing in the line can act on a terminal, and it is no wider than that."""
        line = format_event(event, color=False, width=width)
        assert escape(line) == line
        assert width is None or cells(line) <= width

    @given(event=events())
    @settings(max_examples=100)
    def test_color_adds_only_colors(self, event: dict[str, Any]) -> None:
        """Without its colours a coloured line is harmless too."""
        line = format_event(event, color=True, width=120)
        for code in ("0", "1", "2", "31", "32", "33", "34", "35", "36"):
            line = line.replace(f"\x1b[{code}m", "")
        assert escape(line) == line


class TestEscape:
    """Making text harmless."""

    @given(text=HOSTILE)
    @settings(max_examples=200)
    def test_is_idempotent(self, text: str) -> None:
        """What has been made visible stays as it is."""
        assert escape(text) == escape(escape(text))

    @given(value=VALUES.filter(lambda value: "NaN" not in json.dumps(value) and "Infinity" not in json.dumps(value)))
    @settings(max_examples=200)
    def test_json_keeps_its_meaning(self, value: Any) -> None:
        """A line of JSON made harmless reads the same."""
        line = json.dumps(value, ensure_ascii=False)
        assert json.loads(line) == json.loads(escape_json(line))
        assert escape(escape_json(line)) == escape_json(line)

    @given(text=st.text(max_size=50), columns=st.integers(0, 60))
    @settings(max_examples=200)
    def test_shorten_fits(self, text: str, columns: int) -> None:
        """A shortened text fits, and one that fits is not shortened."""
        short = shorten(text, columns)
        assert cells(short) <= columns
        assert short == text or cells(text) > columns
