"""Log files as they are on disk: found, unpacked, read forwards and backwards, and followed."""

import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from structllm import backward
from structllm.backward import read_last
from structllm.segment import MAX_LINE_BYTES, BadLine, Log, ReadReport, find_logs, log_at, read, reading
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
        find = find_logs

        def find_then_rotate(paths: Iterable[str | os.PathLike[str]]) -> list[Log]:
            logs = find(paths)
            os.rename(tmp_path / "x.log.1", tmp_path / "x.log.2")
            os.rename(path, tmp_path / "x.log.1")
            path.write_bytes(lines([3]))
            return logs

        monkeypatch.setattr(reading, "find_logs", find_then_rotate)
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
    def test_bomb(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
        """A file that expands beyond all reason is left, having cost no more than a chunk of memory."""
        pack = zstandard.ZstdCompressor().compressobj() if suffix == "zst" else None
        path = tmp_path / f"x.log.{suffix}"
        zeros = bytes(1 << 20)
        with gzip.open(path, "wb") if pack is None else path.open("wb") as file:
            for _ in range(100):
                file.write(zeros if pack is None else pack.compress(zeros))
            if pack is not None:
                file.write(pack.flush())
        if pack is None:  # which packs no better than this, so that its size is what stops it
            monkeypatch.setenv("STRUCTLLM_MAX_UNPACKED_BYTES", str(50 << 20))
            reason = "it holds more than 52,428,800 bytes when unpacked; STRUCTLLM_MAX_UNPACKED_BYTES allows more"
        else:
            reason = "it expands more than 2000 times, as no log does"
        report = ReadReport()
        assert [] == numbers_of([path], report)
        assert [(str(path), reason)] == report.unreadable

    def test_packed_twin(self, tmp_path: Path) -> None:
        """Where a file was just compressed and is still there, its events come once, also those without number."""
        content = line(1, writer=None) + line(2, writer=None)
        (tmp_path / "x.log.1").write_bytes(content)
        (tmp_path / "x.log.1.gz").write_bytes(gzip.compress(content))
        (tmp_path / "x.log").write_bytes(line(3, writer=None))
        assert [1, 2, 3] == numbers_of([tmp_path / "x.log"])
        assert [1, 2, 3] == [entry.event["seq"] for entry in read_last([tmp_path], 9, lambda _: True, ReadReport())]

    def test_packed_file_that_is_another(self, tmp_path: Path) -> None:
        """A compressed file with the same number and another content is read."""
        (tmp_path / "x.log.1").write_bytes(line(1, writer=None) + line(3, writer=None))
        (tmp_path / "x.log.1.gz").write_bytes(gzip.compress(line(1, writer=None)))
        (tmp_path / "x.log").touch()
        assert [1, 1, 3] == numbers_of([tmp_path / "x.log"])

    def test_gaps_between_numbers(self, tmp_path: Path) -> None:
        """Numbers may be missing, and may be so high that trying them all would never end."""
        for number in (3, 700, 20240115, 999_999_999):
            (tmp_path / f"x.log.{number}").write_bytes(lines([999_999_999 - number]))
        (tmp_path / "x.log").write_bytes(lines([10**9]))
        assert [0, 979759884, 999999299, 999999996, 10**9] == numbers_of([tmp_path / "x.log"])
        assert len(list(log_at(str(tmp_path / "x.log")).newest_first())) < 200

    def test_directory_and_pipe_among_the_rotated(self, tmp_path: Path) -> None:
        """What is called like a rotated file and is none is passed by, and a pipe does not hold up the reading."""
        (tmp_path / "x.log").write_bytes(lines([1]))
        (tmp_path / "x.log.1").mkdir()
        os.mkfifo(tmp_path / "x.log.2.gz")
        (log,) = find_logs([tmp_path / "x.log"])
        assert (str(tmp_path / "x.log"),) == log.files

    @pytest.mark.parametrize(
        ("content", "found", "bad"),
        [
            (b"\xef\xbb\xbf" + lines([1, 2]), [1, 2], []),
            (lines([1, 2]).replace(b"\n", b"\r\n"), [1, 2], []),
            (lines([1]) + b"\0" * 4096 + line(2).replace(b'": "', b'":"', 1), [1, 2], [len(line(1))]),
            (b"\0" * 4096, [], []),
            (lines([1]).decode().encode("utf-16") + b"\n\0", [], [0, 2 * len(line(1)) + 1]),
            (b"\n" * 5000 + lines([1]), [1], []),
            (b"", [], []),
            (b"[" * 100_000 + b"\n" + lines([1]), [1], [0]),
        ],
        ids=["byte order mark", "crlf", "nul block", "only nul", "utf-16", "empty lines", "empty", "deep"],
    )
    def test_strange_content(self, tmp_path: Path, content: bytes, found: list[int], bad: list[int]) -> None:
        """Whatever is in a file, its events are found, and what is none is named by its offset; from both ends."""
        (tmp_path / "x.log").write_bytes(content)
        report, backwards = ReadReport(), ReadReport()
        assert found == numbers_of([tmp_path / "x.log"], report)
        last = read_last([tmp_path / "x.log"], 9, lambda _: True, backwards)
        assert found == [entry.event["seq"] for entry in last]
        assert bad == [place.offset_bytes for place in report.first_bad]
        assert bad == sorted(place.offset_bytes for place in backwards.first_bad)

    def test_unreadable(self, tmp_path: Path) -> None:
        """A file that cannot be opened is named, and the others are read."""
        (tmp_path / "x.log").write_bytes(lines([1]))
        (tmp_path / "x.log.1").symlink_to("x.log.1")
        report = ReadReport()
        assert [1] == numbers_of([tmp_path / "x.log"], report)
        assert str(tmp_path / "x.log.1") == report.unreadable[0][0]


MEASURE = """
import resource, sys
from structllm.backward import read_last
from structllm.segment import ReadReport, read

resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
report = ReadReport()
if sys.argv[1] == "last":
    count = len(read_last(sys.argv[2:], 5, lambda event: True, report))
else:
    count = sum(1 for _ in read(sys.argv[2:], report))
print(count, report.bad_lines, len(report.unreadable), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def measure(*arguments: object) -> list[int]:
    """Read in a process of its own; return events, bad lines, unreadable files and the most memory held, in KiB."""
    command = [sys.executable, "-c", MEASURE, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [int(number) for number in done.stdout.split()]


class TestLimits:
    """Memory and open files do not grow with the log."""

    _SLACK_KIB = 16 * 1024

    def test_memory(self, tmp_path: Path) -> None:
        """A file ten times as large takes no more memory."""
        held: list[int] = []
        for name, size in (("small.log", 20), ("large.log", 200)):
            block = b"".join(line(number, writer="w", text="x" * 10_000) for number in range(size))
            with (tmp_path / name).open("wb") as file:
                for _ in range(100):
                    file.write(block.replace(b'"w"', b'"%d"' % _))
            events, bad, unreadable, rss = measure("all", tmp_path / name)
            assert (100 * size, 0, 0) == (events, bad, unreadable)
            held.append(rss)
        assert held[1] - held[0] < self._SLACK_KIB

    @pytest.mark.parametrize("how", ["all", "last"])
    @pytest.mark.parametrize("end", [b"", b"\n"])
    def test_one_endless_line(self, tmp_path: Path, how: str, end: bytes) -> None:
        """A gigabyte without a newline is at most one bad line, and never held in memory."""
        (tmp_path / "small.log").write_bytes(lines([1]))
        path = tmp_path / "x.log"
        path.write_bytes(lines([1]))
        os.truncate(path, 2**30)
        with path.open("ab") as file:
            file.write(end)
        _, _, _, small = measure(how, tmp_path / "small.log")
        events, bad, unreadable, held = measure(how, path)
        assert (1, 1 if end else 0, 0) == (events, bad, unreadable)
        assert held - small < 2 * MAX_LINE_BYTES // 1024 + self._SLACK_KIB

    @pytest.mark.parametrize("suffix", ["", ".zst"])
    def test_a_thousand_files(self, tmp_path: Path, suffix: str) -> None:
        """A log of more files than a process may open is read whole, and named file by file as well."""
        pack = zstandard.ZstdCompressor()
        for number in range(1, 1001):
            content = lines([1000 - number])
            packed = pack.compress(content) if suffix else content
            (tmp_path / f"x.log.{number}{suffix}").write_bytes(packed)
        (tmp_path / "x.log").write_bytes(lines([1000]))
        assert [1001, 0, 0] == measure("all", tmp_path / "x.log")[:3]
        assert [1000, 0, 0] == measure("all", *tmp_path.glob("x.log.*"))[:3]
        assert [5, 0, 0] == measure("last", tmp_path / "x.log")[:3]


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

    @given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)) | st.integers(1, 60), max_size=40))
    @settings(max_examples=200)
    def test_ranges_are_as_good_as_numbers(self, values: list[tuple[int, int] | int]) -> None:
        """Adding a range is adding each of its numbers, among what is there already."""
        intervals, known = Intervals(), set[int]()
        for value in values:
            if isinstance(value, int):
                assert (value not in known) == intervals.add(value)
                known.add(value)
            else:
                first, more = value
                intervals.add_all(first, first + more)
                known.update(range(first, first + more + 1))
        assert len(known) == len(intervals)
        assert len(intervals.gaps()) == max(0, sum(number - 1 not in known for number in known) - 1)
        assert [number for number in range(1, 80) if intervals.add(number)] == sorted(set(range(1, 80)) - known)

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
