"""What is known of a segment without reading it: its manifest, made when it is sealed and stored beside it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, NamedTuple, cast

import orjson

from structllm.archive.names import Compression, SegmentName, manifest_key, object_key
from structllm.chain import unseal
from structllm.sequence import Seen

FORMAT = 1


class Span(NamedTuple):
    """The records of one writer in one segment.

    Attributes:
        first: The least `seq`.
        last: The greatest.
        records: How many there are.
        repeats: Those whose `seq` an earlier one has. Without them there are `last - first + 1` where none is missing.
        sink_first: The least `sink_seq`; None without integrity.
        sink_last: The greatest.
        head: The hash of the line that has the greatest.
    """

    first: int
    last: int
    records: int
    repeats: int = 0
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

    @staticmethod
    def from_json(data: bytes) -> "Manifest":
        """Read it. Raises ValueError where it is none, or of a later format."""
        body = orjson.loads(data)
        if not isinstance(body, dict) or cast("dict[str, Any]", body).get("format") != FORMAT:
            raise ValueError("a manifest of another format")
        manifest = _validated(data)
        manifest.name  # noqa: B018  # raises where it names no segment
        return manifest


def summarise(lines: Iterable[bytes]) -> Summary:
    """Sum up the lines of a segment, each with its newline."""
    records = bad_lines = content_bytes = 0
    first_ms: int | None = None
    last_ms: int | None = None
    writers: dict[str, Span] = {}
    event_types: Counter[str] = Counter()
    versions: set[int] = set()
    seen = Seen()
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
            span = span._replace(records=span.records + 1, repeats=span.repeats + (not seen.add(writer, seq)))
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
    span = span._replace(first=min(seq, span.first), last=max(seq, span.last))
    if "sink_seq" not in event or (sealed := unseal(line.rstrip(b"\n"))) is None:
        return span
    if span.sink_first is None or sealed.seq < span.sink_first:
        span = span._replace(sink_first=sealed.seq)
    if span.sink_last is None or sealed.seq >= span.sink_last:
        span = span._replace(sink_last=sealed.seq, head=sealed.hash.decode())
    return span


def _validated(data: bytes) -> Manifest:
    """Return what a JSON text tells, with every field of its type. Raises ValueError."""
    from pydantic import ValidationError

    try:
        return _reader()(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"no manifest: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


@cache
def _reader() -> Callable[[bytes], Manifest]:
    from pydantic import TypeAdapter  # which only those pay for who read an archive

    return partial(TypeAdapter(Manifest).validate_json, strict=True)
