"""Counts as they stand in a provider's object: read once, checked, and named in our words."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from structllm.errors import StructllmError

MAX_TOKENS = 10**12
"""Larger counts are taken for garbage: no model reads or writes that much in one call."""

Words = Mapping[str, str]
"""A provider's name of a count to our word for it."""


class UsageError(StructllmError, ValueError):
    """A usage object that cannot be read.

    Args:
        reason: Short word for events and counters, e.g. `negative`; `empty` where there is nothing in it.
        field: The field that is wrong, in the provider's or our own spelling; never a value.
    """

    def __init__(self, reason: str, field: str = "usage") -> None:
        self.reason = reason
        self.field = field
        super().__init__(f"{reason}: {field}")


def collect(raw: Mapping[str, Any], top: Words, nested: Mapping[str, Words]) -> dict[str, int]:
    """Return every count that is present, under our word for it; of two names for one thing the larger count.

    Counts of zero are returned where they stand on the top level, where an absent count has another meaning.

    Args:
        raw: The provider's object.
        top: Names of counts in it.
        nested: Names of objects in it, and the names of the counts in those.

    Raises:
        UsageError: Nothing is in it, or something is that is no count.
    """
    counts: dict[str, int] = {}
    empty = True
    for key, value in raw.items():
        if value is None:
            continue
        empty = False
        word = top.get(key)
        if word is not None:
            if type(value) is not int or not 0 <= value <= MAX_TOKENS:
                value = count(value, key)
            if value >= counts.get(word, 0):
                counts[word] = value
        elif (words := nested.get(key)) is not None:
            _collect_details(counts, mapping(value, key), words)
    if empty:
        raise UsageError("empty")
    return counts


_CACHED_KINDS = {"audio_tokens": "cached_audio", "image_tokens": "cached_image"}


def _collect_details(counts: dict[str, int], details: Mapping[str, Any], words: Words) -> None:
    for key, value in details.items():
        if value is None:
            continue
        word = words.get(key)
        if word is None:
            if key == "cached_tokens_details":
                counts["cached_kinds"] = 1
                _collect_details(counts, mapping(value, key), _CACHED_KINDS)
            continue
        if type(value) is not int or not 0 <= value <= MAX_TOKENS:
            value = count(value, key)
        if value > counts.get(word, 0):
            counts[word] = value


def count(value: object, field: str) -> int:
    """Return a count as an integer; `field` names it in the error that is raised where it is none."""
    if type(value) is not int:
        if type(value) is not float or not value.is_integer():
            raise UsageError("not_a_count", field)
        value = int(value)
    if value < 0:
        raise UsageError("negative", field)
    if value > MAX_TOKENS:
        raise UsageError("too_large", field)
    return value


def mapping(value: object, field: str) -> Mapping[str, Any]:
    """Return an object as a mapping, or raise UsageError."""
    if type(value) is not dict and not isinstance(value, Mapping):
        raise UsageError("not_an_object", field)
    return cast("Mapping[str, Any]", value)


def mappings(value: object, field: str) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a list; None is an empty list. Raises UsageError where it is something else."""
    if value is None:
        return
    if not isinstance(value, list | tuple):
        raise UsageError("not_a_list", field)
    for item in cast("list[object] | tuple[object, ...]", value):
        yield mapping(item, field)


def rest(whole: int, parts: int, field: str) -> int:
    """Return what is left of a whole; parts that exceed it raise UsageError."""
    if parts > whole:
        raise UsageError("parts_exceed_whole", field)
    return whole - parts


def lifetimes(written: int | None, written_5m: int, written_1h: int, field: str) -> tuple[int, int, bool]:
    """Return what was written to the cache for five minutes and for an hour, and whether the lifetime is assumed.

    Args:
        written: The sum, where it is reported.
        written_5m: Reported for five minutes.
        written_1h: Reported for an hour.
        field: Names the lifetimes in the error raised where they do not add up to the sum.
    """
    timed = written_5m + written_1h
    if written is None or timed == written:
        return written_5m, written_1h, False
    if timed:
        raise UsageError("contradiction", field)
    return written, 0, True
