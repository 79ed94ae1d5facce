"""What every sink configuration has in common: its name and which records it wants."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from structllm._types import Sink

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class SinkConfig(BaseModel):
    """Base of the sink configurations.

    A subclass adds a literal `type`, its own settings, `build()` and `check()`. Unknown settings are refused.

    Attributes:
        name: Under which the sink appears in `stats()` and can be patched from the environment; default: its type.
        level: Least level of the records it gets.
        events: Event types it gets; None means all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str | None = Field(default=None, min_length=1, max_length=64)
    level: Level = "DEBUG"
    events: frozenset[str] | None = None

    def build(self) -> Sink:
        """Open the destination and return the sink. Raises ConfigError where the settings cannot work."""
        raise NotImplementedError

    def check(self) -> list[str]:
        """Return the problems that writing would meet now (directory, rights, reachability), without writing a record."""
        raise NotImplementedError
