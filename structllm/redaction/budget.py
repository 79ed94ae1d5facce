"""How much work one text may cost: a log shall never stop an agent, whatever somebody sends it."""

from collections.abc import Callable
from time import thread_time

MAX_HITS = 20_000
"""Candidates looked at in one text."""

MAX_SECONDS = 0.05
"""What one text may cost. Measured in CPU time of the thread: waiting for other threads is no work of ours, and a busy
process shall not cut harmless texts."""

SMALL_BYTES = 8192
SMALL_SECONDS = 0.5
"""What a small text may cost. It cannot take that long by itself, but now and then it is the one at which RE2 builds
its automaton anew (20 ms), and that is no reason to cut it."""

_SOFT = 0.5  # of the seconds: from here on no rule looks further than the rules before it
_LOOKS = 32  # hits between two looks at the clock


class Exhausted(Exception):
    """Not even the beginning of the text could be scanned by every rule."""


def seconds_for(size_bytes: int) -> float:
    """Return what a text of this size may cost."""
    return SMALL_SECONDS if size_bytes <= SMALL_BYTES else MAX_SECONDS


class Budget:
    """Of one text. Whoever looks at a candidate spends one hit.

    Args:
        clock: Returns seconds and never goes back.
        seconds: What the text may cost.
    """

    def __init__(self, clock: Callable[[], float] = thread_time, seconds: float = MAX_SECONDS) -> None:
        self._clock = clock
        self._seconds = seconds
        self._hits = 0
        self._allowed = MAX_HITS
        self._soft = True
        self._began_s = clock()

    def spend(self) -> bool:
        """Count a hit; return whether the one who looks shall stop here.

        Raises:
            Exhausted: Nothing of the text can be shown.
        """
        self._hits += 1
        if self._hits > self._allowed:
            self._allowed += MAX_HITS
            return True
        return self._hits % _LOOKS == 0 and self.is_half_spent()

    def is_half_spent(self) -> bool:
        """Look at the clock; return True once, when half of the time is over.

        Raises:
            Exhausted: All of it is.
        """
        spent_s = self._clock() - self._began_s
        if spent_s > self._seconds:
            raise Exhausted
        if self._soft and spent_s > self._seconds * _SOFT:
            self._soft = False
            return True
        return False
