"""TLS contexts of sessions with registries: made for the first host with TLS, shared by hosts without settings."""

import ssl
from pathlib import Path

import pytest

from ci_buildx.model import tls
from ci_buildx.registry import connection
from ci_buildx.registry.connection import RegistryConnection, RegistryRequest, RequestPatience
from ci_buildx.registry.trust import RegistryTrust
from tests.unit.registry.scripted import Reply, scripted


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[ssl.SSLContext]:
    """The contexts that were made, in order."""
    found: list[ssl.SSLContext] = []
    make = tls.make_client_context

    def watch() -> ssl.SSLContext:
        found.append(make())
        return found[-1]

    monkeypatch.setattr(connection, "make_client_context", watch)
    connection._share_context.cache_clear()
    return found


def find(host: str, trust: RegistryTrust) -> ssl.SSLContext:
    return connection._find_context(host, trust)


def test_a_registry_without_tls_needs_no_authorities(made: list[ssl.SSLContext]) -> None:
    with scripted() as registry:
        registry.on("GET /v2/", Reply(200))
        plain = RegistryConnection(RegistryTrust(), RequestPatience(attempts=1))
        base = plain.find_base(registry.address)
        assert plain.send(RegistryRequest(method="GET", url=f"{base}/v2/")).status == 200
        plain.close()
    assert made == []


def test_hosts_without_settings_share_one_context(made: list[ssl.SSLContext]) -> None:
    trust = RegistryTrust()
    assert find("one.example", trust) is find("two.example", RegistryTrust(plain=frozenset({"other.example"})))
    assert len(made) == 1


def test_a_host_with_authorities_of_its_own_shares_nothing(made: list[ssl.SSLContext], tmp_path: Path) -> None:
    """Another host must not be trusted because of them."""
    with pytest.raises(Exception, match="contains no certificates"):
        find("own.example", RegistryTrust(authorities={"own.example": (tmp_path / "missing.pem",)}))
    trust = RegistryTrust(authorities={"own.example": ()})
    assert find("own.example", trust) is not find("one.example", trust)
    assert len(made) == 3


def test_other_authorities_make_another_context(made: list[ssl.SSLContext], monkeypatch: pytest.MonkeyPatch) -> None:
    first = find("one.example", RegistryTrust())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/other.pem")
    assert find("one.example", RegistryTrust()) is not first
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    assert find("one.example", RegistryTrust()) is first


def test_the_protocols_of_a_shared_context_are_not_set_again(made: list[ssl.SSLContext]) -> None:
    context = find("one.example", RegistryTrust())
    context.set_alpn_protocols(["http/1.1"])
    with pytest.raises(ValueError, match=r"asked by http/1\.1"):
        context.set_alpn_protocols(["h2"])
    assert made == [context]
