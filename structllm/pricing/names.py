"""The many spellings of one model: what clients, gateways and clouds put around its name, taken off again.

`readings` yields what a name may mean, the literal reading first; a price source takes the first that it knows. Nothing
here guesses another model: a reading only drops what says where a model is served.
"""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

MAX_NAME = 256
"""Longer names are no models."""

ROUTERS = frozenset({"openai", "litellm"})
"""Providers behind which clients and gateways hide others: a prefix of the model's name knows better than they."""

_ALIASES = {
    **dict.fromkeys(("azure_openai", "azureopenai", "azure-openai", "azure_ai", "az.ai.openai"), "azure"),
    **dict.fromkeys(("azure.ai.openai", "az.ai.inference", "azure.ai.inference"), "azure"),
    **dict.fromkeys(("google_vertexai", "google_genai", "vertex_ai", "vertexai", "gemini"), "google"),
    **dict.fromkeys(("google-vertex", "google-gla", "gcp.vertex_ai", "gcp.gemini", "gcp.gen_ai"), "google"),
    **dict.fromkeys(("bedrock", "bedrock_converse", "amazon_bedrock", "aws.bedrock", "aws_bedrock"), "aws"),
    **dict.fromkeys(("xai", "x_ai"), "x-ai"),
    **dict.fromkeys(("z.ai", "z-ai", "z_ai"), "zai"),
    **dict.fromkeys(("fireworks_ai", "fireworks-ai"), "fireworks"),
    **dict.fromkeys(("together_ai", "together-ai", "togetherai"), "together"),
    **dict.fromkeys(("mistral_ai", "mistralai"), "mistral"),
}

_MODELS_PATH = re.compile(r"(?:.*/)?(?:publishers/(?P<publisher>[^/]+)/)?models/(?P<model>[^/].*)", re.IGNORECASE)
_PREFIX = re.compile(r"(?P<provider>[A-Za-z][\w.-]*)[/:](?P<model>.+)")
_FINE_TUNED = re.compile(r"(?P<base>ft:[^:]+):.*", re.IGNORECASE)
_COMPACT_DATE = re.compile(r"(?P<name>.*-)(?P<year>20\d\d)(?P<month>[01]\d)(?P<day>[0-3]\d)")
_ARN = re.compile(r"arn:aws[\w-]*:(?P<service>[\w-]+):[^:]*:[^:]*:(?P<kind>[\w-]+)/(?P<name>.+)", re.IGNORECASE)
_BEDROCK = re.compile(
    r"(?:(?P<region>[a-z]{2,6}|us-gov)\.)?"
    r"(?P<rest>(?:ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshotai?|nvidia|openai|qwen"
    r"|stability|twelvelabs|writer|zai)\..+)",
    re.IGNORECASE,
)
_NAMED_BY_ARN = frozenset({"foundation-model", "inference-profile"})
"""Kinds of ARN that hold the model's id. Others hold an id of the account's own: what is behind it, no list can say."""


def canonical(provider: str | None) -> str | None:
    """Return the price list's word for a provider, where we know another; None for nothing."""
    word = (provider or "").strip().lower()
    return _ALIASES.get(word, word) or None


def is_vertex(provider: str | None) -> bool:
    """Return whether a provider is Google's cloud, in anybody's word."""
    return "vertex" in (provider or "").lower()


def readings(provider: str | None, model: str) -> Iterator[tuple[str | None, str]]:
    """Yield what a model's name may mean, as pairs of provider and name, the literal reading first.

    Args:
        provider: Who served it, in anybody's word; None where that is not known.
        model: The name, e.g. `models/gemini-2.5-pro` or `us.anthropic.claude-sonnet-4-5-20250929-v1:0`.
    """
    model = model.strip()
    given = canonical(provider)
    if not model or len(model) > MAX_NAME or len(given or "") > MAX_NAME:
        return
    if given == "litellm":
        given = None
    if arn := _ARN.fullmatch(model):
        if arn["service"].lower() == "bedrock" and arn["kind"].lower() in _NAMED_BY_ARN:
            yield from _on_bedrock(arn["name"])
        return
    yield from _fine_tuned(given, model)
    if path := _MODELS_PATH.fullmatch(model):
        yield from _dated(given or canonical(path["publisher"]), path["model"])
    elif given in {None, "anthropic", "aws", *ROUTERS} and _BEDROCK.fullmatch(model):
        yield from _on_bedrock(model)
    elif prefix := _PREFIX.fullmatch(model):
        named = canonical(prefix["provider"])
        if given is None or given in ROUTERS or given == named:
            inner = prefix["model"]
            yield from _on_bedrock(inner.rpartition("/")[2]) if named == "aws" else _fine_tuned(named, inner)


def host_path(url: str) -> str:
    """Return a URL, or the host that stands for one, without what does not say who answers: scheme, user, query."""
    parts = urlsplit(url if "//" in url else f"//{url}")
    host = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    return f"{host}{parts.path}".rstrip("/")


def _fine_tuned(provider: str | None, model: str) -> Iterator[tuple[str | None, str]]:
    """Yield the name, or of a fine-tuned model `ft:base`, without organisation and id: it has prices of its own."""
    if (tuned := _FINE_TUNED.fullmatch(model)) and provider in {None, "openai", "azure"}:
        yield from _dated("openai" if provider is None else provider, tuned["base"])
    else:
        yield from _dated(provider, model)


def _dated(provider: str | None, model: str) -> Iterator[tuple[str | None, str]]:
    """Yield the name, then with the dashes in its date that some gateways leave out."""
    yield provider, model
    if date := _COMPACT_DATE.fullmatch(model):
        yield provider, f"{date['name']}{date['year']}-{date['month']}-{date['day']}"


def _on_bedrock(model: str) -> Iterator[tuple[str | None, str]]:
    """Yield Bedrock's id, then without the regions of its profile, whose price the list may not have apart."""
    yield "aws", model
    if (found := _BEDROCK.fullmatch(model)) and found["region"]:
        yield "aws", found["rest"]
