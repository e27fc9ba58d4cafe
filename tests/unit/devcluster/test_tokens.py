"""The token server against distribution's specification (docs/spec/auth/token.md, oauth.md, scope.md, jwt.md)."""

import base64
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.model.secret import Secret
from devcluster import pki, scopes
from devcluster.scopes import Account, Scope
from devcluster.tokens import Issuer, TokenService

NOW = 1_700_000_000
SERVICE = "registry.test:5002"
EVERYTHING = "repository:team/app:pull,push"


@pytest.fixture(scope="module")
def certificate() -> x509.Certificate:
    """The certificate of the token server."""
    return pki.certificate(pki.Subject(name="tokens"), KEY, issuer=None)


KEY = pki.new_key()


@pytest.fixture
def service(certificate: x509.Certificate) -> TokenService:
    """The token server's logic, with two accounts and a fixed clock."""
    issuer = Issuer(
        name="issuer",
        service=SERVICE,
        key=KEY,
        certificate=certificate.public_bytes(Encoding.DER),
        clock=lambda: NOW + 0.9,
    )
    accounts = {
        "builder": Account(password=Secret("s3cret"), grants={"*": frozenset({"pull", "push", "delete"})}),
        "reader": Account(password=Secret("pässword"), grants={"team/*": frozenset({"pull"})}),
        "": Account(password=Secret(""), grants={"public/*": frozenset({"pull"})}),
    }
    return TokenService(issuer=issuer, accounts=accounts)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def ask(*scopes: str, **further: str) -> dict[str, list[str]]:
    return {"service": [SERVICE], "scope": list(scopes), **{name: [value] for name, value in further.items()}}


def decode(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def access(token: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = decode(token.split(".")[1])["access"]
    return found


def test_a_token_is_signed_by_the_certificate_it_carries(service: TokenService, certificate: x509.Certificate) -> None:
    token = service.get(ask(EVERYTHING), basic("builder", "s3cret")).body["token"]
    header, claims, signature = token.split(".")
    assert decode(header) == {
        "typ": "JWT",
        "alg": "ES256",
        "x5c": [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()],
    }
    numbers = base64.urlsafe_b64decode(signature + "==")
    assert len(numbers) == 64
    encoded = encode_dss_signature(int.from_bytes(numbers[:32]), int.from_bytes(numbers[32:]))
    public = certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(encoded, f"{header}.{claims}".encode(), ec.ECDSA(SHA256()))


def test_the_claims_are_those_that_the_registry_checks(service: TokenService) -> None:
    claims = decode(service.get(ask(EVERYTHING), basic("builder", "s3cret")).body["token"].split(".")[1])
    identity = claims.pop("jti")
    assert len(identity) == 32
    assert claims == {
        "iss": "issuer",
        "sub": "builder",
        "aud": SERVICE,
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 300,
        "access": [{"type": "repository", "name": "team/app", "actions": ["pull", "push"]}],
    }


def test_a_get_answers_under_both_names(service: TokenService) -> None:
    answer = service.get(ask(EVERYTHING), basic("builder", "s3cret"))
    assert answer.status == 200
    assert answer.body["token"] == answer.body["access_token"]
    assert answer.body["expires_in"] >= 60
    assert answer.body["issued_at"] == "2023-11-14T22:13:20Z"
    assert "refresh_token" not in answer.body


def test_more_than_is_granted_is_no_error_but_cut(service: TokenService) -> None:
    answer = service.get(ask(EVERYTHING, "repository:other/app:pull"), basic("reader", "pässword"))
    assert answer.status == 200
    assert access(answer.body["token"]) == [{"type": "repository", "name": "team/app", "actions": ["pull"]}]
    assert answer.body["scope"] == "repository:team/app:pull"


def test_a_stranger_gets_what_is_public(service: TokenService) -> None:
    answer = service.get(ask("repository:public/app:pull,push", EVERYTHING), "")
    assert answer.status == 200
    assert access(answer.body["token"]) == [{"type": "repository", "name": "public/app", "actions": ["pull"]}]


@pytest.mark.parametrize(
    "authorization",
    [
        basic("builder", "wrong"),
        basic("nobody", "s3cret"),
        basic("", ""),
        basic("builder", ""),
        "Basic ???",
        "Basic /w==",
        "Basic",
        "Bearer s3cret",
    ],
)
def test_wrong_credentials_are_401(service: TokenService, authorization: str) -> None:
    answer = service.get(ask(EVERYTHING), authorization)
    assert answer.status == 401
    assert "token" not in answer.body


def test_another_registrys_service_is_refused(service: TokenService) -> None:
    query = {**ask(EVERYTHING), "service": ["elsewhere"]}
    assert service.get(query, basic("builder", "s3cret")).status == 400


@pytest.mark.parametrize("scope", ["repository", "repository:name", ":name:pull", "repository::pull"])
def test_a_malformed_scope_is_400(service: TokenService, scope: str) -> None:
    answer = service.get(ask(scope), basic("builder", "s3cret"))
    assert (answer.status, answer.body["error"]) == (400, "invalid_scope")


def test_a_login_asks_for_no_scope(service: TokenService) -> None:
    answer = service.get({"service": [SERVICE]}, basic("builder", "s3cret"))
    assert answer.status == 200
    assert access(answer.body["token"]) == []


def password_form(**further: str) -> dict[str, list[str]]:
    return ask(EVERYTHING, grant_type="password", username="builder", password="s3cret", client_id="test", **further)


def test_a_password_is_granted_by_post(service: TokenService) -> None:
    answer = service.post(password_form())
    assert answer.status == 200
    assert access(answer.body["access_token"])[0]["actions"] == ["pull", "push"]
    assert answer.body["scope"] == EVERYTHING
    assert "refresh_token" not in answer.body


def test_a_refresh_token_gets_access_for_its_owner_and_stays_the_same(service: TokenService) -> None:
    refresh = service.post(password_form(access_type="offline")).body["refresh_token"]
    form = ask("repository:other/app:push", grant_type="refresh_token", refresh_token=refresh, client_id="test")
    answer = service.post(form)
    assert answer.status == 200
    assert answer.body["refresh_token"] == refresh
    assert decode(answer.body["access_token"].split(".")[1])["sub"] == "builder"
    assert answer.body["scope"] == "repository:other/app:push"


def test_a_get_gives_a_refresh_token_to_those_who_log_in(service: TokenService) -> None:
    query = ask(EVERYTHING, offline_token="true")
    assert service.get(query, basic("builder", "s3cret")).body["refresh_token"]
    assert "refresh_token" not in service.get(query, "").body


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({**password_form(), "password": ["wrong"]}, 401, "invalid_grant"),
        (ask(EVERYTHING, grant_type="refresh_token", refresh_token="unknown"), 401, "invalid_grant"),
        (ask(EVERYTHING, grant_type="refresh_token"), 401, "invalid_grant"),
        (ask(EVERYTHING, grant_type="authorization_code"), 400, "unsupported_grant_type"),
        ({}, 400, "unsupported_grant_type"),
    ],
)
def test_a_bad_post_is_refused(service: TokenService, form: dict[str, list[str]], status: int, error: str) -> None:
    answer = service.post(form)
    assert (answer.status, answer.body["error"]) == (status, error)


def test_scopes_may_share_a_parameter_and_names_hold_colons() -> None:
    assert scopes.parse(["repository:host:5000/a:pull registry:catalog:*", "repository(plugin):b:"]) == (
        Scope(type="repository", name="host:5000/a", actions=("pull",)),
        Scope(type="registry", name="catalog", actions=("*",)),
        Scope(type="repository", name="b", actions=()),
    )


@given(st.lists(st.text(max_size=40), max_size=4))
def test_any_text_is_a_scope_or_a_value_error(texts: list[str]) -> None:
    try:
        read = scopes.parse(texts)
    except ValueError as error:
        assert "malformed scope" in str(error)
    else:
        assert all(scope.type and scope.name for scope in read)
