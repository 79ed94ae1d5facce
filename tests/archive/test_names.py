"""Names of segments: what a name tells is what was put into it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structllm.archive import SUFFIXES, Compression, SegmentName, manifest_key, object_key, parse_key
from structllm.archive.names import compression_of, hour_of, new_owner, parse_manifest_key

NAMES = st.builds(
    SegmentName.begun,
    st.floats(0, 4_000_000_000),
    st.builds(new_owner, st.text(max_size=80), st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}")),
    st.integers(1, 10**10),
)
TIMES = st.none() | st.tuples(st.integers(-(10**14), 10**14), st.integers(-(10**14), 10**14))


@given(NAMES, st.sampled_from(list(SUFFIXES)), TIMES, st.sampled_from(["", "llm/", "a/v1/b/"]))
def test_keys_tell_the_segment(
    name: SegmentName, kind: Compression, times: tuple[int, int] | None, prefix: str
) -> None:
    """Any host name, number and time: keys are parsed to what they were made of, below a prefix or not."""
    first_ms, last_ms = times or (None, None)
    lines, manifest = object_key(name, kind), manifest_key(name, first_ms, last_ms)
    assert (name, None) == (parse_key(prefix + lines), parse_manifest_key(lines))
    assert ((name, first_ms, last_ms), None) == (parse_manifest_key(prefix + manifest), parse_key(manifest))
    assert datetime.strptime(name.hour, "%Y%m%dT%H").replace(tzinfo=UTC) == hour_of(prefix + lines)
    assert kind == compression_of(lines)
    assert all(character.isalnum() or character in "/-_.=" for character in lines + manifest)


@given(st.lists(NAMES, min_size=2, max_size=5, unique=True))
def test_keys_are_different(names: list[SegmentName]) -> None:
    """No two segments share a key."""
    assert len(names) == len({object_key(name, "zstd") for name in names})


@pytest.mark.parametrize(
    "key",
    [
        "",
        "v1/dt=2024-01-15/hour=10/notes.txt",
        "v1/dt=2024-01-15/hour=10/20240115T10-host-0123456789abcdef-00000001.jsonl.zst.tmp",
        "v1/dt=2024-01-15/hour=10/20240115T10-host-0123456789abcde-00000001.jsonl.zst",
        "v1/dt=2024-01-15/hour=10/20240115T10-0123456789abcdef-00000001.jsonl.zst",
        "_manifest/dt=2024-01-15/hour=10/20240115T10-host-0123456789abcdef-00000001.1-2.json",
        "20240115T10-host-0123456789abcdef-00000001x.jsonl",
    ],
)
def test_other_keys_tell_nothing(key: str) -> None:
    """What is called otherwise is no segment."""
    assert parse_key(key) is None


def test_other_names_have_no_hour_and_no_compression() -> None:
    """A partition of no such hour, and a suffix of no such kind, are said."""
    assert (None, None) == (hour_of("v1/dt=2024-13-41/hour=99/x"), hour_of("x"))
    with pytest.raises(ValueError, match="no name of a segment"):
        compression_of("x.txt")
