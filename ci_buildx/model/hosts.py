"""Origins of URLs, to which credentials are sent: scheme, host and port in one spelling (RFC 3986, section 6.2)."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
LONGEST_HOST = 261
"""Characters of a host with its port: 255 of a name (RFC 1035, 2.3.4) and six."""


class Origin(NamedTuple):
    """Scheme and host in lower case, and the port as a number, also where it is the scheme's own."""

    scheme: str
    host: str
    port: int

    @property
    def is_secure(self) -> bool:
        """Whether TLS protects what is sent."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """``host:port``, without a port that is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse_origin(url: str) -> Origin | None:
    """Return the origin of an HTTP URL.

    None is returned for other schemes and for what different readers would understand differently: a user part, white
    space, control characters, backslashes, a malformed port.
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
    """Whether a text is a host, with or without a port, and nothing that would change the meaning of a URL with it."""
    is_short = len(text) <= LONGEST_HOST and not any(char in "/?#" for char in text)
    return is_short and parse_origin(f"https://{text}") is not None


def normalize_host(host: str) -> str:
    """Return a host (with or without port) in lower case and without the root's dot at its end."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or not port.isdecimal() or (name.count(":") > 1 and not name.endswith("]")):
        return host.lower().rstrip(".")
    return f"{name.rstrip('.')}:{port}"
