"""Reading an archive: what is fetched, what is not, and what cannot be."""

import hashlib
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structllm.archive import Compression, SegmentName, StoreUnavailable, object_key
from structllm.archive.reading import read_archive, read_newest, segments, strays
from structllm.segment import Entry, ReadReport, unique
from tests.archive.building import OTHER, Archive, lines_of, put_manifest, sealed
from tests.archive.memory_store import MemoryStore
from tests.cli.recording import LogBuilder

NOON = datetime(2024, 1, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KINDS: list[Compression] = ["zstd", "gzip", "none"]
OWN = 5  # events in each segment


def events_from(start: datetime, writer: str = "w", count: int = OWN, first: int = 1) -> list[bytes]:
    """Return the lines of a writer that begins at a time."""
    log = LogBuilder(start, writer)
    log.seq = first - 1
    for number in range(first, first + count):
        log.request(f"{writer}{number}")
    return lines_of(log)


def filled(store: MemoryStore, hours: int = 6) -> Archive:
    """Fill a store with one segment for each hour from noon on."""
    archive = Archive(store)
    for number in range(hours):
        begun = NOON + number * HOUR
        archive.add(events_from(begun, first=number * OWN + 1), begun)
    return archive


def ids(entries: list[Entry]) -> list[str]:
    """Return the request ids of events."""
    return [entry.event["request_id"] for entry in entries]


@pytest.fixture
def store() -> MemoryStore:
    """An empty store."""
    return MemoryStore()


class TestPruning:
    """What a range of time needs is opened once, and nothing else is."""

    @pytest.mark.parametrize(
        ("since", "until", "hours"),
        [
            (None, None, [0, 1, 2, 3, 4, 5]),
            (NOON + 4 * HOUR, None, [4, 5]),
            (None, NOON + HOUR, [0, 1]),
            (NOON + 2 * HOUR, NOON + 2 * HOUR + timedelta(seconds=1), [2]),
            (NOON + 2 * HOUR + timedelta(seconds=OWN), NOON + 3 * HOUR - timedelta(seconds=1), []),
            (NOON + 9 * HOUR, None, []),
        ],
    )
    def test_range(self, store: MemoryStore, since: datetime | None, until: datetime | None, hours: list[int]) -> None:
        """Only the objects whose manifests' keys tell of such times are opened, each once; manifests never are."""
        manifests = filled(store).manifests
        list(read_archive(store, ReadReport(), since, until))
        assert {manifests[hour].object_key: 1 for hour in hours} == dict(store.opened)

    def test_edges_belong_to_the_range(self, store: MemoryStore) -> None:
        """The times of the first and of the last event are within a range that begins or ends there."""
        filled(store, 1)
        last = NOON + timedelta(seconds=OWN - 1)
        assert [1, 0, 1, 0] == [
            len(list(segments(store, since, until)))
            for since, until in (
                (last, None),
                (last + timedelta(milliseconds=1), None),
                (None, NOON),
                (None, NOON - timedelta(milliseconds=1)),
            )
        ]

    def test_imported_events_keep_their_time(self, store: MemoryStore) -> None:
        """Events of last year, archived today, are found by their own time, and only by it."""
        archive = Archive(store)
        last_year = NOON - timedelta(days=365)
        archive.add(events_from(last_year), NOON)
        assert OWN == len(list(read_archive(store, ReadReport(), last_year, last_year + HOUR)))
        assert [] == list(read_archive(store, ReadReport(), NOON - HOUR))
        assert 1 == sum(store.opened.values())

    def test_without_manifest(self, store: MemoryStore) -> None:
        """An object without a manifest may hold anything, so it is read whatever the range."""
        Archive(store).add(events_from(NOON), NOON, with_manifest=False)
        assert OWN == len(list(read_archive(store, ReadReport(), NOON + 9 * HOUR)))

    def test_without_times(self, store: MemoryStore) -> None:
        """A segment whose events have no times is read as well."""
        Archive(store).add([b'{"event_type":"run"}\n'], NOON)
        assert 1 == len(list(read_archive(store, ReadReport(), NOON + 9 * HOUR)))

    def test_reads_as_it_goes(self, store: MemoryStore) -> None:
        """An object is opened when its hour has come, not before."""
        filled(store)
        next(read_archive(store, ReadReport()))
        assert 1 == sum(store.opened.values())


class TestOrder:
    """What comes first."""

    def test_by_hour_and_number(self, store: MemoryStore) -> None:
        """The segments of one owner come in the order in which they were written, past the last eight-digit number."""
        lines = [events_from(NOON, first=number * OWN + 1) for number in range(3)]
        for number, part in zip((99_999_999, 100_000_000, 9), lines, strict=True):
            manifest, body = sealed(part, SegmentName("20240115T12", "h-00000000000000aa", number))
            store.put(manifest.object_key, body, sha256=manifest.sha256, metadata={})
            put_manifest(store, manifest)
        found = list(segments(store))
        assert [9, 99_999_999, 100_000_000] == sorted(part.name.number for part in found)
        assert all(part.key and len(part.manifests) == 1 for part in found)

    def test_owners_are_merged_by_time(self, store: MemoryStore) -> None:
        """What several processes wrote in one hour comes by time."""
        Archive(store).add(events_from(NOON, "a"), NOON)
        Archive(store, OTHER).add(events_from(NOON + timedelta(milliseconds=500), "b"), NOON)
        found = ids(list(read_archive(store, ReadReport())))
        assert [name for number in range(1, OWN + 1) for name in (f"a{number}", f"b{number}")] == found

    def test_many_owners(self, store: MemoryStore) -> None:
        """More processes than are read at once are read one after the other, whole."""
        for number in range(20):
            Archive(store, f"host-{number:016x}").add(events_from(NOON, f"w{number}"), NOON)
        assert 20 * OWN == len(list(read_archive(store, ReadReport())))
        assert {1} == set(store.opened.values())

    def test_stored_twice_is_read_once(self, store: MemoryStore) -> None:
        """Events that two segments hold are one event for who asks for unique ones."""
        Archive(store).add(events_from(NOON), NOON)
        Archive(store, OTHER).add(events_from(NOON), NOON)
        report = ReadReport()
        assert OWN == len(list(unique(read_archive(store, report), report)))
        assert OWN == report.duplicates

    @given(seed=st.integers(0, 2**32), count=st.integers(0, 30))
    def test_every_object_meets_its_manifest(self, seed: int, count: int) -> None:
        """Whatever hours, owners and numbers there are, each object is found once, with its own manifest."""
        draw, store = random.Random(seed), MemoryStore()
        made = {}
        for _ in range(count):
            owner = f"{draw.choice(['a', 'a-b', 'ab', 'a-0'])}-{draw.randrange(3):016x}"
            name = SegmentName.begun(
                draw.randrange(4) * 3600, owner, draw.choice([1, 2, 9, 10, 10**8, 10**8 + 1, 10**9])
            )
            if name in made:
                continue
            manifest, body = sealed(events_from(NOON), name, draw.choice(KINDS))
            store.put(manifest.object_key, body, sha256=manifest.sha256, metadata={})
            has_manifest = draw.random() < 0.7
            if has_manifest:
                put_manifest(store, manifest)
            made[name] = (manifest.object_key, (manifest.key,) if has_manifest else ())
        assert made == {part.name: (part.key, part.manifests) for part in segments(store)}


class TestTrouble:
    """What cannot be read is noted and stops nothing."""

    def broken(self, store: MemoryStore) -> ReadReport:
        """Read a store of which one object cannot be read whole; the others are."""
        report = ReadReport()
        found = list(read_archive(store, report))
        others = {name for number in (0, 2) for name in ids_of(number)}
        assert others <= set(ids(found))
        return report

    def test_object_is_gone(self, store: MemoryStore) -> None:
        """A manifest whose object is gone is told."""
        del store.objects[filled(store, 3).manifests[1].object_key]
        ((path, reason),) = self.broken(store).unreadable
        assert "_manifest/dt=2024-01-15/hour=13/" in path
        assert "is not" in reason

    def test_gone_out_of_range(self, store: MemoryStore) -> None:
        """An object that is gone, and was not asked for, is not told."""
        del store.objects[filled(store, 3).manifests[1].object_key]
        report = ReadReport()
        list(read_archive(store, report, NOON + 2 * HOUR))
        assert [] == report.unreadable

    def test_stored_between_the_listings(self, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """An object that came after the listing of objects had passed its place is read, not missed."""
        archive = filled(store, 3)
        late = archive.manifests[1].object_key
        under = store.under
        monkeypatch.setattr(store, "under", lambda prefix: (found for found in under(prefix) if found.key != late))
        assert [] == self.broken(store).unreadable
        assert 1 == store.opened[late]

    @pytest.mark.parametrize("cut", [1, 10, 200])
    def test_cut_off(self, store: MemoryStore, cut: int) -> None:
        """An object that is not whole is told."""
        key = filled(store, 3).manifests[1].object_key
        store.objects[key] = store.objects[key][:-cut]
        ((path, _),) = self.broken(store).unreadable
        assert f"memory/{key}" == path

    def test_connection_breaks(self, store: MemoryStore) -> None:
        """A connection that breaks in the middle is told."""
        key = filled(store, 3).manifests[1].object_key
        store.breaks_at[key] = 100
        assert [(f"memory/{key}", "the connection broke")] == self.broken(store).unreadable

    def test_no_connection(self, store: MemoryStore) -> None:
        """An object that cannot be opened is told."""
        key = filled(store, 3).manifests[1].object_key
        store.fails[key] = StoreUnavailable("timeout", "no answer")
        assert [(f"memory/{key}", "no answer")] == self.broken(store).unreadable

    def test_not_packed_as_named(self, store: MemoryStore) -> None:
        """An object is unpacked by its content, whatever its name says."""
        name = SegmentName.begun(NOON.timestamp(), "host-00000000000000aa", 1)
        body = b"".join(events_from(NOON))
        store.put(object_key(name, "zstd"), body, sha256=hashlib.sha256(body).hexdigest(), metadata={})
        assert OWN == len(list(read_archive(store, ReadReport())))

    def test_strays(self, store: MemoryStore) -> None:
        """What is called neither like a segment nor like a manifest is no event, and can be asked for."""
        filled(store, 1)
        for key in ("v1/notes.txt", "_manifest/dt=x/y.json", "elsewhere/z"):
            store.objects[key] = b"{}"
        assert OWN == len(list(read_archive(store, ReadReport())))
        assert ["v1/notes.txt", "_manifest/dt=x/y.json"] == [found.key for found in strays(store)]


def ids_of(hour: int) -> list[str]:
    """Return the ids of the events of one hour of a filled store."""
    return [f"w{number}" for number in range(hour * OWN + 1, (hour + 1) * OWN + 1)]


class TestNewest:
    """The newest events, from as few objects as possible."""

    def test_newest_object_alone(self, store: MemoryStore) -> None:
        """Where the newest object holds enough, no other one is opened."""
        archive = filled(store)
        assert ids_of(5)[-3:] == ids(read_newest(store, 3, lambda event: True, ReadReport()))
        assert {archive.manifests[5].object_key: 1} == dict(store.opened)

    def test_over_several_objects(self, store: MemoryStore) -> None:
        """Where it does not, those before it are."""
        filled(store)
        assert [*ids_of(4)[-2:], *ids_of(5)] == ids(read_newest(store, OWN + 2, lambda event: True, ReadReport()))
        assert 2 == sum(store.opened.values())

    def test_wanted(self, store: MemoryStore) -> None:
        """Events that are not wanted do not count."""
        filled(store)
        assert ["w7"] == ids(read_newest(store, 1, lambda event: event["request_id"] == "w7", ReadReport()))

    def test_by_their_own_time(self, store: MemoryStore) -> None:
        """What was imported last is not the newest."""
        archive = filled(store)
        archive.add(events_from(NOON - timedelta(days=9), "old"), NOON + 9 * HOUR)
        assert ids_of(5)[-1:] == ids(read_newest(store, 1, lambda event: True, ReadReport()))

    def test_none(self, store: MemoryStore) -> None:
        """No events are asked for: nothing is opened."""
        filled(store)
        assert [] == read_newest(store, 0, lambda event: True, ReadReport())
        assert not store.opened
