"""How records get to a sink that may stall: through a bounded queue, by a thread of its own."""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import SystemRandom
from typing import Any, Literal, TypeAlias

from structllm._account import Account
from structllm._backoff import Backoff
from structllm._delivery import ABANDONED, CLOSED, DirectDelivery, OnDrop
from structllm._exit import here, occupied
from structllm._hooks import drop_reason, flushed, health_of, renew, taken_of
from structllm._queue import BoundedQueue
from structllm._types import Record, Sink
from structllm.errors import SinkRejected, SinkUnavailable

OnFull: TypeAlias = Literal["block", "drop_newest", "drop_oldest"]

QUEUE_FULL = "queue_full"

_BATCH_RECORDS = 500
_BATCH_BYTES = 1024 * 1024
_LINGER_S = 0.02  # what a lone record waits for company: fewer batches, and the callers need not wake the thread
_IDLE_S = 10.0
_START_AGAIN_S = 1.0


@dataclass(slots=True, eq=False)
class _Flush:
    """A flush on its way: it is due when so many records have left the queue."""

    target: int
    deadline_s: float
    last: bool
    done: bool = False
    result: bool = False


class BackgroundDelivery:
    """Queues records; a daemon thread, started at the first one, hands them to the sink in batches.

    The thread alone calls the sink, so that nothing else waits for it. While the sink is unavailable, it tries again
    after `uniform(0, min(60 s, 0.5 s * 2**n))`, for as long as the queue has room. A record that the sink rejects, or
    raises about, is dropped alone. Where no thread starts (the interpreter exits), records are delivered at once.

    Args:
        sink: The destination.
        on_full: What happens to a record that finds the queue full: it waits for room, it is dropped, or the oldest
            queued one is. A tenth of both bounds is kept for decisions.
        block_timeout_s: Longest wait for room, in seconds.
        queue_max_bytes: Bound on the bytes of the lines that wait, those being written included.
        queue_max_items: The same for their number.
        clock: Monotonic seconds.
        uniform: Draws a number between two; default: from the system, as the host's own generator is the host's.
        wait: Waits for a condition, so many seconds at most.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        on_full: OnFull = "drop_newest",
        block_timeout_s: float = 1.0,
        queue_max_bytes: int = 64 * 1024 * 1024,
        queue_max_items: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] | None = None,
        wait: Callable[[threading.Condition, float], object] = threading.Condition.wait,
    ) -> None:
        self.sink = sink
        self.account = Account()
        self._on_full: OnFull = on_full
        self._block_timeout_s = block_timeout_s
        self._bounds = (queue_max_items, queue_max_bytes)
        self._clock = clock
        self._uniform = uniform or SystemRandom().uniform
        self._wait = wait
        self.attach(lambda reason, count: None, lambda: None, lambda: None)
        self._direct = DirectDelivery(sink, account=self.account, clock=clock)
        self._closed = self._retired = False
        self._begin()

    def _begin(self) -> None:
        self._lock = self.account.lock
        self._wake = threading.Condition(self._lock)  # for the thread: there is something to do
        self._progress = threading.Condition(self._lock)  # for those who wait for the thread
        self._queue = BoundedQueue(*self._bounds)
        self._in_flight: list[Record] = []
        self._epoch = 0  # moves when records are given up: a thread that hung must not account for them again
        self._came = self._left = 0
        self._waited_in_vain_at = -1  # what had left when a caller waited for room and got none
        self._flushes: deque[_Flush] = deque()
        self._worker: threading.Thread | None = None
        self._asleep = self._busy = self._hurry = self._started = self._sink_closed = False
        self._start_again_s = 0.0
        self._linger_until_s: float | None = None
        self._singly = 0  # so many records of the batch are yet to be written alone
        self._backoff = Backoff(self._clock, self._uniform)

    def attach(self, on_drop: OnDrop, on_recovery: Callable[[], None], on_start: Callable[[], None]) -> None:
        """Say whom to tell of drops, that records get through again, and that the first thread here starts."""
        self._on_drop, self._on_recovery, self._on_start = on_drop, on_recovery, on_start

    def write(self, record: Record) -> str | None:
        """Queue the record. Returns the reason when it was dropped, None, or what delivering it at once returned."""
        removed: list[Record] = []
        reason: str | None = None
        with self._lock:
            at_once = self._worker is None and not self._closed and (self._retired or not self._start())
            if not at_once:
                reason = CLOSED if self._closed else ABANDONED if self._retired else None
                if reason is None and not self._queue.put(record):
                    reason = self._when_full(record, removed)
                self.account.accepted += 1
                if reason is not None:
                    self.account.drop(record, reason)
                else:
                    self._came += 1
                if self._asleep:
                    self._asleep = False
                    self._wake.notify()
        if at_once:
            return self._direct.write(record)
        if removed:
            self._on_drop(QUEUE_FULL, len(removed))
        return reason

    def _when_full(self, record: Record, removed: list[Record]) -> str | None:
        """Find room for a record, or the reason why it is dropped."""
        if self._on_full == "drop_oldest":
            removed += self._queue.make_room(record)
            for old in removed:
                self.account.drop(old, QUEUE_FULL)
            self._left += len(removed)
            return None if self._queue.put(record) else QUEUE_FULL
        if self._on_full == "block" and threading.current_thread() is not self._worker:
            # Callers come one after the other: who comes while nothing has left since one waited in vain does not wait.
            in_vain = self._waited_in_vain_at == self._left
            deadline_s = self._clock() + (0.0 if in_vain else self._block_timeout_s)
            while (remaining_s := deadline_s - self._clock()) > 0:
                self._hurry = True
                self._wake.notify()
                self._wait(self._progress, remaining_s)
                if self._closed or self._retired:
                    return CLOSED if self._closed else ABANDONED
                if self._queue.put(record):
                    return None
            self._waited_in_vain_at = self._left
        return QUEUE_FULL

    def _start(self) -> bool:
        """Start the thread; return False where there can be none. Called with the lock held."""
        now_s = self._clock()
        if now_s < self._start_again_s:
            return False
        self._worker = threading.Thread(target=self._work, name="structllm-delivery", daemon=True)
        try:
            self._worker.start()
        except RuntimeError:  # the interpreter exits, or the system has no more threads
            self._worker = None
            self._start_again_s = now_s + _START_AGAIN_S
            return False
        if not self._started:
            self._started = True
            self._on_start()
        return True

    def _work(self) -> None:
        while True:
            with occupied(), self._lock:
                if (due := self._await_task()) is None:
                    continue
                if not due:
                    break
                flush = self._flushes.popleft() if self._flush_is_due() else None
                batch = self._take() if flush is None else []
                epoch, self._busy = self._epoch, True
            if flush is not None:
                self._flush_sink(flush)
            else:
                self._deliver(batch, epoch)

    def _await_task(self) -> bool | None:
        """Wait for something to do; False when the thread ends, None where events wait for it to let go of the lock."""
        while True:
            if self._flush_is_due():
                return True
            if here.inside.late:
                return None
            if self._in_flight or self._queue:
                pause_s = self._pause_s()
                if pause_s <= 0:
                    return True
                self._wait(self._wake, pause_s)
            elif self._closed or self._retired:
                break
            else:
                self._asleep = True
                self._wait(self._wake, _IDLE_S)
                self._asleep = False
                if not (self._queue or self._flushes or self._closed or self._retired):
                    break
        if self._closed:
            self._close_sink()
        self._worker = None
        self._progress.notify_all()
        return False

    def _pause_s(self) -> float:
        """Return how long the next batch has to wait: for the next try, or for company."""
        if (pause_s := self._backoff.pause_s()) > 0:
            return pause_s
        full = len(self._queue) >= _BATCH_RECORDS or self._queue.bytes >= _BATCH_BYTES
        if full or self._in_flight or self._hurry or self._flushes or self._closed or self._retired:
            return 0.0
        now_s = self._clock()
        if self._linger_until_s is None:
            self._linger_until_s = now_s + _LINGER_S
        return self._linger_until_s - now_s

    def _take(self) -> list[Record]:
        if not self._in_flight:
            self._in_flight = self._queue.take(_BATCH_RECORDS, _BATCH_BYTES)
            self._linger_until_s = None
            self._hurry = False
        return self._in_flight[:1] if self._singly else self._in_flight[:]

    def _deliver(self, batch: list[Record], epoch: int) -> None:
        """Hand a batch to the sink, and account for what became of it."""
        error: BaseException | None = None
        try:
            self.sink.write(batch)
        except BaseException as raised:  # there is no host behind this thread that it could be meant for
            error = raised
        with occupied(), self._lock:
            self._busy = False
            recovered, reason = False, None
            if epoch == self._epoch:
                taken = len(batch) if error is None else taken_of(error, len(batch))
                self._delivered(batch[:taken])
                if error is not None and taken < len(batch):
                    reason = self._failed(error, batch, taken)
                recovered = taken > 0 and self.account.troubled and self.account.report_is_due()
            self._progress.notify_all()
        with suppress(Exception):  # whatever goes wrong there, this thread has to go on
            if reason is not None:
                self._on_drop(reason, 1)
            if recovered:
                self._on_recovery()

    def _delivered(self, records: list[Record]) -> None:
        if not records:
            return
        account = self.account
        account.delivered += len(records)
        if account.troubled:
            for record in records:
                account.confirm(record)
        self._leave(records)
        self._singly = max(0, self._singly - len(records))
        self._backoff.reset()

    def _failed(self, error: BaseException, batch: list[Record], taken: int) -> str | None:
        """Decide what becomes of the first record that the sink did not take; return the reason if it is dropped."""
        if isinstance(error, SinkUnavailable):
            self._backoff.fail()
            return None
        self._backoff.reset()
        if len(batch) > 1 and not (taken and isinstance(error, SinkRejected)):
            self._singly = len(batch) - taken  # the sink may not have told which record it was
            return None
        reason = drop_reason(error) if isinstance(error, Exception) else f"sink_bug:{type(error).__name__}"
        self.account.drop(batch[taken], reason)
        self._leave(batch[taken : taken + 1])
        self._singly = max(0, self._singly - 1)
        return reason

    def _leave(self, records: list[Record]) -> None:
        self._queue.release(records)
        del self._in_flight[: len(records)]
        self._left += len(records)

    # --- flush, exit, close, fork ------------------------------------------------------------------------------------

    def begin_flush(self, timeout_s: float, *, last: bool = False) -> Callable[[float], bool]:
        """Have everything delivered without delay and the sink flushed; return what waits for it."""
        with self._lock:
            if self._closed and self._worker is not None and not (self._in_flight or self._queue):
                return lambda timeout_s: False  # nothing waits, and who closed it has waited for the sink already
            if self._worker is None and (self._closed or self._retired or not self._start()):
                return self._direct.begin_flush(timeout_s, last=last)
            flush = _Flush(self._came, self._clock() + timeout_s, last)
            self._flushes.append(flush)
            self._make_haste()
        return lambda timeout_s: self._await_flush(flush, timeout_s)

    def _await_flush(self, flush: _Flush, timeout_s: float) -> bool:
        deadline_s = self._clock() + timeout_s
        with self._lock:
            while not flush.done and (remaining_s := deadline_s - self._clock()) > 0:
                self._wait(self._progress, remaining_s)
            whole = self.account.whole_since_last_flush()
            if flush in self._flushes:
                self._flushes.remove(flush)
            return flush.result and whole

    def _flush_is_due(self) -> bool:
        return bool(self._flushes) and self._left >= self._flushes[0].target

    def _flush_sink(self, flush: _Flush) -> None:
        try:
            flush.result = flushed(self.sink, max(0.0, flush.deadline_s - self._clock()), last=flush.last)
        except BaseException:
            flush.result = False
        with occupied(), self._lock:
            self._busy = False
            flush.done = True
            self._progress.notify_all()

    def _make_haste(self) -> None:
        """Try at once, and begin the delays anew. Called with the lock held."""
        self._backoff.reset()
        self._hurry = True
        self._asleep = False
        self._wake.notify_all()

    def works(self) -> bool:
        """Return whether it is open and everything got through."""
        return not (self._closed or self._in_flight or self._queue)

    def retire(self) -> int:
        """The interpreter exits: drop what waits and deliver at once from now on, unless the sink hangs."""
        with self._lock:
            self._retired = True
            lost = self._abandon()
            if not self._busy:
                self._worker = None
            self._make_haste()
            return lost

    def close(self, timeout_s: float) -> int:
        """Deliver what waits, within `timeout_s` seconds, drop the rest, and have the sink closed."""
        deadline_s = self._clock() + timeout_s
        with self._lock:
            if self._closed:
                return 0
            self._closed = True
            if self._worker is None and (self._retired or not self._start()):
                self._close_sink()
            self._make_haste()
            while self._worker not in (None, threading.current_thread()):
                remaining_s = deadline_s - self._clock()
                if remaining_s <= 0:
                    break
                self._wait(self._progress, remaining_s)
            return self._abandon()

    def _abandon(self) -> int:
        lost = [*self._in_flight, *self._queue.take(len(self._queue), sum(self._bounds))]
        for record in lost:
            self.account.drop(record, ABANDONED)
        self._queue.release(lost)
        self._in_flight = []
        self._singly = 0
        self._backoff.reset()
        self._epoch += 1
        self._left += len(lost)
        self._wake.notify_all()
        self._progress.notify_all()
        return len(lost)

    def _close_sink(self) -> None:
        """Close the sink once, without the lock, which is held when this is called: closing may take its time."""
        if self._sink_closed:
            return
        self._sink_closed = self._busy = True
        self._lock.release()
        try:
            with suppress(Exception):
                self.sink.close()
        finally:
            self._lock.acquire()
            self._busy = False

    def reset_after_fork(self) -> None:
        """Begin with an empty queue, as what waits is the parent's, and without a thread."""
        renew(self.sink)
        self.account.reset()
        self._begin()

    def stats(self) -> dict[str, Any]:
        """Return the account, the bytes that wait, how often a batch was tried again, and the sink's health."""
        with self._lock:
            known = self.account.stats(len(self._in_flight) + len(self._queue))
            known |= {"queued_bytes": self._queue.bytes, "retries": self._backoff.retries}
        return known | health_of(self.sink)
