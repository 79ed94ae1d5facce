"""Operating systems for the file sink of a writer that end, tear or hold their process at a chosen call."""

import json
import os
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any

from structllm import FileSink
from structllm._system import System
from tests.faults.harness import TIMEOUT_S, Duty
from tests.waiting import comes_true

_CLOCKS = frozenset({"monotonic", "now", "sleep"})
NAMES = tuple(name for name in vars(System) if not name.startswith("_") and name not in _CLOCKS)


class Hooked(System):
    """Does something to its process at the calls of a kind.

    Args:
        duty: Where `reached` is counted up at each hold, which lasts until `go_on` is as high.
        trace: File that gets the names of the calls of the rotation, as a JSON list, when it kills.
        action: `kill` (SIGKILL), `tear` (half of the write, then SIGKILL) or `hold`.
        call: Kind of call; None: each.
        ending: What a text or bytes argument of the call ends with.
        nth: At which of those calls; several: at each.
        after: Do it after the call rather than before.
        rotation: Count from the time when this many locks have been taken; 0: from the start.
    """

    def __init__(
        self,
        duty: Duty,
        trace: str,
        *,
        action: str,
        call: str | None = None,
        ending: str = "",
        nth: int | list[int] = 1,
        after: bool = False,
        rotation: int = 0,
    ) -> None:
        self._duty = duty
        self._trace_path = trace
        self._action = action
        self._call = call
        self._ending = ending
        self._nth = {nth} if isinstance(nth, int) else set(nth)
        self._after = after
        self._locks_to_come = rotation
        self._met = 0
        self._trace: list[str] = []
        self._killer: int | None = None  # the thread that is about to kill the process
        for name in NAMES:
            setattr(self, name, self._hooked(name, getattr(self, name)))

    def _hooked(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def hooked(*arguments: Any) -> Any:
            if self._killer not in {None, threading.get_ident()}:
                comes_true(lambda: False, TIMEOUT_S)  # what another thread does while the process dies is no step
            due = self._due(name, arguments)
            if due and self._action == "tear":
                function(arguments[0], arguments[1][: len(arguments[1]) // 2])
            if due and not self._after:
                self._act()
            answer = function(*arguments)
            if due and self._after:
                self._act()
            if name == "try_lock" and answer and self._locks_to_come:
                self._locks_to_come -= 1
            return answer

        return hooked

    def _due(self, name: str, arguments: tuple[Any, ...]) -> bool:
        if self._locks_to_come:
            return False
        self._trace.append("append" if name == "write" and arguments[1].endswith(b"}\n") else name)
        if self._call not in (None, name):
            return False
        texts = [os.fsdecode(argument) for argument in arguments if isinstance(argument, str | bytes)]
        if self._ending and not any(text.endswith(self._ending) for text in texts):
            return False
        self._met += 1
        return self._met in self._nth

    def _act(self) -> None:
        if self._action == "hold":
            self._hold()
            return
        self._killer = threading.get_ident()
        with open(self._trace_path, "w") as file:
            json.dump(self._trace[:], file)
        os.kill(os.getpid(), signal.SIGKILL)

    def _hold(self) -> None:
        self._duty[Duty.REACHED] += 1
        comes_true(lambda: self._duty[Duty.GO_ON] >= self._duty[Duty.REACHED], TIMEOUT_S)


def sink(job: Mapping[str, Any], duty: Duty) -> FileSink:
    """Return the file sink of a job whose `system` says what happens to it."""
    trace = os.path.join(job["directory"], f"{job['name']}.trace.json")
    sink = FileSink(
        job["log"],
        max_bytes=job["max_bytes"],
        backup_count=job["backup_count"],
        system=Hooked(duty, trace, **job["system"]),
        **job["sink"],
    )
    sink.open()  # as its settings do when they build it
    return sink
