"""Sealing lines while they are written: the chain of hashes that a sink leaves in its log (`structllm/chain.py`)."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, SecretStr, model_validator

from structllm._options import SPLIT, Problem, Word
from structllm._types import Record
from structllm.chain import first_link, hasher, seal
from structllm.errors import ConfigError, SinkError, SinkRejected
from structllm.sinks.config import SinkConfig, octal_mode
from structllm.sinks.durability import Fsync

Integrity = Literal["none", "chain", "hmac"]

NOT_SYNCED = "not_synced"
"""Reason of a record that is written, but not confirmed by the disk."""

_LEAST_KEY_CHARS = 16

_MOST_WRITERS = 10_000  # a process has one for each logger; one that is forgotten and comes back begins at 1 again

_Head: TypeAlias = tuple[int, bytes]
"""Number and hash of the line that a writer's next one continues."""

_InDoubt: TypeAlias = tuple[str, Record, bytes, _Head]
"""What `_put` was given: writer, record, sealed line, and the head that it makes."""


class LineSinkConfig(SinkConfig):
    """Settings of sinks that append lines to files: their permissions, when they are on the disk, and seals."""

    mode: Annotated[str, AfterValidator(octal_mode)] = Field(default="0600", description="Permissions, octal.")
    fsync: Fsync = Field(
        default="never", description="Wait for the disk: never, once a second in the background (interval), or always."
    )
    fsync_events: Annotated[frozenset[Word], SPLIT] = Field(
        default=frozenset(), description="Event types after which to wait for the disk in any case."
    )
    integrity: Integrity = Field(
        default="none",
        description="Add `sink_seq` and `hash` to each line, for `structllm verify`: none, chain, hmac.",
    )
    hmac_key: SecretStr | None = Field(
        default=None, min_length=_LEAST_KEY_CHARS, description="The key of integrity=hmac; in no URL, and never shown."
    )

    @model_validator(mode="after")
    def _key_where_needed(self) -> Self:
        if self.integrity == "hmac" and self.hmac_key is None:
            raise ConfigError(Problem("integrity=hmac needs an hmac_key", ("hmac_key",)))
        if self.integrity != "hmac" and self.hmac_key is not None:
            raise ConfigError(Problem("there is an hmac_key, which only integrity=hmac uses", ("integrity",)))
        return self

    @property
    def key(self) -> str | None:
        """The key, in plain text."""
        return None if self.hmac_key is None else self.hmac_key.get_secret_value()


def key_for(integrity: Integrity, key: str | bytes | None) -> bytes | None:
    """Return the key of `hmac`; None for what needs none. Raises ConfigError where it is missing or too short."""
    if integrity != "hmac":
        return None
    if not key or len(key) < _LEAST_KEY_CHARS:
        raise ConfigError(f"file sink: integrity=hmac needs an hmac_key of at least {_LEAST_KEY_CHARS} characters")
    return key.encode() if isinstance(key, str) else key


class Sealer:
    """Appends each record with `sink_seq` and `hash`. Called with the sink's lock held.

    A chain goes on only where a line was written: what is dropped leaves no gap. Where a signal handler raised in the
    middle of a write, nobody knows whether the line is there; it is written again, unchanged, before the next one.

    Args:
        append: Appends a line, which is that of a record, sealed. Raises OSError or SinkError where it is not written;
            SinkRejected with the reason `not_synced` where it is.
        key: Of HMAC-SHA256; None for plain hashes.
    """

    def __init__(self, append: Callable[[bytes, Record], None], key: bytes | None) -> None:
        self._append = append
        self._fresh = hasher(key)
        self.begin()

    def begin(self) -> None:
        """Begin anew: no line has been written."""
        self._heads: OrderedDict[str, _Head] = OrderedDict()
        self._latest = ""  # the writer at the end of the heads, which are in the order of their last use
        self._in_doubt: _InDoubt | None = None

    def append(self, record: Record) -> None:
        """Seal a record and append it.

        Raises:
            OSError: It could not be written.
            SinkRejected: The line is no JSON object; or it is written, but the disk did not confirm.
        """
        if self._in_doubt is not None:
            self._make_sure(self._in_doubt)
        self._append_one(record)

    def settle(self) -> bool:
        """Make sure of the line that is in doubt, if there is one; return whether none is left."""
        try:
            if self._in_doubt is not None:
                self._make_sure(self._in_doubt)
        except (OSError, SinkError):
            return False
        return True

    def _make_sure(self, in_doubt: _InDoubt) -> None:
        try:
            self._put(*in_doubt)
        except (OSError, SinkError) as error:
            if not _is_written(error):
                self._in_doubt = in_doubt
            raise

    def _append_one(self, record: Record) -> None:
        line, writer = record.line, record.event.get("writer")
        if not isinstance(writer, str):
            writer = ""
        if not line.endswith(b"}\n") or line == b"{}\n":
            raise SinkRejected("not_an_event", "only JSON objects can be sealed")
        last, previous = self._heads.get(writer) or (0, first_link(writer))
        sealed, digest = seal(self._fresh, line, last + 1, previous)
        self._put(writer, record, sealed, (last + 1, digest))

    def _put(self, writer: str, record: Record, sealed: bytes, head: _Head) -> None:
        self._in_doubt = (writer, record, sealed, head)
        try:
            self._append(sealed, record)
        except (OSError, SinkError) as error:
            if _is_written(error):
                self._advance(writer, head)
            self._in_doubt = None
            raise
        # In this order: being told twice that the line is there does no harm.
        if writer == self._latest:
            self._heads[writer] = head
        else:
            self._advance(writer, head)
        self._in_doubt = None

    def _advance(self, writer: str, head: _Head) -> None:
        self._heads[writer] = head
        if writer != self._latest:
            self._heads.move_to_end(writer)
            self._latest = writer
            if len(self._heads) > _MOST_WRITERS:
                self._heads.popitem(last=False)


def _is_written(error: OSError | SinkError) -> bool:
    return isinstance(error, SinkRejected) and error.reason == NOT_SYNCED
