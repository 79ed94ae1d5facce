"""One call of a sink at a time, also where a thread makes one in the middle of another."""

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from structllm._types import Record
from structllm.errors import SinkError, SinkRejected, SinkUnavailable

_MOST_HELD = 100


class Turns:
    """The lock of a sink, and what its holder was asked for while it was in the middle of something else.

    A signal handler or finaliser runs between any two instructions of its thread, so no lock keeps it out. Done at
    once, what it asks for would meet a sink that is half-way through a write; so it is held until that is done.

    Args:
        write: Writes a batch; raises SinkError.
    """

    def __init__(self, write: Callable[[Sequence[Record]], None]) -> None:
        self._write = write
        self.begin()

    def begin(self) -> None:
        """Begin anew: nobody holds the lock, and nothing is held."""
        self.lock = threading.RLock()
        self.busy = False
        self.held: list[Callable[[], None]] = []

    @contextmanager
    def take(self) -> Generator[bool]:
        """Hold the lock, with nothing held where that can be; give whether this is in the middle of no other call."""
        with self.lock:
            if self.busy:
                yield False
                return
            if self.held:
                self.settle()
            self.busy = True
            try:
                yield True
            finally:
                self.busy = False
            if self.held:
                self.settle()

    def write(self, batch: Sequence[Record]) -> None:
        """Write a batch behind what is held, or hold it as well. Called with the lock held.

        Raises:
            SinkError: Something that is held could not be written; or the batch could not.
        """
        if self.busy:
            room = _MOST_HELD - len(self.held)
            self.held.extend(partial(self._write, (record,)) for record in batch[:room])
            if len(batch) > room:
                raise SinkUnavailable("reentered", "too much was logged in the middle of a write", taken=max(0, room))
            return
        self.busy = True
        try:
            self._do_held()
            self._write(batch)
        finally:
            self.busy = False

    def settle(self) -> bool:
        """Do what is held; return whether nothing is left. Called with the lock held, and never within a turn."""
        with suppress(SinkError):
            self.write(())
        return not self.held

    def _do_held(self) -> None:
        while self.held:
            try:
                self.held[0]()
            except SinkRejected:
                pass  # nobody is left to be told
            except SinkError as error:
                error.taken = 0  # of the batch that waits behind this
                raise
            # Only now: interrupted before, it is done twice, which readers see through, rather than never.
            del self.held[0]
