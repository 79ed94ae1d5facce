"""`archive push`: what waits in a spool, and what log files hold that the archive does not."""

import os
from pathlib import Path

import orjson
import pytest

from structllm.archive import StoreUnavailable
from structllm.archive.directory import DirectoryStore
from structllm.archive.holdings import holdings_of
from structllm.archive.pushing import Pushed, push
from structllm.archive.reading import read_archive
from structllm.segment import ReadReport
from structllm.sinks.directory import DirectorySinkConfig
from tests.sinks.spooling import record, records
from tests.standing_in import stand_in


@pytest.fixture
def config(tmp_path: Path) -> DirectorySinkConfig:
    """Return the settings of an archive in a directory that is there."""
    (tmp_path / "archive").mkdir()
    return DirectorySinkConfig(path=tmp_path / "archive", spool_dir=tmp_path / "spool")


def archived(config: DirectorySinkConfig) -> list[int]:
    """Return the numbers of all events in an archive, in order."""
    return sorted(entry.event["seq"] for entry in read_archive(config.open_store(), ReadReport()))


def pushed(config: DirectorySinkConfig, *paths: Path) -> Pushed:
    """Push, without waiting."""
    return push(config, paths, sleep=lambda seconds: None)


class TestSpool:
    def test_segments_of_the_dead(self, config: DirectorySinkConfig) -> None:
        """What a killed process left is sealed and stored; what a living one writes stays."""
        dead, living = config.build(), config.build()
        dead.write(list(records(range(1, 4))))
        dead._segment.close()
        living.write([record(4)])
        told = pushed(config)
        assert (1, 0, 1, None) == (told.stored, told.left, told.live, told.error)
        assert [1, 2, 3] == archived(config)
        assert living.flush(5.0)

    def test_nothing_waits(self, config: DirectorySinkConfig) -> None:
        """Without a spool there is nothing to do, and none is made."""
        told = pushed(config)
        assert (0, 0, None, False) == (told.stored, told.left, told.error, config.spool_dir.exists())

    def test_an_archive_that_is_gone(self, config: DirectorySinkConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        """It gives up after some tries, says why, and nothing is lost."""
        sink = config.build()
        sink.write([record(1)])
        sink._segment.close()

        def gone(*arguments: object, **more: object) -> None:
            raise StoreUnavailable("timeout", "no answer")

        with monkeypatch.context() as patch:
            patch.setattr(DirectoryStore, "put", gone)
            told = pushed(config)
        assert (0, 1, "no answer") == (told.stored, told.left, told.error)
        assert (1, 0, None) == ((told := pushed(config)).stored, told.left, told.error)


class TestLogs:
    def log(self, tmp_path: Path, numbers: range, name: str = "x.log") -> Path:
        """Write a log."""
        path = tmp_path / name
        path.write_bytes(b"".join(each.line for each in records(numbers)))
        return path

    def test_what_the_archive_does_not_hold(self, config: DirectorySinkConfig, tmp_path: Path) -> None:
        """Events that are archived already are left out, whoever archived them; pushed again, nothing is shipped."""
        sink = config.build()
        sink.write(list(records(range(3, 6))))
        assert sink.flush(5.0)
        sink.write([record(8), record(6)])  # in a segment of its own, out of order and with a hole
        assert sink.flush(5.0)
        log = self.log(tmp_path, range(1, 11))
        told = pushed(config, log)
        assert (5, 5, 0, None) == (told.shipped, told.held, told.left, told.error)
        assert list(range(1, 11)) == archived(config)
        assert (0, 10) == ((told := pushed(config, log)).shipped, told.held)

    def test_what_a_program_is_writing(self, config: DirectorySinkConfig, tmp_path: Path) -> None:
        """Events in an open segment will be archived by their writer: they are left out, too."""
        sink = config.build()
        sink.write(list(records(range(1, 4))))
        told = pushed(config, self.log(tmp_path, range(1, 6)))
        assert (2, 3) == (told.shipped, told.held)
        assert (True, [1, 2, 3, 4, 5]) == (sink.flush(5.0), archived(config))

    def test_rotated_files_and_directories(self, config: DirectorySinkConfig, tmp_path: Path) -> None:
        """All files of a log are shipped, events that are in two of them once."""
        self.log(tmp_path, range(1, 6), "x.log.1")
        self.log(tmp_path, range(4, 9), "x.log")
        report = ReadReport()
        assert 8 == push(config, [tmp_path / "x.log"], report=report).shipped
        assert (list(range(1, 9)), 2) == (archived(config), report.duplicates)

    def test_events_without_a_number(self, config: DirectorySinkConfig, tmp_path: Path) -> None:
        """Nobody can tell whether the archive holds them: they are shipped, and counted."""
        log = tmp_path / "old.log"
        log.write_bytes(b'{"event_type":"run"}\n{"event_type":"run","writer":"w","seq":1}\nno event\n')
        told = pushed(config, log)
        assert (2, 1) == (told.shipped, told.unnumbered)

    def test_more_than_the_spool_holds(self, tmp_path: Path) -> None:
        """Shipping waits for the archive where the spool is full; nothing is left out."""
        (tmp_path / "archive").mkdir()
        config = DirectorySinkConfig(
            path=tmp_path / "archive", spool_dir=tmp_path / "spool", spool_max_bytes=10_000_000, compression="none"
        )
        log = tmp_path / "big.log"
        log.write_bytes(b"".join(record(number, pad=os.urandom(50_000).hex()).line for number in range(1, 181)))
        told = pushed(config, log)
        assert (180, 0, None) == (told.shipped, told.left, told.error)
        assert list(range(1, 181)) == archived(config)

    def test_no_such_log(self, config: DirectorySinkConfig, tmp_path: Path) -> None:
        """Is said before anything is done."""
        with pytest.raises(FileNotFoundError):
            pushed(config, tmp_path / "none.log")


class TestHoldings:
    def test_manifests_are_enough(self, config: DirectorySinkConfig) -> None:
        """Where numbers have no holes, no segment is read."""
        sink = config.build()
        sink.write(list(records(range(1, 1001))))
        assert sink.flush(5.0)
        store = config.open_store()
        opened: list[str] = []
        real = store.open

        def noted(key: str) -> object:
            opened.append(key)
            return real(key)

        stand_in(store, open=noted)
        seen = holdings_of(store)
        assert [False, False, True] == [seen.add("w", seq) for seq in (1, 1000, 1001)]
        assert all(key.startswith("_manifest/") for key in opened)

    def test_a_manifest_that_is_damaged(self, config: DirectorySinkConfig) -> None:
        """Then the segment itself is read."""
        sink = config.build()
        sink.write(list(records(range(1, 4))))
        assert sink.flush(5.0)
        (manifest,) = (config.path / "_manifest").rglob("*.json")
        manifest.write_bytes(orjson.dumps({}))
        seen = holdings_of(config.open_store())
        assert [False, True] == [seen.add("w", 2), seen.add("w", 4)]

    def test_a_segment_that_cannot_be_read(self, config: DirectorySinkConfig) -> None:
        """What it holds is not known, so nothing is shipped."""
        sink = config.build()
        sink.write([record(1), record(3)])
        assert sink.flush(5.0)
        (lines,) = (config.path / "v1").rglob("*.zst")
        lines.write_bytes(lines.read_bytes()[:20])
        with pytest.raises(OSError, match="v1/dt="):
            holdings_of(config.open_store())
