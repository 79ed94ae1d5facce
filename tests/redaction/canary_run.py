"""Plants secrets in a process of its own, whose outputs are looked at from outside.

`python -m tests.redaction.canary_run DIRECTORY SEED NAME...` writes to `DIRECTORY/NAME/` everything that came out, and
what was planted to `DIRECTORY/NAME.planted`. The names: `clean` is
everything as it is; the others each spoil one thing.
"""

import asyncio
import io
import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import structllm
from structllm import LLMSettings, MemorySink, _fields
from structllm._emitter import Emitter
from structllm.processors import normalise
from structllm.processors.redact import Redact
from structllm.redaction.known import redact_value
from tests.redaction import (
    client_positions,
    completion_positions,
    failing_positions,
    field_positions,
    framework_positions,
    positions,
)
from tests.redaction.canaries import DENIED_NAME, ENVIRONMENT, GIVEN, KINDS, NAMED, REGISTERED, Canaries, Kind
from tests.redaction.planting import POSITIONS, Position, plant_all
from tests.wire import Failure, Reply, Text, Wire

ENTRIES = (client_positions, completion_positions, positions, field_positions, framework_positions, failing_positions)
"""The modules whose import registers positions."""

VARIABLE = "CANARY_BROKER_SECRET"
SAMPLE = tuple(kind for kind in KINDS if kind.name in ("stripe-key", "password"))

_redact = Redact.__call__


class Echo(Wire):
    """A provider that answers what it was asked, or fails with it."""

    def _next(self, body: dict[str, Any]) -> Reply:
        question = str(body["messages"][-1]["content"])
        said = question.partition(": ")[2]
        return Failure(400, f"Cannot do {said}") if question.startswith("fail: ") else Text(said or "All quiet.")


def without_rationale(self: Redact, logger: Any, method_name: str, event_dict: Any) -> Any:
    """Redact all but one field."""
    kept = event_dict.pop("rationale", None)
    event = _redact(self, logger, method_name, event_dict)
    return event if kept is None else {**event, "rationale": kept}


def cut_before(self: Redact, logger: Any, method_name: str, event_dict: Any) -> Any:
    """Cut first and redact then."""
    for name, limit in (("prompt_preview", 500), ("response_preview", 1000)):
        if isinstance(event_dict.get(name), str):
            event_dict[name] = event_dict[name][:limit]
    return _redact(self, logger, method_name, event_dict)


def with_text(self: Emitter, name: str, error: Exception) -> None:
    """Say on stderr what an error says."""
    print(f"structllm: {name}: {error}", file=sys.stderr)


def with_locals(error: BaseException) -> str:
    """Return an error as a debugger shows it."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


class Run(NamedTuple):
    """One run.

    Attributes:
        kinds: What is planted.
        spoil: What is put in the place of our own code: object, name, replacement.
        entries: Entry points; none means all.
        enabled: Whether redaction is on.
    """

    kinds: Sequence[Kind] = SAMPLE
    spoil: Sequence[tuple[Any, str, Callable[..., Any]]] = ()
    entries: frozenset[str] = frozenset()
    enabled: bool = True

    def positions(self) -> list[Position]:
        """Return where secrets are planted."""
        return [place for place in POSITIONS if not self.entries or place.entry in self.entries]


LOGGER = frozenset({positions.LOGGER})
RUNS = {
    "clean": Run(kinds=(*KINDS, *NAMED, *GIVEN)),
    "not redacted": Run(enabled=False),
    "field left out": Run(
        spoil=[(Redact, "__call__", without_rationale)], entries=LOGGER | {framework_positions.AGENT}
    ),
    "cut first": Run(spoil=[(Redact, "__call__", cut_before)], entries=LOGGER),
    "text of errors on stderr": Run(
        spoil=[(Emitter, "count_error", with_text)], entries=frozenset({failing_positions.FAILURES})
    ),
    "local variables": Run(spoil=[(_fields, "error_message", with_locals)], entries=LOGGER, enabled=False),
    "any id": Run(
        spoil=[(_fields, "clean_id", normalise.as_text), (normalise, "clean_ids", lambda event: None)], entries=LOGGER
    ),
}


def settings_of(run: Run, directory: Path, memory: MemorySink) -> LLMSettings:
    """Return settings with every kind of sink that needs no network."""
    archive = {"type": "directory", "path": directory / "archive", "spool_dir": directory / "spool"}
    return LLMSettings(
        completion_log_level="DEBUG",
        bind_structlog_contextvars=True,
        redaction={"enabled": run.enabled, "deny_keys": [DENIED_NAME]},
        sinks=[
            memory,
            {
                "type": "file",
                "path": directory / "log" / "app.log",
                "max_bytes": 2_000_000,
                "backup_count": 20,
                "integrity": "chain",
            },
            {"type": "stdout", "format": "console"},
            {**archive, "compression": "gzip", "segment_max_bytes": 1_000_000},
        ],
    )


def perform(run: Run, directory: Path, seed: int) -> Canaries:
    """Plant what a run plants, and write down what can be asked of the logger."""
    canaries, printed, memory = Canaries(seed), io.StringIO(), MemorySink(max_records=100_000)
    os.environ[VARIABLE] = canaries.given[ENVIRONMENT.name]
    redact_value(canaries.given[REGISTERED.name])
    with ExitStack() as spoiled:
        for owner, name, replacement in run.spoil:
            spoiled.enter_context(patch.object(owner, name, replacement))
        logger = structllm.create_llm_logger(settings=settings_of(run, directory, memory))
        with Echo() as wire:
            asyncio.run(plant_all(logger, canaries, run.kinds, wire.url, printed, run.positions()))
        told = [logger.stats(), logger.get_metrics(), logger.log_performance_metrics()]
        if not logger.flush(20.0):
            raise SystemExit("not everything was delivered")
        logger.close()
    (directory / "told.json").write_text(json.dumps([*told, logger.stats()]))
    (directory / "printed").write_text(printed.getvalue())
    (directory / "memory").write_bytes(b"".join(record.line for record in memory.records))
    return canaries


def redirect(directory: Path) -> None:
    """Let what this process prints, warns of and logs go to files."""
    for stream, name in ((sys.stdout, "stdout"), (sys.stderr, "stderr")):
        stream.flush()
        fd = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(fd, stream.fileno())
        os.close(fd)
    logging.basicConfig(filename=directory / "logging", level=logging.INFO, force=True)
    warnings.simplefilter("always")


def main(directory: str, seed: str, *names: str) -> None:
    """Perform the runs one after another."""
    for name in names:
        place = Path(directory) / name
        place.mkdir()
        redirect(place)
        canaries = perform(RUNS[name], place, int(seed))
        (Path(directory) / f"{name}.planted").write_text(canaries.to_json())


if __name__ == "__main__":
    main(*sys.argv[1:])
