"""What happens to all loggers of a process when it forks and when it ends."""

import atexit
import os
import sys
import time
import weakref
from contextlib import suppress
from typing import Protocol

from structllm._fanout import CLOSE_TIMEOUT_S, FanOut, finish


class Living(Protocol):
    """What has to know that the process forks or ends."""

    fan_out: FanOut

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child."""
        ...


# The hooks cannot be taken back, so there is one of each for all loggers. A logger with records that wait is kept alive
# by the thread that delivers them.
_alive: "weakref.WeakSet[Living]" = weakref.WeakSet()


def enrol(living: Living) -> None:
    """Have something told of forks, and finished at exit, for as long as it lives."""
    _alive.add(living)


def finish_at_exit() -> None:
    """See to it that what waits is delivered at exit: `multiprocessing` ends its children without the exit handlers.

    To be called when something may wait for the first time in this process, since a child forgets at its beginning what
    was said before.
    """
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    with suppress(Exception):
        if process is not None and util is not None and process.parent_process() is not None:
            util.Finalize(None, _at_exit, exitpriority=-1)


def _at_exit() -> None:
    """Deliver what waits, within 5 seconds over all sinks of all loggers; then give it up and say so."""
    fan_outs = [living.fan_out for living in list(_alive)]
    try:
        finish(fan_outs, time.monotonic() + CLOSE_TIMEOUT_S)
    except KeyboardInterrupt:  # somebody at the keyboard has waited long enough
        pass
    finally:
        for fan_out in fan_outs:
            fan_out.retire()


def _after_fork_in_child() -> None:
    for living in list(_alive):
        living.reset_after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
