"""Logins that stand in URLs (RFC 3986, section 3.2.1), where users put them though there are better places."""

from __future__ import annotations

from collections.abc import Iterator

from ci_buildx.model.pattern import pattern

# What stands before the digest of an image is no login. A password may have an ``@`` of its own.
_LOGIN = pattern(
    r"(?<![\w+.-])(?!(?:docker-image|oci-layout):)([a-zA-Z][a-zA-Z0-9+.-]*://)"
    r"(?:[^\s/@:]*:(?P<password>[^\s/]+)|(?P<token>[^\s/@:]{20,}))@"
)
"""A password, or in the user's place what is too long for a name (``git``): a token."""


def logins_in(text: str) -> Iterator[str]:
    """The passwords and tokens of all URLs in ``text``."""
    for found in _LOGIN.finditer(text):
        yield found["password"] or found["token"]


def without_logins(text: str) -> str:
    """The text with ``***`` for the logins of URLs."""
    return _LOGIN.sub(r"\1***@", text) if "@" in text and "://" in text else text
