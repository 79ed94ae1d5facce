"""All that knows prices, one behind the other: the first that answers wins.

1. The provider's own word for what the call cost, where it said so: it knows contracts, fees and discounts that no list
   has. (A router's fees for plug-ins, for example, are in that figure and in no list.)
2. The overrides in the settings.
3. The price list, at the time of the call.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from structllm.pricing.cost import Cost, Rates
from structllm.pricing.further_calls import price_parts
from structllm.pricing.genai import GenaiPrices
from structllm.pricing.names import MAX_NAME, host_path
from structllm.pricing.overrides import SOURCE as OVERRIDE
from structllm.pricing.overrides import Found, Overrides
from structllm.pricing.tables import EXACT, RateTables
from structllm.usage import Usage

if TYPE_CHECKING:
    from structllm.settings_pricing import PricingSettings

_ONE = Decimal(1)
_CACHE_SIZE = 1024


def open_prices(settings: "PricingSettings") -> "Prices":
    """Return the price sources of the settings.

    Raises:
        ConfigError: `prices_file` cannot be read or is no price list.
    """
    return Prices(
        GenaiPrices(settings.prices_file),
        overrides=Overrides([override.compiled() for override in settings.overrides]),
        deployments=settings.deployments,
        base_urls=settings.base_urls,
        discount=settings.discount,
        prefer_provider_cost=settings.prefer_provider_cost,
    )


class Prices:
    """A price source that asks several: the provider's own word, the user's overrides, the price list.

    Args:
        listed: The price list.
        overrides: The user's own prices.
        deployments: Model by deployment name or ARN, in any case.
        base_urls: Provider by host or beginning of a URL.
        discount: The part of the listed price that the user does not pay, from 0 to 1.
        prefer_provider_cost: False does not listen to what the provider says that a call cost.
    """

    def __init__(
        self,
        listed: GenaiPrices,
        *,
        overrides: Overrides,
        deployments: Mapping[str, str],
        base_urls: Mapping[str, str],
        discount: Decimal = Decimal(0),
        prefer_provider_cost: bool = True,
    ) -> None:
        self._listed = listed
        self._overrides = overrides
        self._deployments = {name.strip().lower(): model for name, model in deployments.items()}
        places = {host_path(url).lower(): provider for url, provider in base_urls.items()}
        self._places = sorted(places.items(), key=lambda place: -len(place[0]))
        self._factor = EXACT.subtract(_ONE, discount)
        self._prefer_provider_cost = prefer_provider_cost
        self._is_plain = not overrides.names() and not deployments and not discount
        self._provider_at: Callable[[str], str | None] = lru_cache(maxsize=_CACHE_SIZE)(self._find_provider_at)
        self._scaled: Callable[[RateTables, Decimal, str | None], RateTables]
        self._scaled = lru_cache(maxsize=_CACHE_SIZE)(RateTables.scaled)

    def load(self) -> None:
        """Import the price list now, so that the first completion need not wait for it."""
        self._listed.load()

    def price(
        self, usage: Usage, model: str, *, provider: str | None, at: datetime, service_tier: str | None = None
    ) -> Cost | None:
        """Price a completion; see `PriceSource.price`."""
        if usage.reported_usd is not None and self._prefer_provider_cost:
            return Cost(usage.reported_usd, "provider", "", "", {})
        if self._is_plain:
            return self._listed.price(usage, model, provider=provider, at=at, service_tier=service_tier)
        if usage.parts:
            return price_parts(self._price_one, usage, model, provider=provider, at=at, service_tier=service_tier)
        return self._price_one(usage, model, provider=provider, at=at, service_tier=service_tier)

    def rates(self, model: str, *, provider: str | None, at: datetime, service_tier: str | None = None) -> Rates | None:
        """Return what a model costs at a time: the override's rates, else the list's; None where neither has it."""
        found, name = self._own(model, provider, at)
        tables = self._tables(model, provider, at, service_tier)
        if tables is None:
            return None
        if found is not None and found[1] is not None:
            return tables.rates()._replace(since=found[0].first_day)
        listed = self._listed.rates(name, provider=provider, at=at, service_tier=service_tier)
        return tables.rates()._replace(since=None if listed is None else listed.since)

    def names(self) -> list[str]:
        """Return every model of the price list as `provider/model`, after those that overrides name."""
        return [*self._overrides.names(), *self._listed.names()]

    def provider_at(self, base_url: str) -> str | None:
        """Return who answers at a base URL, by the settings or else by the price list; None where neither says."""
        try:
            return self._provider_at(base_url) if len(base_url) <= 4 * MAX_NAME else None
        except Exception:
            return None  # no URL

    def _price_one(
        self, usage: Usage, model: str, *, provider: str | None, at: datetime, service_tier: str | None
    ) -> Cost | None:
        try:
            tables = self._tables(model, provider, at, service_tier)
            return None if tables is None else tables.price(usage)
        except Exception:
            # Whatever an odd name, time or list does: the answer is "not known".
            return None

    def _tables(self, model: str, provider: str | None, at: datetime, service_tier: str | None) -> RateTables | None:
        """Return the rates for a model, whose deployment the name may be."""
        found, model = self._own(model, provider, at)
        if found is not None and found[1] is not None:
            return found[1]
        tables = self._listed.tables(model, provider=provider, at=at, service_tier=service_tier)
        if tables is None:
            return None
        if found is not None and found[0].multiplier is not None:
            return self._scaled(tables, found[0].multiplier, OVERRIDE)
        return tables if self._factor == _ONE else self._scaled(tables, self._factor, None)

    def _own(self, model: str, provider: str | None, at: datetime) -> tuple[Found | None, str]:
        """Return the override for a model, if any, and the model that a deployment's name stands for."""
        found = self._overrides.find(model, provider=provider, at=at)
        behind = self._deployments.get(model.strip().lower()) if self._deployments else None
        if behind is None:
            return found, model
        return found or self._overrides.find(behind, provider=provider, at=at), behind

    def _find_provider_at(self, base_url: str) -> str | None:
        place = host_path(base_url).lower()
        for known, provider in self._places:
            if place == known or place.startswith((f"{known}/", f"{known}:")):
                return provider
        return self._listed.provider_at(base_url)
