"""Reading logs from their first event to their last."""

import heapq
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedReader
from itertools import chain
from typing import NamedTuple

from structllm.segment.files import LogFile, successors
from structllm.segment.lines import Entry, Lines, ReadReport, describe, parse, timestamp_of, unique
from structllm.segment.names import STDIN, Log, find_logs, log_at
from structllm.unpack import chunks

_MAX_MERGED = 32  # logs read at the same time; more are read one after the other
_MAX_OPEN = 256  # files, of all logs that are read at the same time


def read(paths: Iterable[str | os.PathLike[str]], report: ReadReport) -> Iterator[Entry]:
    """Yield the events of all paths, each once; several logs are merged by time.

    Args:
        paths: As for `find_logs`, which may raise here at once.
        report: Counts what else was met.
    """
    logs = find_logs(paths)
    if 1 < len(logs) <= _MAX_MERGED:
        streams = [_read_log(log, report, _MAX_OPEN // len(logs)) for log in logs]
        return unique(heapq.merge(*streams, key=timestamp_of), report)
    return unique(chain.from_iterable(_read_log(log, report, _MAX_OPEN) for log in logs), report)


class OpenFile(NamedTuple):
    """A file of a log, open for reading.

    Attributes:
        path: Where it was found.
        reader: Its bytes, compressed ones as they are.
        live: Whether it may still be written to, so that an unfinished line at its end may yet be finished.
    """

    path: str
    reader: BufferedReader
    live: bool


def files_of(log: Log, report: ReadReport, keep: int = _MAX_OPEN) -> Iterator[OpenFile]:
    """Yield the files of one log, the oldest first, each to be read before the next is asked for.

    Up to `keep` of them, the oldest, are held open, so that they can be rotated, compressed and deleted meanwhile; when
    they have been read, it goes on with the ones after them.
    """
    if log.live == STDIN:
        report.files += 1
        yield OpenFile(STDIN, standard_input(), live=False)
        return
    known: Sequence[LogFile] = ()
    files: list[LogFile] = []
    try:
        while True:
            walk = successors(log, report, known, keep)
            files = [*known, *reversed(walk.held)]
            for file in files[len(known) :]:
                report.files += 1
                yield OpenFile(file.path, file.reader, live=file.path == log.live)
            if not walk.overflowed:
                return
            for file in files[:-1]:
                file.close()
            known = files = files[-1:]
            log = log_at(log.live) if log.whole else log
    finally:
        for file in files:
            file.close()


def lines_of(file: OpenFile, report: ReadReport) -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines of a file with their offsets, as `Lines.feed` does; a live one is read up to its last newline."""
    lines = Lines()
    try:
        for chunk in chunks(file.reader):
            yield from lines.feed(chunk)
    except (OSError, EOFError) as error:
        report.add_unreadable(file.path, describe(error))
        return
    if lines.rest and file.live:
        report.unfinished += 1
    elif lines.rest:
        yield from lines.feed(b"\n")


def read_file(path: str, reader: BufferedReader, report: ReadReport, *, live: bool) -> Iterator[Entry]:
    """Yield the events of one open file; a live one is read up to its last newline."""
    return parse(path, lines_of(OpenFile(path, reader, live), report), report)


def standard_input() -> BufferedReader:
    """Return standard input as bytes."""
    stream = sys.stdin.buffer
    return stream if isinstance(stream, BufferedReader) else BufferedReader(stream)  # type: ignore[arg-type]  # a test's


def _read_log(log: Log, report: ReadReport, keep: int) -> Iterator[Entry]:
    for file in files_of(log, report, keep):
        yield from read_file(file.path, file.reader, report, live=file.live)
