"""Cut previews to their limits and keep a whole event below a size. Comes after redaction, never before it.

A cut falls between code points, not inside what people see as one character, and not inside a marker such as
`[REDACTED:openai-key]`: half a marker would read as if the model had said it.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from structllm._types import Event
from structllm.errors import ConfigError
from structllm.events import Envelope, field_kinds
from structllm.processors.normalise import MAX_DEPTH, TRUNCATED, normalise_value

PREVIEW_CHARS: Mapping[str, int] = {"prompt_preview": 500, "response_preview": 1000, "error_message": 1000}
"""Default limits of the previews, in characters."""

MAX_FIELD_CHARS = 65_536
MAX_EVENT_CHARS = 1_000_000

_ENVELOPE = frozenset(Envelope.__annotations__)
_MARKER = re.compile(r"\[(?:REDACTED|PSEUDO|TRUNCATED):[\w.:/-]{1,100}\]")
_MARKER_CHARS = 120
# Nothing before this one combines with the character in front of it.
_FIRST_COMBINING = "\u0300"
_JOINER = "\u200d"
# What looks like one character and has more code points than this is no writing: it is cut where the limit falls.
_CLUSTER_CHARS = 32
_MAX_PATHS = 50
_PATH_CHARS = 200


class _Preview(NamedTuple):
    limit: int
    length_name: str | None
    flag_name: str | None


class _Text(NamedTuple):
    """A string of an event and where it stands."""

    holder: Any
    key: Any
    text: str
    path: str


class Truncate:
    """Processor that cuts previews, overlong strings and oversized events.

    Where the field `x_preview` is text, `x_length` is set if absent, and `x_truncated` says whether something is
    missing: the original was longer than the limit, or the redacted text was. Ids, times and the rest of the envelope
    are never cut. What is cut besides previews is listed in `truncated_fields`, e.g. `market_context.news[3]`.

    Args:
        preview_chars: Limits by field name, in characters, on top of `PREVIEW_CHARS`; 0 leaves an empty text.
        max_field_chars: Limit of every other string, nested ones included.
        max_event_chars: Limit of all strings and nested keys of an event together. The largest strings are cut first;
            if that is not enough, nested values are left out, largest first.

    Raises:
        ConfigError: A limit is negative.
    """

    def __init__(
        self,
        preview_chars: Mapping[str, int] | None = None,
        *,
        max_field_chars: int = MAX_FIELD_CHARS,
        max_event_chars: int = MAX_EVENT_CHARS,
    ) -> None:
        limits = {**PREVIEW_CHARS, **(preview_chars or {})}
        given = {**limits, "max_field_chars": max_field_chars, "max_event_chars": max_event_chars}
        wrong = [f"{name}: a limit in characters cannot be negative" for name, limit in given.items() if limit < 0]
        if wrong:
            raise ConfigError(wrong)
        self._previews = {name: _preview(name, limit) for name, limit in limits.items()}
        self._items = tuple(self._previews.items())
        self._max_field_chars = max_field_chars
        self._max_event_chars = max_event_chars
        self._harmless_chars = min(max_field_chars, max_event_chars)

    def __call__(self, logger: Any, method_name: str, event_dict: Event) -> Event:
        """Cut the event's texts."""
        for name, preview in self._items:
            text = event_dict.get(name)
            if type(text) is str:
                _cut_preview(event_dict, name, text, preview)
        # Almost always the whole event is smaller than one string may be.
        if _chars(event_dict.values()) > self._harmless_chars:
            self._shrink(event_dict)
        return event_dict

    def on_error(self, event_dict: Event) -> Event:
        """Cut the previews bluntly: their limits hold whatever went wrong."""
        for name, preview in self._previews.items():
            text = event_dict.get(name)
            if isinstance(text, str):
                event_dict[name] = text[: preview.limit]
        return event_dict

    def _shrink(self, event: Event) -> None:
        kinds = field_kinds(str(event.get("event_type")))
        free = [name for name in event if not _is_fixed(name, kinds)]
        for name in free:
            if isinstance(event[name], dict | list):
                # A copy of our own and without cycles, also in a chain that does not normalise.
                event[name] = normalise_value(event[name])
        limit = self._max_field_chars
        cut = _shorten((text for text in _texts(event, free) if text.path not in self._previews), limit)
        excess = _event_chars(event) - self._max_event_chars
        if excess > 0:
            cut += _shorten(_texts(event, free), _water_level((len(text.text) for text in _texts(event, free)), excess))
            cut += _leave_out(event, free, _event_chars(event) - self._max_event_chars)
        if cut:
            self._note(event, cut)

    def _note(self, event: Event, cut: list[str]) -> None:
        for name in self._previews.keys() & set(cut):
            flag_name = self._previews[name].flag_name
            if flag_name is not None:
                event[flag_name] = True
        paths = sorted({path[:_PATH_CHARS] for path in cut})
        event["truncated_fields"] = [*paths[:_MAX_PATHS], TRUNCATED] if len(paths) > _MAX_PATHS else paths


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


def _preview(name: str, limit: int) -> _Preview:
    if not name.endswith("_preview"):
        return _Preview(limit, None, None)
    subject = name.removesuffix("_preview")
    return _Preview(limit, f"{subject}_length", f"{subject}_truncated")


def _cut_preview(event: Event, name: str, text: str, preview: _Preview) -> None:
    limit, length_name, flag_name = preview
    chars = len(text)
    if chars > limit:
        event[name] = cut_text(text, limit)
    if length_name is not None and flag_name is not None:
        length = event.setdefault(length_name, chars)
        event[flag_name] = chars > limit or (type(length) is int and length > limit)


def _is_fixed(name: str, kinds: Mapping[str, str]) -> bool:
    return name in _ENVELOPE or name.endswith("_id") or kinds.get(name) in ("id", "time")


def _chars(values: Iterable[Any], depth: int = 0) -> int:
    """Return the characters of all strings among the values, nested ones and their keys included."""
    chars = 0
    for value in values:
        kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]  # the class of anything
        if kind is str:
            chars += len(value)
        elif kind is dict and depth < MAX_DEPTH:
            for key in value:
                if type(key) is str:
                    chars += len(key)
            chars += _chars(value.values(), depth + 1)
        elif kind is list and depth < MAX_DEPTH:
            chars += _chars(value, depth + 1)
    return chars


def _event_chars(event: Event) -> int:
    return sum(len(name) for name in event) + _chars(event.values())


def _texts(event: Event, names: Iterable[str]) -> Iterator[_Text]:
    """Yield every string of the named fields, nested ones included."""
    for name in names:
        yield from _texts_in(event, name, event[name], name)


def _texts_in(holder: Any, key: Any, value: Any, path: str) -> Iterator[_Text]:
    if isinstance(value, str):
        yield _Text(holder, key, value, path)
    elif isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            yield from _texts_in(value, name, item, f"{path}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(cast("Iterable[Any]", value)):
            yield from _texts_in(value, index, item, f"{path}[{index}]")


def _shorten(texts: Iterable[_Text], limit: int) -> list[str]:
    """Cut the texts that are longer than the limit; return their paths."""
    overlong = [text for text in texts if len(text.text) > limit]
    for text in overlong:
        text.holder[text.key] = cut_text(text.text, limit, keep_marker=False)
    return [text.path for text in overlong]


def _water_level(lengths: Iterable[int], excess: int) -> int:
    """Return the length to which the longest strings have to come down so that `excess` characters go."""
    ordered = [*sorted(lengths, reverse=True), 0]
    for count in range(1, len(ordered)):
        step = count * (ordered[count - 1] - ordered[count])
        if step >= excess:
            return ordered[count - 1] - math.ceil(excess / count)
        excess -= step
    return 0


def _leave_out(event: Event, names: list[str], excess: int) -> list[str]:
    """Replace nested values, largest first, until `excess` characters are gone; return their names."""
    sizes = {name: _chars([event[name]]) for name in names if isinstance(event[name], dict | list)}
    left_out: list[str] = []
    for name in sorted(sizes, key=lambda name: sizes[name], reverse=True):
        if excess <= 0:
            break
        excess -= sizes[name]
        event[name] = TRUNCATED
        left_out.append(name)
    return left_out
