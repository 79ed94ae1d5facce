"""Where objects lie: a bucket or a directory, and what can go wrong with them."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from io import BufferedReader
from typing import NamedTuple, Protocol

from structllm.errors import StructllmError


class Found(NamedTuple):
    """An object that is there.

    Attributes:
        key: Below the prefix of the archive.
        size_bytes: Its length.
        sha256: Of its bytes, hexadecimal, as the store knows it; None where it does not say (listings never do).
    """

    key: str
    size_bytes: int
    sha256: str | None = None


class StoreError(StructllmError):
    """An object could not be stored, found or read.

    Attributes:
        reason: One word for accounts and statistics, e.g. `no_such_bucket`, `access_denied`, `timeout`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class StoreUnavailable(StoreError):
    """Trying again may help, at once or after somebody has mended something: network, rights, bucket, credentials."""


class StoreRefused(StoreError):
    """This object will never be taken as it is: too large, or its checksum is wrong again and again."""


class ObjectExists(StoreError):
    """There is an object of this key already. It was not changed."""

    def __init__(self, key: str) -> None:
        super().__init__("exists", f"{key} is there already")


class Store(Protocol):
    """Immutable objects under keys. Keys are relative to the prefix of the archive. Safe to share between threads.

    All methods raise StoreUnavailable with a sentence that names what to do where a person can mend it, never with
    secrets; and nothing but StoreErrors.

    Attributes:
        place: Where this is, for people: `s3://bucket/prefix`, or the directory.
    """

    place: str

    def put(self, key: str, body: bytes, *, sha256: str, metadata: Mapping[str, str]) -> None:
        """Store an object that is not there yet; when this returns, the store has confirmed the checksum.

        Args:
            key: Its key.
            body: Its bytes.
            sha256: Of the bytes, hexadecimal.
            metadata: Small texts kept beside it: ASCII, lower-case names of letters, digits and hyphens.

        Raises:
            ObjectExists: There is one already, whatever it holds.
            StoreRefused: The checksum was wrong on arrival, or it is too large.
            StoreUnavailable: Anything else. It may have been stored all the same.
        """
        ...

    def find(self, key: str) -> Found | None:
        """Return what is known of an object, its checksum included where the store has it; None where none is."""
        ...

    def open(self, key: str) -> AbstractContextManager[BufferedReader]:
        """Open an object for reading; its bytes as they were stored. Raises StoreUnavailable(`not_found`) too."""
        ...

    def under(self, prefix: str) -> Iterator[Found]:
        """Yield the objects whose keys begin so, by key, without holding all of them."""
        ...

    def check(self) -> list[str]:
        """Return the problems that writing would meet now, as sentences that say what to do; store nothing."""
        ...
