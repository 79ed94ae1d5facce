"""Log files as they are on disk, and a reader that takes them as they come.

A log is a live file of JSON lines (`x.log`) with its rotated predecessors (`x.log.1` is the newest of them), each of
which may be compressed (`.gz`, `.zst`). A live file may end in a line that is still being written; the reader stops
before it. What cannot be read is skipped, counted and named by file and offset, and never stops the rest. Reading takes
constant memory: one chunk, one line, and the intervals of `sequence`. Files may be rotated, compressed and deleted
meanwhile.
"""

from structllm.segment.files import LogFile, Walk, successors
from structllm.segment.lines import (
    MAX_LINE_BYTES,
    BadLine,
    Entry,
    Lines,
    ReadReport,
    describe,
    parse,
    timestamp_of,
    unique,
)
from structllm.segment.names import LOG_SUFFIXES, STDIN, Log, find_logs, is_read_once, is_there, log_at
from structllm.segment.reading import files_of, lines_of, read, read_file

__all__ = [
    "LOG_SUFFIXES",
    "MAX_LINE_BYTES",
    "STDIN",
    "BadLine",
    "Entry",
    "Lines",
    "Log",
    "LogFile",
    "ReadReport",
    "Walk",
    "describe",
    "files_of",
    "find_logs",
    "is_read_once",
    "is_there",
    "lines_of",
    "log_at",
    "parse",
    "read",
    "read_file",
    "successors",
    "timestamp_of",
    "unique",
]
