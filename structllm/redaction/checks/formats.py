"""Keys that are known by their prefix: whether there is more to one than prefix and filler."""

import re

_FILLER_BYTES = 12
_PREFIX_BYTES = 16  # the longest prefix of a key format, and a little
JUDGED_BYTES = 128
"""A longer value is taken for a secret; keeps the cost of turning candidates down bounded."""

# What may stand before a key; the same as the edge in the patterns.
_EDGE_BEFORE = re.compile(rb"(?:^|[^0-9A-Za-z]|%[0-9A-Fa-f]{2}|\\[bfnrt]|\\u[0-9A-Fa-f]{4}|\[[0-9;:]{0,16}[mKHJ])$")
_ONLY_WORDS = re.compile(rb"[^0-9A-Za-z](?:[A-Z][a-z]{2,}){3,}\Z")  # `sk_live_YourTokenHere`
_ASSET = re.compile(rb"\.(?:png|jpe?g|gif|svg|webp|ico|css|m?js|map|html?)\b")  # named after the hash of what is in it
_RANDOM_RUN = re.compile(rb"[0-9A-Za-z]{10,}")
_DIGIT = re.compile(rb"[0-9]")
_LETTER = re.compile(rb"[A-Za-z]")


def is_no_filler(text: bytes, start: int, end: int) -> bool:
    """Say whether there is more to a key than prefix and filler: `sk-xxxxxxxxxxxx` is an example in documentation."""
    value = text[start : min(end, start + 4 * JUDGED_BYTES)]
    return not (is_filled(value, _PREFIX_BYTES) or _ONLY_WORDS.search(value) or _ASSET.match(text, end))


def is_key_anywhere(text: bytes, start: int, end: int) -> bool:
    """Say whether a key with a long prefix is one: inside a word only with a random part, unlike `task-proj-review`."""
    if not is_no_filler(text, start, end):
        return False
    if end - start > JUDGED_BYTES or _EDGE_BEFORE.search(text[max(0, start - 24) : start]):
        return True
    runs = _RANDOM_RUN.findall(text[start:end])
    return any(len(_DIGIT.findall(run)) >= 2 and _LETTER.search(run) for run in runs)


def is_filled(value: bytes, bare_bytes: int) -> bool:
    """Say whether all but the first bytes repeat up to three characters; a key with such a tail is still a key."""
    tail = set(value[-_FILLER_BYTES:])
    return len(value) >= _FILLER_BYTES and len(tail) <= 3 and len(value.rstrip(bytes(tail))) <= bare_bytes
