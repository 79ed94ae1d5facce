"""Shrink: a line that is too long becomes one that fits, and loses no more than it has to."""

from typing import Any

import orjson
import pytest

from structllm.processors import normalise
from structllm.shrink import IDENTITY, MAX_LINE_BYTES, MIN_LINE_BYTES, TRUNCATED, fit_line, identity_line

ENVELOPE = {
    "event_type": "trading_decision",
    "timestamp": "2024-01-15T10:30:45.123Z",
    "session_id": "abc12345",
    "level": "INFO",
    "schema_version": 1,
    "writer": "wtr_1",
    "seq": 7,
    "decision_id": "dec_1",
    "caused_by": ["req_1", "req_2"],
}


def line_of(event: dict[str, Any]) -> bytes:
    """Render an event."""
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def fitted(event: dict[str, Any], max_bytes: int) -> dict[str, Any]:
    """Return the event of the line that fits, after looking at the line itself."""
    line = fit_line(line_of(event), max_bytes)
    assert len(line) <= max_bytes
    assert (1, True) == (line.count(b"\n"), line.endswith(b"}\n"))
    shorter: dict[str, Any] = orjson.loads(line)
    return shorter


class TestFitLine:
    def test_a_line_that_fits_is_itself(self) -> None:
        """At the limit nothing happens, not even parsing."""
        line = b"x" * MIN_LINE_BYTES
        assert fit_line(line, MIN_LINE_BYTES) is line

    @pytest.mark.parametrize("character", ["x", "\x01", "\u00e9", "\u4f60", "\U0001f600", '"', "\\", "\n"])
    def test_counts_bytes(self, character: str) -> None:
        """However a character is written, a text is cut so that the line fits and is used to all but the last bytes."""
        event = {**ENVELOPE, "rationale": character * 20_000}
        shorter = fitted(event, 4096)
        assert character * len(shorter["rationale"]) == shorter["rationale"]
        # An eighth of the line is kept free for the list of what was cut.
        assert len(line_of(shorter)) > 4096 * 7 // 8 - 20
        assert {**event, "rationale": shorter["rationale"], "truncated_fields": ["rationale"]} == shorter

    def test_the_largest_come_down_first(self) -> None:
        """Large fields come down to one size; smaller ones are not touched."""
        event = {**ENVELOPE, "rationale": "r" * 9000, "note": "n" * 5000, "price": 1.5, "indicators": {"rsi": 62.5}}
        shorter = fitted(event, 4096)
        assert (1.5, {"rsi": 62.5}) == (shorter["price"], shorter["indicators"])
        assert len(shorter["rationale"]) == len(shorter["note"]) > 1000
        assert ["note", "rationale"] == shorter["truncated_fields"]

    def test_numbers_give_way_before_texts(self) -> None:
        """A field that is large by its numbers keeps the first of them; a text of ordinary size stays whole."""
        event = {**ENVELOPE, "rationale": "r" * 1000, "market_context": {"rsi": 62.5, "prices": list(range(10_000))}}
        shorter = fitted(event, 8192)
        prices = shorter["market_context"]["prices"]
        assert ("r" * 1000, 62.5) == (shorter["rationale"], shorter["market_context"]["rsi"])
        assert [*range(len(prices) - 1), TRUNCATED] == prices
        assert len(prices) > 1000
        assert ["market_context.prices"] == shorter["truncated_fields"]

    def test_many_keys(self) -> None:
        """An object of very many keys keeps the first ones, and says so inside."""
        event = {**ENVELOPE, "indicators": {f"key-{number:06}": number for number in range(5000)}}
        shorter = fitted(event, 4096)["indicators"]
        assert TRUNCATED == shorter.pop(TRUNCATED)
        assert {f"key-{number:06}": number for number in range(len(shorter))} == shorter

    def test_many_items(self) -> None:
        """Of a list of many objects the first ones stay whole; a bit of each would say nothing."""
        rows = [{"title": "t" * 100, "body": "b" * 200, "at": number} for number in range(500)]
        kept = fitted({**ENVELOPE, "market_context": {"news": rows}}, 16_384)["market_context"]["news"]
        assert len(kept) > 30
        assert [*rows[: len(kept) - 1], TRUNCATED] == kept

    def test_a_hostile_name_goes(self) -> None:
        """A field whose name alone is larger than the line is left out; the others stay."""
        shorter = fitted({**ENVELOPE, "k" * 5000: 1, "note": "n"}, 2048)
        assert {**ENVELOPE, "note": "n", "truncated_fields": ["k" * 200]} == shorter | {
            "truncated_fields": [path[:200] for path in shorter["truncated_fields"]]
        }

    def test_very_many_fields(self) -> None:
        """Where there are too many fields, the last ones are left out, and the list of them is cut as well."""
        event = {**ENVELOPE, **{f"f{number:05}": number for number in range(20_000)}}
        shorter = fitted(event, 4096)
        assert ENVELOPE == {name: shorter[name] for name in ENVELOPE}
        assert (True, False) == ("f00000" in shorter, "f19999" in shorter)
        assert TRUNCATED == shorter["truncated_fields"][-1]

    def test_what_was_cut_before_stays_named(self) -> None:
        """The list of an earlier cut is kept; a preview that is cut here says so in its flag."""
        event = {**ENVELOPE, "truncated_fields": ["note"], "prompt_preview": "p" * 3000, "prompt_truncated": False}
        shorter = fitted(event, 2048)
        assert (True, ["note", "prompt_preview"]) == (shorter["prompt_truncated"], shorter["truncated_fields"])

    def test_a_foreign_list_of_cuts(self) -> None:
        """A caller's own field of that name cannot make the line longer."""
        for foreign in ("t" * 5000, ["t" * 5000] * 3, [1, {"a": "b" * 5000}]):
            shorter = fitted({**ENVELOPE, "truncated_fields": foreign}, 1024)
            assert ENVELOPE.items() <= shorter.items()
            assert shorter["truncated_fields"]

    def test_ids_are_never_cut_in_favour_of_texts(self) -> None:
        """As long as they fit, ids keep their values, and everything else is what gives way."""
        ids = {"trace_id": "t" * 1000, "request_id": "r" * 500}
        shorter = fitted({**ENVELOPE, **ids, "rationale": "x" * 5000}, 3000)
        assert ids.items() <= shorter.items()
        assert 0 < len(shorter["rationale"]) < 1500

    def test_very_many_ids(self) -> None:
        """Where ids alone are too large, those that identify the event itself stay."""
        shorter = fitted({**ENVELOPE, "caused_by": [f"req_{number}" for number in range(1000)], "note": "n"}, 2048)
        assert ("dec_1", "n", ["caused_by"]) == (
            shorter["decision_id"],
            shorter["note"],
            shorter["truncated_fields"],
        )
        assert ["req_0", "req_1"] == shorter["caused_by"][:2]

    def test_a_hostile_id(self) -> None:
        """At last only what identifies the event is left, cut, and the line says why."""
        event = {**ENVELOPE, "request_id": "\x01" * 100_000, "note": "n"}
        shorter = fitted(event, MIN_LINE_BYTES)
        assert ("trading_decision", 7, "LineTooLong") == (
            shorter["event_type"],
            shorter["seq"],
            shorter["render_error"],
        )
        assert "note" not in shorter
        assert set(shorter) <= {*IDENTITY, "render_error"}

    def test_ends_as_it_came(self) -> None:
        """A line without a newline gets none, in the last resort as well."""
        for event in ({**ENVELOPE, "note": "n" * 5000}, {**ENVELOPE, "request_id": "r" * 5000}):
            assert fit_line(orjson.dumps(event), 2048).endswith(b"}")

    @pytest.mark.parametrize("line", [b"[" + b"1," * 2000 + b"1]\n", b"x" * 2000])
    def test_other_lines_are_refused(self, line: bytes) -> None:
        """What is no JSON object is said, not guessed at."""
        with pytest.raises(ValueError, match=r"JSON|char"):
            fit_line(line, 1024)


class TestIdentityLine:
    def test_fits_whatever_it_is_given(self) -> None:
        """The longest values under every name fit into the least limit of a line."""
        for value in ("\x01" * 1000, 2**64 - 1, -1.7976931348623157e308, "\U0001f600" * 1000):
            line = identity_line(dict.fromkeys(IDENTITY, value), "LineTooLong", MIN_LINE_BYTES)
            assert len(line) <= MIN_LINE_BYTES
            assert {*IDENTITY, "render_error"} == set(orjson.loads(line))

    def test_order_and_names(self) -> None:
        """The event type is first, also where there is none; lists and objects are left out."""
        line = identity_line({"seq": 1, "writer": ["w"], "request_id": {"r": 1}}, "E")
        assert b'{"event_type":"unknown","seq":1,"render_error":"E"}\n' == line


class TestConstants:
    def test_as_elsewhere(self) -> None:
        """What stands for something left out is the same text whoever left it out."""
        assert (TRUNCATED, 1024 * 1024) == (normalise.TRUNCATED, MAX_LINE_BYTES)
