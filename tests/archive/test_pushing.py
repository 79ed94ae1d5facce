"""`archive push`: what waits in a spool, and what log files hold that the archive does not."""

import os
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from structllm import FileSink
from structllm.archive import StoreUnavailable
from structllm.archive.directory import DirectoryStore
from structllm.archive.holdings import Holdings
from structllm.archive.pushing import Pushed, push
from structllm.archive.reading import read_archive
from structllm.chain import hasher
from structllm.segment import ReadReport
from structllm.sinks.directory import DirectorySinkConfig
from structllm.sinks.integrity import Integrity
from structllm.tampering import Place
from structllm.verification import LogCheck
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

    def test_a_spool_that_cannot_be_read(self, config: DirectorySinkConfig) -> None:
        """Is said, and nothing raises."""
        quarantine = Path(config.build().spool.quarantine)
        quarantine.rmdir()
        quarantine.write_bytes(b"")
        told = pushed(config)
        assert told.error is not None
        assert str(config.spool) in told.error


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
        """Events in an open segment, and later ones of its writer, will be archived without us; earlier ones not."""
        sink = config.build()
        sink.write(list(records(range(3, 6))))
        told = pushed(config, self.log(tmp_path, range(1, 9)))
        assert (2, 6) == (told.shipped, told.held)
        assert (True, [1, 2, 3, 4, 5]) == (sink.flush(5.0), archived(config))

    def test_what_is_logged_meanwhile(self, config: DirectorySinkConfig, tmp_path: Path) -> None:
        """A program logs to the file and to the archive at each step of a push: nothing comes to the archive twice."""
        program, log = config.build(), tmp_path / "x.log"
        number = 0

        def go_on(writer: str = "w") -> None:
            nonlocal number
            assert number < 1000, "the push runs after its own tail"
            number += 1
            with log.open("ab") as live:
                live.write(record(number, writer).line)
            program.write([record(number, writer)])

        def end_segment() -> None:
            go_on()
            assert program.flush(5.0)
            go_on("a new one")

        steps = ["add_open", "add_sealed", "add_archive", "lacks"]
        with pytest.MonkeyPatch.context() as patch:
            for step in steps:
                real = getattr(Holdings, step)

                def interrupted(self: Holdings, *arguments: object, real: Any = real) -> object:
                    result = real(self, *arguments)
                    end_segment()
                    return result

                patch.setattr(Holdings, step, interrupted)
            go_on()
            push(config, [log], sleep=lambda seconds: go_on())
        assert (True, list(range(1, number + 1))) == (program.flush(5.0), archived(config))
        told = pushed(config, log)
        assert (0, number) == (told.shipped, told.held)

    def test_what_waits_for_another_archiver(self, config: DirectorySinkConfig, tmp_path: Path) -> None:
        """A segment that is sealed, and that another process stores only later, is known, too."""
        sink = config.build()

        def seal_one(seconds: float) -> None:
            sink.write(list(records(range(2, 4))))
            sink._segment.end()
            sink.archiver._seal_all()

        log = self.log(tmp_path, range(1, 5))
        told = push(config, [log], sleep=seal_one)
        assert (2, 2, [1, 2, 3, 4]) == (told.shipped, told.held, archived(config))

    def test_a_pipe(self, config: DirectorySinkConfig, tmp_path: Path) -> None:
        """What can be read only once, such as what another program unpacks, is shipped from the one reading."""
        pipe = tmp_path / "x.log"
        os.mkfifo(pipe)
        lines = b"".join(each.line for each in records(range(1, 4)))
        writer = threading.Thread(target=pipe.write_bytes, args=(lines,), daemon=True)
        writer.start()
        told = pushed(config, pipe)
        writer.join(10)
        assert (3, None, [1, 2, 3]) == (told.shipped, told.error, archived(config))

    def test_two_at_the_same_time(self, config: DirectorySinkConfig, tmp_path: Path) -> None:
        """The second one says that there is another, and ships nothing."""
        log, others = self.log(tmp_path, range(1, 4)), []
        assert 3 == push(config, [log], sleep=lambda seconds: others.append(pushed(config, log))).shipped
        (other,) = others
        assert (0, "another `structllm archive push` is shipping log files to it") == (other.shipped, other.error)
        assert [1, 2, 3] == archived(config)

    @pytest.mark.parametrize("integrity", ["none", "chain"])
    def test_lines_with_blanks(self, config: DirectorySinkConfig, tmp_path: Path, integrity: Integrity) -> None:
        """Lines that other programs have written as JSON may have blanks around them, which are left out."""
        log = tmp_path / "x.log"
        log.write_bytes(b"".join(b"  " + each.line[:-1] + b" \t\r\n" for each in records(range(1, 4))))
        config = config.model_copy(update={"integrity": integrity})
        told = pushed(config, log)
        assert (3, None, [1, 2, 3]) == (told.shipped, told.error, archived(config))

    def test_a_log_that_is_sealed(self, config: DirectorySinkConfig, tmp_path: Path) -> None:
        """The archive's own seals come behind those that the lines have."""
        sealing = FileSink(tmp_path / "x.log", integrity="chain")
        sealing.write(list(records(range(1, 4))))
        sealing.close()
        assert 3 == pushed(config.model_copy(update={"integrity": "chain"}), tmp_path / "x.log").shipped
        check = LogCheck(hasher())
        for number, entry in enumerate(read_archive(config.open_store(), ReadReport()), 1):
            check.add(entry.line, Place("x", number))
        check.finish()
        assert ([], 3) == (check.findings, check.chains["w"].proved)

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
        holdings = Holdings()
        holdings.add_archive(store)
        assert [False, False, True] == [holdings.lacks("w", seq) for seq in (1, 1000, 1001)]
        assert all(key.startswith("_manifest/") for key in opened)

    def test_a_manifest_that_is_damaged(self, config: DirectorySinkConfig) -> None:
        """Then the segment itself is read."""
        sink = config.build()
        sink.write(list(records(range(1, 4))))
        assert sink.flush(5.0)
        (manifest,) = (config.path / "_manifest").rglob("*.json")
        manifest.write_bytes(orjson.dumps({}))
        holdings = Holdings()
        holdings.add_archive(config.open_store())
        assert [False, True] == [holdings.lacks("w", 2), holdings.lacks("w", 4)]

    def test_segments_that_move_on_meanwhile(self, config: DirectorySinkConfig) -> None:
        """A segment that is gone when it is to be read has moved on to where is looked next."""
        sink = config.build()
        sink.write(list(records(range(1, 4))))
        (segment,) = sink.spool.open_segments()
        sink._segment.end()
        sink.archiver._seal_all()
        (sealed,) = sink.spool.sealed_segments()
        assert sink.flush(5.0)
        stand_in(sink.spool, open_segments=lambda: [segment], sealed_segments=lambda: [sealed])
        holdings = Holdings()
        holdings.add_open(sink.spool)
        holdings.add_sealed(sink.spool)
        holdings.add_archive(config.open_store())
        assert [False, True] == [holdings.lacks("w", seq) for seq in (3, 4)]

    def test_an_archive_that_does_not_answer(
        self, config: DirectorySinkConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What it holds is not known, so nothing is shipped, and the push says why."""
        log = tmp_path / "x.log"
        log.write_bytes(record(1).line)

        def gone(self: DirectoryStore, prefix: str) -> object:
            raise StoreUnavailable("timeout", "no answer")

        monkeypatch.setattr(DirectoryStore, "under", gone)
        told = pushed(config, log)
        assert (0, "no answer") == (told.shipped, told.error)

    def test_repeats_hide_no_hole(self, config: DirectorySinkConfig) -> None:
        """A segment with two records of one number and none of another holds as many as if it held both."""
        sink = config.build()
        sink.write([record(1), record(1), record(3)])
        assert sink.flush(5.0)
        holdings = Holdings()
        holdings.add_archive(config.open_store())
        assert [False, True, False] == [holdings.lacks("w", seq) for seq in (1, 2, 3)]

    def test_a_segment_that_cannot_be_read(self, config: DirectorySinkConfig) -> None:
        """What it holds is not known, so nothing is shipped."""
        sink = config.build()
        sink.write([record(1), record(3)])
        assert sink.flush(5.0)
        (lines,) = (config.path / "v1").rglob("*.zst")
        lines.write_bytes(lines.read_bytes()[:20])
        with pytest.raises(OSError, match="v1/dt="):
            Holdings().add_archive(config.open_store())
