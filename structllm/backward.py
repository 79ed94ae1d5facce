"""The newest events of logs, read from their ends, so that the last lines of a large log come at once."""

import heapq
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from io import BufferedReader
from itertools import islice
from typing import Any

from structllm.segment import (
    MAX_LINE_BYTES,
    STDIN,
    Entry,
    Log,
    LogFile,
    ReadReport,
    Walk,
    find_logs,
    parse,
    read_file,
    timestamp_of,
    unique,
)
from structllm.segment.reading import standard_input

_BLOCK_BYTES = 64 * 1024


def read_last(
    paths: Iterable[str | os.PathLike[str]], count: int, accept: Callable[[Mapping[str, Any]], bool], report: ReadReport
) -> list[Entry]:
    """Return the newest events, the oldest of them first.

    Args:
        paths: As for `segment.find_logs`, which may raise.
        count: How many events at most.
        accept: Which events count.
        report: Counts what else was met in the part that had to be read.
    """
    if count <= 0:
        return []
    logs = [_last_of_log(log, count, accept, report) for log in find_logs(paths)]
    return list(heapq.merge(*logs, key=timestamp_of))[-count:]


def _last_of_log(log: Log, count: int, accept: Callable[[Mapping[str, Any]], bool], report: ReadReport) -> list[Entry]:
    if log.live == STDIN:
        report.files += 1
        forward = unique(read_file(STDIN, standard_input(), report, live=False), report)
        return list(deque((entry for entry in forward if accept(entry.event)), maxlen=count))
    newest_first: list[Entry] = []
    with closing(Walk(log, report)) as walk:
        for file in walk:
            report.files += 1
            entries = (entry for entry in unique(_events_of(file, log, report), report) if accept(entry.event))
            if file.packed or not file.is_regular:
                # It can be read forwards alone, and then only the last events are kept.
                last = deque(entries, maxlen=count - len(newest_first))
                newest_first.extend(reversed(last))
            else:
                newest_first.extend(islice(entries, count - len(newest_first)))
            if len(newest_first) >= count:
                break
    return newest_first[::-1]


def _events_of(file: LogFile, log: Log, report: ReadReport) -> Iterator[Entry]:
    live = file.path == log.live
    if file.packed or not file.is_regular:
        return read_file(file.path, file.reader, report, live=live)
    return parse(file.path, _lines_backwards(file.reader, report, live=live), report)


def _lines_backwards(file: BufferedReader, report: ReadReport, *, live: bool) -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines of a file with their offsets, the last first; an unfinished last line only if it is not live."""
    fd = file.fileno()
    start = os.fstat(fd).st_size
    held: list[bytes] = []  # the end of a line whose beginning is further up, its pieces in reverse order
    held_bytes = 0
    unfinished = True  # what follows the last newline
    while start > 0:
        size, start = min(_BLOCK_BYTES, start), max(0, start - _BLOCK_BYTES)
        first, *begun = os.pread(fd, size, start).split(b"\n")
        offset = start + len(first) + sum(map(len, begun)) + len(begun)
        for piece in reversed(begun):
            offset -= len(piece)
            held_bytes += len(piece)
            if unfinished and live:
                report.unfinished += held_bytes > 0
            else:
                yield offset, _joined([*held, piece], held_bytes)
            unfinished = False
            held, held_bytes = [], 0
            offset -= 1
        held_bytes += len(first)
        held = [*held, first] if held_bytes <= MAX_LINE_BYTES else []
    if unfinished and live:
        report.unfinished += held_bytes > 0
    else:
        yield 0, _joined(held, held_bytes)


def _joined(pieces_backwards: list[bytes], size: int) -> bytes | None:
    return b"".join(reversed(pieces_backwards)) if size <= MAX_LINE_BYTES else None
