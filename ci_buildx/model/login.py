"""Credentials in URLs, where users put them although there are better places.

A login precedes the host (RFC 3986, section 3.2.1); tokens are in the query or the fragment (signed URLs of S3, Azure
and Google; RFC 6750, section 2.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from re import Match

from ci_buildx.model.lazy import compile_lazily

MASK = "***"
WORDS = r"token|secret|passw(?:or)?d|passphrase|signature|api[_-]?key|access[_-]?key|account[_-]?key|credential"
"""Substrings of credentials' names, both in the query of a URL and in the fields of a cache."""
_BUILDKITS = "xxxxx"
# The text before the digest of an image is not a login, and digits before a slash are a port. A password may contain
# ``@``, ``/``, ``?``, ``#`` or quotes: it ends at the last ``@``.
_LOGIN = compile_lazily(
    r"(?<![\w+.-])(?!(?:docker-image|oci-layout):)([a-zA-Z][a-zA-Z0-9+.-]*://)"
    r"(?:(?P<user>[^\s/@:?#]*):(?!\d*(?:[/?#\s]|$))(?P<password>[^\s\"<>]*|[^\s/]*)|(?P<token>[^\s/@:]{20,}))@(?!sha\d+:)"
)
"""A password, or a token: a user part that is too long for a name such as ``git``."""
_USER = compile_lazily(r"^([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/@:]+@")
_QUERY = compile_lazily(
    rf"(?i)([?&#;](?:[\w.-]*(?:{WORDS})[\w.-]*|sig|auth|key|pass|pwd|jwt|awsaccesskeyid|googleaccessid)=)"
    r"([^&\s#;\"'<>]+)"
)
_NO_PASSWORD = ("", "x-oauth-basic")
"""Values of the password if the user part is the token (GitHub)."""


def find_logins(text: str) -> Iterator[str]:
    """Yield the passwords and tokens of all URLs in ``text``."""
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
    """Return the text with ``***`` in place of logins and tokens of URLs."""
    if "@" in text and "://" in text:
        text = _LOGIN.sub(rf"\1{MASK}@", text)
    return _QUERY.sub(rf"\1{MASK}", text) if "=" in text else text


def redact_url(url: str) -> str:
    """Return the URL as BuildKit writes it into provenance: user, password and tokens become ``xxxxx``.

    The format is that of BuildKit 0.34.2 (``util/urlutil/redact.go``), which also hides user names. Text that is not a
    URL is returned unchanged.
    """

    def write(found: Match[str]) -> str:
        parts = (found["token"],) if found["token"] else (found["user"], found["password"])
        return f"{found[1]}{':'.join(part and _BUILDKITS for part in parts)}@"

    masked = _LOGIN.sub(write, url)
    masked = masked if masked != url else _USER.sub(rf"\1{_BUILDKITS}@", url)
    return _QUERY.sub(rf"\1{_BUILDKITS}", masked)
