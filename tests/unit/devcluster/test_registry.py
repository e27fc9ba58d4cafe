import base64
import dataclasses
import json
from pathlib import Path

import pytest

from devcluster import layout, pki, registry, tokens
from devcluster.errors import DevclusterError
from devcluster.layout import Cluster


@pytest.fixture
def own_cluster(tmp_path: Path) -> Cluster:
    """A cluster's files with an authority and the registries' configuration."""
    made = layout.cluster("unit", tmp_path)
    pki.ensure_authority(made)
    registry.write(made)
    return made


def test_three_registries_with_one_address_and_a_port_each(own_cluster: Cluster) -> None:
    opened, basic, token = registry.registries(own_cluster)
    assert [opened.name, basic.name, token.name] == ["open", "basic", "token"]
    assert {server.address.rpartition(":")[0] for server in (opened, basic, token)} == {str(own_cluster.address)}
    assert (opened.url, opened.ca_file, opened.username) == (f"http://{opened.address}", None, "")
    assert basic.url == f"https://{basic.address}"
    assert basic.ca_file == token.ca_file == own_cluster.pki / "ca.crt"
    assert opened.mirrors == ("docker.io", "ghcr.io")


def test_passwords_stay_and_are_nobody_elses_to_read(own_cluster: Cluster) -> None:
    before = registry.registries(own_cluster)
    htpasswd = (own_cluster.configuration / "registry.htpasswd").read_text()
    registry.write(own_cluster)
    assert registry.registries(own_cluster) == before
    assert (own_cluster.configuration / "registry.htpasswd").read_text() == htpasswd
    secret = before[1].password.reveal_text()
    for path in own_cluster.state.rglob("*"):
        if path.is_file() and (secret in path.read_text(errors="replace") or path.suffix in (".key", ".htpasswd")):
            assert path.stat().st_mode & 0o077 == 0, path


def test_no_password_is_in_an_argument(own_cluster: Cluster) -> None:
    secret = registry.password(own_cluster, "builder").reveal_text()
    words = [word for service in registry.services(own_cluster) for word in service.command.argv]
    assert not any(secret in word for word in words)
    assert secret not in repr(registry.registries(own_cluster))


def test_a_cluster_that_was_never_up_says_so(tmp_path: Path) -> None:
    with pytest.raises(DevclusterError, match="has no registries yet: run"):
        registry.registries(layout.cluster("absent", tmp_path))


def test_deleting_is_allowed_and_nothing_is_cached_in_memory(own_cluster: Cluster) -> None:
    for server in registry.registries(own_cluster):
        storage = registry.configuration(own_cluster, server)["storage"]
        assert storage["delete"] == {"enabled": True}
        assert "cache" not in storage


def test_registry_and_token_server_agree(own_cluster: Cluster) -> None:
    """What the registry demands of a token is what the server puts into it."""
    *_, server = registry.registries(own_cluster)
    demanded = registry.configuration(own_cluster, server)["auth"]["token"]
    config = registry.token_configuration(own_cluster)
    assert demanded["realm"] == f"https://{own_cluster.address}:{config['port']}/token"
    service = tokens.read_service(json.loads((own_cluster.configuration / "registry-tokens.json").read_text()))
    login = base64.b64encode(f"{server.username}:{server.password.reveal_text()}".encode()).decode()
    answer = service.get({"service": [demanded["service"]]}, f"Basic {login}")
    claims = json.loads(base64.urlsafe_b64decode(answer.body["token"].split(".")[1] + "=="))
    assert (claims["iss"], claims["aud"]) == (demanded["issuer"], demanded["service"])


def test_a_registry_cannot_be_changed(own_cluster: Cluster) -> None:
    opened, *_ = registry.registries(own_cluster)
    with pytest.raises(dataclasses.FrozenInstanceError):
        opened.name = "other"  # type: ignore[misc]
