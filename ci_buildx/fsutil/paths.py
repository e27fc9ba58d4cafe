"""Go's lexical path rules, which decide what a pattern means.

Source: Go 1.26, ``path/filepath`` (``Clean``, ``Join``) and ``strings.TrimSpace``. Python's ``normpath`` keeps two
leading slashes and ``strip`` removes other characters, so neither will do.
"""

from __future__ import annotations

#: Unicode's White_Space, as Go's ``unicode.IsSpace`` has it.
WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)


def clean(path: str) -> str:
    """Return the shortest path that means the same, found without looking at any file."""
    rooted = path.startswith("/")
    kept: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            kept.append(part)
        elif kept and kept[-1] != "..":
            kept.pop()
        elif not rooted:
            kept.append(part)
    return ("/" if rooted else "") + "/".join(kept) or "."


def join(*parts: str) -> str:
    """Return ``parts`` put together and cleaned; an absolute part does not discard those before it."""
    return clean("/".join(part for part in parts if part)) if any(parts) else ""


def folder(path: str) -> str:
    """Return all but the last part of ``path``, cleaned (``filepath.Dir``)."""
    return clean(path[: path.rfind("/") + 1])
