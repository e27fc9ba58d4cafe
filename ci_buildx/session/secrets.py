"""``moby.buildkit.secrets.v1.Secrets``: the values of ``RUN --mount=type=secret``.

Source: BuildKit 0.34.2, ``session/secrets``: NOT_FOUND means that the secret is missing, which is an error only if the
Dockerfile says ``required``; a secret has at most 500 KiB.
"""

from __future__ import annotations

from collections.abc import Mapping

from ci_buildx.model import debug
from ci_buildx.model.secret import Secret
from ci_buildx.session.call import GrpcStatus, SessionCall
from ci_buildx.session.messages import GET_SECRET_REQUEST, GET_SECRET_RESPONSE, GetSecretResponse

_LOG = debug.get_log("session")
LARGEST = 500 * 1024


class SecretsService:
    """Serves ``secrets`` by their id."""

    methods = ("/moby.buildkit.secrets.v1.Secrets/GetSecret",)

    def __init__(self, secrets: Mapping[str, Secret]) -> None:
        self._secrets = dict(secrets)

    def accept(self, call: SessionCall) -> None:
        """Answer a GetSecret call."""
        call.take_one(lambda message: self._answer(call, GET_SECRET_REQUEST.decode(message).id))

    def _answer(self, call: SessionCall, name: str) -> None:
        secret = self._secrets.get(name)
        _LOG.debug("secret: id %r%s", name, "" if secret is not None else ", which there is not")
        if secret is None:
            call.finish(GrpcStatus.NOT_FOUND, f"secret {name}: not found")
        elif len(secret) > LARGEST:
            call.finish(GrpcStatus.INVALID_ARGUMENT, f"secret {name} has {len(secret)} bytes, more than {LARGEST}")
        else:
            call.reply(GET_SECRET_RESPONSE.encode(GetSecretResponse(secret.reveal())))
