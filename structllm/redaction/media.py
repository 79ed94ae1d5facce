"""Pictures, sound and documents in a text: their type and size say all that a log needs."""

import re

MEDIA = (
    r";base64,"
    r"|(?:iVBORw0KGgo|/9j/[24]|R0lGOD[dl]h|UklGR[A-Za-z0-9+/]{7}(?:QVZF|RUJQ)|JVBERi0|SUQz[AB]|T2dnUw)"
    r"[A-Za-z0-9+/]{100}"
)
"""Where media may begin: a data URI, or the base64 of a file format with a signature. RE2 syntax."""

_KINDS = {
    "iVBO": "image/png",
    "/9j/": "image/jpeg",
    "R0lG": "image/gif",
    "UklG": "image/webp",
    "JVBE": "application/pdf",
    "SUQz": "audio/mpeg",
    "T2dn": "audio/ogg",
}
_BEGIN = re.compile(
    r"[dD][aA][tT][aA]:(?P<type>[\w.+-]{1,60}/[\w.+-]{1,60})?(?:;[\w.=+-]{1,60}){0,4};base64,"
    r"|(?<![A-Za-z0-9+/])"
    r"(?:iVBORw0KGgo|/9j/[24]|R0lGOD[dl]h|UklGR[A-Za-z0-9+/]{7}(?P<wave>QVZF)?|JVBERi0|SUQz[AB]|T2dnUw)"
    r"[A-Za-z0-9+/]{100}",
    re.ASCII,
)
_LITERALS = (";base64,", "iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "JVBERi0", "SUQz", "T2dnUw")
_SIGNED_CHARS = 100  # of base64, with which a signature counts
_BEGIN_CHARS = 512  # longer than any beginning
_ENDS = "\"'`<>()[]{}\\,;|&* \t\r\n"
_MOST = 1_000  # in one text; what comes behind is scanned like any text
_FIRST_STRIDE = 256


def media_in(text: str, enough_chars: int | None = None) -> list[tuple[int, int, str]]:
    """Return start, end and replacement of all media, in order.

    Args:
        text: Any text.
        enough_chars: How long a text is needed after replacing; None: all of it. A picture costs the search for its
            end, and nothing of it is looked at.
    """
    reach = len(text) if enough_chars is None else enough_chars
    literals = _LITERALS if len(text) > _SIGNED_CHARS else _LITERALS[:1]
    if not any(text.find(literal, 0, reach + _BEGIN_CHARS) >= 0 for literal in literals):
        return []
    found = list[tuple[int, int, str]]()
    position = 0
    while (
        len(found) < _MOST
        and (begin := _BEGIN.search(text, position, min(len(text), reach + _BEGIN_CHARS))) is not None
    ):
        start, body = begin.start(), begin.end()
        if start >= reach:
            break
        if text[body - 1] == ",":
            kind = begin["type"] or "text/plain"
        else:
            kind, body = "audio/wav" if begin["wave"] else _KINDS[text[start : start + 4]], start
        position = _end_of(text, body)
        padding = text[max(body, position - 2) : position].count("=")
        shown = f"[{kind} {max(0, (position - body) * 3 // 4 - padding)} bytes]"
        found.append((start, position, shown))
        reach += position - start - len(shown)
    return found


def without_media(text: str, enough_chars: int | None = None) -> str:
    """Return the text with `[image/png 1234 bytes]` in the place of media: the same object if there is none.

    Args:
        text: Any text.
        enough_chars: How much of the result is needed; what lies beyond may be missing.
    """
    found = media_in(text, enough_chars)
    if not found:
        return text
    pieces, position, size = list[str](), 0, 0
    for start, end, shown in found:
        pieces += (text[position:start], shown)
        size += start - position + len(shown)
        position = end
    rest = text[position:] if enough_chars is None else text[position : position + max(0, enough_chars - size)]
    return "".join((*pieces, rest))


def _end_of(text: str, position: int) -> int:
    """Return where what begins here ends: before the next character that no base64 contains.

    Searched for in strides that grow, so that a long picture is crossed at the speed of `find` and many short ones
    do not each look to the end of the text.
    """
    stride = _FIRST_STRIDE
    while position < len(text):
        horizon = end = min(len(text), position + stride)
        for char in _ENDS:
            at = text.find(char, position, end)
            end = at if at >= 0 else end
        if end < horizon:
            return end
        position, stride = horizon, stride * 4
    return len(text)
