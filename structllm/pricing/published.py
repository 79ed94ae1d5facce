"""Price lists as wholes: where genai-prices publishes its own, what is in one, and what is new in another."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from structllm.pricing import genai

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo


class PriceList(NamedTuple):
    """A price list.

    Attributes:
        price_version: As in the events that it prices.
        models: The models by `provider/model`, both as the list calls them.
    """

    price_version: str
    models: "Mapping[str, ModelInfo]"


class ListChanges(NamedTuple):
    """What one list has that another had not: names as `provider/model`, sorted."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    repriced: tuple[str, ...]


def published_url() -> str:
    """Return where the genai-prices package itself looks for a newer list."""
    url: str = import_module("genai_prices.update_prices").DEFAULT_UPDATE_URL
    return url


def open_list(path: Path | None) -> PriceList:
    """Return the list in a file, or the one of the installed package.

    Raises:
        ConfigError: The file cannot be read or is no price list.
    """
    providers, price_version = genai.open_list(path)
    models = {f"{provider.id}/{model.id}": model for provider in providers for model in provider.models}
    return PriceList(price_version, models)


def changes_between(old: PriceList, new: PriceList) -> ListChanges:
    """Return which models came, went, or have other prices."""
    both = old.models.keys() & new.models.keys()
    return ListChanges(
        tuple(sorted(new.models.keys() - old.models.keys())),
        tuple(sorted(old.models.keys() - new.models.keys())),
        tuple(sorted(name for name in both if _prices(old.models[name]) != _prices(new.models[name]))),
    )


def _prices(model: "ModelInfo") -> tuple[object, object]:
    return model.prices, model.price_variants or None
