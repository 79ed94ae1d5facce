"""structlog's bound logger with an entry of its own, which takes a whole event."""

from collections.abc import Mapping
from typing import Any

import structlog

from structllm._emitter import Emitter
from structllm.processors.context import with_bound


class EventLogger(structlog.BoundLoggerBase):
    """structlog's bound logger with one entry that takes the whole event as a mapping.

    structlog's own methods re-pack keyword arguments in three frames; this one builds the event once. `bind`, `unbind`
    and `new` are structlog's.
    """

    _logger: Emitter

    @property
    def bound(self) -> Mapping[str, Any]:
        """The fields that every event of this logger gets."""
        context: Mapping[str, Any] = self._context
        return context

    @property
    def emitter(self) -> Emitter:
        """The emitter behind this logger and all that were bound from it."""
        return self._logger

    def emit(
        self,
        event_type: str,
        level: str,
        fields: Mapping[str, Any],
        timestamp: str | None = None,
        *,
        keep: bool = False,
    ) -> Mapping[str, Any] | None:
        """Send an event through the chain to the sinks.

        Args:
            event_type: What happened.
            level: Level name.
            fields: The fields of this event; they win over bound ones.
            timestamp: The event's own time as written; None means now.
            keep: Run the chain even where no sink takes the event, because it may be written late.

        Returns:
            The event as it left the chain, or None if it was filtered out.
        """
        if self._context:
            fields = with_bound(self.bound, event_type, fields)
        return self._logger.emit(event_type, level, fields, timestamp, self._processors, keep)
