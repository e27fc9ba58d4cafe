"""The CI job's own OIDC token as the bearer at the cluster's API: nothing secret has to be stored in the CI system.

GitHub's runner gives a token whenever it is asked (its documentation, "OpenID Connect reference": ``id-token: write``,
``ACTIONS_ID_TOKEN_REQUEST_URL`` and ``…_TOKEN``, in post steps, too); GitLab writes them into the variables that
``id_tokens`` names, once for the job. The API server takes them by structured authentication.
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
"""What stands before the name of a variable that holds the token."""

_URL, _REQUEST_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
_TRIES = 3
_TIMEOUT = 10.0
_PAUSE = 0.5
_SHARE = 0.25
"""The part of its life at whose beginning a token is replaced: what it starts must reach the server in time."""

Fetch = Callable[[], Secret]


class OidcToken:
    """Fetches a token when one is needed, when the last one nears its end, and after a 401. Thread-safe.

    A token's age is measured here from the moment it came, so that the runner's clock may be wrong.
    """

    def __init__(self, fetch: Fetch, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Secret | None = None
        self._stale = 0.0

    def make_headers(self) -> dict[str, str]:
        """The token. Raises InputError or Unauthorized."""
        with self._lock:
            if self._token is None or self._clock() >= self._stale:
                now = self._clock()
                self._token = self._fetch()
                self._stale = now + compute_usable_time(self._token)
            return make_bearer_header(self._token)

    def read_key_pair(self) -> None:
        """Tokens only."""

    def refresh(self) -> bool:
        """Forget the token; the next request fetches another."""
        with self._lock:
            self._token = None
        return True


def compute_usable_time(token: Secret) -> float:
    """Seconds from a JWT's issue until it nears its end, infinite where it does not say. Its reader verifies it."""
    try:
        _, payload, _ = token.reveal_text().split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return (float(claims["exp"]) - float(claims["iat"])) * (1 - _SHARE)
    except (ValueError, KeyError, TypeError, RecursionError):
        return float("inf")


def find_token_source(text: str, env: Mapping[str, str]) -> Fetch:
    """Where the job's token comes from: ``env:NAME``, or an audience to ask GitHub's runner for.

    Raises InputError if it can come from nowhere; the function that is returned raises Unauthorized.
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
    """Ask GitHub's runner for a token. Raises Unauthorized."""
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
            # Its text may have the whole URL in it.
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
