"""Turn whatever a caller passed into values that JSON can carry, without touching the caller's objects.

What comes out is closed: None, bool, int of 64 bits, finite float, str without lone surrogates, list, and dict with str
keys. What JSON cannot carry becomes visible text instead of null or an error: `"NaN"`, `"<cycle>"`, `"<TypeName>"`. An
object of a class that is not known here is never asked for its `repr()` or `str()`: both like to print credentials.

| value | becomes |
|---|---|
| NaN, infinities | `"NaN"`, `"Infinity"`, `"-Infinity"` |
| int beyond 64 bits | decimal text |
| Decimal, Fraction | float if that is the same number, otherwise text |
| bytes | their UTF-8 text, otherwise `"<bytes 123>"` |
| datetime | RFC 3339, aware ones in UTC with milliseconds and `Z`; timedelta: seconds |
| Enum, numpy scalar | its value |
| set | sorted list |
| named tuple, dataclass, attrs, pydantic, msgspec | dict of its fields; those kept out of repr: `"<hidden>"` |
| LangChain message | `{"role", "content"}`, and tool calls where it has some |
| SecretStr and the like | `"**********"` |
| exception | `"TypeName: message"` |
| class; anything else, generators included | `"<class Name>"`; `"<TypeName>"` |
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, MappingView, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from itertools import islice
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, TypeAlias
from uuid import UUID

import orjson

from structllm._ids import clean_ids
from structllm._objects import class_bases, class_name, declared, declared_fields, message_role
from structllm._types import Event
from structllm.shrink import MAX_DEPTH, TRUNCATED

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

MAX_VALUES = 10_000
MAX_KEY_CHARS = 200

SECRET = "**********"

# The range that orjson writes; a reader with signed 64-bit integers sees the upper half as unsigned.
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1

_Path: TypeAlias = tuple[int, ...]

# Taken from the classes themselves: what a subclass overrides is not asked.
_dict_items: Callable[[Any], Iterable[tuple[Any, Any]]] = dict.__dict__["items"]
_tuple_items: Callable[[Any], Iterable[Any]] = tuple.__dict__["__iter__"]


class Normalise:
    """Processor that makes every value of an event JSON-safe and the event's own.

    Later processors may then change nested values in place, and rendering cannot fail. At most `MAX_VALUES` values of
    one event are kept and at most `MAX_DEPTH` levels; what is left out is marked. It never raises an Exception.
    """

    def __call__(self, logger: Any, method_name: str, event_dict: Event) -> Event:
        """Normalise the event; ids of ours keep their text, and those of the caller become such as are ids."""
        walk = _Walk()
        kind: Any = type(event_dict)
        try:
            whole = kind is dict and len(event_dict) <= MAX_VALUES
            event = walk.fields(event_dict, ()) if whole else walk.mapping(event_dict, ())
            clean_ids(event)
            return event
        except Exception:
            return self.on_error(event_dict)

    def on_error(self, event_dict: Event) -> Event:
        """Return what can be had of an event that cannot be read as a whole: the fields with ordinary names."""
        try:
            return {name: normalise_value(value) for name, value in event_dict.items() if type(name) is str}
        except Exception:
            return {}


def normalise_value(value: object) -> JsonValue:
    """Return a JSON-safe value that shares nothing mutable with `value`. Never raises an Exception."""
    cleaned: JsonValue = _Walk().value(value, ())
    return cleaned


def error_message(error: BaseException) -> str:
    """Return the message of an exception, or "" where it has none or cannot say.

    `str(error)` of an exception without a text of its own is the `repr()` of its arguments, so those that are not
    plain values are named by their type. Pydantic quotes half of a long input, in which no rule finds a secret: of its
    errors the inputs are left out.
    """
    kind = type(error)
    try:
        if kind.__name__ == "ValidationError" and kind.__module__.startswith("pydantic_core"):
            return _problems(error)
        own_text = declared(kind, "__str__") not in (BaseException.__str__, KeyError.__str__)
        if own_text or all(type(argument) in _PLAIN for argument in error.args):
            return _text(str.__str__(str(error)))
        return ", ".join(as_text(normalise_value(argument)) for argument in error.args)
    except Exception:
        return ""


def _problems(error: Any) -> str:
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    told = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)
    return _text(f"{len(problems)} validation error{'' if len(problems) == 1 else 's'} for {error.title}: {told}")


def as_text(value: JsonValue) -> str:
    """Return a normalised value as text: a string as it is, anything else as compact JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


class _Walk:
    """One pass over one event; counts how many values it may still keep."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def value(self, value: Any, path: _Path) -> Any:
        kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]  # the class of anything
        if kind is str:
            return value if value.isascii() else _text(value)
        if value is None or kind is bool:
            return value
        if kind is float:
            return value if value * 0.0 == 0.0 else _float(value)
        if kind is int:
            return value if _INT_MIN <= value <= _INT_MAX else _int(value)
        return self._other(value, kind, path)

    def fields(self, fields: Any, path: _Path) -> dict[str, Any]:
        """Clean a dict of ours in place; return it, or a new one where keys had to change."""
        self._left -= len(fields)
        odd_keys = False
        # The checks of `value`, written out: a call per field would double the time of an event. Zero times a float is
        # zero unless the float is infinite or NaN.
        for key, value in fields.items():
            if type(key) is not str or not key.isascii():
                odd_keys = True
            kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]  # as in `value`
            if kind is str:
                if not value.isascii():
                    fields[key] = _text(value)
            elif kind is float:
                if value * 0.0 != 0.0:
                    fields[key] = _float(value)
            elif kind is int:
                if not _INT_MIN <= value <= _INT_MAX:
                    fields[key] = _int(value)
            elif value is not None and kind is not bool:
                fields[key] = self._other(value, kind, path)
        return self._with_text_keys(fields, path) if odd_keys else fields

    def mapping(self, value: Any, path: _Path) -> dict[str, Any]:
        """Clean a copy of a mapping, of any class."""
        room = max(self._left, 0)
        if issubclass(type(value), dict):
            # One step below Python, which no other thread interrupts.
            copy = dict(islice(_dict_items(value), room + 1))
        else:
            copy = dict(islice(((key, value[key]) for key in value), room + 1))
        cut = len(copy) > room
        if cut:
            copy.popitem()
        cleaned = self.fields(copy, path)
        if cut:
            cleaned[TRUNCATED] = TRUNCATED
        return cleaned

    def items(self, values: Iterable[Any], path: _Path) -> list[Any]:
        """Clean the values of an iterable into a list."""
        room = max(self._left, 0)
        items = list(islice(values, room + 1))
        if len(items) > room:
            items[-1] = TRUNCATED
        self._left -= len(items)
        for index, value in enumerate(items):
            if type(value) is not float or value * 0.0 != 0.0:
                items[index] = self.value(value, path)
        return items

    def _with_text_keys(self, fields: dict[Any, Any], path: _Path) -> dict[str, Any]:
        """Return the fields under text keys; a key that is then taken gets a number, so that no value is lost."""
        taken = {key for key in fields if type(key) is str}
        numbers: dict[str, int] = {}
        renamed: dict[str, Any] = {}
        for key, value in fields.items():
            name = self._key(key, path)
            if type(key) is not str or name != key:
                base = name
                while name in taken:
                    numbers[base] = numbers.get(base, 1) + 1
                    name = f"{base}~{numbers[base]}"
                taken.add(name)
            renamed[name] = value
        return renamed

    def _key(self, key: Any, path: _Path) -> str:
        name = _text(key) if type(key) is str else self.value(key, path)
        if isinstance(name, str):
            return name
        # Never cut: redaction, which comes later, does not know half a secret.
        text = as_text(name)
        kind: Any = type(key)  # pyright: ignore[reportUnknownVariableType]  # the class of anything
        return text if len(text) <= MAX_KEY_CHARS else _mark(kind)

    def _other(self, value: Any, kind: type[Any], path: _Path) -> Any:
        """Clean a value that is no plain scalar; one that cannot be read is named by its type."""
        try:
            if id(value) in path:
                return "<cycle>"
            if len(path) >= MAX_DEPTH and kind not in _LEAVES:
                return "<depth>"
            if kind is dict:
                if len(value) <= self._left:
                    return self.fields(value.copy(), (*path, id(value)))
                return self.mapping(value, (*path, id(value)))
            if kind is list:
                return self.items(value, (*path, id(value)))
            return self._object(value, kind, (*path, id(value)))
        except Exception:
            return _mark(kind)

    def _object(self, value: Any, kind: type[Any], path: _Path) -> Any:
        if declared(kind, "get_secret_value") is not None:
            return SECRET
        for base in class_bases(kind):
            if base in _LEAVES:
                plain = _LEAVES[base](value)
                return plain if type(plain) is float or type(plain) is int else _text(str.__str__(plain))
            if base in _ITERATORS:
                items = self.items(_ITERATORS[base](value), path)
                return sorted(items, key=_rank) if base in _UNORDERED else items
            if base is tuple:
                return self._row(value, kind, path)
            if base is dict:
                return self.mapping(value, path)
            if base is Enum:
                return self.value(object.__getattribute__(value, "_value_"), path)
        fields = declared_fields(value)
        if fields is not None:
            return self._record(fields, kind, path)
        if kind.__module__ == "numpy":
            return self._numpy(value, kind, path)
        if issubclass(kind, MappingView | Sequence):
            return self.items(iter(value), path)
        if issubclass(kind, AbstractSet):
            return sorted(self.items(iter(value), path), key=_rank)
        if issubclass(kind, Mapping):
            return self.mapping(value, path)
        return _mark(kind)

    def _record(self, fields: dict[str, Any], kind: type[Any], path: _Path) -> Any:
        if "content" in fields and "type" in fields and "response_metadata" in fields:
            fields = _message(fields)
        elif declared(kind, "__pydantic_root_model__") is True and "root" in fields:
            return self.value(fields["root"], path)
        return self.mapping(fields, path)

    def _numpy(self, value: Any, kind: type[Any], path: _Path) -> Any:
        if declared(kind, "tolist") is not None and value.size > self._left:
            return _mark(kind)
        plain = value.tolist() if declared(kind, "tolist") is not None else value.item()
        return _mark(kind) if type(plain) is kind else self.value(plain, path)

    def _row(self, value: Any, kind: type[Any], path: _Path) -> Any:
        names = declared(kind, "_fields")
        if names is None:
            return self.items(_tuple_items(value), path)
        return self.mapping(dict(zip(names, _tuple_items(value), strict=True)), path)


def _message(fields: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: fields[name] for name in ("name", "tool_calls", "tool_call_id") if fields.get(name)}
    return {"role": message_role(fields), "content": fields["content"], **kept}


def _mark(kind: type[object]) -> str:
    return _text(f"<{class_name(kind)[:100]}>")


def _text(value: str) -> str:
    """Return the text with lone surrogates written out; encoding is the cheapest way to find them."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def _float(value: float) -> float | str:
    value = float.__float__(value)
    if value * 0.0 == 0.0:
        return value
    if value != value:
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _int(value: int) -> int | str:
    value = int.__int__(value)
    if _INT_MIN <= value <= _INT_MAX:
        return value
    try:
        return str(value)
    except ValueError:
        # Python refuses to write very long numbers in decimal, which takes quadratic time.
        return f"<int {value.bit_length()} bits>"


def _decimal(value: Decimal) -> float | str:
    if not Decimal.is_finite(value):
        return "NaN" if Decimal.is_nan(value) else _float(Decimal.__float__(value))
    number = Decimal.__float__(value)
    return number if Decimal(repr(number)) == value else Decimal.__str__(value)


def _fraction(value: Fraction) -> float | str:
    try:
        number = float(value.numerator / value.denominator)
    except OverflowError:
        return str(value)
    return number if Fraction(number) == value else str(value)


def _bytes(value: bytes | bytearray | memoryview) -> str:
    raw = bytes(value)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return f"<bytes {len(raw)}>"


def _datetime(value: datetime) -> str:
    if value.utcoffset() is None:
        return value.isoformat()
    try:
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except OverflowError:
        return value.isoformat()


def _exception(value: BaseException) -> str:
    message = error_message(value)
    name = _mark(type(value))[1:-1]
    return f"{name}: {message}" if message else name


def _rank(value: Any) -> tuple[int, float, str]:
    """Order numbers by size, then texts, then everything else by its JSON."""
    if isinstance(value, int | float):
        return (0, value, "")
    if isinstance(value, str):
        return (1, 0, value)
    return (2, 0, as_text(value))


_PLAIN = frozenset({str, int, float, bool, type(None), bytes})

# Looked up along a value's classes, so that a subclass is read as what it extends.
_LEAVES: Mapping[type, Callable[[Any], Any]] = MappingProxyType(
    {
        str: str.__str__,
        int: _int,
        float: _float,
        complex: complex.__repr__,
        bytes: _bytes,
        bytearray: _bytes,
        memoryview: _bytes,
        Decimal: _decimal,
        Fraction: _fraction,
        datetime: _datetime,
        date: lambda value: value.isoformat(),
        time: lambda value: value.isoformat(),
        timedelta: timedelta.total_seconds,
        UUID: UUID.__str__,
        PurePath: PurePath.__str__,
        BaseException: _exception,
        type: lambda value: f"<class {_mark(value)[1:-1]}>",
    }
)

_ITERATORS: Mapping[type, Callable[[Any], Iterable[Any]]] = MappingProxyType(
    {kind: kind.__dict__["__iter__"] for kind in (list, set, frozenset, deque)}
)
_UNORDERED = frozenset({set, frozenset})
