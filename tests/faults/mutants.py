"""Damage done to the real classes inside a writer: each takes one thing away on which a guarantee rests.

A fault test that passes with its mutant in place proves nothing, so each has one that it must catch.
"""

import os
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from structllm import follow
from structllm._system import System
from structllm.segment.names import Log
from structllm.sinks.file import FileSink
from structllm.sinks.rotation import Generation, LogFiles, Outcome
from tests.standing_in import stand_in

_BUFFERED = 50


def no_rotation_lock() -> None:
    """Rotate without the lock, and without asking whether the file is still the live one."""

    def under_lock(self: LogFiles, fd: int, action: Callable[[], bool]) -> Outcome:
        return Outcome.DONE if action() else Outcome.NOT_NEEDED

    stand_in(LogFiles, under_lock=under_lock)


def no_lock_check() -> None:
    """Take the lock, but believe that it is the live file's without looking."""

    def id_at(self: LogFiles, path: str) -> Any:
        return _Anything()

    real = LogFiles.under_lock

    def under_lock(self: LogFiles, fd: int, action: Callable[[], bool]) -> Outcome:
        kept = LogFiles.id_at
        stand_in(LogFiles, id_at=id_at)
        try:
            return real(self, fd, action)
        finally:
            stand_in(LogFiles, id_at=kept)

    stand_in(LogFiles, under_lock=under_lock)


class _Anything:
    def __eq__(self, other: object) -> bool:
        return True


def no_nlink_check() -> None:
    """Believe that the open file still has a name."""
    real = System.status_of

    def status_of(self: System, fd: int) -> Any:
        status = real(self, fd)
        fields = ("st_dev", "st_ino", "st_mode", "st_size", "st_mtime")
        return SimpleNamespace(**{name: getattr(status, name) for name in fields}, st_nlink=1)

    stand_in(System, status_of=status_of)


def no_look_aside() -> None:
    """See none of the files that wait for their deletion."""
    stand_in(LogFiles, hidden=lambda self, kind: [])


def no_generation_compare() -> None:
    """See no rotation of others after a write."""

    def seek(fd: int, offset: int, whence: int) -> int:
        return 1 if whence == os.SEEK_END else os.lseek(fd, offset, whence)

    System.seek = staticmethod(seek)


def no_generation_bump() -> None:
    """Tell nobody of a rotation."""
    stand_in(Generation, advance=lambda self: None)


def no_tail_repair() -> None:
    """Believe that every file ends in a whole line."""
    stand_in(System, read_at=lambda self, fd, count, offset: b"\n")


def two_writes() -> None:
    """Write the record and its newline one after the other."""

    def write(fd: int, data: Any, /) -> int:
        written = os.write(fd, data[:-1])
        time.sleep(0)  # lets another thread come in between
        return written + os.write(fd, data[-1:])

    System.write = staticmethod(write)


def no_append() -> None:
    """Go to the end and write there, instead of appending."""
    real = System.open

    def write(fd: int, data: Any, /) -> int:
        os.lseek(fd, 0, os.SEEK_END)
        time.sleep(0.0002)  # so that somebody comes in between
        return os.write(fd, data)

    stand_in(System, open=lambda self, path, flags, mode=0o600: real(self, path, flags & ~os.O_APPEND, mode))
    System.write = staticmethod(write)


def cascade_upside_down() -> None:
    """Move the files up from the newest to the oldest."""

    def move_up(self: LogFiles, backup_count: int, generation: Generation) -> None:
        os.replace(self.live, f"{self.live}.1.new")
        for number in range(1, backup_count):
            if os.path.exists(f"{self.live}.{number}"):
                os.replace(f"{self.live}.{number}", f"{self.live}.{number + 1}")
        os.replace(f"{self.live}.1.new", f"{self.live}.1")
        generation.advance()

    stand_in(LogFiles, move_up=move_up)


def cascade_moves_all() -> None:
    """Move every file up, also those beyond a free number."""

    def move_up(self: LogFiles, backup_count: int, generation: Generation) -> None:
        for number in sorted(self.numbered(), reverse=True):
            if number >= backup_count:
                self.set_aside(f"{self.live}.{number}")
            else:
                self._system.rename(f"{self.live}.{number}", f"{self.live}.{number + 1}")
        self._system.rename(self.live, f"{self.live}.1")
        generation.advance()

    stand_in(LogFiles, move_up=move_up)


def buffered_writes() -> None:
    """Keep some records in memory."""
    real = FileSink.write
    kept: list[Any] = []

    def write(self: FileSink, batch: Any, /) -> None:
        kept.extend(batch)
        if len(kept) >= _BUFFERED:
            real(self, kept)
            kept.clear()

    stand_in(FileSink, write=write)


def reader_skips() -> None:
    """Follow into the newest file alone where several were begun."""
    stand_in(follow, log_at=lambda live: Log(live, (live,), whole=False))


MUTANTS: Mapping[str, Callable[[], None]] = {
    mutant.__name__: mutant
    for mutant in (
        no_rotation_lock,
        no_lock_check,
        no_nlink_check,
        no_look_aside,
        no_generation_compare,
        no_generation_bump,
        no_tail_repair,
        two_writes,
        no_append,
        cascade_upside_down,
        cascade_moves_all,
        buffered_writes,
        reader_skips,
    )
}


def apply(name: str) -> None:
    """Put a mutant in place in this process."""
    MUTANTS[name]()
