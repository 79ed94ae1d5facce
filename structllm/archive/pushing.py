"""Bringing into an archive, now, what waits in a spool, and what log files hold that the archive does not.

The write side and the settings are imported by the functions that need them.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from structllm.archive.holdings import Holdings
from structllm.archive.store import StoreError
from structllm.segment import Entry, ReadReport, find_logs, is_read_once, read

_MOST_TRIES = 4  # in a row without anything being stored
_LONGEST_PAUSE_S = 5.0
_IN_FLIGHT_S = 0.2  # after which what a program has just written to its log has come to its spool as well
_PROGRESS_EVENTS = 1000


@dataclass(slots=True)
class Pushed:
    """What came of a push to one archive.

    Attributes:
        place: The archive, for people.
        spool: The directory of its spool.
        stored: Segments that were stored.
        left: Segments that still wait, besides those that a running program writes.
        live: Segments that a running program writes.
        quarantined: Segments that the archive refuses.
        shipped: Events of log files that the archive did not hold.
        held: Events of log files that it held, or will get from the program that writes them.
        unnumbered: Events without `writer` and `seq` among those shipped; nobody can tell whether it held them.
        error: What is wrong; None where nothing is.
    """

    place: str
    spool: str
    stored: int = 0
    left: int = 0
    live: int = 0
    quarantined: int = 0
    shipped: int = 0
    held: int = 0
    unnumbered: int = 0
    error: str | None = None


def push(
    config: Any,
    paths: Sequence[str | os.PathLike[str]] = (),
    *,
    report: ReadReport | None = None,
    progress: Callable[[Pushed], None] = lambda pushed: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Pushed:
    """Seal and store what waits in the spool of an archive; then ship the log files, without what the archive holds.

    What is logged while this runs is left to the next push, or to the program that logs it.

    Args:
        config: The settings of the archive sink, an `ArchiveSinkConfig`.
        paths: Log files and directories, as for the reading commands. With several archives, call it for each.
        report: Counts what else was met in the log files.
        progress: Told again and again how far it is.
        sleep: Waits between tries.

    Raises:
        ConfigError: The sink cannot be built.
        FileNotFoundError: There is no such log.
    """
    from structllm.errors import SinkError

    find_logs(paths)  # before anything is done
    sink = config.unopened()
    pushed = Pushed(sink.store.place, sink.spool.directory)
    work = _Push(sink, pushed, progress, sleep)
    work.drain()
    if paths and pushed.error is None and not pushed.left:
        try:
            work.ship(paths, report or ReadReport())
        except (StoreError, SinkError) as error:
            pushed.error = str(error)
        except OSError as error:
            pushed.error = error.strerror or str(error)
        sink.close()
        work.drain()
    return pushed


@dataclass(slots=True)
class _Push:
    """One push to one archive.

    Attributes:
        sink: The sink of the archive.
        pushed: What came of it so far.
        progress: Told of that.
        sleep: Waits.
    """

    sink: Any
    pushed: Pushed
    progress: Callable[[Pushed], None]
    sleep: Callable[[float], None]

    def drain(self) -> None:
        """Run the archiver until nothing waits, or nothing moves any more."""
        pushed, shipping_failed = self.pushed, self.pushed.error
        tries, before = 0, pushed.stored
        while True:
            self.sink.archiver.hurry()
            again_s = self.sink.archiver.run()
            health = self.sink.health()
            pushed.stored, pushed.left = health["uploaded"], health.get("sealed", 0)
            pushed.live, pushed.quarantined = health.get("open", 0), health.get("quarantine", 0)
            pushed.error = shipping_failed or health.get("last_error")
            self.progress(pushed)
            if again_s is None:
                return
            tries = 0 if pushed.stored > before else tries + 1
            before = pushed.stored
            if tries >= _MOST_TRIES:
                pushed.error = pushed.error or "another process archives this spool, and is not done yet"
                return
            self.sleep(min(_LONGEST_PAUSE_S, max(0.1, again_s)))

    def ship(self, paths: Sequence[str | os.PathLike[str]], report: ReadReport) -> None:
        """Write what the archive lacks to the spool. Raises StoreError, SinkError, OSError."""
        spool, holdings = self.sink.spool, Holdings()
        spool.make()
        with spool.shipping() as alone:
            if not alone:
                raise OSError(0, "another `structllm archive push` is shipping log files to it")
            # In this order, so that what moves on meanwhile is met at least once. What is logged after the first step
            # is left out: it may come to the archive after the last one.
            newest = self._newest(paths)
            self.sleep(_IN_FLIGHT_S)
            holdings.add_open(spool)
            holdings.add_sealed(spool)
            holdings.add_archive(self.sink.store)
            for entry in read(paths, report):
                writer, seq = entry.event.get("writer"), entry.event.get("seq")
                if newest is not None and _is_later(writer, seq, newest):
                    continue
                if not holdings.lacks(writer, seq):
                    self.pushed.held += 1
                elif not self._write(entry):
                    return

    def _newest(self, paths: Sequence[str | os.PathLike[str]]) -> dict[str, int] | None:
        """Return the greatest number of each writer that is logged so far; None for what can be read only once."""
        if any(is_read_once(os.fspath(path)) for path in paths):
            return None
        newest: dict[str, int] = {}
        for entry in read(paths, ReadReport()):
            writer, seq = entry.event.get("writer"), entry.event.get("seq")
            if isinstance(writer, str) and isinstance(seq, int):
                newest[writer] = max(seq, newest.get(writer, seq))
        return newest

    def _write(self, entry: Entry) -> bool:
        """Write an event to the spool, which is emptied where it is full; return False where it cannot be."""
        from structllm._types import LEVELS, Record
        from structllm.errors import SinkUnavailable

        event, pushed = entry.event, self.pushed
        level = LEVELS.get(str(event.get("level")), 0)
        # Without the blanks that other programs leave at the end, behind which no line could be sealed.
        record = Record(str(event["event_type"]), level, entry.line.strip() + b"\n", event)
        try:
            self.sink.write([record])
        except SinkUnavailable as error:
            if error.reason != "spool_full":
                raise
            self.sink.flush(0.0)
            self.drain()
            if pushed.error is not None:
                return False
            self.sink.write([record])
        pushed.shipped += 1
        pushed.unnumbered += not (isinstance(event.get("writer"), str) and isinstance(event.get("seq"), int))
        if pushed.shipped % _PROGRESS_EVENTS == 0:
            self.progress(pushed)
        return True


def _is_later(writer: object, seq: object, newest: Mapping[str, int]) -> bool:
    """Return whether an event was logged after these were."""
    return isinstance(writer, str) and isinstance(seq, int) and (writer not in newest or seq > newest[writer])
