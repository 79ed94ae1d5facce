"""The records that wait for a sink: bounded by number and by bytes, with a reserve for decisions."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from structllm._types import Record

_SPARED = "trading_decision"
_RESERVE = 10  # one part in ten of both bounds is kept for decisions


class LineEvent(Mapping[str, Any]):
    """The event of a record, read from its line when somebody asks: a queue must not keep the event itself, whose size
    in memory nobody knows. What the account asks for is kept beside.

    Args:
        record: The record whose line it is.
    """

    __slots__ = ("_fields", "_line", "_seq", "_timestamp")

    def __init__(self, record: Record) -> None:
        self._line = record.line
        self._fields: dict[str, Any] | None = None
        self._seq = record.event.get("seq")
        self._timestamp = record.event.get("timestamp")

    def get(self, key: str, default: Any = None) -> Any:
        """Return a field, without reading the line where it is the number or the time."""
        if key == "seq" and self._seq is not None:
            return self._seq
        if key == "timestamp" and self._timestamp is not None:
            return self._timestamp
        return self._read().get(key, default)

    def __getitem__(self, key: str) -> Any:
        return self._read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def _read(self) -> dict[str, Any]:
        if self._fields is None:
            try:
                parsed = orjson.loads(self._line)
            except orjson.JSONDecodeError:
                parsed = None
            self._fields = parsed if isinstance(parsed, dict) else {}
        return self._fields


class _Lane:
    """Records of one importance, oldest first, each with its place in the whole queue."""

    __slots__ = ("bytes", "records")

    def __init__(self) -> None:
        self.records: deque[tuple[int, Record]] = deque()
        self.bytes = 0

    def append(self, place: int, record: Record) -> None:
        """Add the newest record."""
        size_bytes = len(record.line)  # a signal handler may run at a call, so there is none in between
        self.records.append((place, record))
        self.bytes += size_bytes

    def pop(self) -> Record:
        """Remove and return the oldest record."""
        size_bytes = len(self.records[0][1].line)
        record = self.records.popleft()[1]
        self.bytes -= size_bytes
        return record


class BoundedQueue:
    """Records in the order in which they came. What was taken counts until it is released. Not thread-safe.

    Args:
        max_items: Bound on the records, those taken included.
        max_bytes: Bound on the bytes of their lines.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._ordinary = _Lane()
        self._spared = _Lane()
        self._came = 0
        self._taken_items = 0
        self._taken_bytes = 0

    def __len__(self) -> int:
        return len(self._ordinary.records) + len(self._spared.records)

    @property
    def items(self) -> int:
        """Records that wait or were taken."""
        return len(self) + self._taken_items

    @property
    def bytes(self) -> int:
        """Bytes of the lines that wait or were taken."""
        return self._ordinary.bytes + self._spared.bytes + self._taken_bytes

    def put(self, record: Record) -> bool:
        """Append a record, with its event reduced to its line; return False where there is no room for it."""
        if not self._fits(record, self.items, self.bytes):
            return False
        lane = self._spared if record.event_type == _SPARED else self._ordinary
        self._came += 1
        # A copy: what the renderer returned keeps a buffer several times as large as the line.
        kept = record._replace(line=bytes(memoryview(record.line)))
        lane.append(self._came, kept._replace(event=LineEvent(kept)))
        return True

    def make_room(self, record: Record) -> list[Record]:
        """Remove and return the oldest records that have to go for this one: none where that would not help.

        Ordinary records go first, and decisions for decisions alone.
        """
        lanes = (self._ordinary, self._spared) if record.event_type == _SPARED else (self._ordinary,)
        kept_items = self.items - sum(len(lane.records) for lane in lanes)
        removed: list[Record] = []
        if self._fits(record, kept_items, self.bytes - sum(lane.bytes for lane in lanes)):
            for lane in lanes:
                while lane.records and not self._fits(record, self.items, self.bytes):
                    removed.append(lane.pop())
        return removed

    def take(self, max_items: int, max_bytes: int) -> list[Record]:
        """Remove and return the oldest records, at least one of them; they count as taken until released."""
        batch: list[Record] = []
        size_bytes = 0
        while len(batch) < max_items and (lane := self._older_lane()).records:
            coming_bytes = len(lane.records[0][1].line)
            if batch and size_bytes + coming_bytes > max_bytes:
                break
            batch.append(lane.pop())
            size_bytes += coming_bytes
        self._taken_items += len(batch)
        self._taken_bytes += size_bytes
        return batch

    def release(self, records: Sequence[Record]) -> None:
        """Count records that were taken no longer."""
        self._taken_items -= len(records)
        self._taken_bytes -= sum(len(record.line) for record in records)

    def _older_lane(self) -> _Lane:
        ordinary, spared = self._ordinary.records, self._spared.records
        spared_first = spared and (not ordinary or spared[0][0] < ordinary[0][0])
        return self._spared if spared_first else self._ordinary

    def _fits(self, record: Record, items: int, size_bytes: int) -> bool:
        max_items, max_bytes = self._max_items, self._max_bytes
        if record.event_type != _SPARED:
            max_items -= max_items // _RESERVE
            max_bytes -= max_bytes // _RESERVE
        return items < max_items and size_bytes + len(record.line) <= max_bytes
