"""Where requests may go: which endpoints are refused before anything is sent to them.

What is archived holds what an agent was asked and answered, and a request to a cloud's metadata service is answered
with credentials. So another machine is spoken to over TLS alone, and link-local addresses (169.254.0.0/16, fe80::/10)
and the names of metadata services are refused, for who does not say that it is meant so.

What a name stands for is asked before the connection is made, and by the connection once more: an answer that changes
between the two is not seen.
"""

import ipaddress
import socket
from collections.abc import Callable, Iterable
from urllib.parse import SplitResult, urlsplit

INSECURE = "allow_insecure_endpoint"
"""The setting, and the option of an archive's URL, that lets any endpoint be used."""

_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
_METADATA_NAMES_OF_EC2 = "instance-data.ec2.internal"
# The same services under addresses that are no link-local ones: IPv6 of Amazon, Alibaba, Oracle (old).
_METADATA_ADDRESSES = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))


def split(url: str) -> SplitResult | None:
    """Return the parts of an http(s) URL that names a host; None for any other text."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if whole else None


def endpoint_problem(url: str) -> str | None:
    """Say what stands against a URL as it is written, without repeating it; None where nothing does."""
    parts = split(url)
    if parts is None:
        return "must begin with 'http://' or 'https://' and name a server"
    host = (parts.hostname or "").rstrip(".")
    if "@" in parts.netloc:
        return "a user name or password does not belong there"
    if host in _METADATA_NAMES or host == _METADATA_NAMES_OF_EC2 or _is_refused([host]):
        return "names a metadata service or a link-local address; name a server"
    if parts.scheme == "http" and not _is_this_machine(host):
        return "is not encrypted, and leads to another machine; use https://"
    return None


def resolved_problem(url: str, resolve: Callable[[str], Iterable[str]] | None = None) -> str | None:
    """Say what stands against a URL as `endpoint_problem` does, and against the addresses that its name stands for.

    Args:
        url: Where a request is about to go.
        resolve: Returns the addresses of a name; the system's own resolver where None, which may wait for a network.
    """
    problem = endpoint_problem(url)
    parts = split(url)
    if problem is not None or parts is None:
        return problem
    if _is_refused((resolve or _addresses)(parts.hostname or "")):
        return "has a name that stands for a metadata service or a link-local address; name a server"
    return None


def _addresses(host: str) -> list[str]:
    try:
        return [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):  # the connection itself will say so
        return []


def _is_refused(addresses: Iterable[str]) -> bool:
    found = map(_address, addresses)
    return any(address.is_link_local or address in _METADATA_ADDRESSES for address in found if address is not None)


def _is_this_machine(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address, an IPv4 one also where it is written as a number or inside an IPv6 one."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        try:
            return ipaddress.ip_address(socket.inet_aton(text))  # 0xa9fea9fe, 2852039166, 169.254.43518
        except (OSError, UnicodeError, ValueError):
            return None
    return getattr(address, "ipv4_mapped", None) or address
