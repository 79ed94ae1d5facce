"""Sealing lines while they are written: the chain of hashes that a sink leaves in its log (`structllm/chain.py`)."""

from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, TypeAlias

from structllm._types import Record
from structllm.chain import first_link, hasher, seal
from structllm.errors import SinkError, SinkRejected, SinkUnavailable

Integrity = Literal["none", "chain", "hmac"]

NOT_SYNCED = "not_synced"
"""Reason of a record that is written, but not confirmed by the disk."""

_MOST_WRITERS = 10_000  # a process has one for each logger; one that is forgotten and comes back begins at 1 again
_MOST_HELD = 100

_Head: TypeAlias = tuple[int, bytes]
"""Number and hash of the line that a writer's next one continues."""


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
        self._busy = False
        self._held: deque[Record] = deque()  # logged by a signal handler or finaliser in the middle of a write
        self._in_doubt: tuple[str, Record, bytes, _Head] | None = None

    def append(self, record: Record) -> None:
        """Seal a record and append it.

        Raises:
            OSError: It could not be written.
            SinkRejected: The line is no JSON object; or it is written, but the disk did not confirm.
            SinkUnavailable: Too much was logged in the middle of a write.
        """
        if self._busy:
            # Written now, it might come before or behind the line in hand.
            if len(self._held) >= _MOST_HELD:
                raise SinkUnavailable("reentered", "too much was logged in the middle of a write")
            self._held.append(record)
            return
        self._busy = True
        try:
            if self._in_doubt is not None or self._held:
                self._append_held()
            self._append_one(record)
            if self._held:
                with suppress(OSError, SinkError):  # they come before the next record
                    self._append_held()
        finally:
            self._busy = False

    def settle(self) -> bool:
        """Append what was logged in the middle of a write; return whether nothing is left."""
        if not self._busy:
            self._busy = True
            try:
                self._append_held()
            except (OSError, SinkError):
                return False
            finally:
                self._busy = False
        return not self._held

    def _append_held(self) -> None:
        if (in_doubt := self._in_doubt) is not None:
            try:
                self._put(*in_doubt)
            except (OSError, SinkError) as error:
                if not _is_written(error):
                    self._in_doubt = in_doubt
                raise
        while self._held:
            record = self._held.popleft()
            try:
                self._append_one(record)
            except SinkRejected:
                continue  # nobody is left to be told
            except (OSError, SinkError):
                self._held.appendleft(record)
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
