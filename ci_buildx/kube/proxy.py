"""Selection of the HTTP proxy, if any, for a connection to the API server.

The rules are those of Go's golang.org/x/net/http/httpproxy (vendored in Go 1.26), which kubectl follows: an upper-case
variable wins over the lower-case one, localhost and loopback addresses are never proxied, and ``NO_PROXY`` holds ``*``,
addresses, CIDR ranges and domains (with their subdomains; a leading dot excludes the domain itself), each with an
optional port.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass
from ci_buildx.model.secret import Secret

if TYPE_CHECKING:
    import ipaddress

_PORTS = {"http": 80, "https": 443}
_FIX = "write it like http://proxy.example:3128"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """One HTTP proxy. ``secure``: TLS to the proxy itself.

    ``authorization`` is the value of Proxy-Authorization, None if the URL has no credentials.
    """

    host: str
    port: int
    secure: bool = False
    authorization: Secret | None = None
    source: str = ""


def parse_proxy(text: str, *, source: str) -> Proxy:
    """Parse a proxy URL; a bare ``host:port`` means http.

    Raises InputError, which names ``source`` but never the password.
    """
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        port = url.port or _PORTS.get(url.scheme, 0)
    except ValueError as cause:
        raise InputError("malformed proxy URL", source=source, fix=_FIX) from cause
    if url.scheme not in _PORTS:
        raise InputError(f"proxies of kind {url.scheme!r} are not supported", source=source, fix="use http or https")
    if not url.hostname:
        raise InputError("malformed proxy URL: it has no host", source=source, fix=_FIX)
    return Proxy(
        host=url.hostname,
        port=port,
        secure=url.scheme == "https",
        authorization=_make_authorization(url.username, url.password),
        source=source,
    )


def choose_proxy(scheme: str, host: str, port: int, env: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that the environment sets for ``scheme://host:port``, None for a direct connection."""
    name = f"{scheme.upper()}_PROXY"
    text = _read_variable(env, name)
    if not text or _is_excluded(host.lower(), port, _read_variable(env, "NO_PROXY")):
        return None
    return parse_proxy(text, source=name)


def _read_variable(env: Mapping[str, str], name: str) -> str:
    return env.get(name) or env.get(name.lower()) or ""


def _make_authorization(user: str | None, password: str | None) -> Secret | None:
    if user is None:
        return None
    import base64

    pair = f"{unquote(user)}:{unquote(password or '')}"
    return Secret(b"Basic " + base64.b64encode(pair.encode()))


def _is_excluded(host: str, port: int, no_proxy: str) -> bool:
    address = _parse_address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_matches_entry(entry.strip().lower(), host, port) for entry in no_proxy.split(","))


def _matches_entry(entry: str, host: str, port: int) -> bool:
    import ipaddress

    if entry == "*":
        return True
    address = _parse_address(host)
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, entry_port = _split_port(entry)
    if not name or (entry_port and entry_port != str(port)):
        return False
    if address is not None or _parse_address(name) is not None:
        return address is not None and address == _parse_address(name)
    return _matches_domain(name.removeprefix("*"), host)


def _matches_domain(name: str, host: str) -> bool:
    if name.startswith("."):
        return host.endswith(name)
    return host == name or host.endswith(f".{name}")


def _split_port(entry: str) -> tuple[str, str]:
    """Split ``host:port`` or ``[v6]:port``; a bare name or IPv6 address has no port."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    import ipaddress

    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
