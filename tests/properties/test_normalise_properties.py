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

EXAMPLES = 200


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
    __format__ = lambda self, spec: "LEAKED"  # noqa: E731  # as short as the others


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


# Hypothesis leaves surrogates out of text unless told otherwise.
any_text = st.text(st.characters(exclude_categories=()), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**63, max_value=2**70)
    | st.floats()
    | any_text
    | st.binary(max_size=10)
    | st.decimals()
    | st.fractions()
    | st.datetimes(timezones=st.none() | st.just(timezone(timedelta(hours=-11))))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.complex_numbers()
    | st.sampled_from(Side)
)
hashable = scalars.filter(lambda value: value == value)
plain_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.sets(hashable, max_size=4)
        | st.builds(Pair, inner, inner)
        | st.builds(Box, inner)
        | st.builds(collections.deque, st.lists(inner, max_size=3))
    ),
    max_leaves=12,
)
hostile = st.sampled_from(
    [Raises, Leaks, Broken, lambda: Word("\ud800x"), lambda: iter([1]), lambda: lambda: 0, object, lambda: Leaks]
).map(lambda make: make())
values = (
    st.recursive(
        scalars | hostile,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(hashable | hostile.filter(lambda value: type(value) is not Broken), inner, max_size=4)
            | st.builds(Box, inner)
            | st.builds(lambda value: ValueError("bad", value), inner)
            | inner.map(knotted)
        ),
        max_leaves=12,
    )
    if (knotted := lambda value: (knot := [value], knot.append(knot))[0])
    else st.nothing()
)
events = st.dictionaries(any_text, values, max_size=8)


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


class TestAnyInput:
    @settings(max_examples=EXAMPLES)
    @given(events)
    def test_one_valid_line(self, event: dict[str, Any]) -> None:
        """Any event becomes exactly one line of JSON with its ids and event type intact."""
        ids = {"event_type": "completion_request", "session_id": "abc12345", "request_id": "req_1", "seq": 7}
        line = rendered({**event, **ids})
        assert 1 == line.count(b"\n") == int(line.endswith(b"\n"))
        assert line.startswith(b'{"event_type":"completion_request"')
        read = json.loads(line, parse_constant=lambda name: f"not JSON: {name}")
        assert ids == {name: read[name] for name in ids}
        assert read == orjson.loads(line)

    @settings(max_examples=EXAMPLES)
    @given(events)
    def test_nothing_unknown_is_printed(self, event: dict[str, Any]) -> None:
        """No object's own repr or str gets into the line."""
        assert b"LEAKED" not in rendered(event)

    @settings(max_examples=EXAMPLES)
    @given(values)
    def test_values_are_closed(self, value: Any) -> None:
        """Every value becomes one of the closed set, and normalising it again changes nothing."""
        once = normalise_value(value)
        assert is_closed(once)
        assert once == normalise_value(once)

    @settings(max_examples=EXAMPLES)
    @given(plain_values)
    def test_input_is_not_changed(self, value: Any) -> None:
        """The caller's objects are as they were, and the event shares no container with them."""
        before = repr(value)
        event = {"event_type": "x", "value": value}
        cleaned = Normalise()(None, "info", event)["value"]
        assert before == repr(value)
        if isinstance(value, list | dict) and value:
            assert cleaned is not value
            cleaned.clear()
            assert before == repr(value)

    @settings(max_examples=EXAMPLES)
    @given(st.sets(hashable, max_size=6))
    def test_sets_do_not_depend_on_their_order(self, value: set[Any]) -> None:
        """Sets of equal content give equal lists, in whatever order they were filled."""
        assert normalise_value(value) == normalise_value(set(reversed(list(value))))

    @settings(max_examples=EXAMPLES)
    @given(st.dictionaries(any_text | st.integers() | st.none() | st.booleans(), st.integers(), max_size=8))
    def test_no_value_is_lost_to_its_key(self, value: dict[Any, int]) -> None:
        """However keys collide as text, every value is kept."""
        cleaned = normalise_value(value)
        assert isinstance(cleaned, dict)
        assert list(value.values()) == list(cleaned.values())

    @settings(max_examples=EXAMPLES)
    @given(events)
    def test_the_minimal_line_never_fails(self, event: dict[str, Any]) -> None:
        """The last resort is one line of JSON too, for events that nothing has normalised."""
        line = minimal_line(event, "TypeError")
        assert 1 == line.count(b"\n") == int(line.endswith(b"\n"))
        assert "TypeError" == json.loads(line)["render_error"]
