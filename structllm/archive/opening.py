"""An archive by its name: `s3://bucket/prefix?region=…` or the path of a directory."""

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from structllm.archive.directory import DirectoryStore
from structllm.archive.endpoints import INSECURE, endpoint_problem, split
from structllm.archive.s3 import S3Store
from structllm.archive.store import Store
from structllm.errors import ConfigError

_HOW_TO_WRITE = "an archive is 's3://BUCKET/PREFIX' or the path of a directory"
_OPTIONS = ("addressing_style", INSECURE, "endpoint_url", "profile", "region")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")
_SECRET = re.compile("access|credential|key|pass|pwd|secret|token|signature", re.IGNORECASE)
_READ_ATTEMPTS = 4


def is_archive_url(text: str) -> bool:
    """Say whether a text names an archive in object storage, and no path."""
    return text[:5].lower() == "s3://"


def open_store(url: str, *, total_attempts: int = _READ_ATTEMPTS) -> Store:
    """Return the store of an archive; no request is made yet.

    Args:
        url: `s3://bucket/prefix`, with `region`, `endpoint_url`, `profile`, `addressing_style` and
            `allow_insecure_endpoint=true` as options (`?region=eu-central-1&profile=audit`), or the path of a
            directory.
        total_attempts: Of each request to S3.

    Raises:
        ConfigError: It is neither, an option is unknown or a secret; all problems at once, without values.
        MissingExtra: It is in S3, and boto3 is not installed.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        if not url or "\0" in url:
            raise ConfigError(_HOW_TO_WRITE)
        return DirectoryStore(url)
    if not is_archive_url(url):
        raise ConfigError(f"unknown kind of archive; {_HOW_TO_WRITE}")
    bucket, prefix, query = _split(url)
    options, problems = _read_options(query)
    if problems:
        raise ConfigError(problems)
    return S3Store(bucket, prefix, **options, total_attempts=total_attempts)


def _split(url: str) -> tuple[str, str, str]:
    """Return bucket, prefix and query."""
    if any(character <= " " for character in url):
        raise ConfigError("a space or control character in a URL is written in percent form, as in '%20'")
    if "#" in url:
        raise ConfigError("a '#' in a URL is written '%23'")
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or ("@" not in parts.netloc and not re.fullmatch(r"[\w.-]+", parts.netloc)):
        raise ConfigError(f"there is no bucket in the URL; {_HOW_TO_WRITE}")
    if "@" in parts.netloc:
        raise ConfigError("a user name or password does not belong in a URL; boto3 finds credentials by itself")
    return parts.netloc, unquote(parts.path), parts.query


def _read_options(query: str) -> tuple[dict[str, Any], list[str]]:
    options: dict[str, Any] = {}
    problems: list[str] = []
    for option in filter(None, query.split("&")):
        name, equals, value = option.partition("=")
        name, value = unquote(name), unquote(value)
        problem = _name_problem(name)
        if problem is None and not value:
            problem = f"option '{name}' in the URL has no value" + ("" if equals else ": '=' is missing")
        if problem is None and name in options:
            problem = f"'{name}' is given twice in the URL"
        if problem is None and (check := _CHECKS.get(name)) is not None:
            problem = check(value)
        if problem is None:
            options[name] = value
        else:
            problems.append(problem)
    options[INSECURE] = options.get(INSECURE) == "true"
    if "endpoint_url" in options and not options[INSECURE] and (problem := endpoint_problem(options["endpoint_url"])):
        problems.append(f"'endpoint_url' in the URL: {problem}, or add '{INSECURE}=true'")
    return options, problems


def _name_problem(name: str) -> str | None:
    """Say why a URL must not have this option. Its name may be the rest of a value with an '&': it is not repeated."""
    if name in _OPTIONS:
        return None
    if _SECRET.search(name):
        return "a secret does not belong in a URL; boto3 finds credentials by itself (environment, profile, role)"
    meant = difflib.get_close_matches(name, _OPTIONS, 1)
    return "unknown option in the URL; " + (
        f"did you mean '{meant[0]}'?" if meant else f"known are {', '.join(_OPTIONS)}"
    )


def _endpoint_problem(value: str) -> str | None:
    parts = split(value)
    if parts is None:
        return "'endpoint_url' in the URL: must begin with 'http://' or 'https://' and name a server"
    if "@" in parts.netloc:
        return "'endpoint_url' in the URL: a user name or password does not belong there"
    return None


def _style_problem(value: str) -> str | None:
    return (
        None if value in {"auto", "path", "virtual"} else "'addressing_style' in the URL: must be auto, path or virtual"
    )


def _switch_problem(value: str) -> str | None:
    return None if value in {"true", "false"} else f"'{INSECURE}' in the URL: must be true or false"


_CHECKS: Mapping[str, Callable[[str], str | None]] = {
    "addressing_style": _style_problem,
    "endpoint_url": _endpoint_problem,
    INSECURE: _switch_problem,
}
