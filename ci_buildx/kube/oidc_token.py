"""The CI job's own OIDC token as bearer token for the cluster's API, so that the CI system stores no secret.

GitHub's runner issues a token on each request (its documentation, "OpenID Connect reference": ``id-token: write``,
``ACTIONS_ID_TOKEN_REQUEST_URL`` and ``…_TOKEN``, also in post steps); GitLab writes tokens into the variables that
``id_tokens`` names, once per job. The API server accepts them by structured authentication.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Mapping

from ci_buildx.errors import InputError, Unauthorized
from ci_buildx.kube.credentials import make_bearer_header
from ci_buildx.model import http_calls
from ci_buildx.model.secret import Secret

VARIABLE = "env:"
"""Prefix of the name of a variable that holds the token."""

_URL, _REQUEST_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
_TRIES = 3
_TIMEOUT = 10.0
_PAUSE = 0.5
_SHARE = 0.25
"""Fraction of a token's lifetime, at its end, in which it is replaced: it must reach the server before it expires."""

Fetch = Callable[[], Secret]


class OidcToken:
    """Fetches a token when one is needed, when the last one is about to expire, and after a 401. Thread-safe.

    A token's age is measured from its arrival, so a wrong clock on the runner does not matter.
    """

    def __init__(self, fetch: Fetch, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Secret | None = None
        self._stale = 0.0

    def make_headers(self) -> dict[str, str]:
        """Return the header with the token. Raises InputError or Unauthorized."""
        with self._lock:
            if self._token is None or self._clock() >= self._stale:
                now = self._clock()
                self._token = self._fetch()
                self._stale = now + compute_usable_time(self._token)
            return make_bearer_header(self._token)

    def read_key_pair(self) -> None:
        """Return None: there is only a token."""

    def refresh(self) -> bool:
        """Discard the token, so that the next request fetches another."""
        with self._lock:
            self._token = None
        return True


def compute_usable_time(token: Secret) -> float:
    """Return the seconds from a JWT's issue until it should be replaced; infinite if it has no expiry.

    Does not verify the token; the API server does.
    """
    try:
        _, payload, _ = token.reveal_text().split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return (float(claims["exp"]) - float(claims["iat"])) * (1 - _SHARE)
    except (ValueError, KeyError, TypeError, RecursionError):
        return float("inf")


def find_token_source(text: str, env: Mapping[str, str]) -> Fetch:
    """Return a function that fetches the job's token; ``text`` is ``env:NAME`` or an audience for GitHub's runner.

    Raises InputError if the token is unavailable; the returned function raises Unauthorized.
    """
    if text.startswith(VARIABLE):
        name = text.removeprefix(VARIABLE)
        if not env.get(name):
            raise InputError(f"variable {name!r} is empty", source="oidc", fix=f"let the job have id_tokens: {name}: …")
        return lambda: Secret(env[name])
    if not (env.get(_URL) and env.get(_REQUEST_TOKEN)):
        fix = "give the job `permissions: id-token: write`; elsewhere write env:NAME of a variable that holds the token"
        raise InputError(f"{_URL} is not set: this job may not ask for a token", source="oidc", fix=fix)
    return lambda: request_token(env[_URL], Secret(env[_REQUEST_TOKEN]), text)


def request_token(url: str, password: Secret, audience: str) -> Secret:
    """Request a token for ``audience`` from GitHub's runner, with retries. Raises Unauthorized."""
    import requests

    reason = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE * 2**attempt)
        try:
            answer = http_calls.send_request(
                "GET", url, params={"audience": audience}, headers=make_bearer_header(password), timeout=_TIMEOUT
            )
        except requests.RequestException as cause:
            # The exception's text may contain the whole URL.
            reason = f"no answer ({type(cause).__name__})"
            continue
        if answer.ok:
            return _read_token(answer.content)
        reason = f"HTTP {answer.status_code}"
        if answer.status_code < 500 and answer.status_code != 429:
            break
    raise Unauthorized(f"the runner gave no OIDC token for {audience!r}: {reason}")


def _read_token(content: bytes) -> Secret:
    try:
        value = json.loads(content)["value"]
    except (ValueError, KeyError, TypeError, RecursionError):
        value = None
    if not isinstance(value, str) or not value:
        raise Unauthorized("the runner gave no OIDC token: its answer has none")
    return Secret(value)
