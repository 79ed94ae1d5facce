"""What waits in the spools of archives: read from their directories alone, which are all the state there is."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from structllm.archive.manifest import Manifest, milliseconds
from structllm.archive.names import SUFFIXES, SegmentName, hour_of
from structllm.archive.store import StoreError
from structllm.errors import ConfigError
from structllm.figures import mapping

_FIRST_LINE_BYTES = 256 * 1024
_MOST_REASONS = 5


class Spool(NamedTuple):
    """The spool of one archive.

    Attributes:
        place: The archive; None where the settings do not name it.
        directory: The directory.
        open: Segments that are written to, or were left by a process that was killed.
        sealed: Segments that wait to be stored.
        quarantined: Segments that the archive refused.
        bytes: Size of all of these.
        oldest_age_s: How long the oldest record has been waiting, in seconds; None where nothing waits.
        problems: Why the archive cannot be written at present, and why it refused segments.
    """

    place: str | None
    directory: str
    open: int
    sealed: int
    quarantined: int
    bytes: int
    oldest_age_s: float | None
    problems: Sequence[str]


def spools_of(sinks: Iterable[Any]) -> list[Spool]:
    """Look into the spools of sinks, as their settings name them, and into what lies beside these."""
    now_s = time.time()
    found: list[Spool] = []
    beside: dict[str, None] = {}
    for sink in sinks:
        directory = os.path.abspath(sink.spool)
        beside.update(dict.fromkeys(_directories_in(os.path.dirname(directory))))
        place, problems = _look_at_store(sink)
        found.append(_look(directory, place, problems, now_s))
    known = {spool.directory for spool in found}
    left = (_look(directory, None, [], now_s) for directory in beside if directory not in known)
    return [*found, *(spool for spool in left if spool.open or spool.sealed or spool.quarantined)]


def _look_at_store(sink: Any) -> tuple[str, list[str]]:
    try:
        store = sink.open_store()
        return store.place, list(store.check())
    except (ConfigError, StoreError) as error:
        return str(sink.place), [str(error).removeprefix("structllm: ")]


def _look(directory: str, place: str | None, problems: Sequence[str], now_s: float) -> Spool:
    begun: list[float] = []
    counts: list[int] = []
    size = 0
    for state in ("open", "sealed", "quarantine"):
        files = list(_segments_in(os.path.join(directory, state)))
        counts.append(len(files))
        size += sum(status.st_size for _, _, status in files)
        begun += [_begun_s(name, path, status.st_mtime) for name, path, status in files]
    reasons = list(_reasons(os.path.join(directory, "quarantine")))
    more = [f"and {len(reasons) - _MOST_REASONS:,} more in quarantine"] if len(reasons) > _MOST_REASONS else []
    age_s = max(0.0, now_s - min(begun)) if begun else None
    waiting, sealed, quarantined = counts
    return Spool(
        place, directory, waiting, sealed, quarantined, size, age_s, [*problems, *reasons[:_MOST_REASONS], *more]
    )


def _segments_in(directory: str) -> Iterator[tuple[SegmentName, str, os.stat_result]]:
    for file in _names_in(directory):
        name = SegmentName.parse(file)
        if name is None or not file.endswith((*SUFFIXES.values(),)):
            continue
        path = os.path.join(directory, file)
        try:
            yield name, path, os.stat(path)
        except OSError:  # it has been stored meanwhile
            continue


def _begun_s(name: SegmentName, path: str, written_s: float) -> float:
    """Return when the first record of a segment came, in seconds since the epoch.

    Imported events have times of long ago, so it is no earlier than the hour in its name.
    """
    hour = hour_of(name.partition)
    first_ms = _first_ms(name, path)
    came_s = written_s if first_ms is None else min(written_s, first_ms / 1000)
    return came_s if hour is None else max(came_s, hour.timestamp())


def _first_ms(name: SegmentName, path: str) -> int | None:
    beside = os.path.join(os.path.dirname(path), f"{name.stem}.json")
    try:
        if os.path.exists(beside):
            with open(beside, "rb") as file:
                return Manifest.from_json(file.read()).summary.first_ms
        with open(path, "rb") as file:
            event: object = orjson.loads(file.readline(_FIRST_LINE_BYTES))
            return milliseconds(mapping(event).get("timestamp"))
    except (OSError, ValueError):
        return None


def _reasons(directory: str) -> Iterator[str]:
    for file in _names_in(directory):
        name = SegmentName.parse(file)
        if name is None or not file.endswith(".reason"):
            continue
        detail = "refused"
        try:
            with open(os.path.join(directory, file), "rb") as reason:
                told: Any = orjson.loads(reason.read())
                detail = str(told["detail"])
        except (OSError, ValueError, TypeError, KeyError):
            pass
        yield f"{name.stem} is in quarantine: {detail}"


def _names_in(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _directories_in(directory: str) -> Iterator[str]:
    for name in _names_in(directory):
        path = os.path.join(directory, name)
        if os.path.isdir(os.path.join(path, "sealed")) or os.path.isdir(os.path.join(path, "open")):
            yield path
