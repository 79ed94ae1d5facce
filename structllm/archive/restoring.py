"""Getting segments back from an archive: one plain file of lines each, whole or not at all, and never a second time."""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from io import BufferedReader
from typing import IO, Any, Literal, NamedTuple, cast

import orjson

from structllm.archive.bodies import Body
from structllm.archive.reading import Segment, load_manifest, segments
from structllm.archive.store import Store, StoreError
from structllm.chain import Hasher
from structllm.figures import counted
from structllm.query import Filter
from structllm.segment.lines import Lines, ReadReport, describe, parse

Outcome = Literal["restored", "there", "nothing", "conflict", "altered", "missing", "unreadable"]

FAILURES: tuple[Outcome, ...] = ("conflict", "altered", "missing", "unreadable")
"""Outcomes of segments of which there is no file now that holds what was asked for."""

JOURNAL = ".restored.jsonl"
"""What was restored to a directory, one line each: what goes on after an interruption begins behind these."""

_SUFFIX = ".jsonl"
_CHUNK_BYTES = 1024 * 1024


class Restored(NamedTuple):
    """What became of one segment.

    Attributes:
        outcome: `restored` (fetched now), `there` (it was already), `nothing` (no line of it is wanted), `conflict` (a
            file of that name holds something else), `altered` (not what the archive was given), `missing`,
            `unreadable`.
        segment: Which one.
        path: The file; where there is none, the one that would be.
        size_bytes: Of the file.
        records: Lines in it that are events.
        text: What else is to be said, as one sentence; mostly nothing.
    """

    outcome: Outcome
    segment: Segment
    path: str
    size_bytes: int = 0
    records: int = 0
    text: str = ""


class _Made(NamedTuple):
    """A file that was made of a segment."""

    sha256: str
    size_bytes: int
    records: int


def restore(
    store: Store,
    directory: str | os.PathLike[str],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    session: str | None = None,
    progress: Callable[[int], None] = lambda _bytes: None,
) -> Iterator[Restored]:
    """Restore the segments that a range of time needs, and yield what became of each.

    A file appears when all of it is on the disk and is what the manifest says. Without a session it holds all lines of
    its segment, those outside of the range too. Nothing that is there is overwritten.

    Args:
        store: The archive.
        directory: Where the files go; made where it is not there.
        since: Segments without events from then on are left out.
        until: Segments without events up to then are.
        session: Only lines of this session; the beginning of its id will do.
        progress: Is told how many bytes of objects have been dealt with since it was told last.

    Raises:
        OSError: The directory cannot be written to.
        StoreError: The archive cannot be listed.
    """
    restoring = _Restoring(store, os.fspath(directory), session, progress)
    for segment in segments(store, since, until):
        yield restoring.restore(segment)


class _FailedReading(Exception):
    """The object, not the disk, is why a segment could not be restored."""


class _Restoring:
    """Restores to one directory."""

    def __init__(self, store: Store, directory: str, session: str | None, progress: Callable[[int], None]) -> None:
        self._store = store
        self._directory = directory
        self._session = session
        self._wanted = None if session is None else Filter(session=session)
        self._progress = progress
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._journal = _Journal(os.path.join(directory, JOURNAL))

    def restore(self, segment: Segment) -> Restored:
        """Restore one segment."""
        # A name of a segment is letters, digits and hyphens, whatever the key was.
        path = os.path.join(self._directory, segment.name.stem + _SUFFIX)
        if segment.key is None:
            return Restored("missing", segment, path, text="its manifest is there, the object is not")
        try:
            sha256 = self._sha256_of(segment, segment.key)
            done = self._done_already(segment, path, sha256)
            if done is not None:
                self._progress(segment.size_bytes)
                return done
            return self._fetch(segment, segment.key, path, sha256)
        except _FailedReading as error:
            return Restored("unreadable", segment, path, text=str(error))
        except ValueError as error:
            return Restored("altered", segment, path, text=f"its manifest was changed: {error}")

    def _sha256_of(self, segment: Segment, key: str) -> str | None:
        """Return the checksum that the object should have; None where nobody knows."""
        try:
            if segment.manifests:
                return load_manifest(self._store, segment.manifests[0]).sha256
            found = self._store.find(key)
        except (OSError, StoreError) as error:
            raise _FailedReading(f"what it should be could not be read: {describe(error)}") from None
        return found.sha256 if found else None

    def _done_already(self, segment: Segment, path: str, sha256: str | None) -> Restored | None:
        made = self._journal.find(segment.name.stem, sha256, self._session)
        if made is None:
            return None
        if not made.size_bytes and self._wanted is not None:
            return Restored("nothing", segment, path)
        if _sha256_of_file(path) != made.sha256:
            return None
        return Restored("there", segment, path, made.size_bytes, made.records)

    def _fetch(self, segment: Segment, key: str, path: str, sha256: str | None) -> Restored:
        temporary = os.path.join(self._directory, f".{segment.name.stem}.{secrets.token_hex(8)}.part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
                writing = _Writing(file, self._wanted)
                body = self._copy(key, writing)
                file.flush()
                os.fsync(file.fileno())
            made = writing.made
            if sha256 not in (None, body.sha256):
                return Restored("altered", segment, path, text="its bytes are not those that were stored (sha256)")
            if body.damage is not None:
                return Restored("altered", segment, path, text=body.damage)
            if self._wanted is not None and not made.size_bytes:
                self._journal.add(segment.name.stem, body.sha256, self._session, made)
                return Restored("nothing", segment, path, text=writing.left_out)
            outcome = self._give_name(temporary, path, made)
            if outcome == "conflict":
                text = "a file of this name is there and holds something else; restore to another directory"
                return Restored(outcome, segment, path, text=text)
            self._journal.add(segment.name.stem, body.sha256, self._session, made)
            unproved = "" if segment.manifests else "it has no manifest, so nothing tells what it was"
            text = "; ".join(filter(None, (writing.left_out, unproved)))
            return Restored(outcome, segment, path, made.size_bytes, made.records, text)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)

    def _copy(self, key: str, writing: "_Writing") -> Body:
        told = 0
        try:
            with self._store.open(key) as reader:
                body = Body(reader)
                for chunk in _guarded(body):
                    writing.write(chunk)
                    self._progress(body.size_bytes - told)
                    told = body.size_bytes
                writing.finish()
                self._progress(body.size_bytes - told)
                return body
        except StoreError as error:
            raise _FailedReading(describe(error)) from None

    def _give_name(self, temporary: str, path: str, made: _Made) -> Outcome:
        """Let the file appear under its name, unless another one has it."""
        try:
            os.link(temporary, path)
        except FileExistsError:
            return "there" if _sha256_of_file(path) == made.sha256 else "conflict"
        except OSError:  # a file system without hard links
            if os.path.lexists(path):
                return "there" if _sha256_of_file(path) == made.sha256 else "conflict"
            os.rename(temporary, path)
        return "restored"


def _guarded(body: Body) -> Iterator[bytes]:
    """Yield the content; a failure to read it is told from one to write it."""
    content = body.chunks()
    while True:
        try:
            chunk = next(content, None)
        except (OSError, EOFError, StoreError) as error:
            raise _FailedReading(describe(error)) from None
        if chunk is None:
            return
        yield chunk


class _Writing:
    """Writes content to a file: all of it, or the wanted lines.

    Args:
        file: Open for writing.
        wanted: Which events; None for whatever there is.
    """

    def __init__(self, file: IO[bytes], wanted: Filter | None) -> None:
        self._file = file
        self._wanted = wanted
        self._lines = Lines()
        self._report = ReadReport()
        self._digest = hashlib.sha256()
        self._size_bytes = self._records = 0

    def write(self, chunk: bytes) -> None:
        """Take a piece of the content."""
        if self._wanted is None:
            self._put(chunk)
        self._take(chunk)

    def finish(self) -> None:
        """Take a last line that has no newline."""
        if self._lines.rest:
            self._take(b"\n")

    @property
    def made(self) -> _Made:
        """What was written."""
        return _Made(self._digest.hexdigest(), self._size_bytes, self._records)

    @property
    def left_out(self) -> str:
        """What was neither an event of the session nor of another one, as words."""
        if self._wanted is None or not self._report.bad_lines:
            return ""
        return f"left out {counted(self._report.bad_lines, 'line')} in which no session can be read"

    def _take(self, chunk: bytes) -> None:
        for event, line in parse("", self._lines.feed(chunk), self._report):
            if self._wanted is None:
                self._records += 1
            elif self._wanted(event):
                self._records += 1
                self._put(line + b"\n")

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self._size_bytes += len(data)


class _Journal:
    """Remembers what was restored to a directory, across interruptions."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        with suppress(FileNotFoundError), open(path, "rb", opener=_no_links) as file:
            for line in file:
                with suppress(ValueError):
                    entry: object = orjson.loads(line)
                    if isinstance(entry, dict):
                        known = cast("dict[str, Any]", entry)
                        self._known[str(known.get("segment"))] = known

    def find(self, stem: str, sha256: str | None, session: str | None) -> _Made | None:
        """Return what was made of a segment, if it was made of this object and for this session."""
        known = self._known.get(stem)
        if known is None or sha256 is None or (known.get("of_sha256"), known.get("session")) != (sha256, session):
            return None
        try:
            return _Made(str(known["sha256"]), int(known["size_bytes"]), int(known["records"]))
        except (KeyError, TypeError, ValueError):
            return None

    def add(self, stem: str, sha256: str, session: str | None, made: _Made) -> None:
        """Remember a file that is on the disk."""
        line = orjson.dumps({"segment": stem, "of_sha256": sha256, "session": session, **made._asdict()})
        with open(self._path, "ab", buffering=0, opener=_no_links) as file:
            file.write(b"\n" + line + b"\n")  # behind what may be half of a line


def _no_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _sha256_of_file(path: str) -> str | None:
    """Return the checksum of a regular file, or None where there is none."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb", opener=_no_links) as file:
            _feed(file, digest)
    except OSError:
        return None
    return digest.hexdigest()


def _feed(file: BufferedReader, digest: Hasher) -> None:
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
