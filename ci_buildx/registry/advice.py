"""Fixes for builds that failed because of a registry; buildkitd reports neither the login that it used nor a fix."""

from __future__ import annotations

import re
from collections.abc import Callable

from ci_buildx.errors import SolveError
from ci_buildx.registry.credentials import CredentialStore

_ANSWER = r"request to https?://([^/\s]+)/v2/\S*: "
"""The beginning of containerd 2.4's message for an unexpected response (``core/remotes/docker/errcode.go``)."""
_TURNED_AWAY = re.compile(
    rf"{_ANSWER}(?:401 Unauthorized|403 Forbidden)"
    r"|for ([^/\s]+)/\S+: (?:pull access denied|.*insufficient_scope)"
    r"|failed to push ([^/\s]+)/\S+: (?:denied|unauthorized|push access denied)"
)
_LIMITED = re.compile(rf"{_ANSWER}429 |for ([^/\s]+)/\S+: .*toomanyrequests")
_BROKEN = re.compile(rf"{_ANSWER}5\d\d ")
_UNTRUSTED = re.compile(r"\"https://([^/\"]+)/[^\"]*\": tls: failed to verify certificate")
_PLAIN = re.compile(r"\"https://([^/\"]+)/[^\"]*\": http: server gave HTTP response to HTTPS client")
_NO_ARTIFACTS = re.compile(r"(application/vnd\.oci\.empty\.v1\+json)")
"""Matches the config's media type, which every registry that rejects OCI artifacts names in its error message."""
_NO_ARTIFACTS_FIX = (
    "the registry does not accept attestations as OCI artifacts: set BUILDX_NO_DEFAULT_OCI_ARTIFACT=true "
    "or oci-artifact=false of the output, or build with --provenance=false"
)
NO_MATCH = "no match for platform in manifest"
"""BuildKit's message for an image that lacks a platform (containerd 2.4.2, ``core/images/handlers.go``)."""
_ABSENT = re.compile(r"failed to resolve source metadata for (\S+): .*not found")


def add_advice(failure: SolveError, store: CredentialStore, builder: str = "") -> SolveError:
    """Return the failure with a fix, if it has none and a registry caused it.

    ``builder`` is the name of an existing builder that the build uses, whose configuration was set at its creation.
    """
    if failure.fix:
        return failure
    cures: tuple[tuple[re.Pattern[str], Callable[[str], str]], ...] = (
        (_NO_ARTIFACTS, lambda _: _NO_ARTIFACTS_FIX),
        (_TURNED_AWAY, lambda host: advise_login(host, store)),
        (_LIMITED, lambda host: _advise_limits(host, store)),
        (_BROKEN, lambda host: f"{host} itself failed: try again later, or contact its operators"),
        (_UNTRUSTED, lambda host: _advise_declaration(host, "ca (its authority) or insecure = true", builder)),
        (_PLAIN, lambda host: _advise_declaration(host, "http = true", builder)),
        (_ABSENT, lambda image: f"check the name and the tag of {image}"),
    )
    for pattern, cure in cures:
        if found := pattern.search(failure.message):
            subject = next(group for group in found.groups() if group)
            return failure.reword(failure.message, fix=cure(subject))
    return failure


def find_no_artifacts(message: str) -> str:
    """Return the fix for a registry that rejected an OCI artifact, "" for other messages."""
    return _NO_ARTIFACTS_FIX if _NO_ARTIFACTS.search(message) else ""


def advise_login(host: str, store: CredentialStore) -> str:
    """Return the fix for a registry that refuses the login of ``store``, or requires one."""
    login = store.lookup(host)
    if login is None:
        return f"log in to {host} (docker login) or set DOCKER_AUTH_CONFIG"
    if login.username:
        return f"the login {login.username!r} for {host} is wrong or has insufficient permissions"
    return f"the identity token for {host} has insufficient permissions"


def _advise_limits(host: str, store: CredentialStore) -> str:
    wait = "try again later or use a mirror"
    return wait if store.lookup(host) else f"log in to {host} (docker login), {wait}"


def _advise_declaration(host: str, what: str, builder: str) -> str:
    where = f"the --buildkitd-config that builder {builder} is created with" if builder else "--buildkitd-config"
    return f'declare [registry."{host}"] {what} in {where}'
