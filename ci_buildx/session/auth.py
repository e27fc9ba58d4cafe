"""``moby.filesync.v1.Auth``: what registries ask of buildkitd, one host at a time and only when it asks us.

Source: BuildKit 0.34.2, ``session/auth`` and ``util/resolver/authorizer.go``. For a registry that wants tokens
buildkitd asks for our public key first, and then has every token fetched by us; the login itself it is told only for
one that wants passwords. Told of no token authority, it fetches tokens itself, with the login.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ci_buildx.errors import KubeBuilderError
from ci_buildx.model import debug
from ci_buildx.model.secret import Secret
from ci_buildx.session import tokens
from ci_buildx.session.call import Call, Workers
from ci_buildx.session.messages import (
    CREDENTIALS_REQUEST,
    CREDENTIALS_RESPONSE,
    FETCH_TOKEN_REQUEST,
    FETCH_TOKEN_RESPONSE,
    GET_TOKEN_AUTHORITY_REQUEST,
    TOKEN_AUTHORITY_RESPONSE,
    VERIFY_TOKEN_AUTHORITY_REQUEST,
    CredentialsResponse,
    FetchTokenResponse,
    TokenAuthorityResponse,
)
from ci_buildx.session.tokens import TokenRequest, TokenSource

_LOG = debug.get_log("session")
_SERVICE = "/moby.filesync.v1.Auth/"


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


THREADS = 16
"""Questions about logins that are answered at once; more wait."""

Lookup = Callable[[str], Login | None]


class Auth:
    """``lookup`` finds the login for a host, ``source`` fetches tokens; without it logins are told to buildkitd.

    A KubeBuilderError of theirs makes the pull or push fail with its text.
    """

    def __init__(self, lookup: Lookup, source: TokenSource | None = None) -> None:
        self._lookup = lookup
        self._workers = Workers("auth", limit=THREADS)
        self._answers: dict[str, Callable[[bytes], bytes]] = {_SERVICE + "Credentials": self._credentials}
        if source is not None:
            authority = _Authority(source)
            self._answers |= {
                _SERVICE + "FetchToken": authority.fetch,
                _SERVICE + "GetTokenAuthority": authority.key,
                _SERVICE + "VerifyTokenAuthority": authority.verify,
            }

    @property
    def methods(self) -> tuple[str, ...]:
        """The calls that are served."""
        return tuple(self._answers)

    def accept(self, call: Call) -> None:
        """Answer a call, in a thread of its own: it may run a program or ask a server, and take its time."""
        answer = self._answers[call.path]
        call.take_one(lambda message: self._workers.submit(call, lambda: call.reply(answer(message))))

    def _credentials(self, message: bytes) -> bytes:
        host = CREDENTIALS_REQUEST.decode(message).host
        _LOG.debug("login: host %s", host)
        try:
            login = self._lookup(host)
        except KubeBuilderError as error:
            raise KubeBuilderError(f"no credentials for {host}: {error}") from error
        return CREDENTIALS_RESPONSE.encode(_response(login))


class _Authority:
    """The calls about tokens."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    def fetch(self, message: bytes) -> bytes:
        asked = FETCH_TOKEN_REQUEST.decode(message)
        _LOG.debug("token: host %s, scopes %s", asked.host, asked.scopes)
        request = TokenRequest(host=asked.host, realm=asked.realm, service=asked.service, scopes=asked.scopes)
        token = self._source.fetch(request)
        # The time of its issue is left out: buildkitd keeps a token for ever whose end is past by its own clock.
        return FETCH_TOKEN_RESPONSE.encode(FetchTokenResponse(token.value.reveal_text(), max(1, int(token.lifetime))))

    def key(self, message: bytes) -> bytes:
        asked = GET_TOKEN_AUTHORITY_REQUEST.decode(message)
        _LOG.debug("key of the token authority: host %s", asked.host)
        key = tokens.public_key(self._source.seed(asked.host), asked.salt)
        return TOKEN_AUTHORITY_RESPONSE.encode(TokenAuthorityResponse(key))

    def verify(self, message: bytes) -> bytes:
        asked = VERIFY_TOKEN_AUTHORITY_REQUEST.decode(message)
        _LOG.debug("signature of the token authority: host %s", asked.host)
        signed = tokens.sign(self._source.seed(asked.host), asked.salt, asked.payload)
        return TOKEN_AUTHORITY_RESPONSE.encode(TokenAuthorityResponse(signed))


def _response(login: Login | None) -> CredentialsResponse:
    if login is None:
        return CredentialsResponse()
    if login.identity_token is not None:
        return CredentialsResponse(secret=login.identity_token.reveal_text())
    return CredentialsResponse(login.username, login.secret.reveal_text())
