"""The repository as the build's context: a git URL pinned to the event's commit, and the token that opens it.

Source: docker/actions-toolkit 0.95.0 (``src/buildx/build.ts``, ``gitContext``), docker/build-push-action 7.3.0
(``src/context.ts``).
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ci_buildx.ci.github.events import Event
from ci_buildx.ci.metadata.facts import HEADS, PULL
from ci_buildx.settings.booleans import read_boolean
from ci_buildx.settings.given import Given

PULL_HEAD = "DOCKER_DEFAULT_GIT_CONTEXT_PR_HEAD_REF"
AS_QUERY = "BUILDX_SEND_GIT_QUERY_AS_INPUT"
HERE = "."
_DEFAULT = re.compile(r"\{\{\s*defaultContext\s*\}\}")
_TOKEN = "GIT_AUTH_TOKEN"  # noqa: S105 - the name of a secret


def default_context(event: Event) -> str:
    """The repository at the commit; the working directory where the runner names no server."""
    if not (event.server and event.repository):
        return HERE
    url = f"{event.server}/{event.repository}.git"
    pinned = _pinned(event)
    return f"{url}?ref={pinned}" if read_boolean(event.env.get(AS_QUERY, "")) else f"{url}#{pinned}"


def _pinned(event: Event) -> str:
    ref = event.env.get("GITHUB_REF", "")
    if not ref.startswith("refs/"):
        ref = f"{HEADS}{ref}"
    if ref.startswith(PULL) and read_boolean(event.env.get(PULL_HEAD, "")):
        return event.text("pull_request", "head", "sha") or f"{ref.removesuffix('/merge')}/head"
    return event.sha or ref


def with_contexts(given: Given, event: Event) -> Given:
    """The inputs with the default context written out, and with its token where it is used."""
    default = default_context(event)
    context = _DEFAULT.sub(lambda _: default, given.text("context")) or default
    named = [_DEFAULT.sub(lambda _: default, text) for text in given.texts("build-contexts")]
    used = default != HERE and any(default in text for text in (context, *named))
    token = given.text("github-token")
    secrets = given.texts("secrets")
    if used and token and not any(secret.startswith(f"{_TOKEN}=") for secret in secrets):
        secrets.append(f"{_TOKEN}.{urlsplit(event.server).netloc}={token}")
    return given.having(context=context, secrets=secrets, **{"build-contexts": named})
