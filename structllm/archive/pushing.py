"""Bringing into an archive, now, what waits in a spool, and what log files hold that the archive does not.

The write side and the settings are imported by the functions that need them.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from structllm.archive.holdings import holdings_of
from structllm.archive.store import StoreError
from structllm.segment import ReadReport, find_logs, lines_of, read
from structllm.segment.lines import Entry, parse
from structllm.segment.reading import OpenFile

_MOST_TRIES = 4  # in a row without anything being stored
_LONGEST_PAUSE_S = 5.0


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
        held: Events of log files that it held.
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
    find_logs(paths)  # before anything is done
    sink = config.unopened()
    pushed = Pushed(sink.store.place, sink.spool.directory)
    _drain(sink, pushed, progress, sleep)
    if paths and pushed.error is None and not pushed.left:
        try:
            _ship(sink, paths, report or ReadReport(), pushed, progress, sleep)
        except StoreError as error:
            pushed.error = str(error)
        except OSError as error:
            pushed.error = error.strerror or str(error)
        sink.close()
        _drain(sink, pushed, progress, sleep)
    return pushed


def _drain(sink: Any, pushed: Pushed, progress: Callable[[Pushed], None], sleep: Callable[[float], None]) -> None:
    """Run the archiver until nothing waits, or nothing moves any more."""
    tries, before = 0, pushed.stored
    while True:
        sink.archiver.hurry()
        again_s = sink.archiver.run()
        health = sink.health()
        pushed.stored, pushed.left = health["uploaded"], health["sealed"]
        pushed.live, pushed.quarantined = health["open"], health["quarantine"]
        pushed.error = health.get("last_error")
        progress(pushed)
        if again_s is None:
            return
        tries = 0 if pushed.stored > before else tries + 1
        before = pushed.stored
        if tries >= _MOST_TRIES:
            pushed.error = pushed.error or "another process archives this spool, and is not done yet"
            return
        sleep(min(_LONGEST_PAUSE_S, max(0.1, again_s)))


def _ship(
    sink: Any,
    paths: Sequence[str | os.PathLike[str]],
    report: ReadReport,
    pushed: Pushed,
    progress: Callable[[Pushed], None],
    sleep: Callable[[float], None],
) -> None:
    from structllm._types import LEVELS, Record
    from structllm.errors import SinkUnavailable

    seen = holdings_of(sink.store)
    for entry in _being_written(sink):
        seen.add(entry.event.get("writer"), entry.event.get("seq"))
    for entry in read(paths, report):
        writer, seq = entry.event.get("writer"), entry.event.get("seq")
        if not seen.add(writer, seq):
            pushed.held += 1
            continue
        level = LEVELS.get(str(entry.event.get("level")), 0)
        record = Record(str(entry.event["event_type"]), level, entry.line + b"\n", entry.event)
        try:
            sink.write([record])
        except SinkUnavailable as error:
            if error.reason != "spool_full":
                raise OSError(0, str(error)) from None
            sink.flush(0.0)
            _drain(sink, pushed, progress, sleep)
            if pushed.error is not None:
                return
            sink.write([record])
        pushed.shipped += 1
        pushed.unnumbered += not (isinstance(writer, str) and isinstance(seq, int))
        if pushed.shipped % 1000 == 0:
            progress(pushed)


def _being_written(sink: Any) -> Iterator[Entry]:
    """Yield the events in segments that a running program writes: they will be archived without us."""
    for segment in sink.spool.open_segments():
        report = ReadReport()
        try:
            with open(segment.path, "rb") as reader:
                yield from parse(segment.path, lines_of(OpenFile(segment.path, reader, live=True), report), report)
        except FileNotFoundError:
            continue
