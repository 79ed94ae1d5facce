"""What is known of a segment without reading it: its manifest, made when it is sealed and stored beside it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self, cast

import orjson

from structllm.archive.names import SUFFIXES, Compression, SegmentName, manifest_key, object_key
from structllm.chain import unseal

FORMAT = 1


class Span(NamedTuple):
    """The records of one writer in one segment.

    Attributes:
        first: The least `seq`.
        last: The greatest.
        records: How many there are; as many as `last - first + 1` where none is missing in between.
        sink_first: The least `sink_seq`; None without integrity.
        sink_last: The greatest.
        head: The hash of the line that has the greatest.
    """

    first: int
    last: int
    records: int
    sink_first: int | None = None
    sink_last: int | None = None
    head: str | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What the lines of a segment hold.

    Attributes:
        records: Lines that are events.
        bad_lines: Lines that are not, such as the half one of a killed process.
        content_bytes: All lines, not compressed.
        first_ms: The least `timestamp`, in milliseconds since the epoch; None where no event has one.
        last_ms: The greatest.
        writers: The records of each writer.
        event_types: How many there are of each type.
        schema_versions: Those that occur.
    """

    records: int = 0
    bad_lines: int = 0
    content_bytes: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    writers: Mapping[str, Span] = field(default_factory=dict[str, Span])
    event_types: Mapping[str, int] = field(default_factory=dict[str, int])
    schema_versions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """A sealed segment, as it is described beside it.

    Attributes:
        segment: The stem of its name.
        compression: Of the object.
        sha256: Of the object's bytes, hexadecimal.
        size_bytes: Of the object.
        summary: What its lines hold.
        previous_sha256: `sha256` of the owner's segment before; None for the first one, and where nobody knew. A
            successor proves that a segment was there, and what it was.
        final: Whether the owner has closed, and will begin no other.
    """

    segment: str
    compression: Compression
    sha256: str
    size_bytes: int
    summary: Summary
    previous_sha256: str | None = None
    final: bool = False

    @property
    def name(self) -> SegmentName:
        """The segment. Raises ValueError where `segment` names none."""
        name = SegmentName.parse(self.segment)
        if name is None:
            raise ValueError("no name of a segment")
        return name

    @property
    def object_key(self) -> str:
        """Where its lines are, below the prefix of the archive."""
        return object_key(self.name, self.compression)

    @property
    def key(self) -> str:
        """Where it is itself."""
        return manifest_key(self.name, self.summary.first_ms, self.summary.last_ms)

    def metadata(self) -> dict[str, str]:
        """Return what is kept with the object, for those who have nothing else: ASCII, and under 1,000 bytes."""
        summary = self.summary
        found = {"sha256": self.sha256, "segment": self.segment, "records": str(summary.records)}
        if summary.first_ms is not None and summary.last_ms is not None:
            found |= {"first-ms": str(summary.first_ms), "last-ms": str(summary.last_ms)}
        if summary.schema_versions:
            found["schema-version"] = str(max(summary.schema_versions))
        if len(summary.writers) == 1:
            ((writer, span),) = summary.writers.items()
            if writer.isascii() and writer.isprintable() and len(writer) <= 100:
                found |= {"writer": writer, "first-seq": str(span.first), "last-seq": str(span.last)}
            if span.head is not None:
                found["chain-head"] = span.head
        return found

    def to_json(self) -> bytes:
        """Return it as one JSON object; the same bytes for the same segment, whoever seals it."""
        body: dict[str, Any] = {"format": FORMAT, **asdict(self)}
        body["summary"]["writers"] = {name: span._asdict() for name, span in self.summary.writers.items()}
        return orjson.dumps(body, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read it. Raises ValueError where it is none, or of a later format."""
        try:
            body = orjson.loads(data)
            if body.pop("format") != FORMAT:
                raise ValueError("a manifest of another format")
            given = body.pop("summary")
            given["writers"] = {name: Span(**span) for name, span in given["writers"].items()}
            given["schema_versions"] = tuple(given["schema_versions"])
            manifest = cls(**body, summary=Summary(**given))
            manifest.name  # noqa: B018  # raises where it names no segment
            if manifest.compression not in SUFFIXES or not isinstance(body["sha256"], str):
                raise ValueError("a manifest of something else")
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no manifest: {error}") from None
        return manifest


def summarise(lines: Iterable[bytes]) -> Summary:
    """Sum up the lines of a segment, each with its newline."""
    records = bad_lines = content_bytes = 0
    first_ms: int | None = None
    last_ms: int | None = None
    writers: dict[str, Span] = {}
    event_types: Counter[str] = Counter()
    versions: set[int] = set()
    for line in lines:
        content_bytes += len(line)
        event = _event_of(line)
        if event is None:
            bad_lines += not line.isspace()
            continue
        records += 1
        event_types[str(event["event_type"])] += 1
        time_ms = milliseconds(event.get("timestamp"))
        if time_ms is not None:
            first_ms = time_ms if first_ms is None else min(first_ms, time_ms)
            last_ms = time_ms if last_ms is None else max(last_ms, time_ms)
        version = event.get("schema_version")
        if type(version) is int:
            versions.add(version)
        writer, seq = event.get("writer"), event.get("seq")
        if isinstance(writer, str) and type(seq) is int:
            span = writers.get(writer) or Span(seq, seq, 0)
            writers[writer] = _extended(span, seq, event, line)
    return Summary(
        records, bad_lines, content_bytes, first_ms, last_ms, writers, dict(event_types), tuple(sorted(versions))
    )


def milliseconds(timestamp: object) -> int | None:
    """Return a time of the envelope (RFC 3339, UTC) in milliseconds since the epoch; None for anything else."""
    if not isinstance(timestamp, str):
        return None
    try:
        time = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    whole = int(time.replace(microsecond=0).timestamp())
    return whole * 1000 + time.microsecond // 1000


def _event_of(line: bytes) -> dict[str, Any] | None:
    try:
        event: object = orjson.loads(line)
    except ValueError:
        return None
    if not isinstance(event, dict) or not isinstance(cast("dict[str, Any]", event).get("event_type"), str):
        return None
    return cast("dict[str, Any]", event)


def _extended(span: Span, seq: int, event: Mapping[str, Any], line: bytes) -> Span:
    first, last = (seq, span.last) if seq < span.first else (span.first, max(seq, span.last))
    if "sink_seq" not in event or (sealed := unseal(line.rstrip(b"\n"))) is None:
        return span._replace(first=first, last=last, records=span.records + 1)
    sink_first = sealed.seq if span.sink_first is None else min(span.sink_first, sealed.seq)
    if span.sink_last is not None and sealed.seq < span.sink_last:
        return Span(first, last, span.records + 1, sink_first, span.sink_last, span.head)
    return Span(first, last, span.records + 1, sink_first, sealed.seq, sealed.hash.decode())
