"""Input of several kinds, some of it cached: audio and images have rates of their own, cached or not.

A provider reports how much of the input was audio, and how much of it was cached, but seldom how much of the audio was
cached. Where the overlap follows from the counts it is used; else the tokens in doubt go to a bucket without a rate,
because every rate would be a guess.
"""

from typing import NamedTuple

from structllm.usage.counts import UsageError, rest


class Kinds(NamedTuple):
    """Tokens of the input that are no text."""

    audio: int = 0
    image: int = 0
    video: int = 0
    other: int = 0


_TEXT = Kinds()


class Input(NamedTuple):
    """Buckets of an input; what is uncached or read here is text, or has the same rate."""

    uncached: int
    cache_read: int
    cache_read_audio: int = 0
    cache_read_image: int = 0
    audio: int = 0
    image: int = 0
    video: int = 0
    other: int = 0


def divide_input(whole: int, cached: int, kinds: Kinds, cached_kinds: Kinds | None, field: str) -> Input:
    """Divide an input that includes what was cached.

    Args:
        whole: The input without what was written to the cache.
        cached: How much of it was read from the cache.
        kinds: How much of it was no text, cached or not.
        cached_kinds: How much of `cached` was no text; None where that is not reported.
        field: Names the input in the error raised where the parts exceed the whole.
    """
    if cached > whole:
        raise UsageError("parts_exceed_whole", field)
    if kinds == _TEXT and (cached_kinds is None or cached_kinds == _TEXT):
        return Input(whole - cached, cached)
    special = sum(kinds)
    if cached and special and cached_kinds is None:
        return _divide_unreported(whole, cached, kinds, rest(whole, special, field))
    overlap = cached_kinds if cached and cached_kinds is not None else _TEXT
    audio, image, video, other = (rest(kind, inside, field) for kind, inside in zip(kinds, overlap, strict=True))
    return Input(
        uncached=rest(whole, cached + audio + image + video + other, field),
        # Cached video has the rate of cached text in every list.
        cache_read=rest(cached, overlap.audio + overlap.image + overlap.other, field),
        cache_read_audio=overlap.audio,
        cache_read_image=overlap.image,
        audio=audio,
        image=image,
        video=video,
        other=other + overlap.other,
    )


def _divide_unreported(whole: int, cached: int, kinds: Kinds, text: int) -> Input:
    """Divide where some of it was cached, some of it is no text, and nobody says how much of it is both."""
    special = whole - text
    least, most = max(0, cached - text), min(special, cached)
    names = [name for name, count in zip(Kinds._fields, kinds, strict=True) if count]
    if cached == whole:
        return divide_input(whole, cached, kinds, kinds, "")
    if least == most and len(names) == 1:
        return divide_input(whole, cached, kinds, Kinds(**{names[0]: least}), "")
    return Input(uncached=text - (cached - least), cache_read=cached - least, other=special)
