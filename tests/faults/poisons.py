"""Values that no logger expects; see `test_poison.py`."""

import dataclasses
import enum
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

DEPTH = 10_000


class Refuses:
    """An object of which every question is an error."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def _refuse(self, *arguments: object) -> Any:
        raise self._error

    __repr__ = __str__ = __len__ = __iter__ = __bool__ = __eq__ = __format__ = __float__ = __int__ = _refuse
    __getitem__ = __contains__ = __index__ = keys = values = items = model_dump = _refuse
    __hash__ = object.__hash__


class RefusingMapping(Mapping[str, Any]):
    """A mapping of which every question is an error."""

    def __getitem__(self, key: str) -> Any:
        raise ValueError

    def __iter__(self) -> Iterator[str]:
        raise ValueError

    def __len__(self) -> int:
        raise ValueError


class RefusingDict(dict[str, Any]):
    """A dict that cannot be gone through."""

    def items(self) -> Any:
        raise ValueError

    def keys(self) -> Any:
        raise ValueError

    def __iter__(self) -> Any:
        raise ValueError


class RefusingText(str):
    """A text that has no text, and no length."""

    def __str__(self) -> str:
        raise ValueError

    def __len__(self) -> int:
        raise ValueError

    def encode(self, *arguments: Any, **options: Any) -> bytes:
        raise ValueError


class Talks:
    """An object that logs when it is looked at, as one does that is traced."""

    def __init__(self, say: Callable[[], object]) -> None:
        self._say = say

    def __repr__(self) -> str:
        self._say()
        return "talks"

    __str__ = __repr__


class Colour(enum.Enum):
    """An enumeration of what is no JSON."""

    RED = object()


@dataclasses.dataclass
class Slotted:
    """A dataclass that holds what is no JSON."""

    value: Any = dataclasses.field(default_factory=object)


def deep_list() -> list[Any]:
    """Return lists in lists."""
    value: list[Any] = []
    for _ in range(DEPTH):
        value = [value]
    return value


def deep_dict() -> dict[str, Any]:
    """Return dicts in dicts."""
    value: dict[str, Any] = {}
    for _ in range(DEPTH):
        value = {"k": value}
    return value


def cycle() -> dict[str, Any]:
    """Return a dict that holds itself."""
    value: dict[str, Any] = {"list": []}
    value["list"].append(value)
    return value


def endless() -> Generator[int, None, None]:
    """Yield for longer than anybody should listen; then complain."""
    yield from range(1_000_000)
    raise ValueError


def many_keys() -> dict[str, int]:
    """Return a dict with so many keys that they alone are too much."""
    return {f"key number {number}": number for number in range(50_000)}


LARGE = "x" * 50_000_000
POISONS: dict[str, Callable[[], Any]] = {
    "object": object,
    "bytes": lambda: b"\x00\xff" * 10,
    "bytearray and memoryview": lambda: [bytearray(b"\xff"), memoryview(b"\xfe")],
    "set": lambda: {1, "a", None},
    "decimal": lambda: [Decimal("1.10"), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity")],
    "not a number": lambda: [float("nan"), float("inf"), -float("inf")],
    "huge int": lambda: [2**200, -(2**64), 10**5000],
    "lone surrogates": lambda: ["\ud800", {"\udfff": "\udc80 \ud83d"}],
    "newlines": lambda: "a\nb\r\n\u2028\u2029\x00\x85",
    "cycle": cycle,
    "deep list": deep_list,
    "deep dict": deep_dict,
    "tuple keys": lambda: {(1, 2): 3, None: 4, 5: 6, 1.5: 7, b"k": 8, True: 9},
    "keys that fall together": lambda: {1: "a", "1": "b", 1.5: "c", "1.5": "d"},
    "refuses": lambda: Refuses(ValueError("no")),
    "refuses without depth": lambda: Refuses(RecursionError()),
    "refuses memory": lambda: Refuses(MemoryError()),
    "refusing mapping": RefusingMapping,
    "refusing dict": lambda: RefusingDict(a=1),
    "refusing text": lambda: RefusingText("x"),
    "refusing key": lambda: {RefusingText("key"): 1},
    "refusing nested": lambda: {"a": [Refuses(TypeError())], "b": (RefusingMapping(),)},
    "50 MB": lambda: LARGE,
    "50 MB of escapes": lambda: "\x01" * 5_000_000,
    "a million items": lambda: list(range(300_000)),
    "many keys": many_keys,
    "generator": lambda: (number for number in range(3)),
    "endless generator": endless,
    "exception": lambda: ValueError("text", {1}),
    "class": lambda: [Refuses, type, len, Path],
    "module": lambda: orjson,
    "enum": lambda: Colour.RED,
    "dataclass": Slotted,
    "lock": threading.Lock,
    "naive and far dates": lambda: [datetime.min, datetime.max],
    "reserved names": lambda: {"event_type": "x", "seq": -1, "writer": "y"},
}
