"""For tests of code that uses structllm, and of sinks that others write.

`check_sink` holds a sink to the contract that the logger relies on. Run it in your own test suite:

    def test_my_sink(tmp_path):
        path = tmp_path / "x.log"
        check_sink(lambda: MySink(path), path.read_bytes)
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import orjson

from structllm._types import Record, Sink


class FrozenClock:
    """A clock that stands still until it is moved; give it to `create_llm_logger(clock=…)`.

    Args:
        now: Where it stands at first (aware); default: 2026-01-15 10:30:45 UTC.
    """

    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime(2026, 1, 15, 10, 30, 45, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return where the clock stands."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock on."""
        self.now += timedelta(seconds=seconds)


class FaultySink:
    """A sink that raises `error` while it is set, and keeps what it took otherwise."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.records: list[Record] = []
        self.closed = 0

    def write(self, batch: Sequence[Record], /) -> None:
        """Raise the error, or keep the records."""
        self._raise()
        self.records.extend(batch)

    def flush(self, timeout_s: float, /) -> bool:
        """Raise the error, or return True."""
        self._raise()
        return True

    def close(self) -> None:
        """Count the call, then raise the error if there is one."""
        self.closed += 1
        self._raise()

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error


def sample_records(count: int) -> list[Record]:
    """Return records with distinct lines, of which some are long and some hold characters beyond ASCII."""
    records: list[Record] = []
    for number in range(count):
        event = {"event_type": "run", "level": "INFO", "seq": number + 1, "name": "é" * (number % 7) * 1000}
        records.append(Record("run", 20, orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE), event))
    return records


def check_sink(make: Callable[[], Sink], read: Callable[[], bytes]) -> None:
    """Hold a sink to the contract; raise AssertionError with the rule that it breaks.

    Args:
        make: Returns a new sink on the destination; it is called twice, one after the other.
        read: Returns everything at the destination, oldest first.
    """
    records = sample_records(20)
    expected = b"".join(record.line for record in records)
    sink = make()
    assert isinstance(sink, Sink), "a sink has write(batch), flush(timeout_s) and close()"
    sink.write([])
    sink.write(records[:1])
    sink.write(records[1:10])
    assert sink.flush(5.0) is True, "flush returns True once everything written is at its destination"
    assert read() == b"".join(record.line for record in records[:10]), "every record arrives once, in order, unchanged"
    sink.close()
    sink.close()
    again = make()
    again.write(records[10:])
    again.close()
    assert read() == expected, "a second sink on the same destination adds to what is there"
