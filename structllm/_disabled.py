"""The logger of `enable_completion_logging=false`."""

from typing import Any

from structllm.logger import ChatCompletionLogger


class DisabledLogger(ChatCompletionLogger):
    """The logger of `enable_completion_logging=false`: the same methods, which do nothing but hand out ids."""

    @property
    def enabled(self) -> bool:
        """Always False."""
        return False

    def log_completion_request(self, *args: Any, **kwargs: Any) -> str:
        """Return the caller's `request_id` or a fresh one; log nothing."""
        return kwargs.get("request_id") or self._core.ids("req")

    def log_completion_response(self, *args: Any, **kwargs: Any) -> None:
        """Log nothing."""

    def log_trading_decision(self, *args: Any, **kwargs: Any) -> str:
        """Return the caller's `decision_id` or a fresh one; log nothing."""
        return kwargs.get("decision_id") or self._core.ids("dec")

    def log_decision_outcome(self, *args: Any, **kwargs: Any) -> None:
        """Log nothing."""

    def log_run(self, *args: Any, **kwargs: Any) -> None:
        """Log nothing."""

    def log_performance_metrics(self) -> dict[str, Any]:
        """Return metrics of nothing; log nothing."""
        return self.get_metrics()
