"""Where a build comes from: what its builder is named after, and what its context is known by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ci_buildx.builder import identity
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.identity import JobIdentity, Origin
from ci_buildx.buildkit import request
from ci_buildx.errors import InputError

TRUST_SCOPE = "KUBE_BUILDER_TRUST_SCOPE"
"""The runs that share caches with this one; empty for protected refs, and outside of CI."""
_REPOSITORY = ("GITHUB_REPOSITORY", "CI_PROJECT_PATH")
_CHECKOUT = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR")


def of_here(context: Path | str) -> JobIdentity:
    """The identity of a build that no CI system started: named after its context."""
    name = context.name or "root" if isinstance(context, Path) else context.partition("#")[0]
    return identity.make(Origin(system="local", repository=name), suffix=identity.random_suffix())


def shared_key(context: Path | str, env: Mapping[str, str]) -> str:
    """The key under which buildkitd keeps the context: equal from commit to commit and from runner to runner."""
    return request.shared_key(
        context.partition("#")[0] if isinstance(context, str) else context,
        repository=scoped(repository(env), env),
        checkout=checkout(env),
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
        raise InputError(message, fix=f"leave it out, or make one for them with {TRUST_SCOPE}={scope}")


def checkout(env: Mapping[str, str]) -> Path | None:
    """Where the CI system has put the repository's files, None elsewhere."""
    name = next((env[name] for name in _CHECKOUT if env.get(name)), None)
    return Path(name).absolute() if name else None


def repository(env: Mapping[str, str]) -> str:
    """The repository's path as the CI system names it, "" elsewhere."""
    return next((env[name] for name in _REPOSITORY if env.get(name)), "")
