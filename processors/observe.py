"""Observe: feeds the metrics with every completion that passes, and changes nothing."""

from typing import Any

from structllm._types import Event
from structllm.metrics import SessionMetrics


class Observe:
    """Folds each `completion_response` into the metrics of its logger.

    It stands behind price, redact and truncate, so that what the metrics show is what the events say. In somebody
    else's structlog chain, where events have no `event_type`, it takes those that `Price` has priced.

    Args:
        metrics: Where completions are counted.
    """

    def __init__(self, metrics: SessionMetrics) -> None:
        self._observe = metrics.observe

    def __call__(self, logger: Any, method_name: str, event_dict: Event) -> Event:
        """Count one event and return it unchanged."""
        kind = event_dict.get("event_type")
        if kind == "completion_response" or (kind is None and "cost_status" in event_dict):
            self._observe(event_dict)
        return event_dict
