"""Which model of the price list a name means, strictly: an unknown model is better than another one's price.

The list says of each model which names it answers to, often as "starts with" or "contains". Such a rule also
takes in models that nobody thought of when it was written: `deepseek-r1` is the API's reasoner, and the name
`deepseek-r1-distill-llama-70b` begins with it, but belongs to a small model that others serve at a tenth of the price.
So what a loose rule leaves over must be mere decoration, a date or a version; a word is another model.
"""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

_DECORATION = re.compile(
    r"(?:[-@.:/_](?:\d{8}|\d{4}-\d{2}-\d{2}|\d{2}-\d{2}(?:\d{2})?|\d{3,4}|v\d+(?::\d+)?(?::\d+k)?"
    r"|latest|preview|exp|experimental|beta|stable|default|it|instruct))*(?::\d+)?"
)
"""What may follow a name: dates, snapshots, Bedrock's versions, and words for how finished a model is."""

_SEPARATORS = "-@.:/_"
_NAMESPACES = "./:@"
"""What a name may follow, where it does not begin: `anthropic.`, `publishers/x/`. A dash joins words of one name."""

_FAMILIES = frozenset({"claude-2"})
"""Beginnings that stand for a whole family at one price: Anthropic sold 2.0 and 2.1 at the same."""


def find_model(
    providers: "list[Provider]", provider_name: str | None, model: str
) -> "tuple[Provider, ModelInfo] | None":
    """Look a model up in the list.

    Args:
        providers: The list.
        provider_name: Who served it; None asks the list whose the name is.
        model: The name.

    Returns:
        The provider that served it, and the model, which may be one that the list lets it borrow from another provider
        (Azure from OpenAI). None where the list does not have it.
    """
    from genai_prices.data_snapshot import find_provider_by_id

    name = model.lower()
    provider: Provider | None
    if provider_name is not None:
        provider = find_provider_by_id(providers, provider_name)
    else:
        matches = (entry for entry in providers if entry.model_match is not None and entry.model_match.is_match(name))
        provider = next(matches, None)
    if provider is None:
        return None
    lenders = provider.fallback_model_providers or ()
    for owner in (provider, *(entry for lender in lenders for entry in providers if entry.id == lender)):
        for entry in owner.models:
            if entry.is_match(name) and (name == entry.id.lower() or covers(entry.match, name)):
                return provider, entry
    return None


def covers(rule: Any, name: str) -> bool:
    """Say whether a rule of the list means this name, and not merely a name that has it as a part.

    Args:
        rule: One of genai-prices' clauses.
        name: The name, in lower case.
    """
    if any_of := getattr(rule, "or_", None):
        return any(covers(inner, name) for inner in any_of)
    if all_of := getattr(rule, "and_", None):
        return all(covers(inner, name) for inner in all_of)
    if not rule.is_match(name):
        return False
    if start := getattr(rule, "starts_with", None):
        return _is_decorated(start.lower(), "", name[len(start) :])
    if end := getattr(rule, "ends_with", None):
        return _is_decorated(end.lower(), name[: -len(end)], "")
    if part := getattr(rule, "contains", None):
        before, _, after = name.partition(part.lower())
        return _is_decorated(part.lower(), before, after)
    return True  # "equals", or a pattern, which says itself where a name ends


def _is_decorated(named: str, before: str, after: str) -> bool:
    """Say whether what stands around the named part does not make another name of it."""
    if before and before[-1] not in _NAMESPACES:
        return False
    if named in _FAMILIES:
        return True
    if after and after[0] not in _SEPARATORS:
        # The rule ends inside a word, such as the date in `claude-sonnet-4-2025`: judge the word as a whole.
        cut = max(map(named.rfind, _SEPARATORS))
        after = named[cut:] + after if cut >= 0 else after
    return _DECORATION.fullmatch(after) is not None
