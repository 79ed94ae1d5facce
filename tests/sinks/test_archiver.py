"""The archiver: what it does with every answer of a store, when it tries again, and what it leaves."""

import random
from pathlib import Path

import orjson
import pytest

from structllm.archive import StoreRefused, StoreUnavailable
from structllm.sinks.archiver import Archiver
from structllm.sinks.sealing import SegmentSealer, pack
from structllm.sinks.spool import Spool
from structllm.sinks.spooled import SpooledSink
from tests.sinks.spooling import Clocked, FaultyStore, manifests_in, record, seqs_in, unpacked
from tests.standing_in import stand_in

GONE = StoreUnavailable("timeout", "no answer")
BAD_DIGEST = StoreRefused("bad_digest", "the checksum was wrong on arrival")


class Given:
    """A spool with sealed segments of one record each, and an archiver whose clock is moved by hand."""

    def __init__(self, path: Path, segments: int, seed: int = 0) -> None:
        self.system, self.store = Clocked(), FaultyStore()
        self.path = path
        self.spool = Spool(self.system, str(path))
        self.delays: list[tuple[float, float]] = []
        rng = random.Random(seed)

        def uniform(low: float, high: float) -> float:
            drawn = rng.uniform(low, high)
            self.delays.append((drawn, high))
            return drawn

        sealer = SegmentSealer(self.spool, "zstd")
        self.archiver = Archiver(self.spool, sealer, self.store, clock=self.system.monotonic, uniform=uniform)
        self.system.monotonic = lambda: self.system.seconds
        self.archiver._clock = lambda: self.system.seconds
        self.archiver.begin()
        sink = SpooledSink(self.store, str(path), system=self.system)
        for number in range(1, segments + 1):
            sink.write([record(number)])
            sink._segment.end()
        for segment in self.spool.open_segments():
            assert sealer.seal(segment)

    def run_until_done(self, longest_s: float = 100_000.0) -> None:
        """Run as a thread would, on the clock."""
        ends_s = self.system.seconds + longest_s
        while (again_s := self.archiver.run()) is not None:
            self.system.seconds += max(again_s, 0.001)
            assert self.system.seconds < ends_s, self.archiver.last_error


class TestAnswers:
    def test_stored_but_the_answer_was_lost(self, tmp_path: Path) -> None:
        """The next try finds the object, compares, and counts it as delivered; it is not written again."""
        given = Given(tmp_path, 3)
        given.store.after = True
        given.store.errors = [GONE, None, GONE]
        given.run_until_done()
        assert ([1, 2, 3], 3) == (seqs_in(given.store), len(manifests_in(given.store)))
        health = given.archiver.health()
        assert (2, 2, 0) == (health["found_there"], health["retries"], health["quarantined"])

    def test_catches_who_does_not_compare(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The test above fails where an object that is there counts as somebody else's."""
        monkeypatch.setattr(Archiver, "_is_there", lambda self, manifest, in_doubt: False)
        given = Given(tmp_path, 1)
        given.store.after, given.store.errors = True, [GONE]
        given.run_until_done()
        assert 1 == given.archiver.health()["quarantined"]

    def test_another_object_on_the_key(self, tmp_path: Path) -> None:
        """It is never overwritten; our segment is set aside with its bytes and the reason, and the others go on."""
        given = Given(tmp_path, 2)
        foreign = given.spool.sealed_segments()[0]
        key = given.archiver._sealer.manifest_of(foreign).object_key
        body = Path(foreign.path).read_bytes()
        given.store.objects[key] = b"somebody else's"
        given.run_until_done()
        assert b"somebody else's" == given.store.objects[key]
        (kept,) = given.spool.sealed_segments(given.spool.quarantine)
        assert body == Path(kept.path).read_bytes()
        reason = orjson.loads(Path(kept.stem + ".reason").read_bytes())
        assert "other_object" == reason["reason"]
        assert f"{kept.name.stem} is in {given.spool.quarantine}" in given.archiver.health()["last_quarantined"]
        assert 1 == len(manifests_in(given.store))

    @pytest.mark.parametrize(("in_doubt", "quarantined"), [(True, 0), (False, 1)])
    def test_who_may_write_and_not_look(self, tmp_path: Path, in_doubt: bool, quarantined: int) -> None:
        """Without the right to look, an object that is there is ours only where a try of ours was in doubt."""
        given = Given(tmp_path, 1)
        (segment,) = given.spool.sealed_segments()
        if in_doubt:
            Path(segment.stem + ".try").touch()
        given.store.objects[given.archiver._sealer.manifest_of(segment).object_key] = b"who knows"

        def denied(key: str) -> None:
            raise StoreUnavailable("access_denied", "no right to look")

        given.store.find = denied  # type: ignore[method-assign,assignment]  # a role that may only write
        given.run_until_done()
        assert quarantined == given.archiver.health()["quarantined"]

    def test_a_checksum_that_is_wrong_three_times(self, tmp_path: Path) -> None:
        """A byte may have been changed on the way; the third time the segment is set aside, unchanged."""
        given = Given(tmp_path, 3)
        bad = given.spool.sealed_segments()[1]
        body, bad_key = Path(bad.path).read_bytes(), given.archiver._sealer.manifest_of(bad).object_key
        put = given.store.put

        def refuse(key: str, data: bytes, *, sha256: str, metadata: object) -> None:
            if key == bad_key:
                given.store.tries.append(key)
                raise BAD_DIGEST
            put(key, data, sha256=sha256, metadata=metadata)

        given.store.put = refuse  # type: ignore[method-assign]  # one segment's bytes are changed on the way
        given.run_until_done()
        assert (3, [1, 3]) == (given.store.tries.count(bad_key), seqs_in(given.store))
        (kept,) = given.spool.sealed_segments(given.spool.quarantine)
        assert body == Path(kept.path).read_bytes()

    def test_what_is_too_large_is_set_aside_at_once(self, tmp_path: Path) -> None:
        """Trying again would not help."""
        given = Given(tmp_path, 1)
        given.store.errors = [StoreRefused("too_large", "larger than the store takes")]
        given.run_until_done()
        assert (1, 1) == (len(given.store.tries), given.archiver.health()["quarantined"])

    def test_a_manifest_that_cannot_be_stored(self, tmp_path: Path) -> None:
        """It is tried again alone: the lines, which are there, are not sent once more."""
        given = Given(tmp_path, 1)
        put, failures = given.store.put, [GONE] * 5

        def fail(key: str, data: bytes, *, sha256: str, metadata: object) -> None:
            if key.startswith("_manifest/") and failures:
                raise failures.pop()
            put(key, data, sha256=sha256, metadata=metadata)

        given.store.put = fail  # type: ignore[method-assign]  # a store that takes lines alone
        given.run_until_done()
        assert (1, 1, []) == (len(given.store.tries), len(manifests_in(given.store)), given.spool.sealed_segments())

    def test_a_manifest_that_is_there(self, tmp_path: Path) -> None:
        """It was stored by a try that was killed before it deleted anything: the segment is done."""
        given = Given(tmp_path, 1)
        (segment,) = given.spool.sealed_segments()
        manifest = given.archiver._sealer.manifest_of(segment)
        given.store.objects[manifest.key] = manifest.to_json()
        given.run_until_done()
        assert ([1], []) == (seqs_in(given.store), given.spool.sealed_segments())


class TestRetries:
    def test_delays_have_full_jitter(self, tmp_path: Path) -> None:
        """The n-th delay is drawn from all of [0, min(60, 0.5 * 2**n)], and there is no last try."""
        given = Given(tmp_path, 1)
        given.store.errors = [GONE] * 200
        given.run_until_done()
        assert [1] == seqs_in(given.store)
        highs = [high for _, high in given.delays]
        assert [min(60.0, 0.5 * 2.0**n) for n in range(len(highs))] == highs

    def test_one_segment_keeps_no_other_waiting(self, tmp_path: Path) -> None:
        """One that fails for ever comes last; all others are delivered."""
        given = Given(tmp_path, 10)
        first = given.archiver._sealer.manifest_of(given.spool.sealed_segments()[0]).object_key
        put = given.store.put

        def fail(key: str, data: bytes, *, sha256: str, metadata: object) -> None:
            if key == first:
                raise StoreUnavailable("internal_error", "500")
            put(key, data, sha256=sha256, metadata=metadata)

        given.store.put = fail  # type: ignore[method-assign]  # one segment makes the store fail
        assert given.archiver.run() is not None
        assert list(range(2, 11)) == seqs_in(given.store)

    def test_a_store_that_is_down_is_not_asked_for_each_segment(self, tmp_path: Path) -> None:
        """After two failures in a row the others are not tried, and the next try waits."""
        given = Given(tmp_path, 50)
        given.store.always = GONE
        ends_s = given.system.seconds + 3600.0
        while given.system.seconds < ends_s:
            again_s = given.archiver.run()
            assert again_s is not None
            given.system.seconds += max(again_s, 0.01)
        assert len(given.store.tries) < 3600 / 30 * 2 * 3
        assert "timeout" == given.archiver.last_reason
        given.store.always = None
        given.run_until_done()
        assert (list(range(1, 51)), None) == (seqs_in(given.store), given.archiver.last_error)

    def test_hurry_tries_at_once(self, tmp_path: Path) -> None:
        """Who flushes does not wait for a delay that was drawn during an outage."""
        given = Given(tmp_path, 3)
        given.store.always = GONE
        for _ in range(20):
            given.archiver.run()
            given.system.seconds += 60.0
        given.store.always = None
        given.archiver.hurry()
        given.archiver.run()
        assert [1, 2, 3] == seqs_in(given.store)


class TestSealing:
    def test_the_same_lines_give_the_same_bytes(self, tmp_path: Path) -> None:
        """So a segment that is sealed again, after a crash, is the object that may be there already."""
        for compression in ("zstd", "gzip", "none"):
            content = b"".join(record(number).line for number in range(100))
            assert pack(content, compression) == pack(content, compression)
            assert content == unpacked(
                {"zstd": "x.zst", "gzip": "x.gz", "none": "x"}[compression], pack(content, compression)
            )

    def test_a_manifest_that_was_lost_is_made_anew(self, tmp_path: Path) -> None:
        """Only what its maker alone knew is missing from it."""
        given = Given(tmp_path, 2)
        for segment in given.spool.sealed_segments():
            before = given.archiver._sealer.manifest_of(segment)
            Path(segment.stem + ".json").write_bytes(b"{}")
            after = given.archiver._sealer.manifest_of(segment)
            assert (before.summary, before.sha256) == (after.summary, after.sha256)
            assert after.previous_sha256 is None

    def test_one_that_cannot_be_sealed_is_said(self, tmp_path: Path) -> None:
        """The others are sealed and stored, and that does not hide it."""
        given = Given(tmp_path, 1)
        sink = SpooledSink(given.store, str(tmp_path), system=given.system)
        for number in (2, 3):
            sink.write([record(number)])
            sink._segment.end()
        bad = given.spool.open_segments()[0].path
        opened = given.system.open

        def fail(path: str, flags: int, mode: int = 0o600) -> int:
            if path == bad:
                raise OSError(5, "Input/output error")
            return opened(path, flags, mode)

        stand_in(given.system, open=fail)
        assert (given.archiver.run() or 0) > 0
        assert ({1, 3}, "spool_error") == (set(seqs_in(given.store)), given.archiver.last_reason)
        stand_in(given.system, open=opened)
        given.run_until_done()
        assert ({1, 2, 3}, None) == (set(seqs_in(given.store)), given.archiver.last_error)

    def test_a_spool_that_cannot_be_read_is_said(self, tmp_path: Path) -> None:
        """A disk that fails is an error of the spool; nothing is raised, and it is tried again."""
        given = Given(tmp_path, 1)

        def fail(directory: str) -> list[str]:
            raise OSError(5, "Input/output error")

        given.system.names_in = fail  # type: ignore[method-assign]  # a disk that fails
        assert (given.archiver.run() or 0) > 0
        assert "spool_error" == given.archiver.last_reason
        del given.system.names_in
        given.run_until_done()
        assert [1] == seqs_in(given.store)
