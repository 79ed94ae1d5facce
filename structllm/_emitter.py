"""The one place that runs the chain, and the one place that catches, counts and never raises.

structlog lets a processor's exception reach the caller; in an agent that is an outage. Here a failing processor costs
its own contribution to that event, a failing renderer leaves a minimal record, a failing sink costs that sink.
"""

import itertools
import os
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import structlog

from structllm._exit import exit_gate
from structllm._fanout import FanOut, Route
from structllm._types import LEVELS, Clock, Event, Ids, Processor, Record
from structllm.events import SCHEMA_VERSION, Envelope
from structllm.processors.context import with_bound
from structllm.processors.render import minimal_line

RESERVED = frozenset(Envelope.__annotations__) - {"session_id"}
"""Names that only the emitter gives; a caller's field of that name is kept under the name with `_` appended."""

# These are measured even where their level keeps them out of every sink.
_MEASURED = frozenset({"completion_response"})

# A sink or a processor may log about an event that it handles. What it logs about those events is refused: without a
# bound it would go on for ever.
_MAX_NESTING = 1

_DIAGNOSTIC_INTERVAL_S = 30.0


class Diagnostics:
    """Short notices on stderr, at most once per reason and 30 s, so that a broken disk does not flood a console."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def notice(self, reason: str, text: str) -> None:
        """Print `structllm: text` unless the same reason was printed in the last 30 s. Never raises."""
        now = time.monotonic()
        if now - self._last.get(reason, -_DIAGNOSTIC_INTERVAL_S) < _DIAGNOSTIC_INTERVAL_S:
            return
        self._last[reason] = now
        try:
            print(f"structllm: {text}", file=sys.stderr, flush=True)
        except Exception:
            return


class EventLogger(structlog.BoundLoggerBase):
    """structlog's bound logger with one entry that takes the whole event as a mapping.

    structlog's own methods re-pack keyword arguments in three frames; this one builds the event once. `bind`, `unbind`
    and `new` are structlog's.
    """

    _logger: "Emitter"

    @property
    def bound(self) -> Mapping[str, Any]:
        """The fields that every event of this logger gets."""
        context: Mapping[str, Any] = self._context
        return context

    @property
    def emitter(self) -> "Emitter":
        """The emitter behind this logger and all that were bound from it."""
        return self._logger

    def emit(
        self,
        event_type: str,
        level: str,
        fields: Mapping[str, Any],
        timestamp: str | None = None,
        *,
        keep: bool = False,
    ) -> Mapping[str, Any] | None:
        """Send an event through the chain to the sinks.

        Args:
            event_type: What happened.
            level: Level name.
            fields: The fields of this event; they win over bound ones.
            timestamp: The event's own time as written; None means now.
            keep: Run the chain even where no sink takes the event, because it may be written late.

        Returns:
            The event as it left the chain, or None if it was filtered out.
        """
        if self._context:
            fields = with_bound(self.bound, event_type, fields)
        return self._logger.emit(event_type, level, fields, timestamp, self._processors, keep)


class Emitter:
    """Runs events through the chain and hands records to the sinks. Shared by a logger and its bound children.

    Args:
        render: The last processor: event to bytes ending in a newline.
        routes: Where records go.
        session_id: The session of events that have none bound.
        least_level: Events below this level name reach no sink.
        service: Written into every event when not None.
        clock: Source of timestamps (aware UTC).
        ids: Source of the writer id.
        after_fork: Called in a forked child, which becomes a writer of its own.
    """

    def __init__(
        self,
        *,
        render: Processor,
        routes: Sequence[Route],
        session_id: str,
        least_level: str,
        service: str | None,
        clock: Clock,
        ids: Ids,
        after_fork: Sequence[Callable[[], None]] = (),
    ) -> None:
        self.session_id = session_id
        self.diagnostics = Diagnostics()
        self.fan_out = FanOut(routes, least_level=LEVELS[least_level], report=self._report_drop)
        self._render = render
        self._service = service
        self._clock = clock
        self._ids = ids
        self._on_fork = tuple(after_fork)
        self._nesting = threading.local()
        self._begin()
        _alive.add(self)

    def _begin(self) -> None:
        self.writer = self._ids("wtr")
        self._seq = itertools.count(1)
        self._counts_lock = threading.RLock()
        self._errors: Counter[str] = Counter()
        self._dropped_by_chain = 0
        self._refused_at_exit = 0
        self._refused_as_nested = 0

    def reset_after_fork(self) -> None:
        """Become a writer of its own: (writer, seq) identifies an event, and both processes go on counting."""
        self._begin()
        for route in self.fan_out.routes:
            route.reset_after_fork()
        for reset in self._on_fork:
            reset()

    def emit(
        self,
        event_type: str,
        level: str,
        fields: Mapping[str, Any],
        timestamp: str | None,
        processors: Iterable[Processor],
        keep: bool = False,
    ) -> Mapping[str, Any] | None:
        """Run the chain and write the record; see `EventLogger.emit`. Never raises an Exception."""
        if not exit_gate.enter():
            with self._counts_lock:
                self._refused_at_exit += 1
            return None
        depth = getattr(self._nesting, "depth", 0)
        if depth > _MAX_NESTING:
            exit_gate.leave()
            with self._counts_lock:
                self._refused_as_nested += 1
            return None
        self._nesting.depth = depth + 1
        try:
            level_number = LEVELS[level]
            routes = self.fan_out.choose(event_type, level_number)
            if not routes and not keep and event_type not in _MEASURED:
                return None
            event = self._run_chain(self._build(event_type, level, fields, timestamp), level, processors)
            if event is None:
                return None
            if not self._is_whole(event, event_type):
                event = self._made_whole(event, event_type, level, timestamp)
            if not routes:
                return event
            # Numbered last, so that an event that the chain dropped on purpose leaves no gap.
            event["seq"] = next(self._seq)
            record = Record(event_type, level_number, self._line(event, level), event)
            self.fan_out.write(record, routes)
            return event
        except Exception as error:
            self.count_error("emitter", error)
            return None
        finally:
            self._nesting.depth = depth
            exit_gate.leave()

    def late_routes(self, event_type: str, level: str, raised_level: str) -> tuple[Route, ...]:
        """Return the routes that pass over an event of this level but would take it at the raised level.

        A request and its response pass a level filter together: such routes get a request once it has failed.
        """
        return self.fan_out.choose_late(event_type, LEVELS[level], LEVELS[raised_level])

    def write_late(self, event: Mapping[str, Any], routes: Sequence[Route]) -> None:
        """Write an event that already went through the chain to routes that passed it over. Never raises."""
        try:
            level = event["level"]
            late = dict(event)
            if not late["seq"]:
                late["seq"] = next(self._seq)
            self.fan_out.write(Record(late["event_type"], LEVELS[level], self._line(late, level), late), routes)
        except Exception as error:
            self.count_error("emitter", error)

    def now(self) -> str:
        """Return the present as written into events: UTC, RFC 3339, milliseconds, `Z`."""
        return rfc3339(self._clock())

    def stats(self) -> dict[str, Any]:
        """Return the writer, the account of every sink, and errors of processors by name."""
        with self._counts_lock:
            errors, dropped = dict(self._errors), self._dropped_by_chain
            at_exit, as_nested = self._refused_at_exit, self._refused_as_nested
        return {
            "writer": self.writer,
            "processor_errors": errors,
            "dropped_by_chain": dropped,
            "refused_at_exit": at_exit,
            "refused_as_nested": as_nested,
            "sinks": {route.name: route.stats() for route in self.fan_out.routes},
        }

    def dropped(self) -> dict[str, int]:
        """Return the number of dropped records by `sink:reason`."""
        return {
            f"{route.name}:{reason}": count
            for route in self.fan_out.routes
            for reason, count in route.stats()["dropped"].items()
        }

    def _build(self, event_type: str, level: str, fields: Mapping[str, Any], timestamp: str | None) -> Event:
        event: dict[str, Any] = {
            "event_type": event_type,
            "timestamp": timestamp or self.now(),
            "session_id": self.session_id,
            "level": level,
            "schema_version": SCHEMA_VERSION,
            "writer": self.writer,
            "seq": 0,
        }
        if self._service is not None:
            event["service"] = self._service
        if not RESERVED.isdisjoint(fields):
            fields = {f"{name}_" if name in RESERVED else name: value for name, value in fields.items()}
        event.update(fields)
        return event

    def _run_chain(self, event: Event, level: str, processors: Iterable[Processor]) -> Event | None:
        method_name = level.lower()
        for processor in processors:
            try:
                changed = processor(self, method_name, event)
                if type(changed) is not dict:
                    raise TypeError("a processor returns the event")
                event = cast("Event", changed)
            except structlog.DropEvent:
                with self._counts_lock:
                    self._dropped_by_chain += 1
                return None
            except Exception as error:
                event = self._survive(processor, error, event)
        return event

    def _is_whole(self, event: Event, event_type: str) -> bool:
        get = event.get
        return (
            get("event_type") == event_type
            and get("writer") == self.writer
            and "seq" in event
            and type(get("session_id")) is str
            and type(get("timestamp")) is str
            and type(get("level")) is str
        )

    def _made_whole(self, event: Event, event_type: str, level: str, timestamp: str | None) -> Event:
        """Repair the envelope of an event that a processor of the host damaged: without it nobody finds the event."""
        self.count_error("envelope", ValueError())
        envelope = self._build(event_type, level, {}, timestamp)
        kept = {name: event[name] for name in ("session_id", "timestamp", "level") if type(event.get(name)) is str}
        rest = {name: value for name, value in event.items() if name not in envelope}
        errors = [*event.get("processor_errors", ()), "envelope"]
        return {**envelope, **kept, **rest, "processor_errors": errors}

    def _survive(self, processor: Processor, error: Exception, event: Event) -> Event:
        """Go on without what the processor would have done; one that must fail closed says how in `on_error`."""
        name = type(processor).__name__ if not hasattr(processor, "__name__") else processor.__name__
        self.count_error(name, error)
        fallback = getattr(processor, "on_error", None)
        if fallback is not None:
            event = fallback(event)
        event["processor_errors"] = [*event.get("processor_errors", ()), name]
        return event

    def _line(self, event: Event, level: str) -> bytes:
        try:
            line: bytes = self._render(self, level.lower(), event)
            return line
        except Exception as error:
            self.count_error("render", error)
            return minimal_line(event, type(error).__name__)

    def count_error(self, name: str, error: Exception) -> None:
        """Count a failure of our own and say so on stderr, without the text of the error."""
        with self._counts_lock:
            self._errors[name] += 1
        # The class alone: the message of a payload's error may quote the payload.
        self.diagnostics.notice(f"processor:{name}", f"{name} failed with {type(error).__name__}; counted in stats()")

    def _report_drop(self, sink: str, reason: str) -> None:
        self.diagnostics.notice(
            f"sink:{sink}:{reason}", f"sink {sink!r} dropped a record ({reason}); counted in stats()"
        )


# The fork hook cannot be taken back, so there is one for all emitters instead of one for each.
_alive: "weakref.WeakSet[Emitter]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for emitter in list(_alive):
        emitter.reset_after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


def rfc3339(moment: datetime) -> str:
    """Return an aware datetime as UTC text with milliseconds and `Z`."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def random_id(kind: str) -> str:
    """Return `kind_` and 64 random bits in hexadecimal; a session id comes without the prefix."""
    bits = os.urandom(8).hex()
    return bits if kind == "ses" else f"{kind}_{bits}"


def counted_ids() -> Ids:
    """Return a cheaper source of ids for a logger that writes nothing: a random beginning and a count."""
    beginning, numbers = os.urandom(4).hex(), itertools.count(1)
    return lambda kind: f"{kind}_{beginning}{next(numbers):08x}"


def utc_now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)
