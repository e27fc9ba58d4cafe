"""``moby.filesync.v1.Auth``: the logins of registries, one host at a time and only when buildkitd asks.

Source: BuildKit 0.34.2, ``session/auth``. Only ``Credentials`` is served: buildkitd, told of no token authority,
then fetches tokens itself with them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from ci_buildx.errors import KubeBuilderError
from ci_buildx.model.secret import Secret
from ci_buildx.session.call import Call
from ci_buildx.session.messages import CREDENTIALS_REQUEST, CREDENTIALS_RESPONSE, CredentialsResponse
from ci_buildx.session.status import Status


class Login(Protocol):
    """What a registry wants to see. An identity token, where there is one, counts instead of the rest."""

    @property
    def username(self) -> str:
        """The account."""

    @property
    def secret(self) -> Secret:
        """Its password."""

    @property
    def identity_token(self) -> Secret | None:
        """An OAuth2 refresh token."""


Lookup = Callable[[str], Login | None]


class Auth:
    """``lookup`` finds the login for a host; a KubeBuilderError of its makes the pull or push fail with its text."""

    methods = ("/moby.filesync.v1.Auth/Credentials",)

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def accept(self, call: Call) -> None:
        """Answer a Credentials call, in a thread of its own: looking up may run a program and take its time."""

        def answer(message: bytes) -> None:
            host = CREDENTIALS_REQUEST.decode(message).host
            threading.Thread(target=self._answer, args=(call, host), name="credentials", daemon=True).start()

        call.on_message = answer

    def _answer(self, call: Call, host: str) -> None:
        try:
            login = self._lookup(host)
        except KubeBuilderError as error:
            call.finish(Status.UNKNOWN, f"no credentials for {host}: {error}")
            return
        except BaseException:
            call.finish(Status.INTERNAL, f"looking for the credentials of {host} failed")
            raise
        call.reply(CREDENTIALS_RESPONSE.encode(_response(login)))


def _response(login: Login | None) -> CredentialsResponse:
    if login is None:
        return CredentialsResponse()
    if login.identity_token is not None:
        return CredentialsResponse(secret=login.identity_token.reveal_text())
    return CredentialsResponse(login.username, login.secret.reveal_text())
