"""Checking an archive: every way of changing it is found, and an archive that nobody changed verifies.

Each tampering is tried on lines with a chain and on lines without, and each check is shown to be needed: with it taken
out, what it is for goes unnoticed.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structllm.archive import Compression, SegmentName, StoreUnavailable
from structllm.archive.checking import FAILURES, Remark, check_archive
from tests.archive.building import OTHER, OWNER, Archive, chained, lines_of, pack, put_manifest, sealed
from tests.archive.memory_store import MemoryStore
from tests.cli.recording import WRITER, LogBuilder

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SEGMENTS = 4
OWN = 6  # lines in each segment
LAST = SEGMENTS - 1


class Filled:
    """A store with the segments of one owner, and its lines.

    Args:
        chain: Whether the lines are sealed.
        key: Of the chain.
        compression: Of the objects.
        final: Whether the owner has closed.
    """

    def __init__(
        self, *, chain: bool = False, key: bytes | None = None, compression: Compression = "zstd", final: bool = True
    ) -> None:
        log = LogBuilder(NOON)
        for number in range(SEGMENTS * OWN):
            log.request(f"r{number}")
        lines = chained(lines_of(log), WRITER, key) if chain else lines_of(log)
        self.lines = [lines[at : at + OWN] for at in range(0, len(lines), OWN)]
        self.store = MemoryStore()
        self.archive = Archive(self.store, compression=compression)
        for number, part in enumerate(self.lines):
            self.archive.add(part, NOON + number * HOUR, final=final and number == LAST)
        self.manifests = self.archive.manifests

    def object_key(self, at: int) -> str:
        """Return where a segment is."""
        return self.manifests[at].object_key

    def replace_lines(self, at: int, lines: list[bytes], *, with_manifest: bool = False) -> None:
        """Put other lines into a segment; if asked for, with a manifest that fits."""
        old = self.manifests[at]
        new, body = sealed(lines, old.name, old.compression, old.previous_sha256, final=old.final)
        self.store.objects[old.object_key] = body
        self.store.metadata[old.object_key] = new.metadata()
        if with_manifest:
            del self.store.objects[old.key]
            put_manifest(self.store, new)

    def drop(self, at: int, *, with_manifest: bool = True) -> None:
        """Take a segment away."""
        del self.store.objects[self.object_key(at)]
        if with_manifest:
            del self.store.objects[self.manifests[at].key]

    def replay(self, at: int, name: SegmentName, *, previous: str | None = None, with_manifest: bool = True) -> None:
        """Store an old segment under a new name."""
        manifest, body = sealed(self.lines[at], name, "gzip", previous)
        self.store.objects[manifest.object_key] = body
        if with_manifest:
            self.store.objects[manifest.key] = manifest.to_json()

    def check(self, key: bytes | None = None) -> list[Remark]:
        """Check the store."""
        return list(check_archive(self.store, key))

    def failures(self, key: bytes | None = None) -> list[Remark]:
        """Return what makes the check fail."""
        return [remark for remark in self.check(key) if remark.verdict in FAILURES]

    def verdicts(self) -> set[str]:
        """Return the verdicts."""
        return {remark.verdict for remark in self.check()}


def swapped(lines: list[bytes]) -> list[bytes]:
    """Exchange two lines."""
    return [lines[1], lines[0], *lines[2:]]


EDITS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "altered": lambda lines: [*lines[:2], lines[2].replace(b"45230.5", b"45231.5"), *lines[3:]],
    "deleted": lambda lines: [*lines[:2], *lines[3:]],
    "inserted": lambda lines: [*lines[:2], lines[2].replace(b"45230.5", b"45231.5"), *lines[2:]],
    "duplicated": lambda lines: [*lines[:2], lines[0], *lines[2:]],
    "swapped": swapped,
    "cut": lambda lines: lines[:-2],
    "emptied": lambda lines: [],
}


class TestIntact:
    @pytest.mark.parametrize("chain", [False, True])
    @pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
    def test_whole(self, compression: Compression, chain: bool) -> None:
        """An archive that nobody changed is intact, and nothing else is said."""
        found = Filled(chain=chain, compression=compression).check()
        assert [Remark("intact", f"4 segments (1-4) of {OWNER}, 24 records", owner=OWNER)] == found

    def test_each_object_is_opened_once(self) -> None:
        """Checking reads every object and every manifest, each once."""
        filled = Filled(chain=True)
        filled.check()
        assert dict.fromkeys(filled.store.objects, 1) == dict(filled.store.opened)

    def test_hmac(self) -> None:
        """With its key, an archive sealed with integrity=hmac is intact."""
        key = hashlib.sha256(b"a").digest()
        assert [] == Filled(chain=True, key=key).failures(key)

    @pytest.mark.parametrize(("given", "remedy"), [(None, "give the key"), (b"x" * 16, "the right key?")])
    def test_another_key(self, given: bytes | None, remedy: str) -> None:
        """Without it, or with another one, that is one finding, which says so."""
        (failure,) = Filled(chain=True, key=hashlib.sha256(b"a").digest()).failures(given)
        assert ("altered", True) == (failure.verdict, remedy in failure.text)

    def test_empty(self) -> None:
        """Nothing is said of nothing."""
        assert [] == list(check_archive(MemoryStore()))

    def test_two_owners(self) -> None:
        """Owners are told apart, each with its own numbers."""
        filled = Filled()
        log = LogBuilder(NOON, "other")
        log.request("x")
        Archive(filled.store, OTHER).add(lines_of(log), NOON, final=True)
        assert [("intact", OWNER), ("intact", OTHER)] == [(each.verdict, each.owner) for each in filled.check()]

    def test_final_segment_without_lines(self) -> None:
        """An owner may close without anything more to say."""
        filled = Filled(final=False)
        filled.archive.add([], NOON + 9 * HOUR, final=True)
        assert {"intact"} == filled.verdicts()

    def test_line_that_a_crash_broke(self) -> None:
        """Half of a line that was there when the segment was sealed proves nothing."""
        filled = Filled(final=False)
        filled.archive.add([b'{"event_type":"ru\n'], NOON + 9 * HOUR, final=True)
        assert {"intact"} == filled.verdicts()


class TestUnanchored:
    def test_last_of_a_killed_process(self) -> None:
        """The last segment, if its owner never closed, is unanchored, which is no failure."""
        filled = Filled(final=False)
        (remark,) = [remark for remark in filled.check() if remark.verdict != "intact"]
        assert ("unanchored", filled.object_key(LAST)) == (remark.verdict, remark.key)

    def test_without_manifest(self) -> None:
        """An object without a manifest is unanchored, as long as it is what the store was given."""
        filled = Filled()
        del filled.store.objects[filled.manifests[1].key]
        assert ["intact", "unanchored"] == [remark.verdict for remark in filled.check()]

    def test_tail_cut_at_a_segment(self) -> None:
        """Without its last segments an archive is never said to be whole."""
        filled = Filled()
        filled.drop(LAST)
        assert "unanchored" in filled.verdicts()

    def test_nobody_knew_what_came_before(self) -> None:
        """A manifest that does not name the segment before leaves that one unanchored."""
        filled = Filled(final=False)
        forgetful = replace(filled.manifests[LAST], previous_sha256=None)
        filled.store.objects[forgetful.key] = forgetful.to_json()
        found = [remark.key for remark in filled.check() if remark.verdict == "unanchored"]
        assert [filled.object_key(LAST - 1), filled.object_key(LAST)] == found

    def test_strays(self) -> None:
        """What does not belong there is told."""
        filled = Filled()
        filled.store.objects["v1/x"] = b""
        assert ["intact", "unanchored"] == [remark.verdict for remark in filled.check()]


@pytest.mark.parametrize("chain", [False, True])
class TestTampering:
    """Whatever is done to an archive is a failure, and names the object."""

    @pytest.mark.parametrize("at", range(SEGMENTS))
    @pytest.mark.parametrize("edit", EDITS)
    def test_lines(self, edit: str, at: int, chain: bool) -> None:
        """Lines that are not those that were stored are found by the manifest."""
        filled = Filled(chain=chain)
        filled.replace_lines(at, EDITS[edit](filled.lines[at]))
        assert ("altered", filled.object_key(at)) in [(each.verdict, each.key) for each in filled.failures()]

    @pytest.mark.parametrize("at", range(SEGMENTS - 1))
    @pytest.mark.parametrize("edit", EDITS)
    def test_lines_and_manifest(self, edit: str, at: int, chain: bool) -> None:
        """Where the manifest was made to fit, the next one proves what was there."""
        filled = Filled(chain=chain)
        filled.replace_lines(at, EDITS[edit](filled.lines[at]), with_manifest=True)
        assert filled.object_key(at) in [each.key for each in filled.failures()]

    @pytest.mark.parametrize("at", range(SEGMENTS - 1))
    @pytest.mark.parametrize("with_manifest", [False, True])
    def test_dropped(self, at: int, with_manifest: bool, chain: bool) -> None:
        """A segment that is gone is missing, with its manifest or without."""
        filled = Filled(chain=chain)
        filled.drop(at, with_manifest=with_manifest)
        assert "missing" in {remark.verdict for remark in filled.failures()}

    def test_last_object_dropped(self, chain: bool) -> None:
        """The last one, too, while its manifest is there."""
        filled = Filled(chain=chain)
        filled.drop(LAST, with_manifest=False)
        assert [("missing", filled.object_key(LAST))] == [(each.verdict, each.key) for each in filled.failures()]

    @pytest.mark.parametrize("with_manifest", [False, True])
    @pytest.mark.parametrize("owner", [OWNER, OTHER])
    def test_replayed(self, owner: str, with_manifest: bool, chain: bool) -> None:
        """An old segment under a new name is found, whoever is said to have written it."""
        filled = Filled(chain=chain, final=False)
        number = SEGMENTS + 1 if owner == OWNER else 1
        previous = filled.manifests[LAST].sha256 if owner == OWNER else None
        name = SegmentName.begun((NOON + 9 * HOUR).timestamp(), owner, number)
        filled.replay(0, name, previous=previous, with_manifest=with_manifest)
        assert "altered" in {remark.verdict for remark in filled.failures()}

    def test_exchanged(self, chain: bool) -> None:
        """Two objects that changed places are both told."""
        filled = Filled(chain=chain)
        one, other = filled.object_key(0), filled.object_key(1)
        objects = filled.store.objects
        objects[one], objects[other] = objects[other], objects[one]
        assert {one, other} <= {each.key for each in filled.failures() if each.verdict == "altered"}

    def test_moved(self, chain: bool) -> None:
        """An object in another place than its own is told."""
        filled = Filled(chain=chain)
        old = filled.object_key(1)
        filled.store.objects[old.replace("hour=13", "hour=14")] = filled.store.objects.pop(old)
        assert {"missing", "altered"} & {remark.verdict for remark in filled.failures()}

    def test_behind_the_last(self, chain: bool) -> None:
        """A segment behind the one that was the last is told."""
        filled = Filled(chain=chain)
        log = LogBuilder(NOON, "late")
        log.request("x")
        filled.archive.add(lines_of(log), NOON + 9 * HOUR, final=True)
        assert {("altered", filled.object_key(SEGMENTS))} == {(each.verdict, each.key) for each in filled.failures()}

    def test_stored_twice(self, chain: bool) -> None:
        """A segment that is there in two compressions is told."""
        filled = Filled(chain=chain)
        manifest, body = sealed(filled.lines[1], filled.manifests[1].name, "none")
        filled.store.objects[manifest.object_key] = body
        assert "altered" in {remark.verdict for remark in filled.failures()}

    def test_two_manifests(self, chain: bool) -> None:
        """A segment with two manifests is told."""
        filled = Filled(chain=chain)
        old = filled.manifests[1]
        other = replace(old, summary=replace(old.summary, first_ms=0))
        filled.store.objects[other.key] = other.to_json()
        assert "altered" in {remark.verdict for remark in filled.failures()}

    def test_end_of_an_open_owner(self, chain: bool) -> None:
        """The last segment of a killed process is still bound to its manifest."""
        filled = Filled(chain=chain, final=False)
        filled.replace_lines(LAST, EDITS["cut"](filled.lines[LAST]))
        assert ("altered", filled.object_key(LAST)) in [(each.verdict, each.key) for each in filled.failures()]

    def test_no_manifest_and_other_bytes(self, chain: bool) -> None:
        """Without its manifest an object is still compared with what the store knows of it."""
        filled = Filled(chain=chain, final=False)
        key = filled.object_key(LAST)
        del filled.store.objects[filled.manifests[LAST].key]
        filled.store.objects[key] = pack(b"".join(filled.lines[LAST][:-1]), "zstd")
        assert ("altered", key) in [(each.verdict, each.key) for each in filled.failures()]


class TestFlips:
    """No byte of an archive can be changed."""

    @given(data=st.data(), chain=st.booleans(), compression=st.sampled_from(["zstd", "gzip", "none"]))
    def test_any_byte(self, data: st.DataObject, chain: bool, compression: Compression) -> None:
        """Another byte anywhere, in an object or a manifest, is found, and the one that holds it is named."""
        filled = Filled(chain=chain, compression=compression)
        key = data.draw(st.sampled_from(sorted(filled.store.objects)))
        body = bytearray(filled.store.objects[key])
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
        filled.store.objects[key] = bytes(body)
        failures = filled.failures()
        assert failures
        segment = SegmentName.parse(key.rpartition("/")[2])
        assert segment is not None
        # A manifest whose word on the segment before was changed makes that one look wrong, and is named in the text.
        assert any(segment.stem in remark.text for remark in failures)

    @given(data=st.data(), cut=st.booleans())
    def test_any_length(self, data: st.DataObject, cut: bool) -> None:
        """An object or manifest that was cut off or added to is found."""
        filled = Filled()
        key = data.draw(st.sampled_from(sorted(filled.store.objects)))
        body = filled.store.objects[key]
        at = data.draw(st.integers(0, len(body) - 1))
        filled.store.objects[key] = body[:at] if cut else body + body[at:]
        assert filled.failures()

    def test_every_field_of_a_manifest(self) -> None:
        """No value in a manifest can be changed to another one of its kind, but that of an unproved `final`."""
        for name in json.loads(Filled().manifests[1].to_json()):
            self.change(name, lambda body: body)
        for name in json.loads(Filled().manifests[1].to_json())["summary"]:
            self.change(name, lambda body: body["summary"])

    def change(self, name: str, within: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Change one value; expect a failure."""
        filled = Filled()
        old = filled.manifests[1]
        body = json.loads(old.to_json())
        place = within(body)
        place[name] = another(place[name])
        data = json.dumps(body, separators=(",", ":"), sort_keys=True).encode() + b"\n"
        filled.store.objects[old.key] = data
        assert filled.failures(), name


def another(value: Any) -> Any:
    """Return another value of the same kind."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value[:-1] + ("0" if value[-1] != "0" else "1")
        case list():
            return [*value, 99]
        case dict():
            return {}
        case _:
            return "0" * 64


class TestLines:
    """Where lines are sealed, they are named."""

    def test_line_is_named(self) -> None:
        """An altered line is named with its object."""
        filled = Filled(chain=True)
        filled.replace_lines(1, EDITS["altered"](filled.lines[1]))
        assert ("altered", filled.object_key(1), 3, WRITER) in [
            (each.verdict, each.key, each.line, each.writer) for each in filled.failures()
        ]

    def test_across_segments(self) -> None:
        """A chain goes on from one segment to the next: what is gone in between is missing there."""
        filled = Filled(chain=True)
        filled.drop(1)
        assert ("missing", filled.object_key(2), 1) in [
            (each.verdict, each.key, each.line) for each in filled.failures()
        ]

    def test_unsealed_line_put_in(self) -> None:
        """A line without a seal, between lines that have one, is told, whatever the manifest says."""
        filled = Filled(chain=True, final=False)
        forged = filled.lines[LAST][0].partition(b',"sink_seq"')[0] + b"}\n"
        filled.replace_lines(LAST, [*filled.lines[LAST], forged], with_manifest=True)
        assert ("altered", filled.object_key(LAST), OWN + 1) in [
            (each.verdict, each.key, each.line) for each in filled.failures()
        ]


class TestTrouble:
    """What cannot be read is told from what is wrong."""

    @pytest.mark.parametrize("what", ["object", "manifest"])
    def test_no_connection(self, what: str) -> None:
        """An object that cannot be opened is unreadable, and its lines are not missing."""
        filled = Filled(chain=True)
        key = filled.object_key(1) if what == "object" else filled.manifests[1].key
        filled.store.fails[key] = StoreUnavailable("timeout", "no answer")
        (failure,) = filled.failures()
        assert ("unreadable", key, True) == (failure.verdict, failure.key, "no answer" in failure.text)

    def test_connection_breaks(self) -> None:
        """A connection that breaks is no damage."""
        filled = Filled()
        filled.store.breaks_at[filled.object_key(1)] = 50
        assert [("unreadable", filled.object_key(1))] == [(each.verdict, each.key) for each in filled.failures()]

    def test_gone_meanwhile(self) -> None:
        """An object that goes away after it was listed is missing."""
        filled = Filled()
        filled.store.fails[filled.object_key(1)] = StoreUnavailable("not_found", "it is not there")
        assert [("missing", filled.object_key(1))] == [(each.verdict, each.key) for each in filled.failures()]


class TestSince:
    def test_what_is_old_may_be_deleted(self) -> None:
        """From an hour on, what came before is not missed; what is gone behind it is."""
        filled = Filled(chain=True)
        filled.drop(0)
        assert "missing" in {remark.verdict for remark in filled.failures()}
        assert ["intact"] == [each.verdict for each in check_archive(filled.store, since=NOON + HOUR)]
        filled.drop(2)
        assert "missing" in {each.verdict for each in check_archive(filled.store, since=NOON + HOUR)}


def nothing(*_: object, **__: object) -> Iterator[Remark]:
    """Find nothing."""
    return iter(())


def replayed_elsewhere(filled: Filled) -> None:
    """Store an old segment as another owner's, closed and with a manifest."""
    manifest, body = sealed(filled.lines[0], SegmentName.begun(NOON.timestamp(), OTHER, 1), "gzip", final=True)
    filled.store.objects[manifest.object_key] = body
    filled.store.objects[manifest.key] = manifest.to_json()


class TestMutants:
    """A check that is taken out is missed: what it alone finds goes unnoticed."""

    MUTANTS: tuple[tuple[str, Any, Callable[[Filled], Any]], ...] = (
        ("_Owner._compare", nothing, lambda f: f.replace_lines(1, EDITS["altered"](f.lines[1]))),
        (
            "_Owner._check_link",
            nothing,
            lambda f: f.replace_lines(1, EDITS["altered"](f.lines[1]), with_manifest=True),
        ),
        ("_Owner._check_number", None, lambda f: f.drop(1)),
        ("_differing", lambda told, found: [], lambda f: recount(f)),
    )

    @pytest.mark.parametrize(("name", "mutant", "tamper"), MUTANTS, ids=[name for name, *_ in MUTANTS])
    def test_goes_unnoticed(
        self,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        mutant: Any,
        tamper: Callable[[Filled], Any],
    ) -> None:
        """The check as it is finds the change, and without one of its parts it does not."""
        filled = Filled()
        tamper(filled)
        assert filled.failures()
        if mutant is None:
            monkeypatch.setattr("structllm.archive.checking._Owner._check_number", unnumbered)
        else:
            monkeypatch.setattr(f"structllm.archive.checking.{name}", mutant)
        assert [] == filled.failures()

    def test_copies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """So is the comparison of contents."""
        filled = Filled()
        replayed_elsewhere(filled)
        assert filled.failures()
        monkeypatch.setattr("structllm.archive.checking._Owner._copied_from", lambda *_: None)
        assert [] == filled.failures()

    def test_chain(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """So is the chain of lines: it alone finds what was changed in the last segment together with its manifest."""
        filled = Filled(chain=True)
        filled.replace_lines(LAST, EDITS["altered"](filled.lines[LAST]), with_manifest=True)
        assert filled.failures()
        monkeypatch.setattr("structllm.archive.checking._Owner._check_lines", nothing)
        assert [] == filled.failures()


def recount(filled: Filled) -> None:
    """Let the last manifest tell of more records than there are."""
    old = filled.manifests[LAST]
    new = replace(old, summary=replace(old.summary, records=99))
    filled.store.objects[new.key] = new.to_json()


def unnumbered(owner: Any, number: int, same: list[Any]) -> Iterator[Remark]:
    """Check the segments of a number without asking whether they follow those before."""
    for part in same:
        yield from owner._check_segment(part, None)
