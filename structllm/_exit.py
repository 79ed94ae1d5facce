"""The gate that daemon threads meet when the interpreter exits.

CPython (up to 3.13) ends a daemon thread where it next asks for the interpreter's lock. In the middle of compiled code
that has let go of the lock, which google-re2 does while it scans, that aborts the whole process. So at exit no further
event of a daemon thread is begun, and those that have begun are waited for.
"""

import atexit
import os
import threading
import time
from collections import deque

_WAIT_S = 1.0


class ExitGate:
    """Lets events through until the interpreter exits, and the main thread's always."""

    def __init__(self) -> None:
        self._inside: deque[None] = deque()
        self._open = True

    def enter(self) -> bool:
        """Return whether an event may be begun; where it may, `leave` must follow. Appending is atomic: no lock."""
        self._inside.append(None)
        if self._open or threading.current_thread() is threading.main_thread():
            return True
        self.leave()
        return False

    def leave(self) -> None:
        """Say that an event is done."""
        if self._inside:
            self._inside.pop()

    def close(self) -> None:
        """Let no further event of another thread in, and wait up to a second for those that are inside."""
        self._open = False
        deadline = time.monotonic() + _WAIT_S
        while self._inside and time.monotonic() < deadline:
            time.sleep(0.001)

    def reset_after_fork(self) -> None:
        """Forget the threads that this process does not have."""
        self._inside.clear()


# One for the process: the interpreter exits once.
exit_gate = ExitGate()
atexit.register(exit_gate.close)
os.register_at_fork(after_in_child=exit_gate.reset_after_fork)
