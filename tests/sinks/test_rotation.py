"""How the files of a log are named, move up and are told of, on real directories."""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from structllm._system import LockingImpossible, System
from structllm._types import Record
from structllm.sinks.file import FileSink
from structllm.sinks.rotation import WAIT_S, Generation, LogFiles, Outcome
from tests.descriptors import open_files
from tests.standing_in import stand_in


class Clocked(System):
    """The operating system with a clock that only sleeping moves.

    Attributes:
        trace: The renamings, as pairs of names.
    """

    def __init__(self) -> None:
        self.tick_s = 1000.0
        self.trace: list[tuple[str, str]] = []
        self.monotonic = lambda: self.tick_s

    def sleep(self, seconds: float) -> None:
        self.tick_s += seconds

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        self.trace.append((os.path.basename(source), os.path.basename(target)))


def record(text: str) -> Record:
    """Return a record of 40 bytes."""
    return Record("x", 20, text.ljust(39).encode() + b"\n", {})


def files_of(directory: Path, system: System, name: str = "a.log") -> LogFiles:
    """Return the names of a log."""
    return LogFiles(system, str(directory / name))


def generation_of(directory: Path, system: System) -> Generation:
    """Return the generation of the log `a.log`."""
    return Generation(system, str(directory / ".a.log.rotation"), 0o600)


def contents(directory: Path) -> dict[str, str]:
    """Return what the files hold that are not hidden, by name, blanks between lines removed."""
    return {path.name: " ".join(path.read_text().split()) for path in directory.iterdir() if path.name[0] != "."}


def full(number: int, message: str) -> Callable[..., Any]:
    """Return a call that fails."""

    def fail(*arguments: Any) -> Any:
        raise OSError(number, message)

    return fail


@pytest.fixture
def system() -> Clocked:
    return Clocked()


class TestNames:
    def test_numbered(self, tmp_path: Path, system: System) -> None:
        """A rotated file is the log's name and a number, plain or compressed; two names may have one number."""
        ours = ["a.log.1", "a.log.2.gz", "a.log.2", "a.log.10.zst", "a.log.1000"]
        others = ["a.log", "a.log.0", "a.log.01", "a.log.-1", "a.log.1.bz2", "a.log.1.gz.gz", "a.log.x", "b.log.1"]
        others += ["aXlog.1", "xa.log.1", "a.log.1 ", "a.log.\u0661", "a.log.20240131", "a.log.240131", "a.log.1.tmp"]
        for name in ours + others:
            (tmp_path / name).write_text("")
        found = files_of(tmp_path, system).numbered()
        expected = {1: ["a.log.1"], 2: ["a.log.2", "a.log.2.gz"], 10: ["a.log.10.zst"], 1000: ["a.log.1000"]}
        assert {number: sorted(map(os.path.basename, paths)) for number, paths in found.items()} == expected

    def test_hidden(self, tmp_path: Path, system: System) -> None:
        """Hidden files are found by their kind; what only looks similar is not ours."""
        files = files_of(tmp_path, system)
        made = {kind: files.new_hidden(kind) for kind in ("old", "tmp")}
        for path in [*made.values(), files.generation]:
            Path(path).write_text("")
        for name in (".a.log.old", ".a.log.xyz.tmp", ".a.log.0123456789abc.old", ".aXlog.0123456789ab.old"):
            (tmp_path / name).write_text("")
        assert [files.hidden("old"), files.hidden("tmp")] == [[made["old"]], [made["tmp"]]]
        assert os.path.basename(files.generation) == ".a.log.rotation"

    @pytest.mark.parametrize(
        "name",
        [
            "a+b(c).log",
            "with blank.log",
            "größe-日本.log",
            ".hidden.log",
            "[x]*?.log",
            "x",
            "a.log.",
            "a\nb.log",
            "$^\\d",
        ],
    )
    def test_special_characters(self, tmp_path: Path, system: Clocked, name: str) -> None:
        """A name may hold what a file name may hold; it rotates, deletes and compresses like any other."""
        settings: dict[str, Any] = {"max_bytes": 60, "backup_count": 2, "compression": "gzip"}
        sink = FileSink(tmp_path / name, system=system, **settings)
        for number in range(4):
            sink.write([record(str(number))])
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            [f".{name}.rotation", name, f"{name}.1", f"{name}.2"]
        )
        assert ((tmp_path / name).read_text().split(), sink.health()["failed_upkeep"]) == (["3"], 0)

    def test_a_name_of_any_bytes(self, tmp_path: Path, system: Clocked) -> None:
        """A name that is no text in any encoding rotates, too."""
        path = os.fsencode(tmp_path) + b"/\xff.log"
        sink = FileSink(os.fsdecode(path), max_bytes=60, system=system)
        for number in range(2):
            sink.write([record(str(number))])
        assert sorted(os.listdir(os.fsencode(tmp_path))) == [b".\xff.log.rotation", b"\xff.log", b"\xff.log.1"]

    def test_a_name_too_long_to_be_hidden(self, tmp_path: Path, system: Clocked) -> None:
        """Where a name leaves no room for those of the hidden files, no record is lost."""
        name = "a" * 251 + ".log"
        sink = FileSink(tmp_path / name, max_bytes=60, backup_count=1, system=system)
        for number in range(4):
            sink.write([record(str(number))])
            system.tick_s += 2.0
        assert " ".join(contents(tmp_path)[name].split()) == "0 1 2 3"
        assert (sink.flush(1.0), sink.health()["failed_rotations"] > 0) == (True, True)

    def test_a_relative_path_stays_where_it_was(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A program that changes its directory later goes on writing, and rotating, where it began."""
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path)
        sink = FileSink("logs/a.log", max_bytes=60)
        sink.write([record("0")])
        monkeypatch.chdir(tmp_path / "elsewhere")
        sink.write([record("1")])
        sink.close()
        sink.write([record("2")])
        assert contents(tmp_path / "logs") == {"a.log": "2", "a.log.1": "1", "a.log.2": "0"}
        assert list((tmp_path / "elsewhere").iterdir()) == []


class TestMoveUp:
    def moved(self, directory: Path, system: Clocked, names: list[str], backup_count: int) -> dict[str, str]:
        """Make files that hold their names, move them up, and return what is where then."""
        for name in names:
            (directory / name).write_text(name)
        generation = generation_of(directory, system)
        files_of(directory, system).move_up(backup_count, generation)
        generation.close()
        return contents(directory)

    def test_each_file_gets_the_next_number(self, tmp_path: Path, system: Clocked) -> None:
        """The live file becomes .1, from the oldest to the newest, and nothing is replaced on the way."""
        moved = self.moved(tmp_path, system, ["a.log", "a.log.1", "a.log.2"], 5)
        assert moved == {"a.log.1": "a.log", "a.log.2": "a.log.1", "a.log.3": "a.log.2"}
        assert system.trace == [("a.log.2", "a.log.3"), ("a.log.1", "a.log.2"), ("a.log", "a.log.1")]

    def test_compressed_ones_keep_their_suffix(self, tmp_path: Path, system: Clocked) -> None:
        """Plain and compressed files move up alike, also where a number has both."""
        moved = self.moved(tmp_path, system, ["a.log", "a.log.1", "a.log.1.gz", "a.log.2.zst"], 5)
        assert moved == {
            "a.log.1": "a.log",
            "a.log.2": "a.log.1",
            "a.log.2.gz": "a.log.1.gz",
            "a.log.3.zst": "a.log.2.zst",
        }

    def test_the_last_one_is_set_aside(self, tmp_path: Path, system: Clocked) -> None:
        """What exceeds the count gets a hidden name, with all that has its number."""
        moved = self.moved(tmp_path, system, ["a.log", "a.log.1", "a.log.2", "a.log.2.gz", "a.log.7.zst"], 2)
        assert moved == {"a.log.1": "a.log", "a.log.2": "a.log.1"}
        aside = sorted(Path(path).read_text() for path in files_of(tmp_path, system).hidden("old"))
        assert aside == ["a.log.2", "a.log.2.gz", "a.log.7.zst"]

    def test_a_free_number_ends_it(self, tmp_path: Path, system: Clocked) -> None:
        """Files move up only as far as the first free number."""
        moved = self.moved(tmp_path, system, ["a.log", "a.log.1", "a.log.3"], 3)
        assert moved == {"a.log.1": "a.log", "a.log.2": "a.log.1", "a.log.3": "a.log.3"}

    @pytest.mark.parametrize("name", ["a.log.1", "a.log.2", "a.log.9", "a.log.3.gz"])
    @pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
    def test_what_is_no_file_is_not_moved(self, tmp_path: Path, system: Clocked, name: str, kind: str) -> None:
        """A directory, link or pipe that is called like a rotated file stops the rotation before anything moves."""
        makers = {"directory": os.mkdir, "link": lambda path: os.symlink("x", path), "pipe": os.mkfifo}
        makers[kind](tmp_path / name)
        others = {f"a.log.{number}" for number in (1, 2)} - {name}
        for other in {"a.log"} | others:
            (tmp_path / other).write_text(other)
        with pytest.raises(FileExistsError):
            files_of(tmp_path, system).move_up(5, generation_of(tmp_path, system))
        assert (system.trace, sorted(os.listdir(tmp_path))) == ([], sorted({"a.log", name} | others))

    def test_broken_off_anywhere(self, tmp_path: Path) -> None:
        """Done again after it was broken off at any renaming, it loses no file."""
        for broken_at in range(4):
            directory = tmp_path / str(broken_at)
            directory.mkdir()
            for name in ("a.log", "a.log.1", "a.log.2"):
                (directory / name).write_text(name)
            system = Clocked()
            rename, left = system.rename, [None] * broken_at

            def breaking(source: str, target: str, rename: Any = rename, left: list[None] = left) -> None:
                if not left:
                    raise OSError(errno.EIO, "broken off")
                left.pop()
                rename(source, target)

            stand_in(system, rename=breaking)
            generation = generation_of(directory, system)
            try:
                files_of(directory, system).move_up(5, generation)
            except OSError:
                assert broken_at < 3
                stand_in(system, rename=rename)
                files_of(directory, system).move_up(5, generation)
            generation.close()
            kept = [text for _, text in sorted(contents(directory).items())]
            assert (broken_at, kept) == (broken_at, ["a.log", "a.log.1", "a.log.2"])

    def test_very_many_files(self, tmp_path: Path, system: Clocked) -> None:
        """A thousand rotated files all move up, and none is lost."""
        names = ["a.log", *(f"a.log.{number}" for number in range(1, 1000))]
        moved = self.moved(tmp_path, system, names, 1000)
        assert moved == {f"a.log.{number + 1}": name for number, name in enumerate(names)}

    def test_is_told_of_before_a_file_leaves_and_at_the_end(self, tmp_path: Path, system: Clocked) -> None:
        """Writers are told before a file leaves the log, since it may be theirs, and when all is done."""
        for name in ("a.log", "a.log.1"):
            (tmp_path / name).write_text(name)
        told: list[int] = []

        class Told(Generation):
            def advance(self) -> None:
                told.append(len(system.trace))

        files_of(tmp_path, system).move_up(1, Told(system, "", 0o600))
        assert (told, len(system.trace)) == ([0, 2], 2)


class TestUnderLock:
    def test_done(self, tmp_path: Path, system: Clocked) -> None:
        """The action runs while nobody else has the lock; afterwards others may have it."""
        files = files_of(tmp_path, system)
        fd = system.open(files.live, os.O_RDWR | os.O_CREAT)
        other = system.open(files.live, os.O_RDWR)
        held: list[bool] = []

        def action() -> bool:
            held.append(not system.try_lock(other))
            return True

        assert (files.under_lock(fd, action), held, system.try_lock(other)) == (Outcome.DONE, [True], True)
        os.close(fd)
        os.close(other)

    def test_not_needed(self, tmp_path: Path, system: Clocked) -> None:
        """An action may find that there is nothing to do."""
        files = files_of(tmp_path, system)
        fd = system.open(files.live, os.O_RDWR | os.O_CREAT)
        assert files.under_lock(fd, lambda: False) is Outcome.NOT_NEEDED
        os.close(fd)

    @pytest.mark.parametrize("replaced", [True, False])
    def test_not_current(self, tmp_path: Path, system: Clocked, replaced: bool) -> None:
        """The lock of a file that has another name by now, or none, is good for nothing."""
        files = files_of(tmp_path, system)
        fd = system.open(files.live, os.O_RDWR | os.O_CREAT)
        os.rename(files.live, f"{files.live}.1")
        if replaced:
            Path(files.live).write_text("")
        assert files.under_lock(fd, lambda: pytest.fail("was done")) is Outcome.NOT_CURRENT
        os.close(fd)

    def test_busy(self, tmp_path: Path, system: Clocked) -> None:
        """A lock that another process holds is waited for, but not for long."""
        files = files_of(tmp_path, system)
        fd = system.open(files.live, os.O_RDWR | os.O_CREAT)
        with open(files.live) as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            assert files.under_lock(fd, lambda: pytest.fail("was done")) is Outcome.BUSY
        assert WAIT_S <= system.tick_s - 1000.0 < WAIT_S + 0.01
        os.close(fd)

    def test_busy_with_a_file_that_a_stranger_took_away(self, tmp_path: Path, system: Clocked) -> None:
        """Who moves files is alone also where the live file, whose lock it has, is another one by now."""
        files, others = files_of(tmp_path, system), files_of(tmp_path, Clocked())
        generation = Generation(system, files.generation, 0o600)
        generation.refresh()
        fd = system.open(files.live, os.O_RDWR | os.O_CREAT)

        def meanwhile() -> bool:
            os.rename(files.live, f"{files.live}-2024-01-15")
            other = system.open(files.live, os.O_RDWR | os.O_CREAT)
            assert others.under_lock(other, lambda: pytest.fail("was done")) is Outcome.BUSY
            os.close(other)
            return True

        assert files.under_lock(fd, meanwhile) is Outcome.DONE
        assert others.under_lock(fd, lambda: True) is Outcome.NOT_CURRENT
        os.close(fd)
        fd = system.open(files.live, os.O_RDWR)
        assert others.under_lock(fd, lambda: True) is Outcome.DONE
        os.close(fd)
        generation.close()

    def test_a_child_does_not_keep_the_lock(self, tmp_path: Path, system: Clocked) -> None:
        """A child that was forked in a rotation has copies of the descriptors; the locks are free all the same."""
        files = files_of(tmp_path, system)
        generation = Generation(system, files.generation, 0o600)
        generation.refresh()
        fd = system.open(files.live, os.O_RDWR | os.O_CREAT)
        reader, writer = os.pipe()
        children: list[int] = []

        def fork() -> bool:
            children.append(os.fork())
            if not children[0]:
                os.close(writer)
                os.read(reader, 1)  # until the parent is done, or dead
                os._exit(0)
            return True

        assert files.under_lock(fd, fork) is Outcome.DONE
        assert files.under_lock(fd, lambda: True) is Outcome.DONE
        for open_fd in (writer, reader, fd):
            os.close(open_fd)
        os.waitpid(children[0], 0)
        generation.close()

    def test_no_locks(self, tmp_path: Path, system: Clocked) -> None:
        """A file system without locks is told apart from a lock that is held."""
        files = files_of(tmp_path, system)
        fd = system.open(files.live, os.O_RDWR | os.O_CREAT)

        def impossible(fd: int) -> bool:
            raise LockingImpossible

        stand_in(system, try_lock=impossible)
        assert files.under_lock(fd, lambda: pytest.fail("was done")) is Outcome.NO_LOCKS
        os.close(fd)

    def test_an_action_that_fails_lets_go(self, tmp_path: Path, system: Clocked) -> None:
        """What the action raises comes through, and the lock is free."""
        files = files_of(tmp_path, system)
        fd = system.open(files.live, os.O_RDWR | os.O_CREAT)
        with pytest.raises(OSError, match="in the middle"):
            files.under_lock(fd, full(errno.EIO, "in the middle"))
        with open(files.live) as other:
            assert system.try_lock(other.fileno())
        os.close(fd)

    def test_a_lock_that_cannot_be_released(self, tmp_path: Path, system: Clocked) -> None:
        """A failing release does not undo what was done."""
        files = files_of(tmp_path, system)
        fd = system.open(files.live, os.O_RDWR | os.O_CREAT)
        stand_in(system, unlock=full(errno.EIO, "no"))
        assert files.under_lock(fd, lambda: True) is Outcome.DONE
        os.close(fd)


class TestGeneration:
    def test_a_new_file_does_not_look_like_the_deleted_one(self, tmp_path: Path, system: System) -> None:
        """Where somebody deletes it, the next one is another one, though the file system gives inodes out again."""
        generation = Generation(system, str(tmp_path / ".x.rotation"), 0o600)
        for _ in range(5):
            generation.refresh()
            before = generation.which
            (tmp_path / ".x.rotation").unlink()
            generation.refresh()
            assert before != generation.which
        generation.close()

    def test_every_writer_sees_it_advance(self, tmp_path: Path, system: System) -> None:
        """What one writer advances, the others see by one lseek."""
        mine, theirs = generation_of(tmp_path, system), generation_of(tmp_path, system)
        before = (mine.refresh(), theirs.refresh())
        theirs.advance()
        assert (before, os.lseek(mine.fd, 0, os.SEEK_END), mine.refresh()) == ((1, 1), 2, 2)
        mine.close()
        theirs.close()

    def test_no_two_advances_are_one(self, tmp_path: Path, system: System) -> None:
        """Writers that advance at once are both seen."""
        several = [generation_of(tmp_path, system) for _ in range(3)]
        for _ in range(10):
            for generation in several:
                generation.advance()
        assert [generation.refresh() for generation in several] == [31, 31, 31]
        for generation in several:
            generation.close()

    def test_a_full_disk(self, tmp_path: Path, system: System) -> None:
        """Where there is no room for one byte, a hole is as good."""
        generation = generation_of(tmp_path, system)
        assert generation.refresh() == 1
        system.write = full(errno.ENOSPC, "No space left on device")
        generation.advance()
        assert (generation.refresh(), os.stat(tmp_path / ".a.log.rotation").st_size) == (2, 2)
        generation.close()

    def test_without_its_file(self, tmp_path: Path, system: System) -> None:
        """Before it is open, and after it was closed, lseek refuses its descriptor: each write is checked then."""
        generation = generation_of(tmp_path, system)
        refused = [generation.fd]
        generation.refresh()
        generation.close()
        refused.append(generation.fd)
        assert refused == [-1, -1]
        generation.close()

    def test_a_file_that_cannot_be_begun_is_closed(self, tmp_path: Path, system: System) -> None:
        """A disk too full for the first byte leaves no descriptor open, and the next attempt begins it."""
        write, system.write = system.write, full(errno.ENOSPC, "No space left on device")
        generation = generation_of(tmp_path, system)
        before = open_files(tmp_path)
        with pytest.raises(OSError, match="No space"):
            generation.refresh()
        assert (generation.fd, open_files(tmp_path)) == (-1, before)
        system.write = write
        assert generation.refresh() == 1
        generation.close()

    @pytest.mark.parametrize("replaced", [True, False])
    def test_somebody_deletes_it(self, tmp_path: Path, system: System, replaced: bool) -> None:
        """The file is opened, or made, again; all who look find the same one."""
        mine, theirs = generation_of(tmp_path, system), generation_of(tmp_path, system)
        for generation in (mine, theirs):
            generation.advance()
        (tmp_path / ".a.log.rotation").unlink()
        if replaced:
            (tmp_path / ".a.log.rotation").write_bytes(b"...")
        found = (mine.refresh(), theirs.refresh())
        mine.advance()
        assert (found, theirs.refresh()) == (((3, 3), 4) if replaced else ((1, 1), 2))
        mine.close()
        theirs.close()

    def test_somebody_truncates_it(self, tmp_path: Path, system: System) -> None:
        """A smaller size is a change like any other."""
        generation = generation_of(tmp_path, system)
        for _ in range(3):
            generation.advance()
        os.truncate(tmp_path / ".a.log.rotation", 0)
        assert generation.refresh() == 0
        generation.advance()
        assert generation.refresh() == 1
        generation.close()

    def test_says_when_the_live_file_was_begun(self, tmp_path: Path, system: System) -> None:
        """Advancing gives the file a new time."""
        generation = generation_of(tmp_path, system)
        generation.refresh()
        os.utime(tmp_path / ".a.log.rotation", (1000.0, 1000.0))
        before = generation.begun_at()
        generation.advance()
        assert (before, generation.begun_at() > 1000.0) == (1000.0, True)
        generation.close()

    @pytest.mark.parametrize("kind", ["directory", "link"])
    def test_something_else_has_its_name(self, tmp_path: Path, kind: str) -> None:
        """Where something else has the name of that file, records are written and others' rotation is noticed."""
        makers: dict[str, Callable[[Path], None]] = {"directory": os.mkdir, "link": lambda path: os.symlink("x", path)}
        makers[kind](tmp_path / ".a.log.rotation")
        sinks = [FileSink(tmp_path / "a.log", max_bytes=60, backup_count=3) for _ in range(2)]
        for number in range(4):
            sinks[number % 2].write([record(str(number))])
        assert all(sink.flush(1.0) for sink in sinks)
        texts = [text for held in contents(tmp_path).values() for text in held.split()]
        assert sorted(texts) == ["0", "1", "2", "3"]


class TestPermissions:
    @pytest.mark.parametrize(
        ("mode", "directory_mode", "generation_mode"),
        [(0o600, 0o700, 0o600), (0o640, 0o750, 0o600), (0o660, 0o750, 0o660), (0o644, 0o755, 0o600)],
    )
    def test_follow_the_mode(self, tmp_path: Path, mode: int, directory_mode: int, generation_mode: int) -> None:
        """Who may read the files may list a new directory; only who may write them may tell of a rotation."""
        before = os.umask(0)
        try:
            sink = FileSink(tmp_path / "new" / "a.log", max_bytes=60, mode=mode)
            for number in range(2):
                sink.write([record(str(number))])
        finally:
            os.umask(before)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
        assert modes == {"a.log": mode, "a.log.1": mode, ".a.log.rotation": generation_mode}
        assert (tmp_path / "new").stat().st_mode & 0o777 == directory_mode

    def test_the_umask_takes_nothing_from_new_files(self, tmp_path: Path) -> None:
        """A new file has the mode that was asked for, and one that is there keeps its own."""
        (tmp_path / "a.log").write_bytes(record("0").line)
        (tmp_path / "a.log").chmod(0o604)
        before = os.umask(0o077)
        try:
            sink = FileSink(tmp_path / "a.log", max_bytes=60, mode=0o640)
            sink.write([record("1")])
        finally:
            os.umask(before)
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("a.log*")}
        assert modes == {"a.log": 0o640, "a.log.1": 0o604}

    def test_a_directory_that_is_there_keeps_its_own(self, tmp_path: Path) -> None:
        """Only directories that the sink makes get a mode from it."""
        (tmp_path / "logs").mkdir(mode=0o711)
        FileSink(tmp_path / "logs" / "a.log", mode=0o644).write([record("0")])
        assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o711

    def test_a_mode_that_is_not_ours_to_give(self, tmp_path: Path, system: Clocked) -> None:
        """A file system that knows no permissions costs no record."""
        stand_in(system, permit=full(errno.EPERM, "no"))
        FileSink(tmp_path / "a.log", mode=0o640, system=system).write([record("0")])
        assert contents(tmp_path) == {"a.log": "0"}


class TestOneProcess:
    def test_two_sinks_of_one_file(self, tmp_path: Path) -> None:
        """Two sinks of one process share a file as two processes do: nothing is lost, torn or waited for."""
        sinks = [FileSink(tmp_path / "a.log", max_bytes=100, backup_count=100) for _ in range(2)]
        for number in range(20):
            sinks[number % 2].write([record(str(number))])
        assert all(sink.flush(1.0) for sink in sinks)
        held = contents(tmp_path)
        texts = [text for name in held for text in held[name].split()]
        assert sorted(map(int, texts)) == list(range(20))
        assert [sink.health()["failed_rotations"] for sink in sinks] == [0, 0]

    def test_different_settings(self, tmp_path: Path) -> None:
        """The smaller limit rotates for both; the other one follows after the record with which it notices."""
        small, large = FileSink(tmp_path / "a.log", max_bytes=60), FileSink(tmp_path / "a.log")
        for sink, text in ((small, "s0"), (large, "l0"), (small, "s1"), (large, "l1"), (large, "l2")):
            sink.write([record(text)])
        assert contents(tmp_path) == {"a.log": "s1 l2", "a.log.1": "s0 l0 l1"}

    def test_two_logs_of_one_directory(self, tmp_path: Path) -> None:
        """A log whose name begins like that of another one is not touched by its rotation."""
        sinks = {name: FileSink(tmp_path / name, max_bytes=60, backup_count=1) for name in ("a", "a.log", "a.log.x")}
        for number in range(3):
            for name, sink in sinks.items():
                sink.write([record(f"{name}-{number}")])
        expected = {name: f"{name}-2" for name in sinks} | {f"{name}.1": f"{name}-1" for name in sinks}
        assert contents(tmp_path) == expected
