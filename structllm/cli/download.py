"""Fetches a price list, and puts it in place of the old one only if it is one."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from structllm.cli.output import Failure
from structllm.errors import ConfigError

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

    from structllm.pricing.published import PriceList

MAX_LIST_BYTES = 64 * 1024 * 1024
"""The published list has 2 MB; what is so much larger is something else."""

_WAIT_S = 10.0  # for a connection, and for each further part of the answer
_MOST_S = 60.0  # for the whole answer


class NotUpdated(Failure):
    """There is no newer list to be had; the command itself was right."""

    exit_code: ClassVar[int] = 1


def fetch(origin: str) -> bytes:
    """Return what a URL or a file holds. Raises NotUpdated where it cannot be had whole."""
    try:
        if "://" not in origin:
            with open(os.path.expanduser(origin), "rb") as file:
                content = file.read(MAX_LIST_BYTES + 1)
        else:
            content = b"".join(_download(origin))
    except (OSError, ValueError) as error:
        raise NotUpdated(f"could not get the list from {shown_origin(origin)}: {_reason(error)}") from None
    if len(content) > MAX_LIST_BYTES:
        raise NotUpdated(
            f"what {shown_origin(origin)} holds is too large for a price list: more than {MAX_LIST_BYTES >> 20} MiB"
        )
    return content


def _download(url: str) -> Iterator[bytes]:
    """Yield what a URL holds, or a little more than a list may have."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request

    _refuse_unsafe(url)
    deadline_s = time.monotonic() + _MOST_S
    size = 0
    try:
        with _opener().open(Request(url, headers={"User-Agent": "structllm"}), timeout=_WAIT_S) as answer:
            while size <= MAX_LIST_BYTES and (part := answer.read1(1 << 16)):
                size += len(part)
                yield part
                if time.monotonic() > deadline_s:
                    raise TimeoutError(f"not complete after {_MOST_S:.0f} s")
            expected = answer.headers.get("Content-Length", "")
            if size <= MAX_LIST_BYTES and expected.isdecimal() and size < int(expected):
                raise ValueError("the answer was cut off")
    except HTTPError as error:
        error.close()  # it is an answer as well, and holds its connection
        raise
    except HTTPException as error:
        raise ValueError(f"no proper answer ({type(error).__name__})") from None


def _refuse_unsafe(url: str) -> None:
    """Raise ValueError where a list must not be fetched from: whoever answers could set the costs of every call."""
    from structllm.archive.endpoints import resolved_problem

    if not url.lower().startswith(("https://", "http://")):
        raise ValueError("neither an http(s) URL nor a file")
    problem = resolved_problem(url)
    if problem is not None:
        raise ValueError(f"the URL {problem}")


def _opener() -> "OpenerDirector":
    """Return what follows redirects, each only to where a list may be fetched from, and never out of TLS."""
    from urllib.request import HTTPRedirectHandler, build_opener

    class Redirects(HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            fp.close()
            if req.type == "https" and not newurl.lower().startswith("https://"):
                raise ValueError("it leads to a place without encryption")
            _refuse_unsafe(newurl)
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return build_opener(Redirects)


def shown_origin(origin: str) -> str:
    """Return where a list comes from, without a user name and password that stand in the URL."""
    scheme, mark, rest = origin.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{mark}{place.rpartition('@')[2]}{slash}{path}" if mark else origin


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    code = getattr(error, "code", None)
    return f"{code} {reason}" if isinstance(code, int) else str(reason)


def replace_list(target: Path, content: bytes, origin: str) -> "PriceList":
    """Put a list in place of the old one, in one step, and return it. Raises Failure where it is none."""
    from structllm.pricing.published import open_list

    try:
        os.makedirs(target.parent, mode=0o700, exist_ok=True)
        fd, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent)
    except OSError as error:
        raise Failure(f"cannot write {target}: {_reason(error)}") from None
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        new = open_list(Path(name))
        os.chmod(name, 0o644)  # a public list, which any program of the machine may be told to read
        os.replace(name, target)
    except ConfigError:
        raise NotUpdated(
            f"what {shown_origin(origin)} holds is no price list in the format of genai-prices; {target} stays"
        ) from None
    except OSError as error:
        raise Failure(f"cannot write {target}: {_reason(error)}") from None
    finally:
        with suppress(OSError):
            os.unlink(name)
    return new
