"""Sealing a segment: its lines become the bytes that the archive gets, with a manifest, and never change again."""

import hashlib
import zlib
from typing import Any, cast

import orjson

from structllm.archive.manifest import Manifest, Summary, summarise
from structllm.archive.names import SUFFIXES, Compression, SegmentName, compression_of
from structllm.archive.store import StoreRefused
from structllm.sinks.spool import OpenSegment, SealedSegment, Spool

_ZSTD_LEVEL = 3
_GZIP_LEVEL = 6
_GZIP_WBITS = 31  # a gzip header without a time, so that the same lines give the same bytes


def pack(content: bytes, compression: Compression) -> bytes:
    """Return the content compressed: the same bytes for the same content, as long as the library stays the same."""
    if compression == "zstd":
        import zstandard  # half a megabyte of library that only archives need

        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress(content)
    if compression == "gzip":
        packing = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WBITS)
        return packing.compress(content) + packing.flush()
    return content


class SegmentSealer:
    """Seals the segments of a spool that nobody writes any more.

    Args:
        spool: The spool.
        compression: Of the sealed segments.

    Attributes:
        torn_bytes: Of half lines, left by writers that were killed, that were cut off.
    """

    def __init__(self, spool: Spool, compression: Compression) -> None:
        self._spool = spool
        self._compression: Compression = compression
        self.torn_bytes = 0

    def seal(self, segment: OpenSegment) -> SealedSegment | None:
        """Seal a segment, if nobody writes to it; return it, or None where there is nothing to be archived.

        May be broken off at any step and done again: what is sealed appears whole, and only then the open file goes.

        Raises:
            OSError: A file could not be read or written. The segment is as it was.
        """
        spool = self._spool
        with spool.claimed(segment) as fd:
            if fd is None:
                return None
            sealed = self._sealed_already(segment.name)
            if sealed is not None:
                try:
                    self._note_head(sealed.name, self.manifest_of(sealed))  # its maker may not have come so far
                except StoreRefused:
                    sealed = None  # damaged, and the lines are still here
            if sealed is None:
                content = spool.content(fd)
                whole = content[: content.rfind(b"\n") + 1]
                if not whole and not segment.final:
                    spool.remove(segment.path)
                    return None
                self.torn_bytes += len(content) - len(whole)
                sealed = self._put(segment, whole)
            spool.remove(segment.path)
        return sealed

    def manifest_of(self, sealed: SealedSegment) -> Manifest:
        """Return the manifest of a sealed segment; made anew, but for what only its maker knew, where it is gone."""
        body = self._spool.read(sealed.path)
        try:
            manifest: Manifest | None = Manifest.from_json(self._spool.read(sealed.stem + ".json"))
        except (FileNotFoundError, ValueError):
            manifest = None
        if manifest is not None:
            if manifest.sha256 == hashlib.sha256(body).hexdigest():
                return manifest
            raise StoreRefused("damaged", f"{sealed.path} is not what was sealed; look at the disk")
        compression = compression_of(sealed.path)
        try:
            lines = _lines(_unpacked(body, compression))
        except Exception:  # each library has errors of its own
            raise StoreRefused("damaged", f"{sealed.path} cannot be unpacked; look at the disk") from None
        return _manifest(sealed.name, body, compression, summarise(lines), None, False)

    def _sealed_already(self, name: SegmentName) -> SealedSegment | None:
        return next((sealed for sealed in self._spool.sealed_segments() if sealed.name == name), None)

    def _put(self, segment: OpenSegment, content: bytes) -> SealedSegment:
        spool, name = self._spool, segment.name
        body = pack(content, self._compression)
        head = self._head(name.owner)
        # Sealed once more, because the open file could not be taken away: what came before is what it was then.
        previous = head.get("sha256") if head.get("number") == name.number - 1 else None
        if head.get("number") == name.number:
            previous = head.get("previous")
        manifest = _manifest(name, body, self._compression, summarise(_lines(content)), previous, segment.final)
        sealed = SealedSegment(name, f"{spool.sealed}/{name.stem}{SUFFIXES[self._compression]}")
        spool.put(sealed.stem + ".json", manifest.to_json())
        spool.put(sealed.path, body)
        self._note_head(name, manifest)
        return sealed

    def _note_head(self, name: SegmentName, manifest: Manifest) -> None:
        head = {"number": name.number, "sha256": manifest.sha256, "previous": manifest.previous_sha256}
        self._spool.put(self._spool.head_of(name.owner), orjson.dumps(head))

    def _head(self, owner: str) -> dict[str, Any]:
        """Return what is known of the owner's last sealed segment. A hint: without it a manifest names no previous."""
        try:
            head: Any = orjson.loads(self._spool.read(self._spool.head_of(owner)))
        except (OSError, ValueError):
            return {}
        return cast("dict[str, Any]", head) if isinstance(head, dict) else {}


def _manifest(
    name: SegmentName, body: bytes, compression: Compression, summary: Summary, previous: Any, final: bool
) -> Manifest:
    digest = hashlib.sha256(body).hexdigest()
    known = previous if isinstance(previous, str) else None
    return Manifest(name.stem, compression, digest, len(body), summary, known, final)


def _lines(content: bytes) -> list[bytes]:
    return [line + b"\n" for line in content.split(b"\n")[:-1]]


def _unpacked(body: bytes, compression: Compression) -> bytes:
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return zlib.decompress(body, _GZIP_WBITS) if compression == "gzip" else body
