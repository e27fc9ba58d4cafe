"""``type=gha`` and ``s3``: where the cache is and what opens it, from the environment of a job. Pure.

Source: buildx 0.38.2, ``build/opt.go`` (``addGithubToken``, ``addAwsCredentials``, ``isActive``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ci_buildx.buildkit.exporters import is_true
from ci_buildx.settings.values import Attributes

GHA = "gha"
S3 = "s3"
_AWS = ("access_key_id", "secret_access_key", "session_token")
DEFAULT_SCOPE = "buildkit"
"""BuildKit's own (0.34.2, ``cache/remotecache/gha/gha.go``)."""


def complete(caches: Iterable[Attributes], env: Mapping[str, str], *, trust: str = "") -> tuple[Attributes, ...]:
    """The caches with what GitHub's and S3 need, which the user need not type; some of it is secret.

    Runs of a ``trust`` scope have scopes of their own in it, whatever they call them. One that still lacks its token or
    its place is left out: outside of GitHub Actions there is no such cache.
    """
    opened = (_with_credentials(cache, env) if cache.type == S3 else cache for cache in caches)
    completed = (_scoped(_complete(cache, env), trust) if cache.type == GHA else cache for cache in opened)
    return tuple(cache for cache in completed if cache.type != GHA or _is_usable(cache))


def _complete(cache: Attributes, env: Mapping[str, str]) -> Attributes:
    found = {"token": env.get("ACTIONS_RUNTIME_TOKEN"), "url": env.get("ACTIONS_CACHE_URL")}
    found["url"] = found["url"] or env.get("ACTIONS_RESULTS_URL")
    if _speaks_second_version(cache, env):
        found["url_v2"] = env.get("ACTIONS_RESULTS_URL")
    typed = dict(cache.attrs)
    added = tuple((name, value) for name, value in found.items() if value and name not in typed)
    return Attributes(type=cache.type, attrs=(*cache.attrs, *added))


def _with_credentials(cache: Attributes, env: Mapping[str, str]) -> Attributes:
    """AWS's credentials, unless both keys are typed; profiles and metadata services are not asked."""
    typed = dict(cache.attrs)
    if "access_key_id" in typed and "secret_access_key" in typed:
        return cache
    found = ((name, env.get(f"AWS_{name.upper()}", "")) for name in _AWS)
    added = tuple((name, value) for name, value in found if value and name not in typed)
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
