"""Cut a text where a reader is least misled.

A cut falls between code points, not inside what people see as one character, and not inside a marker such as
`[REDACTED:openai-key]`: half a marker would read as if the model had said it.
"""

import re
import unicodedata

_MARKER = re.compile(r"\[(?:REDACTED|PSEUDO|TRUNCATED):[\w.:/-]{1,100}\]")
_MARKER_CHARS = 120
# Nothing before this one combines with the character in front of it.
_FIRST_COMBINING = "\u0300"
_JOINER = "\u200d"
# What looks like one character and has more code points than this is no writing: it is cut where the limit falls.
_CLUSTER_CHARS = 32


def cut_text(text: str, limit: int, *, keep_marker: bool = True) -> str:
    """Return the beginning of a text.

    Args:
        text: The text; its characters are code points.
        limit: Most characters to keep; 0 gives an empty text.
        keep_marker: Go beyond the limit, by at most `_MARKER_CHARS`, to keep a redaction marker that it falls into.
            Otherwise the cut is before the marker.

    Returns:
        The text itself if it is short enough.
    """
    if len(text) <= limit or limit == 0:
        return text[:limit]
    end = _between_characters(text, limit)
    start = text.rfind("[", max(0, end - _MARKER_CHARS), end)
    marker = _MARKER.match(text, start) if start >= 0 else None
    if marker is None or marker.end() <= end:
        return text[:end]
    return text[: marker.end() if keep_marker or marker.end() <= limit else start]


def _between_characters(text: str, limit: int) -> int:
    """Return the last place up to the limit where one character, as people see it, ends and the next begins."""
    for end in range(limit, max(limit - _CLUSTER_CHARS, 0), -1):
        if not _is_inside_character(text, end):
            return end
    return limit if limit > _CLUSTER_CHARS else 0


def _is_inside_character(text: str, at: int) -> bool:
    """Say whether a cut before `text[at]` would split what people see as one character (the common cases)."""
    after = text[at]
    if after < _FIRST_COMBINING:
        return False
    before = text[at - 1]
    if before == _JOINER or after == _JOINER or unicodedata.combining(after) or unicodedata.category(after)[0] == "M":
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":
        return True
    if "\udc00" <= after <= "\udfff":
        return "\ud800" <= before <= "\udbff"
    return _is_flag_letter(after) and _flag_letters_before(text, at) % 2 == 1


def _is_flag_letter(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _flag_letters_before(text: str, at: int) -> int:
    """Count the flag letters before a place: a flag is two of them, so an odd number means that one is open."""
    start = at
    while start > 0 and at - start < _CLUSTER_CHARS and _is_flag_letter(text[start - 1]):
        start -= 1
    return at - start
