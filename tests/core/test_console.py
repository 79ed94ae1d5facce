"""Events and numbers as people read them."""

import json
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest

from structllm.console import cells, escape, escape_json, format_event, one_line, shorten, style
from structllm.figures import (
    counted,
    format_age,
    format_count,
    format_duration,
    format_time,
    format_tokens,
    format_usd,
    number,
    short_id,
)

ENVELOPE: dict[str, Any] = {
    "timestamp": "2024-01-15T10:30:45.123Z",
    "session_id": "abc12345ffffffff",
    "level": "INFO",
    "schema_version": 1,
    "writer": "wtr_1",
    "seq": 1,
}
REQUEST: dict[str, Any] = {
    "event_type": "completion_request",
    **ENVELOPE,
    "request_id": "req_67890def01234567",
    "model": "o3-mini",
    "prompt_length": 1250,
    "prompt_preview": "You are an expert.\n\n  Should I buy?",
    "market_context": {"symbol": "BTC-USD"},
}
RESPONSE: dict[str, Any] = {
    "event_type": "completion_response",
    **ENVELOPE,
    "request_id": "req_67890def01234567",
    "success": True,
    "response_time_ms": 1767,
    "token_usage": {"prompt_tokens": 150, "completion_tokens": 75, "total_tokens": 225},
    "cost_estimate_usd": 0.000495,
    "response_preview": '{"action": "LONG"}',
    "outcome": "ok",
    "model": "o3-mini",
}


class TestEscape:
    """What could act on a terminal is made visible."""

    @pytest.mark.parametrize(
        ("raw", "visible"),
        [
            ("\x1b[31m", r"\x1b[31m"),
            ("a\nb\tc\rd", r"a\x0ab\x09c\x0dd"),
            ("\x00\x7f\x85\x9b", r"\x00\x7f\x85\x9b"),
            ("\u202e\u2066\u2069\u200e\u200f\u061c", r"\u202e\u2066\u2069\u200e\u200f\u061c"),
            ("\u2028\u2029", r"\u2028\u2029"),
            ("\ud800", r"\ud800"),
        ],
    )
    def test_makes_visible(self, raw: str, visible: str) -> None:
        r"""Control, bidi, separator and surrogate characters become `\xNN` or `\uNNNN`."""
        assert visible == escape(raw)

    @pytest.mark.parametrize("text", ["", "plain [bold] 100 %", "Grüße 日本語 😀", "a\\x1b"])
    def test_leaves_text_alone(self, text: str) -> None:
        """Printable text of any script stays as it is."""
        assert text == escape(text)

    def test_json_stays_equal(self) -> None:
        """A JSON line escaped for a terminal is the same JSON."""
        value = {"text": "C1 \x9b[31m, DEL \x7f, bidi \u202e, separator \u2028, é"}
        line = json.dumps(value, ensure_ascii=False)
        assert value == json.loads(escape_json(line))
        assert escape(escape_json(line)) == escape_json(line)

    def test_json_between_its_parts(self) -> None:
        """Tabs and carriage returns between the parts of a JSON line are spaces afterwards, not escapes."""
        assert {"a": "b\tc"} == json.loads(escape_json('{"a":\t"b\\tc"}\r'))

    def test_one_line_folds_whitespace(self) -> None:
        """Lines and runs of spaces of a prompt become single spaces, and nothing else is hidden."""
        assert r"a b \x0bc" == one_line("  a \n\n\t b \x0bc ")


class TestWidth:
    """Columns of a terminal."""

    @pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("", 0), ("é", 1)])
    def test_cells(self, text: str, columns: int) -> None:
        """Wide characters take two columns, combining ones none."""
        assert columns == cells(text)

    @pytest.mark.parametrize(
        ("text", "columns", "expected"),
        [("abcdef", 6, "abcdef"), ("abcdef", 4, "abc…"), ("日本語", 5, "日本…"), ("日本語", 4, "日…"), ("abc", 0, "")],
    )
    def test_shorten(self, text: str, columns: int, expected: str) -> None:
        """A text is cut to columns, with an ellipsis, never through a wide character."""
        assert expected == shorten(text, columns)

    def test_style(self) -> None:
        """A style is added where colours are wanted, and never around nothing."""
        assert ("\x1b[31mx\x1b[0m", "x", "", "x") == (
            style("x", "red", True),
            style("x", "red", False),
            style("", "red", True),
            style("x", "", True),
        )


class TestFigures:
    """Numbers, times and ids."""

    @pytest.mark.parametrize(
        ("milliseconds", "expected"),
        [
            (0, "0 ms"),
            (0.25, "0.2 ms"),
            (345, "345 ms"),
            (999.6, "1.00 s"),
            (1767, "1.77 s"),
            (9996, "10.0 s"),
            (125_000, "2m05s"),
            (7_000_000, "1h56m"),
            (None, "-"),
            ("12", "-"),
            (float("nan"), "-"),
            (True, "-"),
        ],
    )
    def test_duration(self, milliseconds: object, expected: str) -> None:
        """Durations use the unit that fits; what is no number is a dash."""
        assert expected == format_duration(milliseconds)

    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [(-5, "0s"), (42, "42s"), (420, "7m"), (3600, "1h"), (12_000, "3h20m"), (86_400, "1d"), (100_000, "1d3h")],
    )
    def test_age(self, seconds: float, expected: str) -> None:
        """Ages have one or two units."""
        assert expected == format_age(seconds)

    @pytest.mark.parametrize(
        ("amount", "expected"),
        [
            (None, "-"),
            (0.0, "$0.000000"),
            (0.000495, "$0.000495"),
            (1e-7, "<$0.000001"),
            (Decimal("1234.5"), "$1,234.500000"),
            (-0.5, "-$0.500000"),
            (float("inf"), "-"),
            (Decimal("1e30"), "$1E+30"),
        ],
    )
    def test_usd(self, amount: Decimal | float | None, expected: str) -> None:
        """An unknown amount is a dash, and one that would round to zero says that it is less than it shows."""
        assert expected == format_usd(amount)

    @pytest.mark.parametrize(
        ("usage", "expected"),
        [
            ({"prompt_tokens": 1500, "completion_tokens": 75}, "1,500+75 tok"),
            ({"total_tokens": 225}, "225 tok"),
            ({}, ""),
            (None, ""),
            ([1], ""),
        ],
    )
    def test_tokens(self, usage: object, expected: str) -> None:
        """Tokens are shown as prompt and completion, or the total alone."""
        assert expected == format_tokens(usage)

    @pytest.mark.parametrize(
        ("identity", "expected"),
        [
            ("req_67890def01234567", "67890def"),
            ("0190a1b2-3c4d", "0190a1b2"),
            ("my_own_id_of_a_request", "own_id_o"),
            ("longprefix_123", "longpref"),
            (7, ""),
            (None, ""),
        ],
    )
    def test_short_id(self, identity: object, expected: str) -> None:
        """An id is shown by its first eight characters behind a short prefix."""
        assert expected == short_id(identity)

    def test_time(self) -> None:
        """The logger's own timestamps are shortened, foreign ones shown as they are."""
        assert ("01-15 10:30:45Z", "10:30:45Z", "15 Jan 2024", "") == (
            format_time("2024-01-15T10:30:45.123Z"),
            format_time("2024-01-15T10:30:45.123Z", with_date=False),
            format_time("15 Jan 2024"),
            format_time(12),
        )

    def test_counts(self) -> None:
        """Counts have thousands separators, and their noun its plural."""
        assert ("1,250", "-", "1 call", "2,000 calls") == (
            format_count(1250),
            format_count(None),
            counted(1, "call"),
            counted(2000, "call"),
        )

    @pytest.mark.parametrize("value", [True, "1", None, float("inf"), float("nan"), [1]])
    def test_no_number(self, value: object) -> None:
        """What is no finite number is none."""
        assert number(value) is None


class TestFormatEvent:
    """One line per event."""

    def test_request(self) -> None:
        """A request shows model, length, symbol and the beginning of the prompt on one line."""
        assert (
            "01-15 10:30:45Z  request   abc12345  67890def  o3-mini             1,250 chars  BTC-USD  "
            "You are an expert. Should I buy?"
        ) == format_event(REQUEST, color=False)

    def test_response(self) -> None:
        """A response shows model, time, tokens, cost and the beginning of the answer."""
        assert (
            "01-15 10:30:45Z  response  abc12345  67890def  o3-mini              1.77 s     150+75 tok  $0.000495  "
            '{"action": "LONG"}'
        ) == format_event(RESPONSE, color=False)

    def test_unknown_cost_is_no_zero(self) -> None:
        """A response without a known cost shows a dash."""
        line = format_event({**RESPONSE, "cost_estimate_usd": None}, color=False)
        assert "  -  " in line
        assert "$" not in line

    def test_failure(self) -> None:
        """A failed response shows its level, the type of error and what it said."""
        failed = {
            **RESPONSE,
            "level": "ERROR",
            "success": False,
            "outcome": "cancelled",
            "error_type": "TimeoutError",
            "error_message": "no answer",
            "token_usage": None,
            "cost_estimate_usd": None,
        }
        line = format_event(failed, color=False)
        assert line.endswith("1.77 s  ERROR  TimeoutError  cancelled  no answer")

    def test_decision(self) -> None:
        """A decision shows action, size, symbol, price, validation and rationale."""
        decision = {
            "event_type": "trading_decision",
            **ENVELOPE,
            "decision_id": "dec_1111222233334444",
            "action": "SHORT",
            "size_pct": 12.5,
            "symbol": "ETH-USD",
            "current_price": 2310.25,
            "validation_result": "PASSED",
            "rationale": "Falling",
        }
        assert (
            "01-15 10:30:45Z  decision  abc12345  11112222  SHORT  12.5%  ETH-USD @ 2,310.25  PASSED  Falling"
        ) == format_event(decision, color=False)

    def test_metrics(self) -> None:
        """Metrics say that the cost is a lower bound where calls are unpriced, and name what was dropped."""
        metrics = {
            "event_type": "performance_metrics",
            **ENVELOPE,
            "total_completions": 10,
            "avg_response_time_ms": 1520,
            "total_tokens": 2250,
            "total_cost_estimate_usd": 0.00675,
            "unpriced_calls": 1,
            "tokens_per_second": 148.02,
            "dropped": {"file:disk_full": 3},
        }
        line = format_event(metrics, color=False)
        assert "10 calls" in line
        assert "avg 1.52 s  2,250 tok  at least $0.006750  148 tok/s  dropped file:disk_full=3" in line

    @pytest.mark.parametrize(
        ("event", "end"),
        [
            ({"event_type": "run", "level": "DEBUG", "kind": "tool", "name": "search"}, "DEBUG  search"),
            ({"event_type": "run", "kind": "tool", "success": False, "error_type": "KeyError"}, "KeyError"),
            ({"event_type": "decision_outcome", "kind": "fill", "value": {"price": 1.5}}, "price=1.5"),
            ({"event_type": "decision_outcome", "kind": "pnl", "value": -3}, "-3"),
            ({"event_type": "house_event", "text": "hello", "n": [1, 2]}, "text=hello n=1, 2"),
        ],
    )
    def test_other_types(self, event: dict[str, Any], end: str) -> None:
        """Runs, outcomes and unknown types show what they hold."""
        assert format_event({**ENVELOPE, **event}, color=False).endswith(end)

    @pytest.mark.parametrize("width", [20, 40, 80, 100, 120, 200])
    @pytest.mark.parametrize("event", [REQUEST, RESPONSE, {**REQUEST, "prompt_preview": "日本語" * 200}])
    def test_width(self, event: dict[str, Any], width: int) -> None:
        """A line never exceeds the terminal, and uses it where there is enough text."""
        assert cells(format_event(event, color=False, width=width)) <= width

    def test_uses_the_width(self) -> None:
        """A long text fills the line to its last column."""
        line = format_event({**REQUEST, "prompt_preview": "x" * 500}, color=False, width=130)
        assert 130 == cells(line)
        assert line.endswith("x…")

    def test_narrow_leaves_out_date_and_session(self) -> None:
        """On a narrow terminal, the text is worth more than the date and the session."""
        line = format_event(REQUEST, color=False, width=80)
        assert line.startswith("10:30:45Z  request   67890def  o3-mini")
        assert "You are" in line

    @pytest.mark.parametrize("width", range(80, 150))
    @pytest.mark.parametrize("event", [REQUEST, RESPONSE], ids=["request", "response"])
    def test_text_has_room(self, event: dict[str, Any], width: int) -> None:
        """Whatever the width, at least 20 columns are left to the text, and a cut one ends in an ellipsis."""
        text = "0123456789" * 30
        line = format_event({**event, "prompt_preview": text, "response_preview": text}, color=False, width=width)
        assert text[:19] in line
        assert line.endswith("…")

    @pytest.mark.parametrize("width", [5, 11, 20, 21, 22, 23, 24, 28, 29, 30, 31, 32, 33, 40])
    def test_cut_line_ends_in_an_ellipsis(self, width: int) -> None:
        """A line that leaves something out at its end says so, even where not a column is left."""
        line = format_event(REQUEST, color=False, width=width)
        assert line.endswith("…")
        assert cells(line) <= width

    def test_facts_give_way_to_text(self) -> None:
        """Session first, then counts, then padding; what is left is told as before."""
        text = {"response_preview": "x" * 200}
        assert "abc12345" in format_event({**RESPONSE, **text}, color=False, width=130)
        wide = format_event({**RESPONSE, **text}, color=False, width=120)
        assert (False, True) == ("abc12345" in wide, "150+75 tok" in wide)
        middle = format_event({**RESPONSE, **text}, color=False, width=100)
        assert (False, True) == ("150+75 tok" in middle, "o3-mini    " in middle)
        narrow = format_event({**RESPONSE, **text}, color=False, width=80)
        assert narrow.startswith("10:30:45Z  response  67890def  o3-mini  1.77 s  $0.000495  xxxx")

    @pytest.mark.parametrize("role", ["system", "developer"])
    def test_question_instead_of_instructions(self, role: str) -> None:
        """Of a conversation that begins with instructions, the last question is shown, where lines are cut at all."""
        prompt = f"{role}: Be careful.\n\nuser: First?\n\nassistant: Yes.\n\nuser: And now?"
        line = format_event({**REQUEST, "prompt_preview": prompt}, color=False, width=120)
        assert line.endswith("  BTC-USD  user: And now?")
        assert f"  {role}: Be careful. user: First?" in format_event({**REQUEST, "prompt_preview": prompt}, color=False)

    def test_instructions_alone(self) -> None:
        """Where the question was cut off, the instructions are shown."""
        line = format_event({**REQUEST, "prompt_preview": "system: Be careful."}, color=False, width=120)
        assert line.endswith("  system: Be careful.")

    @pytest.mark.parametrize(
        ("calls", "unpriced", "cost", "told"),
        [
            (10, 0, 0.5, "$0.500000"),
            (10, 9, 0.5, "at least $0.500000"),
            (10, 10, 0.0, "-"),
            (10, 10, 0.25, "at least $0.250000"),
            (10, 9, 0.0, "at least $0.000000"),
        ],
    )
    def test_cost_of_unpriced_calls(self, calls: int, unpriced: int, cost: float, told: str) -> None:
        """Where no call has a known price, the sum is unknown, not at least nothing."""
        metrics = {"event_type": "performance_metrics", **ENVELOPE, "total_completions": calls}
        metrics |= {"unpriced_calls": unpriced, "total_cost_estimate_usd": cost}
        assert format_event(metrics, color=False).endswith(f" tok  {told}")

    def test_color(self) -> None:
        """Colours are the only difference that `color` makes, and every one is ended."""
        colored, plain = format_event(RESPONSE, color=True, width=90), format_event(RESPONSE, color=False, width=90)
        assert "\x1b[33m$0.000495\x1b[0m" in colored
        assert "\x1b" not in plain
        assert plain == _without_styles(colored)

    def test_errors_are_red(self) -> None:
        """A failure is recognised by colour as well."""
        assert "\x1b[31mresponse\x1b[0m" in format_event({**RESPONSE, "success": False}, color=True)

    def test_hostile_text(self) -> None:
        """No field of an event can act on the terminal."""
        evil = "\x1b]0;title\x07\x9b2J\u202e\n"
        event = {**REQUEST, "model": evil, "session_id": evil, "prompt_preview": evil, "event_type": evil}
        assert format_event(event, color=False).isprintable()

    @pytest.mark.parametrize("event", [{}, {"event_type": 1}, {"event_type": "completion_response", "token_usage": 1}])
    def test_incomplete_events(self, event: dict[str, Any]) -> None:
        """An event without the usual fields is a line as well."""
        assert "\n" not in format_event(event, color=True, width=100)


class TestImport:
    """The write side uses this module for every line of its console format."""

    def test_is_cheap(self) -> None:
        """It brings nothing but the standard library with it."""
        code = "import sys, structllm.console; print(*sorted(name.partition('.')[0] for name in sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        loaded = set(done.stdout.split())
        assert "structllm" in loaded
        assert set() == loaded & {"rich", "click", "structlog", "orjson", "pydantic", "zstandard"}


def _without_styles(line: str) -> str:
    for code in ("0", "1", "2", "31", "32", "33", "34", "35", "36"):
        line = line.replace(f"\x1b[{code}m", "")
    return line
