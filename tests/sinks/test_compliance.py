"""Every sink of the package keeps the contract, and the check of the contract finds those that do not."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from structllm._types import Record
from structllm.errors import SinkUnavailable
from structllm.sinks.file import FileSink
from structllm.sinks.memory import MemorySink
from structllm.sinks.stdout import StdoutSink
from structllm.testing import FaultySink, FrozenClock, check_sink


class TestOurSinks:
    def test_file(self, tmp_path: Path) -> None:
        """The file sink keeps the contract."""
        path = tmp_path / "logs" / "a.log"
        check_sink(lambda: FileSink(path), path.read_bytes)

    def test_file_across_rotations(self, tmp_path: Path) -> None:
        """Rotated files read oldest first are the same stream of lines."""

        def read() -> bytes:
            files = sorted(tmp_path.glob("a.log.*"), key=lambda path: -int(path.suffix[1:]))
            return b"".join(path.read_bytes() for path in [*files, tmp_path / "a.log"])

        check_sink(lambda: FileSink(tmp_path / "a.log", max_bytes=1024, backup_count=100), read)

    def test_memory(self) -> None:
        """The memory sink keeps the contract."""
        sink = MemorySink()
        check_sink(lambda: sink, lambda: b"".join(record.line for record in sink.records))

    def test_stdout(self, capfd: pytest.CaptureFixture[str]) -> None:
        """The stdout sink keeps the contract."""
        seen: list[str] = []

        def read() -> bytes:
            seen.append(capfd.readouterr().out)
            return "".join(seen).encode()

        check_sink(StdoutSink, read)


class Forgetful(MemorySink):
    """Loses the last record of a batch."""

    def write(self, batch: Sequence[Record], /) -> None:
        super().write(batch[:-1])


class Liar(MemorySink):
    """Says that it did not flush."""

    def flush(self, timeout_s: float, /) -> bool:
        return False


class TestTheCheck:
    @pytest.mark.parametrize(("kind", "rule"), [(Forgetful, "every record arrives"), (Liar, "flush returns True")])
    def test_finds_a_sink_that_breaks_a_rule(self, kind: type[MemorySink], rule: str) -> None:
        """A sink that loses records or cannot flush does not pass."""
        sink = kind()
        with pytest.raises(AssertionError, match=rule):
            check_sink(lambda: sink, lambda: b"".join(record.line for record in sink.records))

    def test_finds_what_is_no_sink(self) -> None:
        """An object without the three methods does not pass."""
        with pytest.raises(AssertionError, match="a sink has"):
            check_sink(object, lambda: b"")  # type: ignore[arg-type, return-value]  # that is the point


class TestDoubles:
    def test_faulty_sink_raises_while_told_to(self) -> None:
        """The faulty sink fails on demand and works otherwise."""
        sink = FaultySink(SinkUnavailable("gone"))
        for action in (lambda: sink.write([]), lambda: sink.flush(1.0), sink.close):
            with pytest.raises(SinkUnavailable):
                action()
        sink.error = None
        assert (sink.write([]), sink.flush(1.0), sink.close(), sink.closed) == (None, True, None, 2)

    def test_frozen_clock_moves_when_told_to(self) -> None:
        """The clock stands still otherwise."""
        clock = FrozenClock()
        before = clock()
        clock.advance(1.5)
        assert (clock() - before).total_seconds() == 1.5
