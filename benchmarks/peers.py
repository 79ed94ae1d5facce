"""What structllm is compared with: the floor, and handlers of the standard library's logging."""

import json
import logging
import logging.handlers
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from benchmarks.floor import Floor
from benchmarks.racing import Variant

ENVELOPE = ("event_type", "timestamp", "session_id", "level", "schema_version", "writer", "seq")
MAX_BYTES = 52_428_800


def repeat(action: Callable[[], None]) -> Callable[[int], None]:
    """Run an action a number of times."""

    def run(count: int) -> None:
        for _ in range(count):
            action()

    return run


def read(path: Path) -> list[dict[str, Any]]:
    """Every line of a file, each of which has to be a JSON object."""
    lines = path.read_bytes().split(b"\n")
    assert b"" == lines.pop(), "the last line is torn"
    return [orjson.loads(line) for line in lines]


def floor(path: Path, events: list[dict[str, Any]], closing: ExitStack) -> Variant:
    """The floor, writing these events: the envelope is its context, the rest its fields."""
    writers = []
    for event in events:
        envelope = {key: event[key] for key in ENVELOPE}
        writer = Floor(path, envelope)
        closing.callback(writer.close)
        writers.append((writer, {key: value for key, value in event.items() if key not in ENVELOPE}))

    def write() -> None:
        for writer, fields in writers:
            writer.write(fields)

    return Variant("floor", repeat(write))


def rotating_handler(path: Path) -> logging.Handler:
    """The standard library's rotating file, which loses lines where several processes write it."""
    return logging.handlers.RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=5, encoding="utf-8")


def concurrent_handler(path: Path) -> logging.Handler:
    """concurrent-log-handler's, which is made for several processes and takes a file lock for every line."""
    from concurrent_log_handler import ConcurrentRotatingFileHandler

    return ConcurrentRotatingFileHandler(str(path), maxBytes=MAX_BYTES, backupCount=5, encoding="utf-8")


def through_logging(name: str, handler: logging.Handler, events: list[dict[str, Any]], closing: ExitStack) -> Variant:
    """Write these events with logging and json.dumps."""
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger(f"structllm.benchmark.{name}")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    closing.callback(handler.close)
    closing.callback(logger.removeHandler, handler)

    def write() -> None:
        for event in events:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            logger.info(json.dumps({**event, "timestamp": now}, separators=(",", ":"), ensure_ascii=False))

    return Variant(name, repeat(write))
