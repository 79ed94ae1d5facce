"""What segments are called: in the spool, as objects, and in manifests."""

import re
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Self

Compression = Literal["zstd", "gzip", "none"]

SUFFIXES: dict[Compression, str] = {"zstd": ".jsonl.zst", "gzip": ".jsonl.gz", "none": ".jsonl"}
"""How the name of a sealed segment ends."""

DATA = "v1/"
"""Where the segments lie below the prefix of an archive."""

MANIFESTS = "_manifest/"
"""Where the manifests lie."""

_MOST_HOST_CHARS = 32
_STEM = re.compile(r"([0-9]{8}T[0-9]{2})-([a-z0-9-]{1,32}-[0-9a-f]{16})-([0-9]{8,18})")
_PARTITION = re.compile(r"(?:.*/)?dt=(\d{4})-(\d{2})-(\d{2})/hour=(\d{2})/", re.ASCII)


class SegmentName(NamedTuple):
    """Which segment: fixed when it is begun.

    Attributes:
        hour: When it was begun, to the hour, e.g. `20240115T10` (UTC).
        owner: Who began it: host and random digits, another one for every process that writes.
        number: 1, 2, 3 … per owner.
    """

    hour: str
    owner: str
    number: int

    @classmethod
    def begun(cls, seconds: float, owner: str, number: int) -> Self:
        """Return the name of a segment that is begun at a time, in seconds since the epoch."""
        return cls(datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H"), owner, number)

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Return the segment that a file or object is called after, or None."""
        match = _STEM.match(name)
        return cls(match[1], match[2], int(match[3])) if match and name[match.end() :][:1] in {"", "."} else None

    @property
    def stem(self) -> str:
        """The name without a suffix; names of one owner sort by number."""
        return f"{self.hour}-{self.owner}-{self.number:08d}"

    @property
    def partition(self) -> str:
        """The directories `dt=…/hour=…/`."""
        return f"dt={self.hour[:4]}-{self.hour[4:6]}-{self.hour[6:8]}/hour={self.hour[9:]}/"


class ManifestName(NamedTuple):
    """What the key of a manifest tells.

    Attributes:
        segment: Of which segment it is.
        first_ms: The least time of its events, in milliseconds since the epoch; None where no event has one.
        last_ms: The greatest.
    """

    segment: SegmentName
    first_ms: int | None
    last_ms: int | None


def new_owner(host: str, token: str) -> str:
    """Return an owner's name.

    Args:
        host: The name of the machine; only what keys may hold is kept of it.
        token: 16 random hexadecimal digits.
    """
    kept = re.sub(r"[^a-z0-9]+", "-", host.lower()).strip("-")[:_MOST_HOST_CHARS].strip("-")
    return f"{kept or 'host'}-{token}"


def object_key(name: SegmentName, compression: Compression) -> str:
    """Return the key of a segment's lines, below the prefix of the archive."""
    return f"{DATA}{name.partition}{name.stem}{SUFFIXES[compression]}"


def manifest_key(name: SegmentName, first_ms: int | None, last_ms: int | None) -> str:
    """Return the key of a segment's manifest, below the prefix of the archive."""
    times = "none" if first_ms is None or last_ms is None else f"{first_ms}-{last_ms}"
    return f"{MANIFESTS}{name.partition}{name.stem}.{times}.json"


def compression_of(key: str) -> Compression:
    """Return how an object or sealed file is compressed, by its name. Raises ValueError for any other name."""
    for compression, suffix in SUFFIXES.items():
        if key.endswith(suffix):
            return compression
    raise ValueError("no name of a segment")


def parse_key(key: str) -> SegmentName | None:
    """Return the segment whose lines have this key, below a prefix or not; None for any other key."""
    name = SegmentName.parse(key.rpartition("/")[2])
    if name is None or not key.endswith((*SUFFIXES.values(),)):
        return None
    return name


def parse_manifest_key(key: str) -> ManifestName | None:
    """Return what the key of a manifest tells; None for any other key."""
    file = key.rpartition("/")[2]
    name = SegmentName.parse(file)
    match = re.fullmatch(r"\.(?:none|(-?[0-9]{1,15})-(-?[0-9]{1,15}))\.json", file[len(name.stem) :]) if name else None
    if name is None or match is None:
        return None
    return ManifestName(name, *(None if time is None else int(time) for time in match.groups()))


def hour_of(key: str) -> datetime | None:
    """Return the hour of the partition that a key lies in (aware UTC), or None."""
    match = _PARTITION.match(key)
    try:
        return datetime(*(int(part) for part in match.groups()), tzinfo=UTC) if match else None  # type: ignore[misc,arg-type]  # four integers
    except ValueError:
        return None
