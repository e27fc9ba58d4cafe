"""Checks the URLs of token services that registries, or buildkitd on their behalf, name for tokens without a login.

A login is only sent where its registry says, and only over TLS. Without a login nothing secret is sent, but a request
is, from this machine, which must not be directed to hosts that only this machine can reach. Docker and containerd
follow any realm; so an HTTPS realm on the Internet is allowed for every registry (``docker.io`` names
``auth.docker.io``).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

from ci_buildx.errors import RegistryError
from ci_buildx.model.hosts import Origin, parse_origin

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from ci_buildx.registry.trust import RegistryTrust

_SHARED = "100.64.0.0/10"
"""Carriers' and clouds' internal addresses (RFC 6598), which Python considers neither private nor global."""
_TRANSLATED = "64:ff9b::/96"
"""IPv4 addresses translated to IPv6 (RFC 6052)."""


class Reach(IntEnum):
    """From where an address can be reached."""

    EVERYWHERE = 0
    NETWORK = 1
    LINK = 2
    MACHINE = 3


_ALSO_FROM = {
    Reach.NETWORK: frozenset({Reach.NETWORK, Reach.MACHINE}),
    Reach.LINK: frozenset({Reach.LINK}),
    Reach.MACHINE: frozenset({Reach.MACHINE}),
}
"""The reach a registry needs so that its token service may have this reach: a local one may use one in the network."""


def check_realm(url: str, host: str, trust: RegistryTrust) -> None:
    """Raise RegistryError if an anonymous token for ``host`` must not be requested at ``url``."""
    origin = parse_origin(url)
    if origin is None:
        raise RegistryError(f"{host[:100]} returned an invalid token service: realm {url[:100]!r}")
    if not origin.is_secure and not trust.allows_plain(host):
        raise RegistryError(
            f"{host} names a token service without TLS: {origin.authority}", fix="configure https for its token service"
        )
    found = find_reach(origin)
    if found is Reach.EVERYWHERE:
        return
    registry = parse_origin(f"https://{host}")
    if registry is None or registry.host == origin.host or trust.has_declared(origin.authority):
        return
    if _list_reach(registry) & _ALSO_FROM[found]:
        return
    raise RegistryError(
        f"{host} names a token service that is reached only from this {found.name.lower()}, which {host} itself is not:"
        f" {origin.authority}",
        fix=f"log in to {host} (it is then asked for its token service), or declare {origin.authority} in the"
        " builder's buildkitd.toml",
    )


def find_reach(origin: Origin) -> Reach:
    """Return from where a host can be reached; of several addresses, the least reachable one counts."""
    return max(_list_reach(origin), default=Reach.EVERYWHERE)


def _list_reach(origin: Origin) -> frozenset[Reach]:
    return frozenset(_classify(address) for address in _list_addresses(origin))


def _list_addresses(origin: Origin) -> Iterable[IPv4Address | IPv6Address]:
    """Return the addresses of a host; none if it cannot be resolved here, or if a proxy resolves it."""
    from ipaddress import ip_address

    try:
        return [ip_address(origin.host)]
    except ValueError:
        pass
    if origin.host == "localhost" or origin.host.endswith(".localhost"):
        return [ip_address("127.0.0.1")]
    from requests.utils import get_environ_proxies, select_proxy

    url = f"{origin.scheme}://{origin.authority}"
    if select_proxy(url, get_environ_proxies(url)):
        return []
    try:
        found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        # The request itself will report that. Names such as 0x7f.1 are resolved like any other.
        return []
    return [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _classify(address: IPv4Address | IPv6Address) -> Reach:
    from ipaddress import IPv4Address, IPv6Address, ip_network

    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in ip_network(_TRANSLATED):
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _classify(inner)
    if address.is_loopback or address.is_unspecified:
        return Reach.MACHINE
    if address.is_link_local:
        return Reach.LINK
    if address.is_private or address.is_multicast or address.is_reserved:
        return Reach.NETWORK
    return Reach.NETWORK if address.version == 4 and address in ip_network(_SHARED) else Reach.EVERYWHERE
