"""Origins of URLs, to which credentials are sent: scheme, host and port, normalized (RFC 3986, section 6.2)."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
LONGEST_HOST = 261
"""Characters of a host with its port: 255 for a name (RFC 1035, 2.3.4) plus six."""


class Origin(NamedTuple):
    """Scheme and host in lower case and a numeric port, even if it is the scheme's default."""

    scheme: str
    host: str
    port: int

    @property
    def is_secure(self) -> bool:
        """Whether TLS protects the traffic."""
        return self.scheme == "https"

    def covers(self, other: Origin | None) -> bool:
        """Return whether ``other`` is this origin, or the same host by TLS instead of plain HTTP."""
        return other == self or (self.port == _PORTS["http"] and other == Origin("https", self.host, _PORTS["https"]))

    @property
    def authority(self) -> str:
        """``host:port``, or ``host`` alone if the port is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse_origin(url: str) -> Origin | None:
    """Return the origin of an HTTP URL.

    Returns None for other schemes and for URLs that parsers interpret differently: a user part, white space, control
    characters, backslashes, a malformed port.
    """
    if not url.isascii() or any(char <= " " or char in "\\\x7f" for char in url):
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not host or "@" in parts.netloc or port == 0:
        return None
    return Origin(scheme, normalize_host(host), port or _PORTS[scheme])


def is_host(text: str) -> bool:
    """Return whether a text is only a host, with or without a port: no character that would change a URL's meaning."""
    is_short = len(text) <= LONGEST_HOST and not any(char in "/?#" for char in text)
    return is_short and parse_origin(f"https://{text}") is not None


def normalize_host(host: str) -> str:
    """Return a host (with or without port) in lower case and without a trailing dot."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or not port.isdecimal() or (name.count(":") > 1 and not name.endswith("]")):
        return host.lower().rstrip(".")
    return f"{name.rstrip('.')}:{port}"
