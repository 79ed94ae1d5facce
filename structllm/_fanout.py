"""Bring each record to every sink that wants it, so that one failing sink does not starve the others."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from structllm._types import Record, Sink
from structllm.errors import SinkError


class Route:
    """One sink, which records it wants, and the account of what became of them.

    At all times `accepted = delivered + dropped + pending`; a direct sink has nothing pending between two writes.
    """

    def __init__(self, name: str, sink: Sink, *, level: int = 0, events: frozenset[str] | None = None) -> None:
        self.name = name
        self.sink = sink
        self.level = level
        self.events = events
        self._begin()

    def reset_after_fork(self) -> None:
        """Begin a new account with a new lock: the old one may be held by a thread that this process does not have."""
        renew = getattr(self.sink, "reset_after_fork", None)
        if renew is not None:
            renew()
        self._begin()

    def _begin(self) -> None:
        # Re-entrant, since a finaliser or signal handler may log in the middle of a write of the same thread.
        self._lock = threading.RLock()
        self._accepted = 0
        self._delivered = 0
        self._dropped: Counter[str] = Counter()
        self._dropped_at_flush = 0
        self._closed = False

    def wants(self, event_type: str, level: int) -> bool:
        """Return whether records of this type and level go to this sink."""
        return level >= self.level and (self.events is None or event_type in self.events)

    def write(self, record: Record) -> str | None:
        """Hand the record to the sink and account for it; return the reason when it was dropped. Never raises."""
        reason = None
        with self._lock:
            self._accepted += 1
            try:
                if self._closed:
                    reason = "closed"
                else:
                    self.sink.write((record,))
                    self._delivered += 1
            except SinkError as error:
                reason = error.reason
            except Exception as error:
                reason = f"sink_bug:{type(error).__name__}"
            if reason is not None:
                self._dropped[reason] += 1
        return reason

    def flush(self, timeout_s: float) -> bool:
        """Return whether everything accepted since the last flush is at its destination; what was dropped is not."""
        with self._lock:
            dropped = sum(self._dropped.values())
            complete, self._dropped_at_flush = dropped == self._dropped_at_flush, dropped
        try:
            return self.sink.flush(timeout_s) and complete
        except Exception:
            return False

    def close(self) -> None:
        """Close the sink once; later records are dropped with the reason `closed`."""
        with self._lock:
            if not self._closed:
                self._closed = True
                # No record is lost by a failure here: what the sink took it has, what it did not take is counted.
                with suppress(Exception):
                    self.sink.close()

    def stats(self) -> dict[str, Any]:
        """Return accepted, delivered, dropped by reason, and pending (records)."""
        with self._lock:
            dropped = {reason: count for reason, count in self._dropped.items() if count}
            pending = self._accepted - self._delivered - sum(dropped.values())
            return {"accepted": self._accepted, "delivered": self._delivered, "dropped": dropped, "pending": pending}


class FanOut:
    """All routes of a logger.

    Args:
        routes: Where records go; names must be unique.
        least_level: Level number below which no route gets anything.
        report: Called with a route's name and a drop reason for each dropped record.
    """

    def __init__(self, routes: Sequence[Route], *, least_level: int, report: Callable[[str, str], None]) -> None:
        self.routes = tuple(routes)
        self._least_level = least_level
        self._report = report
        self._chosen: dict[tuple[str, int], tuple[Route, ...]] = {}
        self._late: dict[tuple[str, int, int], tuple[Route, ...]] = {}

    def choose(self, event_type: str, level: int) -> tuple[Route, ...]:
        """Return the routes for this kind of record. Remembered, since there are few kinds."""
        key = (event_type, level)
        chosen = self._chosen.get(key)
        if chosen is None:
            above = level >= self._least_level
            chosen = tuple(route for route in self.routes if above and route.wants(event_type, level))
            self._chosen[key] = chosen
        return chosen

    def choose_late(self, event_type: str, level: int, raised_level: int) -> tuple[Route, ...]:
        """Return the routes that pass over a record of this level but take it at the raised one. Remembered, too."""
        key = (event_type, level, raised_level)
        late = self._late.get(key)
        if late is None:
            at_once = self.choose(event_type, level)
            late = tuple(route for route in self.choose(event_type, raised_level) if route not in at_once)
            self._late[key] = late
        return late

    def write(self, record: Record, routes: Sequence[Route]) -> None:
        """Hand the record to each of the routes. Never raises."""
        for route in routes:
            reason = route.write(record)
            if reason is not None:
                self._report(route.name, reason)
