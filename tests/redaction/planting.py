"""Every way into the log: secrets are planted in each position of each entry point.

A position is a function that is called once for each kind of secret. To add an entry point, write positions with its
name: whatever is registered is planted, and looked for in all outputs.
"""

import io
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from structllm.logger import ChatCompletionLogger
from tests.redaction.canaries import Canaries, Kind

MODEL = "gpt-4o-mini"


@dataclass
class Stage:
    """One planting: where the secret goes, and what makes it.

    Attributes:
        logger: The logger under test.
        canaries: Draws secrets and remembers them.
        kind: What is planted.
        entry: The entry point's name.
        position: The position's name.
        shown: Whether the place would be written if nothing redacted it.
        wire_url: Where a loopback provider answers what it was asked.
        printed: What was printed in other ways: by a logger of structlog's, or an error's text.
    """

    logger: ChatCompletionLogger
    canaries: Canaries
    kind: Kind
    entry: str
    position: str
    shown: bool
    wire_url: str
    printed: io.StringIO

    def secret(self) -> str:
        """Return a new secret, bare."""
        return self.canaries.secret(self.kind, self.entry, self.position, shown=self.shown)

    def text(self) -> str:
        """Return a new secret in a text."""
        return self.kind.text(self.secret())

    def mapping(self) -> dict[str, str]:
        """Return a new secret as an item of a mapping."""
        name, value = self.kind.pair(self.secret())
        return {name: value}

    def request(self, prompt: object = "How is it?", **fields: Any) -> str:
        """Log a request."""
        return self.logger.log_completion_request(prompt, fields.pop("model", MODEL), **fields)

    def respond(self, response: object = None, **fields: Any) -> None:
        """Log a request and its response."""
        self.logger.log_completion_response(self.request(), response, **fields)

    def ask(self, prompt: object, answer: object) -> None:
        """Log a request with a prompt and a response."""
        self.logger.log_completion_response(self.request(prompt), answer)


Plant = Callable[[Stage], Coroutine[Any, Any, None] | None]


class Position(NamedTuple):
    """A place of an input.

    Attributes:
        entry: Entry point.
        name: Of the position.
        plant: Puts a secret there.
        shown: Whether the place would be written if nothing redacted it.
    """

    entry: str
    name: str
    plant: Plant
    shown: bool


POSITIONS: list[Position] = []


def position(entry: str, name: str, *, shown: bool = True) -> Callable[[Plant], Plant]:
    """Register a position; `shown=False` where structllm writes nothing of it even if nothing is redacted."""

    def register(plant: Plant) -> Plant:
        POSITIONS.append(Position(entry, name, plant, shown))
        return plant

    return register


async def plant_all(
    logger: ChatCompletionLogger,
    canaries: Canaries,
    kinds: Sequence[Kind],
    wire_url: str,
    printed: io.StringIO,
    positions: Sequence[Position],
) -> None:
    """Plant a secret of each kind in each of the positions."""
    for place in positions:
        for kind in kinds:
            stage = Stage(logger, canaries, kind, place.entry, place.name, place.shown, wire_url, printed)
            planted = place.plant(stage)
            if planted is not None:
                await planted
