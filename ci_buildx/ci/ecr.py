"""Logins to AWS's registries with an access key, as in docker/login-action 4.1 (``src/aws.ts``).

The key signs one request (Signature Version 4, AWS General Reference, "Signing AWS API requests"). The response is a
password for twelve hours. The secret key itself is never sent.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from ci_buildx.errors import RegistryError
from ci_buildx.model.documents import parse_json
from ci_buildx.model.record import dataclass
from ci_buildx.model.secret import Secret

USER = "AWS"
"""User name of every password that AWS returns."""
PUBLIC = "public.ecr.aws"
_PRIVATE = re.compile(
    r"(?P<account>\d{12})\.dkr(?:\.|-)ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\."
    r"(?P<domain>on\.aws|on\.amazonwebservices\.com\.cn|amazonaws\.com\.cn|amazonaws\.com|amazonaws\.eu)"
)
_PUBLIC_REGION = "us-east-1"
_DOMAINS = {"on.aws": "amazonaws.com", "on.amazonwebservices.com.cn": "amazonaws.com.cn"}
"""Registries' newer domains and the API's domain for each, which is still the older one."""
_TYPE = "application/x-amz-json-1.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """An access key of AWS; ``session`` is the session token of a temporary one."""

    name: str
    secret: Secret
    session: Secret = Secret("")


@dataclass(frozen=True, slots=True, kw_only=True)
class _EcrService:
    name: str
    region: str
    url: str
    target: str
    body: bytes


def is_registry(host: str) -> bool:
    """Return whether a registry is AWS's."""
    return host == PUBLIC or _PRIVATE.fullmatch(host) is not None


def read_key(env: Mapping[str, str]) -> AccessKey | None:
    """Return the environment's access key, or None."""
    name, secret = env.get("AWS_ACCESS_KEY_ID", ""), env.get("AWS_SECRET_ACCESS_KEY", "")
    if not (name and secret):
        return None
    return AccessKey(name=name, secret=Secret(secret), session=Secret(env.get("AWS_SESSION_TOKEN", "")))


def fetch_passwords(
    host: str, key: AccessKey, env: Mapping[str, str], *, now: datetime | None = None
) -> dict[str, Secret]:
    """Fetch passwords for ``host`` and for the other accounts in ``AWS_ACCOUNT_IDS``, by registry.

    ``AWS_ENDPOINT_URL_ECR`` and ``AWS_ENDPOINT_URL`` replace the API's address, as in AWS's own programs.
    Raises RegistryError, which contains no part of the key.
    """
    from ci_buildx.registry.connection import RegistryConnection, RegistryRequest
    from ci_buildx.registry.trust import RegistryTrust

    service = _find_service(host, env)
    connection = RegistryConnection(RegistryTrust())
    try:
        headers = _make_headers(service, key, now or datetime.now(UTC))
        answer = connection.send(
            RegistryRequest(
                method="POST", url=service.url, headers=headers, body=lambda: service.body, limit=1 << 20, follows=False
            )
        )
    finally:
        connection.close()
    try:
        document = parse_json(answer.body)
    except ValueError:
        document = {}
    document = document if isinstance(document, dict) else {}
    if answer.status != 200:
        raise _make_error(host, answer.status, document)
    found = document.get("authorizationData") or []
    entries = found if isinstance(found, list) else [{**found, "proxyEndpoint": f"https://{PUBLIC}"}]
    try:
        read = {urlsplit(entry["proxyEndpoint"]).netloc: _read_password(entry) for entry in entries}
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryError(f"AWS returned an invalid response to the login for {host}") from error
    if not read:
        raise RegistryError(f"AWS returned no password for {host}")
    return {host: read.get(host) or next(iter(read.values())), **read}


def sign_request(
    headers: Mapping[str, str], body: bytes, key: AccessKey, *, service: str, region: str, now: datetime
) -> str:
    """Return the Authorization header for a POST to ``/``. ``headers`` have lower-case names, in alphabetical order."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = b"AWS4" + key.secret.reveal()
    for part in (*scope.split("/"), text):
        signature = hmac.new(signature, part.encode(), hashlib.sha256).digest()
    credential = f"AWS4-HMAC-SHA256 Credential={key.name}/{scope}"
    return f"{credential}, SignedHeaders={names}, Signature={signature.hex()}"


def _make_headers(service: _EcrService, key: AccessKey, now: datetime) -> dict[str, str]:
    headers = {
        "content-type": _TYPE,
        "host": urlsplit(service.url).netloc,
        "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
        **({"x-amz-security-token": key.session.reveal_text()} if len(key.session) else {}),
        "x-amz-target": service.target,
    }
    signed = sign_request(headers, service.body, key, service=service.name, region=service.region, now=now)
    return {**headers, "Authorization": signed}


def _find_service(host: str, env: Mapping[str, str]) -> _EcrService:
    private = _PRIVATE.fullmatch(host)
    if private is None:
        region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or _PUBLIC_REGION
        return _EcrService(
            name="ecr-public",
            region=region,
            url=_read_address("ECR_PUBLIC", f"https://api.ecr-public.{region}.amazonaws.com", env),
            target="SpencerFrontendService.GetAuthorizationToken",
            body=b"{}",
        )
    region, domain = private["region"], _DOMAINS.get(private["domain"], private["domain"])
    others = (account.strip() for account in env.get("AWS_ACCOUNT_IDS", "").split(","))
    accounts = list(dict.fromkeys((private["account"], *(account for account in others if account))))
    return _EcrService(
        name="ecr",
        region=region,
        url=_read_address("ECR", f"https://api.ecr.{region}.{domain}", env),
        target="AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
        body=json.dumps({"registryIds": accounts}).encode(),
    )


def _read_address(service: str, usual: str, env: Mapping[str, str]) -> str:
    named = env.get(f"AWS_ENDPOINT_URL_{service}") or env.get("AWS_ENDPOINT_URL") or usual
    return f"{named.rstrip('/')}/"


def _read_password(entry: Mapping[str, Any]) -> Secret:
    user, colon, password = b64decode(entry["authorizationToken"], validate=True).partition(b":")
    if user != USER.encode() or not colon or not password:
        raise ValueError
    return Secret(password)


def _make_error(host: str, status: int, document: Mapping[str, Any]) -> RegistryError:
    kind = str(document.get("__type", "")).rpartition("#")[2] or f"status {status}"
    fix = "check the access key in username and password, and its permission ecr:GetAuthorizationToken"
    return RegistryError(f"AWS refused the login for {host}: {kind}", fix=fix)
