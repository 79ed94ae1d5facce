"""Sinks with a spool: what is on disk and in the archive after each step."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from structllm import create_llm_logger
from structllm._deferred import Deferred
from structllm._system import LockingImpossible, System
from structllm.archive import Manifest, StoreUnavailable
from structllm.chain import hasher
from structllm.errors import ConfigError, SinkRejected, SinkUnavailable
from structllm.sinks.directory import DirectorySinkConfig
from structllm.sinks.durability import Fsync
from structllm.sinks.registry import load_sink_config
from structllm.sinks.s3 import S3SinkConfig
from structllm.sinks.spooled import SpooledSink
from structllm.tampering import Place
from structllm.verification import LogCheck
from tests.descriptors import open_files
from tests.sinks.spooling import Clocked, FaultyStore, lines_in, manifests_in, record, records, seqs_in
from tests.standing_in import stand_in
from tests.waiting import comes_true

GONE = StoreUnavailable("timeout", "the store does not answer")


STEPS = ["write", "flush", "crash", "fork", "down", "up", "archive", "close"]


def files(spool: Path) -> dict[str, list[str]]:
    """Return the names of the files in a spool, by directory."""
    return {
        directory.name: sorted(file.name for file in directory.iterdir())
        for directory in sorted(spool.iterdir())
        if directory.is_dir()
    }


def waiting(spool: Path) -> dict[str, int]:
    """Return how many files of segments wait, by directory."""
    return {name: len(found) for name, found in files(spool).items() if name != "heads" and found}


@pytest.fixture
def store() -> FaultyStore:
    """Return an archive in memory."""
    return FaultyStore()


@pytest.fixture
def system() -> Clocked:
    """Return a clock that is moved by hand."""
    return Clocked()


class TestWrite:
    def test_is_on_disk_and_not_in_the_archive(self, tmp_path: Path, store: FaultyStore) -> None:
        """A record that was written is a line of an open segment; the archive is not asked."""
        store.always = GONE
        sink = SpooledSink(store, str(tmp_path))
        sink.write(list(records(range(1, 4))))
        (segment,) = (tmp_path / "open").iterdir()
        assert [1, 2, 3] == [orjson.loads(line)["seq"] for line in segment.read_bytes().splitlines()]
        assert (0o600, []) == (segment.stat().st_mode & 0o777, store.tries)

    def test_flush_brings_it_there(self, tmp_path: Path, store: FaultyStore) -> None:
        """What was flushed is in the archive, once, and nowhere else."""
        sink = SpooledSink(store, str(tmp_path))
        sink.write(list(records(range(1, 4))))
        assert (True, [1, 2, 3], {}) == (sink.flush(5.0), seqs_in(store), waiting(tmp_path))
        assert (True, 1) == (sink.flush(5.0), len(store.tries))

    @pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
    def test_segments_end_when_they_are_large(self, tmp_path: Path, store: FaultyStore, compression: str) -> None:
        """No segment holds more than it may; numbers and previous checksums tie them together."""
        sink = SpooledSink(store, str(tmp_path), segment_max_bytes=4096, compression=compression)  # type: ignore[arg-type]  # one of three
        sink.write(list(records(range(1, 101), size_bytes=500)))
        assert sink.flush(5.0)
        found = manifests_in(store)
        assert list(range(1, 101)) == seqs_in(store)
        assert all(manifest.summary.content_bytes <= 4096 for manifest in found)
        assert list(range(1, len(found) + 1)) == [manifest.name.number for manifest in found]
        assert [None, *(manifest.sha256 for manifest in found[:-1])] == [manifest.previous_sha256 for manifest in found]

    def test_manifest(self, tmp_path: Path, store: FaultyStore, system: Clocked) -> None:
        """It tells who, how many, from when to when; its key tells the times; partitions are those of the beginning."""
        sink = SpooledSink(store, str(tmp_path), system=system)
        sink.write([record(7), record(9), record(1, "other"), record(8, timestamp="2023-12-31T23:59:59.500Z")])
        assert sink.flush(5.0)
        (manifest,) = manifests_in(store)
        summary = manifest.summary
        assert {"w": (7, 9, 3), "other": (1, 1, 1)} == {name: span[:3] for name, span in summary.writers.items()}
        assert (4, 0, {"run": 4}, (1,)) == (
            summary.records,
            summary.bad_lines,
            summary.event_types,
            summary.schema_versions,
        )
        assert manifest.key.startswith("_manifest/dt=2024-01-15/hour=10/20240115T10-")
        assert manifest.key.endswith(".1704067199500-1705312809000.json")
        assert {"sha256", "records", "segment", "first-ms", "last-ms", "schema-version"} == manifest.metadata().keys()

    def test_an_empty_sink_leaves_nothing(self, tmp_path: Path, store: FaultyStore) -> None:
        """Who logs nothing archives nothing."""
        sink = SpooledSink(store, str(tmp_path))
        sink.open()
        assert sink.flush(5.0)
        sink.close()
        sink.close()
        assert ({}, {}) == (waiting(tmp_path), store.objects)

    def test_close_says_that_this_was_the_end(self, tmp_path: Path, store: FaultyStore) -> None:
        """The last segment of an owner that closed is marked, so that a tail cut off later is seen."""
        for flush_first in (False, True):
            sink = SpooledSink(store, str(tmp_path))
            sink.write([record(1)])
            if flush_first:
                assert sink.flush(5.0)
            sink.close()
        found = sorted(manifests_in(store), key=lambda manifest: (manifest.name.number, not manifest.final))
        assert [(1, True), (1, False), (2, True)] == [(manifest.name.number, manifest.final) for manifest in found]
        assert all(manifest.previous_sha256 for manifest in found if manifest.name.number > 1)
        assert files(tmp_path)["heads"] == []

    def test_writing_after_close_begins_anew(self, tmp_path: Path, store: FaultyStore) -> None:
        """What is logged late is archived all the same, by an owner of its own."""
        sink = SpooledSink(store, str(tmp_path))
        for number in (1, 2):
            sink.write([record(number)])
            sink.close()
        assert [1, 2] == sorted(seqs_in(store))
        assert 2 == len({manifest.name.owner for manifest in manifests_in(store)})

    def test_integrity(self, tmp_path: Path, store: FaultyStore) -> None:
        """Sealed lines are one chain through all segments, and manifests know its head."""
        sink = SpooledSink(store, str(tmp_path), segment_max_bytes=2048, integrity="chain")
        sink.write(list(records(range(1, 31), size_bytes=400)))
        sink.close()
        check = LogCheck(hasher())
        for number, line in enumerate(lines_in(store), 1):
            check.add(line, Place("archive", number))
        check.finish()
        assert ([], 30) == (check.findings, check.chains["w"].proved)
        heads = [manifest.summary.writers["w"].head for manifest in manifests_in(store) if manifest.summary.records]
        assert orjson.loads(lines_in(store)[-1])["hash"] == heads[-1]


PROGRAM = """
import atexit, sys
from structllm import create_llm_logger

logger = create_llm_logger(settings={"redaction": {"enabled": False}}, sinks=[
    {"type": "directory", "path": sys.argv[1], "spool_dir": sys.argv[2], "delivery": "{delivery}"}])
logger.log_trading_decision(None, action="LONG")
{ending}
"""


class TestEnd:
    @pytest.mark.parametrize("delivery", ["direct", "background"])
    @pytest.mark.parametrize("ending", ["logger.close()", "", "sys.exit(0)"])
    def test_is_in_the_archive(self, tmp_path: Path, ending: str, delivery: str) -> None:
        """Whether it closes its logger or not, a program that ends leaves one segment that says it is the last one."""
        places = [str(tmp_path / "archive"), str(tmp_path / "spool")]
        program = PROGRAM.replace("{ending}", ending).replace("{delivery}", delivery)
        subprocess.run([sys.executable, "-c", program, *places], timeout=60, check=True)
        (manifest,) = (tmp_path / "archive" / "_manifest").rglob("*.json")
        told = Manifest.from_json(manifest.read_bytes())
        assert (1, True, {}) == (told.summary.records, told.final, waiting(next((tmp_path / "spool").iterdir())))

    def test_what_is_logged_after_the_end(self, tmp_path: Path) -> None:
        """An exit handler that runs after ours logs into segments of another owner, which the next program archives."""
        places = [str(tmp_path / "archive"), str(tmp_path / "spool")]
        late = "late = lambda: logger.log_trading_decision(None, action='SHORT')"
        program = PROGRAM.replace("{ending}", late).replace("{delivery}", "direct")
        program = f"import atexit, sys\natexit.register(lambda: late())\n{program}"
        subprocess.run([sys.executable, "-c", program, *places], timeout=60, check=True)
        config = DirectorySinkConfig(path=Path(places[0]), spool_dir=Path(places[1]))
        assert {"open": 1} == waiting(config.spool)
        config.unopened().archiver.run()
        manifests = [path.read_bytes() for path in (tmp_path / "archive" / "_manifest").rglob("*.json")]
        found = [Manifest.from_json(manifest) for manifest in manifests]
        assert ([1, 1], 2) == ([each.summary.records for each in found], len({each.name.owner for each in found}))


class TestFaults:
    def test_an_archive_that_is_gone(self, tmp_path: Path, store: FaultyStore) -> None:
        """Writes go on, flush says so, health names it, and all is delivered when it is back."""
        store.always = GONE
        sink = SpooledSink(store, str(tmp_path), segment_max_bytes=2048)
        told: list[str] = []
        sink.report_to(told.append)
        for number in range(1, 51):
            sink.write([record(number, size_bytes=400)])
        assert not sink.flush(0.0)
        health = sink.health()
        assert ("timeout", 0, 2) == (health["error"], health["uploaded"], health["retries"])
        assert f"{GONE}; what is not archived waits in {tmp_path}" == told[0]
        store.always = None
        assert (True, list(range(1, 51))) == (sink.flush(0.0), seqs_in(store))
        assert "last_error" not in sink.health()

    def test_a_full_spool(self, tmp_path: Path, store: FaultyStore) -> None:
        """What waits is bounded; what does not fit is refused and what is there stays; room comes back."""
        store.always = GONE
        sink = SpooledSink(store, str(tmp_path), spool_max_bytes=10_000_000)
        taken, reasons = [], set()
        for number in range(1, 1001):
            try:
                sink.write([record(number, pad=os.urandom(25_000).hex())])  # which cannot be compressed away
                taken.append(number)
            except SinkUnavailable as error:
                reasons.add(error.reason)
            if number % 100 == 0:
                sink.flush(0.0)
            assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) <= 10_000_000
        assert (True, {"spool_full"}) == (100 < len(taken) < 1000, reasons)
        store.always = None
        assert sink.flush(0.0)
        sink.write([record(1001)])
        assert sink.flush(0.0)
        assert [*taken, 1001] == seqs_in(store)

    def test_a_spool_that_others_have_filled(self, tmp_path: Path, store: FaultyStore) -> None:
        """Flushing makes room, for a process that could write nothing itself, too."""
        store.always = GONE
        dead, sink = (SpooledSink(store, str(tmp_path), spool_max_bytes=10_000_000) for _ in range(2))
        with pytest.raises(SinkUnavailable, match="spool_full"):
            dead.write([record(number, pad=os.urandom(25_000).hex()) for number in range(1, 1000)])
        dead._segment.close()
        with pytest.raises(SinkUnavailable, match="spool_full"):
            sink.write([record(1000, pad=os.urandom(25_000).hex())])
        store.always = None
        assert sink.flush(0.0)
        sink.write([record(1001)])
        assert (True, True) == (sink.flush(0.0), {1, 1001} < set(seqs_in(store)))

    def test_a_full_disk(self, tmp_path: Path, store: FaultyStore) -> None:
        """A write that is torn is taken back: no half line reaches the archive."""
        writes = iter([None, 20, None, 0, None])

        class Full(System):
            def __init__(self) -> None:
                self.write = self._write

            def _write(self, fd: int, data: bytes) -> int:
                size = next(writes, None)
                return os.write(fd, data if size is None else data[:size])

        sink = SpooledSink(store, str(tmp_path), system=Full())
        reasons = []
        for number in range(1, 6):
            try:
                sink.write([record(number)])
            except SinkUnavailable as error:
                reasons.append(error.reason)
        assert (["disk_full"] * 2, True, [1, 3, 5]) == (reasons, sink.flush(0.0), seqs_in(store))

    def test_a_torn_line_that_cannot_be_taken_back(self, tmp_path: Path, store: FaultyStore) -> None:
        """It is ended by a newline, and counted as a bad line in the manifest."""

        class Full(System):
            def __init__(self) -> None:
                self.sizes = [None, 20]
                self.write = self._write

            def _write(self, fd: int, data: bytes) -> int:
                size = self.sizes.pop(0) if self.sizes else None
                return os.write(fd, data if size is None else data[:size])

            def resize(self, fd: int, size_bytes: int) -> None:
                raise OSError(5, "no")

        sink = SpooledSink(store, str(tmp_path), system=Full())
        for number in range(1, 4):
            with suppress(SinkUnavailable):
                sink.write([record(number)])
        assert sink.flush(0.0)
        (manifest,) = manifests_in(store)
        assert (2, 1) == (manifest.summary.records, manifest.summary.bad_lines)

    def test_a_segment_in_which_nothing_could_be_written(self, tmp_path: Path, store: FaultyStore) -> None:
        """It goes on, so that no number is missing in the archive."""

        class Full(System):
            def __init__(self) -> None:
                self.full = 3
                self.write = self._write

            def _write(self, fd: int, data: bytes) -> int:
                self.full -= 1
                if self.full >= 0:
                    raise OSError(28, "No space left on device")
                return os.write(fd, data)

        sink = SpooledSink(store, str(tmp_path), system=Full())
        for number in range(1, 6):
            with suppress(SinkUnavailable):
                sink.write([record(number)])
            sink.flush(0.0)
        assert ([4, 5], [1, 2]) == (seqs_in(store), [manifest.name.number for manifest in manifests_in(store)])

    def test_half_a_line_of_a_killed_process(self, tmp_path: Path, store: FaultyStore) -> None:
        """It is cut off and its bytes are counted; the lines before it are archived."""
        dead = SpooledSink(store, str(tmp_path))
        dead.write([record(1)])
        (segment,) = (tmp_path / "open").iterdir()
        with segment.open("ab") as file:
            file.write(b'{"event_type":"ru')
        dead._segment.close()
        other = SpooledSink(store, str(tmp_path))
        other.archiver.run()
        assert ([1], 17) == (seqs_in(store), other.health()["torn_bytes"])

    def test_a_segment_that_somebody_deleted(self, tmp_path: Path, store: FaultyStore, system: Clocked) -> None:
        """What was written since the last look is written again."""
        sink = SpooledSink(store, str(tmp_path), system=system)
        sink.write([record(1)])
        system.seconds += 1.0
        sink.write([record(2)])
        (segment,) = (tmp_path / "open").iterdir()
        sink.write([record(3)])
        segment.unlink()
        system.seconds += 1.0
        sink.write([record(4)])
        assert (True, [2, 3, 4]) == (sink.flush(0.0), seqs_in(store))

    def test_a_host_that_closes_all_descriptors(self, tmp_path: Path, store: FaultyStore) -> None:
        """Records before and after that are archived, and the host's own file stays its own."""
        sink = SpooledSink(store, str(tmp_path / "spool"))
        sink.write([record(1)])
        fd = sink._segment.fd
        os.close(fd)
        sink.write([record(2)])
        os.close(sink._segment.fd)
        taken = sink._segment.fd
        with (tmp_path / "host").open("wb", buffering=0) as host:
            if host.fileno() != taken:
                os.dup2(host.fileno(), taken)
            sink.write([record(3)])
            assert os.path.samestat(os.fstat(taken), os.fstat(host.fileno()))
        assert sink.flush(0.0)
        assert {1, 2, 3} == set(seqs_in(store))
        assert len((tmp_path / "host").read_bytes().splitlines()) <= 1

    def test_without_locks(self, tmp_path: Path, store: FaultyStore) -> None:
        """Nobody could tell a dead writer's segment from a living one's, so that is refused, and said."""

        class Lockless(System):
            def try_lock(self, fd: int) -> bool:
                raise LockingImpossible

        sink = SpooledSink(store, str(tmp_path), system=Lockless())
        with pytest.raises(SinkUnavailable, match="has no locks"):
            sink.write([record(1)])
        assert {} == waiting(tmp_path)

    @given(st.lists(st.sampled_from(STEPS), max_size=30), st.sampled_from(["never", "interval", "always"]))
    def test_any_sequence(self, steps: list[str], fsync: Fsync) -> None:
        """Writes, crashes, restarts and outages in any order: each record is in the archive once at the end."""
        store, number = FaultyStore(), 0
        with tempfile.TemporaryDirectory() as directory:
            sink = SpooledSink(store, directory, segment_max_bytes=1024, fsync=fsync)
            for step in steps:
                if step == "write":
                    number += 1
                    sink.write([record(number, size_bytes=300)])
                elif step == "flush":
                    assert sink.flush(0.0) is (store.always is None or not number or sink._is_archived())
                elif step == "crash":
                    sink._segment.close()
                    sink = SpooledSink(store, directory, segment_max_bytes=1024, fsync=fsync)
                elif step == "fork":
                    sink.reset_after_fork()
                elif step in ("down", "up"):
                    store.always = GONE if step == "down" else None
                    store.after = step == "down" and number % 2 == 0
                elif step == "archive":
                    sink.archiver.run()
                else:
                    sink.close()
            store.always, store.after = None, False
            assert sink.flush(0.0)
            sink.archiver.hurry()
            assert sink.archiver.run() is None
            assert {} == waiting(Path(directory))
        assert list(range(1, number + 1)) == sorted(seqs_in(store))
        assert len(manifests_in(store)) == sum(key.startswith("v1/") for key in store.objects)


class Synced(System):
    """The operating system, which says what was synced, and may refuse to."""

    def __init__(self) -> None:
        self.synced: list[int] = []
        self.broken = False

    def sync(self, fd: int) -> None:
        if self.broken:
            raise OSError(5, "Input/output error")
        self.synced.append(os.fstat(fd).st_size)
        super().sync(fd)


class TestDurability:
    def test_always(self, tmp_path: Path, store: FaultyStore) -> None:
        """With `always`, every line is on the disk when `write` returns."""
        system = Synced()
        sink = SpooledSink(store, str(tmp_path), fsync="always", integrity="chain", system=system)
        sizes = []
        for number in (1, 2):
            sink.write([record(number)])
            (segment,) = (tmp_path / "open").iterdir()
            sizes.append(segment.stat().st_size)
        assert sizes == [size for size in system.synced if size in sizes]
        assert (True, [1, 2]) == (sink.flush(0.0), seqs_in(store))

    def test_events(self, tmp_path: Path, store: FaultyStore) -> None:
        """With `fsync_events`, those are, and what came before them."""
        system = Synced()
        sink = SpooledSink(store, str(tmp_path), fsync_events=["alert"], system=system)
        sink.write([record(1)])
        assert [] == system.synced
        sink.write([record(2)._replace(event_type="alert")])
        assert (1, True) == (len(system.synced), sink.flush(0.0))

    def test_interval(self, tmp_path: Path, store: FaultyStore) -> None:
        """With `interval`, a job within a second syncs what is open and what has ended, without the archive."""
        jobs: list[tuple[float, Callable[[], None]]] = []
        system = Synced()
        sink = SpooledSink(store, str(tmp_path), fsync="interval", segment_max_bytes=600, system=system)
        sink.defer_to(lambda delay_s, job: jobs.append((delay_s, job)))
        for number in range(1, 6):
            sink.write([record(number, size_bytes=300)])
        assert ([], 3) == (system.synced, open_files(tmp_path))
        ((delay_s, sync),) = jobs
        sync()
        assert (1.0, 3, 1, []) == (delay_s, len(system.synced), open_files(tmp_path), seqs_in(store))

    def test_interval_while_the_archive_hangs(self, tmp_path: Path, store: FaultyStore) -> None:
        """What is logged meanwhile is on the disk a second later."""
        begun, go_on = store.hold()
        system = Synced()
        sink = SpooledSink(store, str(tmp_path), fsync="interval", segment_max_bytes=600, system=system)
        logger = create_llm_logger(sinks=[sink])
        try:
            for _ in range(2):
                logger.log_trading_decision(None, action="HOLD")
            assert begun.wait(10)
            before = len(system.synced)
            logger.log_trading_decision(None, action="SELL")
            assert comes_true(lambda: len(system.synced) > before)
        finally:
            go_on.set()
            logger.close()

    def test_a_disk_that_does_not_confirm(self, tmp_path: Path, store: FaultyStore) -> None:
        """The record is written, counted as not synced, and archived all the same once the disk works."""
        system = Synced()
        sink = SpooledSink(store, str(tmp_path), fsync="always", system=system)
        system.broken = True
        with pytest.raises(SinkRejected, match="not_synced"):
            sink.write([record(1)])
        system.broken = False
        assert (1, True, [1]) == (sink.health()["failed_syncs"], sink.flush(0.0), seqs_in(store))


class TestOthers:
    def test_a_living_writer_keeps_its_segment(self, tmp_path: Path, store: FaultyStore) -> None:
        """Another process that archives leaves what is being written alone."""
        living, other = SpooledSink(store, str(tmp_path)), SpooledSink(store, str(tmp_path))
        living.write([record(1)])
        other.archiver.run()
        assert ([], {"open": 1}) == (seqs_in(store), waiting(tmp_path))
        living.write([record(2)])
        assert (True, [1, 2]) == (living.flush(0.0), seqs_in(store))

    def test_catches_sealing_without_the_lock(
        self, tmp_path: Path, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The test above fails where nobody asks whether a writer lives."""
        living, other = SpooledSink(store, str(tmp_path)), SpooledSink(store, str(tmp_path))
        living.write([record(1)])
        stand_in(other._system, try_lock=lambda fd: True)
        other.archiver.run()
        assert [1] == seqs_in(store)

    def test_one_archiver_at_a_time(self, tmp_path: Path, store: FaultyStore) -> None:
        """While one process archives, another comes again later."""
        first, second = SpooledSink(store, str(tmp_path)), SpooledSink(store, str(tmp_path))
        first.write([record(1)])
        with first.spool.archiving() as alone:
            assert (True, True) == (alone, (second.archiver.run() or 0.0) > 0)
        assert [] == seqs_in(store)

    def test_a_new_segment_that_an_archiver_met_unlocked(self, tmp_path: Path, store: FaultyStore) -> None:
        """Between its creation and its lock it may be taken for a dead writer's: another one is begun."""

        class Met(System):
            met = False

            def try_lock(self, fd: int) -> bool:
                if not self.met:
                    self.met = True
                    other.archiver.run()
                return super().try_lock(fd)

        other = SpooledSink(store, str(tmp_path))
        sink = SpooledSink(store, str(tmp_path), system=Met())
        sink.write([record(1)])
        assert (True, [1]) == (sink.flush(0.0), seqs_in(store))

    def test_fork(self, tmp_path: Path, store: FaultyStore) -> None:
        """A child writes segments of its own; its parent's stays locked and whole."""
        sink = SpooledSink(store, str(tmp_path))
        sink.write([record(1)])
        child = os.fork()
        if not child:
            sink.reset_after_fork()
            sink.write([record(2, "child")])
            os._exit(0)
        assert 0 == os.waitpid(child, 0)[1]
        other = SpooledSink(store, str(tmp_path))
        other.archiver.run()
        assert [2] == seqs_in(store)
        sink.write([record(3)])
        assert (True, [1, 2, 3]) == (sink.flush(0.0), sorted(seqs_in(store)))

    def test_a_child_keeps_no_lock_of_the_archiver(self, tmp_path: Path, store: FaultyStore) -> None:
        """A child that was forked while its parent archived lets go of the lock: it would outlive the parent in it."""
        sink, other = SpooledSink(store, str(tmp_path)), SpooledSink(store, str(tmp_path))
        sink.open()
        reader, writer = os.pipe()
        with sink.spool.archiving():
            child = os.fork()
            if not child:
                sink.reset_after_fork()
                os.write(writer, b"%d" % open_files(tmp_path))
                os._exit(0)
            assert b"0" == os.read(reader, 10)
        assert 0 == os.waitpid(child, 0)[1]
        with other.spool.archiving() as alone:
            assert alone
        os.close(reader)
        os.close(writer)

    def test_a_segment_that_is_marked_while_it_is_claimed(self, tmp_path: Path, store: FaultyStore) -> None:
        """Its name says by then that it is the last one, so it is left to the next run, which sees that."""

        class Marking(System):
            def try_lock(self, fd: int) -> bool:
                if living._segment.number and not final:
                    final.append(True)
                    living._segment.end(final=True)
                return super().try_lock(fd)

        final: list[bool] = []
        living = SpooledSink(store, str(tmp_path))
        living.write([record(1)])
        other = SpooledSink(store, str(tmp_path), system=Marking())
        segment = other.spool.open_segments()
        with other.spool.claimed(segment[0]) as fd:
            assert fd is None
        other.archiver.run()
        assert [True] == [manifest.final for manifest in manifests_in(store)]


class TestThread:
    def test_archives_by_itself(self, tmp_path: Path, store: FaultyStore) -> None:
        """Segments that are large or old, and those of dead processes, are archived without a call."""
        dead = SpooledSink(store, str(tmp_path))
        dead.write([record(1)])
        dead._segment.close()
        deferred = Deferred()
        sink = SpooledSink(store, str(tmp_path), segment_max_age_s=1.5)
        sink.defer_uploads_to(deferred.defer)
        sink.write([record(2)])
        assert comes_true(lambda: [1, 2] == sorted(seqs_in(store)))
        deferred.close()

    def test_a_segment_that_is_full_is_archived_at_once(self, tmp_path: Path, store: FaultyStore) -> None:
        """It does not wait until the one that was begun behind it is too old, nor for one that is being stored."""
        deferred, (begun, go_on) = Deferred(), store.hold()
        sink = SpooledSink(store, str(tmp_path), segment_max_bytes=600)
        sink.defer_uploads_to(deferred.defer)
        sink.write(list(records(range(1, 4), size_bytes=300)))
        assert begun.wait(10)
        sink.write(list(records(range(4, 6), size_bytes=300)))
        go_on.set()
        assert comes_true(lambda: [1, 2, 3, 4] == seqs_in(store))
        deferred.close()

    def test_a_store_that_hangs_keeps_nobody(self, tmp_path: Path, store: FaultyStore) -> None:
        """While the archive hangs, writes go through, and flush and close end at their time."""
        deferred, (begun, go_on) = Deferred(), store.hold()
        sink = SpooledSink(store, str(tmp_path))
        sink.defer_uploads_to(deferred.defer)
        sink.write([record(1)])
        assert not sink.flush(0.2)
        assert begun.wait(10)
        sink.write([record(2)])
        assert not sink.flush(0.01)
        go_on.set()
        assert (True, [1, 2]) == (sink.flush(30.0), seqs_in(store))
        deferred.close()

    def test_a_full_queue_of_signals(self, tmp_path: Path, store: FaultyStore) -> None:
        """What a signal handler asks in the middle of a write is done behind it."""
        sink = SpooledSink(store, str(tmp_path))

        class Interrupted(System):
            def __init__(self) -> None:
                self.write = self._write
                self.done = False

            def _write(self, fd: int, data: bytes) -> int:
                if not self.done:
                    self.done = True
                    signal.raise_signal(signal.SIGUSR1)
                return os.write(fd, data)

        before = signal.signal(signal.SIGUSR1, lambda *_: (sink.write([record(2)]), sink.flush(0.0), sink.close()))
        try:
            sink = SpooledSink(store, str(tmp_path), system=Interrupted())
            sink.write([record(1)])
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert (True, [1, 2]) == (sink.flush(0.0), seqs_in(store))


class TestConfig:
    def test_s3_url(self) -> None:
        """Bucket and prefix stand in the URL, all else in its query."""
        config = load_sink_config("s3://bucket/some/prefix/?region=eu-west-1&compression=gzip&segment_max_age_s=60")
        assert isinstance(config, S3SinkConfig)
        assert ("bucket", "some/prefix", "eu-west-1", "gzip", 60.0) == (
            config.bucket,
            config.prefix,
            config.region,
            config.compression,
            config.segment_max_age_s,
        )

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"bucket": "a/b"}, "must be the name of a bucket alone"),
            ({"bucket": "b", "endpoint_url": "localhost:9000"}, "must begin with http"),
            ({"bucket": "b", "endpoint_url": "http://" + "user:pass" + "@host"}, "must hold no credentials"),
            ({"bucket": "b", "kms_key_id": "k", "sse": "AES256"}, "which only sse=aws:kms uses"),
            ({"bucket": "b", "object_lock_mode": "GOVERNANCE"}, "need each other"),
            ({"bucket": "b", "integrity": "hmac"}, "needs an hmac_key"),
            ({"bucket": "b", "spool_max_bytes": 1000}, "spool_max_bytes"),
            ({}, "bucket"),
        ],
    )
    def test_wrong_settings(self, settings: dict[str, object], said: str) -> None:
        """Each is named, without its value."""
        with pytest.raises(ConfigError, match=said) as caught:
            load_sink_config({"type": "s3", **settings})
        assert "pass" not in str(caught.value).replace("password", "")

    def test_destinations_do_not_share_a_spool(self, tmp_path: Path) -> None:
        """Two buckets, prefixes or endpoints have directories of their own below one spool_dir."""
        given = [
            {"bucket": "a"},
            {"bucket": "b"},
            {"bucket": "a", "prefix": "p"},
            {"bucket": "a", "endpoint_url": "https://h"},
        ]
        configs = [S3SinkConfig(spool_dir=tmp_path, **settings) for settings in given]  # type: ignore[arg-type]  # texts
        assert 4 == len({config.spool for config in configs})
        assert all(config.spool.parent == tmp_path for config in configs)

    def test_directory(self, tmp_path: Path) -> None:
        """A directory archive is built, checked and written."""
        config = DirectorySinkConfig(path=tmp_path / "archive", spool_dir=tmp_path / "spool")
        assert ([], []) == (config.check(), list(tmp_path.iterdir()))
        sink = config.build()
        assert [] == config.check()
        sink.write([record(1)])
        assert sink.flush(5.0)
        (found,) = (tmp_path / "archive" / "v1").rglob("*.jsonl.zst")
        assert "dt=" in str(found)

    def test_a_spool_that_cannot_be_written(self, tmp_path: Path) -> None:
        """Building says which directory, before anything is logged."""
        (tmp_path / "file").write_text("")
        config = DirectorySinkConfig(path=tmp_path / "archive", spool_dir=tmp_path / "file")
        with pytest.raises(ConfigError, match="directory sink: cannot write the spool"):
            config.build()
        assert 1 == len(config.check())
