"""Whatever a caller passes, the chain writes one line of valid JSON and leaves the caller's objects alone."""

import collections
import dataclasses
import enum
import json
import math
from collections.abc import Iterator, Mapping
from datetime import timedelta, timezone
from typing import Any, NamedTuple

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from structllm.processors.normalise import Normalise, normalise_value
from structllm.processors.render import Render, minimal_line
from structllm.processors.truncate import Truncate

EXAMPLES = 150


class Raises:
    """Raises on everything that it is asked."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("iter")

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        return self is other


class Leaks:
    """Shows a secret to everyone who prints it."""

    def __repr__(self) -> str:
        return "LEAKED"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "LEAKED"


class Broken(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(["a", "b"])

    def __len__(self) -> int:
        raise RuntimeError("len")


class Word(str):
    def encode(self, *args: Any, **kwargs: Any) -> bytes:
        raise RuntimeError("encode")


class Side(enum.Enum):
    LONG = "long"
    NESTED = (1, "a")


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclasses.dataclass
class Box:
    content: Any
    hidden: Any = dataclasses.field(default="LEAKED", repr=False)


class Odd(enum.Enum):
    """What to put in this place once Hypothesis is done with it: it asks values about themselves, too."""

    RAISES = enum.member(Raises)
    LEAKS = enum.member(Leaks)
    BROKEN = enum.member(Broken)
    WORD = enum.member(lambda: Word("\ud800x"))
    ITERATOR = enum.member(lambda: iter([1]))
    FUNCTION = enum.member(lambda: rendered)
    CLASS = enum.member(lambda: Leaks)
    OBJECT = enum.member(object)


# Hypothesis leaves surrogates out of text unless told otherwise.
any_text = st.text(st.characters(exclude_categories=()), max_size=20)
exact = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**63, max_value=2**70)
    | any_text
    | st.binary(max_size=10)
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.datetimes(timezones=st.none() | st.just(timezone(timedelta(hours=-11))))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.complex_numbers(allow_nan=False)
    | st.sampled_from(Side)
)
scalars = exact | st.floats() | st.decimals()
plain_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(exact, inner, max_size=4)
        | st.sets(exact, max_size=4)
        | st.builds(Pair, inner, inner)
        | st.builds(Box, inner)
        | st.builds(collections.deque, st.lists(inner, max_size=3))
    ),
    max_leaves=10,
)
values = st.recursive(
    scalars | st.sampled_from(Odd),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(exact | st.sampled_from(Odd), inner, max_size=4)
        | st.builds(Box, inner)
        | st.builds(lambda value: ValueError("bad", value), inner)
    ),
    max_leaves=10,
)
events = st.dictionaries(any_text, values, max_size=6)


def granted(value: Any) -> Any:
    """Return the value with odd objects where Hypothesis put their names, and a cycle in every list."""
    if isinstance(value, Odd):
        return value.value()
    if isinstance(value, Box):
        return Box(granted(value.content))
    if isinstance(value, ValueError):
        return ValueError(*map(granted, value.args))
    if isinstance(value, dict):
        return {granted_key(key): granted(item) for key, item in value.items()}
    if isinstance(value, list):
        knot = [granted(item) for item in value]
        knot.append(knot)
        return knot
    return value


def granted_key(key: Any) -> Any:
    """Return a key, which must have a hash."""
    made = granted(key)
    return object() if type(made) is Broken else made


def rendered(event: dict[str, Any]) -> bytes:
    """Run an event through normalise, truncate and render."""
    chain = [Normalise(), Truncate({"prompt_preview": 10}, max_field_chars=50, max_event_chars=400)]
    for processor in chain:
        event = dict(processor(None, "info", event))
    return Render(append_newline=True)(None, "info", event)


def is_closed(value: Any, depth: int = 0) -> bool:
    """Say whether a value is of the closed set and nothing else."""
    kind = type(value)
    if kind is dict:
        return all(type(key) is str and is_closed(item, depth + 1) for key, item in value.items())
    if kind is list:
        return all(is_closed(item, depth + 1) for item in value)
    if kind is str:
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if kind is float:
        return math.isfinite(value)
    if kind is int:
        return -(2**63) <= value < 2**64
    return value is None or kind is bool


def containers(value: Any) -> Iterator[int]:
    """Yield the identity of everything that could be changed in a value."""
    if isinstance(value, list | dict | set | collections.deque):
        yield id(value)
    if isinstance(value, Box):
        yield from containers(value.content)
    elif isinstance(value, list | tuple | collections.deque | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from containers(item)


class TestAnyInput:
    @settings(max_examples=EXAMPLES)
    @given(events)
    def test_one_valid_line(self, event: dict[str, Any]) -> None:
        """Any event becomes exactly one line of JSON with its ids and event type intact."""
        ids = {"event_type": "completion_request", "session_id": "abc12345", "request_id": "req_1", "seq": 7}
        line = rendered({**granted(event), **ids})
        assert 1 == line.count(b"\n") == int(line.endswith(b"\n"))
        assert line.startswith(b'{"event_type":"completion_request"')
        read = json.loads(line, parse_constant=lambda name: f"not JSON: {name}")
        assert ids == {name: read[name] for name in ids}
        assert read == orjson.loads(line)

    @settings(max_examples=EXAMPLES)
    @given(events)
    def test_nothing_unknown_is_printed(self, event: dict[str, Any]) -> None:
        """No object's own repr or str gets into the line."""
        assert b"LEAKED" not in rendered(granted(event))

    @settings(max_examples=EXAMPLES)
    @given(values)
    def test_values_are_closed(self, value: Any) -> None:
        """Every value becomes one of the closed set, and normalising it again changes nothing."""
        once = normalise_value(granted(value))
        assert is_closed(once)
        assert once == normalise_value(once)

    @settings(max_examples=EXAMPLES)
    @given(plain_values)
    def test_input_is_not_changed(self, value: Any) -> None:
        """The caller's objects are as they were, and the event shares no container with them."""
        before = repr(value)
        cleaned = Normalise()(None, "info", {"event_type": "x", "value": value})["value"]
        assert before == repr(value)
        assert set(containers(value)).isdisjoint(containers(cleaned))

    @settings(max_examples=EXAMPLES)
    @given(st.lists(exact, unique=True, max_size=6))
    def test_sets_do_not_depend_on_their_order(self, value: list[Any]) -> None:
        """Sets of equal content give equal lists, in whatever order they were filled."""
        forwards = normalise_value(set(value))
        value.reverse()
        assert forwards == normalise_value(set(value))

    @settings(max_examples=EXAMPLES)
    @given(st.dictionaries(any_text | st.integers() | st.none() | st.booleans(), st.integers(-9, 9), max_size=8))
    def test_no_value_is_lost_to_its_key(self, value: dict[Any, int]) -> None:
        """However keys collide as text, every value is kept."""
        cleaned = normalise_value(value)
        assert isinstance(cleaned, dict)
        assert list(value.values()) == list(cleaned.values())

    @settings(max_examples=EXAMPLES)
    @given(events, values)
    def test_the_minimal_line_never_fails(self, event: dict[str, Any], value: Any) -> None:
        """The last resort is one line of JSON too, for events that nothing has normalised."""
        line = minimal_line({**granted(event), "event_type": granted(value), "seq": granted(value)}, "TypeError")
        assert 1 == line.count(b"\n") == int(line.endswith(b"\n"))
        assert "TypeError" == json.loads(line)["render_error"]
