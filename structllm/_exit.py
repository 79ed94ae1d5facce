"""What each thread is in the middle of, and the gate that daemon threads meet when the interpreter exits.

A thread that holds locks of ours is `occupied`: what it logs meanwhile, from a signal handler, a finaliser or a sink,
is written when it has let go of them (`Inside`).

CPython (up to 3.13) ends a daemon thread where it next asks for the interpreter's lock. In the middle of compiled code
that has let go of the lock, which google-re2 does while it scans, that aborts the whole process. So at exit no further
event of a daemon thread is begun, and those that have begun are waited for.
"""

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager

_WAIT_S = 1.0


class Inside:
    """What a thread is in the middle of.

    Attributes:
        depth: Number of events, one within the other.
        busy: Whether the thread holds, or is about to take, locks of ours. What it logs then (a signal handler or
            finaliser that comes in between, or a sink) is not written at once: taking more locks could wait for a
            thread that waits for this one, and a sink is not made to be entered in the middle of itself.
        late: What is to be written when the thread is not busy any more.
    """

    __slots__ = ("__weakref__", "busy", "depth", "late")

    def __init__(self) -> None:
        self.depth = 0
        self.busy = False
        self.late: deque[tuple[int, Callable[[], None]]] = deque()

    def catch_up(self) -> None:
        """Write what had to wait. What that in turn makes somebody log is one level deeper, and so bounded."""
        depth = self.depth
        while self.late and not self.busy:
            at_depth, write = self.late.popleft()
            self.depth = at_depth + 1
            try:
                write()
            finally:
                self.depth = depth


class ExitGate:
    """Lets events through until the interpreter exits, and the main thread's always.

    A thread says that it is inside (`Inside.depth`), then looks whether the gate is open: in this order, so that the
    gate, which closes first and then looks who is inside, misses nobody.

    Attributes:
        is_open: False once the interpreter exits.
    """

    def __init__(self) -> None:
        self.is_open = True
        self._threads: weakref.WeakSet[Inside] = weakref.WeakSet()

    def new_thread(self) -> Inside:
        """Return where a thread that comes for the first time says that it is inside."""
        inside = Inside()
        self._threads.add(inside)
        return inside

    def lets_through(self) -> bool:
        """Return whether this thread may begin an event after the gate was closed."""
        return self.is_open or threading.current_thread() is threading.main_thread()

    def close(self) -> None:
        """Let no further event of another thread in, and wait up to a second for those that are inside."""
        self.is_open = False
        deadline = time.monotonic() + _WAIT_S
        while any(inside.depth for inside in list(self._threads)) and time.monotonic() < deadline:
            time.sleep(0.001)

    def reset_after_fork(self) -> None:
        """Forget the threads that this process does not have; the one that forked is its main thread now."""
        self._threads = weakref.WeakSet()


# One for the process: the interpreter exits once.
exit_gate = ExitGate()


class _Here(threading.local):
    """What the present thread is in the middle of."""

    def __init__(self) -> None:
        self.inside = exit_gate.new_thread()


here = _Here()


@contextmanager
def occupied() -> Generator[None, None, None]:
    """Hold locks of ours: what this thread logs meanwhile is written afterwards."""
    inside = here.inside
    if inside.busy:
        yield
        return
    inside.busy = True
    try:
        yield
    finally:
        inside.busy = False
        inside.catch_up()


atexit.register(exit_gate.close)
os.register_at_fork(after_in_child=exit_gate.reset_after_fork)
