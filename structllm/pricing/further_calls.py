"""Further model calls that a provider made and billed for one call of ours, such as a compaction or an adviser.

A usage names them as parts, each with its own model, so the cost of the call is a sum over models.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from structllm.pricing.cost import Cost
from structllm.pricing.tables import EXACT, ZERO
from structllm.usage import Usage


class _PriceOne(Protocol):
    def __call__(
        self, usage: Usage, model: str, *, provider: str | None, at: datetime, service_tier: str | None
    ) -> Cost | None: ...


def price_parts(
    price_one: _PriceOne, usage: Usage, model: str, *, provider: str | None, at: datetime, service_tier: str | None
) -> Cost | None:
    """Price a usage that has parts: its own counts and each part by itself, since long prompts have other rates.

    Args:
        price_one: Prices a usage without parts.
        usage: As in `PriceSource.price`, like the rest.
        model: Likewise.
        provider: Likewise.
        at: Likewise.
        service_tier: Likewise.

    Returns:
        The sum. It is a lower bound, with the part's name among `unpriced`, where a part has no price. None where the
        model of the call itself is not known.
    """
    own = price_one(usage._replace(parts=()), model, provider=provider, at=at, service_tier=service_tier)
    if own is None:
        return None
    costs: list[tuple[str, Cost | None]] = []
    for number, part in enumerate(usage.parts, start=1):
        cost = price_one(part.usage, part.model or model, provider=provider, at=at, service_tier=service_tier)
        costs.append((part.model or f"part{number}", cost))
    return _sum(own, costs)


def _sum(own: Cost, parts: Sequence[tuple[str, Cost | None]]) -> Cost:
    total, breakdown, unpriced, flags = own.cost_usd, dict(own.breakdown), list(own.unpriced), list(own.flags)
    for name, cost in parts:
        if cost is None:
            unpriced.append(name)
            continue
        total = EXACT.add(total, cost.cost_usd)
        for bucket, usd in cost.breakdown.items():
            key = f"{name}.{bucket}"
            breakdown[key] = EXACT.add(breakdown.get(key, ZERO), usd)
        unpriced += [f"{name}.{bucket}" for bucket in cost.unpriced]
        flags += cost.flags
    return own._replace(
        cost_usd=total,
        breakdown=breakdown,
        unpriced=tuple(dict.fromkeys(unpriced)),
        flags=tuple(dict.fromkeys(flags)),
    )
