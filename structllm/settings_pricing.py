"""The settings of `pricing`: what the user knows about prices that no list does."""

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Self, cast

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator
from pydantic.json_schema import WithJsonSchema

from structllm._options import Checked, LogPath, Problem, Word, Words, did_you_mean, printable
from structllm.errors import ConfigError
from structllm.pricing.names import canonical, host_path, readings
from structllm.pricing.overrides import RATE_NAMES, Match, Override, compile_match

_MAX_USD = Decimal(1_000_000)
_MAX_DECIMALS = 15
_MAX_NAME = 512
"""An ARN has up to 400 characters."""


def _amount(given: object) -> Decimal:
    """Return a number given as text or number, as people wrote it: 0.1 is a tenth, not the binary number next to it."""
    if isinstance(given, bool) or not isinstance(given, str | int | float | Decimal):
        raise ConfigError(Problem("must be a number, or text that is one"))
    try:
        amount = Decimal(str(given).strip())
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise ConfigError(Problem("must be a number, or text that is one"))
    if not 0 <= amount <= _MAX_USD:
        raise ConfigError(Problem(f"must be from 0 to {_MAX_USD:,}"))
    if -cast("int", amount.normalize().as_tuple().exponent) > _MAX_DECIMALS:
        raise ConfigError(Problem(f"must have at most {_MAX_DECIMALS} digits after the point"))
    return amount


def _json_value(given: object) -> object:
    """Read an object or list given as text by a variable."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        pass
    raise ConfigError(Problem("must be JSON where it is given as text"))


def _rates(given: object) -> object:
    """Check the names of rates, which are buckets of token counts."""
    if not isinstance(given, Mapping):
        raise ConfigError(Problem("must be an object such as {input = '1.10', output = '4.40'}"))
    rates = cast("Mapping[object, Any]", given)
    problems = [
        Problem(f"unknown kind of token{did_you_mean(str(name), RATE_NAMES)}", (str(name),))
        for name in rates
        if name not in RATE_NAMES
    ]
    if not rates:
        problems.append(Problem("must not be empty"))
    buckets = [RATE_NAMES[str(name)] for name in rates if name in RATE_NAMES]
    if len(set(buckets)) < len(buckets):
        problems.append(Problem("gives one kind of token two rates"))
    if problems:
        raise ConfigError(problems)
    return rates


def _places(given: dict[str, str]) -> dict[str, str]:
    for url in given:
        try:
            place = host_path(url)
        except ValueError:
            place = ""
        if not place or place.startswith("/"):
            raise ConfigError(Problem("must be hosts or URLs, such as 'llm.example.com' or 'https://example.com/v1'"))
    return given


_NUMBER_SCHEMA = WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]})
Amount = Annotated[Decimal, BeforeValidator(_amount), PlainSerializer(str), _NUMBER_SCHEMA]
FROM_JSON = BeforeValidator(_json_value)
_Name = Annotated[Word, Field(max_length=_MAX_NAME)]


class PriceOverride(Checked):
    """A price of the user's own for some models."""

    model: _Name = Field(description="The model's name, or what `match` makes of it; case does not matter.")
    match: Match = Field(
        default="exact", description="What model is: a whole name, how names begin, or a pattern (RE2) for whole names."
    )
    provider: _Name | None = Field(default=None, description="Only for calls that this provider served.")
    effective_from: date | None = Field(default=None, description="First UTC day on which it holds.")
    effective_to: date | None = Field(default=None, description="Last UTC day on which it holds.")
    rates: Annotated[dict[str, Amount], BeforeValidator(_rates)] | None = Field(
        default=None,
        description="USD per million tokens: input, output, cache_read, cache_write_5m, cache_write_1h, input_audio, "
        "output_audio, output_reasoning, unsplit (tokens of which only the total is known); web_searches per thousand.",
    )
    multiplier: Amount | None = Field(
        default=None, le=1000, description="In place of rates: what the listed price is multiplied by, e.g. 1.1."
    )
    examples: Words = Field(
        default=(), description="Models that it must match; needed unless match is exact, where the model is its own."
    )

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        problems: list[Problem] = []
        if (self.rates is None) == (self.multiplier is None):
            problems.append(Problem("needs either rates or a multiplier"))
        if self.effective_from and self.effective_to and self.effective_to < self.effective_from:
            problems.append(Problem("ends before it begins", ("effective_to",)))
        try:
            matches = compile_match(self.model, self.match)
        except ValueError:
            problems.append(Problem("is no pattern in RE2's syntax, or too large a one", ("model",)))
        else:
            for position, example in enumerate(self.examples):
                names = {example.lower(), *(name.lower() for _, name in readings(self.provider, example))}
                if not any(map(matches, names)):
                    problems.append(Problem("is not matched by this override", ("examples", position)))
        if self.match != "exact" and not self.examples:
            problems.append(Problem(f"are needed for a {self.match}: models that it must match", ("examples",)))
        if problems:
            raise ConfigError(problems)
        return self

    def compiled(self) -> Override:
        """Return the override in the form that price sources use."""
        rates = self.rates
        return Override(
            matches=compile_match(self.model, self.match),
            provider=canonical(self.provider),
            first_day=self.effective_from,
            last_day=self.effective_to,
            rates=None if rates is None else {RATE_NAMES[name]: rate for name, rate in rates.items()},
            multiplier=self.multiplier,
            model=printable(self.model),
        )


class PricingSettings(Checked):
    """What the user knows about prices that no list does."""

    overrides: Annotated[tuple[PriceOverride, ...], FROM_JSON] = Field(
        default=(), description="Own prices; of several that match a call the first counts."
    )
    deployments: Annotated[dict[_Name, _Name], FROM_JSON] = Field(
        default_factory=dict, description="Model behind a deployment's name or ARN, for the names that say nothing."
    )
    base_urls: Annotated[dict[_Name, _Name], FROM_JSON, AfterValidator(_places)] = Field(
        default_factory=dict, description="Provider by host or beginning of a URL, for calls that name their base_url."
    )
    discount: Amount = Field(
        default=Decimal(0), le=1, description="Part of every listed price that is not paid: 0.1 is 10 % off."
    )
    prefer_provider_cost: bool = Field(
        default=True, description="Take the cost from the provider where it reports one; false always uses prices."
    )
    prices_file: LogPath | None = Field(
        default=None, description="Price list in place of the bundled one, as written by structllm prices update."
    )
