"""How records get to one sink: at once, in the caller's thread. The other way is in `_background.py`.

A delivery owns all calls of its sink, the account of the records, what happens when the sink fails, forks and closes.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

from structllm._account import Account
from structllm._hooks import drop_reason, flushed, health_of, renew
from structllm._types import Record, Sink
from structllm.errors import SinkError, SinkUnavailable

RECOVERED: Final = ""
"""What `write` returns for a record that arrived after others were dropped: now `log_gap` can tell of them."""

ABANDONED: Final = "shutdown_abandoned"
CLOSED: Final = "closed"

_FAILURES_TO_OPEN = 5
_REST_PER_ATTEMPT = 100.0  # a sink that always fails costs the host one hundredth of its time
_SHORTEST_REST_S = 0.001
_LONGEST_REST_S = 30.0


OnDrop: TypeAlias = Callable[[str, int], None]
"""Is told a reason, and how many records were dropped for it."""


class Delivery(Protocol):
    """Brings records to one sink and accounts for them. No method raises an Exception."""

    sink: Sink
    account: Account

    def attach(self, on_drop: OnDrop, on_recovery: Callable[[], None], on_start: Callable[[], None]) -> None:
        """Say whom to tell of what happens outside of `write`: drops (reason, count), that the sink works again, and,
        once in a process, that records will wait from now on."""
        ...

    def write(self, record: Record) -> str | None:
        """Take a record. Returns the reason when it was dropped, `RECOVERED`, or None.

        Called by one thread at a time, which the emitter sees to: records are in the order of their numbers.
        """
        ...

    def begin_flush(self, timeout_s: float, *, last: bool = False) -> Callable[[float], bool]:
        """Begin to flush; return what waits, so many seconds, for the end and says whether all accepted records have
        reached the destination. Several sinks can be flushed side by side. With `last`, the sink is told before that
        nothing is meant to come behind it."""
        ...

    def works(self) -> bool:
        """Return whether a record written now is likely to arrive."""
        ...

    def retire(self) -> int:
        """The interpreter exits: drop what still waits, deliver at once from now on; return how many were dropped."""
        ...

    def close(self, timeout_s: float) -> int:
        """Close the sink, once; later records are dropped as `closed`. Returns how many waiting ones were dropped."""
        ...

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child, which shares nothing but the destination."""
        ...

    def stats(self) -> dict[str, Any]:
        """Return the account, and the sink's health where it tells."""
        ...


class DirectDelivery:
    """Hands each record to the sink at once, in the caller's thread; once only, since trying again would block it.

    A sink that failed five times in a row is left alone for a hundred times as long as the quickest of the last four
    failures took (1 ms to 30 s): one that hangs costs little of the host's time, one that fails quickly, such as a full
    disk, is back at once. A single slow failure may be the scheduler's doing.
    A rejected record says nothing about the next one and does not count.

    Args:
        sink: The destination.
        account: Where to count; default: a new one.
        clock: Monotonic seconds.
    """

    def __init__(
        self, sink: Sink, *, account: Account | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.sink = sink
        self.account = account if account is not None else Account()
        self._clock = clock
        self._sink_write = sink.write
        self._failures = 0
        self._took_s: deque[float] = deque(maxlen=_FAILURES_TO_OPEN - 1)  # the first failure comes unawares
        self._rest_until_s = 0.0
        self._last_reason = ""
        self._closed = False
        # Closed, failing or with a gap to tell: all that the fast path has to look at. A shared account may change.
        self._careful = self._shared = account is not None

    def attach(self, on_drop: OnDrop, on_recovery: Callable[[], None], on_start: Callable[[], None]) -> None:
        """Nothing happens here outside of `write`."""

    def write(self, record: Record) -> str | None:
        """Hand the record to the sink. Returns the reason when it was dropped, `RECOVERED`, or None."""
        account = self.account
        if self._careful:
            with account.lock:
                account.accepted += 1
                return self._write_carefully(record)
        # Without the lock: one thread at a time comes here, and nobody else changes these two.
        account.accepted += 1
        try:
            self._sink_write((record,))
        except BaseException as error:
            with account.lock:
                return self._failed(record, error)
        account.delivered += 1
        return None

    def _write_carefully(self, record: Record) -> str | None:
        if self._closed:
            self.account.drop(record, CLOSED)
            return CLOSED
        started_s = self._clock()
        if started_s < self._rest_until_s:
            self.account.drop(record, self._last_reason)
            return self._last_reason
        try:
            self._sink_write((record,))
        except BaseException as error:
            reason = self._failed(record, error)
            now_s = self._clock()
            self._took_s.append(now_s - started_s)
            if self._failures >= _FAILURES_TO_OPEN:
                rest_s = _REST_PER_ATTEMPT * min(self._took_s)
                self._rest_until_s = now_s + min(_LONGEST_REST_S, max(_SHORTEST_REST_S, rest_s))
            return reason
        account = self.account
        account.delivered += 1
        account.confirm(record)
        self._failures = 0
        self._careful = self._closed or self._shared or account.troubled
        return RECOVERED if account.report_is_due() else None

    def _failed(self, record: Record, error: BaseException) -> str:
        reason = drop_reason(error)
        self.account.drop(record, reason)
        self._careful = True
        if not isinstance(error, Exception):
            raise error  # the host's own: Ctrl-C or sys.exit in the middle of a write
        if isinstance(error, SinkUnavailable) or not isinstance(error, SinkError):
            self._failures += 1
            self._last_reason = reason
        return reason

    def begin_flush(self, timeout_s: float, *, last: bool = False) -> Callable[[float], bool]:
        """Return what flushes the sink. A sink at rest is tried as well: whoever flushes wants to know."""
        return partial(self._flush, last)

    def _flush(self, last: bool, timeout_s: float) -> bool:
        whole = self.account.whole_since_last_flush()
        try:
            return flushed(self.sink, timeout_s, last=last) and whole
        except Exception:
            return False

    def works(self) -> bool:
        """Return whether it is neither closed nor resting."""
        return not self._closed and self._clock() >= self._rest_until_s

    def retire(self) -> int:
        """Nothing waits here: return 0."""
        return 0

    def close(self, timeout_s: float) -> int:
        """Close the sink once; nothing waits, so return 0."""
        with self.account.lock:
            if not self._closed:
                self._closed = self._careful = True
                # No record is lost by a failure here: what the sink took it has, what it did not take is counted.
                with suppress(Exception):
                    self.sink.close()
        return 0

    def reset_after_fork(self) -> None:
        """Begin a new account with a new lock."""
        renew(self.sink)
        self.account.reset()

    def stats(self) -> dict[str, Any]:
        """Return accepted, delivered, dropped by reason and pending; and `health` where the sink tells."""
        return self.account.stats() | health_of(self.sink)
