"""What a completion cost: prices at the time of the call, and "unknown" where the price is not known."""

from structllm.pricing.cost import Cost, PriceSource, RateBand, Rates
from structllm.pricing.genai import GenaiPrices
from structllm.pricing.stack import Prices, open_prices
from structllm.usage import Usage, UsageError, read_usage

__all__ = [
    "Cost",
    "GenaiPrices",
    "PriceSource",
    "Prices",
    "RateBand",
    "Rates",
    "Usage",
    "UsageError",
    "open_prices",
    "read_usage",
]
