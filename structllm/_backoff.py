"""When a sink that was unavailable is tried again."""

from collections.abc import Callable

_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 60.0
_MAX_DOUBLINGS = 10


class Backoff:
    """Delays with full jitter: `uniform(0, min(60 s, 0.5 s * 2**n))` after the n-th failure in a row, n from 0.

    Drawn from the whole range, so that many processes do not try a sink that has come back all at the same time.

    Args:
        clock: Monotonic seconds.
        uniform: Draws a number between two.

    Attributes:
        retries: Failures so far that were followed by another try.
    """

    def __init__(self, clock: Callable[[], float], uniform: Callable[[float, float], float]) -> None:
        self.retries = 0
        self._clock = clock
        self._uniform = uniform
        self._failures = 0
        self._due_s = 0.0

    def fail(self) -> None:
        """Note a failure and draw the delay after it."""
        longest_s = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(self._failures, _MAX_DOUBLINGS))
        self._due_s = self._clock() + self._uniform(0.0, longest_s)
        self._failures += 1
        self.retries += 1

    def reset(self) -> None:
        """Have the next try at once, and the delays begin anew: something was taken, or somebody cannot wait."""
        self._failures = 0

    def pause_s(self) -> float:
        """Return the seconds until the next try; 0 or less means now."""
        return self._due_s - self._clock() if self._failures else 0.0
