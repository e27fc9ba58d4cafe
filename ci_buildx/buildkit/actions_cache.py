"""``type=gha``: where GitHub's cache is and what opens it, from the environment of a job. Pure.

Source: buildx 0.38.2, ``build/opt.go`` (``addGithubToken``, ``isActive``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ci_buildx.buildkit.exporters import is_true
from ci_buildx.settings.values import Attributes

GHA = "gha"
DEFAULT_SCOPE = "buildkit"
"""BuildKit's own (0.34.2, ``cache/remotecache/gha/gha.go``)."""


def complete(caches: Iterable[Attributes], env: Mapping[str, str], *, trust: str = "") -> tuple[Attributes, ...]:
    """The caches with what GitHub's need, which the user need not type; the token in them is a secret.

    Runs of a ``trust`` scope have scopes of their own in it, whatever they call them. One that still lacks its token or
    its place is left out: outside of GitHub Actions there is no such cache.
    """
    completed = (_scoped(_complete(cache, env), trust) if cache.type == GHA else cache for cache in caches)
    return tuple(cache for cache in completed if cache.type != GHA or _is_usable(cache))


def _complete(cache: Attributes, env: Mapping[str, str]) -> Attributes:
    found = {"token": env.get("ACTIONS_RUNTIME_TOKEN"), "url": env.get("ACTIONS_CACHE_URL")}
    found["url"] = found["url"] or env.get("ACTIONS_RESULTS_URL")
    if _speaks_second_version(cache, env):
        found["url_v2"] = env.get("ACTIONS_RESULTS_URL")
    typed = dict(cache.attrs)
    added = tuple((name, value) for name, value in found.items() if value and name not in typed)
    return Attributes(type=cache.type, attrs=(*cache.attrs, *added))


def _scoped(cache: Attributes, trust: str) -> Attributes:
    if not trust:
        return cache
    attrs = {**dict(cache.attrs), "scope": f"{cache.get('scope', DEFAULT_SCOPE)}@{trust}"}
    return Attributes(type=cache.type, attrs=tuple(attrs.items()))


def _speaks_second_version(cache: Attributes, env: Mapping[str, str]) -> bool:
    """As typed; else as the runner says."""
    typed = cache.get("version")
    return typed == "2" if typed else is_true(env.get("ACTIONS_CACHE_SERVICE_V2", ""))


def _is_usable(cache: Attributes) -> bool:
    return bool(cache.get("token") and (cache.get("url") or cache.get("url_v2")))
