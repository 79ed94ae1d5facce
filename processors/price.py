"""Price: token counts become a cost that says where it comes from.

The cost is a number only where it is known. Everything else is null with a `cost_status`:

    ok             priced from the list, or given by the caller
    cached         answered from the caller's own cache: nothing was billed
    partial        something was reported that has no rate; what is known is in `cost_lower_bound_usd`
    no_split       only a total is known, and input and output have different rates
    no_usage       the provider reported no token counts
    bad_usage      the counts cannot be read or contradict each other; the reason is in `cost_flags`
    unknown_model  the price list does not have the model
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

from structllm._types import Clock, Event
from structllm.pricing import Cost, PriceSource
from structllm.usage import Usage, UsageError, read_usage

_USD_UNITS = 10**10
"""A cost in an event has at most 10 digits after the point: less than the price of the cheapest token."""

_COST_FIELDS = (
    "cost_estimate_usd",
    "cost_status",
    "cost_source",
    "price_model",
    "price_version",
    "cost_breakdown",
    "cost_flags",
    "cost_lower_bound_usd",
)
_USAGE_FIELDS = ("token_usage", "raw_usage", "usage_source")
_NUMBERS = (int, float)
_COST_TYPES = frozenset({int, float, Decimal})
_OWN_COUNTS = frozenset(Usage(1, 1, 1, 1, 1, 1, 1, 1, 1, 1).token_usage())


class Price:
    """Adds normalised token counts and the cost to a `completion_response`.

    In somebody else's structlog chain it works on every event that has `token_usage` or `raw_usage` and a `model` or
    `response_model`; `provider`, `service_tier`, `timestamp` and `response_time_ms` are used where present. A call is
    priced at the time of its request: `timestamp` less `response_time_ms`.

    Args:
        source: Knows the prices.
        track_usage: False removes token counts and everything about cost from events instead.
        clock: Time of events without a readable `timestamp`; the system's clock when None.
    """

    def __init__(self, source: PriceSource, *, track_usage: bool = True, clock: Clock | None = None) -> None:
        self._source = source
        self._track_usage = track_usage
        self._clock = clock or _now

    def __call__(self, logger: Any, method_name: str, event_dict: Event) -> Event:
        """Price one event."""
        if event_dict.get("event_type") != "completion_response" and not _is_priceable(event_dict):
            return event_dict
        if not self._track_usage:
            return _without_usage(event_dict)
        given = event_dict.get("cost_estimate_usd")
        usage, status, reason = _read(event_dict)
        event_dict["token_usage"] = None if usage is None else usage.token_usage()
        flags = [reason] if reason else []
        if _is_cached(event_dict):
            event_dict["cost_estimate_usd"] = 0.0
            status = "cached"
        elif _is_cost(given):
            event_dict["cost_estimate_usd"] = float(given) if isinstance(given, Decimal) else given
            event_dict["cost_source"] = event_dict.get("cost_source") or "caller"
            status = "ok"
        else:
            event_dict["cost_estimate_usd"] = None
            if usage is not None and status == "ok":
                status = self._price(event_dict, usage, flags)
        event_dict["cost_status"] = status
        if flags:
            event_dict["cost_flags"] = flags
        return event_dict

    def on_error(self, event_dict: Event) -> Event:
        """Repair an event on which this processor failed: no cost is better than a wrong one."""
        if not self._track_usage:
            return _without_usage(event_dict)
        for name in _COST_FIELDS:
            event_dict.pop(name, None)
        event_dict["token_usage"] = None
        event_dict["cost_estimate_usd"] = None
        event_dict["cost_status"] = "bad_usage"
        return event_dict

    def _price(self, event: Event, usage: Usage, flags: list[str]) -> str:
        """Write the cost of a usage; return its status."""
        cost = self._cost(event, usage)
        if cost is None:
            return "unknown_model"
        event["cost_source"] = cost.source
        event["price_model"] = cost.price_model
        event["price_version"] = cost.price_version
        event["cost_breakdown"] = {bucket: _usd(part) for bucket, part in cost.breakdown.items()}
        flags += cost.flags
        if cost.unpriced:
            event["cost_lower_bound_usd"] = _usd(cost.cost_usd)
            flags += [f"no_rate:{name}" for name in cost.unpriced]
            return "partial"
        event["cost_estimate_usd"] = _usd(cost.cost_usd)
        return "ok"

    def _cost(self, event: Event, usage: Usage) -> Cost | None:
        provider, service_tier = _text(event.get("provider")), _text(event.get("service_tier"))
        at = _asked_at(event, self._clock)
        # The model that answered sets the price; one that the list does not know yet, at least the one asked for.
        for name in ("response_model", "model"):
            model = _text(event.get(name))
            if model is None:
                continue
            cost = self._source.price(usage, model, provider=provider, at=at, service_tier=service_tier)
            if cost is not None:
                return cost
        return None


def _now() -> datetime:
    return datetime.now(UTC)


def _is_priceable(event: Event) -> bool:
    has_usage = event.get("raw_usage") is not None or event.get("token_usage") is not None
    return has_usage and _text(event.get("response_model") or event.get("model")) is not None


def _is_cached(event: Event) -> bool:
    """Whether the caller's own cache answered. LangChain says so by a total cost of 0 beside the repeated tokens."""
    raw = event.get("raw_usage")
    billed_nothing = isinstance(raw, Mapping) and cast("Mapping[str, Any]", raw).get("total_cost") == 0
    return event.get("cache_hit") is True or event.get("cost_status") == "cached" or billed_nothing


def _without_usage(event: Event) -> Event:
    for name in _COST_FIELDS + _USAGE_FIELDS:
        event.pop(name, None)
    return event


def _read(event: Event) -> tuple[Usage | None, str, str | None]:
    """Read the usage of an event, the provider's own object first; return it, its status and what was wrong with it."""
    wrong: str | None = None
    given: Any = event.get("token_usage")
    candidates: tuple[Any, ...] = (event.get("raw_usage"), given)
    for raw in candidates:
        if raw is None:
            continue
        try:
            usage = read_usage(raw)
        except UsageError as error:
            if error.reason != "empty":
                wrong = wrong or error.reason
            continue
        if raw is given and not _OWN_COUNTS.issuperset(raw):
            _keep(event, given)
        return usage, "ok" if usage.has_split else "no_split", wrong
    if wrong and given is not None:
        _keep(event, given)
    return None, "bad_usage" if wrong else "no_usage", wrong


def _keep(event: Event, given: Any) -> None:
    """Keep token counts in a caller's own shape beside the normalised ones that replace them."""
    if event.get("raw_usage") is None:
        event["raw_usage"] = given if isinstance(given, Mapping) else {"token_usage": given}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _is_cost(value: Any) -> bool:
    return (
        isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    )


def _usd(cost: Decimal) -> float:
    # The quotient of two whole numbers is the float nearest to the decimal, at a third of the time of round(x, 10).
    return round(float(cost) * _USD_UNITS) / _USD_UNITS


def _asked_at(event: Event, clock: Clock) -> datetime:
    """Return when the model was asked, as far as the event tells."""
    written = event.get("timestamp")
    try:
        if isinstance(written, str):
            at = datetime.fromisoformat(written)
        elif isinstance(written, datetime):
            at = written
        elif isinstance(written, _NUMBERS):
            at = datetime.fromtimestamp(written, UTC)
        else:
            at = clock()
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        took_ms = event.get("response_time_ms")
        return at - timedelta(milliseconds=took_ms) if isinstance(took_ms, _NUMBERS) and took_ms > 0 else at
    except (ValueError, OverflowError, OSError):
        return clock()
