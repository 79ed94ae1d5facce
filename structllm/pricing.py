"""What a completion cost: prices at the time of the call, and "unknown" where the price is not known.

A `PriceSource` turns the disjoint buckets of `structllm.usage.Usage` into a `Cost`. The one source here, `GenaiPrices`,
reads the price list that is part of the installed genai-prices package, without network, so that `price_version` names
the rates exactly. (That package's process-wide list can be exchanged by any library in the process, and is not used.)

Looking a model up and pricing it through genai-prices costs 36-200 microseconds. Here a model is looked up once, its
conditional and tiered prices are flattened into tables of one rate per bucket, and a warm call is a dictionary lookup
and a few multiplications. Arithmetic is in Decimal under a context of our own: the host program may have set another.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal, InvalidOperation, Overflow
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, Protocol

from structllm.usage import Usage, UsageError, read_usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

__all__ = ["Cost", "GenaiPrices", "PriceSource", "Usage", "UsageError", "read_usage"]


class Cost(NamedTuple):
    """What a completion cost, and how that is known.

    Attributes:
        cost_usd: Sum of the parts that could be priced: the whole cost where `unpriced` is empty, else a lower bound.
        source: Who priced it, e.g. `genai-prices`.
        price_model: The matched model of the price list, `provider/model`.
        price_version: Version of the price list.
        breakdown: Cost in USD by bucket, for the buckets that occurred and have a rate.
        unpriced: What was reported and has no rate of its own.
        flags: Doubts about the price, e.g. `tier_not_listed`.
    """

    cost_usd: Decimal
    source: str
    price_model: str
    price_version: str
    breakdown: Mapping[str, Decimal]
    unpriced: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


class PriceSource(Protocol):
    """Knows prices. Implementations answer at once, from memory, and do not raise."""

    def price(
        self, usage: Usage, model: str, *, provider: str | None, at: datetime, service_tier: str | None = None
    ) -> Cost | None:
        """Price a completion.

        Args:
            usage: The token counts.
            model: The model, in the provider's or the caller's spelling.
            provider: Who served it; None where that is not known.
            at: When it was asked for, aware.
            service_tier: The tier that served it, in the provider's word.

        Returns:
            The cost, or None where the model is not in the list. Never a cost of zero for want of knowledge.
        """
        ...


class GenaiPrices:
    """Prices of the genai-prices package, as of the time of each call.

    The package is imported by the first call (0.2 to 0.7 s); `load` does that at a time of your choice.

    Args:
        cache_size: How many combinations of provider, model and tier are remembered, unknown ones included.
    """

    def __init__(self, cache_size: int = 1024) -> None:
        self._schedule: Callable[[str | None, str, str | None], _Schedule | None]
        self._schedule = lru_cache(maxsize=cache_size)(_find_schedule)

    def load(self) -> None:
        """Import the price list now, so that the first completion need not wait for it."""
        self._schedule(None, "", None)

    def price(
        self, usage: Usage, model: str, *, provider: str | None, at: datetime, service_tier: str | None = None
    ) -> Cost | None:
        """Price a completion; see `PriceSource.price`."""
        try:
            schedule = self._schedule(provider, model, service_tier)
            return None if schedule is None else schedule.at(at).price(usage)
        except Exception:
            # The list is another project's code and data: whatever it raises, the answer is "not known".
            return None


_TOKENS_PER_MTOK = 6
_PER_THOUSAND = 3
_RATES: tuple[tuple[str, tuple[str, ...], int], ...] = (
    ("input_uncached", ("input_mtok",), _TOKENS_PER_MTOK),
    ("cache_read", ("cache_read_mtok",), _TOKENS_PER_MTOK),
    ("cache_write_5m", ("cache_write_5m_mtok", "cache_write_mtok"), _TOKENS_PER_MTOK),
    ("cache_write_1h", ("cache_write_1h_mtok",), _TOKENS_PER_MTOK),
    ("input_audio", ("input_audio_mtok",), _TOKENS_PER_MTOK),
    ("input_other", (), _TOKENS_PER_MTOK),
    ("output_text", ("output_mtok",), _TOKENS_PER_MTOK),
    # Reasoning is billed as output wherever the list has no rate of its own for it: providers say so.
    ("output_reasoning", ("output_reasoning_mtok", "output_mtok"), _TOKENS_PER_MTOK),
    ("output_audio", ("output_audio_mtok",), _TOKENS_PER_MTOK),
    ("output_other", (), _TOKENS_PER_MTOK),
    ("unsplit", (), _TOKENS_PER_MTOK),
    ("web_searches", ("web_searches_kcount",), _PER_THOUSAND),
)
"""Bucket of `Usage`, the list's names for its rate (the first that has one wins), and the power of ten it is per."""

_BUCKETS = tuple(bucket for bucket, _, _ in _RATES)
_counts: Callable[[Usage], tuple[int, ...]] = attrgetter(*_BUCKETS)
_WRITE_5M, _WRITE_1H = _BUCKETS.index("cache_write_5m"), _BUCKETS.index("cache_write_1h")
_ZERO = Decimal(0)
_EXACT = Context(prec=60, traps=[InvalidOperation, Overflow])
"""60 digits hold every product of a count and a rate, whatever precision the host program has chosen for itself."""
_multiply, _add = _EXACT.multiply, _EXACT.add

_Table = tuple[Decimal | None, ...]
"""Rate per token (or per search) in the order of the buckets; None where the list has none."""


class _Rates:
    """The rates of one model at one time: a table per band of input length, since rates jump there for all tokens."""

    def __init__(self, row: "ModelPrice", price_model: str, price_version: str, flags: tuple[str, ...]) -> None:
        self._starts = sorted({tier.start for value in _row_values(row) for tier in getattr(value, "tiers", ())})
        bands = [0, *(start + 1 for start in self._starts)]
        self._tables: list[_Table] = [
            tuple(_rate_of(row, names, per, band) for _, names, per in _RATES) for band in bands
        ]
        request = row.requests_kcount
        self._per_request = None if request is None else _per_unit(request, 0, _PER_THOUSAND)
        self._price_model = price_model
        self._price_version = price_version
        self._flags = flags

    def price(self, usage: Usage) -> Cost:
        """Multiply counts and rates."""
        starts = self._starts
        table = self._tables[bisect_left(starts, usage.prompt_tokens) if starts else 0]
        total = _ZERO
        breakdown: dict[str, Decimal] = {}
        unpriced = usage.beyond
        for bucket, rate, count in zip(_BUCKETS, table, _counts(usage), strict=False):
            if not count:
                continue
            if rate is None:
                unpriced = (*unpriced, bucket)
            else:
                part = breakdown[bucket] = _multiply(rate, count)
                total = _add(total, part)
        if self._per_request is not None:
            breakdown["request"] = self._per_request
            total = _add(total, self._per_request)
        flags = self._flags
        if usage.cache_lifetime_assumed and table[_WRITE_1H] not in (None, table[_WRITE_5M]):
            flags = (*flags, "cache_lifetime_assumed")
        return Cost(total, "genai-prices", self._price_model, self._price_version, breakdown, unpriced, flags)


class _Schedule:
    """The rates of one model over time. Between two boundaries they do not change, so they are computed once there."""

    def __init__(self, provider: "Provider", model: "ModelInfo", service_tier: str | None) -> None:
        self._model = model
        # A model that a provider borrows from another (Azure from OpenAI) is not priced by tier in the list.
        listed = any(model is own for own in provider.models)
        self._context = _price_context(service_tier) if listed else {}
        self._special_tier = service_tier is not None and service_tier.lower() not in _STANDARD_TIERS
        self._price_model = f"{provider.id}/{model.id}"
        self._version = f"genai-prices/{version('genai-prices')}"
        self._dates, self._times = _boundaries(model)
        self._constant = self._resolve(datetime.now(UTC)) if not self._dates and not self._times else None
        self._bands: dict[tuple[int, int], _Rates] = {}

    def at(self, when: datetime) -> _Rates:
        """Return the rates that were in force at a time."""
        if self._constant is not None:
            return self._constant
        if when.tzinfo is not UTC:
            when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
        band = (bisect_right(self._dates, when.date()), bisect_right(self._times, when.time()))
        rates = self._bands.get(band)
        if rates is None:
            rates = self._bands[band] = self._resolve(when)
        return rates

    def _resolve(self, when: datetime) -> _Rates:
        standard = row = self._model.get_prices(when)
        if self._context:
            row = self._model.get_prices(when, self._context)
        flags = ("tier_not_listed",) if self._special_tier and row == standard else ()
        if self._model.id.endswith(":free") and not any(True for _ in _row_values(row)):
            # The list has no rates for these; their name says that there is nothing to pay.
            row = type(row)(**{name: _ZERO for _, names, _ in _RATES for name in names})
        return _Rates(row, self._price_model, self._version, flags)


_STANDARD_TIERS = frozenset({"", "auto", "default", "standard", "on_demand"})


def _price_context(service_tier: str | None) -> dict[str, str]:
    """Return what genai-prices selects special rates by."""
    if not service_tier:
        return {}
    tier = service_tier.lower()
    return {"processing": "batch"} if tier == "batch" else {"service_tier": tier}


def _boundaries(model: "ModelInfo") -> tuple[list[date], list[time]]:
    """Return the UTC dates, and the UTC times of day, at which a price of the model may change."""
    from genai_prices.types import ModelPrice, StartDateConstraint

    dates: set[date] = set()
    times: set[time] = set()
    rows = [] if isinstance(model.prices, ModelPrice) else model.prices
    for constraint in (entry.constraint for entry in (*rows, *(model.price_variants or ()))):
        if isinstance(constraint, StartDateConstraint):
            dates.add(constraint.start_date)
        elif constraint is not None:
            times |= {_utc(constraint.start_time), _utc(constraint.end_time)}
    return sorted(dates), sorted(times)


def _utc(value: time) -> time:
    """Return a time of day in UTC, without zone; one without zone is in UTC already."""
    if value.tzinfo is None:
        return value
    return datetime.combine(date(1970, 1, 2), value).astimezone(UTC).time()


def _row_values(row: "ModelPrice") -> Iterator["Decimal | TieredPrices"]:
    return (value for value in vars(row).values() if value is not None)


def _rate_of(row: "ModelPrice", names: Sequence[str], per: int, input_tokens: int) -> Decimal | None:
    """Return the rate per token of the first of these names that has one, for a prompt of this length."""
    for name in names:
        value = getattr(row, name)
        if value is not None:
            return _per_unit(value, input_tokens, per)
    return None


def _per_unit(value: "Decimal | TieredPrices", input_tokens: int, per: int) -> Decimal:
    if not isinstance(value, Decimal):
        # The highest tier that the prompt exceeds sets the rate of all its tokens: a cliff, as the providers bill.
        passed = [tier.price for tier in sorted(value.tiers, key=attrgetter("start")) if input_tokens > tier.start]
        value = passed[-1] if passed else value.base
    return _EXACT.scaleb(value, -per)


_MODELS_PATH = re.compile(r"(?:.*/)?(?:publishers/(?P<publisher>[^/]+)/)?models/(?P<model>[^/].*)", re.IGNORECASE)
_PREFIX = re.compile(r"(?P<provider>[A-Za-z][\w-]*)[/:](?P<model>.+)")
_MAX_NAME = 256
_ROUTERS = frozenset({"openai", "litellm"})
"""Providers behind which LangChain and gateways hide others: a prefix of the model's name knows better than they."""


def _find_schedule(provider: str | None, model: str, service_tier: str | None) -> _Schedule | None:
    """Look a model up, cold. Returns None for every failure, so that failures are remembered too."""
    try:
        # The list itself instead of genai-prices' lookup, which remembers every unknown name for ever.
        # By name: type checkers need a minute to infer the type of its 1.6 MB of literals.
        providers: list[Provider] = import_module("genai_prices.data").providers
        if not model or len(model) > _MAX_NAME or len(provider or "") > _MAX_NAME:
            return None
        for provider_name, model_name in _candidates(provider, model.strip()):
            found = _find_model(providers, provider_name, model_name)
            if found is not None:
                return _Schedule(*found, service_tier)
    except Exception:
        return None
    return None


def _candidates(provider: str | None, model: str) -> Iterator[tuple[str | None, str]]:
    """Yield the readings of a model's name, the literal one first."""
    given = (provider or "").strip().lower() or None
    if given == "litellm":
        given = None
    yield given, model
    if path := _MODELS_PATH.fullmatch(model):
        yield given or path["publisher"], path["model"]
    elif prefix := _PREFIX.fullmatch(model):
        named = prefix["provider"].lower()
        if given is None or given in _ROUTERS or given == named:
            yield named, prefix["model"]


def _find_model(
    providers: "list[Provider]", provider_name: str | None, model: str
) -> "tuple[Provider, ModelInfo] | None":
    from genai_prices.data_snapshot import find_provider_by_id

    name = model.lower()
    if provider_name is not None:
        provider = find_provider_by_id(providers, provider_name)
    else:
        matches = (entry for entry in providers if entry.model_match is not None and entry.model_match.is_match(name))
        provider = next(matches, None)
    found = provider.find_model(name, all_providers=providers) if provider is not None else None
    return None if provider is None or found is None else (provider, found)
