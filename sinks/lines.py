"""What sinks that append lines to files have in common: turns, seals, and when a line has to be on the disk."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from structllm._system import System
from structllm._types import Defer, Record
from structllm.errors import SinkError
from structllm.sinks.durability import Appendable, Durability, Fsync
from structllm.sinks.failures import raise_as_sink_error
from structllm.sinks.integrity import Integrity, Sealer, key_for
from structllm.sinks.rotation import FileId
from structllm.sinks.turns import Turns


class Live(Appendable, Protocol):
    """The file that lines are appended to, whichever it is at the time."""

    def open(self) -> None:
        """Find out whether it can be written. Raises OSError or SinkError."""
        ...

    def settle(self) -> bool:
        """Look once more after the lines written last; return whether all of them are in a file."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class LineSink:
    """Appends one line after the other to a file. Thread-safe.

    Args:
        system: The operating system.
        live: The file. It gives a descriptor that it does not need any more to `_let_go`.
        directory: Where the file is.
        fsync: `never`; `interval`: within a second, in the background; `always`: before `write` returns.
        fsync_events: Event types that are on the disk when `write` returns, whatever `fsync` says.
        integrity: `chain` and `hmac` add `sink_seq` and `hash` to each line.
        hmac_key: The key of `hmac`.

    Raises:
        ConfigError: There is no key for `hmac`.
    """

    def __init__(
        self,
        system: System,
        live: Live,
        directory: str,
        *,
        fsync: Fsync,
        fsync_events: Iterable[str],
        integrity: Integrity,
        hmac_key: str | bytes | None,
    ) -> None:
        key, events = key_for(integrity, hmac_key), frozenset(fsync_events)
        self._system = system
        self._file = live
        self._append = live.append
        self._syncs = fsync != "never" or bool(events)
        self._durability = Durability(system, live, directory, fsync=fsync, fsync_events=events)
        self._sealer = None if integrity == "none" else Sealer(self._append_sealed, key)
        # How a record is taken, where more is to be done than to append its line.
        self._take: Callable[[Record], None] | None = self._append_and_sync if self._syncs else None
        if self._sealer is not None:
            self._take = self._sealer.append
        self._turns = Turns(self._write)
        self._defer: Defer | None = None
        self._report: Callable[[str], None] = lambda text: None

    def report_to(self, report: Callable[[str], None]) -> None:
        """Have people told, on stderr, what the sink cannot do."""
        self._report = report

    def open(self) -> None:
        """Find out now, rather than at the first write, whether it can be written. Raises SinkError."""
        with self._turns.take() as mine:
            try:
                if mine:
                    self._file.open()
            except OSError as error:
                raise_as_sink_error(error, 0)

    def write(self, batch: Sequence[Record], /) -> None:
        """Append each record as one line with one `os.write`.

        What a signal handler or finaliser writes in the middle of that, in the same thread, comes behind it.
        """
        turns = self._turns
        with turns.lock:
            if turns.busy or turns.held:
                turns.write(batch)
                return
            turns.busy = True
            try:
                if self._take is None and len(batch) == 1:  # the usual case, in as few steps as can be
                    self._append(batch[0].line)
                else:
                    self._write(batch)
            except OSError as error:
                raise_as_sink_error(error, 0)
            finally:
                turns.busy = False
            if turns.held:
                turns.settle()  # or else they come before the next batch

    def _write(self, batch: Sequence[Record]) -> None:
        taken, take = 0, self._take
        try:
            for record in batch:
                if take is not None:
                    take(record)
                else:
                    self._append(record.line)
                taken += 1
        except OSError as error:
            raise_as_sink_error(error, taken)
        except SinkError as error:
            error.taken = taken
            raise

    def _append_and_sync(self, record: Record) -> None:
        self._durability.append(record, self._defer)

    def _append_sealed(self, line: bytes, record: Record) -> None:
        if self._syncs:
            self._durability.append(record._replace(line=line), self._defer)
        else:
            self._append(line)

    def _let_go(self, fd: int, which: FileId) -> None:
        self._durability.let_go(fd, which)

    def _settle(self) -> bool:
        """Return whether what was written is where `fsync` wants it, in files that are still there."""
        sealed = self._sealer is None or self._sealer.settle()
        return self._file.settle() and (not self._syncs or self._durability.confirm()) and sealed

    def _begin_lines(self) -> None:
        """Begin anew, with a lock that nobody holds."""
        self._turns.begin()
        self._durability.begin(self._turns.lock)

    def _abandon(self) -> None:
        """Let go of what belongs to the parent of this process."""
        self._file.close()
        self._durability.abandon()
        if self._sealer is not None:
            self._sealer.begin()

    def __del__(self) -> None:
        """Close the files of a sink that was dropped without `close`: nobody collects a descriptor, a number."""
        with suppress(Exception):
            self._file.close()
            self._durability.abandon()
