"""Credentials that stand in URLs, where users put them though there are better places.

A login is what stands before the host (RFC 3986, section 3.2.1); tokens stand in the query or the fragment
(signed URLs of S3, Azure and Google; RFC 6750, section 2.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from re import Match

from ci_buildx.model.lazy import compile_lazily

MASK = "***"
WORDS = r"token|secret|passw(?:or)?d|passphrase|signature|api[_-]?key|access[_-]?key|account[_-]?key|credential"
"""What the name of a credential has in it, in a URL's query as in the fields of a cache."""
_BUILDKITS = "xxxxx"
# What stands before the digest of an image is no login, and digits before a slash are a port. A password may have an
# ``@``, ``/``, ``?``, ``#`` or quotes of its own: it ends at the last ``@``.
_LOGIN = compile_lazily(
    r"(?<![\w+.-])(?!(?:docker-image|oci-layout):)([a-zA-Z][a-zA-Z0-9+.-]*://)"
    r"(?:(?P<user>[^\s/@:?#]*):(?!\d*(?:[/?#\s]|$))(?P<password>[^\s\"<>]*|[^\s/]*)|(?P<token>[^\s/@:]{20,}))@(?!sha\d+:)"
)
"""A password, or in the user's place what is too long for a name (``git``): a token."""
_USER = compile_lazily(r"^([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/@:]+@")
_QUERY = compile_lazily(
    rf"(?i)([?&#;](?:[\w.-]*(?:{WORDS})[\w.-]*|sig|auth|key|pass|pwd|jwt|awsaccesskeyid|googleaccessid)=)"
    r"([^&\s#;\"'<>]+)"
)
_NO_PASSWORD = ("", "x-oauth-basic")
"""What stands in the password's place where the user is the token (GitHub)."""


def find_logins(text: str) -> Iterator[str]:
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


def mask_logins(text: str) -> str:
    """The text with ``***`` for the logins and tokens of URLs."""
    if "@" in text and "://" in text:
        text = _LOGIN.sub(rf"\1{MASK}@", text)
    return _QUERY.sub(rf"\1{MASK}", text) if "=" in text else text


def redact_url(url: str) -> str:
    """The URL as BuildKit writes it into provenance, with ``xxxxx`` for a user and for a password; so for tokens.

    The form is that of BuildKit 0.34.2 (``util/urlutil/redact.go``), which also hides names; what is no URL stays.
    """

    def write(found: Match[str]) -> str:
        parts = (found["token"],) if found["token"] else (found["user"], found["password"])
        return f"{found[1]}{':'.join(part and _BUILDKITS for part in parts)}@"

    masked = _LOGIN.sub(write, url)
    masked = masked if masked != url else _USER.sub(rf"\1{_BUILDKITS}@", url)
    return _QUERY.sub(rf"\1{_BUILDKITS}", masked)
