"""Manifests: what they sum up, and that they come back as they were."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from structllm.archive import Manifest, SegmentName, Span, summarise
from structllm.archive.manifest import milliseconds
from structllm.chain import first_link, hasher, seal

NAME = SegmentName("20240115T10", "host-0123456789abcdef", 7)


def line(**fields: object) -> bytes:
    """Return an event as a line."""
    return orjson.dumps({"event_type": "run", **fields}, option=orjson.OPT_APPEND_NEWLINE)


EVENTS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "writer": st.sampled_from(["a", "b", 7, None]),
            "seq": st.integers(-5, 2**62) | st.none() | st.booleans() | st.text(),
            "timestamp": st.datetimes().map(lambda time: time.isoformat() + "Z") | st.text() | st.none(),
            "schema_version": st.integers(0, 3) | st.text(max_size=2),
            "event_type": st.sampled_from(["run", "alert"]) | st.integers(0, 9),
        },
    ),
    max_size=20,
)


class TestSummarise:
    @given(EVENTS, st.lists(st.binary(max_size=20).filter(lambda data: b"\n" not in data), max_size=3))
    def test_any_lines(self, events: list[dict[str, object]], others: list[bytes]) -> None:
        """Whatever is in a segment: every line is counted once, and spans are what the numbers are."""
        lines = [line(**event) for event in events] + [other + b"\n" for other in others]
        summary = summarise(lines)
        good = [event for event in events if isinstance(event.get("event_type", "run"), str)]
        blank = sum(other.isspace() or not other for other in others)
        assert (len(good), len(lines)) == (summary.records, summary.records + summary.bad_lines + blank)
        assert sum(map(len, lines)) == summary.content_bytes
        for writer in ("a", "b"):
            seqs = [seq for event in good if event.get("writer") == writer and type(seq := event.get("seq")) is int]
            span = summary.writers.get(writer)
            expected = Span(min(seqs), max(seqs), len(seqs), len(seqs) - len(set(seqs))) if seqs else None
            assert expected == span
        times = [time for event in good if (time := milliseconds(event.get("timestamp"))) is not None]
        assert (min(times, default=None), max(times, default=None)) == (summary.first_ms, summary.last_ms)

    def test_heads_of_chains(self) -> None:
        """The head is the hash of the line with the greatest `sink_seq`."""
        previous, lines, hashes = first_link("w"), [], []
        for number in (1, 2, 3):
            sealed, previous = seal(hasher(), line(writer="w", seq=number + 10), number, previous)
            lines.append(sealed)
            hashes.append(previous.decode())
        for order in ([0, 1, 2], [2, 0, 1]):
            summary = summarise([lines[index] for index in order])
            assert Span(11, 13, 3, 0, 1, 3, hashes[2]) == summary.writers["w"]

    @pytest.mark.parametrize(
        ("timestamp", "expected"),
        [
            ("1970-01-01T00:00:00.001Z", 1),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2024-01-15T10:30:45.123456+00:00", 1705314645123),
            ("2024-01-15T11:30:45.123+01:00", 1705314645123),
            ("2024-01-15T10:30:45", 1705314645000),
            ("yesterday", None),
            (1705314645, None),
            (None, None),
        ],
    )
    def test_times(self, timestamp: object, expected: int | None) -> None:
        """Milliseconds since the epoch, rounded down; nothing where there is no time."""
        assert expected == milliseconds(timestamp)


class TestManifest:
    @given(EVENTS, st.none() | st.just("ab" * 32), st.booleans())
    def test_comes_back(self, events: list[dict[str, object]], previous: str | None, final: bool) -> None:
        """What is written is read as it was, by the same bytes."""
        summary = summarise(line(**event) for event in events)
        manifest = Manifest(NAME.stem, "zstd", "cd" * 32, 1234, summary, previous, final)
        read = Manifest.from_json(manifest.to_json())
        assert (manifest, manifest.to_json(), NAME) == (read, read.to_json(), read.name)
        metadata = manifest.metadata()
        assert all(text.isascii() for text in metadata.values())
        assert sum(len(name) + len(text) for name, text in metadata.items()) < 1000

    @pytest.mark.parametrize("writer", ["w" * 300, "wört", "w\n"])
    def test_odd_writers_stay_out_of_the_metadata(self, writer: str) -> None:
        """Headers hold short ASCII alone; the manifest has it all."""
        manifest = Manifest(NAME.stem, "none", "cd" * 32, 1, summarise([line(writer=writer, seq=1)]))
        assert "writer" not in manifest.metadata()
        assert writer in Manifest.from_json(manifest.to_json()).summary.writers

    @pytest.mark.parametrize(
        "change",
        [
            {"format": 2},
            {"segment": "x"},
            {"compression": "brotli"},
            {"sha256": None},
            {"summary": None},
            {"summary": {"writers": {"w": {}}, "schema_versions": []}},
            {"summary": {"schema_versions": ["1", 1]}},
            {"previous_sha256": 1},
            {"size_bytes": "1"},
        ],
    )
    def test_what_is_none(self, change: dict[str, object]) -> None:
        """A manifest of another format, or something else, is refused."""
        good = orjson.loads(Manifest(NAME.stem, "none", "cd" * 32, 1, summarise([])).to_json())
        for data in (orjson.dumps(good | change), b"[]", b"{}", b"no"):
            with pytest.raises(ValueError, match=r"manifest|segment|JSON|literal|unexpected"):
                Manifest.from_json(data)
