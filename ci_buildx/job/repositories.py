"""A repository's path on its host (``group/project``), which is what CI systems call it."""

from __future__ import annotations

import re
from urllib.parse import unquote

from ci_buildx.model.pattern import pattern

_SCHEME = pattern(r"[a-zA-Z0-9-]+://")
_HOST = pattern(r"(?:[^@/]*@)?(?P<host>\[[^]]*\]|[^/:]*)(?::[0-9]*(?=/|$))?[:/]*(?P<path>.*)", re.DOTALL)


def path_of(url: str) -> str:
    """The path on its host, without ``.git``; the host where there is no path."""
    found = _HOST.fullmatch(_SCHEME.sub("", url, count=1))
    assert found is not None
    path = unquote(found["path"]).strip("/").removesuffix(".git").rstrip("/")
    return path or found["host"]
