"""Build secrets in the spellings of docker/build-push-action 7.3.0, and what of the inputs must not be seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ci_buildx.errors import InputError
from ci_buildx.model.login import logins_in
from ci_buildx.model.pattern import pattern
from ci_buildx.settings.csvline import join_fields
from ci_buildx.settings.given import Given
from ci_buildx.settings.values import SecretSource

_FIELD = pattern(r"\b(?:secret_access_key|session_token|token|ghtoken|secret|password)=([^\s,\"']+)")
"""Credentials of cache backends (BuildKit 0.34.2, ``cache/remotecache``: s3, azblob, gha)."""
_OF_CACHES = ("cache-from", "cache-to")


def with_secrets(given: Given) -> Given:
    """The inputs ``secret-envs`` and ``secret-files`` among the ``secrets``. Raises InputError."""
    more = [*_sources(given, "secret-envs", "env"), *_sources(given, "secret-files", "src")]
    return given.having(secrets=[*given.texts("secrets"), *more]) if more else given


def texts(secrets: Iterable[SecretSource]) -> Iterator[str]:
    """The secrets as a log would show them."""
    return (secret.value.reveal().decode(errors="replace") for secret in secrets)


def written(given: Given) -> Iterator[str]:
    """The credentials that stand in other inputs: in URLs, and in the fields of caches."""
    for name, value in given.values.items():
        text = str(value)
        yield from logins_in(text)
        if name in _OF_CACHES:
            yield from _FIELD.findall(text)


def _sources(given: Given, name: str, key: str) -> Iterator[str]:
    for text in given.texts(name):
        secret, equals, place = text.partition("=")
        if equals and secret.strip() and not place:
            yield text  # left out with a warning, as an empty one of the input secrets
            continue
        if not (equals and secret):
            fix = f"write NAME={'VARIABLE' if key == 'env' else 'FILE'}"
            raise InputError(f"{text!r} has no name or no value", source=given.source(name), fix=fix)
        yield join_fields([f"id={secret}", f"{key}={place}"])
