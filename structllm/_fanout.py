"""Bring each record to every sink that wants it, so that one failing sink does not starve the others."""

import time
from collections.abc import Callable, Iterable, Sequence

from structllm._delivery import RECOVERED, Delivery
from structllm._exit import occupied
from structllm._types import Record

CLOSE_TIMEOUT_S = 5.0
"""How long closing, and the exit of the interpreter, waits for what is not delivered yet."""


class Route:
    """One sink as the fan-out sees it: a name, which records it wants, and how they get there."""

    def __init__(self, name: str, delivery: Delivery, *, level: int = 0, events: frozenset[str] | None = None) -> None:
        self.name = name
        self.delivery = delivery
        self.sink = delivery.sink
        self.level = level
        self.events = events
        self.write = delivery.write  # one frame less for every event

    def wants(self, event_type: str, level: int) -> bool:
        """Return whether records of this type and level go to this sink."""
        return level >= self.level and (self.events is None or event_type in self.events)


class FanOut:
    """All routes of a logger.

    Args:
        routes: Where records go; names must be unique.
        least_level: Level number below which no route gets anything.
        report: Called with a route's name, a drop reason and a number of records, each time some are dropped.
        on_recovery: Called with a route that takes records again after it dropped some.
        on_start: Called when a delivery begins to let records wait in this process.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        least_level: int,
        report: Callable[[str, str, int], None],
        on_recovery: Callable[[Route], None],
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self.routes = tuple(routes)
        self._least_level = least_level
        self._report = report
        self._on_recovery = on_recovery
        self._on_start = on_start
        self._chosen: dict[tuple[str, int], tuple[Route, ...]] = {}
        self._late: dict[tuple[str, int, int], tuple[Route, ...]] = {}
        for route in self.routes:
            self._attach(route)

    def _attach(self, route: Route) -> None:
        route.delivery.attach(
            lambda reason, count: self._report(route.name, reason, count),
            lambda: self._on_recovery(route),
            self._on_start,
        )

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
        recovered: list[Route] | None = None
        for route in routes:
            outcome = route.write(record)
            if outcome is RECOVERED:
                recovered = [*(recovered or ()), route]
            elif outcome is not None:
                self._report(route.name, outcome, 1)
        if recovered is not None:
            # Only now: no route shall get the event about the gap before the record that came first.
            for route in recovered:
                self._on_recovery(route)

    def close(self) -> None:
        """Deliver what waits, tell of gaps, and close the sinks, all within 5 seconds."""
        deadline_s = time.monotonic() + CLOSE_TIMEOUT_S
        finish((self,), deadline_s)
        for route in self.routes:
            with occupied():
                lost = route.delivery.close(max(0.0, deadline_s - time.monotonic()))
            self._tell_of_loss(route, lost)

    def retire(self) -> None:
        """Give up what still waits, as the interpreter exits, and deliver the rest at once."""
        for route in self.routes:
            with occupied():
                lost = route.delivery.retire()
            self._tell_of_loss(route, lost)

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child."""
        for route in self.routes:
            route.delivery.reset_after_fork()

    def tell_gaps(self) -> None:
        """Have the event written for every gap that none tells of yet, where the sink works."""
        with occupied():
            due = [each for each in self.routes if each.delivery.account.is_untold() and each.delivery.works()]
        for route in due:
            self._on_recovery(route)

    def _tell_of_loss(self, route: Route, lost: int) -> None:
        if lost:
            self._report(route.name, "shutdown_abandoned", lost)


def flush(routes: Iterable[Route], deadline_s: float, *, last: bool = False) -> bool:
    """Flush routes side by side; return whether all that they accepted is at its destination by the deadline.

    With `last`, the sinks are told that nothing is meant to come behind that.
    """
    with occupied():
        ends = [route.delivery.begin_flush(max(0.0, deadline_s - time.monotonic()), last=last) for route in routes]
        done = [end(max(0.0, deadline_s - time.monotonic())) for end in ends]
    return all(done)


def finish(fan_outs: Sequence[FanOut], deadline_s: float) -> None:
    """Flush all, tell of gaps, and flush that as well. Side by side: a sink that hangs costs no other its time."""
    routes = [route for fan_out in fan_outs for route in fan_out.routes]
    flush(routes, deadline_s, last=True)
    if any(route.delivery.account.is_untold() for route in routes):
        for fan_out in fan_outs:
            fan_out.tell_gaps()
        flush(routes, deadline_s, last=True)
