"""What a provider itself says that a call cost."""

from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any, cast

_TICKS = -10
"""xAI's ticks are this power of ten of a dollar (docs.x.ai, Cost Tracking)."""

_EXACT = Context(prec=60)
"""A context of our own: the host program may have set one that rounds."""

_MAX_AMOUNT = 10**16
"""More than that is no cost of one call, be it in dollars or in ticks (which makes a million dollars)."""


def reported_usd(raw: Mapping[str, Any]) -> Decimal | None:
    """Return the cost in a usage object, in USD, or None where there is none that can be relied upon.

    OpenRouter reports `cost`, Perplexity an object `cost` with a `total_cost`, xAI `cost_in_usd_ticks`. With the
    caller's own key (`is_byok`) OpenRouter's cost is its fee alone; the model was billed elsewhere.
    """
    if raw.get("is_byok"):
        return None
    ticks = _amount(raw.get("cost_in_usd_ticks"))
    if ticks is not None:
        return _EXACT.scaleb(ticks, _TICKS)
    cost = raw.get("cost")
    return _amount(cast("Mapping[str, Any]", cost).get("total_cost") if isinstance(cost, Mapping) else cost)


def _amount(value: object) -> Decimal | None:
    """Return a number as it was written; None for everything else, negative and endless numbers included."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    amount = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return amount if amount.is_finite() and 0 <= amount <= _MAX_AMOUNT else None
