"""Live log files followed through rotation, compression, truncation and whatever else happens to them."""

import gzip
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
import zstandard

from structllm.follow import GRACE_S, Follower
from structllm.segment import ReadReport, Walk, files, read, unique
from tests.core.test_segment import line, lines


class Steady:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


class Follow(Protocol):
    """Follows a file, and lets it go at the end of the test."""

    def __call__(
        self,
        path: Path,
        report: ReadReport | None = None,
        *,
        from_end: bool = True,
        monotonic: Callable[[], float] = ...,
    ) -> Follower: ...


@pytest.fixture
def follow() -> Iterator[Follow]:
    """What is followed in a test."""
    followers: list[Follower] = []

    def begin(
        path: Path,
        report: ReadReport | None = None,
        *,
        from_end: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Follower:
        followers.append(Follower(str(path), report or ReadReport(), from_end=from_end, monotonic=monotonic))
        return followers[-1]

    yield begin
    for follower in followers:
        follower.close()


class TestFollower:
    """A live file followed through what may happen to it."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """A live file with two events."""
        path = tmp_path / "x.log"
        path.write_bytes(lines([1, 2]))
        return path

    def numbers(self, follower: Follower) -> list[int]:
        """The numbers of the events that have come."""
        return [entry.event["seq"] for entry in follower.poll()]

    def append(self, path: Path, content: bytes) -> None:
        """Write to the end of a file."""
        with path.open("ab") as file:
            file.write(content)

    def rotate(self, path: Path, new: bytes) -> None:
        """Move the files up by one and begin a new one."""
        for number in (3, 2, 1):
            older = Path(f"{path}.{number}")
            if older.exists():
                older.rename(f"{path}.{number + 1}")
        path.rename(f"{path}.1")
        path.write_bytes(new)

    def test_from_the_end(self, path: Path, follow: Follow) -> None:
        """Only what is written from now on comes."""
        follower = follow(path)
        assert [] == self.numbers(follower)
        self.append(path, lines([3, 4]))
        assert [3, 4] == self.numbers(follower)

    def test_half_lines(self, path: Path, follow: Follow) -> None:
        """A line comes when it is finished, whatever pieces it was written in, one begun before the start included."""
        whole = line(3)
        self.append(path, whole[:10])
        follower = follow(path)
        self.append(path, whole[10:20])
        assert [] == self.numbers(follower)
        self.append(path, whole[20:] + line(4)[:-1])
        assert [3] == self.numbers(follower)
        self.append(path, b"\n")
        assert [4] == self.numbers(follower)

    def test_rotation(self, path: Path, follow: Follow) -> None:
        """What was written just before a rotation comes before what was written after it."""
        follower = follow(path)
        self.append(path, lines([3]))
        self.rotate(path, lines([4]))
        assert [3, 4] == self.numbers(follower)

    def test_rotation_between_reading_and_looking(
        self, path: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is written after the last read and before the rotation still comes before the new file."""
        follower = follow(path)
        look = follower._successors
        rotations = iter([(lines([3]), lines([4]))])

        def write_and_rotate_first() -> Walk:
            for last, first in rotations:
                self.append(path, last)
                self.rotate(path, first)
            return look()

        monkeypatch.setattr(follower, "_successors", write_and_rotate_first)
        assert [3, 4] == self.numbers(follower)

    def test_several_rotations_between_two_looks(self, path: Path, follow: Follow) -> None:
        """Files that came and went between two looks are read too."""
        follower = follow(path)
        for number in (3, 4, 5):
            self.rotate(path, lines([number]))
        assert [3, 4, 5] == self.numbers(follower)
        self.append(path, lines([6]))
        assert [6] == self.numbers(follower)

    def test_more_rotations_than_files_are_kept(self, path: Path, follow: Follow) -> None:
        """When the file that was being read has been deleted, what is newer and still there comes."""
        Path(f"{path}.1").write_bytes(lines([0]))
        os.utime(f"{path}.1", (0, 0))
        os.utime(path, (1, 1))
        follower = follow(path)
        for number in (3, 4, 5):
            self.rotate(path, lines([number]))
        Path(f"{path}.3").unlink()
        assert [3, 4, 5] == self.numbers(follower)

    def test_late_writes_to_rotated_file(self, path: Path, follow: Follow) -> None:
        """Another process may write to the old file for a moment; after that the file is let go."""
        clock = Steady()
        follower = follow(path, monotonic=clock)
        self.rotate(path, lines([4]))
        assert [4] == self.numbers(follower)
        self.append(Path(f"{path}.1"), lines([3]))
        assert [3] == self.numbers(follower)
        clock.now_s = GRACE_S
        assert [] == self.numbers(follower)
        self.append(Path(f"{path}.1"), lines([5]))
        assert [] == self.numbers(follower)

    def test_truncation(self, path: Path, follow: Follow) -> None:
        """A file that was emptied is read from its beginning."""
        follower = follow(path)
        path.write_bytes(lines([3]))
        assert [3] == self.numbers(follower)

    def test_creation(self, tmp_path: Path, follow: Follow) -> None:
        """A file that does not exist yet is read from its beginning once it does."""
        path = tmp_path / "later" / "x.log"
        follower = follow(path)
        assert [] == self.numbers(follower)
        path.parent.mkdir()
        path.write_bytes(lines([1]))
        assert [1] == self.numbers(follower)

    def test_creation_and_rotation(self, tmp_path: Path, follow: Follow) -> None:
        """Where nothing was there, everything is new, rotated files included."""
        path = tmp_path / "x.log"
        follower = follow(path)
        path.write_bytes(lines([1]))
        for number in (2, 3):
            self.rotate(path, lines([number]))
        assert [1, 2, 3] == self.numbers(follower)

    def test_between_two_files(self, path: Path, follow: Follow) -> None:
        """A live file that is just being replaced is waited for, and its predecessors are not new."""
        self.rotate(path, b"")
        path.unlink()
        follower = follow(path)
        assert [] == self.numbers(follower)
        path.write_bytes(lines([3]))
        assert [3] == self.numbers(follower)

    def test_number_free_for_a_moment(self, path: Path, follow: Follow) -> None:
        """In the middle of a rotation a number may be free; the files behind it are found."""
        follower = follow(path)
        self.append(path, lines([3]))
        self.rotate(path, lines([4]))
        self.rotate(path, lines([5]))
        for number in (2, 1):
            Path(f"{path}.{number}").rename(f"{path}.{number + 1}")
        assert [3, 4, 5] == self.numbers(follower)

    def test_deletion(self, path: Path, follow: Follow) -> None:
        """A file that is deleted and begun anew is followed on, though its predecessors tell nothing."""
        Path(f"{path}.1").write_bytes(lines([0]))
        os.utime(f"{path}.1", (0, 0))
        follower = follow(path)
        path.unlink()
        assert [] == self.numbers(follower)
        path.write_bytes(lines([3]))
        assert [3] == self.numbers(follower)

    def test_closing(self, path: Path, follow: Follow) -> None:
        """Closing lets every file go and counts a line that was never finished."""
        report = ReadReport()
        follower = follow(path, report)
        self.append(path, b"half")
        self.rotate(path, b"")
        assert [] == self.numbers(follower)
        open_before = len(os.listdir("/proc/self/fd"))
        follower.close()
        assert 2 == open_before - len(os.listdir("/proc/self/fd"))
        assert 1 == report.unfinished


PACKERS = {"gz": gzip.compress, "zst": lambda content: zstandard.ZstdCompressor().compress(content)}


def anonymous(numbers: Iterable[int]) -> bytes:
    """Lines without writer, so that no reader can drop one as a duplicate."""
    return b"".join(line(number, writer=None) for number in numbers)


def pack(path: Path, suffix: str = "zst", *, keep: bool = False) -> None:
    """Compress a file as upkeep does: the compressed one has its name before the plain one loses it."""
    hidden = path.parent / f".{path.name}.0123abcd.tmp"
    hidden.write_bytes(PACKERS[suffix](path.read_bytes()))
    hidden.rename(f"{path}.{suffix}")
    if not keep:
        path.unlink()


class TestCompression(TestFollower):
    """A live file followed while its predecessors are compressed; everything that holds without still does."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """A live file with two events."""
        path = tmp_path / "x.log"
        path.write_bytes(anonymous([1, 2]))
        return path

    def rotate(self, path: Path, new: bytes) -> None:
        """Move the files up by one and begin a new one."""
        numbered = sorted(path.parent.glob(f"{path.name}.*"), key=lambda file: int(file.name.split(".")[2]))
        for file in reversed(numbered):
            _, _, number, *packed = file.name.split(".")
            file.rename(path.parent / ".".join([path.name, str(int(number) + 1), *packed]))
        path.rename(f"{path}.1")
        path.write_bytes(new)

    @pytest.mark.parametrize("suffix", ["gz", "zst"])
    def test_followed_file_was_packed(self, path: Path, follow: Follow, suffix: str) -> None:
        """The rest of a file that was compressed unread comes once, and the older ones are not taken for new."""
        Path(f"{path}.1").write_bytes(anonymous([0]))
        pack(Path(f"{path}.1"), suffix)
        follower = follow(path)
        self.append(path, anonymous([3]))
        self.rotate(path, anonymous([4]))
        pack(Path(f"{path}.1"), suffix)
        assert [3, 4] == self.numbers(follower)
        self.append(path, anonymous([5]))
        assert [5] == self.numbers(follower)

    def test_packed_after_it_was_read(self, path: Path, follow: Follow) -> None:
        """A file that was read to its end and is compressed afterwards does not come again."""
        follower = follow(path)
        self.rotate(path, anonymous([3]))
        assert [3] == self.numbers(follower)
        pack(Path(f"{path}.1"))
        assert [] == self.numbers(follower)
        self.rotate(path, anonymous([4]))
        pack(Path(f"{path}.1"), "gz", keep=True)
        assert [4] == self.numbers(follower)

    @pytest.mark.parametrize("keep", [False, True])
    def test_packed_in_between(self, path: Path, follow: Follow, keep: bool) -> None:
        """Files that were begun and compressed between two looks come whole and once, the plain one left or not."""
        follower = follow(path)
        for number in (3, 5, 7):
            self.rotate(path, anonymous([number, number + 1]))
        for number, suffix in ((1, "zst"), (2, "gz"), (3, "zst")):
            pack(Path(f"{path}.{number}"), suffix, keep=keep)
        assert [3, 4, 5, 6, 7, 8] == self.numbers(follower)
        assert [] == self.numbers(follower)

    def test_line_appended_to_a_packed_file(self, path: Path, follow: Follow) -> None:
        """A straggler's line that is appended to a file after it was compressed comes too."""
        follower = follow(path)
        self.rotate(path, lines([3]))
        self.rotate(path, lines([5]))
        pack(Path(f"{path}.1"))
        entries = list(unique(follower.poll(), report := ReadReport()))
        self.append(Path(f"{path}.1.zst"), PACKERS["zst"](lines([4])))
        entries += unique(follower.poll(), report)
        assert [3, 5, 4] == [entry.event["seq"] for entry in entries]

    def test_packed_predecessor_only(self, path: Path, follow: Follow) -> None:
        """Where the live file is just being replaced, a compressed predecessor is not new."""
        path.rename(f"{path}.1")
        pack(Path(f"{path}.1"))
        follower = follow(path)
        path.write_bytes(anonymous([3]))
        assert [3] == self.numbers(follower)

    def test_nothing_left_but_packed_files(self, path: Path, follow: Follow) -> None:
        """Where the file being read was deleted, times of events tell new files from old ones, not those of files."""
        Path(f"{path}.1").write_bytes(anonymous([0]))
        follower = follow(path)
        for number in (3, 4):
            self.rotate(path, anonymous([number]))
        for number in (3, 1):
            pack(Path(f"{path}.{number}"))
        Path(f"{path}.2").unlink()
        os.utime(f"{path}.3.zst", (2e9, 2e9))
        assert [3, 4] == self.numbers(follower)

    def test_long_pause(self, path: Path, follow: Follow) -> None:
        """More files than are ever open at the same time are read in their order after a long pause."""
        follower = follow(path)
        count = 3 * files.KEPT_OPEN
        for number in range(count, 0, -1):
            Path(f"{path}.{number}").write_bytes(anonymous([2 + count - number]))
        path.rename(f"{path}.{count}")
        for number in range(5, count, 2):
            pack(Path(f"{path}.{number}"))
        path.write_bytes(anonymous([2 + count]))
        open_before = len(os.listdir("/proc/self/fd"))
        assert list(range(3, 3 + count)) == self.numbers(follower)
        assert len(os.listdir("/proc/self/fd")) - open_before <= files.KEPT_OPEN + 1

    def test_what_is_no_file(self, path: Path, follow: Follow) -> None:
        """A directory or a pipe that is called like a rotated file neither stops following nor holds it up."""
        follower = follow(path)
        self.append(path, anonymous([3]))
        path.rename(f"{path}.1")
        path.write_bytes(anonymous([4]))
        Path(f"{path}.2").mkdir()
        os.mkfifo(f"{path}.3")
        assert [3, 4] == self.numbers(follower)

    def test_emptied_and_longer_again(self, path: Path, follow: Follow) -> None:
        """A file that was emptied is read from its beginning even where it has grown beyond its old size."""
        follower = follow(path)
        path.write_bytes(anonymous(range(3, 9)))
        assert list(range(3, 9)) == self.numbers(follower)

    def test_appeared_and_rotated(self, tmp_path: Path, follow: Follow) -> None:
        """A log that is followed from its beginning brings the files that it had rotated before it was seen."""
        path = tmp_path / "new.log"
        path.write_bytes(anonymous([1]))
        for number in (2, 3):
            self.rotate(path, anonymous([number]))
        pack(Path(f"{path}.2"))
        assert [1, 2, 3] == self.numbers(follow(path, from_end=False))


class Disturbed:
    """A log that is written, rotated and compressed step by step, one step each time a file of it is looked for."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.written = 0
        self.quiet = False
        self._random = random.Random(seed)
        self._steps: Iterator[None] = iter(())
        self._suffix = self._random.choice(["gz", "zst"])
        path.touch()

    def step(self) -> None:
        """Go on with what is being done, or begin something."""
        if not self.quiet and next(self._steps, False) is False:
            self._steps = self._random.choice([self._write, self._write, self._rotate, self._pack])()

    def _write(self) -> Iterator[None]:
        with self.path.open("ab") as file:
            self.written += 1
            file.write(line(self.written, writer=None))
        yield

    def _numbered(self) -> list[tuple[int, Path]]:
        found = [(int(file.name.split(".")[2]), file) for file in self.path.parent.glob("x.log.*")]
        return sorted(found, reverse=True)

    def _rotate(self) -> Iterator[None]:
        for number, file in self._numbered():
            packed = file.name.split(".")[3:]
            file.rename(self.path.parent / ".".join([self.path.name, str(number + 1), *packed]))
            yield
        self.path.rename(f"{self.path}.1")
        yield
        self.path.touch()
        yield

    def _pack(self) -> Iterator[None]:
        plain = [file for number, file in self._numbered() if file.name.endswith(f".{number}")]
        for file in plain[:1]:
            pack(file, self._suffix, keep=True)
            yield
            file.unlink()
            yield


class TestEveryMoment:
    """Whatever happens between two looks at the disk."""

    @pytest.mark.parametrize("seed", range(40))
    def test_followed(self, tmp_path: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        """Every event comes once and in order."""
        log = Disturbed(tmp_path / "x.log", seed)
        self.disturb(monkeypatch, log)
        follower = follow(log.path)
        found: list[int] = []
        for _ in range(60):
            for _ in range(seed % 7):
                log.step()
            found += [entry.event["seq"] for entry in follower.poll()]
        log.quiet = True
        for _ in range(2):
            log.path.touch()
            found += [entry.event["seq"] for entry in follower.poll()]
        assert list(range(1, log.written + 1)) == found, f"seed {seed}"

    @pytest.mark.parametrize("seed", range(40))
    def test_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        """Every event that was written before the reading began is read once, and none twice."""
        log = Disturbed(tmp_path / "x.log", seed)
        for _ in range(300):
            log.step()
        self.disturb(monkeypatch, log)
        for _ in range(10):
            written = log.written
            found = [entry.event["seq"] for entry in read([log.path], ReadReport())]
            assert list(range(1, len(found) + 1)) == found, f"seed {seed}"
            assert len(found) >= written, f"seed {seed}"

    def disturb(self, monkeypatch: pytest.MonkeyPatch, log: Disturbed) -> None:
        """Do one step before each attempt to open a file."""
        open_file = files.open_file

        def step_and_open(path: str, report: ReadReport) -> files.LogFile | None:
            log.step()
            return open_file(path, report)

        monkeypatch.setattr(files, "open_file", step_and_open)


WRITER = """
import json, sys
from structllm._types import Record
from structllm.sinks.file import FileSink

path, writer, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
sink = FileSink(path, max_bytes=4096, backup_count=900)
for seq in range(count):
    event = {"event_type": "run", "timestamp": "2024-01-15T10:30:45.123Z", "writer": writer, "seq": seq}
    sink.write([Record("run", 20, json.dumps(event).encode() + b"\\n", event)])
sink.close()
"""


class TestAgainstTheSink:
    """Two processes write and rotate as fast as they can, while the log is read and followed."""

    def test_nothing_is_missed(self, tmp_path: Path) -> None:
        """Every event is followed once, and what one reading found, the next one finds too."""
        path, count = tmp_path / "x.log", 600
        everything = {(writer, seq) for writer in "ab" for seq in range(count)}
        report = ReadReport()
        follower = Follower(str(path), report, from_end=True)
        command = [sys.executable, "-c", WRITER, str(path)]
        processes = [subprocess.Popen([*command, writer, str(count)]) for writer in "ab"]
        followed: list[tuple[str, int]] = []
        found: set[tuple[str, int]] = set()
        deadline_s = time.monotonic() + 60
        try:
            while len(followed) < len(everything):
                assert time.monotonic() < deadline_s, f"{len(followed)} of {len(everything)} events were followed"
                followed += [(entry.event["writer"], entry.event["seq"]) for entry in follower.poll()]
                if path.exists():
                    now = {(entry.event["writer"], entry.event["seq"]) for entry in read([path], ReadReport())}
                    assert set() == found - now
                    found = now
        finally:
            for process in processes:
                process.kill()
                process.wait(timeout=30)
            follower.close()
        assert sorted(everything) == sorted(followed)
        assert (0, 0) == (report.bad_lines, report.unfinished)
        assert len(list(tmp_path.glob("x.log.*"))) > 10
