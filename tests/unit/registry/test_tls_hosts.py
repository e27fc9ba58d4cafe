"""Trust of hosts in one process, with real TLS: what is declared for one host is not that of another."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ci_buildx.errors import RegistryError
from ci_buildx.model.secret import Secret
from ci_buildx.registry.connection import RegistryConnection, RegistryRequest, RequestPatience
from ci_buildx.registry.trust import RegistryTrust
from tests.unit.kube.authority import Authority
from tests.unit.registry.hostile import Hostile, hostile

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
ROUNDS = 3


@pytest.fixture
def authority() -> Authority:
    """The authority of all servers, which no system trusts."""
    return Authority()


@pytest.fixture
def servers(authority: Authority) -> Iterator[list[Hostile]]:
    """Three registries; the last one demands client certificates."""
    with hostile() as one, hostile() as other, hostile() as strict:
        for server in (one, other, strict):
            server.tls, server.head = authority.server(clients=server is strict), ANSWER
        yield [one, other, strict]


def ask(connection: RegistryConnection, server: Hostile) -> str:
    """Why a request fails, "" if it does not."""
    try:
        connection.send(RegistryRequest(method="GET", url=f"https://{server.address}/v2/"))
    except RegistryError as error:
        return str(error)
    return ""


def test_no_host_gets_the_trust_of_another(authority: Authority, servers: list[Hostile]) -> None:
    declared, plain, strict = servers
    pair = authority.issue("client")
    trust = RegistryTrust(
        authorities={one.address: (authority.pem.decode(),) for one in (declared, strict)},
        keypairs={declared.address: ((Secret(pair.certificate), pair.key),)},
    )
    connection = RegistryConnection(trust, RequestPatience(attempts=1))
    with ThreadPoolExecutor(12) as pool:
        said = list(pool.map(lambda one: (one.address, ask(connection, one)), servers * ROUNDS))
    connection.close()
    assert {line for address, line in said if address == declared.address} == {""}
    assert all("is not trusted" in line for address, line in said if address == plain.address)
    assert all(line for address, line in said if address == strict.address)


def test_a_host_without_verification_changes_no_other(authority: Authority, servers: list[Hostile]) -> None:
    lax, plain, _ = servers
    trust = RegistryTrust(insecure=frozenset({lax.address}), secured=frozenset({lax.address, plain.address}))
    connection = RegistryConnection(trust, RequestPatience(attempts=1))
    for _ in range(ROUNDS):
        assert ask(connection, lax) == ""
        assert "is not trusted" in ask(connection, plain)
    connection.close()


def test_a_file_of_authorities_counts_while_it_is_set(
    authority: Authority, servers: list[Hostile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    server = servers[0]
    for bundle in ("", str(tmp_path / "ca.pem"), ""):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
        connection = RegistryConnection(RegistryTrust(), RequestPatience(attempts=1))
        assert ("is not trusted" in ask(connection, server)) is not bool(bundle)
        connection.close()
