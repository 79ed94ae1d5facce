"""What a price source answers: the cost of one completion, or the rates of one model."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple, Protocol

from structllm.usage import Usage


class Cost(NamedTuple):
    """What a completion cost, and how that is known.

    Attributes:
        cost_usd: Sum of the parts that could be priced: the whole cost where `unpriced` is empty, else a lower bound.
        source: Who priced it: `provider`, `override` or `genai-prices`.
        price_model: The matched model of the price list, `provider/model`; empty where no list was needed.
        price_version: Version of the price list; empty where no list was needed.
        breakdown: Cost in USD by bucket, for the buckets that occurred and have a rate; those of further model calls
            that were billed beside begin with the model: `claude-opus-4-8.output_text`.
        unpriced: What was reported and has no rate of its own; `service_tier` where the list does not have the tier.
        flags: Doubts about the price, e.g. `tier_ambiguous`.
    """

    cost_usd: Decimal
    source: str
    price_model: str
    price_version: str
    breakdown: Mapping[str, Decimal]
    unpriced: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


class RateBand(NamedTuple):
    """Rates for prompts of a length.

    Attributes:
        above_tokens: The band is for prompts of more input tokens than this; 0 for the first.
        rates: USD per million tokens by bucket of `Usage`, `web_searches` per thousand; what has no rate is absent.
    """

    above_tokens: int
    rates: Mapping[str, Decimal]


class Rates(NamedTuple):
    """What a model costs at a time.

    Attributes:
        source: Who says so: `override` or `genai-prices`.
        price_model: The matched model, `provider/model`.
        price_version: Version of the price list.
        bands: Rates by length of the prompt, the shortest first; a band's rates are for all tokens of a call.
        per_request_usd: Fee per call, where there is one.
        flags: Doubts, e.g. `tier_not_listed`: these are the standard rates, which that tier does not have.
        since: First UTC day of these rates; None where they have always been so, as far as is known.
    """

    source: str
    price_model: str
    price_version: str
    bands: tuple[RateBand, ...]
    per_request_usd: Decimal | None = None
    flags: tuple[str, ...] = ()
    since: date | None = None


class PriceSource(Protocol):
    """Knows prices. Implementations answer at once, from memory, and do not raise.

    A source that knows who answers at a base URL says so in a method `provider_at(base_url: str) -> str | None`, which
    is called where a source has it.
    """

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
