"""Render: one event, one line of JSON; and what is written when that fails."""

from typing import Any

import orjson
import pytest
import structlog

from structllm.errors import ConfigError
from structllm.processors.render import Render, minimal_line
from structllm.shrink import MAX_LINE_BYTES


def rendered(event: dict[str, Any], **options: Any) -> bytes:
    """Run the processor alone."""
    return Render(**options)(None, "info", event)


class TestRender:
    def test_event_type_comes_first(self) -> None:
        """`event_type` is the first key wherever it was; the others keep their order."""
        assert b'{"event_type":"x","b":1,"a":2}' == rendered({"b": 1, "event_type": "x", "a": 2})

    def test_event_type_that_is_first_stays(self) -> None:
        """Nothing is reordered needlessly."""
        assert b'{"event_type":"x","b":1}' == rendered({"event_type": "x", "b": 1})

    def test_events_of_a_foreign_chain(self) -> None:
        """Without an event type nothing is added, and structlog's `event` stays where it is."""
        assert b'{"level":"info","event":"hi"}' == rendered({"level": "info", "event": "hi"})
        assert b"{}" == rendered({})

    @pytest.mark.parametrize("append_newline", [False, True])
    def test_newline_at_the_end_only(self, append_newline: bool) -> None:
        """The only newline is the one asked for."""
        line = rendered({"event_type": "x", "text": "a\nb\r\u2028"}, append_newline=append_newline)
        assert int(append_newline) == line.count(b"\n") == int(line.endswith(b"\n"))
        assert {"event_type": "x", "text": "a\nb\r\u2028"} == orjson.loads(line)

    @pytest.mark.parametrize("value", [object(), 2**64, "\ud800", {1: 2}])
    def test_refuses_what_is_not_json(self, value: object) -> None:
        """What was not normalised raises, for the emitter to deal with."""
        with pytest.raises(TypeError):
            rendered({"event_type": "x", "value": value})

    def test_event_is_not_changed(self) -> None:
        """The event that sinks get is the one that was rendered."""
        event = {"b": 1, "event_type": "x"}
        rendered(event)
        assert ["b", "event_type"] == list(event)

    @pytest.mark.parametrize("append_newline", [False, True])
    def test_lines_are_bounded(self, append_newline: bool) -> None:
        """A line has at most `max_bytes`, its newline counted even where the logger behind appends it."""
        head = len(b'{"event_type":"x","text":""}\n')
        for limit, chars in ((1024, 1024 - head), (MAX_LINE_BYTES, MAX_LINE_BYTES - head)):
            whole = {"event_type": "x", "text": "t" * chars}
            options = {"append_newline": append_newline, "max_bytes": limit}
            assert whole == orjson.loads(rendered(whole, **options))
            shorter = orjson.loads(rendered({**whole, "text": "t" * (chars + 1)}, **options))
            assert ["text"] == shorter["truncated_fields"]

    def test_a_mebibyte_unless_told_otherwise(self) -> None:
        """The default limit is 1 MiB, escapes and all."""
        assert 1_040_000 < len(rendered({"event_type": "x", "text": "\x01" * 1_000_000})) < 1_048_576

    def test_limits_without_room_are_refused(self) -> None:
        """A limit that the ids alone would not fit into is refused while building."""
        with pytest.raises(ConfigError, match="max_bytes"):
            Render(max_bytes=1023)

    def test_works_in_a_foreign_chain(self) -> None:
        """It is a plain structlog processor and ends a chain."""
        log = structlog.wrap_logger(
            structlog.ReturnLogger(), processors=[Render()], wrapper_class=structlog.BoundLogger
        )
        assert b'{"n":1,"event":"hello"}' == log.info("hello", n=1)


class TestMinimalLine:
    def test_keeps_what_identifies_the_event(self) -> None:
        """Event type, envelope, ids and outcome are kept, all else is left out."""
        event = {
            "event_type": "completion_response",
            "timestamp": "2024-01-15T10:30:45.123Z",
            "session_id": "abc12345",
            "level": "INFO",
            "schema_version": 1,
            "writer": "wtr_1",
            "seq": 7,
            "request_id": "req_1",
            "success": True,
            "response_preview": "secret",
            "broken": object(),
        }
        line = minimal_line(event, "TypeError")
        kept = {name: value for name, value in event.items() if name not in ("response_preview", "broken")}
        assert kept | {"render_error": "TypeError"} == orjson.loads(line)
        assert line.startswith(b'{"event_type":"completion_response",')
        assert line.endswith(b"}\n")

    def test_broken_ids_do_not_break_it(self) -> None:
        """Even where the ids are what could not be rendered, there is a line."""

        class Broken(dict[str, Any]):
            def __getitem__(self, key: str) -> Any:
                raise RuntimeError("no")

        assert b'{"event_type":"unknown","render_error":"TypeError"}\n' == minimal_line(Broken(), "TypeError")
        event = {"event_type": "\ud800", "session_id": "s" * 1000, "seq": object(), "request_id": ["x"]}
        expected = {"event_type": "\\ud800", "session_id": "s" * 200, "seq": "<object>", "render_error": "E"}
        assert expected == orjson.loads(minimal_line(event, "E"))
