"""Build secrets in the spellings of docker/build-push-action 7.3.0, and what of the inputs must not be seen."""

from __future__ import annotations

from collections.abc import Iterator

from ci_buildx.errors import InputError
from ci_buildx.model.masker import SECRET_INPUTS, secrets_in
from ci_buildx.settings.csvline import join_fields
from ci_buildx.settings.given import Given


def with_secrets(given: Given) -> Given:
    """The inputs ``secret-envs`` and ``secret-files`` among the ``secrets``. Raises InputError."""
    more = [*_sources(given, "secret-envs", "env"), *_sources(given, "secret-files", "src")]
    return given.having(secrets=[*given.texts("secrets"), *more]) if more else given


def written(given: Given) -> Iterator[str]:
    """The credentials that stand in other inputs: in URLs, and where names say so (caches, build arguments)."""
    for name, value in given.values.items():
        if name in SECRET_INPUTS:
            continue
        yield from secrets_in(value if isinstance(value, str) else "\n".join(value) if isinstance(value, list) else "")


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
