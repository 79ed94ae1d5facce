"""The two contracts of the house, and the value that passes between them.

A *processor* is structlog's own callable type, unchanged. A *sink* is one Protocol of three methods. A `Record` is an
event that has been rendered once and is shared by every sink. This module imports nothing of ours.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

Event: TypeAlias = MutableMapping[str, Any]
"""An event on its way through the chain: field name to value. Processors may change it in place."""

Processor: TypeAlias = Callable[[Any, str, Event], Any]
"""structlog's processor type, `(logger, method_name, event_dict) -> event_dict`; a renderer returns bytes."""

Clock: TypeAlias = Callable[[], datetime]
"""Returns the current time as an aware UTC datetime."""

Ids: TypeAlias = Callable[[str], str]
"""Returns a fresh id for a kind (`req`, `dec`, `ses`, `wtr`), for example `req_67890def01234567`."""

Defer: TypeAlias = Callable[[float, Callable[[], None]], None]
"""Runs a job in another thread, so many seconds from now. A job may never be run: it is to be one that can be repeated.
"""

LEVELS: Mapping[str, int] = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
"""Level names and their numbers, as in the standard library's logging."""


class Record(NamedTuple):
    """One rendered event: what a sink receives.

    Attributes:
        event_type: For routing, e.g. `completion_request`.
        level: Level number, 10 (DEBUG) to 50 (CRITICAL).
        line: One JSON object in UTF-8, ending in a newline and containing no other newline.
        event: The event that was rendered, for sinks that lay it out anew. Read-only by agreement.
    """

    event_type: str
    level: int
    line: bytes
    event: Mapping[str, Any]


@runtime_checkable
class Sink(Protocol):
    """A destination of records.

    A sink never retries, never starts threads and never swallows its own errors: it raises `SinkUnavailable` (trying
    again may help) or `SinkRejected` (it will not) and nothing else, with the number of records `taken` before that. It
    may be used alone, without the logger. Six more methods are called where a sink has them:

    - `reset_after_fork()` in a forked child; a sink with a lock takes a new one, which nobody holds.
    - `health() -> Mapping[str, Any]` for `stats()`: counts and conditions, e.g. `{"rotations": 3}`.
    - `defer_to(defer: Defer)` once, before the first write: how to have slow work done in another thread.
    - `defer_uploads_to(defer: Defer)` likewise: for work that waits for a network, which has a thread of its own.
    - `about_to_close()` before the flush that is meant to be the last, at `close()` and when the interpreter exits.
    - `report_to(report: Callable[[str], None])` once, too: how to tell people, on stderr, that it does less than usual.
    """

    def write(self, batch: Sequence[Record], /) -> None:
        """Take every record of the batch, in order, or raise."""
        ...

    def flush(self, timeout_s: float, /) -> bool:
        """Return True only if everything written has reached its destination within `timeout_s` seconds."""
        ...

    def close(self) -> None:
        """Flush within a bound and release what the sink holds. Calling it again does nothing."""
        ...
