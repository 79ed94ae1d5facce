"""Prices of the genai-prices package, as of the time of each call.

The list is part of the installed package, or a file in its format; both are read without network, so that
`price_version` names the rates exactly. (That package's process-wide list can be exchanged by any library in the
process, and is not used; its lookup remembers every unknown name for ever, and is not used either.)

Pricing through genai-prices costs 36-200 microseconds. Here a model is looked up once, its conditional and tiered
prices are flattened into tables, and a warm call is a dictionary lookup and a few multiplications.

Service tiers. A tier that the list does not price for that model at that time is never priced as standard. Providers
sell `flex` and `batch` below the standard price, so that the standard price is no lower bound for them: nothing is
known. They sell `priority` and `fast` above it, so that it is a lower bound there. (Anthropic's `priority` is paid for
in advance by contract, and bounds nothing.) Of any other word nothing is known. Every case has the flag
`tier_not_listed`. What a provider borrows from another's list, such as Azure from OpenAI's, has no tiers: those are
OpenAI's offers.
"""

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structllm.errors import ConfigError
from structllm.pricing.cost import Cost, Rates
from structllm.pricing.further_calls import price_parts
from structllm.pricing.matching import find_model
from structllm.pricing.names import MAX_NAME, is_vertex, readings
from structllm.pricing.tables import EXACT, PER_THOUSAND, POWERS, ZERO, RateTables
from structllm.usage import BUCKETS, Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

SOURCE = "genai-prices"

_DEARER_ON_VERTEX = re.compile(r"(?:^|/)gemini-2\.0-flash(?!-lite)", re.IGNORECASE)
"""The list has one price for the Gemini API and Vertex, and these cost half as much again on Vertex."""


class GenaiPrices:
    """Prices of the genai-prices package, as of the time of each call.

    The package is imported by the first call (0.2 to 0.7 s); `load` does that at a time of your choice.

    Args:
        path: A list file in the package's own JSON format, which is read at once; None uses the bundled list.
        cache_size: How many combinations of provider, model and tier are remembered, unknown ones included.

    Raises:
        ConfigError: The file cannot be read or is no price list.
    """

    def __init__(self, path: Path | None = None, *, cache_size: int = 1024) -> None:
        self._list = None if path is None else open_list(path)
        self._schedule: Callable[[str | None, str, str | None], _Schedule | None]
        self._schedule = lru_cache(maxsize=cache_size)(self._find_schedule)
        self._provider_at: Callable[[str], str | None] = lru_cache(maxsize=cache_size)(self._find_provider_at)

    def load(self) -> None:
        """Import the price list now, so that the first completion need not wait for it."""
        self._schedule(None, "", None)

    def price(
        self, usage: Usage, model: str, *, provider: str | None, at: datetime, service_tier: str | None = None
    ) -> Cost | None:
        """Price a completion; see `PriceSource.price`."""
        try:
            schedule = self._schedule(provider, model, service_tier)
            if schedule is None:
                return None
            tables = schedule.constant or schedule.at(at)
            if tables is None:
                return None
            if not usage.parts:
                return tables.price(usage)
        except Exception:
            # The list is another project's code and data: whatever it raises, the answer is "not known".
            return None
        return price_parts(self.price, usage, model, provider=provider, at=at, service_tier=service_tier)

    def tables(
        self, model: str, *, provider: str | None, at: datetime, service_tier: str | None = None
    ) -> RateTables | None:
        """Return the rates that `price` multiplies, or None where the model is not in the list."""
        try:
            schedule = self._schedule(provider, model, service_tier)
            return None if schedule is None else schedule.at(at)
        except Exception:
            return None

    def rates(self, model: str, *, provider: str | None, at: datetime, service_tier: str | None = None) -> Rates | None:
        """Return what a model costs at a time, or None where it is not in the list."""
        tables = self.tables(model, provider=provider, at=at, service_tier=service_tier)
        schedule = self._schedule(provider, model, service_tier)
        return None if tables is None or schedule is None else tables.rates()._replace(since=schedule.since(at))

    def names(self) -> list[str]:
        """Return every model of the list, as `provider/model`."""
        return [f"{provider.id}/{model.id}" for provider in self._read()[0] for model in provider.models]

    def provider_at(self, base_url: str) -> str | None:
        """Return the list's word for who answers at a base URL, or None where the list does not know it."""
        try:
            return self._provider_at(base_url)
        except Exception:
            return None

    def _read(self) -> "tuple[list[Provider], str]":
        if self._list is None:
            self._list = open_list(None)
        return self._list

    def _find_schedule(self, provider: str | None, model: str, service_tier: str | None) -> "_Schedule | None":
        """Look a model up, cold. Returns None for every failure, so that failures are remembered too."""
        try:
            providers, price_version = self._read()
            if is_vertex(provider) and _DEARER_ON_VERTEX.search(model):
                return None
            for provider_name, model_name in readings(provider, model):
                found = find_model(providers, provider_name, model_name)
                if found is not None:
                    return _Schedule(*found, service_tier, price_version)
        except Exception:
            return None
        return None

    def _find_provider_at(self, base_url: str) -> str | None:
        if len(base_url) > 4 * MAX_NAME:
            return None
        matches = (entry.id for entry in self._read()[0] if re.match(entry.api_pattern, base_url))
        return next(matches, None)


def open_list(path: Path | None) -> "tuple[list[Provider], str]":
    """Return a price list and its version: that of the package, and for a file the beginning of its SHA-256.

    Args:
        path: A file in genai-prices' own JSON format; None for the list in the installed package.

    Raises:
        ConfigError: The file cannot be read or is no price list.
    """
    package = f"{SOURCE}/{version(SOURCE)}"
    if path is None:
        # By name: type checkers need a minute to infer the type of its 1.6 MB of literals.
        bundled: list[Provider] = import_module("genai_prices.data").providers
        return bundled, package
    try:
        content = path.expanduser().read_bytes()
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigError(f"price list cannot be read ({reason}): {path}; `structllm prices update` gets one") from None
    try:
        raw: Any = json.loads(content)
        if not isinstance(raw, list):
            raise ValueError
        types = import_module("genai_prices.types")
        providers: list[Provider] = types._providers_from_raw(raw)
        if not any(provider.models for provider in providers):
            raise ValueError
    except Exception:
        raise ConfigError(f"not a price list in the JSON format of genai-prices {version(SOURCE)}: {path}") from None
    return providers, f"{package}+sha256:{hashlib.sha256(content).hexdigest()[:12]}"


_RATES: Sequence[tuple[str, tuple[str, ...]]] = (
    ("input_uncached", ("input_mtok",)),
    ("cache_read", ("cache_read_mtok",)),
    ("cache_write_5m", ("cache_write_5m_mtok", "cache_write_mtok")),
    ("cache_write_1h", ("cache_write_1h_mtok",)),
    ("input_audio", ("input_audio_mtok",)),
    ("input_other", ()),
    ("output_text", ("output_mtok",)),
    # Reasoning is billed as output wherever the list has no rate of its own for it: providers say so.
    ("output_reasoning", ("output_reasoning_mtok", "output_mtok")),
    ("output_audio", ("output_audio_mtok",)),
    ("output_other", ()),
    ("unsplit", ()),
    ("web_searches", ("web_searches_kcount",)),
    ("cache_read_audio", ("cache_audio_read_mtok",)),
    ("cache_read_image", ("cache_image_read_mtok", "cache_read_mtok")),
    # Pictures that are read are billed as text wherever the list has no rate of their own for them.
    ("input_image", ("input_image_mtok", "input_mtok")),
    ("input_video", ("input_video_mtok", "input_mtok")),
    ("output_image", ("output_image_mtok",)),
    ("output_video", ("output_video_mtok",)),
)
"""Bucket of `Usage`, and the list's names for its rate: the first that has one wins."""


class _Schedule:
    """The rates of one model over time. Between two boundaries they do not change, so they are computed once there.

    Attributes:
        constant: The rates where no time has others, so that the usual call need not look at its time.
    """

    def __init__(self, provider: "Provider", model: "ModelInfo", service_tier: str | None, price_version: str) -> None:
        self._model = model
        self._provider = provider.id
        self._tier = (service_tier or "").strip().lower()
        # A model that a provider borrows from another is not priced by tier in the list.
        self._is_own = any(model is own for own in provider.models)
        self._price_version = price_version
        self._dates, self._times = _boundaries(model)
        self._bands: dict[tuple[int, int], RateTables | None] = {}
        self.constant = None if self._times else self._same_at_all_times()

    def at(self, when: datetime) -> RateTables | None:
        """Return the rates that were in force at a time, or None where the list names the model without any."""
        if when.tzinfo is not UTC:
            when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
        band = (bisect_right(self._dates, when.date()), bisect_right(self._times, when.time()))
        if band not in self._bands:
            self._bands[band] = self._resolve(when)
        return self._bands[band]

    def _same_at_all_times(self) -> RateTables | None:
        # Most dates of the list are those of other tiers' prices.
        begins = [datetime.combine(day, time(), UTC) for day in self._dates]
        before = begins[0] - timedelta(days=1) if begins else datetime.now(UTC)
        now = self.at(before)
        return now if all(_rates_of(self.at(begin)) == _rates_of(now) for begin in begins) else None

    def since(self, when: datetime) -> date | None:
        """Return the UTC day on which the rates of a time came into force; None where the list knows of none before."""
        when = when.astimezone(UTC)
        for day in reversed(self._dates[: bisect_right(self._dates, when.date())]):
            begun = datetime.combine(day, when.timetz())
            # Not every date of the list changes these rates: it may be about another tier.
            if _rates_of(self.at(begun)) != _rates_of(self.at(begun - timedelta(days=1))):
                return day
        return None

    def _resolve(self, when: datetime) -> RateTables | None:
        context = _price_context(self._tier)
        is_special = self._tier not in _STANDARD_TIERS and (self._provider, self._tier) not in _AT_STANDARD_PRICE
        is_listed = self._is_own and any(
            _applies(variant, when, context) for variant in self._model.price_variants or ()
        )
        row = self._model.get_prices(when, context if is_listed else None)
        if not any(True for _ in _row_values(row)):
            if not self._model.id.endswith(":free"):
                return None
            # The list has no rates for these; their name says that there is nothing to pay.
            row = type(row)(**{name: ZERO for _, names in _RATES for name in names})
        starts = sorted({tier.start for value in _row_values(row) for tier in getattr(value, "tiers", ())})
        unlisted = is_special and not is_listed
        request = row.requests_kcount
        return RateTables(
            starts,
            [_table(row, band) for band in (0, *(start + 1 for start in starts))],
            source=SOURCE,
            price_model=f"{self._provider}/{self._model.id}",
            price_version=self._price_version,
            per_request=None if request is None else _per_unit(request, 0, PER_THOUSAND),
            flags=("tier_not_listed",) if unlisted else (),
            bound=self._is_dearer() if unlisted else None,
        )

    def _is_dearer(self) -> bool:
        """Whether the tier costs at least as much as the standard one, as far as providers say."""
        return self._tier in _DEARER and (self._provider, self._tier) not in _BY_CONTRACT


_STANDARD_TIERS = frozenset({"", "auto", "default", "standard", "on_demand", "on-demand"})
_DEARER = frozenset({"priority", "fast"})
_BY_CONTRACT = frozenset({("anthropic", "priority")})
_AT_STANDARD_PRICE = frozenset({("groq", "flex")})
"""Tiers that are billed like the standard one: Groq's may refuse a call when it is busy, and costs the same."""


def _rates_of(tables: RateTables | None) -> Rates | None:
    return None if tables is None else tables.rates()


def _price_context(tier: str) -> dict[str, str]:
    """Return what genai-prices selects special rates by."""
    if not tier:
        return {}
    if tier == "batch":
        return {"processing": "batch"}
    # Anthropic calls its fast tier a speed.
    return {"service_tier": tier, "speed": tier} if tier == "fast" else {"service_tier": tier}


def _applies(variant: Any, when: datetime, context: dict[str, str]) -> bool:
    is_active = variant.constraint is None or variant.constraint.active(when)
    return is_active and all(context.get(key) == value for key, value in variant.when.items())


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


def _table(row: "ModelPrice", input_tokens: int) -> tuple[Decimal | None, ...]:
    """Return the rates per token for a prompt of this length."""
    values = {bucket: _first(row, names) for bucket, names in _RATES}
    if values["cache_write_5m"] is None and values["cache_read"] is not None:
        # Who sells reading from a cache and names no price for writing to it (OpenAI, DeepSeek, Amazon) bills what is
        # written like any other input.
        values["cache_write_5m"] = values["input_uncached"]
    rates = ((bucket, values[bucket]) for bucket in BUCKETS)
    return tuple(None if value is None else _per_unit(value, input_tokens, POWERS[bucket]) for bucket, value in rates)


def _first(row: "ModelPrice", names: Sequence[str]) -> "Decimal | TieredPrices | None":
    return next((value for name in names if (value := getattr(row, name)) is not None), None)


def _per_unit(value: "Decimal | TieredPrices", input_tokens: int, per: int) -> Decimal:
    if not isinstance(value, Decimal):
        # The highest tier that the prompt exceeds sets the rate of all its tokens: a cliff, as the providers bill.
        passed = [tier.price for tier in sorted(value.tiers, key=attrgetter("start")) if input_tokens > tier.start]
        value = passed[-1] if passed else value.base
    return EXACT.scaleb(value, -per)
