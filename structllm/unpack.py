"""The content of a log file, unpacked as it streams by, whatever its name says and however far it would expand."""

import os
import zlib
from collections.abc import Iterator
from io import BufferedReader

MAX_EXPANSION = 2000
"""A compressed file that grows by more than this factor is no log but a bomb; reading it stops there."""

MAX_UNPACKED_BYTES = 2 * 1024**3
"""No compressed file is read further than to this much content, unless the variable below says otherwise."""

LIMIT_VARIABLE = "STRUCTLLM_MAX_UNPACKED_BYTES"
"""Names another number of bytes. A variable, so that it holds for every reader of this process, whoever calls it."""

_CHUNK_BYTES = 256 * 1024
_STEP_BYTES = 2048  # of compressed zstd at a time: a block turns 4 bytes into up to 128 KiB, so this gives up to 64 MiB
_MAX_WINDOW_BYTES = 128 * 1024 * 1024  # what a zstd frame may make its decoder allocate
_UNCHECKED_BYTES = 64 * 1024 * 1024  # short files may be as repetitive as they like

_MOST_DIGITS = 18

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def chunks(file: BufferedReader) -> Iterator[bytes]:
    """Yield the content of a file from where it stands, unpacked if it begins as gzip or zstd data do.

    Raises:
        OSError: It cannot be read, is damaged, or expands too far.
        EOFError: The compressed data is cut off.
    """
    start = _start(file)
    if start.startswith(_GZIP_MAGIC):
        yield from _unpacked(file, _Gzip())
    elif start == _ZSTD_MAGIC:
        yield from _unpacked(file, _Zstd())
    else:
        while chunk := file.read1(_CHUNK_BYTES):
            yield chunk


def is_packed(file: BufferedReader) -> bool:
    """Return whether a file begins as gzip or zstd data do."""
    return _start(file).startswith((_GZIP_MAGIC, _ZSTD_MAGIC))


def size_if_copy(packed: BufferedReader, fd: int) -> int | None:
    """Return how many bytes a compressed file unpacks to, if an open plain file begins with just these; else None.

    Stops at the first difference, so that only a true copy is unpacked whole. The compressed file is left at its start.
    """
    size = 0
    packed.seek(0)
    try:
        for chunk in chunks(packed):
            if os.pread(fd, len(chunk), size) != chunk:
                return None
            size += len(chunk)
    except (OSError, EOFError):
        return None
    finally:
        packed.seek(0)
    return size


def _most_bytes() -> int:
    """Return how far a compressed file may be unpacked. Raises OSError, which readers tell beside the file's name."""
    told = os.environ.get(LIMIT_VARIABLE)
    if not told:
        return MAX_UNPACKED_BYTES
    if not (told.isascii() and told.isdigit() and len(told) <= _MOST_DIGITS):
        raise OSError(0, f"{LIMIT_VARIABLE} is set, and is no whole number of bytes")
    return int(told)


def _start(file: BufferedReader) -> bytes:
    return file.peek(4)[:4]


class _Gzip:
    """Unpacks gzip members one after the other, never more than a chunk at once."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    def feed(self, packed: bytes) -> Iterator[bytes]:
        try:
            while True:
                if self._member.eof:
                    packed = packed.lstrip(b"\0")  # padding between or after members
                    if not packed:
                        return
                    self._member = zlib.decompressobj(wbits=31)
                chunk = self._member.decompress(packed, _CHUNK_BYTES)
                yield chunk
                packed = self._member.unconsumed_tail or self._member.unused_data
                if not packed and len(chunk) < _CHUNK_BYTES:
                    return
        except zlib.error:
            raise OSError(0, "the compressed data is damaged") from None

    @property
    def complete(self) -> bool:
        return self._member.eof


class _Zstd:
    """Unpacks zstd frames one after the other."""

    def __init__(self) -> None:
        # Half a megabyte of library that readers of plain files do without.
        import zstandard

        self._error = zstandard.ZstdError
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
        self._frame = self._decompressor.decompressobj()

    def feed(self, packed: bytes) -> Iterator[bytes]:
        try:
            while packed:
                if self._frame.eof:
                    self._frame = self._decompressor.decompressobj()
                yield self._frame.decompress(packed)
                packed = self._frame.unused_data if self._frame.eof else b""
        except self._error:
            raise OSError(0, "the compressed data is damaged") from None

    @property
    def complete(self) -> bool:
        return self._frame.eof


def _unpacked(file: BufferedReader, unpacker: _Gzip | _Zstd) -> Iterator[bytes]:
    most_bytes = _most_bytes()
    packed_bytes = unpacked_bytes = 0
    while packed := file.read1(_STEP_BYTES):
        packed_bytes += len(packed)
        for chunk in unpacker.feed(packed):
            unpacked_bytes += len(chunk)
            if unpacked_bytes > most_bytes:
                raise OSError(0, f"it holds more than {most_bytes:,} bytes when unpacked; {LIMIT_VARIABLE} allows more")
            if unpacked_bytes > max(_UNCHECKED_BYTES, MAX_EXPANSION * packed_bytes):
                raise OSError(0, f"it expands more than {MAX_EXPANSION} times, as no log does")
            yield chunk
    if not unpacker.complete:
        raise EOFError("the compressed data is cut off")
