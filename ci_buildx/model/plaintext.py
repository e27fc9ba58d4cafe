"""Credentials in plain text: in URLs, and content that was pasted instead of a name.

A login precedes the host (RFC 3986, section 3.2.1); tokens are in the query or the fragment (signed URLs of S3, Azure
and Google; RFC 6750, section 2.3).

Users confuse variables that hold the content of a file with variables that hold its path. Errors quote values, and logs
outlive the job, so apparent content is described and never quoted.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from re import Match

from ci_buildx.model.lazy import compile_lazily

MASK = "***"
UNENCODABLE = "backslashreplace"
"""How output encodes bytes of variables and arguments that are not UTF-8 (PEP 383)."""
WORDS = r"token|secret|passw(?:or)?d|passphrase|signature|api[_-]?key|access[_-]?key|account[_-]?key|credential"
"""Substrings of credentials' names, both in the query of a URL and in the fields of a cache."""
_BUILDKITS = "xxxxx"
# The text before the digest of an image is not a login, and digits before a slash are a port. A password may contain
# ``@``, ``/``, ``?``, ``#`` or quotes: it ends at the last ``@``. JSON may escape the slashes.
_LOGIN = compile_lazily(
    r"(?<![\w+.-])(?!(?:docker-image|oci-layout):)([a-zA-Z][a-zA-Z0-9+.-]*:(?://|\\/\\/))"
    r"(?:(?P<user>[^\s/@:?#]*):(?!\d*(?:[/?#\s]|$))(?P<password>[^\s\"<>]*|[^\s/]*)|(?P<token>[^\s/@:]{20,}))@(?!sha\d+:)"
)
"""A password, or a token: a user part that is too long for a name such as ``git``."""
# ``user:password@host.example`` or ``…@host/path`` without a scheme, as curl takes it. ``name:tag@sha256:…``,
# ``git@host:path``, ``npm:package@1.2.3``, any package with its version, and ``mailto:`` are not logins. It is masked
# where it stands, but not searched for elsewhere, because other texts have this form, too.
_BARE = compile_lazily(
    r"(?<![\w./@:+-])(//|docker-image://)?(?!(?:mailto|sips?|xmpp|acct|npm|pkg):)[\w.+-]+:"
    r"[^\s:@/\\\"'<>]+@(?=(?!sha\d+:|v?\d+(?:(?:\.\d+){1,2}(?:[-+][\w.+-]*)?)?[/'\"])"
    r"[A-Za-z0-9][\w-]*(?:(?:\.[\w-]+)*\.[A-Za-z]{2,}|(?:\.[\w-]+)*(?::\d+)?[/'\"]))"
)
_USER = compile_lazily(r"^([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/@:]+@")
_QUERY = compile_lazily(
    rf"(?i)([?&#;](?:[\w.-]*(?:{WORDS})[\w.-]*|sig|auth|key|pass|pwd|jwt|awsaccesskeyid|googleaccessid)=)"
    r"[\"']?([^&\s#;\"'<>]+)"
)
_SELECTION = compile_lazily(r"(?:^|[\s\"',=])(?:tolerations|nodeselector)=[\"']*[\w.=,;/:-]*$")
"""The beginning of a driver option in which ``key`` is a taint's or a label's."""
_LONGEST_SELECTION = 4096
_NO_PASSWORD = ("", "x-oauth-basic")
"""Values of the password if the user part is the token (GitHub)."""


def find_logins(text: str) -> Iterator[str]:
    """Yield the passwords and tokens of all URLs in ``text``."""
    for found in _LOGIN.finditer(text) if _may_have_login(text) else ():
        if found["token"]:
            yield found["token"]
        elif found["password"] in _NO_PASSWORD:
            yield from filter(None, (found["user"],))
        else:
            yield found["password"]
    for found in _QUERY.finditer(text) if "=" in text else ():
        if not is_selection_key(text, found.start(1) + 1, found[1][1:-1]):
            yield found[2]


def mask_logins(text: str) -> str:
    """Return the text with ``***`` in place of logins and tokens of URLs."""
    if _may_have_login(text):
        text = _LOGIN.sub(rf"\1{MASK}@", text)
    if "@" in text and _may_have_bare_login(text):
        text = _BARE.sub(rf"\1{MASK}@", text)
    if "=" not in text:
        return text

    def write(found: Match[str]) -> str:
        keep = is_selection_key(text, found.start(1) + 1, found[1][1:-1])
        return found[0] if keep else f"{found[1]}{MASK}"

    return _QUERY.sub(write, text)


def is_selection_key(text: str, start: int, name: str) -> bool:
    """Return whether ``name``, which is at ``start``, is the ``key`` of a taint or label in a driver option.

    ``tolerations=key=gpu,effect=NoSchedule`` names a taint; it holds no secret.
    """
    before = text[max(0, start - _LONGEST_SELECTION) : start]
    return name == "key" and _SELECTION.search(before) is not None


def redact_url(url: str) -> str:
    """Return the URL as BuildKit writes it into provenance: user, password and tokens become ``xxxxx``.

    The format is that of BuildKit 0.34.2 (``util/urlutil/redact.go``), which also hides user names. Text that is not a
    URL is returned unchanged.
    """

    def write(found: Match[str]) -> str:
        parts = (found["token"],) if found["token"] else (found["user"], found["password"])
        return f"{found[1]}{':'.join(part and _BUILDKITS for part in parts)}@"

    masked = _BARE.sub(rf"\1{_BUILDKITS}:{_BUILDKITS}@", _LOGIN.sub(write, url))
    masked = masked if masked != url else _USER.sub(rf"\1{_BUILDKITS}@", url)
    return _QUERY.sub(rf"\1{_BUILDKITS}", masked)


def _may_have_login(text: str) -> bool:
    """Return whether searching ``text`` is worthwhile: compiling the pattern takes half a millisecond."""
    return "@" in text and (":/" in text or ":\\/" in text)


def _may_have_bare_login(text: str) -> bool:
    """Return the same for a login without a scheme; a colon before an ``@`` is mostly the tag before a digest."""
    return any(":" in part for part in text.split("@")[:-1]) and text.count("@") != text.count("@sha256:")


_LONGEST_PATH, _LONGEST_NAME = 4096, 255
"""Limits of Linux in bytes (``limits.h``: PATH_MAX, NAME_MAX)."""
_SHORTEST_BASE64 = 40
"""Characters: a shorter path could be valid base64 by chance."""
_CREDENTIAL = compile_lazily(r"(?i)[\"']?[\w-]*(?:token|password|secret|client-key-data)[\"']?\s*:\s+\S+")
"""One line of a kubeconfig."""
_BASE64 = compile_lazily(r"[A-Za-z0-9+/_-]+={0,2}")
_GITLABS = ("pat", "ptt", "dt", "rt", "rtr", "cbt", "ft", "soat", "agent", "imt", "ffct", "oas", "wt")
"""Token types that follow ``gl`` in GitLab's tokens (its documentation, "Token prefixes")."""
_KINDS = {
    "eyJ": r"[\w-]{10,}\.[\w-]+(?:\.[\w-]+)?",
    **dict.fromkeys(("gho_", "ghp_", "ghr_", "ghs_", "ghu_", "github_pat_"), r"\w{20,}"),
    **dict.fromkeys((f"gl{kind}-" for kind in _GITLABS), r"[\w.-]{16,}"),
    **dict.fromkeys(("AKIA", "ASIA"), "[A-Z0-9]{16}"),
    "npm_": "[A-Za-z0-9]{30,}",  # underscores are in npm's own variables
    **dict.fromkeys(("dckr_pat_", "dckr_oat_"), r"[\w-]{20,}"),
    "pypi-AgE": r"[\w-]{30,}",  # how a macaroon begins; packages have names such as pypi-…
    **dict.fromkeys(("hvs.", "hvb.", "hvr."), r"[\w-]{24,}"),
    **dict.fromkeys(("xoxb-", "xoxp-", "xoxa-"), r"[\w-]{10,}"),
    **dict.fromkeys(("sk_live_", "rk_live_"), r"\w{16,}"),
}
"""Tokens of well-known services: what follows each prefix.

JWT, GitHub, GitLab, AWS, npm, Docker Hub, PyPI, Vault, Slack, Stripe.
"""
_PREFIXES = tuple(_KINDS)
_KEY = "-----BEGIN "
_HEADERS = ("basic ", "bearer ", "Basic ", "Bearer ")
"""What precedes the login in a header that something echoes."""
_MARKS = (_KEY, *_PREFIXES, *_HEADERS)
_TOKENS = "|".join(prefix.replace(".", r"\.") + rest for prefix, rest in _KINDS.items())
_TOKEN = compile_lazily(f"(?:{_TOKENS})")
_GENERATED = compile_lazily(r"(?=.*[a-z])(?=.*[A-Z])(?=.*\d)[\w+=~!#$%^&*-]{16,}")
"""Texts as generators of passwords write them; names of files and variables rarely mix cases and digits."""
_HIDDEN = compile_lazily(
    rf"(?s)(?<![\w-])(?:{_TOKENS})"
    rf"|{_KEY}[A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|$)"
    # A login in a header that something echoes: base64 and tokens are long and have digits, words do not.
    r"|(?i:(?<=bearer )|(?<=basic ))(?=[A-Za-z_.~+/=-]*\d)[\w.~+/=-]{20,}"
)
"""Texts that are hidden wherever they occur."""


def mask_tokens(text: str, mask: str) -> str:
    """Return the text with ``mask`` in place of private keys and tokens of well-known services."""
    # Most texts hold none of the marks: searching for these is faster than the pattern, and need not compile it.
    return _HIDDEN.sub(mask, text) if any(mark in text for mark in _MARKS) else text


def quote_name(text: str) -> str:
    """Return the name of a variable or file for an error, in quotes, unless it looks like a generated secret.

    ``--secret id=x,env=$X`` instead of ``env=X`` has the secret where its name belongs.
    """
    last = text.rpartition("/")[2]
    return "that (not shown, because it looks like a secret)" if _GENERATED.fullmatch(last) else repr(text)


def decode_base64(text: str) -> str:
    """Decode base64, possibly wrapped or truncated; return "" if the text is not base64."""
    packed = "".join(text.split())
    if len(packed) < _SHORTEST_BASE64 or not _BASE64.fullmatch(packed):
        return ""
    try:
        return base64.b64decode(packed[: len(packed) // 4 * 4], validate=True).decode()
    except ValueError:
        return ""


def read_kubeconfig(text: str) -> str | None:
    """Return the kubeconfig in ``text``, decoded from base64 if necessary; None if it is a path."""
    for content in (text, decode_base64(text)):
        begin = content.strip()
        if begin.startswith("{") or ("\n" in begin and ":" in begin and _KEY not in begin.partition("\n")[0]):
            return content
    return None


def describe_pasted(text: str, *, is_path: bool = False) -> str:
    """Describe in words what the text looks like; return "" for a possible name, URL or, with ``is_path``, path."""
    text = text.strip()
    if not text:
        return ""
    if _KEY in text:
        return "a key or certificate"
    if "apiVersion:" in text or '"apiVersion"' in text:
        return "a kubeconfig's content"
    if len(text.splitlines()) > 1:
        return "a text of several lines"
    if text.startswith(_PREFIXES) and _TOKEN.match(text):
        return "a token"
    if ":" in text and _CREDENTIAL.fullmatch(text):
        return "a credential"
    # Two opening braces are not JSON; they begin an expression of docker's actions, such as
    # ``{{defaultContext}}:folder``.
    if text.startswith("{") and not text.startswith("{{") and ":" in text:
        return "JSON"
    if inner := describe_pasted(decode_base64(text)):
        return f"base64 of {inner}"
    parts = text.split("/") if is_path else ()
    if len(text) > _LONGEST_PATH or any(len(part.encode(errors="replace")) > _LONGEST_NAME for part in parts):
        return "a text that is too long"
    return ""
