"""Access keys of AWS as user name and password, against a server that checks signatures as AWS does."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.ci import ecr, logins
from ci_buildx.ci import inputs as offered
from ci_buildx.ci.ecr import AccessKey
from ci_buildx.errors import RegistryError
from ci_buildx.model.secret import Secret
from ci_buildx.registry import credentials
from ci_buildx.settings.raw_values import RawValues

SUITE = AccessKey(name="AKIDEXAMPLE", secret=Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"))
"""The key of AWS's own test suite for signatures."""
ACCESS, SECRET, SESSION = "AKIAEXAMPLE", "not-the-secret-key", "session-7"
PRIVATE, OTHER = "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "210987654321.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("headers", "body", "signature"),
    [
        ({}, b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            {"content-type": "application/x-www-form-urlencoded"},
            b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ],
)
def test_signatures_are_those_of_awss_test_suite(headers: dict[str, str], body: bytes, signature: str) -> None:
    """post-vanilla and post-x-www-form-urlencoded."""
    sent = {**headers, "host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}
    now = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
    made = ecr.sign_request(sent, body, SUITE, service="service", region="us-east-1", now=now)
    assert made.endswith(f"Signature={signature}")


class Stand(ThreadingHTTPServer):
    """In the place of AWS's API; ``requests`` are those whose signature is right."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.requests: list[dict[str, Any]] = []
        self.raw = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Stand

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.raw += self.headers.as_bytes() + body
        given = self.headers["Authorization"]
        scope = given.partition("Credential=")[2].split(",")[0].split("/")
        names = given.partition("SignedHeaders=")[2].split(",")[0].split(";")
        headers = {name: self.headers[name] for name in names}
        now = datetime.strptime(self.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        key = AccessKey(name=ACCESS, secret=Secret(SECRET))
        wanted = ecr.sign_request(headers, body, key, service=scope[3], region=scope[2], now=now)
        if given != wanted or abs((datetime.now(UTC) - now).total_seconds()) > 300:
            self._answer(400, {"__type": "com.amazon.coral.service#UnrecognizedClientException", "message": given})
            return
        asked = {"target": self.headers["X-Amz-Target"], "region": scope[2], "headers": headers, **json.loads(body)}
        self.server.requests.append(asked)
        hosts = [f"https://{account}.dkr.ecr.{scope[2]}.amazonaws.com" for account in asked.get("registryIds", [])]
        found: Any = [{"authorizationToken": token(host), "proxyEndpoint": host} for host in hosts]
        self._answer(200, {"authorizationData": found or {"authorizationToken": token("public")}})

    def _answer(self, status: int, document: object) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def token(host: str) -> str:
    return b64encode(f"AWS:password for {host}".encode()).decode()


@pytest.fixture
def stand() -> Iterator[Stand]:
    """A server in place of AWS's API; it checks signatures."""
    with Stand() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def read(stand: Stand, env: dict[str, str] | None = None, **given: str) -> tuple[logins.LoginInput, ...]:
    around = {"AWS_ENDPOINT_URL": stand.url, "PATH": "/nowhere", **(env or {})}
    return logins.read_logins(
        RawValues(given, {name: f"input {name}" for name in given}, around, Path("/"), offered.BY_NAME)
    )


@pytest.mark.parametrize(
    ("registry", "target", "region"),
    [
        (PRIVATE, "AmazonEC2ContainerRegistry_V20150921", "eu-west-1"),
        (f"https://{PRIVATE}/team/app", "AmazonEC2ContainerRegistry_V20150921", "eu-west-1"),
        ("123456789012.dkr-ecr.us-east-2.on.aws", "AmazonEC2ContainerRegistry_V20150921", "us-east-2"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "AmazonEC2ContainerRegistry_V20150921", "cn-north-1"),
        ("public.ecr.aws", "SpencerFrontendService", "us-east-1"),
    ],
)
def test_a_key_gets_a_password(registry: str, target: str, region: str, stand: Stand, tmp_path: Path) -> None:
    found = read(stand, registry=registry, username=ACCESS, password=SECRET)
    (asked,) = stand.requests
    assert (asked["target"], asked["region"]) == (f"{target}.GetAuthorizationToken", region)
    assert SECRET.encode() not in stand.raw
    env = {"HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path / "x")}
    logins.write_docker_config(found, env, tmp_path / "made")
    login = credentials.load_credentials({**env, "DOCKER_CONFIG": str(tmp_path / "made")}).lookup(found[0].registry)
    assert login is not None
    assert (login.username, login.secret.reveal_text()[:13]) == ("AWS", "password for ")
    assert SECRET not in (tmp_path / "made/config.json").read_text()
    assert {one.reveal_text() for login in found for one in login.secrets} >= {SECRET, login.secret.reveal_text()}


def test_other_accounts_get_theirs(stand: Stand) -> None:
    accounts = {"AWS_ACCOUNT_IDS": "123456789012,210987654321"}
    found = read(stand, accounts, registry=PRIVATE, username=ACCESS, password=SECRET)
    assert {login.registry for login in found} == {PRIVATE, OTHER}
    assert stand.requests[0]["registryIds"] == ["123456789012", "210987654321"]


def test_the_keys_of_the_environment_stand_in_for_the_program(stand: Stand) -> None:
    """With the session of a key that expires, as aws-actions/configure-aws-credentials sets it."""
    env = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": SESSION}
    (login,) = read(stand, env, registry=PRIVATE)
    assert login.username == "AWS"
    assert stand.requests[0]["headers"]["x-amz-security-token"] == SESSION


@pytest.mark.parametrize(
    "given",
    [
        {"registry": PRIVATE, "username": "AWS", "password": SECRET},
        {"registry": PRIVATE, "username": ACCESS, "password": SECRET, "ecr": "false"},
        {"registry": "evil.example", "username": ACCESS, "password": SECRET},
        {"registry": f"{PRIVATE}.evil.example", "username": ACCESS, "password": SECRET},
    ],
)
def test_other_logins_are_as_given(given: dict[str, str], stand: Stand) -> None:
    (login,) = read(stand, None, **given)
    assert (login.username, login.password.reveal_text()) == (given["username"], SECRET)
    assert stand.requests == []


def test_a_wrong_key_is_refused_by_name(stand: Stand) -> None:
    with pytest.raises(RegistryError) as caught:
        read(stand, registry=PRIVATE, username=ACCESS, password="wrong-secret")
    said = f"AWS refused the login for {PRIVATE}: UnrecognizedClientException; check the access key"
    assert str(caught.value).startswith(said)
    assert "wrong-secret" not in str(caught.value)
    assert ACCESS not in str(caught.value)
