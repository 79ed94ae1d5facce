"""Requests that wait for their end, and what is remembered of those that ended."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_REMEMBERED = 10_000
"""Requests kept in each of the two registers; the oldest is forgotten first, so memory stays bounded."""


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A request that has no response yet.

    Attributes:
        model: As asked for.
        provider: As given or guessed, or None.
        service_tier: As asked for, or None.
        started_s: Monotonic time of the request in seconds.
        timestamp: The request's own time where the caller imported it, else None.
        symbol: What the market context was about.
        current_price: The price in the market context.
        held: The request event, kept only where a sink wants it if (and only if) the request fails.
    """

    model: Any
    provider: Any
    service_tier: Any
    started_s: float
    timestamp: str | None
    symbol: Any
    current_price: Any
    held: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class EndedRequest:
    """What a decision wants to know of a request that ended."""

    cost_usd: float | None
    symbol: Any
    current_price: Any


class Requests:
    """The requests of one logger and its bound children, by request id. Thread-safe."""

    def __init__(self) -> None:
        self._pending: OrderedDict[str, PendingRequest] = OrderedDict()
        self._ended: OrderedDict[str, EndedRequest] = OrderedDict()
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Forget the pending requests of the parent process, which ends them itself."""
        self._lock = threading.RLock()
        self._pending.clear()
        self._repeated = 0
        self._forgotten = 0

    def begin(self, request_id: str, request: PendingRequest) -> None:
        """Remember a request until its response."""
        with self._lock:
            self._pending[request_id] = request
            if len(self._pending) > MAX_REMEMBERED:
                self._pending.popitem(last=False)
                self._forgotten += 1

    def peek(self, request_id: str | None) -> PendingRequest | EndedRequest | None:
        """Return what is known of a request, pending or ended."""
        if request_id is None:
            return None
        with self._lock:
            return self._pending.get(request_id) or self._ended.get(request_id)

    def end(self, request_id: str) -> tuple[bool, PendingRequest | None]:
        """Take the one ending of a request.

        Returns:
            Whether this is its first ending, and the request if it was pending here. A request of another process
            or of long ago is not known; its ending is taken as the first.
        """
        with self._lock:
            request = self._pending.pop(request_id, None)
            if request is None and request_id in self._ended:
                self._repeated += 1
                return False, None
            self._remember(request_id, EndedRequest(None, *_market(request)))
            return True, request

    def priced(self, request_id: str, cost_usd: float | None) -> None:
        """Add the cost to a request that ended."""
        with self._lock:
            ended = self._ended.get(request_id)
            if ended is not None:
                self._ended[request_id] = EndedRequest(cost_usd, ended.symbol, ended.current_price)

    def stats(self) -> dict[str, int]:
        """Return how many requests are pending, were forgotten unended, and had a second ending refused."""
        with self._lock:
            return {
                "pending": len(self._pending),
                "forgotten": self._forgotten,
                "repeated_responses": self._repeated,
            }

    def _remember(self, request_id: str, ended: EndedRequest) -> None:
        self._ended[request_id] = ended
        if len(self._ended) > MAX_REMEMBERED:
            self._ended.popitem(last=False)


def _market(request: PendingRequest | None) -> tuple[Any, Any]:
    return (None, None) if request is None else (request.symbol, request.current_price)
