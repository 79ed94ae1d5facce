"""Prices that the user knows better: own contracts, own machines, models that no list has.

The settings say them in words (`structllm.settings_pricing`); here they are compiled and asked.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from importlib import import_module
from typing import Any, Literal, NamedTuple, TypeAlias

from structllm.pricing.names import MAX_NAME, canonical, readings
from structllm.pricing.tables import EXACT, POWERS, RateTables
from structllm.usage import BUCKETS

SOURCE = "override"

Match: TypeAlias = Literal["exact", "prefix", "regex"]

RATE_NAMES: Mapping[str, str] = {
    "input": "input_uncached",
    "output": "output_text",
    **{bucket: bucket for bucket in BUCKETS},
}
"""What a rate may be called in the settings, and the bucket of `Usage` that it is for."""

_MAX_REGEX_MEMORY_BYTES = 1 << 20
"""Of a compiled pattern: enough for any list of names, and a bound to what a mistake costs."""


class Override(NamedTuple):
    """A price of the user's own.

    Attributes:
        matches: Says whether a model's name, in lower case, is meant.
        provider: The provider that is meant, in the price list's word; None for all.
        first_day: First UTC day on which it holds; None: always did.
        last_day: Last UTC day on which it holds; None: for ever.
        rates: USD per million tokens by bucket, `web_searches` per thousand; None where it changes the listed price.
        multiplier: What the listed price is multiplied by; None where it has rates.
        model: As the settings name it, for `price_model`.
    """

    matches: Callable[[str], bool]
    provider: str | None
    first_day: date | None
    last_day: date | None
    rates: Mapping[str, Decimal] | None
    multiplier: Decimal | None
    model: str


def compile_match(model: str, how: Match) -> Callable[[str], bool]:
    """Return a function that says whether a name, in lower case, is meant.

    Args:
        model: A name, the beginning of one, or a pattern in RE2's syntax, which no name can make slow.
        how: Which of them. A pattern has to cover the whole name. Case does not matter in any of them.

    Raises:
        ValueError: The pattern is not one of RE2's, or too large.
    """
    if how == "exact":
        return model.lower().__eq__
    if how == "prefix":
        start = model.lower()
        return lambda name: name.startswith(start)
    engine: Any = import_module("re2")  # late: exact names need none
    options = engine.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = _MAX_REGEX_MEMORY_BYTES
    try:
        pattern: Any = engine.compile(model, options)
    except engine.error:
        raise ValueError("not a pattern of RE2") from None
    compiled = (os.getpid(), pattern)

    def matches(name: str) -> bool:
        nonlocal compiled
        if compiled[0] != os.getpid():  # forked: another thread may have held its locks
            compiled = (os.getpid(), engine.compile(model, options))
        return compiled[1].fullmatch(name) is not None

    return matches


Found: TypeAlias = tuple[Override, RateTables | None]
"""An override, and its rates where it has rates of its own."""

_Candidates: TypeAlias = tuple[Found, ...]


class Overrides:
    """The user's own prices. Of several that match, the first in the settings counts.

    Args:
        overrides: In the order of the settings.
        cache_size: How many combinations of provider and model are remembered, those without override included.
    """

    def __init__(self, overrides: Sequence[Override], *, cache_size: int = 1024) -> None:
        self._overrides = [(override, _tables(override)) for override in overrides]
        self._candidates: Callable[[str | None, str], _Candidates]
        self._candidates = lru_cache(maxsize=cache_size)(self._find)

    def names(self) -> list[str]:
        """Return the models that the overrides name; beginnings and patterns as they are written."""
        return [override.model for override, _ in self._overrides]

    def find(self, model: str, *, provider: str | None, at: datetime) -> Found | None:
        """Return the override for a model at a time."""
        if not self._overrides:
            return None
        candidates = self._candidates(provider, model)
        if not candidates:
            return None
        day = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC).date()
        return next((found for found in candidates if _holds(found[0], day)), None)

    def _find(self, provider: str | None, model: str) -> _Candidates:
        if len(model) > MAX_NAME:
            return ()
        names = {(canonical(provider), model.strip().lower())}
        names |= {(reading, name.lower()) for reading, name in readings(provider, model)}
        return tuple(found for found in self._overrides if _means(found[0], names))


def _means(override: Override, names: Iterable[tuple[str | None, str]]) -> bool:
    return any(override.provider in {None, provider} and override.matches(name) for provider, name in names)


def _holds(override: Override, day: date) -> bool:
    return (override.first_day is None or override.first_day <= day) and (
        override.last_day is None or day <= override.last_day
    )


def _tables(override: Override) -> RateTables | None:
    if override.rates is None:
        return None
    rates = {bucket: EXACT.scaleb(rate, -POWERS[bucket]) for bucket, rate in override.rates.items()}
    # As the providers bill it; who does otherwise gives reasoning a rate of its own.
    if "output_text" in rates:
        rates.setdefault("output_reasoning", rates["output_text"])
    provider = f"{override.provider}/" if override.provider else ""
    return RateTables(
        (),
        [tuple(rates.get(bucket) for bucket in BUCKETS)],
        source=SOURCE,
        price_model=f"{provider}{override.model}",
        price_version=_version(override),
    )


def _version(override: Override) -> str:
    """Return what identifies the rates: the beginning of the SHA-256 of what the settings say."""
    said = repr(
        (
            override.model,
            override.provider,
            str(override.first_day),
            str(override.last_day),
            sorted((bucket, str(rate)) for bucket, rate in (override.rates or {}).items()),
        )
    )
    return f"override+sha256:{hashlib.sha256(said.encode()).hexdigest()[:12]}"
