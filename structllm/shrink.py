"""Make an event smaller: its longest texts are cut first, then nested values are left out; ids and envelope stay.

`shorten` and `shrink_to_chars` bound an event in characters, `fit_line` a rendered line in bytes.
Processors and sinks share it: an event that is too large is never dropped for that, wherever the limit lies.
"""

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import orjson

from structllm._types import Event
from structllm.cut import cut_text
from structllm.events import Envelope, field_kinds

TRUNCATED = "<truncated>"
"""Stands where something was left out."""

MAX_LINE_BYTES = 1_048_576
MIN_LINE_BYTES = 1024
"""The smallest limit of a line: what identifies an event fits into it, however long the ids."""

IDENTITY = (
    "event_type",
    "timestamp",
    "session_id",
    "level",
    "schema_version",
    "writer",
    "seq",
    "service",
    "request_id",
    "decision_id",
    "run_id",
    "parent_run_id",
    "success",
    "outcome",
)
"""What the last resort keeps of an event."""

_ENVELOPE = frozenset(Envelope.__annotations__)

MAX_DEPTH = 16
"""Levels of nesting that an event keeps."""

_MAX_PATHS = 50
_PATH_CHARS = 200
_NOTE_BYTES = 4096
# Every number is shorter than this, and so is what stands for a value that was left out.
_LEAST_BYTES = 32
# Where the items of a list would have to become shorter than this, its first items say more than a bit of each.
_USEFUL_BYTES = 200
# The longest character that JSON writes is `\u001f`: a cut leaves up to five bytes of it.
_ESCAPE_BYTES = 6
_SHORTER_IDS = (200, 48, 8)


class _Text(NamedTuple):
    """A string of an event and where it stands."""

    holder: Any
    key: Any
    text: str
    path: str


class _Part(NamedTuple):
    """A value of an event, the bytes of it, and the bytes around it (its key and a comma)."""

    key: Any
    value: Any
    size: int
    around: int
    path: str


def free_names(event: Mapping[str, Any]) -> list[str]:
    """Return the fields that may be cut: not the envelope, and nothing that is an id or a time."""
    kinds = field_kinds(str(event.get("event_type")))
    return [
        name for name in event if not (name in _ENVELOPE or name.endswith("_id") or kinds.get(name) in ("id", "time"))
    ]


def chars_in(values: Iterable[Any], depth: int = 0) -> int:
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
            chars += chars_in(value.values(), depth + 1)
        elif kind is list and depth < MAX_DEPTH:
            chars += chars_in(value, depth + 1)
    return chars


def shorten(event: Event, names: Iterable[str], limit: int, *, but: Container[str] = ()) -> list[str]:
    """Cut the strings of the named fields, nested ones included, that are longer than a limit in characters.

    Args:
        event: The event, changed in place; its nested values belong to it alone.
        names: The fields.
        limit: Most characters to keep of a string.
        but: Paths to leave alone.

    Returns:
        The paths of what was cut, e.g. `market_context.news[3]`.
    """
    overlong = [text for text in _texts(event, names) if len(text.text) > limit and text.path not in but]
    for text in overlong:
        text.holder[text.key] = cut_text(text.text, limit, keep_marker=False)
    return [text.path for text in overlong]


def shrink_to_chars(event: Event, names: Sequence[str], max_chars: int) -> list[str]:
    """Bring all strings and nested keys of an event together below a limit; return the paths of what was cut.

    The longest strings come down first, all to one length. Where keys are what is large, nested values are left out,
    largest first.
    """
    excess = _event_chars(event) - max_chars
    if excess <= 0:
        return []
    cut = shorten(event, names, _water_level((len(text.text) for text in _texts(event, names)), excess))
    return cut + _leave_out(event, names, _event_chars(event) - max_chars)


def note_truncated(event: Event, cut: Iterable[str]) -> None:
    """List the paths in `truncated_fields`: at most 50, so that an event does not grow by saying what it lost."""
    paths = sorted({path[:_PATH_CHARS] for path in cut})
    event["truncated_fields"] = [*paths[:_MAX_PATHS], TRUNCATED] if len(paths) > _MAX_PATHS else paths


def fit_line(line: bytes, max_bytes: int) -> bytes:
    """Return a line of at most `max_bytes`: itself if it fits, otherwise the same event with its largest fields shrunk.

    Ids and envelope keep their values. Where they alone are too large, ids beyond `IDENTITY` are shrunk as well, and at
    last nothing but `IDENTITY` is left, each value cut, with `render_error`.

    Args:
        line: One JSON object in UTF-8, with or without a newline at its end; what comes back ends like it.
        max_bytes: Limit in bytes, that newline included; at least `MIN_LINE_BYTES`.

    Raises:
        ValueError: The line is no JSON object.
    """
    if len(line) <= max_bytes:
        return line
    # What was written is what is shrunk: the result shares nothing with the event of the caller.
    parsed: Any = orjson.loads(line)
    if not isinstance(parsed, dict):
        raise ValueError("a line is one JSON object")
    event = cast("dict[str, Any]", parsed)
    option = orjson.OPT_APPEND_NEWLINE if line.endswith(b"\n") else 0
    for fixed in (event.keys() - free_names(event), frozenset(IDENTITY)):
        shorter = orjson.dumps(_Shrinking().event(event, fixed, max_bytes - 1), option=option)
        if len(shorter) <= max_bytes:
            return shorter
    return identity_line(event, "LineTooLong", max_bytes)[: None if option else -1]


def identity_line(event: Mapping[str, Any], error_name: str, max_bytes: int = MAX_LINE_BYTES) -> bytes:
    """Return the line of an event that cannot be written as it is: `IDENTITY`, cut, and `error_name` as `render_error`.

    Args:
        event: Its values are JSON-safe; those that are lists or objects are left out.
        error_name: Why there is no more.
        max_bytes: Limit in bytes, newline included; at least `MIN_LINE_BYTES`.
    """
    scalars = {name: event.get(name) for name in IDENTITY if not isinstance(event.get(name), list | dict)}
    scalars["event_type"] = scalars.get("event_type") or "unknown"
    kept = {name: scalars[name] for name in IDENTITY if scalars.get(name) is not None} | {"render_error": error_name}
    line = b""
    for chars in _SHORTER_IDS:
        cut = {name: value[:chars] if isinstance(value, str) else value for name, value in kept.items()}
        line = orjson.dumps(cut, option=orjson.OPT_APPEND_NEWLINE)
        if len(line) <= max_bytes:
            break
    return line


class _Shrinking:
    """One pass over one event that brings it to a size in bytes and remembers what it cut."""

    def __init__(self) -> None:
        self.cut: list[str] = []

    def event(self, event: Mapping[str, Any], fixed: Container[str], room: int) -> dict[str, Any]:
        """Return the event in `room` bytes, unless the fixed fields alone need more."""
        note_room = min(_NOTE_BYTES, room // 8)
        noted = event.get("truncated_fields", [])
        event = {name: value for name, value in event.items() if name != "truncated_fields"}
        parts = [_part(name, value, name) for name, value in event.items()]
        room -= 2 + note_room + sum(part.size + part.around for part in parts if part.key in fixed)
        kept = self._shrunk([part for part in parts if part.key not in fixed], room, least=_LEAST_BYTES)
        smaller: dict[str, Any] = {}
        for name, value in event.items():
            if name in fixed or name in kept:
                smaller[name] = kept.get(name, value)
            else:
                self.cut.append(name)
        for name in self.cut:
            flag_name = f"{name.removesuffix('_preview')}_truncated"
            if name.endswith("_preview") and smaller.get(flag_name) is False:
                smaller[flag_name] = True
        earlier: Iterable[Any] = cast("Iterable[Any]", noted) if isinstance(noted, list) else (None,)
        paths = (path if isinstance(path, str) else "truncated_fields" for path in earlier)
        note_truncated(smaller, [*self.cut, *paths])
        _shorten_note(smaller["truncated_fields"], note_room)
        return smaller

    def _value(self, value: Any, room: int, path: str) -> Any:
        """Return a value that is too large in `room` bytes, which are never fewer than `_LEAST_BYTES`."""
        if isinstance(value, str):
            self.cut.append(path)
            return _cut_to_bytes(value, room)
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            parts = [_part(name, item, f"{path}.{name}") for name, item in fields.items()]
            kept = self._shrunk(parts, room - 2, mark=2 * len(TRUNCATED) + 6)
            if len(kept) == len(parts):
                return kept
            self.cut.append(path)
            return {**kept, TRUNCATED: TRUNCATED} if kept else TRUNCATED
        if isinstance(value, list):
            items = enumerate(cast("Iterable[Any]", value))
            parts = [_Part(at, item, _size(item), 1, f"{path}[{at}]") for at, item in items]
            kept = self._shrunk(parts, room - 2, mark=len(TRUNCATED) + 3, in_order=True)
            if len(kept) == len(parts):
                return [*kept.values()]
            self.cut.append(path)
            return [*kept.values(), TRUNCATED] if kept else TRUNCATED
        return value

    def _shrunk(
        self, parts: Sequence[_Part], room: int, *, least: int = _USEFUL_BYTES, mark: int = 0, in_order: bool = False
    ) -> dict[Any, Any]:
        """Return those of the parts that there is room for, the larger ones shrunk to one level.

        Where that level is below `least`, only as many as fit are kept, and a mark has to fit as well.
        """
        excess = sum(part.size + part.around for part in parts) - room
        level = _water_level((part.size for part in parts), excess)
        if level < least:
            room -= mark
            level = max(_LEAST_BYTES, room // 4)
        kept: dict[Any, Any] = {}
        for part in parts:
            needed = part.around + min(part.size, level)
            if needed <= room:
                room -= needed
                kept[part.key] = part.value if part.size <= level else self._value(part.value, level, part.path)
            elif in_order:
                break
        return kept


def _part(name: str, value: Any, path: str) -> _Part:
    return _Part(name, value, _size(value), _size(name) + 2, path)


def _size(value: Any) -> int:
    return len(orjson.dumps(value))


def _cut_to_bytes(text: str, room: int) -> str:
    """Return the beginning of a text that JSON writes in `room` bytes, quotes included."""
    written = orjson.dumps(text)[1 : room - 1]
    for missing in range(_ESCAPE_BYTES):
        try:
            whole = orjson.loads(b'"%b"' % written[: len(written) - missing])
        except orjson.JSONDecodeError:
            continue
        return cut_text(text, len(whole), keep_marker=False)
    return ""


def _shorten_note(paths: list[str], room: int) -> None:
    """Leave out the last paths where they need more bytes than there are, and say so."""
    if _size({"truncated_fields": paths}) <= room:
        return
    while paths and _size({"truncated_fields": [*paths, TRUNCATED]}) > room:
        paths.pop()
    paths.append(TRUNCATED)


def _event_chars(event: Event) -> int:
    return sum(len(name) for name in event) + chars_in(event.values())


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


def _water_level(sizes: Iterable[int], excess: int) -> int:
    """Return the size to which the largest have to come down so that `excess` of their sum goes."""
    ordered = [*sorted(sizes, reverse=True), 0]
    for count in range(1, len(ordered)):
        step = count * (ordered[count - 1] - ordered[count])
        if step >= excess:
            return ordered[count - 1] - math.ceil(excess / count)
        excess -= step
    return 0


def _leave_out(event: Event, names: Iterable[str], excess: int) -> list[str]:
    """Replace nested values, largest first, until `excess` characters are gone; return their names."""
    sizes = {name: chars_in([event[name]]) for name in names if isinstance(event[name], dict | list)}
    left_out: list[str] = []
    for name in sorted(sizes, key=lambda name: sizes[name], reverse=True):
        if excess <= 0:
            break
        excess -= sizes[name]
        event[name] = TRUNCATED
        left_out.append(name)
    return left_out
