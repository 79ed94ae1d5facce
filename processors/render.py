"""Encode an event as one line of JSON. Always the last processor of a chain."""

from typing import Any

import orjson

from structllm._types import Event
from structllm.errors import ConfigError
from structllm.processors.normalise import JsonValue, as_text, normalise_value
from structllm.shrink import IDENTITY, MAX_LINE_BYTES, MIN_LINE_BYTES, fit_line, identity_line


class Render:
    """Processor that returns the event as JSON bytes in UTF-8, with `event_type` as its first key.

    The bytes hold no newline but the one at the end, whatever the event holds. Values have to be normalised before:
    orjson writes NaN as null and refuses what it does not know.

    Args:
        append_newline: End the bytes with a newline, for sinks that write lines as they are. structlog's own loggers
            append it themselves.
        max_bytes: Most bytes of a line, newline included, at least 1,024. The largest fields of an event that needs
            more are shrunk and listed in `truncated_fields`; ids and envelope keep their values.

    Raises:
        ConfigError: `max_bytes` is too small.
    """

    def __init__(self, *, append_newline: bool = False, max_bytes: int = MAX_LINE_BYTES) -> None:
        if max_bytes < MIN_LINE_BYTES:
            raise ConfigError(f"max_bytes: a line needs at least {MIN_LINE_BYTES:,} bytes")
        self._option = orjson.OPT_APPEND_NEWLINE if append_newline else 0
        self._max_bytes = max_bytes if append_newline else max_bytes - 1

    def __call__(self, logger: Any, method_name: str, event_dict: Event) -> bytes:
        """Encode the event.

        Raises:
            TypeError: The event holds something that is not JSON (orjson.JSONEncodeError).
        """
        if next(iter(event_dict), None) != "event_type" and "event_type" in event_dict:
            event_dict = {"event_type": event_dict["event_type"], **event_dict}
        line = orjson.dumps(event_dict, option=self._option)
        return line if len(line) <= self._max_bytes else fit_line(line, self._max_bytes)


def minimal_line(event: Event, error_name: str) -> bytes:
    """Return a line for an event that could not be rendered: what it was, its ids, and the name of the error.

    Args:
        event: The event as it came to the renderer.
        error_name: Class of the error, written as `render_error`.

    Returns:
        One JSON object ending in a newline. Never raises an Exception.
    """
    return identity_line({name: _scalar(event, name) for name in IDENTITY}, as_text(normalise_value(error_name)))


def _scalar(event: Event, name: str) -> JsonValue:
    try:
        return normalise_value(event[name])
    except Exception:
        return None
