"""Which archives a command works on: those that the user names, or those that the settings do.

The settings bring pydantic with them, so they are imported by the functions that need them.
"""

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import quote, urlencode

from structllm.cli.output import Failure
from structllm.cli.source import is_archive, opened, settings_given

if TYPE_CHECKING:
    from structllm.archive import Store

_TYPES = ("s3", "directory")


class Archive(NamedTuple):
    """An archive to be read.

    Attributes:
        store: Where its objects are.
        key: Of integrity=hmac; None where there is none.
    """

    store: "Store"
    key: bytes | None = None


def archive_sinks() -> list[Any]:
    """Return the settings of the sinks that archive; none where there are no settings."""
    if not settings_given():
        return []
    from structllm.settings import load_settings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # variables that look like settings are for `config show` and the doctor
        sinks = load_settings().effective_sinks()
    return [sink for sink in sinks if getattr(sink, "type", None) in _TYPES]


def configured_places() -> list[str]:
    """Return the archives that the settings name, as a user would."""
    return [_place_of(sink) for sink in archive_sinks()]


def _place_of(sink: Any) -> str:
    if sink.type == "directory":
        return str(sink.path)
    options = {name: getattr(sink, name, None) for name in ("region", "endpoint_url", "profile")}
    if getattr(sink, "allow_insecure_endpoint", False):
        options["allow_insecure_endpoint"] = "true"
    query = urlencode({name: value for name, value in options.items() if value}, quote_via=quote, safe="")
    place = f"s3://{sink.bucket}/{quote(sink.prefix)}".rstrip("/")
    return f"{place}?{query}" if query else place


def open_archives(places: Sequence[str], key_variable: str | None = None) -> list[Archive]:
    """Open the archives that were named, or those that the settings name.

    Args:
        places: URLs and directories.
        key_variable: The variable that holds the key of integrity=hmac; None: the settings have it.

    Raises:
        Failure: There is no such directory, the settings name no archive, or the variable is not set.
        ConfigError: An URL or the settings are wrong.
    """
    given = _key_in(key_variable)
    sinks = archive_sinks()
    configured = [Archive(cast("Store", sink.open_store()), given or _key_of(sink)) for sink in sinks]
    if not places:
        if not configured:
            raise Failure("the settings name no archive; name one: s3://BUCKET/PREFIX or a directory")
        return configured
    return [_open(place, given, configured) for place in places]


def looks_like_archive(path: str) -> bool:
    """Return whether a path is that of an archive, in object storage or a directory."""
    return is_archive(path) or os.path.isdir(os.path.join(path, "_manifest"))


def _open(place: str, given: bytes | None, configured: Sequence[Archive]) -> Archive:
    if not is_archive(place) and not os.path.isdir(place):
        raise Failure(f"no such directory: {place}; an archive is s3://BUCKET/PREFIX or a directory")
    store = opened(place)
    known = (archive.key for archive in configured if _same(archive.store.place, store.place))
    return Archive(store, given or next(known, None))


def _same(one: str, other: str) -> bool:
    return one == other or (not is_archive(one) and os.path.abspath(one) == os.path.abspath(other))


def _key_in(variable: str | None) -> bytes | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise Failure(f"the variable {variable} is not set, or empty; --hmac-key-env names one with the key")
    return os.fsencode(key)


def _key_of(sink: Any) -> bytes | None:
    key = getattr(sink, "hmac_key", None)
    return None if key is None else key.get_secret_value().encode()
