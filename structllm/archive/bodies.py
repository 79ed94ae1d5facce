"""Reading an object once, from its first byte to its last: its content unpacked, and the checksum of its bytes."""

import hashlib
from collections.abc import Iterator
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING

from structllm.archive.store import StoreError
from structllm.segment.lines import describe
from structllm.unpack import chunks

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_DRAINED_BYTES = 256 * 1024


class Body:
    """The bytes of an object on their way in.

    Args:
        reader: Gives them as they were stored.

    Attributes:
        size_bytes: How many came so far; all of them, when `chunks` has ended.
        damage: Why they could not be unpacked; None where they could.
    """

    def __init__(self, reader: BufferedReader) -> None:
        self._counting = _Counting(reader)
        self.damage: str | None = None

    def chunks(self) -> Iterator[bytes]:
        """Yield the content unpacked, as far as it can be, and read to the last byte.

        Raises:
            OSError: The reading itself failed. What is merely damaged is told by `damage`.
            StoreError: The same.
        """
        raw: BufferedReader = BufferedReader(self._counting, _DRAINED_BYTES)
        try:
            yield from chunks(raw)
        except (OSError, EOFError) as error:
            if self._counting.failed:
                raise
            self.damage = describe(error)
        while raw.read1(_DRAINED_BYTES):
            pass

    @property
    def size_bytes(self) -> int:
        """How many bytes were read."""
        return self._counting.size_bytes

    @property
    def sha256(self) -> str:
        """Of the bytes that were read, hexadecimal."""
        return self._counting.digest.hexdigest()


class _Counting(RawIOBase):
    """Passes bytes on, and computes their checksum."""

    def __init__(self, reader: BufferedReader) -> None:
        self._reader = reader
        self.digest = hashlib.sha256()
        self.size_bytes = 0
        self.failed = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        try:
            count = self._reader.readinto1(view)
        except (OSError, EOFError, StoreError):
            self.failed = True
            raise
        self.digest.update(view[:count])
        self.size_bytes += count
        return count
