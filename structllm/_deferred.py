"""Work that sinks have done later, in another thread: compression, deletion, an fsync now and then."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from contextlib import suppress
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
        self._lock = threading.RLock()
        # Waited for without holding anything: what a finaliser logs in this thread then is written at once.
        self._wake = threading.Lock()
        self._wake.acquire()
        self._jobs: list[_Job] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self.failed = 0

    def defer(self, delay_s: float, job: Callable[[], None]) -> None:
        """Have a job run in another thread, `delay_s` seconds from now at the earliest. Never raises."""
        with self._lock:
            if self._closed:
                return
            heapq.heappush(self._jobs, _Job(self._clock() + delay_s, next(self._numbers), job))
            if self._thread is None and not self._start():
                self._jobs.clear()
            self._notify()

    def waiting(self) -> int:
        """Return the number of jobs that have not begun."""
        with self._lock:
            return len(self._jobs)

    def close(self) -> None:
        """Forget the jobs and take no more. One that runs is not waited for."""
        with self._lock:
            self._closed = True
            self._jobs.clear()
            self._notify()

    def _start(self) -> bool:
        self._thread = threading.Thread(target=self._work, name="structllm-deferred", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter exits, or the system has no more threads
            self._thread = None
            return False
        return True

    def _notify(self) -> None:
        with suppress(RuntimeError):  # it has been woken already
            self._wake.release()

    def _work(self) -> None:
        idle_until_s = self._clock() + self._idle_s
        while True:
            with occupied():
                job, wait_s = self._next(idle_until_s)
                if job is not None:
                    try:
                        job()
                    except Exception as error:
                        self._count(error)
            if job is None and wait_s is None:
                return
            if wait_s is None:
                idle_until_s = self._clock() + self._idle_s
            else:
                self._wake.acquire(timeout=wait_s)

    def _next(self, idle_until_s: float) -> tuple[Callable[[], None] | None, float | None]:
        """Return a job that is due, or how long to wait for one; neither where the thread is to end."""
        with self._lock:
            now_s = self._clock()
            if self._jobs and self._jobs[0].due_s <= now_s:
                return heapq.heappop(self._jobs).run, None
            if self._closed or (not self._jobs and now_s >= idle_until_s):
                self._thread = None
                return None, None
            wake_s = self._jobs[0].due_s if self._jobs else idle_until_s
            return None, min(max(wake_s - now_s, 0.0), threading.TIMEOUT_MAX)

    def _count(self, error: Exception) -> None:
        with self._lock:
            self.failed += 1
        if self._on_error is not None:
            try:
                self._on_error(error)
            except Exception:
                return
