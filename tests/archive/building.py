"""Archives for tests, made as the archiver makes them: lines are sealed into an object with its manifest."""

import gzip
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime

import zstandard

from structllm.archive import Compression, Manifest, SegmentName, Store, summarise
from structllm.chain import first_link, hasher, seal
from tests.cli.recording import LogBuilder

OWNER = "host-00000000000000aa"
OTHER = "host-00000000000000bb"


def pack(content: bytes, compression: Compression) -> bytes:
    """Return the content as the object holds it."""
    if compression == "zstd":
        return zstandard.ZstdCompressor(write_checksum=True).compress(content)
    return gzip.compress(content, mtime=0) if compression == "gzip" else content


class Archive:
    """Puts the segments of one owner into a store.

    Args:
        store: Where to.
        owner: Who writes.
        compression: Of the objects.
    """

    def __init__(self, store: Store, owner: str = OWNER, compression: Compression = "zstd") -> None:
        self.store = store
        self.owner = owner
        self.compression: Compression = compression
        self.manifests: list[Manifest] = []

    def add(
        self, lines: Sequence[bytes], begun: datetime, *, final: bool = False, with_manifest: bool = True
    ) -> Manifest:
        """Seal lines into the next segment, and store it."""
        number = self.manifests[-1].name.number + 1 if self.manifests else 1
        previous = self.manifests[-1].sha256 if self.manifests else None
        name = SegmentName.begun(begun.timestamp(), self.owner, number)
        manifest, body = sealed(lines, name, self.compression, previous, final=final)
        self.store.put(manifest.object_key, body, sha256=manifest.sha256, metadata=manifest.metadata())
        if with_manifest:
            put_manifest(self.store, manifest)
        self.manifests.append(manifest)
        return manifest


def sealed(
    lines: Sequence[bytes],
    name: SegmentName,
    compression: Compression = "zstd",
    previous: str | None = None,
    *,
    final: bool = False,
) -> tuple[Manifest, bytes]:
    """Return a segment's manifest, and the bytes of its object."""
    body = pack(b"".join(lines), compression)
    digest = hashlib.sha256(body).hexdigest()
    return Manifest(name.stem, compression, digest, len(body), summarise(lines), previous, final), body


def put_manifest(store: Store, manifest: Manifest) -> None:
    """Store a manifest."""
    data = manifest.to_json()
    store.put(manifest.key, data, sha256=hashlib.sha256(data).hexdigest(), metadata={})


def lines_of(log: LogBuilder) -> list[bytes]:
    """Return the events of a log as lines."""
    return [json.dumps(event, separators=(",", ":")).encode() + b"\n" for event in log.events]


def chained(lines: Sequence[bytes], writer: str, key: bytes | None = None) -> list[bytes]:
    """Return lines as a sink with integrity writes them."""
    previous = first_link(writer)
    found: list[bytes] = []
    for number, line in enumerate(lines, 1):
        done, previous = seal(hasher(key), line, number, previous)
        found.append(done)
    return found
