"""Secrets of a build, collected from its settings and environment, so that all output can mask them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from ci_buildx.build import caches as build_caches
from ci_buildx.errors import KubeBuilderError
from ci_buildx.model import masker
from ci_buildx.model.login import find_logins
from ci_buildx.settings.values import BuildSettings

_LARGEST = 1 << 13
"""Maximum bytes of a build secret that is masked: a larger one is a file, which no message contains."""


def secrets_of(build: BuildSettings, env: Mapping[str, str], also: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the secrets of a build in all spellings, the longest first; ``also`` adds the caller's.

    Names of steps can contain them, and buildkitd's errors may repeat what it was sent.
    """
    return masker.list_spellings((*of_settings(build, env), *of_secrets(build), *masker.of_environment(env), *also))


def of_settings(build: BuildSettings, env: Mapping[str, str]) -> Iterator[str]:
    """Yield the credentials in build arguments, in URLs, and in the attributes of caches and outputs."""
    for name, value in build.build_args:
        yield from masker.of_pair(name, value)
    caches = (*build.cache_from, *build.cache_to)
    for entry in (*caches, *build_caches.complete_actions_caches(caches, env), *build.outputs):
        for name, value in entry.attrs:
            if masker.is_secret_attribute(name) and len(value) >= masker.SHORTEST:
                yield value
            yield from find_logins(value)
    sources = (str(one.location) for one in build.contexts)
    texts = (value for _, value in (*build.labels, *build.annotations))
    for text in (str(build.context), build.dockerfile_origin, *sources, *texts):
        yield from find_logins(text)


def of_secrets(build: BuildSettings) -> Iterator[str]:
    """Yield the contents of build secrets, as a log would show them."""
    for secret in build.secrets:
        if len(secret.value) <= _LARGEST:
            yield secret.value.reveal().decode(errors="replace")


def hide_in(error: BaseException, masked: Callable[[str], str]) -> None:
    """Mask secrets in the message, fix and notes of an error."""
    if isinstance(error, KubeBuilderError):
        error.message, error.fix = masked(error.message), masked(error.fix)
        error.args = (error.message,)
    if notes := getattr(error, "__notes__", None):
        notes[:] = map(masked, notes)
