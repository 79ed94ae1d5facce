"""Encode an event as one line of JSON. Always the last processor of a chain."""

from typing import Any

import orjson

from structllm._types import Event
from structllm.processors.normalise import normalise_value

_MINIMAL_FIELDS = (
    "timestamp",
    "session_id",
    "level",
    "schema_version",
    "writer",
    "seq",
    "service",
    "request_id",
    "decision_id",
    "run_id",
    "parent_run_id",
    "success",
    "outcome",
)
_MINIMAL_CHARS = 200


class Render:
    """Processor that returns the event as JSON bytes in UTF-8, with `event_type` as its first key.

    The bytes hold no newline but the one at the end, whatever the event holds. Values have to be normalised before:
    orjson writes NaN as null and refuses what it does not know.

    Args:
        append_newline: End the bytes with a newline, for sinks that write lines as they are. structlog's own loggers
            append it themselves.
    """

    def __init__(self, *, append_newline: bool = False) -> None:
        self._option = orjson.OPT_APPEND_NEWLINE if append_newline else 0

    def __call__(self, logger: Any, method_name: str, event_dict: Event) -> bytes:
        """Encode the event.

        Raises:
            TypeError: The event holds something that is not JSON (orjson.JSONEncodeError).
        """
        if "event_type" in event_dict and next(iter(event_dict)) != "event_type":
            event_dict = {"event_type": event_dict["event_type"], **event_dict}
        return orjson.dumps(event_dict, option=self._option)


def minimal_line(event: Event, error_name: str) -> bytes:
    """Return a line for an event that could not be rendered: what it was, its ids, and the name of the error.

    Args:
        event: The event as it came to the renderer.
        error_name: Class of the error, written as `render_error`.

    Returns:
        One JSON object ending in a newline. Never raises an Exception.
    """
    line: dict[str, Any] = {"event_type": _scalar(event, "event_type") or "unknown"}
    for name in _MINIMAL_FIELDS:
        value = _scalar(event, name)
        if value is not None:
            line[name] = value
    line["render_error"] = normalise_value(error_name)
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _scalar(event: Event, name: str) -> str | int | float | None:
    try:
        value = normalise_value(event[name])
    except Exception:
        return None
    if isinstance(value, str):
        return value[:_MINIMAL_CHARS]
    return None if isinstance(value, list | dict) else value
