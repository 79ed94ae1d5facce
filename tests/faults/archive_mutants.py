"""Damage to the archive's write side: each takes one thing away on which a promise of it rests.

Put in place by programs of `archiving.py` whose job has `extra={"damage": NAME}`.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from structllm import _backoff
from structllm._backoff import Backoff
from structllm.archive.directory import DirectoryStore
from structllm.archive.s3 import S3Store
from structllm.archive.store import StoreError
from structllm.sinks import archiver
from structllm.sinks.archiver import Archiver
from structllm.sinks.sealing import SegmentSealer
from structllm.sinks.segment import LiveSegment
from structllm.sinks.spool import OpenSegment, SealedSegment, Spool
from structllm.sinks.spooled import SpooledSink
from tests.standing_in import stand_in


def overwrites() -> None:
    """Store an object whatever is at its key."""
    stand_in(DirectoryStore, _name=lambda self, hidden, path: os.replace(hidden, path))

    def put(self: S3Store, key: str, request: Any) -> None:
        self._s3().put_object(**request)

    stand_in(S3Store, _put=put)


def believes_none_is_ours() -> None:
    """Take every object that is there already for somebody else's."""
    stand_in(Archiver, _is_there=lambda self, manifest, in_doubt: False)


def believes_all_are_ours() -> None:
    """Take every object that is there already for ours."""
    stand_in(Archiver, _is_there=lambda self, manifest, in_doubt: True)


def deletes_first() -> None:
    """Delete a segment when it is about to be stored, and not when it has been."""

    def deliver(self: Archiver, segment: SealedSegment) -> None:
        manifest = self._sealer.manifest_of(segment)
        body = self._spool.read(segment.path)
        self._spool.remove(segment.path, segment.stem + ".json")
        self._store.put(manifest.object_key, body, sha256=manifest.sha256, metadata=manifest.metadata())

    stand_in(Archiver, _deliver=deliver)


def leaves_the_manifest_out() -> None:
    """Delete a segment before its manifest is stored."""

    def deliver(self: Archiver, segment: SealedSegment) -> None:
        manifest = self._sealer.manifest_of(segment)
        body = self._spool.read(segment.path)
        self._store.put(manifest.object_key, body, sha256=manifest.sha256, metadata=manifest.metadata())
        self._spool.remove(segment.path)
        data = manifest.to_json()
        self._store.put(manifest.key, data, sha256=hashlib.sha256(data).hexdigest(), metadata={})
        self._spool.remove(segment.stem + ".json")

    stand_in(Archiver, _deliver=deliver)


def name_before_content() -> None:
    """Give a file its name before it has its bytes."""

    def put(self: Spool, path: str, data: bytes) -> None:
        fd = self._system.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._system.write(fd, data)
        self._system.close(fd)

    stand_in(Spool, put=put)


def unlinks_before_sealing() -> None:
    """Delete the open file before the sealed one is there."""
    real = SegmentSealer._put

    def put(self: SegmentSealer, segment: OpenSegment, content: bytes) -> SealedSegment:
        self._spool.remove(segment.path)
        return real(self, segment, content)

    stand_in(SegmentSealer, _put=put)


def claims_without_lock() -> None:
    """Take every open segment for that of a dead writer."""

    @contextmanager
    def claimed(self: Spool, segment: OpenSegment) -> Iterator[int | None]:
        fd = self._system.open(segment.path, os.O_RDONLY)
        try:
            yield fd
        finally:
            self._system.close(fd)

    stand_in(Spool, claimed=claimed)


def adopts_nothing() -> None:
    """Leave the segments of dead writers to them."""
    stand_in(SegmentSealer, seal=lambda self, segment: None)


def no_bound() -> None:
    """Let the spool grow."""
    stand_in(LiveSegment, _make_sure_of_room=lambda self, size_bytes: None)


def one_blocks_all() -> None:
    """Wait with all segments until the first one is stored."""

    def store_all(self: Archiver) -> float | None:
        for segment in self._spool.sealed_segments():
            try:
                self._deliver(segment)
            except StoreError as error:
                self._fail(segment, str(error), error.reason)
                return 0.0
        return None

    stand_in(Archiver, _store_all=store_all)


def tries_refused_for_ever() -> None:
    """Try a segment again and again whose checksum is wrong on arrival."""
    stand_in(archiver, _MOST_REFUSALS=10**9)


def quarantines_another() -> None:
    """Keep something else in quarantine than what was to be stored."""
    real = Spool.set_aside

    def set_aside(self: Spool, segment: SealedSegment, reason: bytes) -> None:
        os.truncate(segment.path, os.path.getsize(segment.path) - 1)
        real(self, segment, reason)

    stand_in(Spool, set_aside=set_aside)


def gives_up() -> None:
    """Delete what could not be stored."""
    real = Archiver._fail

    def fail(self: Archiver, segment: SealedSegment, detail: str, reason: str) -> None:
        real(self, segment, detail, reason)
        self._spool.remove(segment.path, segment.stem + ".json", segment.stem + ".try")

    stand_in(Archiver, _fail=fail)


def keeps_quiet() -> None:
    """Say nothing of what is wrong."""
    stand_in(Archiver, _note=lambda self, detail, reason: None)


def no_delay() -> None:
    """Try again at once."""
    stand_in(Backoff, pause_s=lambda self: 0.0)


def no_jitter() -> None:
    """Wait the whole time after each failure, all processes alike."""
    real = Backoff.__init__

    def init(self: Backoff, clock: Callable[[], float], uniform: Callable[[float, float], float]) -> None:
        real(self, clock, lambda low, high: high)

    stand_in(Backoff, __init__=init)


def half_jitter() -> None:
    """Draw from the upper half of the range alone."""
    real = Backoff.__init__

    def init(self: Backoff, clock: Callable[[], float], uniform: Callable[[float, float], float]) -> None:
        real(self, clock, lambda low, high: uniform(high / 2, high))

    stand_in(Backoff, __init__=init)


def longer_delays() -> None:
    """Wait longer than a minute."""
    stand_in(_backoff, _LONGEST_DELAY_S=90.0)


def waits_for_the_store() -> None:
    """Have `write` wait until the archive has the record, or has refused it."""
    real = SpooledSink.write

    def write(self: SpooledSink, batch: Any, /) -> None:
        real(self, batch)
        self.flush(1.0)

    stand_in(SpooledSink, write=write)


DAMAGES: Mapping[str, Callable[[], None]] = {
    damage.__name__: damage
    for damage in (
        overwrites,
        believes_none_is_ours,
        believes_all_are_ours,
        deletes_first,
        leaves_the_manifest_out,
        name_before_content,
        unlinks_before_sealing,
        claims_without_lock,
        adopts_nothing,
        no_bound,
        one_blocks_all,
        tries_refused_for_ever,
        quarantines_another,
        gives_up,
        keeps_quiet,
        no_delay,
        no_jitter,
        half_jitter,
        longer_delays,
        waits_for_the_store,
    )
}


def apply(name: str | None) -> None:
    """Put a mutant in place in this process."""
    if name is not None:
        DAMAGES[name]()
