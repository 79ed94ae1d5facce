"""`structllm prices`: what the price list says of a model, and a newer list.

`prices update` is the only command that uses the network for prices. The price list and the settings are imported by
the functions that need them.
"""

import difflib
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from structllm.cli.download import fetch, replace_list, shown_origin
from structllm.cli.output import Column, Failure, NothingFound, emit, emit_facts, emit_json, emit_table, wants_color
from structllm.cli.source import json_option, moment
from structllm.errors import ConfigError
from structllm.figures import counted

if TYPE_CHECKING:
    from structllm.pricing import Prices, Rates
    from structllm.pricing.published import ListChanges, PriceList
    from structllm.settings import PricingSettings

_MAX_SUGGESTIONS = 3


@click.group()
def prices() -> None:
    """What a model costs by the price list, and newer lists."""


@prices.command()
@click.argument("model")
@click.option("--provider", metavar="NAME", help="Who serves it: openai, azure, aws, ...")
@click.option("--at", callback=moment, metavar="WHEN", help="At that time: 2025-06-10, 2025-06-10T12:00Z, 30d (ago).")
@click.option("--tier", metavar="NAME", help="Service tier: batch, flex, priority, ...")
@json_option
def show(model: str, provider: str | None, at: datetime | None, tier: str | None, as_json: bool) -> None:
    """What a model costs, in US dollars per million tokens.

    MODEL is a name as in a request or a log. Overrides in the settings win over the price list; a discount is in the
    rates. Exits 1 where neither knows the model.
    """
    at = at or datetime.now(UTC)
    known = present_prices()
    rates = known.rates(model, provider=provider, at=at, service_tier=tier)
    if rates is None:
        near = _nearest(model, provider, known.names())
        if as_json:
            emit_json({"model": model, "provider": provider, "found": False, "suggestions": near})
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        raise NothingFound(f"no price for {model}{f' of {provider}' if provider else ''}{meant}")
    if as_json:
        emit_json(_rates_as_json(model, rates, at))
        return
    facts = {
        "model": rates.price_model,
        "source": rates.source,
        "version": rates.price_version,
        "since": "-" if rates.since is None else rates.since.isoformat(),
        "at": at.strftime("%Y-%m-%d %H:%MZ"),
        "request": "" if rates.per_request_usd is None else f"{_dollars(rates.per_request_usd)} each",
        "doubts": ", ".join(rates.flags),
    }
    emit_facts({name: text for name, text in facts.items() if text}, wants_color("auto"))
    emit("")
    _emit_rates(rates)


@prices.command()
@click.option(
    "--to",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to keep the list.  [default: the setting pricing.prices_file]",
)
@click.option("--from", "origin", metavar="URL|FILE", help="Where to get it.  [default: where genai-prices publishes]")
@json_option
def update(target: Path | None, origin: str | None, as_json: bool) -> None:
    """Get the newest price list that genai-prices has published.

    It is checked before it takes the place of the old one; where anything is wrong, that stays. Loggers and commands
    use it where the setting pricing.prices_file names it, loggers from their next start on.
    """
    from structllm.pricing.published import changes_between, open_list, published_url

    target = (target or _configured_file()).expanduser()
    origin = origin or published_url()
    old = _list_so_far(target)
    new = replace_list(target, fetch(origin), origin)
    before = old or open_list(None)
    changes = changes_between(before, new)
    if as_json:
        emit_json(
            {
                "from": shown_origin(origin),
                "to": str(target),
                "models": len(new.models),
                "old_version": None if old is None else old.price_version,
                "new_version": new.price_version,
                **changes._asdict(),
            }
        )
        return
    facts = {
        "from": shown_origin(origin),
        "to": str(target),
        "old": f"{before.price_version}, {counted(len(before.models), 'model')}{'' if old else ' (in the package)'}",
        "new": f"{new.price_version}, {counted(len(new.models), 'model')}",
        "changes": _in_words(changes),
    }
    emit_facts(facts, wants_color("auto"))


def present_prices() -> "Prices":
    """Return the price sources of the settings in effect. Raises ConfigError where those are wrong."""
    from structllm.pricing import open_prices

    return open_prices(_pricing_settings())


def _pricing_settings() -> "PricingSettings":
    from structllm.settings import load_settings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # variables that look like settings are for `config show` and the doctor
        return load_settings().pricing


def _configured_file() -> Path:
    path = _pricing_settings().prices_file
    if path is None:
        raise Failure(
            "there is no place for the list: set pricing.prices_file (LLM__PRICING__PRICES_FILE), or give --to FILE"
        )
    return path


def _nearest(model: str, provider: str | None, names: Iterable[str]) -> list[str]:
    """Return the models whose names are like this one, those of the provider first of all."""
    split = [name.rpartition("/") for name in sorted(names)]  # sorted: of equally near names the first are taken
    wanted = model.lower().rpartition("/")[2]
    own = [bare for owner, _, bare in split if provider is not None and owner.partition("/")[0] == provider.lower()]
    for bare_names in (own, [bare for *_, bare in split]):
        found = difflib.get_close_matches(wanted, dict.fromkeys(bare_names), n=_MAX_SUGGESTIONS)
        if found:
            return found
    return []


def _emit_rates(rates: "Rates") -> None:
    starts = [band.above_tokens for band in rates.bands]
    titles = ["USD"] if len(starts) == 1 else [f"above {start:,}" if start else f"to {starts[1]:,}" for start in starts]
    columns = [Column("Of", style="bold"), Column("Per"), *(Column(title, right=True) for title in titles)]
    rows = [
        [
            bucket,
            "million" if _counts_tokens(bucket) else "thousand",
            *(_dollars(band.rates.get(bucket)) for band in rates.bands),
        ]
        for bucket in _buckets(rates)
    ]
    emit_table(columns, rows)


def _buckets(rates: "Rates") -> list[str]:
    return list(dict.fromkeys(bucket for band in rates.bands for bucket in band.rates))


def _counts_tokens(bucket: str) -> bool:
    from structllm.pricing.tables import PER_THOUSAND, POWERS

    return POWERS[bucket] != PER_THOUSAND


def _dollars(amount: Decimal | None) -> str:
    """Return a rate with all its digits, two after the point at least."""
    if amount is None:
        return "-"
    whole, _, part = f"{amount.normalize():,f}".partition(".")
    return f"${whole}.{part.ljust(2, '0')}"


def _rates_as_json(model: str, rates: "Rates", at: datetime) -> dict[str, Any]:
    return {
        "model": model,
        "found": True,
        "price_model": rates.price_model,
        "source": rates.source,
        "price_version": rates.price_version,
        "since": None if rates.since is None else rates.since.isoformat(),
        "at": at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "per_request_usd": None if rates.per_request_usd is None else float(rates.per_request_usd),
        "flags": list(rates.flags),
        "bands": [
            {
                "above_input_tokens": band.above_tokens,
                "usd_per_million": {name: float(rate) for name, rate in band.rates.items() if _counts_tokens(name)},
                "usd_per_thousand": {
                    name: float(rate) for name, rate in band.rates.items() if not _counts_tokens(name)
                },
            }
            for band in rates.bands
        ],
    }


def _list_so_far(path: Path) -> "PriceList | None":
    """Return the list that a file holds; one that is none is to be replaced as well."""
    from structllm.pricing.published import open_list

    try:
        return open_list(path) if path.exists() else None
    except ConfigError:
        return None


def _in_words(changes: "ListChanges") -> str:
    words = [
        f"{counted(len(names), 'model')} {what}"
        for names, what in ((changes.added, "added"), (changes.removed, "removed"), (changes.repriced, "repriced"))
        if names
    ]
    return ", ".join(words) or "none"
