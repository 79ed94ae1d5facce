"""What became of the records of one sink, and what of it no `log_gap` event has told yet."""

import threading
from collections import Counter
from typing import Any, TypeVar

from structllm._types import Record

T = TypeVar("T", int, str)

# A sink that takes everything but the report shall not get one report for each record: after reports that failed, every
# second, fourth … success tries again, and at least every 1,024th.
_MAX_DOUBLINGS = 10


class Gap:
    """Records that were dropped: how many for which reason, and between which numbers and times.

    Attributes:
        seq: Number of the `log_gap` event that tells of them; 0 until it has one.
    """

    __slots__ = ("_dropped", "_seqs", "_times", "seq")

    def __init__(self) -> None:
        self.seq = 0
        self._dropped: Counter[str] = Counter()
        self._seqs: tuple[int, int] | None = None
        self._times: tuple[str, str] | None = None

    def __bool__(self) -> bool:
        return bool(self._dropped)

    def add(self, record: Record, reason: str) -> None:
        """Add one dropped record."""
        self._dropped[reason] += 1
        seq, time = record.event.get("seq"), record.event.get("timestamp")
        if isinstance(seq, int):
            self._seqs = _widened(self._seqs, (seq, seq))
        if isinstance(time, str):
            self._times = _widened(self._times, (time, time))

    def merge(self, other: "Gap") -> None:
        """Add all that another gap tells."""
        self._dropped.update(other._dropped)
        if other._seqs is not None:
            self._seqs = _widened(self._seqs, other._seqs)
        if other._times is not None:
            self._times = _widened(self._times, other._times)

    def fields(self) -> dict[str, Any]:
        """Return the fields of `log_gap` that say what was dropped."""
        first_seq, last_seq = self._seqs or (None, None)
        first_time, last_time = self._times or (None, None)
        return {
            "dropped": dict(self._dropped),
            "first_seq": first_seq,
            "last_seq": last_seq,
            "first_dropped_at": first_time,
            "last_dropped_at": last_time,
        }


class Account:
    """Counts of one sink: at all times `accepted = delivered + dropped + pending`.

    Whoever changes or compares counts holds `lock`. It is re-entrant, since a finaliser or signal handler may log in
    the middle of a write of the same thread.

    Attributes:
        lock: Held for every change.
        accepted: Records handed to the sink's delivery.
        delivered: Records that the sink took.
        dropped: Records that it did not take, by reason.
        troubled: Whether records were dropped that no delivered `log_gap` tells of. While False, nothing is due.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, with a new lock: in a forked child a thread of the parent may hold the old one for ever."""
        self.lock = threading.RLock()
        self.accepted = 0
        self.delivered = 0
        self.dropped: Counter[str] = Counter()
        self.troubled = False
        self._untold = Gap()
        self._telling: Gap | None = None
        self._failed_reports = 0
        self._successes_to_skip = 0
        self._dropped_at_flush = 0

    def drop(self, record: Record, reason: str) -> None:
        """Count a dropped record and remember it for `log_gap`. Called with the lock held."""
        self.dropped[reason] += 1
        if self._is_report(record):
            self._report_failed()
        if reason != "closed":  # nothing is delivered after closing, so there is nobody to tell
            self._untold.add(record, reason)
            self.troubled = True

    def confirm(self, record: Record) -> None:
        """Note that a record arrived, which may be the one that tells of a gap. Called with the lock held."""
        if self._is_report(record):
            self._telling = None
            self._failed_reports = 0
            self.troubled = bool(self._untold)

    def report_is_due(self) -> bool:
        """Return whether the sink, which just took a record, shall be told of a gap. Called with the lock held."""
        if self._telling is not None or not self._untold:
            return False
        if self._successes_to_skip:
            self._successes_to_skip -= 1
            return False
        return True

    def is_untold(self) -> bool:
        """Return whether there are drops that no event, written or on its way, tells of."""
        with self.lock:
            return self._telling is None and bool(self._untold)

    def take_gap(self) -> tuple[Gap, int] | None:
        """Return what is to be told, and all drops so far; None where there is nothing or it is being told.

        What was taken is to be given back unless the event reached the delivery.
        """
        with self.lock:
            if self._telling is not None or not self._untold:
                return None
            self._telling, self._untold = self._untold, Gap()
            return self._telling, sum(self.dropped.values())

    def give_back(self, gap: Gap) -> None:
        """Keep a gap for later, whose event did not come about."""
        with self.lock:
            if self._telling is gap:
                self._report_failed()

    def whole_since_last_flush(self) -> bool:
        """Return whether nothing was dropped since this was last asked."""
        with self.lock:
            dropped = sum(self.dropped.values())
            whole, self._dropped_at_flush = dropped == self._dropped_at_flush, dropped
            return whole

    def stats(self, pending: int | None = None) -> dict[str, Any]:
        """Return accepted, delivered, dropped by reason, and pending (records).

        Args:
            pending: Records that wait; None means all that were neither delivered nor dropped.
        """
        with self.lock:
            # In this order: what arrives meanwhile is accepted first, and counts as pending.
            delivered = self.delivered
            dropped = {reason: count for reason, count in self.dropped.items() if count}
            accepted = self.accepted
            if pending is None:
                pending = accepted - delivered - sum(dropped.values())
            return {"accepted": accepted, "delivered": delivered, "dropped": dropped, "pending": pending}

    def _is_report(self, record: Record) -> bool:
        telling = self._telling
        return telling is not None and record.event_type == "log_gap" and record.event.get("seq") == telling.seq

    def _report_failed(self) -> None:
        if self._telling is not None:
            self._untold.merge(self._telling)
            self._telling = None
            self._successes_to_skip = 2 ** min(self._failed_reports, _MAX_DOUBLINGS) - 1
            self._failed_reports += 1


def _widened(known: tuple[T, T] | None, more: tuple[T, T]) -> tuple[T, T]:
    return more if known is None else (min(known[0], more[0]), max(known[1], more[1]))
