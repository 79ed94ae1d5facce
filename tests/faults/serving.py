"""The other end of a `Nursery`: one process that forks others on request and waits for them."""

import contextlib
import json
import os
import signal

from tests.waiting import comes_true


def serve() -> str | None:
    """Fork on request until stdin ends, and kill those that are left; return, in a child, the path of its job."""
    mine: set[int] = set()
    # Not `for line in sys.stdin`: the children must not inherit what was read ahead.
    while line := os.read(0, 65_536):
        request = json.loads(line)
        if "job" in request:
            pid = os.fork()
            if not pid:
                return str(request["job"])
            mine.add(pid)
            answer: int | None = pid
        else:
            answer = status_of(request["wait"], request["timeout_s"])
            if answer is not None:
                mine.discard(request["wait"])
        os.write(1, json.dumps(answer).encode() + b"\n")
    for pid in mine:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return None


def status_of(pid: int, timeout_s: float) -> int | None:
    """Wait for a child and return its exit status; None if it still runs at the deadline."""
    status = 0

    def ended() -> int:
        nonlocal status
        which, status = os.waitpid(pid, os.WNOHANG)
        return which

    return os.waitstatus_to_exitcode(status) if comes_true(ended, timeout_s) else None
