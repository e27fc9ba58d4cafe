"""Detects content that was pasted instead of a name: keys, kubeconfigs, tokens.

Users confuse variables that hold the content of a file with variables that hold its path. Errors quote values, and logs
outlive the job, so apparent content is described and never quoted.
"""

from __future__ import annotations

import base64

from ci_buildx.model.lazy import compile_lazily

_LONGEST_PATH, _LONGEST_NAME = 4096, 255
"""Limits of Linux in bytes (``limits.h``: PATH_MAX, NAME_MAX)."""
_SHORTEST_BASE64 = 40
"""Characters: a shorter path could be valid base64 by chance."""
_LINE_BREAK = compile_lazily(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")
_BASE64 = compile_lazily(r"[A-Za-z0-9+/_-]+={0,2}")
_GITLABS = "pat|ptt|dt|rt|rtr|cbt|ft|soat|agent|imt|ffct|oas|wt"
"""Token types that follow ``gl`` in GitLab's tokens (its documentation, "Token prefixes")."""
_TOKENS = (
    r"eyJ[\w-]{10,}\.[\w-]+(?:\.[\w-]+)?|gh[oprsu]_\w{20,}|github_pat_\w{20,}"
    rf"|gl(?:{_GITLABS})-[\w.-]{{16,}}|AKIA[A-Z0-9]{{16}}|npm_\w{{30,}}"
)
"""Prefixes of tokens of well-known services (JWT, GitHub, GitLab, AWS, npm)."""
_TOKEN = compile_lazily(f"(?:{_TOKENS})")
_HIDDEN = compile_lazily(
    rf"(?s)(?<![\w-])(?:{_TOKENS})|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
)
"""Texts that are hidden wherever they occur."""


def without_tokens(text: str, mask: str) -> str:
    """Return the text with ``mask`` in place of private keys and tokens of well-known services."""
    return _HIDDEN.sub(mask, text)


def decode(text: str) -> str:
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
    for content in (text, decode(text)):
        begin = content.strip()
        if begin.startswith("{") or ("\n" in begin and ":" in begin and "-----BEGIN " not in begin.partition("\n")[0]):
            return content
    return None


def describe_pasted(text: str, *, is_path: bool = False) -> str:
    """Describe in words what the text looks like; return "" for a possible name, URL or, with ``is_path``, path."""
    text = text.strip()
    if not text:
        return ""
    if "-----BEGIN " in text:
        return "a key or certificate"
    if "apiVersion:" in text or '"apiVersion"' in text:
        return "a kubeconfig's content"
    if _LINE_BREAK.search(text):
        return "a text of several lines"
    if _TOKEN.match(text):
        return "a token"
    # Two opening braces are not JSON; they begin an expression of docker's actions, such as
    # ``{{defaultContext}}:folder``.
    if text.startswith("{") and not text.startswith("{{") and ":" in text:
        return "JSON"
    if inner := describe_pasted(decode(text)):
        return f"base64 of {inner}"
    parts = text.split("/") if is_path else ()
    if len(text) > _LONGEST_PATH or any(len(part.encode(errors="replace")) > _LONGEST_NAME for part in parts):
        return "a text that is too long"
    return ""
