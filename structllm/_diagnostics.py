"""What we say on stderr: rarely, briefly, and never the text of an event."""

import sys
import time

_INTERVAL_S = 30.0


class Diagnostics:
    """Short notices on stderr, at most once per reason and 30 s, so that a broken disk does not flood a console."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def notice(self, reason: str, text: str) -> None:
        """Print `structllm: text` unless the same reason was printed in the last 30 s. Never raises."""
        now = time.monotonic()
        if now - self._last.get(reason, -_INTERVAL_S) < _INTERVAL_S:
            return
        self._last[reason] = now
        try:
            print(f"structllm: {text}", file=sys.stderr, flush=True)
        except Exception:
            return
