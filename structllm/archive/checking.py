"""Checking a whole archive: every object against its manifest, and every owner's segments against each other.

A manifest holds the checksum of its object, and the checksum of the segment before. So one that was changed, put in or
taken out does not fit what comes behind it. The last segment of an owner has nothing behind it, unless it says itself
that it is the last: it is *unanchored*, and what was cut off behind it cannot be seen.
"""

import hashlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import fields
from datetime import UTC, datetime
from itertools import groupby
from typing import Literal, NamedTuple

from structllm.archive.bodies import Body
from structllm.archive.manifest import Manifest, Summary, summarise
from structllm.archive.reading import Segment, load_manifest, segments, strays
from structllm.archive.store import Store, StoreError
from structllm.chain import Hasher, hasher
from structllm.figures import counted
from structllm.segment.lines import Lines, describe
from structllm.tampering import PROBLEMS, Finding, Place
from structllm.verification import LogCheck

Verdict = Literal["intact", "missing", "altered", "unanchored", "unreadable"]

FAILURES: tuple[Verdict, ...] = ("missing", "altered", "unreadable")
"""Verdicts of what is not as it was stored, or could not be looked at."""

_OF_CHAIN: dict[str, Verdict] = {**dict.fromkeys(PROBLEMS, "altered"), "missing": "missing", "unproven": "unanchored"}
"""What findings about sealed lines amount to; what a crash leaves (`bad`, `duplicate`) was there when it was sealed."""


class Remark(NamedTuple):
    """What is to be said of an archive.

    Attributes:
        verdict: In one word.
        text: One sentence.
        key: Of the object or manifest concerned; empty for all of an owner.
        line: Number of the line in it, from 1; None for all of it.
        owner: Whose segments; empty where that is not known.
        writer: Whose lines; empty where it is no matter of lines.
    """

    verdict: Verdict
    text: str
    key: str = ""
    line: int | None = None
    owner: str = ""
    writer: str = ""


def check_archive(store: Store, key: bytes | None = None, since: datetime | None = None) -> Iterator[Remark]:
    """Read an archive, and yield what is to be said of it, one owner after the other.

    Memory grows with the number of segments, not with what is in them.

    Args:
        store: The archive.
        key: Of integrity=hmac, where its lines are sealed so.
        since: What was begun in an earlier hour is not looked at, nor missed: a bucket may delete what is old.

    Raises:
        StoreError: The archive cannot be listed.
    """
    owners: dict[str, list[Segment]] = {}
    first_hour = "" if since is None else since.astimezone(UTC).strftime("%Y%m%dT%H")
    for segment in segments(store):
        if segment.name.hour >= first_hour:
            owners.setdefault(segment.name.owner, []).append(segment)
    contents: dict[str, str] = {}
    # A copy under another name is told of the copy rather than of the original, where one of them has no manifest.
    for owner in sorted(owners, key=lambda name: (not all(part.manifests for part in owners[name]), name)):
        yield from _Owner(store, owner, key, contents, whole=since is None).check(owners[owner])
    for found in strays(store):
        yield Remark("unanchored", f"{found.key} is called neither like a segment nor like a manifest", found.key)


class _Link(NamedTuple):
    """A segment, for the one behind it."""

    number: int
    key: str
    sha256: str | None
    final: bool


class _Owner:
    """Checks the segments of one owner.

    Args:
        store: The archive.
        owner: The owner.
        key: Of integrity=hmac.
        contents: Checksum of each content that was met, with the key of its object.
        whole: Whether its first segment is to be there.
    """

    def __init__(self, store: Store, owner: str, key: bytes | None, contents: dict[str, str], *, whole: bool) -> None:
        self._store = store
        self._owner = owner
        self._keyed = key is not None
        self._contents = contents
        self._whole = whole
        self._lines = LogCheck(hasher(key))
        self._last: _Link | None = None
        self._records = 0
        self._unread = False

    def check(self, parts: Iterable[Segment]) -> Iterator[Remark]:
        """Yield what is to be said of them."""
        ordered = sorted(parts, key=lambda part: (part.name.number, part.name.hour, part.key or ""))
        remarks: list[Remark] = []
        for number, same in groupby(ordered, key=lambda part: part.name.number):
            remarks += self._check_number(number, list(same))
        remarks += self._check_lines()
        if self._last is not None and not self._last.final:
            text = f"{self._last.key}: no segment behind it proves that it is the last one of its owner"
            remarks.append(self._remark("unanchored", text, self._last.key))
        if not any(remark.verdict in FAILURES for remark in remarks):
            span = f"{ordered[0].name.number:,}-{ordered[-1].name.number:,}"
            text = f"{counted(len(ordered), 'segment')} ({span}) of {self._owner}, {counted(self._records, 'record')}"
            yield self._remark("intact", text)
        yield from remarks

    def _check_number(self, number: int, same: list[Segment]) -> Iterator[Remark]:
        before = self._last
        expected = before.number + 1 if before else 1 if self._whole else number
        at = same[0].key or same[0].manifests[0]
        if number > expected:
            gone = f"segment {expected}" if number == expected + 1 else f"segments {expected}-{number - 1}"
            yield self._remark("missing", f"{gone} of {self._owner} missing before {at}", at)
        if before is not None and before.final:
            yield self._remark("altered", f"{at} comes behind {before.key}, which was the last one of its owner", at)
        if len(same) > 1 or len(same[0].manifests) > 1:
            keys = sorted({key for part in same for key in (part.key, *part.manifests) if key is not None})
            yield self._remark("altered", f"segment {number} of {self._owner} is there twice: {', '.join(keys)}", at)
        for part in same:
            yield from self._check_segment(part, before if before and before.number == number - 1 else None)

    def _check_segment(self, part: Segment, before: _Link | None) -> Iterator[Remark]:
        manifest: Manifest | None = None
        for manifest_key in part.manifests[:1]:
            try:
                manifest = load_manifest(self._store, manifest_key)
            except ValueError as error:
                yield self._remark("altered", f"{manifest_key}: the manifest was changed: {error}", manifest_key)
            except (OSError, StoreError) as error:
                self._unread = True
                yield self._remark("unreadable", f"{manifest_key} could not be read: {describe(error)}", manifest_key)
        if manifest is not None:
            yield from self._check_link(manifest, before)
        if part.key is None:
            at = manifest.object_key if manifest else part.manifests[0]
            yield self._remark("missing", f"{at}: the manifest is there, the object is not", at)
            self._last = _link(part, at, manifest, None)
            return
        if not part.is_in_place or (manifest is not None and manifest.object_key != part.key):
            yield self._remark("altered", f"{part.key} is not where this segment was stored", part.key)
        found = yield from self._read(part.key)
        if found is not None:
            yield from self._compare(part, manifest, found)
        self._last = _link(part, part.key, manifest, found)

    def _check_link(self, manifest: Manifest, before: _Link | None) -> Iterator[Remark]:
        """Compare what a manifest says of the segment before with what that is."""
        previous = manifest.previous_sha256
        if before is None and previous is not None and manifest.name.number == 1:
            text = f"{manifest.key}: the first segment of its owner names one before it"
            yield self._remark("altered", text, manifest.key)
        elif before is not None and previous is None:
            text = f"{before.key}: the segment behind it does not say what it was"
            yield self._remark("unanchored", text, before.key)
        elif before is not None and before.sha256 is not None and previous != before.sha256:
            text = f"{before.key} is not what it was when the segment behind it was sealed ({manifest.key})"
            yield self._remark("altered", text, before.key)

    def _read(self, key: str) -> "Generator[Remark, None, _Read | None]":
        """Read an object whole, its lines into the chain; return what it is, or None where it could not be read."""
        content = hashlib.sha256()
        try:
            with self._store.open(key) as reader:
                body = Body(reader)
                reading = _Reading(body)
                summary = summarise(self._watched(key, reading, content))
        except StoreError as error:
            self._unread = True
            gone = error.reason == "not_found"
            text = f"{key}: it was listed and is not there" if gone else f"{key} could not be read: {describe(error)}"
            yield self._remark("missing" if gone else "unreadable", text, key)
            return None
        except (OSError, EOFError) as error:
            self._unread = True
            yield self._remark("unreadable", f"{key} could not be read to its end: {describe(error)}", key)
            return None
        self._records += summary.records
        if summary.content_bytes and (other := self._copied_from(key, content.hexdigest())) is not None:
            yield self._remark("altered", f"{key} holds the very lines of {other}: a copy under another name", key)
        return _Read(summary, body.sha256, body.size_bytes, body.damage, reading.has_long)

    def _copied_from(self, key: str, content: str) -> str | None:
        """Return the key of an object that has the same lines, or None."""
        other = self._contents.setdefault(content, key)
        return None if other == key else other

    def _watched(self, key: str, reading: "_Reading", content: Hasher) -> Iterator[bytes]:
        for number, line in enumerate(reading.lines(), 1):
            content.update(line)
            bare = line.removesuffix(b"\n")
            if bare and not bare.isspace():
                self._lines.add(bare, Place(key, number))
            yield line

    def _compare(self, part: Segment, manifest: Manifest | None, found: "_Read") -> Iterator[Remark]:
        """Compare an object with what is known of it."""
        at = part.key or ""
        if manifest is None:
            if self._is_another(at, found.sha256):
                yield self._remark("altered", f"{at}: its bytes are not those that were stored (sha256)", at)
            elif found.damage is not None:
                yield self._remark("altered", f"{at}: {found.damage}", at)
            elif not part.manifests:
                yield self._remark("unanchored", f"{at} has no manifest, so nothing tells what it was", at)
            return
        if (manifest.sha256, manifest.size_bytes) != (found.sha256, found.size_bytes):
            sizes = f"{manifest.size_bytes:,} bytes were stored, {found.size_bytes:,} are there"
            what = sizes if manifest.size_bytes != found.size_bytes else "their sha256 is another one"
            damage = f"; {found.damage}" if found.damage else ""
            yield self._remark("altered", f"{at}: its bytes are not those that were stored: {what}{damage}", at)
        elif found.damage is not None:
            yield self._remark("altered", f"{at}: {found.damage}", at)
        elif not found.has_long and (differing := _differing(manifest.summary, found.summary)):
            text = f"{at}: the manifest is not right about {', '.join(differing)}"
            yield self._remark("altered", text, at)

    def _is_another(self, key: str, sha256: str) -> bool:
        """Return whether the store itself knows of an object that it has another checksum."""
        try:
            known = self._store.find(key)
        except StoreError:
            return False
        return known is not None and known.sha256 not in (None, sha256)

    def _check_lines(self) -> Iterator[Remark]:
        """Tell what the chains of sealed lines prove."""
        check = self._lines
        check.finish()
        if not check.chains:
            return
        altered = check.count["altered"]
        if altered > 1 and not any(chain.proved for chain in check.chains.values()):
            remedy = "is that the right key?" if self._keyed else "written with integrity=hmac? Then give the key"
            yield self._remark("altered", f"no hash of {altered:,} lines of {self._owner} is right; {remedy}")
            return
        for finding in check.findings:
            verdict = _OF_CHAIN.get(finding.verdict)
            if verdict is None or (verdict == "missing" and self._unread):  # those are in what could not be read
                continue
            if finding.verdict == "unproven" and not self._whole:
                continue
            yield self._of_line(verdict, finding)
        if (more := check.count.total() - len(check.findings)) > 0:
            yield self._remark("altered", f"and {counted(more, 'more finding')} in lines of {self._owner}")

    def _of_line(self, verdict: Verdict, finding: Finding) -> Remark:
        return Remark(verdict, finding.text, finding.place.path, finding.place.line, self._owner, finding.writer)

    def _remark(self, verdict: Verdict, text: str, key: str = "") -> Remark:
        return Remark(verdict, text, key, None, self._owner)


class _Read(NamedTuple):
    """What an object was found to be."""

    summary: Summary
    sha256: str
    size_bytes: int
    damage: str | None
    has_long: bool


class _Reading:
    """The lines of a body, each with its newline where it has one.

    Attributes:
        has_long: Whether one of them is longer than a line may be, so that it was left out.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self.has_long = False

    def lines(self) -> Iterator[bytes]:
        """Yield them."""
        cutting = Lines()
        for chunk in self._body.chunks():
            for _, line in cutting.feed(chunk):
                if line is None:
                    self.has_long = True
                else:
                    yield line + b"\n"
        if cutting.rest:
            for _, line in cutting.feed(b"\n"):
                self.has_long = self.has_long or line is None
                yield line or b""


def _link(part: Segment, key: str, manifest: Manifest | None, found: _Read | None) -> _Link:
    """Return what the segment behind this one should say of it: what the manifest does, or else the object."""
    if manifest is not None:
        return _Link(part.name.number, key, manifest.sha256, bool(manifest.final))
    return _Link(part.name.number, key, None if found is None else found.sha256, final=False)


def _differing(told: Summary, found: Summary) -> list[str]:
    """Return the names of what two summaries do not agree about."""
    return [each.name for each in fields(Summary) if getattr(told, each.name) != getattr(found, each.name)]
