"""Every exception that structllm raises.

    StructllmError
    ├── ConfigError          wrong settings: raised while building, never while logging
    ├── MissingExtra         an optional dependency is not installed (also an ImportError)
    ├── UsageError           token counts that cannot be read (structllm.usage); caught while pricing
    └── SinkError            raised by sinks towards the emitter, never towards the host program
        ├── SinkUnavailable  the destination cannot take it now; trying again may help
        └── SinkRejected     the destination will never take this record

Messages name settings, files and reasons. They never contain the value of a setting or the text of an event.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any


class StructllmError(Exception):
    """Base of all errors of this package."""


class ConfigError(StructllmError, ValueError):
    """Wrong settings, all problems at once.

    Attributes:
        problems: One sentence per problem, each with the variable or file that it came from.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("structllm: invalid configuration\n" + "\n".join(f"  {problem}" for problem in self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are rebuilt from their text, which here is made from the arguments.
        return type(self), (self.problems,)


class MissingExtra(StructllmError, ImportError):
    """A feature needs a package that is not installed.

    Args:
        feature: What the user asked for, e.g. `LangChain callback`.
        package: The distribution that is missing, e.g. `langchain-core`.
        extra: The extra of this package that brings it, e.g. `langchain`.
    """

    def __init__(self, feature: str, package: str, extra: str) -> None:
        self._arguments = (feature, package, extra)
        super().__init__(f"{feature} needs {package}: pip install 'structllm-logging[{extra}]'")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments


class SinkError(StructllmError):
    """Base of what a sink may raise.

    Args:
        reason: Short word for the counters, e.g. `disk_full`; part of `dropped{reason}`.
        detail: One sentence for people, without event text.
        taken: Records of the batch, from its front, that were written before this happened. Trying again continues
            behind them; a record that is rejected is the one behind them.
    """

    def __init__(self, reason: str, detail: str = "", *, taken: int = 0) -> None:
        self.reason = reason
        self.detail = detail
        self.taken = taken
        super().__init__(f"{reason}: {detail}" if detail else reason)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), taken=self.taken), (self.reason, self.detail)


class SinkUnavailable(SinkError):
    """The destination cannot take the record now; trying again may help."""


class SinkRejected(SinkError):
    """The destination will never take this record."""
