"""Waiting for what another thread or process does: the one poll of all tests."""

import time
from collections.abc import Callable, Sized


def comes_true(condition: Callable[[], object], timeout_s: float = 10.0) -> bool:
    """Poll until the condition holds, `timeout_s` seconds at most; return whether it came true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def grows_to(things: Sized, count: int) -> bool:
    """Poll until there are this many, 10 s at most; return whether that came true."""
    return comes_true(lambda: len(things) == count)
