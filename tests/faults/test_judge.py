"""The judge itself: each kind of violation, made by hand."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.faults.judge import Line, accounted, caught, delivered, log_files, ordered, parsed, read_lines


@dataclass
class Dead:
    """A writer that owes three records."""

    name: str = "w0"
    killed: bool = False
    status: int | None = 0
    threads: int = 1
    owed: list[int] = field(default_factory=lambda: [3])
    account: dict[str, Any] = field(
        default_factory=lambda: {"accepted": 3, "delivered": 3, "dropped": {}, "pending": 0}
    )

    def accounts(self) -> Mapping[str, Mapping[str, Any]] | None:
        """Return its only account."""
        return {"file": self.account}


def event(n: int, seq: int | None = None, who: str = "w0.0") -> bytes:
    """Return a line as a writer writes it."""
    fields = {"event_type": "x", "writer": who[:2], "seq": n + 1 if seq is None else seq, "who": who, "n": n}
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def lines(directory: Path, *content: bytes) -> list[Line]:
    """Return the lines of a file of this content."""
    path = directory / "x.log"
    path.write_bytes(b"".join(content))
    return list(read_lines(path))


class TestDelivered:
    @pytest.mark.parametrize(
        ("numbers", "letters"),
        [([0, 1, 2], ""), ([0, 1, 2, 3], ""), ([0, 2], "O"), ([0, 1, 1, 2], "D"), ([0, 1, 2, 7], "D")],
    )
    def test_what_is_owed_is_there_once(self, tmp_path: Path, numbers: list[int], letters: str) -> None:
        """A missing record is O, one that is twice there or was never logged D; the one in the making may be there."""
        found = delivered(lines(tmp_path, *map(event, numbers)), [Dead()], {})
        assert letters == "".join(sorted({violation[0] for violation in found}))

    def test_an_identity_is_used_once(self, tmp_path: Path) -> None:
        """Two records with one writer and seq are D."""
        assert caught(delivered(lines(tmp_path, event(0), event(1, seq=1), event(2)), [Dead()], {}), "D")

    def test_some_are_not_owed(self, tmp_path: Path) -> None:
        """Records before the first one owed may be missing."""
        assert [] == delivered(lines(tmp_path, event(2)), [Dead()], {"w0": [2]})


class TestParsed:
    def test_bad_lines_are_counted(self, tmp_path: Path) -> None:
        """A half line, two lines in one and a last line without its end are bad; an empty line is none."""
        bad = lines(tmp_path, event(0)[:20] + b"\n", event(0)[:-1] + event(1), b"\n", event(2)[:-1])
        assert ([], True) == (parsed(bad, 3), caught(parsed(bad, 2), "P"))

    @pytest.mark.parametrize(("n", "letters"), [(3, ""), (2, "P")])
    def test_a_kill_excuses_the_line_in_the_making(self, tmp_path: Path, n: int, letters: str) -> None:
        """A killed writer may leave half of the record that it was writing, and not of one that it has logged."""
        torn = lines(tmp_path, event(n)[:-2] + b',"pad":"xx' + event(0, who="w1.0"))
        assert letters == "".join(violation[0] for violation in parsed(torn, 0, [Dead(killed=True)]))

    def test_a_kill_excuses_one_line(self, tmp_path: Path) -> None:
        """Of lines that end before their name only as many are excused as threads were killed."""
        torn = lines(tmp_path, b'{"ev\n', b'{"event_ty\n')
        assert caught(parsed(torn, 0, [Dead(killed=True)]), "P")


class TestOrdered:
    def test_numbers_rise(self, tmp_path: Path) -> None:
        """A record behind a later one of its thread is S, and so is one behind a later one of its writer."""
        by_number = ordered(lines(tmp_path, event(1, seq=1), event(0, seq=2)), [Dead()])
        by_seq = ordered(lines(tmp_path, event(0, seq=2), event(1, seq=1)), [Dead()])
        threads = ordered(lines(tmp_path, event(0, seq=2), event(1, seq=1)), [Dead(threads=2)])
        assert (True, True, []) == (caught(by_number, "S"), caught(by_seq, "S"), threads)


class TestAccounted:
    @pytest.mark.parametrize(
        ("changed", "lossless"),
        [({"delivered": 2}, False), ({"accepted": 2, "delivered": 2}, False), ({"delivered": 2, "pending": 1}, True)],
    )
    def test_accounts_add_up(self, changed: dict[str, int], lossless: bool) -> None:
        """What does not add up, counts less than was logged, or is not all delivered where it has to be, is C."""
        writer = Dead()
        writer.account.update(changed)
        assert ([], True) == (accounted(Dead(), True), caught(accounted(writer, lossless), "C"))


class TestFiles:
    def test_hidden_files_are_no_part_of_the_log(self, tmp_path: Path) -> None:
        """The files of a log are the numbered ones, compressed or not, and the live one, the oldest first."""
        for name in (
            "x.log",
            "x.log.2",
            "x.log.10.gz",
            "x.log.1",
            ".x.log.rotation",
            ".x.log.0123456789ab.old",
            "y.log",
        ):
            (tmp_path / name).touch()
        assert ["x.log.10.gz", "x.log.2", "x.log.1", "x.log"] == [path.name for path in log_files(tmp_path / "x.log")]
