"""What a logger and its bound children share."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from structllm._pending import Requests
from structllm._types import Ids
from structllm.metrics import SessionMetrics
from structllm.settings import LLMSettings


@dataclass(frozen=True, slots=True)
class Core:
    """The parts of a logger beside its chain and its sinks.

    Attributes:
        settings: What it was built from.
        metrics: Counts its completions.
        requests: Knows its pending and ended requests.
        ids: Draws new ids.
        monotonic: Time for durations, in seconds.
        numbers: Numbers its completions.
        redactions: Returns how often each rule replaced something.
    """

    settings: LLMSettings
    metrics: SessionMetrics
    requests: Requests
    ids: Ids
    monotonic: Callable[[], float]
    numbers: Iterator[int]
    redactions: Callable[[], Mapping[str, int]]
