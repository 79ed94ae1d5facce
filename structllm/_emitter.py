"""The one place that runs the chain, and the one place that catches, counts and never raises.

structlog lets a processor's exception reach the caller; in an agent that is an outage. Here a failing processor costs
its own contribution to that event, a failing renderer leaves a minimal record, a failing sink costs that sink.
"""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Context
from functools import partial
from typing import Any, NamedTuple, cast

import structlog

from structllm._account import Gap
from structllm._diagnostics import Diagnostics
from structllm._exit import exit_gate, here, occupied
from structllm._fanout import FanOut, Route
from structllm._hooks import class_of
from structllm._process import enrol, finish_at_exit
from structllm._sources import Stamp, rfc3339
from structllm._types import LEVELS, Clock, Event, Ids, Processor, Record
from structllm.events import SCHEMA_VERSION, Envelope
from structllm.processors.redact import DROP_REASON
from structllm.processors.render import minimal_line

RESERVED = frozenset(Envelope.__annotations__) - {"session_id"}
"""Names that only the emitter gives; a caller's field of that name is kept under the name with `_` appended."""

# These are measured even where their level keeps them out of every sink.
_MEASURED = frozenset({"completion_response"})

# A sink or a processor may log about an event that it handles. What it logs about those events is refused: without a
# bound it would go on for ever.
_MAX_NESTING = 1

_GAP_WAIT_S = 0.1


class _Plan(NamedTuple):
    """What all events of a type and level have in common.

    Attributes:
        level_number: The level as a number.
        method_name: The level as structlog's processors get it.
        envelope: The envelope behind type and time.
        routes: The sinks that want them.
    """

    level_number: int
    method_name: str
    envelope: Mapping[str, Any]
    routes: tuple[Route, ...]


class Emitter:
    """Runs events through the chain and hands records to the sinks. Shared by a logger and its bound children.

    Args:
        render: The last processor: event to bytes ending in a newline.
        chain: The processors before it, for events of the emitter itself.
        routes: Where records go.
        session_id: The session of events that have none bound.
        least_level: Events below this level name reach no sink.
        service: Written into every event when not None.
        clock: Source of timestamps (aware UTC); default: the system's.
        ids: Source of the writer id.
        after_fork: Called in a forked child, which becomes a writer of its own.
        at_close: Called when the sinks are closed.

    Attributes:
        now: Returns the present as written into events: UTC, RFC 3339, milliseconds, `Z`.
    """

    def __init__(
        self,
        *,
        render: Processor,
        routes: Sequence[Route],
        session_id: str,
        least_level: str,
        service: str | None,
        ids: Ids,
        clock: Clock | None = None,
        diagnostics: Diagnostics | None = None,
        chain: Sequence[Processor] = (),
        after_fork: Sequence[Callable[[], None]] = (),
        at_close: Sequence[Callable[[], None]] = (),
    ) -> None:
        self.session_id = session_id
        self.diagnostics = diagnostics or Diagnostics()
        self.fan_out = FanOut(
            routes,
            least_level=LEVELS[least_level],
            report=self._report_drop,
            on_recovery=self._report_gap,
            on_start=finish_at_exit,
        )
        self._fan_out = self.fan_out.write
        self._render = render
        self._chain = tuple(chain)
        self._service = service
        self.now: Callable[[], str] = Stamp() if clock is None else self._told_by(clock)
        self._ids = ids
        self._on_fork = tuple(after_fork)
        self._at_close = tuple(at_close)
        self._begin()
        enrol(self)

    def _begin(self) -> None:
        self.writer = self._ids("wtr")
        self._seq = itertools.count(1)
        self._plans: dict[tuple[str, str], _Plan] = {}
        # Both re-entrant: a finaliser or signal handler may log in the middle of an event of the same thread.
        self._write_lock = threading.RLock()
        self._counts_lock = threading.RLock()
        self._errors: Counter[str] = Counter()
        self._dropped_by_chain: Counter[str] = Counter()
        self._refused_at_exit = 0
        self._refused_as_nested = 0

    def reset_after_fork(self) -> None:
        """Become a writer of its own: (writer, seq) identifies an event, and both processes go on counting."""
        self._begin()
        self.fan_out.reset_after_fork()
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
        about: tuple[Route, Gap] | None = None,
    ) -> Mapping[str, Any] | None:
        """Run the chain and write the record; see `EventLogger.emit`. Never raises an Exception.

        An event `about` a gap goes to the route that has it, whatever that route wants.
        """
        inside = here.inside
        depth = inside.depth
        inside.depth = depth + 1
        try:
            if depth > _MAX_NESTING or not (exit_gate.is_open or exit_gate.lets_through()):
                self._refuse(depth)
                return None
            plan = self._plans.get((event_type, level)) or self._plan(event_type, level)
            routes = plan.routes
            if about is not None and about[0] not in routes:
                routes = (*routes, about[0])
            if not routes and not keep and event_type not in _MEASURED:
                return None
            event = self._build(event_type, plan.envelope, fields, timestamp)
            if processors:
                chained = self._run_chain(event, plan.method_name, processors)
                if chained is None:
                    return None
                event = chained
                if not self._is_whole(event, event_type):
                    event = self._made_whole(event, event_type, plan.envelope, timestamp)
            if routes:
                if inside.busy and about is None:
                    inside.late.append((depth, partial(self._write, event, event_type, plan, routes, None)))
                else:
                    self._write(event, event_type, plan, routes, about)
            return event
        except Exception as error:
            self.count_error("emitter", error)
            return None
        finally:
            inside.depth = depth

    def _refuse(self, depth: int) -> None:
        with occupied(), self._counts_lock:
            if depth > _MAX_NESTING:
                self._refused_as_nested += 1
            else:
                self._refused_at_exit += 1

    def _write(
        self,
        event: Event,
        event_type: str,
        plan: "_Plan",
        routes: Sequence[Route],
        about: tuple[Route, Gap] | None,
        seq: int = 0,
    ) -> None:
        """Number the event, render it and hand it to the sinks: in one go, so that files are in the order of `seq`."""
        inside = here.inside
        was_busy, inside.busy = inside.busy, True
        try:
            with self._write_lock:
                # Numbered last, so that an event that the chain dropped on purpose leaves no gap.
                event["seq"] = seq = seq or next(self._seq)
                if about is not None:
                    about[1].seq = seq
                try:
                    line = self._render(self, plan.method_name, event)
                except Exception as error:
                    line = self._minimal_line(event, error)
                self._fan_out(Record(event_type, plan.level_number, line, event), routes)
        finally:
            inside.busy = was_busy
            if inside.late and not was_busy:
                inside.catch_up()

    def _plan(self, event_type: str, level: str) -> "_Plan":
        """Work out, once for each kind of event, what is the same for all of a kind."""
        envelope: dict[str, Any] = {
            "session_id": self.session_id,
            "level": level,
            "schema_version": SCHEMA_VERSION,
            "writer": self.writer,
            "seq": 0,
        }
        if self._service is not None:
            envelope["service"] = self._service
        number = LEVELS[level]
        plan = _Plan(number, level.lower(), envelope, self.fan_out.choose(event_type, number))
        self._plans[event_type, level] = plan
        return plan

    def late_routes(self, event_type: str, level: str, raised_level: str) -> tuple[Route, ...]:
        """Return the routes that pass over an event of this level but would take it at the raised level.

        A request and its response pass a level filter together: such routes get a request once it has failed.
        """
        return self.fan_out.choose_late(event_type, LEVELS[level], LEVELS[raised_level])

    def write_late(self, event: Mapping[str, Any], routes: Sequence[Route]) -> None:
        """Write an event that already went through the chain to routes that passed it over. Never raises."""
        try:
            late = dict(event)
            plan = self._plan(late["event_type"], late["level"])
            write = partial(self._write, late, late["event_type"], plan, routes, None, late["seq"])
            inside = here.inside
            if inside.busy:
                inside.late.append((inside.depth, write))
            else:
                write()
        except Exception as error:
            self.count_error("emitter", error)

    def stats(self) -> dict[str, Any]:
        """Return the writer, the account of every sink, and errors of processors by name."""
        with occupied():
            sinks = {route.name: route.delivery.stats() for route in self.fan_out.routes}
        with occupied(), self._counts_lock:
            errors, dropped = dict(self._errors), dict(self._dropped_by_chain)
            at_exit, as_nested = self._refused_at_exit, self._refused_as_nested
        return {
            "writer": self.writer,
            "processor_errors": errors,
            "dropped_by_chain": dropped,
            "refused_at_exit": at_exit,
            "refused_as_nested": as_nested,
            "sinks": sinks,
        }

    def dropped(self) -> dict[str, int]:
        """Return the number of dropped records by `sink:reason`."""
        with occupied():
            return {
                f"{route.name}:{reason}": count
                for route in self.fan_out.routes
                for reason, count in route.delivery.account.stats()["dropped"].items()
            }

    def _told_by(self, clock: Clock) -> Callable[[], str]:
        """Return what formats the time of the host's clock, or of the system's where that one fails."""
        system = Stamp()

        def now() -> str:
            try:
                return rfc3339(clock())
            except Exception as error:
                self.count_error("clock", error)
                return system()

        return now

    def _build(
        self, event_type: str, envelope: Mapping[str, Any], fields: Mapping[str, Any], timestamp: str | None
    ) -> Event:
        event = {"event_type": event_type, "timestamp": timestamp or self.now(), **envelope, **fields}
        # Nearly always no name is there twice; counting finds that out faster than comparing.
        if len(event) != 2 + len(envelope) + len(fields) and not RESERVED.isdisjoint(fields):
            renamed = {f"{name}_" if name in RESERVED else name: value for name, value in fields.items()}
            return self._build(event_type, envelope, renamed, timestamp)
        return event

    def _run_chain(self, event: Event, method_name: str, processors: Iterable[Processor]) -> Event | None:
        for processor in processors:
            try:
                changed = processor(self, method_name, event)
                if type(changed) is not dict:
                    raise TypeError("a processor returns the event")
                event = cast("Event", changed)
            except structlog.DropEvent as drop:
                # What a processor of the host says is its own affair, and may be anything.
                reason = "redaction" if drop.args == (DROP_REASON,) else "processor"
                with occupied(), self._counts_lock:
                    self._dropped_by_chain[reason] += 1
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

    def _made_whole(self, event: Event, event_type: str, envelope: Mapping[str, Any], timestamp: str | None) -> Event:
        """Repair the envelope of an event that a processor of the host damaged: without it nobody finds the event."""
        self.count_error("envelope", ValueError())
        envelope = self._build(event_type, envelope, {}, timestamp)
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

    def _minimal_line(self, event: Event, error: Exception) -> bytes:
        self.count_error("render", error)
        return minimal_line(event, type(error).__name__)

    def count_error(self, name: str, error: Exception) -> None:
        """Count a failure of our own and say so on stderr, without the text of the error."""
        with occupied(), self._counts_lock:
            self._errors[name] += 1
        # The class alone: the message of a payload's error may quote the payload.
        self.diagnostics.notice(f"processor:{name}", f"{name} failed with {class_of(error)}; counted in stats()")

    def close(self) -> None:
        """Flush and close the sinks, within 5 seconds."""
        self.fan_out.close()
        for close in self._at_close:
            close()

    def _report_gap(self, route: Route) -> None:
        """Write the event that tells which records a sink dropped; where it does not come about, tell it later."""
        # A thread that makes room in a queue must not wait for one that holds this lock and waits for room.
        if not self._write_lock.acquire(timeout=_GAP_WAIT_S):
            return
        try:
            account = route.delivery.account
            taken = account.take_gap()
            if taken is None:
                return
            gap, total = taken
            fields = {"sink": route.name, **gap.fields(), "dropped_total": total}
            # In a context of its own: it is about the sink, not about the session or market of whoever logs just now.
            written = Context().run(self.emit, "log_gap", "WARNING", fields, None, self._chain, False, (route, gap))
            if written is None:
                account.give_back(gap)
        finally:
            self._write_lock.release()

    def _report_drop(self, sink: str, reason: str, count: int) -> None:
        records = "a record" if count == 1 else f"{count:,} records"
        self.diagnostics.notice(
            f"sink:{sink}:{reason}", f"sink {sink!r} dropped {records} ({reason}); counted in stats()"
        )
