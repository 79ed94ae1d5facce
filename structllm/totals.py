"""Sums over calls, of all and by group. Costs are added in decimal, and an unknown cost is never taken for zero."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from structllm.figures import format_usd
from structllm.metrics import QuantileSketch
from structllm.query import Call

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class Totals:
    """Sums over calls. Costs are added in decimal, so that the sum of a column is the total below it."""

    calls: int = 0
    errors: int = 0
    pending: int = 0
    orphaned: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    time_ms: float = 0.0
    priced_usd: Decimal = Decimal()
    lower_bound_usd: Decimal = Decimal()
    unpriced: Counter[str] = field(default_factory=Counter[str])
    times: QuantileSketch = field(default_factory=QuantileSketch)

    def add(self, call: Call) -> None:
        """Add a call; one without an end is counted as open, and in nothing else."""
        if call.ended is None:
            self.orphaned += call.outcome == "orphaned"
            self.pending += call.outcome != "orphaned"
            return
        self.calls += 1
        self.errors += call.success is False
        self.prompt_tokens += call.prompt_tokens
        self.completion_tokens += call.completion_tokens
        self.total_tokens += call.total_tokens
        if call.response_time_ms is not None:
            self.time_ms += call.response_time_ms
            self.times.add(call.response_time_ms)
        if call.cost_usd is not None:
            self.priced_usd += call.cost_usd
        else:
            self.unpriced[call.cost_status or "no cost recorded"] += 1
            self.lower_bound_usd += call.lower_bound_usd or 0

    @property
    def unpriced_calls(self) -> int:
        """Calls without a known cost."""
        return self.unpriced.total()

    @property
    def at_least_usd(self) -> Decimal:
        """What the calls cost at the least: the priced ones and the known parts of the others."""
        return self.priced_usd + self.lower_bound_usd

    @property
    def cost_usd(self) -> Decimal | None:
        """What is known of the cost; None where there are calls and nothing is known of any."""
        known = self.calls == 0 or self.unpriced_calls < self.calls or self.lower_bound_usd > 0
        return self.at_least_usd if known else None

    def cost_text(self, bound: str = ">= ") -> str:
        """Return the cost for people: with `bound` before it where some calls have no known price, `-` where all."""
        text = format_usd(self.cost_usd)
        return f"{bound}{text}" if self.unpriced_calls and self.cost_usd is not None else text

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens per second of response time."""
        return self.total_tokens * 1000 / self.time_ms if self.time_ms > 0 else None

    def quantile_ms(self, q: float) -> float | None:
        """Return a quantile of the response times, within 1 %."""
        value = self.times.quantile(q)
        return None if value is None else round(value, 3)


def total_by(calls: Iterable[Call], key: Callable[[Call], Sequence[Key]]) -> tuple[dict[Key, Totals], Totals]:
    """Return the totals of each group and of all calls. A call may be in several groups and is in the whole once."""
    groups: dict[Key, Totals] = {}
    whole = Totals()
    for call in calls:
        whole.add(call)
        for name in key(call):
            groups.setdefault(name, Totals()).add(call)
    return groups, whole
