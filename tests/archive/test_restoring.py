"""Restoring: what comes back, what is not fetched twice, and what is never written."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from structllm.archive import Compression, StoreUnavailable
from structllm.archive.restoring import FAILURES, JOURNAL, Restored, restore
from structllm.archive.store import StoreError
from tests.archive.building import Archive, lines_of, put_manifest
from tests.archive.memory_store import MemoryStore
from tests.cli.recording import LogBuilder

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SEGMENTS = 4


class Filled:
    """A store with a segment for each hour, of two sessions in turn.

    Args:
        compression: Of the objects.
    """

    def __init__(self, compression: Compression = "zstd") -> None:
        self.store = MemoryStore()
        self.archive = Archive(self.store, compression=compression)
        self.contents: list[bytes] = []
        for number in range(SEGMENTS):
            log = LogBuilder(NOON + number * HOUR, session=f"session{number % 2}")
            log.seq = number * 10
            for at in range(10):
                log.request(f"r{number}-{at}")
            self.archive.add(lines_of(log), NOON + number * HOUR)
            self.contents.append(b"".join(lines_of(log)))
        self.manifests = self.archive.manifests

    def file(self, at: int) -> str:
        """Return what the file of a segment is called."""
        return f"{self.manifests[at].segment}.jsonl"


@pytest.fixture
def filled() -> Filled:
    """A store with four segments."""
    return Filled()


def outcomes(done: list[Restored]) -> list[str]:
    """Return what became of each segment."""
    return [one.outcome for one in done]


def contents(directory: Path) -> dict[str, bytes]:
    """Return what is in the files of a directory, but for the journal."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.name != JOURNAL}


class TestFiles:
    @pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
    def test_all(self, tmp_path: Path, compression: Compression) -> None:
        """Every segment comes back as one plain file, byte for byte."""
        filled = Filled(compression)
        done = list(restore(filled.store, tmp_path / "new" / "dir"))
        assert ["restored"] * SEGMENTS == outcomes(done)
        assert [10] * SEGMENTS == [one.records for one in done]
        expected = {filled.file(at): content for at, content in enumerate(filled.contents)}
        assert expected == contents(tmp_path / "new" / "dir")

    def test_range(self, filled: Filled, tmp_path: Path) -> None:
        """Of a range of time, only the segments that it needs are fetched."""
        list(restore(filled.store, tmp_path, since=NOON + HOUR, until=NOON + 2 * HOUR))
        assert {filled.file(1), filled.file(2)} == contents(tmp_path).keys()
        assert 2 == filled.store.bodies_opened().total()

    def test_session(self, filled: Filled, tmp_path: Path) -> None:
        """Of a session, only its lines come, and no file for segments without any."""
        done = list(restore(filled.store, tmp_path, session="session1"))
        assert ["nothing", "restored", "nothing", "restored"] == outcomes(done)
        assert {filled.file(at): filled.contents[at] for at in (1, 3)} == contents(tmp_path)

    def test_lines_without_a_session(self, tmp_path: Path) -> None:
        """Lines that no session can be read from are left out of one, and that is said."""
        store = MemoryStore()
        Archive(store).add([b'{"event_type":"run","session_id":"a"}\n', b"half\n"], NOON)
        (one,) = restore(store, tmp_path, session="a")
        assert ("restored", 1, True) == (one.outcome, one.records, "left out 1 line" in one.text)

    def test_mode(self, filled: Filled, tmp_path: Path) -> None:
        """What comes back may hold anything, so that only its owner may read it."""
        list(restore(filled.store, tmp_path))
        assert {0o600} == {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}

    def test_mode_of_the_directory(self, filled: Filled, tmp_path: Path) -> None:
        """A directory that is made for what is restored is its owner's alone, whatever the umask."""
        before = os.umask(0)
        try:
            list(restore(filled.store, tmp_path / "new"))
        finally:
            os.umask(before)
        assert 0o700 == (tmp_path / "new").stat().st_mode & 0o777

    def test_progress(self, filled: Filled, tmp_path: Path) -> None:
        """Progress adds up to the size of the objects, fetched or not."""
        size = sum(manifest.size_bytes for manifest in filled.manifests)
        for _ in range(2):
            told: list[int] = []
            list(restore(filled.store, tmp_path, progress=told.append))
            assert size == sum(told)

    def test_without_manifest(self, filled: Filled, tmp_path: Path) -> None:
        """What has no manifest comes back, and it is said that nothing proves it."""
        filled.store.metadata.clear()
        del filled.store.objects[filled.manifests[0].key]
        one = next(restore(filled.store, tmp_path))
        assert ("restored", True) == (one.outcome, "no manifest" in one.text)


class TestAgain:
    """What is there is not fetched again, unless it is not what it should be."""

    @pytest.mark.parametrize("session", [None, "session1"])
    def test_nothing_is_fetched_twice(self, filled: Filled, tmp_path: Path, session: str | None) -> None:
        """A second run opens no object with lines."""
        list(restore(filled.store, tmp_path, session=session))
        before = contents(tmp_path)
        filled.store.opened.clear()
        assert {"restored"}.isdisjoint(outcomes(list(restore(filled.store, tmp_path, session=session))))
        assert (0, before) == (filled.store.bodies_opened().total(), contents(tmp_path))

    @pytest.mark.parametrize("stop_at", range(SEGMENTS))
    def test_goes_on_after_an_interruption(self, filled: Filled, tmp_path: Path, stop_at: int) -> None:
        """After a run that was broken off in the middle of a file, only what was not done is fetched."""

        def stop(_: int) -> None:
            if len(contents(tmp_path)) == stop_at + 1:  # the one that is being written has a hidden name
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(restore(filled.store, tmp_path, progress=stop))
        assert stop_at == len(contents(tmp_path))
        filled.store.opened.clear()
        list(restore(filled.store, tmp_path))
        assert SEGMENTS - stop_at == filled.store.bodies_opened().total()
        assert {filled.file(at): content for at, content in enumerate(filled.contents)} == contents(tmp_path)

    def test_deleted_file(self, filled: Filled, tmp_path: Path) -> None:
        """A file that was deleted since is restored again."""
        list(restore(filled.store, tmp_path))
        (tmp_path / filled.file(1)).unlink()
        assert ["there", "restored", "there", "there"] == outcomes(list(restore(filled.store, tmp_path)))

    def test_file_that_nobody_remembers(self, filled: Filled, tmp_path: Path) -> None:
        """A file that is what it should be counts as there, also without the journal."""
        list(restore(filled.store, tmp_path))
        (tmp_path / JOURNAL).unlink()
        assert {"there"} == set(outcomes(list(restore(filled.store, tmp_path))))

    @pytest.mark.parametrize("line", [b"\xff\n", b"[]\n", b'{"segment":', b'{"segment":"x"}\n'])
    def test_damaged_journal(self, filled: Filled, tmp_path: Path, line: bytes) -> None:
        """A journal that a crash broke costs nothing but a fetch."""
        (tmp_path / JOURNAL).write_bytes(line)
        list(restore(filled.store, tmp_path))
        assert {"there"} == set(outcomes(list(restore(filled.store, tmp_path))))

    def test_object_that_changed(self, filled: Filled, tmp_path: Path) -> None:
        """A journal of another archive proves nothing about this one."""
        list(restore(Filled("gzip").store, tmp_path))
        filled.store.opened.clear()
        assert {"there"} == set(outcomes(list(restore(filled.store, tmp_path))))
        assert SEGMENTS == filled.store.bodies_opened().total()


class TestConflict:
    """Nothing that is there is overwritten, and nothing is written elsewhere."""

    def test_other_content(self, filled: Filled, tmp_path: Path) -> None:
        """A file that holds something else stays, and that is told."""
        (tmp_path / filled.file(1)).write_bytes(b"mine\n")
        done = list(restore(filled.store, tmp_path))
        assert ["restored", "conflict", "restored", "restored"] == outcomes(done)
        assert (b"mine\n", True) == ((tmp_path / filled.file(1)).read_bytes(), bool(done[1].text))

    def test_another_session(self, filled: Filled, tmp_path: Path) -> None:
        """Neither does the file of a session replace that of all of them."""
        list(restore(filled.store, tmp_path))
        assert "there" in outcomes(list(restore(filled.store, tmp_path, session="session1")))
        (tmp_path / filled.file(3)).write_bytes(b"")
        assert "conflict" in outcomes(list(restore(filled.store, tmp_path, session="session1")))

    def test_symlink(self, filled: Filled, tmp_path: Path) -> None:
        """A link in the place of a file is not followed."""
        outside, inside = tmp_path / "outside", tmp_path / "inside"
        inside.mkdir()
        outside.write_bytes(b"precious")
        for name in (filled.file(1), filled.file(2)):
            (inside / name).symlink_to(outside if name == filled.file(1) else tmp_path / "nowhere")
        assert ["restored", "conflict", "conflict", "restored"] == outcomes(list(restore(filled.store, inside)))
        assert b"precious" == outside.read_bytes()
        assert ["inside", "outside"] == sorted(path.name for path in tmp_path.iterdir())

    def test_journal_is_a_symlink(self, filled: Filled, tmp_path: Path) -> None:
        """Nor is one in the place of the journal."""
        outside, inside = tmp_path / "outside", tmp_path / "inside"
        inside.mkdir()
        outside.write_bytes(b"precious")
        (inside / JOURNAL).symlink_to(outside)
        with pytest.raises(OSError, match="symbolic"):
            list(restore(filled.store, inside))
        assert b"precious" == outside.read_bytes()

    def test_keys_that_lead_elsewhere(self, filled: Filled, tmp_path: Path) -> None:
        """A key with `..` in it ends up in the directory, or nowhere."""
        manifest = filled.manifests[0]
        body = filled.store.objects.pop(manifest.object_key)
        filled.store.objects[f"v1/../../{manifest.segment}.jsonl.zst"] = body
        directory = tmp_path / "a" / "b"
        list(restore(filled.store, directory))
        assert ["a"] == os.listdir(tmp_path)
        assert ["b"] == os.listdir(tmp_path / "a")

    def test_disk_is_full(self, filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """That the directory cannot be written to is no fault of an object, and leaves nothing half."""

        def refuse(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("structllm.archive.restoring.os.fsync", refuse)
        with pytest.raises(OSError, match="No space"):
            list(restore(filled.store, tmp_path))
        assert {} == contents(tmp_path)

    def test_without_hard_links(self, filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a file system without hard links files come back as well, and none is overwritten."""

        def refuse(*_: str) -> None:
            raise OSError(1, "Operation not permitted")

        (tmp_path / filled.file(1)).write_bytes(b"mine\n")
        monkeypatch.setattr("structllm.archive.restoring.os.link", refuse)
        assert ["restored", "conflict", "restored", "restored"] == outcomes(list(restore(filled.store, tmp_path)))
        assert filled.contents[0] == contents(tmp_path)[filled.file(0)]


class TestDamage:
    """A segment that is not what was archived gets no file, and the others do."""

    def check(self, filled: Filled, directory: Path, outcome: str) -> Restored:
        """Restore; expect one failure, and all other segments."""
        done = list(restore(filled.store, directory))
        assert ["restored", outcome, "restored", "restored"] == outcomes(done)
        assert {filled.file(at) for at in (0, 2, 3)} == contents(directory).keys()
        assert outcome in FAILURES
        assert done[1].text
        return done[1]

    def test_other_bytes(self, filled: Filled, tmp_path: Path) -> None:
        """Bytes that do not have the checksum of the manifest are told."""
        key = filled.manifests[1].object_key
        filled.store.objects[key] = filled.store.objects[filled.manifests[0].object_key]
        self.check(filled, tmp_path, "altered")

    def test_cut_off(self, filled: Filled, tmp_path: Path) -> None:
        """So is an object that is not whole."""
        key = filled.manifests[1].object_key
        filled.store.objects[key] = filled.store.objects[key][:-20]
        self.check(filled, tmp_path, "altered")

    def test_damaged_without_manifest(self, filled: Filled, tmp_path: Path) -> None:
        """So is one that cannot be unpacked, where nothing tells its checksum."""
        key = filled.manifests[1].object_key
        filled.store.objects[key] = filled.store.objects[key][:-20]
        filled.store.metadata.clear()
        del filled.store.objects[filled.manifests[1].key]
        self.check(filled, tmp_path, "altered")

    def test_damaged_manifest(self, filled: Filled, tmp_path: Path) -> None:
        """So is a manifest that was changed."""
        filled.store.objects[filled.manifests[1].key] += b" "
        self.check(filled, tmp_path, "altered")

    def test_object_is_gone(self, filled: Filled, tmp_path: Path) -> None:
        """A manifest without its object is told."""
        del filled.store.objects[filled.manifests[1].object_key]
        self.check(filled, tmp_path, "missing")

    @pytest.mark.parametrize("what", ["object", "manifest"])
    def test_no_connection(self, filled: Filled, tmp_path: Path, what: str) -> None:
        """What cannot be read now is told, and comes with the next run."""
        manifest = filled.manifests[1]
        key = manifest.object_key if what == "object" else manifest.key
        failure: StoreError = StoreUnavailable("timeout", "no answer")
        filled.store.fails[key] = failure
        assert "no answer" in self.check(filled, tmp_path, "unreadable").text
        filled.store.fails.clear()
        assert ["there", "restored", "there", "there"] == outcomes(list(restore(filled.store, tmp_path)))

    def test_connection_breaks(self, filled: Filled, tmp_path: Path) -> None:
        """So is what breaks off."""
        filled.store.breaks_at[filled.manifests[1].object_key] = 60
        self.check(filled, tmp_path, "unreadable")

    def test_checksum_is_needed(self, filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the comparison of checksums other bytes would come back unnoticed."""
        key = filled.manifests[1].object_key
        filled.store.objects[key] = filled.store.objects[filled.manifests[0].object_key]
        monkeypatch.setattr("structllm.archive.restoring._Restoring._sha256_of", lambda *_: None)
        assert ["restored"] * SEGMENTS == outcomes(list(restore(filled.store, tmp_path)))


class TestJournal:
    def test_names_no_content(self, filled: Filled, tmp_path: Path) -> None:
        """The journal holds names, sizes and checksums, one line for each file."""
        list(restore(filled.store, tmp_path))
        lines = [json.loads(line) for line in (tmp_path / JOURNAL).read_bytes().splitlines() if line]
        assert [manifest.segment for manifest in filled.manifests] == [line["segment"] for line in lines]
        assert {"segment", "of_sha256", "session", "sha256", "size_bytes", "records"} == lines[0].keys()

    def test_copied_with_its_files(self, filled: Filled, tmp_path: Path) -> None:
        """A directory may be moved."""
        list(restore(filled.store, tmp_path / "a"))
        shutil.move(tmp_path / "a", tmp_path / "b")
        filled.store.opened.clear()
        list(restore(filled.store, tmp_path / "b"))
        assert 0 == filled.store.bodies_opened().total()

    def test_manifest_alone(self, tmp_path: Path) -> None:
        """A manifest whose object never came is told."""
        filled, store = Filled(), MemoryStore()
        put_manifest(store, filled.manifests[0])
        assert ["missing"] == outcomes(list(restore(store, tmp_path)))
