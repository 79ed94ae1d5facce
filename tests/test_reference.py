"""The generated pages are up to date, and what the logger writes is what they say."""

import re
from importlib import import_module
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import structllm
from docs.generate import REFERENCE, pages
from structllm import ChatCompletionLogger, LLMSettings, bind_market, create_llm_logger
from structllm.events import EVENTS, event_fields, field_kinds, json_schema
from structllm.sinks.memory import MemorySink


class TestPages:
    @pytest.mark.parametrize(
        "name",
        ["events.md", "events.schema.json", "settings.md", "settings.schema.json", "cli.md", "modules.md", "api.md"],
    )
    def test_are_up_to_date(self, name: str) -> None:
        """`make docs` would change nothing."""
        assert (REFERENCE / name).read_text(encoding="utf-8") == pages()[name]

    def test_every_public_name_is_in_the_api(self) -> None:
        """What the package exports has an entry of its own in the reference of the Python API."""
        entries = re.findall(r"^### (\w+)$", pages()["api.md"], flags=re.M)
        assert [] == sorted(set(structllm.__all__) - set(entries))
        assert len(entries) == len(set(entries))

    def test_every_public_method_is_in_the_api(self) -> None:
        """So has every public method of the logger."""
        methods = {name for name, value in vars(ChatCompletionLogger).items() if callable(value) and name[0] != "_"}
        entries = re.findall(r"^#### ChatCompletionLogger\.(\w+)$", pages()["api.md"], flags=re.M)
        assert methods == set(entries)

    def test_imports_of_the_api_work(self) -> None:
        """An import that an entry shows succeeds."""
        shown = re.findall(r"^`from ([\w.]+) import (\w+)`$", pages()["api.md"], flags=re.M)
        assert shown
        assert [] == [name for module, name in shown if not hasattr(import_module(module), name)]


def events() -> list[dict[str, Any]]:
    """Return one of everything that the logger writes, with and without what is optional."""
    sink = MemorySink()
    settings = LLMSettings(sinks=[sink], completion_log_level="DEBUG", service="bot", performance_log_interval=2)
    logger = create_llm_logger(settings=settings)
    with bind_market(symbol="BTC-USD", current_price=45230.5):
        messages = [{"role": "user", "content": "my password: hunter2-and-more"}]
        first = logger.log_completion_request(messages, "o3-mini", 0.1, 100, provider="openai", tools=["buy"])
    usage = {"prompt_tokens": 150, "completion_tokens": 75, "prompt_tokens_details": {"cached_tokens": 50}}
    logger.log_completion_response(first, {"choices": [], "usage": usage, "model": "o3-mini-2025-01-31"})
    second = logger.log_completion_request("?", "no-such-model")
    logger.log_completion_response(second, error=TimeoutError("too late"))
    decision_id = logger.log_trading_decision(first, "LONG", 15.0, "Bullish", indicators={"rsi": 62.5})
    logger.log_trading_decision()
    logger.log_decision_outcome(decision_id, "fill", {"price": 1.5}, "order-17")
    logger.log_run(kind="chain", name="c", run_id="r1", parent_run_id="r0", duration_ms=1.5, tags=["a"])
    return sink.events


class TestDefinitions:
    @pytest.mark.parametrize("event", events(), ids=lambda event: event["event_type"])
    def test_events_satisfy_the_schema(self, event: dict[str, Any]) -> None:
        """Every event that the logger writes is valid under the published JSON Schema."""
        errors = [error.message for error in Draft202012Validator(json_schema()).iter_errors(event)]
        assert errors == []

    @pytest.mark.parametrize("event", events(), ids=lambda event: event["event_type"])
    def test_every_field_is_documented(self, event: dict[str, Any]) -> None:
        """No field that the logger adds by itself is missing from the definitions."""
        assert set(event) <= set(event_fields(event["event_type"]))

    def test_schema_refuses_what_is_no_event(self) -> None:
        """The schema is not satisfied by just anything."""
        event = events()[0]
        validator = Draft202012Validator(json_schema())
        for wrong in (
            {},
            {**event, "seq": "one"},
            {**event, "event_type": "other"},
            {**event, "prompt_length": "long"},
        ):
            assert not validator.is_valid(wrong)

    def test_every_type_has_the_envelope_first(self) -> None:
        """The order of writing begins with event_type, timestamp, session_id, level, schema_version, writer, seq."""
        first = ["event_type", "timestamp", "session_id", "level", "schema_version", "writer", "seq"]
        assert {name: list(event_fields(name))[:7] for name in EVENTS} == dict.fromkeys(EVENTS, first)

    def test_unknown_types_have_the_envelope_alone(self) -> None:
        """Fields of foreign events have no kind, so that everything in them is scanned."""
        assert "prompt_preview" not in field_kinds("foreign")
        assert field_kinds("foreign")["seq"] == "number"
