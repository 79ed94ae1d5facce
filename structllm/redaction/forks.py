"""Tells what belongs to redaction, in a forked child, that its parent had several threads."""

import os
import sys
import weakref
from typing import Protocol


class Renewable(Protocol):
    """Holds locks or an engine that a thread of the parent may have left in use."""

    def renew_after_fork(self) -> None:
        """Begin anew in this process, a forked child."""
        ...


class _Forks:
    def __init__(self) -> None:
        self.enrolled: weakref.WeakSet[Renewable] = weakref.WeakSet()
        self._had_threads = False

    def before(self) -> None:
        # Threads that the `threading` module does not know may scan as well; this function is public in all but name.
        self._had_threads = len(sys._current_frames()) > 1  # pyright: ignore[reportPrivateUsage]

    def after_in_child(self) -> None:
        if self._had_threads:
            for each in list(self.enrolled):
                each.renew_after_fork()


# The hooks cannot be taken back, so there is one of each for all.
_forks = _Forks()
os.register_at_fork(before=_forks.before, after_in_child=_forks.after_in_child)


def enrol(renewable: Renewable) -> None:
    """Have an object renewed in every forked child whose parent had several threads, as long as it lives."""
    _forks.enrolled.add(renewable)
