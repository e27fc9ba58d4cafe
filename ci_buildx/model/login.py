"""Credentials that stand in URLs, where users put them though there are better places.

A login is what stands before the host (RFC 3986, section 3.2.1); tokens stand in the query or the fragment
(signed URLs of S3, Azure and Google; RFC 6750, section 2.3).
"""

from __future__ import annotations

from collections.abc import Iterator

from ci_buildx.model.pattern import pattern

MASK = "***"
# What stands before the digest of an image is no login, and digits before a slash are a port. A password may have an
# ``@``, ``/``, ``?`` or ``#`` of its own: it ends at the last ``@``.
_LOGIN = pattern(
    r"(?<![\w+.-])(?!(?:docker-image|oci-layout):)([a-zA-Z][a-zA-Z0-9+.-]*://)"
    r"(?:(?P<user>[^\s/@:?#]*):(?!\d*(?:[/?#\s]|$))(?P<password>[^\s\"'<>]*)|(?P<token>[^\s/@:]{20,}))@(?!sha\d+:)"
)
"""A password, or in the user's place what is too long for a name (``git``): a token."""
_QUERY = pattern(
    r"(?i)([?&#;](?:[\w.-]*(?:token|secret|password|passwd|signature|api[_-]?key|credential)[\w.-]*"
    r"|sig|auth|key|pass|pwd|jwt|awsaccesskeyid|googleaccessid)=)([^&\s#;\"'<>]+)"
)
_NO_PASSWORD = ("", "x-oauth-basic")
"""What stands in the password's place where the user is the token (GitHub)."""


def logins_in(text: str) -> Iterator[str]:
    """The passwords and tokens of all URLs in ``text``."""
    for found in _LOGIN.finditer(text):
        if found["token"]:
            yield found["token"]
        elif found["password"] in _NO_PASSWORD:
            yield from filter(None, (found["user"],))
        else:
            yield found["password"]
    for found in _QUERY.finditer(text):
        yield found[2]


def without_logins(text: str) -> str:
    """The text with ``***`` for the logins and tokens of URLs."""
    if "@" in text and "://" in text:
        text = _LOGIN.sub(rf"\1{MASK}@", text)
    return _QUERY.sub(rf"\1{MASK}", text) if "=" in text else text
