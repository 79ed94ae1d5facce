"""Brings sealed segments to where they are kept, again and again until they are there, and only then deletes them."""

import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import orjson

from structllm._backoff import Backoff
from structllm._system import LockingImpossible
from structllm.archive.manifest import Manifest
from structllm.archive.names import SegmentName
from structllm.archive.store import ObjectExists, Store, StoreRefused, StoreUnavailable
from structllm.sinks.sealing import SegmentSealer
from structllm.sinks.spool import SealedSegment, Spool

_MOST_REFUSALS = 3  # of one segment, since a byte may also be changed on the way
_MOST_FAILURES = 2  # of different segments in a row; then the store is taken to be down, and the others are not tried
_BUSY_S = 2.0  # after which to ask again whether another process archives
_RETRY_S = 10.0  # after which to try again what the spool's own disk refused


class Archiver:
    """Seals and stores the segments of one spool. One process at a time does; thread-safe.

    Args:
        spool: The spool.
        sealer: Seals its segments.
        store: Where they go.
        clock: Monotonic seconds.
        uniform: Draws the delays between tries.

    Attributes:
        last_error: What is wrong at present, one sentence; None while the store takes what it is given.
        last_reason: The same in one word.
        last_quarantined: Which segment was set aside last, and why.
    """

    def __init__(
        self,
        spool: Spool,
        sealer: SegmentSealer,
        store: Store,
        *,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] | None = None,
    ) -> None:
        self._spool = spool
        self._sealer = sealer
        self._store = store
        self._clock = clock
        self._uniform = uniform or random.Random().uniform  # not the host's, which it may have seeded
        self.begin()

    def begin(self) -> None:
        """Begin anew, as in a forked child."""
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._down = Backoff(self._clock, self._uniform)
        self._backoffs: dict[SegmentName, Backoff] = {}
        self._failures: Counter[SegmentName] = Counter()
        self._refusals: Counter[SegmentName] = Counter()
        self._stored: set[SegmentName] = set()  # whose lines are stored, and whose manifest is not
        self.last_error: str | None = None
        self.last_reason: str | None = None
        self.last_quarantined: str | None = None

    def health(self) -> dict[str, Any]:
        """Return what was done so far, and what is wrong."""
        names = ("uploaded", "uploaded_bytes", "found_there", "retries", "quarantined")
        counts: dict[str, Any] = {name: self._counts[name] for name in names}
        counts["torn_bytes"] = self._sealer.torn_bytes
        if self.last_error is not None:
            counts |= {"last_error": self.last_error, "error": self.last_reason}
        if self.last_quarantined is not None:
            counts["last_quarantined"] = self.last_quarantined
        return counts

    def run(self) -> float | None:
        """Seal what nobody writes any more, and store what is due; return in how many seconds to come again.

        Returns None where nothing is left. Never raises OSError: a spool that cannot be read is `last_error`.
        """
        try:
            if not self._spool.is_made():
                return None
        except OSError as error:
            self._complain(error)
            return _RETRY_S
        with self._alone() as alone:
            if not alone:
                return _BUSY_S
            wrong: Exception | None = None
            again_s: float | None = None
            try:
                wrong = self._seal_all()
                again_s = self._store_all()  # also where nothing could be sealed: this makes room
            except Exception as error:  # nobody would come again
                wrong = error
            if wrong is None:
                if again_s is None:  # nothing waits, so nothing is wrong any more
                    self.last_error = self.last_reason = None
                return again_s
            self._complain(wrong)  # only now: what could be stored says that all is well
            return min(_RETRY_S, _RETRY_S if again_s is None else again_s)

    def hurry(self) -> None:
        """Have the next run try everything, whatever waits for its time: somebody cannot wait."""
        self._down.reset()
        for backoff in list(self._backoffs.values()):
            backoff.reset()

    @contextmanager
    def _alone(self) -> Generator[bool]:
        if not self._lock.acquire(blocking=False):
            yield False
            return
        with ExitStack() as stack:
            stack.callback(self._lock.release)
            try:
                alone = stack.enter_context(self._spool.archiving())
            except LockingImpossible:
                self._note(f"the file system of {self._spool.directory} has no locks", "no_lock")
                alone = False
            except OSError as error:
                alone = self._complain(error)
            yield alone

    def _seal_all(self) -> Exception | None:
        """Seal what can be; return what is wrong with what cannot."""
        wrong: Exception | None = None
        for segment in self._spool.open_segments():
            try:
                self._sealer.seal(segment)
            except Exception as error:  # whatever is wrong with one segment, the others are sealed and stored
                wrong = error
        return wrong

    def _complain(self, error: Exception) -> bool:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        self._note(f"the spool {self._spool.directory}: {said}", "spool_error")
        return False

    def _store_all(self) -> float | None:
        self._spool.sweep()
        waiting = self._spool.sealed_segments()
        self._forget(waiting)
        if (pause_s := self._down.pause_s()) > 0 and waiting:
            return pause_s
        failures = 0
        # Those that have failed come last, so that one that fails for ever keeps no other waiting.
        for segment in sorted(waiting, key=lambda segment: (self._failures[segment.name], segment.name)):
            backoff = self._backoffs.get(segment.name)
            if backoff is not None and backoff.pause_s() > 0:
                continue
            try:
                self._deliver(segment)
            except StoreUnavailable as error:
                self._fail(segment, str(error), error.reason)
                failures += 1
                if failures >= _MOST_FAILURES:
                    self._down.fail()
                    return max(0.0, self._down.pause_s())
            except StoreRefused as error:
                try:
                    self._refuse(segment, str(error), error.reason)
                except OSError as more:
                    self._fail(segment, f"{segment.path}: {more.strerror or more}", "spool_error")
            except Exception as error:  # of this segment alone, perhaps; if not, the others meet it as well
                said = getattr(error, "strerror", None) or str(error) or type(error).__name__
                self._fail(segment, f"{segment.path}: {said}", "spool_error")
            else:
                failures = 0
                self._down.reset()
        left = self._spool.sealed_segments()
        if not left:
            self._spool.forget_heads()
            return None
        pauses = [backoff.pause_s() for segment in left if (backoff := self._backoffs.get(segment.name))]
        return max(0.0, min(pauses, default=0.0))

    def _deliver(self, segment: SealedSegment) -> None:
        """Store a segment and then its manifest, and delete both here."""
        manifest = self._sealer.manifest_of(segment)
        if segment.name not in self._stored and not self._store_lines(segment, manifest):
            return
        self._stored.add(segment.name)
        data = manifest.to_json()
        with suppress(ObjectExists):  # the same, or one of a copy of this spool, that tells the same of the same bytes
            digest = hashlib.sha256(data).hexdigest()
            self._store.put(manifest.key, data, sha256=digest, metadata={})
        self._spool.remove(segment.path, segment.stem + ".json", segment.stem + ".try")
        if manifest.final:
            self._spool.remove(self._spool.head_of(segment.name.owner))
        self._counts["uploaded"] += 1
        self._counts["uploaded_bytes"] += manifest.size_bytes
        self._failures.pop(segment.name, None)
        self._backoffs.pop(segment.name, None)
        self.last_error = self.last_reason = None

    def _store_lines(self, segment: SealedSegment, manifest: Manifest) -> bool:
        """Store the lines of a segment; return False where somebody else's object is in the way."""
        body = self._spool.read(segment.path)
        in_doubt = self._is_in_doubt(segment)
        with suppress(OSError):  # then an answer that is lost, and may not be asked for, leads to quarantine
            self._spool.put(segment.stem + ".try", b"")
        try:
            self._store.put(manifest.object_key, body, sha256=manifest.sha256, metadata=manifest.metadata())
        except ObjectExists:
            if not self._is_there(manifest, in_doubt):
                self._quarantine(segment, f"another object is at {manifest.object_key}", "other_object")
                return False
            self._counts["found_there"] += 1
        return True

    def _is_in_doubt(self, segment: SealedSegment) -> bool:
        """Return whether an earlier try of ours may have stored it."""
        try:
            self._spool.read(segment.stem + ".try")
        except FileNotFoundError:
            return False
        return True

    def _is_there(self, manifest: Manifest, in_doubt: bool) -> bool:
        """Return whether the object of this key is ours, stored by a try whose answer was lost."""
        try:
            found = self._store.find(manifest.object_key)
        except StoreUnavailable as error:
            if error.reason != "access_denied":
                raise
            return in_doubt  # who may write and not read cannot know better
        if found is None:
            raise StoreUnavailable("vanished", f"{manifest.object_key} was there, and is not any more")
        if found.size_bytes != manifest.size_bytes:
            return False
        return manifest.sha256 == (found.sha256 or self._digest(manifest.object_key))

    def _digest(self, key: str) -> str:
        digest = hashlib.sha256()
        try:
            with self._store.open(key) as stream:
                while chunk := stream.read1(1 << 20):
                    digest.update(chunk)
        except OSError as error:
            raise StoreUnavailable("broken_off", f"reading {key} broke off: {error}") from None
        return digest.hexdigest()

    def _fail(self, segment: SealedSegment, detail: str, reason: str) -> None:
        self._note(detail, reason)
        self._counts["retries"] += 1
        self._failures[segment.name] += 1
        self._backoffs.setdefault(segment.name, Backoff(self._clock, self._uniform)).fail()

    def _refuse(self, segment: SealedSegment, detail: str, reason: str) -> None:
        self._refusals[segment.name] += 1
        if reason == "bad_digest" and self._refusals[segment.name] < _MOST_REFUSALS:
            self._fail(segment, detail, reason)
        else:
            self._quarantine(segment, detail, reason)

    def _quarantine(self, segment: SealedSegment, detail: str, reason: str) -> None:
        """Set a segment aside that the store will not take as it is, so that a person looks at it."""
        self._spool.set_aside(segment, orjson.dumps({"reason": reason, "detail": detail}))
        self._counts["quarantined"] += 1
        self.last_quarantined = f"{segment.name.stem} is in {self._spool.quarantine}: {detail}"

    def _note(self, detail: str, reason: str) -> None:
        self.last_error, self.last_reason = detail, reason

    def _forget(self, waiting: list[SealedSegment]) -> None:
        """Forget the failures of segments that another process has dealt with."""
        names = {segment.name for segment in waiting}
        known: tuple[dict[SegmentName, Any], ...] = (self._backoffs, self._failures, self._refusals)
        for table in known:
            for name in table.keys() - names:
                del table[name]
        self._stored &= names


def waiting_of(spool: Spool, owners: Container[str] | None = None) -> dict[str, int]:
    """Return how many segments, of some owners or all, are open, sealed and in quarantine."""
    found = {
        "open": [segment.name for segment in spool.open_segments()],
        "sealed": [segment.name for segment in spool.sealed_segments()],
        "quarantine": [segment.name for segment in spool.sealed_segments(spool.quarantine)],
    }
    return {place: sum(owners is None or name.owner in owners for name in names) for place, names in found.items()}
