"""Price: token counts become a cost that says where it comes from.

The cost is a number only where it is known. Everything else is null with a `cost_status`:

    ok             priced, or given by the caller or the provider; `cost_source` says by whom
    cached         answered from the caller's own cache: nothing was billed
    partial        something was reported that has no rate; what is known, if anything, is in `cost_lower_bound_usd`
    no_split       only a total is known, and input and output have different rates
    no_usage       the provider reported no token counts
    bad_usage      the counts cannot be read or contradict each other; the reason is in `cost_flags`
    unknown_model  the price list does not have the model
"""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

from structllm._types import Clock, Event
from structllm.pricing import Cost, PriceSource
from structllm.usage import BUCKETS, Usage, UsageError, read_usage

_USD_UNITS = 10**10
"""A cost in an event has at most 10 digits after the point: less than the price of the cheapest token."""

COST_FIELDS = (
    "cost_estimate_usd",
    "cost_status",
    "cost_source",
    "price_model",
    "price_version",
    "cost_breakdown",
    "cost_flags",
    "cost_lower_bound_usd",
)
"""What pricing adds to a response, and a correction says anew."""
_USAGE_FIELDS = ("token_usage", "raw_usage", "usage_source")
_NUMBERS = (int, float)
_LANGCHAIN_COUNTS = frozenset(
    {"input_tokens", "output_tokens", "total_tokens", "input_token_details", "output_token_details", "total_cost"}
)
_MOST_TOLD = 256
"""Unknown models that people are told about; whoever draws names at random shall not fill memory and console."""
_SHOWN_CHARS = 80
_ONE_OF_EACH: dict[str, Any] = dict.fromkeys(BUCKETS, 1)
_OWN_COUNTS = frozenset(Usage(**_ONE_OF_EACH).token_usage())


class Price:
    """Adds normalised token counts and the cost to a `completion_response`.

    In somebody else's structlog chain it works on every event that has `token_usage` or `raw_usage` and a `model` or
    `response_model`; `provider`, `service_tier`, `timestamp` and `response_time_ms` are used where present. A call is
    priced at the time of its request: `timestamp` less `response_time_ms`. A `base_url` says better than `provider` who
    served it, since clients that speak OpenAI's dialect call every server `openai`.

    Args:
        source: Knows the prices.
        track_usage: False removes token counts and everything about cost from events instead.
        clock: Time of events without a readable `timestamp`; the system's clock when None.
        notice: Called with a reason and a sentence the first time that a model is met which no source knows.
    """

    def __init__(
        self,
        source: PriceSource,
        *,
        track_usage: bool = True,
        clock: Clock | None = None,
        notice: Callable[[str, str], None] | None = None,
    ) -> None:
        self._source = source
        self._track_usage = track_usage
        self._clock = clock or _now
        self._notice = notice
        self._told: set[tuple[str | None, str]] = set()
        self._provider_at: Callable[[str], str | None] | None = getattr(source, "provider_at", None)

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
            if usage is not None:
                status = self._price(event_dict, usage, flags)
        event_dict["cost_status"] = status
        if flags:
            event_dict["cost_flags"] = flags
        return event_dict

    def on_error(self, event_dict: Event) -> Event:
        """Repair an event on which this processor failed: no cost is better than a wrong one."""
        if not self._track_usage:
            return _without_usage(event_dict)
        for name in COST_FIELDS:
            event_dict.pop(name, None)
        event_dict["token_usage"] = None
        event_dict["cost_estimate_usd"] = None
        event_dict["cost_status"] = "bad_usage"
        return event_dict

    def _price(self, event: Event, usage: Usage, flags: list[str]) -> str:
        """Write the cost of a usage; return its status."""
        cost = self._cost(event, usage)
        if not usage.has_split and (cost is None or "unsplit" in cost.unpriced):
            return "no_split"
        if cost is None:
            self._tell(event)
            return "unknown_model"
        event["cost_source"] = cost.source
        if cost.price_model:
            event["price_model"] = cost.price_model
            event["price_version"] = cost.price_version
            event["cost_breakdown"] = {bucket: _usd(part) for bucket, part in cost.breakdown.items()}
        flags += cost.flags
        if cost.unpriced:
            if cost.breakdown:
                event["cost_lower_bound_usd"] = _usd(cost.cost_usd)
            # A tier that has no rates has a flag of the source's own.
            flags += [f"no_rate:{name}" for name in cost.unpriced if name.rpartition(".")[2] != "service_tier"]
            return "partial"
        event["cost_estimate_usd"] = _usd(cost.cost_usd)
        return "ok"

    def _cost(self, event: Event, usage: Usage) -> Cost | None:
        provider, service_tier = _text(event.get("provider")), _tier(event)
        traffic = None if service_tier else _traffic(event)
        base_url = _text(event.get("base_url"))
        if base_url is not None and self._provider_at is not None:
            provider = self._provider_at(base_url) or provider
        at = _asked_at(event, self._clock)
        # The model that answered sets the price; one that the list does not know yet, at least the one asked for. What
        # the provider says that a call cost needs no model.
        names = [name for field in ("response_model", "model") if (name := _text(event.get(field)))]
        for name in names or [""]:
            cost = self._source.price(usage, name, provider=provider, at=at, service_tier=service_tier or traffic)
            if cost is not None and traffic and "service_tier" in cost.unpriced:
                # Vertex names the traffic of every call, for models too that have one price for all of it.
                cost = self._source.price(usage, name, provider=provider, at=at)
                cost = cost and cost._replace(flags=(*cost.flags, "tier_not_listed"))
            if cost is not None:
                return cost
        return None

    def _tell(self, event: Event) -> None:
        """Tell people of an unknown model, once."""
        model = _text(event.get("response_model")) or _text(event.get("model"))
        provider = _text(event.get("provider"))
        if self._notice is None or model is None or (provider, model) in self._told or len(self._told) >= _MOST_TOLD:
            return
        self._told.add((provider, model))
        served = f" of provider '{_shown(provider)}'" if provider else ""
        more = "; further unknown models are not named" if len(self._told) == _MOST_TOLD else ""
        self._notice(
            f"price:{provider}:{model}",
            f"no price is known for model '{_shown(model)}'{served}: cost_estimate_usd is null for its calls; "
            f"the setting pricing can give it one{more}",
        )


def _now() -> datetime:
    return datetime.now(UTC)


def _is_priceable(event: Event) -> bool:
    has_usage = event.get("raw_usage") is not None or event.get("token_usage") is not None
    return has_usage and _text(event.get("response_model") or event.get("model")) is not None


def _is_cached(event: Event) -> bool:
    """Whether the caller's own cache answered."""
    return event.get("cache_hit") is True or event.get("cost_status") == "cached" or _is_langchain_hit(event)


def _is_langchain_hit(event: Event) -> bool:
    """Whether LangChain's cache answered, which it says by a total cost of 0 in its own counts of the first answer's.

    A provider's own object with such a field says something else: that the call was free.
    """
    raw = event.get("raw_usage")
    if not isinstance(raw, Mapping) or "total_cost" not in raw:
        return False
    counts = cast("Mapping[str, Any]", raw)
    cost: Any = counts["total_cost"]
    is_nothing = isinstance(cost, _NUMBERS) and not isinstance(cost, bool) and cost == 0
    is_langchain = _LANGCHAIN_COUNTS.issuperset(counts) and {"input_tokens", "output_tokens"} <= counts.keys()
    return is_nothing and is_langchain and event.get("usage_source") in {None, "usage_metadata", "caller"}


def _tier(event: Event) -> str | None:
    """Return the service tier that served a call, which some providers only name among the token counts."""
    if tier := _text(event.get("service_tier")):
        return tier
    raw = event.get("raw_usage")
    if not isinstance(raw, Mapping):
        return None
    counts = cast("Mapping[str, Any]", raw)
    if tier := _text(counts.get("service_tier")):
        return tier
    if counts.get("speed") == "fast":  # Anthropic
        return "fast"
    # LangChain writes the tier before the names of OpenAI's details.
    for details in (counts.get("input_token_details"), counts.get("output_token_details")):
        if isinstance(details, Mapping):
            for name in cast("Mapping[object, object]", details):
                word = str(name).partition("_")[0]
                if word in {"priority", "flex"}:
                    return word
    return None


def _without_usage(event: Event) -> Event:
    for name in COST_FIELDS + _USAGE_FIELDS:
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


def _traffic(event: Event) -> str | None:
    """Return the service tier in the traffic type that Vertex writes among the counts, e.g. ON_DEMAND_PRIORITY."""
    raw = event.get("raw_usage")
    if not isinstance(raw, Mapping):
        return None
    counts = cast("Mapping[str, Any]", raw)
    traffic = _text(counts.get("trafficType") or counts.get("traffic_type"))
    tier = (traffic or "").lower().removeprefix("on_demand")
    return tier.removeprefix("_") or None


def _shown(name: str) -> str:
    """Return a name fit for one line of a notice: printable and short. Never half a name: it may be half a secret."""
    short = name if len(name) <= _SHOWN_CHARS else f"(a name of {len(name)} characters)"
    return "".join(character if character.isprintable() else "?" for character in short)


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
