"""Where a build comes from: what its builder is named after, and what its context is known by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ci_buildx.builder import identity
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.identity import JobIdentity, Origin
from ci_buildx.buildkit import request
from ci_buildx.errors import InputError
from ci_buildx.job import systems

TRUST_SCOPE = "KUBE_BUILDER_TRUST_SCOPE"
"""The runs that share caches with this one; empty for protected refs, and outside of CI."""


def of_here(context: Path | str, env: Mapping[str, str]) -> JobIdentity:
    """The identity of a build: the job's, as its CI system calls it; outside of any it is named after its context."""
    found = systems.origin(env)
    if found is not None:
        return identity.make(found, suffix=identity.random_suffix())
    name = context.name or "root" if isinstance(context, Path) else _address(context)
    return identity.make(Origin(system="local", repository=name), suffix=identity.random_suffix())


def _address(url: str) -> str:
    """A URL without what may be secret in it: objects of the cluster bear it, which others can read."""
    from ci_buildx.model.login import redact_url

    return redact_url(url).partition("#")[0].partition("?")[0]


def shared_key(context: Path | str, env: Mapping[str, str]) -> str:
    """The key under which buildkitd keeps the context: equal from commit to commit and from runner to runner."""
    return request.shared_key(
        context.partition("#")[0] if isinstance(context, str) else context,
        repository=scoped(systems.repository(env), env),
        checkout=systems.checkout(env),
    )


def scoped(key: str, env: Mapping[str, str]) -> str:
    """A key that only runs of the same trust scope have."""
    scope = env.get(TRUST_SCOPE, "")
    return f"{key}@{scope}" if scope else key


def check_trust(builder: Builder, env: Mapping[str, str]) -> None:
    """Refuse a builder that other runs share, who would build with what this one leaves in its cache."""
    scope = env.get(TRUST_SCOPE, "")
    if scope and builder.trust != scope:
        message = f"builder {builder.name!r} is not for runs of trust scope {scope!r}"
        trusted = "" if scope.startswith("fork:") else ", or say trust-scope: protected if this ref is trusted"
        raise InputError(message, fix=f"leave it out, make one for them with {TRUST_SCOPE}={scope}{trusted}")
