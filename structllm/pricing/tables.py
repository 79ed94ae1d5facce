"""Counts times rates: the arithmetic that every price source shares.

Rates are flattened into tables of one rate per bucket of `Usage`, so that a warm call is a lookup and a few
multiplications. Arithmetic is in Decimal under a context of our own: the host program may have set another.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal, InvalidOperation, Overflow
from itertools import compress
from typing import TypeAlias, cast

from structllm.pricing.cost import Cost, RateBand, Rates
from structllm.usage import BUCKETS, Usage

TOKENS_PER_MTOK = 6
PER_THOUSAND = 3

POWERS: Mapping[str, int] = {name: PER_THOUSAND if name == "web_searches" else TOKENS_PER_MTOK for name in BUCKETS}
"""The buckets of `Usage`, in its order, and the power of ten that their rates are per."""

Table: TypeAlias = tuple[Decimal | None, ...]
"""Rate per token (or per search) in the order of the buckets; None where there is none."""

ZERO = Decimal(0)
EXACT = Context(prec=60, traps=[InvalidOperation, Overflow])
"""60 digits hold every product of a count and a rate, whatever precision the host program has chosen for itself."""

_POSITIONS = range(len(BUCKETS))
_WRITE_5M, _WRITE_1H = BUCKETS.index("cache_write_5m"), BUCKETS.index("cache_write_1h")
_multiply, _add = EXACT.multiply, EXACT.add

UNLISTED_TIER = "service_tier"
"""What `Cost.unpriced` holds where the standard rates are known and those of the tier are not."""


class RateTables:
    """The rates of one model at one time: a table per band of prompt length, since rates jump there for all tokens.

    Args:
        starts: The prompt lengths above which rates jump, ascending.
        tables: One table more than there are starts.
        source: As in `Cost`, like the next two.
        price_model: Likewise.
        price_version: Likewise.
        per_request: Fee per call in USD.
        flags: As in `Cost`.
        bound: None where these are the rates of the call. Else they are those of another tier: True where that tier
            cannot be dearer than the one that served, so that they make a lower bound; False where it may be.
    """

    def __init__(
        self,
        starts: Sequence[int],
        tables: Sequence[Table],
        *,
        source: str,
        price_model: str,
        price_version: str,
        per_request: Decimal | None = None,
        flags: tuple[str, ...] = (),
        bound: bool | None = None,
    ) -> None:
        self._starts = list(starts)
        self._tables = list(tables)
        self._per_request = per_request
        self._source = source
        self._price_model = price_model
        self._price_version = price_version
        self._flags = flags
        self._bound = bound

    def price(self, usage: Usage) -> Cost:
        """Multiply counts and rates; the parts of a usage are not looked at."""
        if self._bound is False:
            return Cost(ZERO, self._source, self._price_model, self._price_version, {}, (UNLISTED_TIER,), self._flags)
        starts = self._starts
        band = bisect_left(starts, usage.prompt_tokens) if starts else 0
        table = self._tables[band]
        total = ZERO
        breakdown: dict[str, Decimal] = {}
        unpriced: tuple[str, ...] = () if self._bound is None else (UNLISTED_TIER,)
        # A usage is a tuple that begins with the counters; `compress` passes over those that are zero.
        for position in compress(_POSITIONS, usage):
            rate, bucket = table[position], BUCKETS[position]
            if rate is None:
                unpriced = (*unpriced, bucket)
            else:
                part = breakdown[bucket] = _multiply(rate, cast("int", usage[position]))
                total = _add(total, part) if total else part
        if self._per_request is not None:
            breakdown["request"] = self._per_request
            total = _add(total, self._per_request)
        flags = self._flags
        if band and usage.web_searches:
            # Searching providers ask the model again after each search and report the sum of the prompts. Whether any
            # of them alone was as long as the band demands is not reported.
            flags = (*flags, "tier_ambiguous")
        if usage.cache_lifetime_assumed and table[_WRITE_1H] not in (None, table[_WRITE_5M]):
            flags = (*flags, "cache_lifetime_assumed")
        return Cost(total, self._source, self._price_model, self._price_version, breakdown, unpriced, flags)

    def rates(self) -> Rates:
        """Return the rates as people read them."""
        bands = tuple(
            RateBand(
                above,
                {
                    name: _plain(EXACT.scaleb(rate, POWERS[name]))
                    for name, rate in zip(BUCKETS, table, strict=True)
                    if rate is not None
                },
            )
            for above, table in zip([0, *self._starts], self._tables, strict=True)
        )
        return Rates(self._source, self._price_model, self._price_version, bands, self._per_request, self._flags)

    def scaled(self, factor: Decimal, source: str | None = None) -> "RateTables":
        """Return these rates times a factor, which the price version names; in another source's name where given."""
        return RateTables(
            self._starts,
            [tuple(None if rate is None else _multiply(rate, factor) for rate in table) for table in self._tables],
            source=source or self._source,
            price_model=self._price_model,
            price_version=f"{self._price_version}*{factor}",
            per_request=None if self._per_request is None else _multiply(self._per_request, factor),
            flags=self._flags,
            bound=self._bound,
        )


def _plain(value: Decimal) -> Decimal:
    """Return the same number without trailing zeros or exponent: 3, not 3.0000 or 3E+0."""
    return Decimal(f"{value.normalize(EXACT):f}")
