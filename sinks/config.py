"""What every sink configuration has in common: its name and which records it wants."""

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field

from structllm._options import SPLIT, AnyCase, Checked, Problem, Word, nearest
from structllm._types import Sink
from structllm.errors import ConfigError
from structllm.events import EVENTS

LevelName: TypeAlias = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Level: TypeAlias = Annotated[LevelName, AnyCase]


_NAME_CHARS = 64


def is_usable_name(name: str) -> bool:
    """Say whether a sink may have this name: variables can hold it, and it is no position in the list of sinks."""
    if not 0 < len(name) <= _NAME_CHARS or name.isdigit():
        return False
    return all(character.isalnum() or character in "_-." for character in name)


def _usable_name(name: str) -> str:
    if not is_usable_name(name):
        raise ConfigError(Problem('must be made of letters, digits, "_", "-" and ".", and not of digits alone'))
    return name


def _known_events(names: frozenset[str]) -> frozenset[str]:
    """Refuse what is probably a typo; other unknown names are left to event types to come."""
    for name in sorted(names - EVENTS.keys()):
        if meant := nearest(name, EVENTS, cutoff=0.8):
            raise ConfigError(Problem(f"unknown event type; did you mean '{meant}'?"))
    return names


def octal_mode(text: str) -> str:
    """Return the permissions of a file, as an octal string, if its owner may read and write it."""
    try:
        mode = int(text, 8)
    except ValueError:
        raise ValueError('must be an octal string such as "0600"') from None
    if mode & 0o600 != 0o600 or mode > 0o777:
        raise ValueError('must let its owner read and write and be at most "0777"')
    return text


class SinkConfig(Checked):
    """Base of the sink configurations.

    A subclass adds a literal `type`, its own settings, `build()` and `check()`. Unknown settings are refused, and wrong
    ones raise a ConfigError that lists all of them.

    Attributes:
        name: Under which the sink appears in `stats()` and can be patched from the environment; default: its type.
        level: Least level of the records it gets.
        events: Event types it gets; None means all.
        delivery: `direct` writes in the caller's thread; `background` queues, and a thread of its own writes.
        on_full: What happens to a record that finds the queue full (background).
        block_timeout_s: Longest wait for room, in seconds (`on_full="block"`).
        queue_max_bytes: Bound on the bytes that wait (background).
        queue_max_items: Bound on the records that wait (background).
    """

    name: Annotated[str, AfterValidator(_usable_name)] | None = Field(
        default=None,
        min_length=1,
        max_length=_NAME_CHARS,
        description="Name in statistics and in variables such as LLM__SINKS__<NAME>__PATH; default: the type.",
    )
    level: Level = Field(default="DEBUG", description="Least level of the records it gets.")
    events: Annotated[frozenset[Word], Field(min_length=1), SPLIT, AfterValidator(_known_events)] | None = Field(
        default=None, description="Event types it gets, e.g. trading_decision; default: all."
    )
    delivery: Literal["direct", "background"] = Field(
        default="direct",
        description="`direct` writes at once, `background` queues for a thread of its own: for a sink that may stall.",
    )
    on_full: Literal["block", "drop_newest", "drop_oldest"] = Field(
        default="drop_newest",
        description="When the queue is full: wait for room, drop the record, or drop the oldest queued one.",
    )
    block_timeout_s: float = Field(
        default=1.0, gt=0, le=60, description="Longest wait for room with on_full=block, in seconds."
    )
    queue_max_bytes: int = Field(
        default=67_108_864,
        ge=2_097_152,
        le=8_589_934_592,
        description="Bytes that may wait in the queue; a tenth is kept for decisions.",
    )
    queue_max_items: int = Field(
        default=10_000,
        ge=10,
        le=10_000_000,
        description="Records that may wait in the queue; a tenth is kept for decisions.",
    )

    @classmethod
    def from_location(cls, host: str, path: str) -> dict[str, str]:
        """Return the settings that stand before the `?` of a sink URL.

        Here the path is the setting `path`, where there is one. A sink with another kind of place overrides this.

        Args:
            host: What follows `//`, up to the next slash.
            path: The rest, percent-decoded; begins with a slash where there is a host.

        Raises:
            ConfigError: The sink has no such place.
        """
        if not (host or path):
            return {}
        if "path" not in cls.model_fields:
            raise ConfigError(Problem("this type has no place to write after the ':'; options follow a '?'"))
        if host not in {"", "localhost"}:
            raise ConfigError(Problem("'//' begins a host; write 'file:logs/x.jsonl' or 'file:///var/log/x.jsonl'"))
        return {"path": path} if path else {}

    def build(self) -> Sink:
        """Open the destination and return the sink. Raises ConfigError where the settings cannot work."""
        raise NotImplementedError

    def check(self) -> list[str]:
        """Return the problems that writing would meet now (directory, rights, reachability); write no record."""
        raise NotImplementedError
