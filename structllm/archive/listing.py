"""What an archive holds, one row for each segment or hour."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import NamedTuple

from structllm.archive.manifest import Manifest
from structllm.archive.reading import Segment, load_manifest
from structllm.archive.store import Store, StoreError

_AT_ONCE = 8  # manifests; each is one short answer


class Row(NamedTuple):
    """A segment.

    Attributes:
        archive: Where it is.
        segment: The stem of its name.
        hour: In which it was begun, e.g. `2024-01-15T10` (UTC).
        key: Of the object; None where only its manifest is there.
        size_bytes: Of the object.
        records: None where no manifest tells.
        first_timestamp: The least time of its events; None where that is not known.
        last_timestamp: The greatest.
    """

    archive: str
    segment: str
    hour: str
    key: str | None
    size_bytes: int
    records: int | None
    first_timestamp: str | None
    last_timestamp: str | None


class Hour(NamedTuple):
    """The segments that were begun in one hour; see `Row`."""

    archive: str
    hour: str
    segments: int
    size_bytes: int
    records: int | None
    first_timestamp: str | None
    last_timestamp: str | None


def rows_of(store: Store, wanted: Iterable[Segment]) -> list[Row]:
    """Return a row for each segment; their manifests are read for it.

    Raises:
        StoreError: The archive cannot be listed.
    """
    listed = list(wanted)
    if not listed:
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(listed))) as pool:
        manifests = list(pool.map(partial(_manifest_of, store), listed))
    return [_row(store, segment, manifest) for segment, manifest in zip(listed, manifests, strict=True)]


def by_hour(rows: Iterable[Row]) -> list[Hour]:
    """Sum up the rows of one archive, which are in the order of their hours."""
    hours: list[Hour] = []
    for hour, group in groupby(rows, key=lambda row: row.hour):
        same = list(group)
        known = [row.records for row in same if row.records is not None]
        firsts = [row.first_timestamp for row in same if row.first_timestamp is not None]
        lasts = [row.last_timestamp for row in same if row.last_timestamp is not None]
        size = sum(row.size_bytes for row in same)
        records = sum(known) if len(known) == len(same) else None
        hours.append(
            Hour(same[0].archive, hour, len(same), size, records, min(firsts, default=None), max(lasts, default=None))
        )
    return hours


def _manifest_of(store: Store, segment: Segment) -> Manifest | None:
    try:
        return load_manifest(store, segment.manifests[0]) if segment.manifests else None
    except (OSError, ValueError, StoreError):
        return None


def _row(store: Store, segment: Segment, manifest: Manifest | None) -> Row:
    hour = segment.name.hour
    return Row(
        store.place,
        segment.name.stem,
        f"{hour[:4]}-{hour[4:6]}-{hour[6:]}",
        segment.key,
        segment.size_bytes,
        None if manifest is None else manifest.summary.records,
        _text(segment.first_ms),
        _text(segment.last_ms),
    )


def _text(time_ms: int | None) -> str | None:
    if time_ms is None:
        return None
    try:
        time = datetime.fromtimestamp(time_ms // 1000, UTC).replace(microsecond=time_ms % 1000 * 1000)
    except (OverflowError, ValueError, OSError):
        return None
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
