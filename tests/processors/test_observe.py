"""Observe counts completions and changes nothing."""

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from structllm.metrics import SessionMetrics
from structllm.processors.observe import Observe


@pytest.fixture
def metrics() -> SessionMetrics:
    return SessionMetrics(lambda: datetime(2026, 1, 15, tzinfo=UTC))


class TestObserve:
    def test_event_is_unchanged(self, metrics: SessionMetrics) -> None:
        """The same event comes back, equal to what it was."""
        event: dict[str, Any] = {"event_type": "completion_response", "token_usage": {"total_tokens": 3}}
        before = deepcopy(event)
        assert event is Observe(metrics)(None, "info", event)
        assert before == event

    @pytest.mark.parametrize(
        ("event", "expected"),
        [
            ({"event_type": "completion_response"}, 1),
            ({"event_type": "completion_request"}, 0),
            ({"event_type": "trading_decision", "cost_status": "ok"}, 0),
            ({"cost_status": "ok", "cost_estimate_usd": 0.1}, 1),
            ({"event": "anything else"}, 0),
            ({}, 0),
        ],
    )
    def test_what_is_counted(self, metrics: SessionMetrics, event: dict[str, Any], expected: int) -> None:
        """Completions count; without event types, what has been priced does."""
        Observe(metrics)(None, "info", event)
        assert expected == metrics.total_completions

    def test_in_a_foreign_chain(self, metrics: SessionMetrics) -> None:
        """It works in a chain that knows nothing of this package."""
        written: list[dict[str, Any]] = []

        def capture(logger: Any, method_name: str, event_dict: Any) -> Any:
            written.append(dict(event_dict))
            raise structlog.DropEvent

        logger = structlog.wrap_logger(None, processors=[structlog.stdlib.add_log_level, Observe(metrics), capture])
        logger.info("started")
        logger.info("asked", cost_status="ok", cost_estimate_usd=0.25)
        assert ["started", "asked"] == [event["event"] for event in written]
        assert 0.25 == metrics.snapshot({})["total_cost_estimate_usd"]
