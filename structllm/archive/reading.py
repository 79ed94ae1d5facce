"""Reading an archive: which segments a range of time needs, told by a listing alone, and the events in them."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from io import BufferedReader
from itertools import count as counting
from itertools import groupby
from typing import Any, Literal, NamedTuple

from structllm.archive.manifest import Manifest, milliseconds
from structllm.archive.names import (
    DATA,
    MANIFESTS,
    SUFFIXES,
    SegmentName,
    object_key,
    parse_key,
    parse_manifest_key,
)
from structllm.archive.store import Found, Store, StoreError
from structllm.segment.lines import Entry, ReadReport, describe, timestamp_of, unique
from structllm.segment.reading import read_file

_MOST_MERGED = 8  # objects that are read at the same time; each holds a connection
_MOST_MANIFEST_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Segment(NamedTuple):
    """A segment, as far as listings tell.

    Attributes:
        name: Which one.
        key: Of the object with its lines; None where manifests alone are there.
        size_bytes: Of the object.
        manifests: Keys of its manifests: one, unless something is wrong or still on its way.
        first_ms: The least time of its events, in milliseconds since the epoch; None where that is not known.
        last_ms: The greatest.
    """

    name: SegmentName
    key: str | None
    size_bytes: int = 0
    manifests: tuple[str, ...] = ()
    first_ms: int | None = None
    last_ms: int | None = None

    @property
    def is_in_place(self) -> bool:
        """Whether the object lies where a segment of this name belongs."""
        return self.key is None or self.key in {object_key(self.name, kind) for kind in SUFFIXES}

    def may_hold(self, since_ms: int | None, until_ms: int | None) -> bool:
        """Return whether events of a range of time may be in it; of what has no times, they may."""
        if self.first_ms is None or self.last_ms is None:
            return True
        return (since_ms is None or self.last_ms >= since_ms) and (until_ms is None or self.first_ms <= until_ms)


def segments(store: Store, since: datetime | None = None, until: datetime | None = None) -> Iterator[Segment]:
    """Yield the segments that a range of time needs, by the hour of their beginning, owner and number.

    The keys of the manifests tell which those are; an object without a manifest is always among them, and so is a
    segment whose manifest is there and whose object is not.

    Raises:
        StoreError: The archive cannot be listed.
    """
    since_ms, until_ms = as_milliseconds(since), as_milliseconds(until)
    listed = heapq.merge(_listed(store, MANIFESTS), _listed(store, DATA))
    for _, group in groupby(listed, key=lambda item: item.place):
        for segment in _joined(store, group):
            if segment.may_hold(since_ms, until_ms):
                yield segment


def strays(store: Store) -> Iterator[Found]:
    """Yield what lies among segments and manifests, and is called like neither."""
    for found in store.under(DATA):
        if parse_key(found.key) is None:
            yield found
    for found in store.under(MANIFESTS):
        if parse_manifest_key(found.key) is None:
            yield found


def read_archive(
    store: Store, report: ReadReport, since: datetime | None = None, until: datetime | None = None
) -> Iterator[Entry]:
    """Yield the events of the segments that a range of time needs, among them events outside of it.

    Each object is opened once and read as it comes. What several owners began in one hour is merged by time, where
    these are few. An object that is missing, damaged, or whose connection breaks is noted and stops nothing.

    Args:
        store: The archive.
        report: Counts what else was met. Duplicates are for `segment.unique`.
        since: No events before this are asked for.
        until: No events after this are.

    Raises:
        StoreError: The archive cannot be listed.
    """
    for _, hour in groupby(segments(store, since, until), key=lambda segment: segment.name.hour):
        owners: dict[str, list[Segment]] = {}
        for segment in hour:
            owners.setdefault(segment.name.owner, []).append(segment)
        streams = [read_segments(store, of_owner, report) for of_owner in owners.values()]
        if len(streams) <= _MOST_MERGED:
            yield from heapq.merge(*streams, key=timestamp_of)
        else:
            for stream in streams:
                yield from stream


def read_segments(store: Store, wanted: Iterable[Segment], report: ReadReport) -> Iterator[Entry]:
    """Yield the events of segments, one after the other; what cannot be read is noted in the report."""
    for segment in wanted:
        if segment.key is None:
            path = f"{store.place}/{segment.manifests[0]}"
            report.add_unreadable(path, "this manifest is there, but the object that it tells of is not")
            continue
        path = f"{store.place}/{segment.key}"
        try:
            with store.open(segment.key) as reader:
                report.files += 1
                yield from read_file(path, reader, report, live=False)
        except (OSError, EOFError, StoreError) as error:
            report.add_unreadable(path, describe(error))


def read_newest(
    store: Store,
    count: int,
    accept: Callable[[Mapping[str, Any]], bool],
    report: ReadReport,
    since: datetime | None = None,
) -> list[Entry]:
    """Return the newest events, the oldest of them first, from as few objects as their times allow.

    Args:
        store: The archive.
        count: How many events at most.
        accept: Which events count.
        report: Counts what else was met in what had to be read.
        since: No events before this are asked for.
    """
    if count <= 0:
        return []
    order = counting()
    kept: list[tuple[str, int, Entry]] = []
    # What has no times is read first, for it may hold anything.
    by_time = sorted(segments(store, since), key=lambda segment: (segment.last_ms is None, segment.last_ms or 0))
    for segment in reversed(by_time):
        oldest_ms = milliseconds(kept[0][0]) if len(kept) == count else None
        if oldest_ms is not None and segment.last_ms is not None and segment.last_ms < oldest_ms:
            break
        for entry in unique(read_segments(store, [segment], report), report):
            if accept(entry.event):
                item = (timestamp_of(entry), next(order), entry)
                if len(kept) < count:
                    heapq.heappush(kept, item)
                else:
                    heapq.heappushpop(kept, item)
    return [entry for _, _, entry in sorted(kept)]


def load_manifest(store: Store, key: str) -> Manifest:
    """Read a manifest.

    Raises:
        StoreError: It could not be read.
        OSError: The same.
        ValueError: It is damaged, or not what belongs under this key.
    """
    with store.open(key) as reader:
        body = b"".join(_pieces(reader))
    manifest = Manifest.from_json(body)
    if manifest.key != key:
        raise ValueError("it is the manifest of another segment, or of other times")
    if manifest.to_json() != body:
        raise ValueError("it is not as it was written")
    return manifest


def as_milliseconds(moment: datetime | None) -> int | None:
    """Return a moment (aware) in milliseconds since the epoch, rounded down."""
    return None if moment is None else (moment - _EPOCH) // timedelta(milliseconds=1)


def _pieces(reader: BufferedReader) -> Iterator[bytes]:
    size = 0
    while size < _MOST_MANIFEST_BYTES and (piece := reader.read1(_PIECE_BYTES)):
        size += len(piece)
        yield piece


class _Listed(NamedTuple):
    """A key of an archive; those of one segment have the same place."""

    place: str
    kind: Literal["manifest", "object"]
    found: Found


def _listed(store: Store, prefix: str) -> Iterator[_Listed]:
    """Yield what is listed of segments, by place: the key up to the suffix, which sorts as the keys themselves do."""
    for found in store.under(prefix):
        place = found.key[len(prefix) :]
        folder, _, file = place.rpartition("/")
        name = SegmentName.parse(file)
        if name is None:
            continue
        # The point keeps a number with one digit more behind the one that it begins with, as in the keys.
        place = f"{folder}/{name.stem}."
        if prefix == DATA and parse_key(found.key) is not None:
            yield _Listed(place, "object", found)
        elif prefix == MANIFESTS and parse_manifest_key(found.key) is not None:
            yield _Listed(place, "manifest", found)


def _joined(store: Store, listed: Iterable[_Listed]) -> Iterator[Segment]:
    objects: list[Found] = []
    manifests: list[str] = []
    for _, kind, found in listed:
        if kind == "object":
            objects.append(found)
        else:
            manifests.append(found.key)
    name = parse_key(objects[0].key) if objects else SegmentName.parse(manifests[0].rpartition("/")[2])
    if name is None:  # it was listed, so it has one
        return
    times = [parsed for key in manifests if (parsed := parse_manifest_key(key)) is not None]
    firsts, lasts = [time.first_ms for time in times], [time.last_ms for time in times]
    first_ms = None if not times or None in firsts else min(ms for ms in firsts if ms is not None)
    last_ms = None if not times or None in lasts else max(ms for ms in lasts if ms is not None)
    # Between the two listings the archive may have grown.
    if not objects and (late := _object_of(store, name)) is not None:
        objects.append(late)
    for found in objects:
        yield Segment(name, found.key, found.size_bytes, tuple(manifests), first_ms, last_ms)
    if not objects:
        yield Segment(name, None, 0, tuple(manifests), first_ms, last_ms)


def _object_of(store: Store, name: SegmentName) -> Found | None:
    return next((found for kind in SUFFIXES if (found := store.find(object_key(name, kind))) is not None), None)
