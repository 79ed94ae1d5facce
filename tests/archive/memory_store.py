"""A store in memory: what was opened is counted, and any object can be made to fail."""

import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from structllm.archive import Found, ObjectExists, StoreError, StoreUnavailable

_PIECE_BYTES = 997


class MemoryStore:
    """Objects in a dictionary.

    Attributes:
        objects: Key to bytes.
        metadata: Key to what was stored beside it.
        opened: How often each object was opened.
        breaks_at: Key to the byte at which reading it fails.
        fails: Key to what opening it raises.
    """

    def __init__(self) -> None:
        self.place = "memory"
        self.objects: dict[str, bytes] = {}
        self.metadata: dict[str, Mapping[str, str]] = {}
        self.opened: Counter[str] = Counter()
        self.breaks_at: dict[str, int] = {}
        self.fails: dict[str, StoreError] = {}

    def put(self, key: str, body: bytes, *, sha256: str, metadata: Mapping[str, str]) -> None:
        """Store an object that is not there yet."""
        assert hashlib.sha256(body).hexdigest() == sha256
        if key in self.objects:
            raise ObjectExists(key)
        self.objects[key], self.metadata[key] = body, metadata

    def find(self, key: str) -> Found | None:
        """Return what is known of an object."""
        if key not in self.objects:
            return None
        return Found(key, len(self.objects[key]), self.metadata.get(key, {}).get("sha256"))

    @contextmanager
    def open(self, key: str) -> Iterator[io.BufferedReader]:
        """Open an object."""
        self.opened[key] += 1
        if key in self.fails:
            raise self.fails[key]
        if key not in self.objects:
            raise StoreUnavailable("not_found", f"{key} is not there")
        with io.BufferedReader(_Pieces(self.objects[key], self.breaks_at.get(key))) as reader:
            yield reader

    def under(self, prefix: str) -> Iterator[Found]:
        """Yield objects by key."""
        for key in sorted(self.objects):
            if key.startswith(prefix):
                yield Found(key, len(self.objects[key]))

    def check(self) -> list[str]:
        """Return no problem."""
        return []

    def bodies_opened(self) -> Counter[str]:
        """Return how often each object with lines was opened."""
        return Counter({key: count for key, count in self.opened.items() if key.startswith("v1/")})


class _Pieces(io.RawIOBase):
    """Gives bytes in small pieces, as a network does, and may break."""

    def __init__(self, data: bytes, breaks_at: int | None) -> None:
        self._data = data
        self._at = 0
        self._breaks_at = breaks_at

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        end = len(self._data) if self._breaks_at is None else self._breaks_at
        if self._at >= end and self._breaks_at is not None:
            raise ConnectionResetError(104, "the connection broke")
        piece = self._data[self._at : min(end, self._at + min(len(buffer), _PIECE_BYTES))]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
