"""Files that buildkitd.toml names: in the pod, in the objects, and for our own client."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ci_buildx.builder import identity, plan
from ci_buildx.builder.cluster_facts import ClusterFacts
from ci_buildx.builder.lifecycle import find
from ci_buildx.builder.manifests import buildkitd, objects, registries
from ci_buildx.builder.manifests.draft import BuilderSpec
from ci_buildx.errors import InputError, RegistryError
from ci_buildx.registry.client import RegistryClient
from ci_buildx.registry.connection import RequestPatience
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.registry.trust import RegistryTrust
from ci_buildx.settings.assembly import make_builder_settings
from ci_buildx.settings.builder import BuilderSettings
from tests.unit.builder.manifests.samples import CERTIFICATES, ORIGIN
from tests.unit.kube.authority import Authority

HOST = "registry.example:5000"


@pytest.fixture
def authority() -> Authority:
    """A certificate authority of the test's own."""
    return Authority()


@pytest.fixture
def settings(tmp_path: Path, authority: Authority) -> BuilderSettings:
    """Settings whose buildkitd.toml names files of ``authority``."""
    return declared(tmp_path, authority, HOST)


def declared(folder: Path, authority: Authority, host: str, **more: str) -> BuilderSettings:
    """A builder whose buildkitd.toml names files beside it."""
    pair = authority.issue("client")
    (folder / "ca.crt").write_bytes(authority.pem)
    (folder / "client.crt").write_bytes(pair.certificate)
    (folder / "client.key").write_bytes(pair.key.reveal())
    table = f'[registry."{host}"]\nca = ["ca.crt"]\n'
    table += f'[[registry."{host}".keypair]]\nkey = "client.key"\ncert = "client.crt"\n'
    (folder / "buildkitd.toml").write_text(table)
    return make_builder_settings({"buildkitd-config": "buildkitd.toml", **more}, {}, {}, folder)


def made(settings: BuilderSettings) -> tuple[BuilderSpec, plan.Plan]:
    name = identity.make_identity(ORIGIN, suffix="x")
    draft = BuilderSpec(identity=name, location=find.locate_job_builder(name, settings), settings=settings, expires="")
    return draft, plan.make_plan((), ClusterFacts(), settings)


def test_the_files_are_where_the_configuration_says(settings: BuilderSettings) -> None:
    draft, planned = made(settings)
    pod = objects.make_job(draft, planned.nodes[0])["spec"]["template"]["spec"]
    mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
    there = set()
    for volume in pod["volumes"]:
        source = volume.get("configMap") or volume.get("secret") or {}
        for item in source.get("items", []):
            there.add(f"{mounts[volume['name']]}/{item['path']}")
    table = tomllib.loads(buildkitd.make_files(settings)["buildkitd.toml"])["registry"][HOST]
    named = {*table["ca"], *table["keypair"][0].values()}
    assert named <= there
    assert {Path(name).parent for name in named} == {Path(f"/etc/buildkit/{kind}/{HOST}") for kind in ("certs", "keys")}
    # What is in this folder is trusted for everything, as soon as ca-certificates are given.
    assert [name for name in there if name.startswith("/etc/buildkit/config/")] == [
        "/etc/buildkit/config/buildkitd.toml"
    ]


def test_keys_are_in_the_secret_alone(settings: BuilderSettings) -> None:
    draft, planned = made(settings)
    secret = objects.make_job_secret(draft, CERTIFICATES, ())
    key = settings.registry_files[0].keypairs[0].key.reveal()
    assert key in {base64.b64decode(content) for content in secret["data"].values()}
    for seen in (objects.make_job_config_map(draft, ()), objects.make_job(draft, planned.nodes[0])):
        assert b"PRIVATE KEY" not in json.dumps(seen).encode()
    assert "PRIVATE KEY" not in repr(settings)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('ca = ["absent.crt"]', "cannot read 'absent.crt': No such file or directory; name a file on this machine"),
        ('ca = ["noise"]', "'noise' is not a PEM file"),
        ('ca = "ca.crt"', "ca is not a list of files"),
        ('keypair = [{key = "ca.crt", cert = "absent"}]', "cannot read 'absent'"),
        (
            'keypair = [{key = "client.key", cert = "ca.crt"}]',
            "keypair: 'ca.crt' and 'client.key' do not match; name a certificate and its private key",
        ),
        ('keypair = [{key = "ca.crt"}]', "keypair is not a list of files"),
    ],
)
@pytest.mark.parametrize("by_file", [True, False])
def test_a_file_that_is_missing_is_refused_before_anything_is_created(
    table: str, said: str, by_file: bool, tmp_path: Path, authority: Authority
) -> None:
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    (tmp_path / "client.key").write_bytes(authority.issue("client").key.reveal())
    (tmp_path / "noise").write_text("noise")
    text = f'[registry."{HOST}"]\n{table}\n'
    (tmp_path / "buildkitd.toml").write_text(text)
    given = {"buildkitd-config": "buildkitd.toml"} if by_file else {"buildkitd-config-inline": text}
    with pytest.raises(InputError) as caught:
        make_builder_settings(dict(given), {}, {}, tmp_path)
    assert str(caught.value).startswith(f'{next(iter(given))}: [registry."{HOST}"]')
    assert said in str(caught.value)


@contextmanager
def serving(context: ssl.SSLContext) -> Iterator[str]:
    """A registry that answers every request with 200, to who gets through TLS; its host."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    near, _ = listener.accept()
                    with suppress(OSError, ssl.SSLError), context.wrap_socket(near, server_side=True) as secure:
                        secure.recv(1 << 16)
                        secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def ping(host: str, trust: RegistryTrust) -> None:
    trust = RegistryTrust(
        secured=frozenset({host}), authorities=trust.authorities, keypairs=trust.keypairs, everywhere=trust.everywhere
    )
    with RegistryClient(CredentialStore([], env={}), trust=trust, patience=RequestPatience(attempts=1)) as client:
        client.ping(host)


def test_our_own_client_trusts_what_the_builder_trusts(tmp_path: Path, authority: Authority) -> None:
    """And shows the certificate that buildkitd shows; a later job knows both from the builder's objects."""
    with serving(authority.server(clients=True)) as host:
        settings = declared(tmp_path, authority, host)
        ping(host, buildkitd.make_registry_trust(settings))
        for file in tmp_path.iterdir():
            file.unlink()
        ping(host, buildkitd.read_registry_trust(buildkitd.make_files(settings), registries.list_keys(settings)))
        with pytest.raises(RegistryError):
            ping(host, buildkitd.read_registry_trust(buildkitd.make_files(settings), {}))


def test_ca_certificates_count_for_our_own_client(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    settings = make_builder_settings({"driver-opts": "ca-certificates=ca.crt"}, {}, {}, tmp_path)
    with serving(authority.server()) as host:
        ping(host, buildkitd.make_registry_trust(settings))
        with pytest.raises(RegistryError, match="create the builder with driver-opt ca-certificates=FILE"):
            ping(host, RegistryTrust())


def test_insecure_registries_count_for_our_own_client(tmp_path: Path) -> None:
    settings = make_builder_settings({"driver-opts": f"insecure-registries={HOST}"}, {}, {}, tmp_path)
    trust = buildkitd.make_registry_trust(settings)
    assert (trust.allows_plain(HOST), trust.has_tls_declaration(HOST)) == (True, True)
