"""Records kept in memory, for tests and for looking at what would be written.

Destination: a list of this process.
Delivery guarantee: what was written can be read at once.
Durability: none.
Failure modes: none; beyond `max_records` the oldest are forgotten.
Units: records.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

import orjson
from pydantic import Field

from structllm._types import Record
from structllm.sinks.config import SinkConfig


class MemorySinkConfig(SinkConfig):
    """Settings of the memory sink."""

    type: Literal["memory"] = "memory"
    max_records: int = Field(default=10_000, ge=1, description="Records kept; the oldest go first.")

    def build(self) -> "MemorySink":
        """Return an empty sink."""
        return MemorySink(max_records=self.max_records)

    def check(self) -> list[str]:
        """Nothing can go wrong here."""
        return []


class MemorySink:
    """Keeps the newest records.

    Args:
        max_records: Records kept; the oldest go first.

    Attributes:
        records: The records, oldest first.
    """

    def __init__(self, *, max_records: int = 10_000) -> None:
        self.records: deque[Record] = deque(maxlen=max_records)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The records' lines, parsed: what a reader of a file would see."""
        return [orjson.loads(record.line) for record in self.records]

    def write(self, batch: Sequence[Record], /) -> None:
        """Keep the records."""
        self.records.extend(batch)

    def flush(self, timeout_s: float, /) -> bool:
        """Return True: what was written is there."""
        return True

    def close(self) -> None:
        """Keep the records for reading."""
