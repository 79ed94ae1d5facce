"""Which events of which writer have been read: finds duplicates and losses by (`writer`, `seq`).

Numbers come almost in order, so a writer's numbers are kept as a few intervals instead of one by one.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

MAX_INTERVALS = 100_000
"""Intervals kept per writer; beyond it the lowest half is forgotten, and duplicates of those would be let through."""


class Intervals:
    """A set of whole numbers, stored as sorted intervals that neither overlap nor touch."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, value: int) -> bool:
        """Add a number; return False if it was there."""
        starts, ends = self._starts, self._ends
        if ends and value == ends[-1] + 1:
            ends[-1] = value
            return True
        after = bisect_right(starts, value)  # the interval before this index may hold the value
        if after and value <= ends[after - 1]:
            return False
        joins_before = after > 0 and ends[after - 1] == value - 1
        joins_after = after < len(starts) and starts[after] == value + 1
        if joins_before and joins_after:
            ends[after - 1] = ends[after]
            del starts[after], ends[after]
        elif joins_before:
            ends[after - 1] = value
        elif joins_after:
            starts[after] = value
        else:
            starts.insert(after, value)
            ends.insert(after, value)
            self._forget()
        return True

    def add_all(self, first: int, last: int) -> None:
        """Add the numbers from `first` to `last`, whichever of them are there already."""
        begin, end = bisect_left(self._ends, first - 1), bisect_right(self._starts, last + 1)
        if begin < end:  # what overlaps or touches becomes one with them
            first, last = min(first, self._starts[begin]), max(last, self._ends[end - 1])
        self._starts[begin:end], self._ends[begin:end] = [first], [last]
        self._forget()

    def gaps(self) -> list[tuple[int, int]]:
        """Return the first and last number of every hole between the lowest and the highest number."""
        return [(end + 1, start - 1) for end, start in zip(self._ends, self._starts[1:], strict=False)]

    def __len__(self) -> int:
        return sum(end - start + 1 for start, end in zip(self._starts, self._ends, strict=True))

    def _forget(self) -> None:
        if len(self._starts) > MAX_INTERVALS:
            del self._starts[: MAX_INTERVALS // 2], self._ends[: MAX_INTERVALS // 2]


class Seen:
    """The events read so far. Memory grows with writers and with holes in their numbers, not with events."""

    def __init__(self) -> None:
        self._writers: dict[str, Intervals] = {}

    def add(self, writer: object, seq: object) -> bool:
        """Note an event; return False if it is a duplicate. An event without writer or number is never one."""
        if not isinstance(writer, str) or not isinstance(seq, int) or isinstance(seq, bool):
            return True
        numbers = self._writers.get(writer)
        if numbers is None:
            numbers = self._writers[writer] = Intervals()
        return numbers.add(seq)

    def add_all(self, writer: str, first: int, last: int) -> None:
        """Note the events of a writer from one number to another."""
        self._writers.setdefault(writer, Intervals()).add_all(first, last)

    def gaps(self) -> Iterator[tuple[str, list[tuple[int, int]]]]:
        """Yield every writer with holes in its numbers, and the holes."""
        for writer, numbers in self._writers.items():
            holes = numbers.gaps()
            if holes:
                yield writer, holes
