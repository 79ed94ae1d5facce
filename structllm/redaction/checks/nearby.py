"""The bounded neighbourhood of a candidate: what stands right before and behind it."""

import re

CONTEXT_BYTES = 80


def near(word: re.Pattern[bytes], text: bytes, start: int, end: int, *, before: int, after: int) -> bool:
    """Say whether a word stands so many bytes before or behind the candidate."""
    return bool(word.search(text[max(0, start - before) : start]) or word.search(text[end : end + after]))


def line_before(text: bytes, start: int, size: int = CONTEXT_BYTES) -> bytes:
    """Return what stands before the candidate on its line, or the line above when the candidate begins its line."""
    lines = text[max(0, start - size) : start].rsplit(b"\n", 2)
    return lines[-1] if lines[-1].strip(b" \t\"'`|>-") or len(lines) == 1 else lines[-2]
