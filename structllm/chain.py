"""The chain of hashes through the lines of a log: how a line is sealed, and taken apart again.

A sealed line ends in `,"sink_seq":N,"hash":"..."}`. N counts 1, 2, 3 ... the lines of one writer in one log. The hash
covers the hash of the writer's line before and all of this line up to and including N, so nothing can be changed, taken
out or put in without a break at that place (`structllm/tampering.py` finds it). The first line continues a text that
names the format and the writer.

What no chain can show: that lines were cut off behind the last one, and that all of it was computed anew, which takes
the key where there is one.
"""

import hashlib
import hmac
import re
from typing import NamedTuple, Protocol, Self

MOST_SEAL_BYTES = 105
"""How much longer sealing makes a line at most."""

_FORMAT = b"structllm chain 1 "
_SEAL = re.compile(rb',"sink_seq":([1-9][0-9]{0,18}),"hash":"([0-9a-f]{64})"\}\Z')


def first_link(writer: str) -> bytes:
    """Return what the first line of a writer continues."""
    return _FORMAT + writer.encode("utf-8", "surrogatepass")


class Hasher(Protocol):
    """SHA-256 or HMAC-SHA256 of what it was given so far."""

    def copy(self) -> Self:
        """Return another one that goes on from here."""
        ...

    def update(self, data: bytes, /) -> None:
        """Take more."""
        ...

    def hexdigest(self) -> str:
        """Return the hash, 64 hexadecimal digits."""
        ...


def hasher(key: bytes | None = None) -> Hasher:
    """Return what hashes: SHA-256, which anybody can compute, or with a key HMAC-SHA256."""
    return hashlib.sha256() if key is None else hmac.new(key, digestmod=hashlib.sha256)


def link(fresh: Hasher, previous: bytes, body: bytes) -> bytes:
    """Return the hash of a line, in hexadecimal.

    Args:
        fresh: A hasher that was given nothing yet.
        previous: The hash of the writer's line before, or `first_link`.
        body: The line up to and including the number.
    """
    hashing = fresh.copy()
    hashing.update(previous)
    hashing.update(body)
    return hashing.hexdigest().encode()


def seal(fresh: Hasher, line: bytes, seq: int, previous: bytes) -> tuple[bytes, bytes]:
    """Return a line (which ends in `}` and a newline) with number and hash, and the hash."""
    body = b'%b,"sink_seq":%d' % (line[:-2], seq)
    hashing = fresh.copy()  # as `link` does, which would take a call more for every event
    hashing.update(previous)
    hashing.update(body)
    digest = hashing.hexdigest().encode()
    return b'%b,"hash":"%b"}\n' % (body, digest), digest


class Sealed(NamedTuple):
    """A sealed line that was read: its number, what its hash covers, and the hash."""

    seq: int
    body: bytes
    hash: bytes


def unseal(line: bytes) -> Sealed | None:
    """Take a line, without its newline, apart; None where it is not sealed."""
    match = _SEAL.search(line, max(0, len(line) - MOST_SEAL_BYTES - 1))
    if match is None:
        return None
    return Sealed(int(match[1]), line[: match.end(1)], match[2])
