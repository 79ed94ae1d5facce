"""Normalise: anything a caller passes becomes a closed set of JSON-safe values."""

import collections
import dataclasses
import enum
import json
import types
import uuid
from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
import structlog
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import BaseModel, Field, RootModel, SecretBytes, SecretStr, computed_field

from structllm.processors.normalise import (
    MAX_DEPTH,
    MAX_VALUES,
    TRUNCATED,
    Normalise,
    error_message,
    normalise_value,
)


def normalised(event: Any) -> Any:
    """Run the processor alone."""
    return Normalise()(None, "info", event)


class Colour(enum.Enum):
    RED = "red"
    MIXED = (1, 2)


class Text(str):
    """A string class that lies about itself."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def isascii(self) -> bool:
        raise RuntimeError("no")


class Whole(int):
    def __int__(self) -> int:
        raise RuntimeError("no")


class Part(float):
    def __float__(self) -> float:
        raise RuntimeError("no")


class Hostile:
    """Everything that can be asked of it raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("iter")

    def __len__(self) -> int:
        raise RuntimeError("len")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        raise RuntimeError("hash")


class Leaky:
    """An ordinary client object whose repr shows its key."""

    def __init__(self) -> None:
        self.key = "hunter2"

    def __repr__(self) -> str:
        return f"Leaky(key={self.key})"

    __str__ = __repr__


class TestScalars:
    @pytest.mark.parametrize("value", [None, True, False, 0, 2**63, -(2**63), 2**64 - 1, 0.0, -0.5, 1e308, "", "ok"])
    def test_plain_values_pass(self, value: object) -> None:
        """What JSON can carry is not changed."""
        assert value == normalise_value(value)
        assert type(value) is type(normalise_value(value))

    @pytest.mark.parametrize(
        ("expected", "value"),
        [("NaN", float("nan")), ("Infinity", float("inf")), ("-Infinity", float("-inf")), ("NaN", Part("nan"))],
    )
    def test_what_is_not_finite_is_named(self, expected: str, value: float) -> None:
        """A float that JSON cannot carry becomes its name, never null."""
        assert expected == normalise_value(value)

    @pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**100])
    def test_long_ints_are_text(self, value: int) -> None:
        """An int beyond 64 bits keeps every digit."""
        assert str(value) == normalise_value(value)

    def test_endless_ints_are_described(self) -> None:
        """An int that Python refuses to write in decimal is described by its size."""
        assert "<int 33220 bits>" == normalise_value(10**10_000)

    @pytest.mark.parametrize(
        ("expected", "value"),
        [("text", Text("text")), (7, Whole(7)), (0.5, Part(0.5)), ("caf\u00e9", Text("caf\u00e9"))],
    )
    def test_subclasses_become_what_they_extend(self, expected: object, value: object) -> None:
        """A subclass of str, int or float loses its class, and what it overrides is not called."""
        assert expected == normalise_value(value)
        assert type(expected) is type(normalise_value(value))

    @pytest.mark.parametrize(
        ("expected", "value"),
        [("red", Colour.RED), ([1, 2], Colour.MIXED), (3, enum.IntEnum("Level", {"HIGH": 3})(3))],
    )
    def test_enum_members_become_their_value(self, expected: object, value: object) -> None:
        """An Enum member is what stands behind it."""
        assert expected == normalise_value(value)

    @pytest.mark.parametrize(
        ("expected", "value"),
        [
            ("\\ud800", "\ud800"),
            ("a\\udfffb", "a\udfffb"),
            ("caf\u00e9 \U0001f600", "caf\u00e9 \U0001f600"),
            ("\\ud83d\\ude00", "\ud83d\ude00"),
        ],
    )
    def test_lone_surrogates_are_written_out(self, expected: str, value: str) -> None:
        """Halves of a character, which UTF-8 has no place for, become visible; other text is not changed."""
        assert expected == normalise_value(value)

    @pytest.mark.parametrize(
        ("expected", "value"),
        [
            ("caf\u00e9", "caf\u00e9".encode()),
            ("<bytes 2>", b"\xff\xfe"),
            ("ok", bytearray(b"ok")),
            ("ok", memoryview(b"ok")),
        ],
    )
    def test_bytes(self, expected: str, value: object) -> None:
        """Bytes are their UTF-8 text, or their number."""
        assert expected == normalise_value(value)

    @pytest.mark.parametrize(
        ("expected", "value"),
        [
            (0.1, Decimal("0.1")),
            (45230.5, Decimal("45230.50")),
            ("0.1234567890123456789", Decimal("0.1234567890123456789")),
            ("1E+400", Decimal("1e400")),
            ("NaN", Decimal("NaN")),
            ("NaN", Decimal("sNaN")),
            ("-Infinity", Decimal("-Infinity")),
            (0.5, Fraction(1, 2)),
            ("1/3", Fraction(1, 3)),
            (f"{10**400}", Fraction(10**400)),
            ("(1+2j)", 1 + 2j),
        ],
    )
    def test_exact_numbers(self, expected: object, value: object) -> None:
        """A Decimal or Fraction is a float where nothing is lost, otherwise text."""
        assert expected == normalise_value(value)

    @pytest.mark.parametrize(
        ("expected", "value"),
        [
            ("2024-01-15T10:30:45.123Z", datetime(2024, 1, 15, 10, 30, 45, 123456, tzinfo=UTC)),
            ("2024-01-15T08:30:00.000Z", datetime(2024, 1, 15, 10, 30, tzinfo=timezone(timedelta(hours=2)))),
            ("2024-01-15T10:30:00", datetime(2024, 1, 15, 10, 30)),
            ("0001-01-01T00:00:00+05:00", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))),
            ("2024-01-15", date(2024, 1, 15)),
            ("10:30:00", time(10, 30)),
            (90.5, timedelta(seconds=90, milliseconds=500)),
        ],
    )
    def test_times(self, expected: object, value: object) -> None:
        """An aware datetime is UTC with milliseconds, a naive one stays naive, a timedelta is seconds."""
        assert expected == normalise_value(value)

    def test_uuid_and_path(self) -> None:
        """A UUID and a path are their text."""
        some = uuid.uuid4()
        assert [str(some), "/var/log"] == normalise_value([some, Path("/var/log")])

    @pytest.mark.parametrize("value", [SecretStr("hunter2"), SecretBytes(b"hunter2")])
    def test_secrets_are_masked(self, value: object) -> None:
        """What says of itself that it is secret stays so."""
        assert "**********" == normalise_value(value)

    def test_numpy_scalars_by_their_module(self) -> None:
        """A scalar of numpy becomes the Python number, without numpy being imported."""
        scalar = type("float32", (), {"__module__": "numpy", "item": lambda self: float("nan")})()
        stubborn = type("longdouble", (), {"__module__": "numpy", "item": lambda self: self})()
        stranger = type("float32", (), {"__module__": "elsewhere", "item": lambda self: 1.5})()
        assert ["NaN", "<longdouble>", "<float32>"] == normalise_value([scalar, stubborn, stranger])

    def test_numpy_arrays_up_to_the_limit(self) -> None:
        """An array becomes lists, unless it has more values than an event may have."""
        members = {"__module__": "numpy", "tolist": lambda self: [[1, 2], [3, 4]]}
        small, large = type("ndarray", (), members | {"size": 4})(), type("ndarray", (), members | {"size": 10**6})()
        assert [[[1, 2], [3, 4]], "<ndarray>"] == normalise_value([small, large])


class TestContainers:
    def test_sets_are_sorted(self) -> None:
        """A set becomes a list in an order that does not depend on hashing."""
        assert [2, 9, 10, "NaN", "a", "b", [1, 2]] == normalise_value({"b", 10, 9, "a", 2, float("nan"), (1, 2)})
        assert ["a", "b"] == normalise_value(frozenset({"b", "a"}))

    def test_keys_become_text(self) -> None:
        """Keys of any type become text, as JSON would write them."""
        value = {7: "a", None: "b", True: "c", 2.5: "d", Colour.RED: "e", ("BTC", "USD"): "f", b"raw": "g"}
        expected = {"7": "a", "null": "b", "true": "c", "2.5": "d", "red": "e", '["BTC","USD"]': "f", "raw": "g"}
        assert expected == normalise_value(value)

    def test_colliding_keys_are_all_kept(self) -> None:
        """A key whose text is taken gets a number, and a key that was text keeps it."""
        value = {2: "a", "2": "b", "2~2": "c", "\ud800": "d", "\\ud800": "e"}
        expected = {"2~3": "a", "2": "b", "2~2": "c", "\\ud800~2": "d", "\\ud800": "e"}
        assert expected == normalise_value(value)

    def test_tuples_and_named_tuples(self) -> None:
        """A tuple is a list, one with names is a dict."""

        class Candle(NamedTuple):
            open: float
            close: float

        assert [[1, 2], {"open": 1.0, "close": 2.0}] == normalise_value(((1, 2), Candle(1.0, 2.0)))

    def test_subclasses_of_containers(self) -> None:
        """What a subclass of dict or list overrides is not called."""

        class Dict(dict[str, int]):
            def items(self) -> Any:
                raise RuntimeError("no")

            __iter__ = items

        class List(list[int]):
            def __iter__(self) -> Any:
                raise RuntimeError("no")

        assert [{"a": 1}, [1]] == normalise_value((Dict(a=1), List([1])))
        assert [{"a": 1}, [1, 2]] == normalise_value([collections.OrderedDict(a=1), collections.deque([1, 2])])

    def test_abstract_containers(self) -> None:
        """Mappings, sequences and views of any class are read like the built-in ones."""

        class Members(Set[int]):
            def __contains__(self, value: object) -> bool:
                return value in (2, 1)

            def __iter__(self) -> Iterator[int]:
                return iter((2, 1))

            def __len__(self) -> int:
                return 2

        views: list[object] = [
            Members(),
            types.MappingProxyType({"a": 1}),
            collections.ChainMap({"a": 1}, {"b": 2}),
            range(3),
            {"b": 1, "a": 2}.keys(),
            {"b": 1, "a": 2}.values(),
            collections.UserList([1]),
        ]
        assert [[1, 2], {"a": 1}, {"a": 1, "b": 2}, [0, 1, 2], ["b", "a"], [1, 2], [1]] == normalise_value(views)

    def test_cycles_are_cut(self) -> None:
        """An object inside itself is named as what it is; the same object twice is written twice."""
        shared = [1]
        value: dict[str, Any] = {"one": shared, "two": shared}
        value["self"] = [value]
        assert {"one": [1], "two": [1], "self": ["<cycle>"]} == normalise_value(value)

    def test_depth_is_limited(self) -> None:
        """What lies deeper than the limit is marked."""
        value: Any = "bottom"
        for _ in range(MAX_DEPTH + 1):
            value = [value]
        text = json.dumps(normalise_value(value))
        assert "[" * MAX_DEPTH + '"<depth>"' + "]" * MAX_DEPTH == text
        assert "bottom" in json.dumps(normalise_value(value[0]))

    @pytest.mark.parametrize("value", [list(range(20_000)), tuple(range(20_000)), range(10**12)])
    def test_values_are_limited_in_lists(self, value: object) -> None:
        """A list keeps as many values as an event may have, and says that it was cut."""
        cleaned = normalise_value(value)
        assert [*range(MAX_VALUES), TRUNCATED] == cleaned

    def test_values_are_limited_in_dicts(self) -> None:
        """A dict keeps as many values as an event may have, and says that it was cut."""
        cleaned = normalise_value({str(number): number for number in range(20_000)})
        assert isinstance(cleaned, dict)
        assert (MAX_VALUES + 1, TRUNCATED) == (len(cleaned), cleaned[TRUNCATED])

    def test_values_are_limited_over_the_whole_event(self) -> None:
        """Many small containers share one limit."""
        event = normalised({"event_type": "x", "rows": [{"a": 1, "b": 2} for _ in range(5_000)]})
        assert {"a": 1, "b": 2} == event["rows"][0]
        assert {TRUNCATED: TRUNCATED} == event["rows"][-1]
        event = normalised({"event_type": "x", "rows": [[1, 2] for _ in range(5_000)]})
        assert ([1, 2], [TRUNCATED]) == (event["rows"][0], event["rows"][-1])

    def test_endless_mappings_end(self) -> None:
        """A mapping whose keys never end is read up to the limit."""

        class Endless(Mapping[int, int]):
            def __getitem__(self, key: int) -> int:
                return key

            def __iter__(self) -> Iterator[int]:
                number = 0
                while True:
                    yield (number := number + 1)

            def __len__(self) -> int:
                raise RuntimeError("no")

        cleaned = normalise_value(Endless())
        assert isinstance(cleaned, dict)
        assert MAX_VALUES + 1 == len(cleaned)


class Order(BaseModel):
    symbol: str
    size: Decimal = Decimal("0.1")
    api_key: str = Field(default="hunter2", repr=False)
    internal: str = Field(default="x", exclude=True)
    token: SecretStr = SecretStr("hunter2")

    @computed_field
    @property
    def explodes(self) -> int:
        raise RuntimeError("computed")


@dataclasses.dataclass(slots=True)
class Position:
    symbol: str
    password: str = dataclasses.field(default="hunter2", repr=False)
    orders: list[Any] = dataclasses.field(default_factory=list)


class TestObjects:
    def test_pydantic_models(self) -> None:
        """A model is its stored fields: nothing computed, nothing excluded, hidden what its repr hides."""
        expected = {"symbol": "BTC", "size": 0.1, "api_key": "<hidden>", "token": "**********"}
        assert expected == normalise_value(Order(symbol="BTC"))

    def test_pydantic_extras_and_roots(self) -> None:
        """Extra fields of a model are kept, and a root model is what it wraps."""

        class Open(BaseModel, extra="allow"):
            known: int

        assert {"known": 1, "more": [2]} == normalise_value(Open.model_validate({"known": 1, "more": [2]}))
        assert [1, 2] == normalise_value(RootModel[list[int]]([1, 2]))

    def test_dataclasses(self) -> None:
        """A dataclass is its fields, with or without slots."""
        expected = {"symbol": "BTC", "password": "<hidden>", "orders": [{"symbol": "ETH"}]}
        plain = dataclasses.make_dataclass("Plain", ["symbol"])
        assert expected == normalise_value(Position("BTC", orders=[plain("ETH")]))

    def test_half_built_objects(self) -> None:
        """A field that was never set is left out."""
        position = object.__new__(Position)
        position.symbol = "BTC"
        assert {"symbol": "BTC"} == normalise_value(position)

    def test_attrs_and_msgspec_by_their_marks(self) -> None:
        """Classes of attrs and msgspec are known by what those leave on a class."""
        field = types.SimpleNamespace(name="symbol", repr=True)
        attrs = type("Attrs", (), {"__attrs_attrs__": (field,), "__slots__": ("symbol",)})()
        struct = type("Struct", (), {"__struct_fields__": ("symbol",), "__slots__": ("symbol",)})()
        attrs.symbol = struct.symbol = "BTC"
        assert [{"symbol": "BTC"}, {"symbol": "BTC"}] == normalise_value([attrs, struct])

    def test_langchain_messages(self) -> None:
        """A message is who says what, and what it calls."""
        call = {"name": "quote", "args": {"symbol": "BTC"}, "id": "c1", "type": "tool_call"}
        messages = [
            HumanMessage("hi"),
            AIMessage("", tool_calls=[call]),
            ToolMessage("42", tool_call_id="c1"),
        ]
        expected = [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "42", "tool_call_id": "c1"},
        ]
        assert expected == normalise_value(messages)

    @pytest.mark.parametrize(
        ("expected", "value"),
        [
            ("ValueError: bad price", ValueError("bad price")),
            ("ValueError", ValueError()),
            ("KeyError: 'BTC'", KeyError("BTC")),
            ("ValueError: bad, <Leaky>", ValueError("bad", Leaky())),
            ("KeyError: <Leaky>", KeyError(Leaky())),
        ],
    )
    def test_exceptions(self, expected: str, value: Exception) -> None:
        """An exception is its type and message, and an unknown object among its arguments is not printed."""
        assert expected == normalise_value(value)

    def test_exceptions_that_cannot_speak(self) -> None:
        """An exception whose `__str__` raises is its type."""

        class Mute(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no")

        assert ("Mute", "") == (normalise_value(Mute("x")), error_message(Mute("x")))

    @pytest.mark.parametrize(
        ("expected", "value"),
        [
            ("<Leaky>", Leaky()),
            ("<class Leaky>", Leaky),
            ("<function>", normalised),
            ("<generator>", (number for number in range(3))),
            ("<object>", object()),
            ("<module>", json),
            ("<list_iterator>", iter([1])),
        ],
    )
    def test_unknown_objects_are_named(self, expected: str, value: object) -> None:
        """An object of an unknown class is its type's name: never its repr, str or attributes."""
        assert expected == normalise_value(value)

    def test_hostile_objects_are_named(self) -> None:
        """An object that raises on everything is its type's name, as a value, in a list and as a key."""
        assert ["<Hostile>", {"a": "<Hostile>"}] == normalise_value([Hostile(), {"a": Hostile()}])

    def test_generators_are_not_consumed(self) -> None:
        """What can be read once is left to its owner."""
        generator = (number for number in range(3))
        normalise_value({"numbers": generator})
        assert [0, 1, 2] == list(generator)

    def test_liars_are_named(self) -> None:
        """A class that raises on being read costs its own value, not its neighbours."""

        class Zone(tzinfo):
            def utcoffset(self, moment: datetime | None) -> timedelta:
                raise RuntimeError("no")

        class Odd(datetime):
            def isoformat(self, *args: Any, **kwargs: Any) -> Any:
                return object()

        class Row(Sequence[int]):
            def __getitem__(self, index: Any) -> Any:
                raise RuntimeError("no")

            def __len__(self) -> int:
                return 3

        class Meta(type):
            def __getattribute__(cls, name: str) -> Any:
                raise RuntimeError(name)

            def __hash__(cls) -> int:
                raise RuntimeError("hash")

        strange = Meta("Strange", (), {})
        value = [datetime(2024, 1, 1, tzinfo=Zone()), Odd(2024, 1, 1), Row(), strange(), strange, 1]
        expected = ["<datetime>", "<Odd>", "<Row>", "<Strange>", "<class Strange>", 1]
        assert expected == normalise_value(value)

    def test_interrupts_pass(self) -> None:
        """What is no Exception, such as Ctrl-C, is not swallowed."""

        class Interrupting(Mapping[str, int]):
            def __getitem__(self, key: str) -> int:
                raise KeyboardInterrupt

            def __iter__(self) -> Iterator[str]:
                return iter(["a"])

            def __len__(self) -> int:
                return 1

        with pytest.raises(KeyboardInterrupt):
            normalise_value(Interrupting())


class TestNormalise:
    def test_ids_and_event_type_are_kept(self) -> None:
        """Ordinary text, numbers and nested plain data come out equal."""
        event = {
            "event_type": "completion_request",
            "session_id": "abc12345",
            "seq": 3,
            "market_context": {"symbol": "BTC-USD", "rsi": 62.5, "news": ["up", None]},
        }
        assert event == normalised(dict(event))

    def test_nested_objects_are_copied(self) -> None:
        """The event owns what it holds: changing it does not change the caller's objects."""
        market = {"symbol": "BTC", "levels": [1, 2]}
        event = normalised({"event_type": "x", "market_context": market})
        event["market_context"]["levels"].append(3)
        event["market_context"]["symbol"] = "ETH"
        assert {"symbol": "BTC", "levels": [1, 2]} == market

    def test_caller_objects_are_not_repaired_in_place(self) -> None:
        """Odd values are replaced in the event, not where they come from."""
        market = {"price": float("nan"), "inner": {"sets": {1}}}
        event = normalised({"market_context": market})
        assert {"price": "NaN", "inner": {"sets": [1]}} == event["market_context"]
        assert {1} == market["inner"]["sets"]

    def test_top_level_keys_become_text(self) -> None:
        """A field whose name is no string gets one, and the event type is not displaced."""
        event = normalised({Colour.RED: 1, 5: 2, "event_type": "x", Text("event_type"): 3})
        assert {"red": 1, "5": 2, "event_type": 3} == event

    def test_other_mappings_are_taken(self) -> None:
        """An event need not be a dict."""
        assert {"event": "hi", "n": 1} == normalised(collections.UserDict({"event": "hi", "n": 1}))

    def test_too_many_fields_are_cut(self) -> None:
        """An event has as many fields as it may have values."""
        event = normalised({f"f{number}": number for number in range(MAX_VALUES + 5)})
        assert (MAX_VALUES + 1, TRUNCATED) == (len(event), event[TRUNCATED])

    def test_unreadable_events_become_empty(self) -> None:
        """An event that cannot be read at all is not an exception."""

        class Broken(collections.UserDict[str, Any]):
            def __iter__(self) -> Iterator[str]:
                raise RuntimeError("no")

        assert {} == normalised(Broken(a=1))

    def test_on_error_keeps_ordinary_fields(self) -> None:
        """The fallback keeps the fields with ordinary names."""
        event = Normalise().on_error({"event_type": "x", 5: 1, "price": float("inf")})
        assert {"event_type": "x", "price": "Infinity"} == event

    def test_works_in_a_foreign_chain(self) -> None:
        """It is a plain structlog processor."""
        written: list[Any] = []
        capture = types.SimpleNamespace(info=lambda **event: written.append(event))
        log = structlog.wrap_logger(
            capture,
            processors=[Normalise(), lambda logger, name, event: ((), dict(event))],
            wrapper_class=structlog.BoundLogger,
        )
        log.info("hello", price=float("nan"), client=Leaky())
        assert [{"event": "hello", "price": "NaN", "client": "<Leaky>"}] == written

    def test_orjson_takes_the_result(self) -> None:
        """Whatever comes out can be rendered."""
        odd = {"a": Hostile(), "b": [Leaky(), {1, "x"}], 7: 2**70, "c": "\ud800", "d": Order(symbol="x")}
        assert orjson.loads(orjson.dumps(normalised(odd)))["7"] == str(2**70)
