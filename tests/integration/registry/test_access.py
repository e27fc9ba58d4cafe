"""Each registry lets in whom it should, and says why not."""

import pytest

from ci_buildx.errors import RegistryError
from ci_buildx.registry.client import RegistryRepository
from ci_buildx.registry.trust import RegistryTrust
from tests.integration.registry.conftest import Connect, Registries, trust_in, wrong_login
from tests.integration.registry.image import push_image

ALL = ["open", "basic", "token"]


@pytest.mark.parametrize("name", ALL)
def test_ping(registries: Registries, connect: Connect, name: str) -> None:
    connect().ping(registries[name].address)


@pytest.mark.parametrize("name", ALL)
def test_what_was_pushed_can_be_read(registries: Registries, connect: Connect, repository_path: str, name: str) -> None:
    client, repository = connect(), RegistryRepository(registries[name].address, repository_path)
    image = push_image(client, repository, "amd64")
    config = image.fields["config"]
    assert client.read_manifest(repository, image.descriptor.digest) == image
    assert client.has_manifest(repository, image.descriptor.digest)
    assert client.has_blob(repository, config["digest"])
    assert len(client.read_blob(repository, config["digest"])) == config["size"]


@pytest.mark.parametrize("name", ALL)
def test_what_is_not_there_is_404(registries: Registries, connect: Connect, repository_path: str, name: str) -> None:
    with pytest.raises(RegistryError, match=r"MANIFEST_UNKNOWN|NAME_UNKNOWN") as caught:
        connect().read_manifest(RegistryRepository(registries[name].address, repository_path), "none")
    assert caught.value.status == 404


@pytest.mark.parametrize("name", ["basic", "token"])
def test_wrong_password(registries: Registries, connect: Connect, name: str) -> None:
    client = connect(logins={name: wrong_login()})
    with pytest.raises(RegistryError, match=r"login|refuses") as caught:
        client.ping(registries[name].address)
    assert caught.value.status == 401
    assert "wrong'" not in str(caught.value)


def test_no_login(registries: Registries, connect: Connect) -> None:
    with pytest.raises(
        RegistryError, match=r"requires authentication; no credentials found; log in to .* \(docker login\)"
    ):
        connect(logins={}).ping(registries["basic"].address)


@pytest.mark.parametrize("name", ["basic", "token"])
def test_unknown_authority(registries: Registries, connect: Connect, name: str) -> None:
    with pytest.raises(
        RegistryError, match=r"certificate of .* is not trusted: .*; create the builder with driver-opt ca-cert"
    ):
        connect(trust=RegistryTrust()).ping(registries[name].address)


def test_plain_http_that_was_not_declared(registries: Registries, connect: Connect) -> None:
    with pytest.raises(RegistryError, match=r"does not speak TLS; declare \[registry"):
        connect(trust=RegistryTrust()).ping(registries["open"].address)


@pytest.mark.parametrize("name", ["open", "basic"])
def test_a_host_declared_as_http_and_insecure_may_speak_either(
    registries: Registries, connect: Connect, name: str
) -> None:
    host = frozenset({registries[name].address})
    connect(trust=RegistryTrust(plain=host, insecure=host)).ping(registries[name].address)


def test_a_plain_registry_ignores_declared_authorities(
    registries: Registries, connect: Connect, repository_path: str
) -> None:
    client = connect(trust=trust_in(registries))
    assert not client.has_blob(RegistryRepository(registries["open"].address, repository_path), "sha256:" + "0" * 64)
