"""The memory sink keeps what tests want to look at."""

from structllm._types import Record, Sink
from structllm.sinks.memory import MemorySink, MemorySinkConfig


class TestMemorySink:
    def test_keeps_records_in_order(self) -> None:
        """Records can be read back, parsed, in the order of writing."""
        sink = MemorySink()
        sink.write([Record("x", 20, b'{"n":1}\n', {}), Record("x", 20, b'{"n":2}\n', {})])
        assert sink.events == [{"n": 1}, {"n": 2}]

    def test_forgets_the_oldest(self) -> None:
        """Memory is bounded by max_records."""
        sink = MemorySinkConfig(max_records=2).build()
        for number in range(4):
            sink.write([Record("x", 20, b'{"n":%d}\n' % number, {})])
        assert sink.events == [{"n": 2}, {"n": 3}]

    def test_is_a_sink(self) -> None:
        """It satisfies the Protocol, and what it took can still be read after closing."""
        sink = MemorySink()
        sink.write([Record("x", 20, b"{}\n", {})])
        assert (isinstance(sink, Sink), sink.flush(0.0), sink.close(), sink.events) == (True, True, None, [{}])

    def test_nothing_can_be_wrong_with_it(self) -> None:
        """check() has no complaints."""
        assert MemorySinkConfig().check() == []
