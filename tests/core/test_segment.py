"""Log files as they are on disk: found, unpacked, read forwards and backwards, and followed."""

import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from structllm import backward, segment
from structllm.backward import read_last
from structllm.follow import GRACE_S, Follower, Growing
from structllm.segment import MAX_LINE_BYTES, BadLine, ReadReport, find_logs, read
from structllm.sequence import MAX_INTERVALS, Intervals, Seen


def line(number: int, writer: str | None = "w", **fields: Any) -> bytes:
    """One line of a log."""
    event = {
        "event_type": "completion_request",
        "timestamp": f"2024-01-15T10:{number // 60:02d}:{number % 60:02d}.000Z",
        "writer": writer,
        "seq": number,
        **fields,
    }
    return json.dumps(event).encode() + b"\n"


def lines(numbers: Iterable[int], writer: str = "w") -> bytes:
    """Several lines of a log."""
    return b"".join(line(number, writer) for number in numbers)


def numbers_of(paths: Iterable[Path | str], report: ReadReport | None = None) -> list[int]:
    """The numbers of the events that reading gives."""
    return [entry.event["seq"] for entry in read(paths, report if report is not None else ReadReport())]


class TestFindLogs:
    """Which files a path stands for."""

    def test_live_file_with_predecessors(self, tmp_path: Path) -> None:
        """A live file brings its rotated files, the oldest first, by number and not by alphabet."""
        names = ["x.log", "x.log.1", "x.log.2", "x.log.10.gz", "x.log.9.zst", "x.logs", "x.log.bak", "ax.log.1"]
        for name in names:
            (tmp_path / name).touch()
        (log,) = find_logs([tmp_path / "x.log"])
        assert ["x.log.10.gz", "x.log.9.zst", "x.log.2", "x.log.1", "x.log"] == [Path(file).name for file in log.files]

    def test_rotated_file_alone(self, tmp_path: Path) -> None:
        """A rotated file that is named stands for itself."""
        for name in ("x.log", "x.log.1", "x.log.2"):
            (tmp_path / name).touch()
        (log,) = find_logs([tmp_path / "x.log.1"])
        assert (str(tmp_path / "x.log.1"),) == log.files

    def test_named_twice(self, tmp_path: Path) -> None:
        """A file that is named by itself and through its live file is read once."""
        (tmp_path / "x.log").write_bytes(lines([2]))
        (tmp_path / "x.log.1").write_bytes(lines([1]))
        report = ReadReport()
        assert [1, 2] == numbers_of([tmp_path / "x.log.1", tmp_path / "x.log", tmp_path], report)
        assert (2, 0) == (report.files, report.duplicates)

    def test_directory(self, tmp_path: Path) -> None:
        """A directory stands for the logs in it and below, hidden ones and other files left out."""
        for name in ("a.jsonl", "below/b.ndjson.zst", "below/c.log.3", "notes.txt", ".x.log.lock", ".hidden/d.log"):
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.touch()
        found = [Path(file).name for log in find_logs([tmp_path]) for file in log.files]
        assert ["a.jsonl", "b.ndjson.zst", "c.log.3"] == found

    def test_rotated_away(self, tmp_path: Path) -> None:
        """A live file between two rotations may be missing while its predecessors are there."""
        (tmp_path / "x.log.1").write_bytes(lines([1]))
        assert [1] == numbers_of([tmp_path / "x.log"])

    def test_missing(self, tmp_path: Path) -> None:
        """A path of which there is nothing is an error that names it."""
        with pytest.raises(FileNotFoundError, match=r"nothing\.log"):
            read([tmp_path / "nothing.log"], ReadReport())


class TestRead:
    """Reading what is there."""

    def test_rotated_and_compressed(self, tmp_path: Path) -> None:
        """The events of a rotated log come in the order in which they were written, whatever the compression."""
        (tmp_path / "x.log.3.gz").write_bytes(gzip.compress(lines([1, 2])) + gzip.compress(lines([3])))
        packed = zstandard.ZstdCompressor().compress(lines([4])) + zstandard.ZstdCompressor().compress(lines([5]))
        (tmp_path / "x.log.2.zst").write_bytes(packed)
        (tmp_path / "x.log.1").write_bytes(lines([6]))
        (tmp_path / "x.log").write_bytes(lines([7]))
        report = ReadReport()
        assert [1, 2, 3, 4, 5, 6, 7] == numbers_of([tmp_path / "x.log"], report)
        assert (4, 7, 0, []) == (report.files, report.events, report.bad_lines, report.hints())

    def test_compression_is_seen_not_believed(self, tmp_path: Path) -> None:
        """The first bytes of a file decide how it is read, not its name."""
        (tmp_path / "plain.log.gz").write_bytes(lines([1]))
        (tmp_path / "packed.log").write_bytes(gzip.compress(lines([2])))
        assert [1, 2] == numbers_of([tmp_path])

    def test_several_logs_by_time(self, tmp_path: Path) -> None:
        """The events of several logs are merged by their timestamps."""
        (tmp_path / "a.log").write_bytes(lines([1, 4, 5]))
        (tmp_path / "b.log").write_bytes(lines([2, 3, 6]))
        assert [1, 2, 3, 4, 5, 6] == numbers_of([tmp_path / "a.log", tmp_path / "b.log"])

    def test_many_logs(self, tmp_path: Path) -> None:
        """More logs than are read at the same time are read one after the other."""
        for number in range(40):
            (tmp_path / f"{number:02d}.log").write_bytes(lines([number]))
        assert list(range(40)) == numbers_of([tmp_path])

    def test_unfinished_line_of_live_file(self, tmp_path: Path) -> None:
        """A live file is read up to its last newline; the rest is no bad line."""
        (tmp_path / "x.log").write_bytes(lines([1]) + line(2)[:-20])
        report = ReadReport()
        assert [1] == numbers_of([tmp_path / "x.log"], report)
        assert (1, 0) == (report.unfinished, report.bad_lines)

    def test_unfinished_line_of_rotated_file(self, tmp_path: Path) -> None:
        """Nobody writes to a rotated file any more, so its last line counts even without a newline."""
        (tmp_path / "x.log.1").write_bytes(lines([1]) + line(2).rstrip())
        (tmp_path / "x.log").write_bytes(lines([3]))
        assert [1, 2, 3] == numbers_of([tmp_path / "x.log"])

    def test_bad_lines(self, tmp_path: Path) -> None:
        """Lines that are no events are skipped, counted, and the first ones named by file and offset."""
        good = lines([1])
        path = tmp_path / "x.log"
        path.write_bytes(good + b"torn {\n" + b"[1]\n" + b'{"a": 1}\n' + b"\xff\xfe\n" + b"\n  \n" + lines([2]))
        report = ReadReport()
        assert [1, 2] == numbers_of([path], report)
        offset = len(good)
        assert [
            BadLine(str(path), offset, "not JSON"),
            BadLine(str(path), offset + 7, "not a JSON object"),
            BadLine(str(path), offset + 11, "no event_type"),
            BadLine(str(path), offset + 20, "not JSON"),
        ] == report.first_bad
        assert [f"skipped 4 bad lines; the first is {path}, byte {offset}: not JSON"] == report.hints()

    def test_whole_line_behind_a_torn_one(self, tmp_path: Path) -> None:
        """The half line of a killed writer is counted, and the line that another one wrote behind it is read."""
        path = tmp_path / "x.log"
        torn, behind = line(1)[:-20], line(2).replace(b'": "', b'":"', 1)  # begins as the renderer writes it
        quoting = b'{"event_type":"run","writer":"w1","seq":3,"name":"{\\"event_type\\":\\"x"'
        path.write_bytes(torn + behind + quoting + b"\n" + lines([4]))
        report = ReadReport()
        assert [2, 4] == numbers_of([path], report)
        assert 2 == report.bad_lines

    def test_only_first_bad_lines_are_kept(self, tmp_path: Path) -> None:
        """A file of another kind does not fill the memory with places."""
        (tmp_path / "x.log").write_bytes(b"text\n" * 1000)
        report = ReadReport()
        assert [] == numbers_of([tmp_path / "x.log"], report)
        assert (1000, 10) == (report.bad_lines, len(report.first_bad))

    def test_long_line(self, tmp_path: Path) -> None:
        """A line beyond the limit is skipped, without being held in memory whole, and what follows is read."""
        path = tmp_path / "x.log"
        path.write_bytes(lines([1]) + b"x" * (MAX_LINE_BYTES + 1) + b"\n" + lines([2]))
        report = ReadReport()
        assert [1, 2] == numbers_of([path], report)
        assert [BadLine(str(path), len(line(1)), "longer than 16 MiB")] == report.first_bad

    def test_duplicates(self, tmp_path: Path) -> None:
        """An event in two files is one event; the same number of another writer is another."""
        (tmp_path / "a.log").write_bytes(lines([1, 2]) + lines([2], writer="other"))
        (tmp_path / "b.log").write_bytes(lines([2, 3]))
        report = ReadReport()
        assert [1, 2, 2, 3] == numbers_of([tmp_path], report)
        assert (4, 1) == (report.events, report.duplicates)

    def test_events_without_number(self, tmp_path: Path) -> None:
        """Events without writer and number are never taken for duplicates."""
        (tmp_path / "x.log").write_bytes(b'{"event_type":"a"}\n' * 3)
        assert 3 == len(list(read([tmp_path / "x.log"], ReadReport())))

    def test_order_of_rotation_race(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A rotation between looking and opening neither hides a file nor gives one twice."""
        path = tmp_path / "x.log"
        path.write_bytes(lines([2]))
        (tmp_path / "x.log.1").write_bytes(lines([1]))
        find = segment.find_logs

        def find_then_rotate(paths: Iterable[str | os.PathLike[str]]) -> list[segment.Log]:
            logs = find(paths)
            os.rename(tmp_path / "x.log.1", tmp_path / "x.log.2")
            os.rename(path, tmp_path / "x.log.1")
            path.write_bytes(lines([3]))
            return logs

        monkeypatch.setattr(segment, "find_logs", find_then_rotate)
        report = ReadReport()
        assert [1, 2, 3] == numbers_of([path], report)
        assert (3, 0) == (report.files, report.duplicates)

    @pytest.mark.parametrize("suffix", ["gz", "zst"])
    def test_cut_off(self, tmp_path: Path, suffix: str) -> None:
        """A compressed file that ends too early gives what is in it, and is named."""
        content = b"".join(line(number, text=random.Random(number).randbytes(40).hex()) for number in range(2000))
        packed = gzip.compress(content) if suffix == "gz" else zstandard.ZstdCompressor().compress(content)
        path = tmp_path / f"x.log.{suffix}"
        path.write_bytes(packed[: len(packed) // 2])
        report = ReadReport()
        found = numbers_of([path], report)
        assert list(range(len(found))) == found
        assert 0 < len(found) < 2000
        assert [(str(path), "the compressed data is cut off")] == report.unreadable

    @pytest.mark.parametrize("magic", [b"\x1f\x8b", b"\x28\xb5\x2f\xfd"])
    def test_damaged(self, tmp_path: Path, magic: bytes) -> None:
        """A file that begins as compressed and is not stops only the reading of itself."""
        (tmp_path / "a.log.gz").write_bytes(magic + b"\xff" * 100)
        (tmp_path / "b.log").write_bytes(lines([1]))
        report = ReadReport()
        assert [1] == numbers_of([tmp_path], report)
        assert [f"could not read {tmp_path / 'a.log.gz'}: the compressed data is damaged"] == report.hints()

    @pytest.mark.parametrize("suffix", ["gz", "zst"])
    def test_bomb(self, tmp_path: Path, suffix: str) -> None:
        """A file that expands beyond all reason is left, having cost no more than a chunk of memory."""
        pack = zstandard.ZstdCompressor().compressobj() if suffix == "zst" else None
        path = tmp_path / f"x.log.{suffix}"
        zeros = bytes(1 << 20)
        with gzip.open(path, "wb") if pack is None else path.open("wb") as file:
            for _ in range(100):
                file.write(zeros if pack is None else pack.compress(zeros))
            if pack is not None:
                file.write(pack.flush())
        report = ReadReport()
        assert [] == numbers_of([path], report)
        assert [(str(path), "it expands more than 1000 times, as no log does")] == report.unreadable

    def test_unreadable(self, tmp_path: Path) -> None:
        """A file that cannot be opened is named, and the others are read."""
        (tmp_path / "x.log").write_bytes(lines([1]))
        (tmp_path / "x.log.1").symlink_to("x.log.1")
        report = ReadReport()
        assert [1] == numbers_of([tmp_path / "x.log"], report)
        assert str(tmp_path / "x.log.1") == report.unreadable[0][0]


class TestReadLast:
    """The newest events, from the end."""

    def test_across_files(self, tmp_path: Path) -> None:
        """As many events as asked for are gathered from as many files as it takes."""
        (tmp_path / "x.log.2.gz").write_bytes(gzip.compress(lines(range(1, 6))))
        (tmp_path / "x.log.1").write_bytes(lines(range(6, 11)))
        (tmp_path / "x.log").write_bytes(lines([11]))
        entries = read_last([tmp_path / "x.log"], 8, lambda _: True, ReadReport())
        assert list(range(4, 12)) == [entry.event["seq"] for entry in entries]

    def test_only_what_counts(self, tmp_path: Path) -> None:
        """Events that are not wanted do not use up the number."""
        (tmp_path / "x.log").write_bytes(lines(range(100)))
        entries = read_last([tmp_path / "x.log"], 3, lambda event: event["seq"] % 10 == 0, ReadReport())
        assert [70, 80, 90] == [entry.event["seq"] for entry in entries]

    def test_several_logs(self, tmp_path: Path) -> None:
        """The newest of several logs are the newest of all."""
        (tmp_path / "a.log").write_bytes(lines([1, 2, 3, 8]))
        (tmp_path / "b.log").write_bytes(lines([4, 5, 6, 7]))
        entries = read_last([tmp_path], 3, lambda _: True, ReadReport())
        assert [6, 7, 8] == [entry.event["seq"] for entry in entries]

    def test_reads_no_more_than_needed(self, tmp_path: Path) -> None:
        """The beginning of a large file is not looked at."""
        (tmp_path / "x.log").write_bytes(b"bad\n" * 100_000 + lines([1, 2]))
        report = ReadReport()
        assert 2 == len(read_last([tmp_path / "x.log"], 2, lambda _: True, report))
        assert 0 == report.bad_lines

    def test_none(self, tmp_path: Path) -> None:
        """No events asked for are no events, whatever the path."""
        assert [] == read_last([tmp_path / "missing.log"], 0, lambda _: True, ReadReport())

    @given(
        pieces=st.lists(
            st.one_of(
                st.integers(0, 40).map(lambda size: b"x" * size + b"\n"),
                st.integers(1, 9).map(lambda number: line(number, writer=None, text="t" * number * 3)),
            ),
            max_size=30,
        ),
        rest=st.sampled_from([b"", b"half", line(9, writer=None).rstrip()]),
        block=st.integers(1, 100),
    )
    @settings(max_examples=200)
    def test_backwards_is_forwards(
        self, tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], rest: bytes, block: int
    ) -> None:
        """Read backwards in blocks of any size, a file holds the same events and bad lines as read forwards."""
        path = tmp_path_factory.mktemp("log") / "x.log"
        path.write_bytes(b"".join(pieces) + rest)
        forwards, backwards = ReadReport(), ReadReport()
        expected = [entry.line for entry in read([path], forwards)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backward, "_BLOCK_BYTES", block)
            actual = [entry.line for entry in read_last([path], 1000, lambda _: True, backwards)]
        assert expected == actual
        assert (forwards.bad_lines, forwards.unfinished) == (backwards.bad_lines, backwards.unfinished)
        assert forwards.bad_lines > 10 or sorted(forwards.first_bad) == sorted(backwards.first_bad)


class TestSeen:
    """Which numbers of which writer have been read."""

    @given(values=st.lists(st.integers(1, 60), max_size=80))
    @settings(max_examples=200)
    def test_is_a_set(self, values: list[int]) -> None:
        """Intervals hold what a set would hold, in whatever order it comes."""
        intervals, known = Intervals(), set[int]()
        for value in values:
            assert (value not in known) == intervals.add(value)
            known.add(value)
        assert len(known) == len(intervals)
        span = range(min(known), max(known)) if known else range(0)
        missing = {number for first, last in intervals.gaps() for number in range(first, last + 1)}
        assert set(span) - known == missing

    def test_memory_is_bounded(self) -> None:
        """Numbers with holes everywhere are forgotten from the lowest on; the newest are still known."""
        intervals = Intervals()
        highest = 2 * (MAX_INTERVALS + 10)
        for value in range(0, highest, 2):
            intervals.add(value)
        assert len(intervals) <= MAX_INTERVALS
        assert not intervals.add(highest - 2)

    def test_writers_are_apart(self) -> None:
        """Each writer counts for itself, and what is no number of a writer is never known."""
        seen = Seen()
        first = [seen.add("a", 1), seen.add("b", 1), seen.add("a", 3), seen.add("a", 1)]
        assert [True, True, True, False] == first
        assert [True] * 6 == [
            seen.add(writer, seq) for writer, seq in ((None, 1), ("a", "1"), ("a", True)) for _ in "ab"
        ]
        assert [("a", [(2, 2)])] == list(seen.gaps())


class Steady:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


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

    def test_from_the_end(self, path: Path) -> None:
        """Only what is written from now on comes."""
        follower = Follower(str(path), ReadReport(), from_end=True)
        assert [] == self.numbers(follower)
        self.append(path, lines([3, 4]))
        assert [3, 4] == self.numbers(follower)

    def test_half_lines(self, path: Path) -> None:
        """A line comes when it is finished, whatever pieces it was written in, one begun before the start included."""
        whole = line(3)
        self.append(path, whole[:10])
        follower = Follower(str(path), ReadReport(), from_end=True)
        self.append(path, whole[10:20])
        assert [] == self.numbers(follower)
        self.append(path, whole[20:] + line(4)[:-1])
        assert [3] == self.numbers(follower)
        self.append(path, b"\n")
        assert [4] == self.numbers(follower)

    def test_rotation(self, path: Path) -> None:
        """What was written just before a rotation comes before what was written after it."""
        follower = Follower(str(path), ReadReport(), from_end=True)
        self.append(path, lines([3]))
        self.rotate(path, lines([4]))
        assert [3, 4] == self.numbers(follower)

    def test_rotation_between_reading_and_looking(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is written after the last read and before the rotation still comes before the new file."""
        follower = Follower(str(path), ReadReport(), from_end=True)
        look = follower._successors

        def write_and_rotate_first() -> list[Growing]:
            self.append(path, lines([3]))
            self.rotate(path, lines([4]))
            return look()

        monkeypatch.setattr(follower, "_successors", write_and_rotate_first)
        assert [3, 4] == self.numbers(follower)

    def test_several_rotations_between_two_looks(self, path: Path) -> None:
        """Files that came and went between two looks are read too."""
        follower = Follower(str(path), ReadReport(), from_end=True)
        for number in (3, 4, 5):
            self.rotate(path, lines([number]))
        assert [3, 4, 5] == self.numbers(follower)
        self.append(path, lines([6]))
        assert [6] == self.numbers(follower)

    def test_more_rotations_than_files_are_kept(self, path: Path) -> None:
        """When the file that was being read has been deleted, what is newer and still there comes."""
        Path(f"{path}.1").write_bytes(lines([0]))
        os.utime(f"{path}.1", (0, 0))
        os.utime(path, (1, 1))
        follower = Follower(str(path), ReadReport(), from_end=True)
        for number in (3, 4, 5):
            self.rotate(path, lines([number]))
        Path(f"{path}.3").unlink()
        assert [3, 4, 5] == self.numbers(follower)

    def test_late_writes_to_rotated_file(self, path: Path) -> None:
        """Another process may write to the old file for a moment; after that the file is let go."""
        clock = Steady()
        follower = Follower(str(path), ReadReport(), from_end=True, monotonic=clock)
        self.rotate(path, lines([4]))
        assert [4] == self.numbers(follower)
        self.append(Path(f"{path}.1"), lines([3]))
        assert [3] == self.numbers(follower)
        clock.now_s = GRACE_S
        assert [] == self.numbers(follower)
        self.append(Path(f"{path}.1"), lines([5]))
        assert [] == self.numbers(follower)

    def test_truncation(self, path: Path) -> None:
        """A file that was emptied is read from its beginning."""
        follower = Follower(str(path), ReadReport(), from_end=True)
        path.write_bytes(lines([3]))
        assert [3] == self.numbers(follower)

    def test_creation(self, tmp_path: Path) -> None:
        """A file that does not exist yet is read from its beginning once it does."""
        path = tmp_path / "later" / "x.log"
        follower = Follower(str(path), ReadReport(), from_end=True)
        assert [] == self.numbers(follower)
        path.parent.mkdir()
        path.write_bytes(lines([1]))
        assert [1] == self.numbers(follower)

    def test_creation_and_rotation(self, tmp_path: Path) -> None:
        """Where nothing was there, everything is new, rotated files included."""
        path = tmp_path / "x.log"
        follower = Follower(str(path), ReadReport(), from_end=True)
        path.write_bytes(lines([1]))
        for number in (2, 3):
            self.rotate(path, lines([number]))
        assert [1, 2, 3] == self.numbers(follower)

    def test_between_two_files(self, path: Path) -> None:
        """A live file that is just being replaced is waited for, and its predecessors are not new."""
        self.rotate(path, b"")
        path.unlink()
        follower = Follower(str(path), ReadReport(), from_end=True)
        assert [] == self.numbers(follower)
        path.write_bytes(lines([3]))
        assert [3] == self.numbers(follower)

    def test_number_free_for_a_moment(self, path: Path) -> None:
        """In the middle of a rotation a number may be free; the files behind it are found."""
        follower = Follower(str(path), ReadReport(), from_end=True)
        self.append(path, lines([3]))
        self.rotate(path, lines([4]))
        self.rotate(path, lines([5]))
        for number in (2, 1):
            Path(f"{path}.{number}").rename(f"{path}.{number + 1}")
        assert [3, 4, 5] == self.numbers(follower)

    def test_deletion(self, path: Path) -> None:
        """A file that is deleted and begun anew is followed on, though its predecessors tell nothing."""
        Path(f"{path}.1").write_bytes(lines([0]))
        os.utime(f"{path}.1", (0, 0))
        follower = Follower(str(path), ReadReport(), from_end=True)
        path.unlink()
        assert [] == self.numbers(follower)
        path.write_bytes(lines([3]))
        assert [3] == self.numbers(follower)

    def test_closing(self, path: Path) -> None:
        """Closing lets every file go and counts a line that was never finished."""
        report = ReadReport()
        follower = Follower(str(path), report, from_end=True)
        self.append(path, b"half")
        self.rotate(path, b"")
        assert [] == self.numbers(follower)
        open_before = len(os.listdir("/proc/self/fd"))
        follower.close()
        assert 2 == open_before - len(os.listdir("/proc/self/fd"))
        assert 1 == report.unfinished


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
