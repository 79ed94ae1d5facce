"""What is wrong with the sealed lines of one writer: altered, missing, reordered or inserted ones, and where."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from structllm.chain import Hasher, Sealed, first_link, link

_REMEMBERED = 1024  # of the lines read last of a writer; what a sink writes again is among them
_MOST_AHEAD = 8  # lines that wait for those before them, until those count as missing

PROBLEMS = ("altered", "missing", "reordered", "inserted")
"""Verdicts that prove that somebody, or a fault of the disk, changed the log."""


class Place(NamedTuple):
    """Where a line is: file, and number of the line, from 1."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said of some lines.

    Attributes:
        verdict: `altered`, `missing`, `reordered`, `inserted`; or, what proves nothing, `duplicate`, `unproven`, `bad`.
        text: One sentence.
        place: The first of the lines, or the line where they would be.
        first: The first of their numbers.
        last: The last of their numbers.
        writer: Whose lines.
    """

    verdict: str
    text: str
    place: Place
    first: int | None = None
    last: int | None = None
    writer: str = ""


@dataclass(slots=True)
class _Waiting:
    sealed: Sealed
    place: Place
    came_behind: int


@dataclass(slots=True)
class _Run:
    """Lines in a row that come too late."""

    verdict: str
    place: Place
    first: int
    last: int


@dataclass(slots=True)
class _Gap:
    first: int
    last: int
    place: Place


class Chain:
    """Checks the lines of one writer in one log. Constant memory, but for what is missing.

    One edit is one finding: behind a line that is wrong, the check goes on from the hash that the line claims, or the
    one that it should have.

    Args:
        writer: The writer.
        fresh: The hasher that the log was written with.
        find: Takes a finding. What is missing is told by `finish`.

    Attributes:
        first: The first number; 0 before there is a line.
        last: The last number so far.
        lines: Lines, those that are there again not counted.
        proved: Of which have the right hash.
        begun: Where the first line is.
        end: Where the last line is.
    """

    def __init__(self, writer: str, fresh: Hasher, find: Callable[[Finding], None]) -> None:
        self.writer = writer
        self.first = self.last = self.lines = self.proved = 0
        self.begun: Place | None = None
        self.end: Place | None = None
        self._fresh = fresh
        self._find = find
        self._previous: tuple[bytes, ...] = ()  # what the next line may continue; empty where nobody knows
        self._before: tuple[bytes, ...] = ()  # what the last line might have continued
        self._doubtful: Finding | None = None  # the last line's, which may turn out to be an insertion
        self._waiting: dict[int, _Waiting] = {}
        self._run: _Run | None = None
        self._gaps: list[_Gap] = []
        self._broken = 0  # lines since the last good one that are no sealed ones any more
        self._remembered = array("q", bytes(8 * _REMEMBERED))

    def add(self, sealed: Sealed, place: Place) -> None:
        """Take the next line."""
        if self._settle_doubt(sealed, place):
            return
        if not self.first:
            self._begin(sealed, place)
        elif sealed.seq <= self.last:
            self._late(sealed, place)
        elif sealed.seq == self.last + 1:
            self._end_run()
            self._next(sealed, place)
        else:
            self._end_run()
            self._ahead(sealed, place)
        while self.last + 1 in self._waiting:
            self._take_waiting(self._waiting.pop(self.last + 1))

    def add_broken(self, place: Place) -> None:
        """Take a line that names the writer and is not sealed as it should be."""
        self._broken += 1
        self._found(Finding("altered", f"{place}: this line has no valid sink_seq and hash any more", place))

    def continues(self, body: bytes, seq: int, claimed: bytes) -> bool:
        """Return whether a line with this content would be the next one."""
        return seq == self.last + 1 and any(link(self._fresh, before, body) == claimed for before in self._previous)

    def take_altered(self, sealed: Sealed, place: Place, what: str) -> None:
        """Take what was the next line before its number or writer was changed."""
        text = f"{place}: the {what} was changed, this is sink_seq {self.last + 1}"
        self._found(Finding("altered", text, place, self.last + 1, self.last + 1))
        self._advance(self.last + 1, (sealed.hash,), sealed, place)

    def finish(self) -> None:
        """Tell what waits for no further line."""
        self._settle_doubt()
        self._end_run()
        last = self.last
        for waiting in [self._waiting[seq] for seq in sorted(self._waiting)]:
            if waiting.came_behind == last:
                self._commit(waiting.sealed.seq)
                self._settle_doubt()
            elif waiting.sealed.seq > self.last:
                self._tell("inserted", waiting, "does not belong there")
        self._waiting.clear()
        for gap in self._gaps:
            text = f"{_numbers(gap.first, gap.last)} missing before {gap.place}"
            self._found(Finding("missing", text, gap.place, gap.first, gap.last))
        self._gaps.clear()

    def _found(self, finding: Finding) -> None:
        self._find(replace(finding, writer=self.writer))

    def _begin(self, sealed: Sealed, place: Place) -> None:
        self.first, self.begun = 1, place
        self._previous = (first_link(self.writer),)
        if sealed.seq == 1:
            self._next(sealed, place)
        elif self._was_renumbered(sealed):
            self.take_altered(sealed, place, "sink_seq")
        else:
            self.first, self.last, self._previous = sealed.seq, sealed.seq - 1, ()
            self._next(sealed, place)

    def _next(self, sealed: Sealed, place: Place) -> None:
        """Take the line that has the next number."""
        right = [link(self._fresh, previous, sealed.body) for previous in self._previous]
        self._broken = 0
        before = self._previous
        if sealed.hash in right:
            self.proved += 1
            self._advance(sealed.seq, (sealed.hash,), sealed, place)
        elif right:
            text = f"{place}: sink_seq {sealed.seq} is not what was written"
            self._doubtful = Finding("altered", text, place, sealed.seq, sealed.seq)
            self._advance(sealed.seq, (sealed.hash, right[0]), sealed, place)
        else:
            self._advance(sealed.seq, (sealed.hash,), sealed, place)
        self._before = before

    def _advance(self, seq: int, previous: tuple[bytes, ...], sealed: Sealed, place: Place) -> None:
        self.last, self._previous, self.end = seq, previous, place
        self.lines += 1
        self._remembered[seq % _REMEMBERED] = hash((sealed.body, sealed.hash))

    def _was_renumbered(self, sealed: Sealed) -> bool:
        digits = len(str(sealed.seq))
        return self.continues(sealed.body[:-digits] + str(self.last + 1).encode(), self.last + 1, sealed.hash)

    def _ahead(self, sealed: Sealed, place: Place) -> None:
        """Take a line behind which others should come first: they are missing, or it is not where it belongs."""
        waiting = _Waiting(sealed, place, self.last)
        if self._was_renumbered(sealed):
            self.take_altered(sealed, place, "sink_seq")
        elif sealed.seq in self._waiting:
            self._tell("inserted", waiting, "is there already")
        elif sealed.seq - 1 in self._waiting:
            self._commit(sealed.seq - 1)
            self._next(sealed, place)
        else:
            self._waiting[sealed.seq] = waiting
            if len(self._waiting) > _MOST_AHEAD:
                self._commit(max(self._waiting))

    def _commit(self, last: int) -> None:
        """Take the waiting lines up to this number, for what would come before them is missing."""
        for seq in sorted(seq for seq in self._waiting if seq <= last):
            waiting = self._waiting.pop(seq)
            if seq > self.last + 1:
                # A line that is there and cannot be read any more has been told.
                if seq - self.last - 1 > self._broken:
                    self._gaps.append(_Gap(self.last + 1, seq - 1, waiting.place))
                self.last, self._previous = seq - 1, ()
            self._next(waiting.sealed, waiting.place)

    def _take_waiting(self, waiting: _Waiting) -> None:
        if self._previous and not self.continues(waiting.sealed.body, waiting.sealed.seq, waiting.sealed.hash):
            self._tell("inserted", waiting, "does not belong there")
            return
        self._next(waiting.sealed, waiting.place)
        self._tell("reordered", waiting, f"comes before sink_seq {waiting.sealed.seq - 1}")

    def _tell(self, verdict: str, waiting: _Waiting, what: str) -> None:
        seq = waiting.sealed.seq
        self._found(Finding(verdict, f"{waiting.place}: sink_seq {seq} {what}", waiting.place, seq, seq))

    def _late(self, sealed: Sealed, place: Place) -> None:
        """Take a line whose number has been there, or should have been."""
        seq = sealed.seq
        if self._fill_gap(seq) or seq < self.first:
            self.lines += 1
            self._late_run("reordered", seq, place)
        elif seq <= self.last - _REMEMBERED:
            self._late_run("inserted", seq, place)
        elif self._remembered[seq % _REMEMBERED] == hash((sealed.body, sealed.hash)):
            self._late_run("duplicate", seq, place)
        else:
            self._end_run()
            text = f"{place}: sink_seq {seq} is there already, with other content"
            self._found(Finding("inserted", text, place, seq, seq))

    def _is_the_true_one(self, sealed: Sealed) -> bool:
        """Return whether this is the line in whose place the last one was put."""
        return sealed.seq == self.last and any(
            link(self._fresh, before, sealed.body) == sealed.hash for before in self._before
        )

    def _settle_doubt(self, sealed: Sealed | None = None, place: Place | None = None) -> bool:
        """Tell what is wrong with the last line, now that it is known what follows; return whether this was taken."""
        doubtful, self._doubtful = self._doubtful, None
        if doubtful is None:
            return False
        if sealed is None or place is None or not self._is_the_true_one(sealed):
            self._found(doubtful)
            return False
        self._found(replace(doubtful, verdict="inserted", text=f"{doubtful.text}; that comes in {place}"))
        self.proved += 1
        self.lines -= 1
        self._advance(sealed.seq, (sealed.hash,), sealed, place)
        return True

    def _fill_gap(self, seq: int) -> bool:
        for index, gap in enumerate(self._gaps):
            if gap.first <= seq <= gap.last:
                rest = [_Gap(gap.first, seq - 1, gap.place), _Gap(seq + 1, gap.last, gap.place)]
                self._gaps[index : index + 1] = [part for part in rest if part.first <= part.last]
                return True
        return False

    def _late_run(self, verdict: str, seq: int, place: Place) -> None:
        run = self._run
        if run is not None and run.verdict == verdict and seq == run.last + 1:
            run.last = seq
        else:
            self._end_run()
            self._run = _Run(verdict, place, seq, seq)

    def _end_run(self) -> None:
        """Tell of lines that came too late.

        What a sink writes again is what it wrote last, up to its last line. Other lines were put there.
        """
        run, self._run = self._run, None
        if run is None:
            return
        verdict, numbers = run.verdict, _numbers(run.first, run.last)
        if verdict == "duplicate" and run.last < self.last:
            verdict = "inserted"
        said = {
            "reordered": f"behind sink_seq {self.last}",
            "duplicate": "written again, unchanged",
            "inserted": f"there already, and once more behind sink_seq {self.last}",
        }
        self._found(Finding(verdict, f"{run.place}: {numbers} {said[verdict]}", run.place, run.first, run.last))


def _numbers(first: int, last: int) -> str:
    return f"sink_seq {first}" if first == last else f"sink_seq {first}-{last}"
