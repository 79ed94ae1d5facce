"""What came of a demo session, told from the files that it wrote: for people, and as numbers for scripts."""

import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from structllm.console import escape, shorten, style
from structllm.demo.session import FAULTS, KEY_NAME, MAX_BYTES, Recording
from structllm.demo.storage import Archived
from structllm.figures import counted
from structllm.query import calls_of
from structllm.totals import Totals

_FAULT_TEXTS = {
    "garbage": "an answer that is no JSON",
    "rate_limit": "a refusal by the provider",
    "slow": "an answer that is too late",
}


def summary(
    recording: Recording, archived: Archived | None, model: str, billed_as: str | None, simulated: bool
) -> dict[str, Any]:
    """Return the numbers of a session, for scripts."""
    totals = Totals()
    for call in calls_of(recording.events, datetime.now(UTC)):
        totals.add(call)
    return {
        "directory": str(recording.directory),
        "files": [str(path) for path in recording.files],
        "session_id": recording.session_id,
        "model": model,
        "simulated": simulated,
        "billed_as": billed_as,
        "events_written": recording.written,
        "events_read": len(recording.events),
        "events_by_type": dict(Counter(event["event_type"] for event in recording.events)),
        "dropped": recording.dropped,
        "redactions": recording.redactions,
        "planted_key_in_files": recording.key_found,
        "completions": totals.calls,
        "failed_completions": totals.errors,
        "total_tokens": totals.total_tokens,
        "priced_usd": float(totals.priced_usd),
        "unpriced_calls": totals.unpriced_calls,
        "actions": dict(Counter(event["action"] for event in _decisions(recording))),
        "archive": None if archived is None else archived._asdict(),
    }


def findings(
    recording: Recording, archived: Archived | None, *, simulated: bool, color: bool, width: int
) -> Iterator[str]:
    """Yield the lines that tell what was planted, what was verified, where the files are, and what to try next."""
    yield style("Planted on purpose, and how it was recorded", "bold", color)
    yield from (f"  {shorten(escape(line), width - 2)}" for line in _planted(recording, simulated))
    yield ""
    yield style("Verified by reading the files back", "bold", color)
    yield f"  {recording.written} events written, {len(recording.events)} read, {recording.dropped} dropped"
    yield f"  {KEY_NAME} planted in 1 prompt, found in {recording.key_found} of {len(recording.files)} files"
    if archived is not None:
        yield f"  {archived.records} events in {counted(archived.segments, 'segment')} of the archive, each once"
    yield ""
    yield style(f"Files, rotated at {MAX_BYTES // 1024} KiB", "bold", color)
    sizes: dict[str, list[int]] = {}
    for path in recording.files:
        sizes.setdefault(str(path.parent), []).append(path.stat().st_size)
    for folder, bytes_of in sizes.items():
        files = "1 file" if len(bytes_of) == 1 else f"{len(bytes_of)} files"
        yield f"  {escape(folder)}/  {files}, {round(sum(bytes_of) / 1024)} KiB"
    yield ""
    yield style("Try next", "bold", color)
    directory = shlex.quote(str(recording.directory))
    yield from (
        f"  {shlex.quote(_program())} {command}"
        for command in (
            f"tail {directory}",
            f"show {recording.key_request['request_id']} {directory}",
            f"cost --by decision {directory}",
            f"errors {directory}",
            *_archive_commands(archived),
        )
    )


def _archive_commands(archived: Archived | None) -> Iterator[str]:
    """Yield what to try with an archive that is still there; a server has ended by then."""
    if archived is not None and "://" not in archived.place:
        yield f"archive ls {shlex.quote(archived.place)}"


def _program() -> str:
    """Return how the command is called here: by its name where a shell finds it, else by the path it was started by."""
    started = sys.argv[0]
    return "structllm" if shutil.which("structllm") or not os.access(started, os.X_OK) else started


def _planted(recording: Recording, simulated: bool) -> Iterator[str]:
    rules = ", ".join(recording.key_request["redactions"]["rules"])
    yield _line(recording.key_request, "a fake API key in the prompt", f"written as [REDACTED:{rules}]")
    decided = {event["request_id"]: event for event in _decisions(recording)}
    for number, fault in FAULTS.items() if simulated else ():
        request = _request_at(recording, number)
        if request is not None:
            decision = decided[request["request_id"]]
            reason = str(decision["validation_result"]).removeprefix("FAILED - ")
            yield _line(request, _FAULT_TEXTS[fault], f"{decision['action']}: {reason}")


def _line(request: Mapping[str, Any], planted: str, recorded: str) -> str:
    return f"call {request['completion_number']:<2}  {planted:<28}  {recorded}"


def _request_at(recording: Recording, number: int) -> Mapping[str, Any] | None:
    requests = (event for event in recording.events if event["event_type"] == "completion_request")
    return next((event for event in requests if event["completion_number"] == number), None)


def _decisions(recording: Recording) -> Iterator[Mapping[str, Any]]:
    return (event for event in recording.events if event["event_type"] == "trading_decision")
