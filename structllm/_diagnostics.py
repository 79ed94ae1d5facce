"""What we say on stderr: rarely, briefly, and never the text of an event or a secret."""

import select
import sys
import time
from collections.abc import Callable
from typing import TextIO

_INTERVAL_S = 30.0


def _takes_text(stream: TextIO) -> bool:
    """Return whether a write will not wait for a reader, as one to a full pipe or a stopped terminal does."""
    try:
        fd = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return True  # no file, such as a test's buffer
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


class Diagnostics:
    """Short notices on stderr, at most once per reason and 30 s, so that a broken disk does not flood a console.

    Args:
        clean: Takes secrets out of a notice: it may name what is not ours, such as a model or a sink's reason.
    """

    def __init__(self, clean: Callable[[str], str] = str) -> None:
        self._clean = clean
        self._last: dict[str, float] = {}

    def notice(self, reason: str, text: str) -> None:
        """Print `structllm: text` unless the same reason was printed in the last 30 s. Never raises."""
        now = time.monotonic()
        if now - self._last.get(reason, -_INTERVAL_S) < _INTERVAL_S:
            return
        self._last[reason] = now
        try:
            if _takes_text(sys.stderr):
                print(f"structllm: {self._clean(text)}", file=sys.stderr, flush=True)
        except Exception:
            return
