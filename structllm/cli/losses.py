"""What sinks dropped, as the events themselves tell: `log_gap`, and the counts in `performance_metrics`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from structllm.figures import counted, format_time, mapping, number

Range = tuple[int, int]


@dataclass(slots=True)
class Drops:
    """What one sink of one writer dropped.

    Attributes:
        told: Records by reason, summed over the `log_gap` events, each of which tells of its own gap alone.
        measured: The highest count by reason in `performance_metrics`, which counts from the writer's beginning.
        total: The highest count of all records in a `log_gap`, which counts from the writer's beginning.
        first: When the first record of a told gap was logged.
        last: When the last one was.
    """

    told: Counter[str] = field(default_factory=Counter[str])
    measured: Counter[str] = field(default_factory=Counter[str])
    total: int = 0
    first: str = ""
    last: str = ""

    @property
    def count(self) -> int:
        """How many records: each account may lack what the other one has, and none counts a record twice."""
        return max(self.total or self.told.total(), self.measured.total())

    def add_gap(self, event: Mapping[str, Any]) -> None:
        """Take a `log_gap`."""
        for reason, count in mapping(event.get("dropped")).items():
            self.told[str(reason)] += _count(count)
        self.total = max(self.total, _count(event.get("dropped_total")))
        first, last = _text(event.get("first_dropped_at")), _text(event.get("last_dropped_at"))
        self.first = min(filter(None, (self.first, first)), default="")
        self.last = max(self.last, last)

    def sentence(self, sink: str) -> str:
        """Return what was dropped, why and when."""
        reasons = self.told | self.measured
        exact = len(reasons) > 1 and reasons.total() == self.count
        why = ", ".join(f"{reason} {count:,}" if exact else reason for reason, count in reasons.most_common() if count)
        when = f" between {format_time(self.first)} and {format_time(self.last)}" if self.first and self.last else ""
        return f"sink {sink!r} dropped {counted(self.count, 'record')}{f' ({why})' if why else ''}{when}"


class Losses:
    """Folds the events that tell of drops."""

    def __init__(self) -> None:
        self._drops: dict[tuple[str, str], Drops] = {}
        self._ranges: dict[str, list[Range]] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Take an event."""
        writer = _text(event.get("writer"))
        if event["event_type"] == "log_gap":
            self._of(writer, _text(event.get("sink"))).add_gap(event)
            first, last = event.get("first_seq"), event.get("last_seq")
            if type(first) is int and type(last) is int and first <= last:
                _add_range(self._ranges.setdefault(writer, []), (first, last))
        elif event["event_type"] == "performance_metrics":
            for name, count in mapping(event.get("dropped")).items():
                sink, _, reason = str(name).rpartition(":")
                if _count(count):
                    measured = self._of(writer, sink).measured
                    measured[reason] = max(measured[reason], _count(count))

    def sentences(self) -> Iterator[tuple[str, str]]:
        """Yield each writer that dropped something, and what."""
        for (writer, sink), drops in sorted(self._drops.items()):
            if drops.count:
                yield writer, drops.sentence(sink)

    def unexplained(self, writer: str, missing: Iterable[Range]) -> list[Range]:
        """Return the missing numbers of a writer that no `log_gap` tells of, as first and last of each row."""
        rest = list(missing)
        for first, last in self._ranges.get(writer, []):
            rest = [piece for row in rest for piece in _without(row, first, last)]
        return rest

    def _of(self, writer: str, sink: str) -> Drops:
        return self._drops.setdefault((writer, sink), Drops())


def _add_range(ranges: list[Range], new: Range) -> None:
    """Add a range, joined with the last one where they touch, as those of a long trouble do."""
    if ranges and new[0] <= ranges[-1][1] + 1 and ranges[-1][0] <= new[1] + 1:
        new = min(new[0], ranges[-1][0]), max(new[1], ranges[-1][1])
        ranges.pop()
    ranges.append(new)


def _without(row: Range, first: int, last: int) -> Iterator[Range]:
    if row[0] < first:
        yield row[0], min(row[1], first - 1)
    if row[1] > last:
        yield max(row[0], last + 1), row[1]


def _count(value: object) -> int:
    return max(0, int(number(value) or 0))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
