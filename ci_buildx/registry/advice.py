"""What to do about a build that a registry turned away: buildkitd says that it was, but not with whose login."""

from __future__ import annotations

import re

from ci_buildx.errors import SolveError
from ci_buildx.registry.credentials import CredentialStore

_REQUEST = re.compile(r"request to https?://([^/\s]+)/v2/\S*: (?:401 Unauthorized|403 Forbidden)")
_DENIED = re.compile(r"for ([^/\s]+)/\S+: (?:pull access denied|.*insufficient_scope)")
"""containerd 2.4, ``core/remotes/docker``: ``errors`` of the resolver, the fetcher and the pusher."""


def advise(failure: SolveError, store: CredentialStore) -> SolveError:
    """The failure with its fix, where it has none and a registry is behind it."""
    found = _REQUEST.search(failure.message) or _DENIED.search(failure.message)
    if failure.fix or not found:
        return failure
    host = found[1]
    login = store.lookup(host)
    if login is None:
        fix = f"log in to {host} (docker login) or set DOCKER_AUTH_CONFIG"
    elif login.username:
        fix = f"the login {login.username!r} for {host} is wrong or lacks the right"
    else:
        fix = f"the identity token for {host} lacks the right"
    return SolveError(failure.message, vertex=failure.vertex, excerpt=failure.excerpt, line=failure.line, fix=fix)
