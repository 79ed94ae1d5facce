"""Truncate: previews end at their limits, whole events stay below a size, ids are never cut."""

from typing import Any

import pytest
import structlog

from structllm.cut import cut_text
from structllm.errors import ConfigError
from structllm.processors.truncate import Truncate
from structllm.shrink import TRUNCATED


def truncated(event: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Run the processor alone."""
    return dict(Truncate(**options)(None, "info", event))


def previewed(text: str, limit: int) -> str:
    """Return the preview of a prompt."""
    preview: str = truncated({"prompt_preview": text}, preview_chars={"prompt_preview": limit})["prompt_preview"]
    return preview


class TestPreviews:
    @pytest.mark.parametrize(("name", "limit"), [("prompt_preview", 500), ("response_preview", 1000)])
    def test_default_limits(self, name: str, limit: int) -> None:
        """A prompt is cut to 500 characters, a response to 1,000."""
        assert "x" * limit == truncated({name: "x" * 2000})[name]

    def test_error_messages_are_cut(self) -> None:
        """An error message is cut to 1,000 characters; it has neither length nor flag."""
        assert {"error_message": "x" * 1000} == truncated({"error_message": "x" * 2000})

    def test_own_limits_leave_the_others(self) -> None:
        """A given limit replaces one default."""
        event = truncated(
            {"prompt_preview": "abcdef", "response_preview": "x" * 2000}, preview_chars={"prompt_preview": 3}
        )
        assert ("abc", 1000) == (event["prompt_preview"], len(event["response_preview"]))

    def test_any_field_can_have_a_limit(self) -> None:
        """A limit for a field that is no preview cuts it and adds nothing."""
        assert {"rationale": "abc"} == truncated({"rationale": "abcdef"}, preview_chars={"rationale": 3})

    def test_length_is_set_if_absent(self) -> None:
        """The original length is kept in the event."""
        event = truncated({"prompt_preview": "x" * 700})
        assert (700, True) == (event["prompt_length"], event["prompt_truncated"])

    def test_given_length_stays(self) -> None:
        """The length of a text of which only a part came along is not overwritten, and decides the flag."""
        event = truncated({"response_preview": "x" * 900, "response_length": 5000})
        assert ("x" * 900, 5000, True) == (
            event["response_preview"],
            event["response_length"],
            event["response_truncated"],
        )

    def test_flag_is_false_for_whole_texts(self) -> None:
        """A preview that is the whole text says so, up to the limit itself."""
        assert truncated({"prompt_preview": "x" * 500})["prompt_truncated"] is False

    def test_flag_is_true_where_redaction_made_it_longer(self) -> None:
        """A text that only its markers made too long is cut, and says so."""
        event = truncated({"prompt_preview": "x" * 510, "prompt_length": 490})
        assert (500, True) == (len(event["prompt_preview"]), event["prompt_truncated"])

    @pytest.mark.parametrize("value", [None, 5, ["x"]])
    def test_no_text_no_flag(self, value: object) -> None:
        """Without a text there is nothing to say about it."""
        assert {"response_preview": value} == truncated({"response_preview": value})

    def test_zero_leaves_an_empty_preview(self) -> None:
        """A limit of 0 writes no text, not even a marker that it begins with."""
        event = truncated({"prompt_preview": "[REDACTED:x] text"}, preview_chars={"prompt_preview": 0})
        assert {"prompt_preview": "", "prompt_length": 17, "prompt_truncated": True} == event

    def test_negative_limits_are_refused(self) -> None:
        """All wrong limits are named at once, while building."""
        with pytest.raises(ConfigError) as caught:
            Truncate({"prompt_preview": -1}, max_field_chars=-1, max_event_chars=-5)
        assert ["prompt_preview", "max_field_chars", "max_event_chars"] == [
            problem.partition(":")[0] for problem in caught.value.problems
        ]


class TestWhereToCut:
    @pytest.mark.parametrize(
        ("expected", "text", "limit"),
        [
            ("\U0001f600", "\U0001f600\U0001f600", 1),
            ("ae", "aee\u0301", 2),
            ("a", "ae\u0301\u0302", 2),
            ("a", "a\U0001f468\u200d\U0001f469\u200d\U0001f467", 2),
            ("a", "a\U0001f468\u200d\U0001f469\u200d\U0001f467", 3),
            ("a", "a\U0001f44d\U0001f3fd", 2),
            ("a", "a\u2764\ufe0f", 2),
            ("\U0001f1e9\U0001f1ea", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", 3),
            ("\U0001f1e9\U0001f1ea", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", 2),
            ("a", "a\ud83d\ude00", 2),
            ("\u4f60", "\u4f60\u597d", 1),
            ("x\u00e9", "x\u00e9y", 2),
        ],
    )
    def test_between_characters(self, expected: str, text: str, limit: int) -> None:
        """A cut does not fall between the code points of what is seen as one character."""
        assert expected == previewed(text, limit)

    def test_endless_combinations_are_cut(self) -> None:
        """A character with more marks than any writing has is cut at the limit."""
        assert "e" + "\u0301" * 99 == previewed("e" + "\u0301" * 1000, 100)

    @pytest.mark.parametrize("marker", ["[REDACTED:openai-key]", "[PSEUDO:email:k1:9f3a1c0d5e7b2a44]"])
    def test_markers_are_kept_whole(self, marker: str) -> None:
        """A cut that falls anywhere into a marker comes after it."""
        text = f"key {marker} and more"
        for limit in range(5, 4 + len(marker) + 1):
            assert f"key {marker}" == previewed(text, limit)
        assert "key " == previewed(text, 4)
        assert f"key {marker} " == previewed(text, 5 + len(marker))

    @pytest.mark.parametrize(
        "text",
        [
            "key [REDACTED:never ends",
            "key [REDACTED:" + "x" * 500 + "]",
            "key [REDACTED:a b] c",
            "key [OTHER:aaaaaa] x",
        ],
    )
    def test_what_is_no_marker_is_cut(self, text: str) -> None:
        """Text that only begins like a marker does not move the cut."""
        assert text[:8] == previewed(text, 8)

    def test_cut_before_a_marker(self) -> None:
        """Where the limit is hard, the marker goes as a whole."""
        assert "key " == cut_text("key [REDACTED:openai-key]", 10, keep_marker=False)

    def test_marks_on_a_marker_do_not_break_it(self) -> None:
        """A combining mark right behind a marker is dropped, not the marker's end."""
        text = "[REDACTED:x]" + "\u0301" * 5 + "abc"
        for limit in (12, 13, 15):
            assert "[REDACTED:x]" == cut_text(text, limit) == cut_text(text, limit, keep_marker=False)


class TestWholeEvent:
    def test_long_fields_are_cut_and_named(self) -> None:
        """A string beyond the limit is cut wherever it is, and its place is listed."""
        event = truncated(
            {"rationale": "r" * 50, "market_context": {"news": ["ok", {"body": "n" * 50}], "rsi": 62.5}},
            max_field_chars=20,
        )
        expected = {
            "rationale": "r" * 20,
            "market_context": {"news": ["ok", {"body": "n" * 20}], "rsi": 62.5},
            "truncated_fields": ["market_context.news[1].body", "rationale"],
        }
        assert expected == event

    def test_previews_have_their_own_limit(self) -> None:
        """A preview may be longer than other fields."""
        event = truncated({"prompt_preview": "p" * 50}, preview_chars={"prompt_preview": 100}, max_field_chars=20)
        assert {"prompt_preview": "p" * 50, "prompt_length": 50, "prompt_truncated": False} == event

    def test_the_largest_are_cut_first(self) -> None:
        """An event that is too large loses from its longest strings, and no more than needed."""
        event = truncated({"a": "a" * 600, "b": "b" * 400, "c": "c" * 100, "d": 5}, max_event_chars=504)
        assert (200, 200, 100, 5) == (len(event["a"]), len(event["b"]), len(event["c"]), event["d"])
        assert ["a", "b"] == event["truncated_fields"]

    def test_the_limit_holds_to_the_character(self) -> None:
        """Where the excess does not divide evenly, one more character goes."""
        event = truncated({"a": "a" * 100, "b": "b" * 100}, max_event_chars=101)
        assert (49, 49) == (len(event["a"]), len(event["b"]))

    def test_ids_and_envelope_are_never_cut(self) -> None:
        """What identifies an event keeps its value whatever the size."""
        ids = {
            "event_type": "completion_response",
            "timestamp": "2024-01-15T10:30:45.123Z",
            "session_id": "s" * 300,
            "service": "v" * 300,
            "writer": "w" * 300,
            "request_id": "r" * 300,
            "caused_by": ["c" * 300],
            "trace_id": "t" * 300,
        }
        event = truncated({**ids, "event_type": "trading_decision", "rationale": "x" * 300}, max_event_chars=100)
        assert {**ids, "event_type": "trading_decision", "rationale": "", "truncated_fields": ["rationale"]} == event

    def test_a_preview_cut_for_size_says_so(self) -> None:
        """The flag of a preview is true also where the event's size was the reason."""
        event = truncated({"prompt_preview": "p" * 400}, max_event_chars=200)
        assert (True, ["prompt_preview"]) == (event["prompt_truncated"], event["truncated_fields"])

    def test_what_cannot_be_cut_is_left_out(self) -> None:
        """Where keys are what is large, nested values go, the largest first."""
        event = truncated(
            {
                "wide": {f"key-{number:04}": number for number in range(200)},
                "narrow": {"key": 1},
            },
            max_event_chars=500,
        )
        assert {"wide": TRUNCATED, "narrow": {"key": 1}, "truncated_fields": ["wide"]} == event

    def test_the_list_of_places_is_limited(self) -> None:
        """An event in which very much was cut does not grow by saying so."""
        event = truncated({"rows": ["x" * 10] * 500}, max_field_chars=5)
        assert (51, TRUNCATED) == (len(event["truncated_fields"]), event["truncated_fields"][-1])

    def test_small_events_are_not_touched(self) -> None:
        """An event of normal size comes back with the very objects that it held."""
        market = {"symbol": "BTC-USD", "news": ["x" * 100]}
        event = truncated({"event_type": "x", "market_context": market})
        assert ["event_type", "market_context"] == list(event)
        assert event["market_context"] is market

    def test_foreign_objects_are_not_changed(self) -> None:
        """In a chain that does not normalise, what is cut is a copy."""
        cyclic: dict[str, Any] = {"body": "n" * 50, 5: "five"}
        cyclic["self"] = cyclic
        event = truncated({"context": cyclic}, max_field_chars=20)
        assert {"body": "n" * 20, "5": "five", "self": "<cycle>"} == event["context"]
        assert "n" * 50 == cyclic["body"]


class TestTruncate:
    def test_on_error_keeps_the_limits(self) -> None:
        """The fallback cuts bluntly."""
        event = Truncate({"prompt_preview": 3}).on_error({"prompt_preview": "abcdef", "seq": 1})
        assert {"prompt_preview": "abc", "seq": 1} == event

    def test_works_in_a_foreign_chain(self) -> None:
        """It is a plain structlog processor."""
        written: list[Any] = []
        log = structlog.wrap_logger(
            structlog.ReturnLogger(),
            processors=[Truncate({"event": 5}), lambda logger, name, event: (written.append(dict(event)), "")[1]],
            wrapper_class=structlog.BoundLogger,
        )
        log.info("hello world")
        assert [{"event": "hello"}] == written
