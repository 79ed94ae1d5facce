"""Work that sinks have done later, in another thread: compression, deletion, an fsync now and then."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from structllm._exit import occupied

_IDLE_S = 10.0


class _Job(NamedTuple):
    due_s: float
    number: int  # jobs of the same time run in the order in which they were given
    run: Callable[[], None]


class Deferred:
    """Runs jobs at their time, one after the other, in one daemon thread that lives only while there are jobs.

    A job must be one that can be repeated or left out: it is not run where no thread can be started, when the
    interpreter exits before its time, and in a forked child.

    Args:
        on_error: Called with what a job raised.
        clock: Monotonic seconds.
        idle_s: Seconds without a job after which the thread ends.

    Attributes:
        failed: Jobs that raised.
    """

    def __init__(
        self,
        on_error: Callable[[Exception], None] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        idle_s: float = _IDLE_S,
    ) -> None:
        self._on_error = on_error
        self._clock = clock
        self._idle_s = idle_s
        self._closed = False
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Begin without jobs and without a thread: in a forked child both are the parent's."""
        # Re-entrant, since a signal handler may log, and so defer, in the middle of a call of the same thread.
        self._changed = threading.Condition(threading.RLock())
        self._jobs: list[_Job] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self.failed = 0

    def defer(self, delay_s: float, job: Callable[[], None]) -> None:
        """Have a job run in another thread, `delay_s` seconds from now at the earliest. Never raises."""
        with self._changed:
            if self._closed:
                return
            heapq.heappush(self._jobs, _Job(self._clock() + delay_s, next(self._numbers), job))
            if self._thread is None and not self._start():
                self._jobs.clear()
            self._changed.notify()

    def waiting(self) -> int:
        """Return the number of jobs that have not begun."""
        with self._changed:
            return len(self._jobs)

    def close(self) -> None:
        """Forget the jobs and take no more. One that runs is not waited for."""
        with self._changed:
            self._closed = True
            self._jobs.clear()
            self._changed.notify()

    def _start(self) -> bool:
        self._thread = threading.Thread(target=self._work, name="structllm-deferred", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter exits, or the system has no more threads
            self._thread = None
            return False
        return True

    def _work(self) -> None:
        while True:
            with occupied():
                job = self._next()
                if job is None:
                    return
                try:
                    job()
                except Exception as error:
                    self._count(error)

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next job that is due; None once there was none for a while, and the thread is to end."""
        with self._changed:
            idle_until_s = self._clock() + self._idle_s
            while not self._closed:
                now_s = self._clock()
                if self._jobs and self._jobs[0].due_s <= now_s:
                    return heapq.heappop(self._jobs).run
                if not self._jobs and now_s >= idle_until_s:
                    break
                wake_s = self._jobs[0].due_s if self._jobs else idle_until_s
                self._changed.wait(min(wake_s - now_s, threading.TIMEOUT_MAX))
                if self._jobs:
                    idle_until_s = self._clock() + self._idle_s
            self._thread = None
            return None

    def _count(self, error: Exception) -> None:
        with self._changed:
            self.failed += 1
        if self._on_error is not None:
            try:
                self._on_error(error)
            except Exception:
                return
