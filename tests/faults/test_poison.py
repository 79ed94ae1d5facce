"""Fault case 23: values that no logger expects, through the public API to a real file."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structllm import _emitter
from structllm.assemble import create_llm_logger
from structllm.logger import ChatCompletionLogger
from structllm.processors.normalise import Normalise
from structllm.processors.render import Render
from tests.faults.child import SETTINGS
from tests.faults.poisons import POISONS, Talks

MAX_LINE_BYTES = 1_048_576
EXAMPLES = 150


class Log:
    """A logger that writes to a real file, and the lines of that file.

    Args:
        directory: Where the file is.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "x.log"
        self.logger: ChatCompletionLogger = create_llm_logger(
            settings={**SETTINGS, "completion_log_level": "DEBUG"}, sinks=[{"type": "file", "path": str(self._path)}]
        )

    def events(self) -> list[dict[str, Any]]:
        """Return the events; fails where a line is none or is too long."""
        lines = self._path.read_bytes().splitlines(keepends=True) if b"\r" not in self._path.read_bytes() else None
        assert lines is not None
        assert all(len(line) <= MAX_LINE_BYTES and line.endswith(b"}\n") for line in lines)
        return [orjson.loads(line) for line in lines]

    def log_everywhere(self, poison: Callable[[], Any]) -> None:
        """Call each method, with the poison in every place where a caller may have put it."""
        logger = self.logger
        logger.log_completion_request(
            poison(), poison(), poison(), poison(), poison(), provider=poison(), request_id="req_1", extra=poison()
        )
        logger.log_completion_response(
            "req_1", poison(), poison(), poison(), error=poison(), timestamp=poison(), extra=poison()
        )
        logger.log_trading_decision(
            "req_1",
            poison(),
            poison(),
            poison(),
            poison(),
            poison(),
            poison(),
            poison(),
            poison(),
            caused_by=poison(),
            decision_id="dec_1",
            extra=poison(),
        )
        logger.log_decision_outcome("dec_1", poison(), poison(), poison(), timestamp=poison(), extra=poison())
        logger.bind(bound=poison()).log_run(
            kind=poison(), name=poison(), run_id="run_1", duration_ms=poison(), tags=poison(), extra=poison()
        )


IDENTITIES = [
    ("completion_request", "request_id", "req_1"),
    ("completion_response", "request_id", "req_1"),
    ("trading_decision", "decision_id", "dec_1"),
    ("decision_outcome", "decision_id", "dec_1"),
    ("run", "run_id", "run_1"),
]


def identities(log: Log) -> list[tuple[Any, Any, Any]]:
    """Return type and id of each event of a log that has to be complete: numbered, nothing dropped."""
    events = log.events()
    assert list(range(1, len(events) + 1)) == [event["seq"] for event in events]
    assert {log.logger.writer} == {event["writer"] for event in events}
    names = {event_type: name for event_type, name, _ in IDENTITIES}
    own = [event for event in events if event["event_type"] != "performance_metrics"]
    return [(event["event_type"], names[event["event_type"]], event[names[event["event_type"]]]) for event in own]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """Return a logger and its file."""
    log = Log(tmp_path)
    yield log
    log.logger.close()


class TestPoison:
    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("name", POISONS)
    def test_each_call_is_one_line(self, log: Log, name: str) -> None:
        """Whatever stands wherever in a call: it does not raise, and writes one line with its type and its id."""
        log.log_everywhere(POISONS[name])
        assert IDENTITIES == identities(log)
        assert {"accepted": 5, "delivered": 5, "dropped": {}, "pending": 0}.items() <= (
            log.logger.stats()["sinks"]["file"].items()
        )

    @pytest.mark.timeout(60)
    def test_an_object_that_logs(self, log: Log) -> None:
        """An object that logs while it is written adds the lines of what it logs, and does not go on for ever."""

        def say() -> None:
            log.logger.log_decision_outcome("dec_nested", "nested", Talks(say))

        log.log_everywhere(lambda: Talks(say))
        outer = [event for event in log.events() if event.get("decision_id") != "dec_nested"]
        assert [kind for kind, _, _ in IDENTITIES] == [event["event_type"] for event in outer]
        assert len({event["seq"] for event in log.events()}) == len(log.events())

    @pytest.mark.timeout(60)
    def test_objects_of_the_caller_stay_as_they_are(self, log: Log) -> None:
        """Nothing that a caller gives is changed, however it has to be changed to be written."""

        def given() -> dict[Any, Any]:
            return {"a": [1, {"b": {2, 3}}], (1, 2): "\ud800", "long": "y" * 3_000_000, "sk-key": [b"x", 2**70]}

        poison = given()
        log.log_everywhere(lambda: poison)
        assert given() == poison
        assert IDENTITIES == identities(log)

    @pytest.mark.timeout(60)
    def test_objects_that_change_meanwhile(self, log: Log) -> None:
        """What another thread changes while and after it is logged makes no line that is none, and changes none."""
        numbers: list[int] = []
        shared: dict[str, Any] = {"list": numbers, "dict": {}}
        stop = threading.Event()

        def change() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                shared["list"].append(number)
                shared["dict"][str(number)] = {"n": number}
                if number % 50 == 0:
                    shared["list"], shared["dict"] = [], {}

        thread = threading.Thread(target=change)
        thread.start()
        try:
            for _ in range(40):
                log.log_everywhere(lambda: shared)
        finally:
            stop.set()
            thread.join(timeout=10)
        before = log.events()
        shared["list"] = "changed"
        assert before == log.events()
        assert IDENTITIES * 40 == identities(log)


SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=20),
    st.binary(max_size=8),
    st.decimals(),
    st.complex_numbers(),
    st.datetimes(),
    st.sampled_from(list(POISONS)).filter(
        lambda name: "50 MB" not in name and "million" not in name and "many" not in name
    ),
)
NESTS: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.text(max_size=5), st.integers(), st.tuples(st.integers())), inner, max_size=4),
        st.tuples(inner, inner),
        st.frozensets(st.integers(), max_size=3),
    ),
    max_leaves=12,
)


def poisoned(nest: Any) -> Any:
    """Return a nest in which the names of poisons are what they name."""
    if isinstance(nest, str) and nest in POISONS:
        return POISONS[nest]()
    if isinstance(nest, list):
        return [poisoned(item) for item in cast("list[Any]", nest)]
    if isinstance(nest, tuple):
        return tuple(poisoned(item) for item in cast("tuple[Any, ...]", nest))
    if isinstance(nest, dict):
        return {key: poisoned(item) for key, item in cast("dict[Any, Any]", nest).items()}
    return nest


class TestNests:
    @pytest.mark.timeout(120)
    @settings(max_examples=EXAMPLES)
    @given(nest=NESTS)
    def test_each_call_is_one_line(self, nest: Any) -> None:
        """Any nest of poisons and plain values is one line for each call, and stays as it is."""
        kept = repr(nest)
        with TemporaryDirectory() as directory:
            log = Log(Path(directory))
            log.log_everywhere(lambda: poisoned(nest))
            log.log_everywhere(lambda: nest)
            log.logger.close()
            assert IDENTITIES * 2 == identities(log)
        assert kept == repr(nest)


def unchanged(self: Normalise, logger: Any, name: str, event: Any) -> Any:
    return event


def unbounded(self: Render, logger: Any, name: str, event: Any) -> bytes:
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def indented(self: Render, logger: Any, name: str, event: Any) -> bytes:
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_INDENT_2)


def empty_line(event: Any, error_name: str) -> bytes:
    return b"{}\n"


def by_key(self: Normalise, logger: Any, name: str, event: Any) -> Any:
    for value in event.values():
        if isinstance(value, dict):
            cast("dict[Any, Any]", value).clear()
    return _normalise(self, logger, name, event)


_normalise = Normalise.__call__

MUTANTS: dict[str, tuple[list[tuple[Any, str, Any]], str]] = {
    "no last resort": ([(Normalise, "__call__", unchanged), (_emitter, "minimal_line", empty_line)], "object"),
    "lines of any length": ([(Render, "__call__", unbounded)], "50 MB of escapes"),
    "newlines inside": ([(Render, "__call__", indented)], "set"),
}


class TestMutants:
    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("name", MUTANTS)
    def test_is_found(self, log: Log, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The test fails for a chain that lacks this."""
        damages, poison = MUTANTS[name]
        for damage in damages:
            monkeypatch.setattr(*damage)
        with pytest.raises((AssertionError, orjson.JSONDecodeError, KeyError)):
            TestPoison().test_each_call_is_one_line(log, poison)

    @pytest.mark.timeout(60)
    def test_a_changed_object_is_found(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        """The test fails for a chain that changes an object of the caller."""
        monkeypatch.setattr(Normalise, "__call__", by_key)
        with pytest.raises(AssertionError):
            TestPoison().test_objects_of_the_caller_stay_as_they_are(log)
