"""What the chain and the rotating file cost by themselves: one event, rendered and appended, with nothing in between.

structllm's file may be written by any number of processes, as may concurrent-log-handler's; the standard library's may
not. The peers write the very events that structllm wrote, ready made.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.peers import (
    ENVELOPE,
    MAX_BYTES,
    concurrent_handler,
    floor,
    read,
    repeat,
    rotating_handler,
    through_logging,
)
from benchmarks.racing import Race, Target, Variant
from structllm._delivery import DirectDelivery
from structllm._emitter import Emitter
from structllm._event_logger import EventLogger
from structllm._fanout import Route
from structllm._sources import random_id
from structllm.processors.render import Render
from structllm.sinks.file import FileSink
from structllm.sinks.integrity import Integrity

BLOCK = 20
SEAL = {"sink_seq", "hash"}
FIELDS: Mapping[str, Any] = {
    "request_id": "req_67890def01234567",
    "success": True,
    "response_time_ms": 1523.4,
    "token_usage": {"prompt_tokens": 612, "completion_tokens": 181, "total_tokens": 793},
    "cost_estimate_usd": 0.0002004,
    "response_preview": "Momentum holds while the trend is intact, so the position stays as it is. " * 11,
    "outcome": "ok",
    "model": "gpt-4o-mini",
    "provider": "openai",
    "response_length": 814,
}


def emit(path: Path, closing: ExitStack, integrity: Integrity = "none") -> Variant:
    """An emitter without processors, and a file sink as the settings build it."""
    sink = FileSink(path, max_bytes=MAX_BYTES, backup_count=5, integrity=integrity)
    closing.callback(sink.close)
    emitter = Emitter(
        render=Render(append_newline=True),
        routes=[Route("file", DirectDelivery(sink))],
        session_id="abc12345",
        least_level="INFO",
        service=None,
        ids=random_id,
    )
    log = EventLogger(emitter, [], {})
    name = "structllm" if integrity == "none" else f"structllm, {integrity}"
    return Variant(name, repeat(lambda: log.emit("completion_response", "INFO", FIELDS)))


class TestDirect:
    """One event from the emitter to the file."""

    def test_an_event(self, race: Callable[[Race], Race], tmp_path: Path, closing: ExitStack) -> None:
        """Every variant writes every event, whole and once; then what each costs."""
        emit(tmp_path / "example.log", closing).run(1)
        events = read(tmp_path / "example.log")
        names = ("floor", "standard library", "concurrent-log-handler", "structllm", "structllm, chain")
        paths = {name: tmp_path / f"{name}.log" for name in names}
        variants = [
            floor(paths["floor"], events, closing),
            through_logging("standard library", rotating_handler(paths["standard library"]), events, closing),
            through_logging(
                "concurrent-log-handler", concurrent_handler(paths["concurrent-log-handler"]), events, closing
            ),
            emit(paths["structllm"], closing),
            emit(paths["structllm, chain"], closing, "chain"),
        ]
        for variant in variants:
            variant.run(1)
            (written,) = read(paths[variant.name])
            changing = {"timestamp", "seq", "writer"}
            assert {name: written[name] for name in written if name not in changing | SEAL} == {
                name: events[0][name] for name in events[0] if name not in changing
            }
            assert set(ENVELOPE) <= written.keys()
        targets = [Target("structllm", "floor", 2.0), Target("structllm, chain", "structllm", 1.5)]
        done = race(Race("chain and rotating file alone", variants, BLOCK, targets))
        for name in names:
            assert done.repetitions + 1 == len(read(paths[name])), name
