"""A CI system's issuer of OIDC tokens, which the API server trusts: `python -m devcluster.issuer CONFIG.json`.

Jobs request a token as from GitHub's runner (its documentation, "OpenID Connect reference"): `GET URL&audience=…` with
the request token as bearer. The fields of the URL's query become the token's claims: `repository`, `ref`, and
`lifetime` in seconds. The API server finds the keys by discovery (OpenID Connect Discovery 1.0, 4).
"""

from __future__ import annotations

import hmac
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from devcluster import jwt, pki, registry
from devcluster.layout import Cluster

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

PORT = 5004
AUDIENCE = "kube-builder"
"""The audience of tokens that the API server accepts."""
PREFIX = "ci:"
"""Prefix that the API server adds to a token's subject: its user is `ci:repo:OWNER/NAME:ref:REF`."""
GROUP = "kube-builder:jobs"
"""The group of main branches' jobs, to which docs/rbac/jobs.yaml grants rights."""
_LIFETIME = 300
_KEY_ID = "issuer"
_REQUESTER = "oidc-requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Answers requests. `url` is its own, without a trailing slash; `password` is the jobs' request token."""

    url: str
    password: str
    key: EllipticCurvePrivateKey

    def discovery(self) -> dict[str, Any]:
        """Return the discovery document, with the URL of the keys."""
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }

    def keys(self) -> dict[str, Any]:
        """Return the public key as a set (RFC 7517, RFC 7518, 6.2.1)."""
        numbers = self.key.public_key().public_numbers()
        x, y = (jwt.base64url(number.to_bytes(32)) for number in (numbers.x, numbers.y))
        return {"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": _KEY_ID, "x": x, "y": y}]}

    def token(self, query: Mapping[str, str], now: float) -> str:
        """Sign a job's token."""
        repository, ref = query["repository"], query.get("ref", "refs/heads/main")
        claims = {
            "iss": self.url,
            "aud": query["audience"],
            "sub": f"repo:{repository}:ref:{ref}",
            "repository": repository,
            "ref": ref,
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now) + int(query.get("lifetime", _LIFETIME)),
        }
        return jwt.sign(self.key, {"kid": _KEY_ID}, claims)

    def allows(self, authorization: str) -> bool:
        """Return whether a request comes from a job."""
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.encode(), self.password.encode())


class _Connection(jwt.JsonConnection):
    issuer: Issuer

    def do_GET(self) -> None:  # noqa: N802 (http.server calls it so)
        url = urlsplit(self.path)
        match url.path:
            case "/healthz":
                self.reply(200, {})
            case "/.well-known/openid-configuration":
                self.reply(200, self.issuer.discovery())
            case "/keys":
                self.reply(200, self.issuer.keys())
            case "/token" if not self.issuer.allows(self.headers.get("Authorization", "")):
                self.reply(401, {"message": "wrong request token"})
            case "/token":
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                self.reply(200, {"count": 1, "value": self.issuer.token(query, time.time())})
            case _:
                self.reply(404, {"message": "not found"})


def url(cluster: Cluster) -> str:
    """Return the issuer's URL, which is also its name."""
    return f"https://{cluster.address}:{PORT}"


def job_variables(cluster: Cluster, **job: str) -> dict[str, str]:
    """Return the variables that GitHub's runner sets with `id-token: write`; `job` becomes the token's claims."""
    return {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{url(cluster)}/token?{urlencode(job)}",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": registry.password(cluster, _REQUESTER).reveal_text(),
    }


def service(cluster: Cluster) -> registry.Service:
    """Return the service; `write` must have created its files."""
    file = _file(cluster)
    return registry.Service(
        name="oidc-issuer",
        command=registry.module("devcluster.issuer", file),
        ready_url=f"{url(cluster)}/healthz",
        ca_file=cluster.pki / "ca.crt",
    )


def write(cluster: Cluster) -> None:
    """Write the configurations of the issuer and of the API server's authentication. Passwords must exist."""
    certificate, key = pki.server_certificate(cluster, "oidc", addresses=[str(cluster.address)])
    _, signing_key = pki.ensure_pair(cluster, registry.OIDC_KEY, pki.Subject(name=registry.OIDC_KEY))
    config = {
        "address": str(cluster.address),
        "port": PORT,
        "certificate": str(certificate),
        "key": str(key),
        "signing_key": str(signing_key),
        "url": url(cluster),
        "password": registry.password(cluster, _REQUESTER).reveal_text(),
    }
    pki.write_private(_file(cluster), json.dumps(config, indent=2).encode())
    trust = json.dumps(authentication(cluster, (cluster.pki / "ca.crt").read_text()), indent=2)
    authentication_file(cluster).write_text(trust)


def authentication(cluster: Cluster, authority: str) -> dict[str, Any]:
    """Return the API server's AuthenticationConfiguration.

    Source: k8s.io/apiserver v0.34.2, ``pkg/apis/apiserver/v1/types.go``.
    """
    issuer = {"url": url(cluster), "audiences": [AUDIENCE], "certificateAuthority": authority}
    username = {"claim": "sub", "prefix": PREFIX}
    groups = {"expression": f"claims.ref == 'refs/heads/main' ? ['{GROUP}'] : []"}
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "jwt": [{"issuer": issuer, "claimMappings": {"username": username, "groups": groups}}],
        "anonymous": {"enabled": True},
    }


def authentication_file(cluster: Cluster) -> Path:
    """Return the path of the API server's AuthenticationConfiguration."""
    return cluster.configuration / "authentication.json"


def _file(cluster: Cluster) -> Path:
    return cluster.configuration / "oidc-issuer.json"


def _read(config: Mapping[str, Any]) -> Issuer:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(Path(config["signing_key"]).read_bytes(), password=None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return Issuer(url=config["url"], password=config["password"], key=key)


if __name__ == "__main__":
    configuration = json.loads(Path(sys.argv[1]).read_text())
    jwt.serve(configuration, type("Connection", (_Connection,), {"issuer": _read(configuration)}))
