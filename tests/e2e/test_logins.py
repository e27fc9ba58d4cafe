"""Logins from every place that docker and its kin keep them: images of two platforms go to registries that ask.

buildkitd pushes by digest, and this client joins what the nodes pushed under the tags: each tag shows that both
were let in.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests

from ci_buildx.registry.content import OCI_INDEX
from devcluster import layout, registry
from devcluster.registry import Registry
from tests.e2e.product import Product, Run
from tests.integration.devcluster.registry_client import Client

BOTH = "linux/amd64,linux/arm64"
HELPER = """#!/bin/sh
read server
case "$server" in {cases} *) echo credentials not found in native keychain; exit 1 ;; esac
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A builder that is kept for all logins, a folder for their files, and the registries that want them."""

    product: Product
    builder: str
    folder: Path
    basic: Registry
    token: Registry

    @property
    def both(self) -> tuple[Registry, Registry]:
        return self.basic, self.token

    def push(self, context: Path, env: dict[str, str], *tags: str) -> Run:
        (context / "Dockerfile").write_text("FROM scratch\nCOPY unique /\n")
        (context / "unique").write_text(secrets.token_hex(8))
        product = replace(self.product, cwd=context).with_env(**{"DOCKER_CONFIG": str(self.folder / "none")} | env)
        named = [part for tag in tags for part in ("--tag", tag)]
        return product.build("--builder", self.builder, "--platform", BOTH, "--push", *named, ".", own_builder=False)


@pytest.fixture(scope="module")
def place(
    product_env: dict[str, str], buildkitd_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A running builder for all tests of this module, and the two registries that require a login."""
    folder = tmp_path_factory.mktemp("logins")
    (folder / "context").mkdir()
    (folder / "context" / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (folder / "none").mkdir()
    product = Product(cwd=folder, env=product_env, config=buildkitd_config)
    kept = product.build("--keep", "--platform", BOTH, "context")
    assert kept.code == 0, kept.stderr
    _, basic, token = registry.registries(layout.cluster())
    yield Place(product=product, builder=kept.builder, folder=folder, basic=basic, token=token)
    assert product.run("rm", kept.builder).code == 0


def auths(place: Place) -> dict[str, Any]:
    pairs = {server.address: f"{server.username}:{server.password.reveal_text()}" for server in place.both}
    return {host: {"auth": base64.b64encode(pair.encode()).decode()} for host, pair in pairs.items()}


def written(folder: Path, **document: Any) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "config.json"
    file.write_text(json.dumps(document))
    return file


def docker_config(place: Place, folder: Path) -> dict[str, str]:
    return {"DOCKER_CONFIG": str(written(folder, auths=auths(place)).parent)}


def docker_auth_config(place: Place, folder: Path) -> dict[str, str]:
    return {"DOCKER_AUTH_CONFIG": json.dumps({"auths": auths(place)})}


def registry_auth_file(place: Place, folder: Path) -> dict[str, str]:
    return {"REGISTRY_AUTH_FILE": str(written(folder, auths=auths(place)))}


def helped(place: Place, folder: Path, **document: Any) -> dict[str, str]:
    """An environment with a program that knows the logins."""
    answers = {
        server.address: json.dumps({"Username": server.username, "Secret": server.password.reveal_text()})
        for server in place.both
    }
    config = written(folder, **document)
    program = folder / "docker-credential-known"
    program.write_text(HELPER.format(cases=" ".join(f"{host}) echo '{said}' ;;" for host, said in answers.items())))
    program.chmod(0o755)
    return {"DOCKER_CONFIG": str(config.parent), "PATH": f"{folder}:{os.environ['PATH']}"}


def helpers_by_host(place: Place, folder: Path) -> dict[str, str]:
    return helped(place, folder, credHelpers={server.address: "known" for server in place.both})


def a_store_for_all(place: Place, folder: Path) -> dict[str, str]:
    """As docker leaves it: an empty entry says that the program knows more."""
    return helped(place, folder, credsStore="known", auths={server.address: {} for server in place.both})


@pytest.mark.parametrize(
    "source", [docker_config, docker_auth_config, registry_auth_file, helpers_by_host, a_store_for_all]
)
def test_logins_of_every_source_let_in(
    source: Callable[[Place, Path], dict[str, str]], place: Place, context: Path, tmp_path: Path, name: str
) -> None:
    tags = [f"{server.address}/e2e/{name}:1" for server in place.both]
    run = place.push(context, source(place, tmp_path / "source"), *tags)
    assert run.code == 0, run.stderr
    assert not [server.name for server in place.both if server.password.reveal_text() in run.stderr]
    for server in place.both:
        assert platforms(server, f"e2e/{name}") == {"amd64", "arm64"}


def test_an_identity_token_lets_in_to_several_repositories(
    place: Place, context: Path, tmp_path: Path, name: str
) -> None:
    identity = refresh_token(place.token)
    config = written(tmp_path / "source", auths={place.token.address: {"identitytoken": identity}})
    tags = [f"{place.token.address}/e2e/{name}{more}:1" for more in ("", "-more")]
    run = place.push(context, {"DOCKER_CONFIG": str(config.parent)}, *tags)
    assert run.code == 0, run.stderr
    assert identity not in run.stderr
    for more in ("", "-more"):
        assert platforms(place.token, f"e2e/{name}{more}") == {"amd64", "arm64"}


def test_one_registry_that_refuses_is_named_and_no_tag_is_pushed(
    place: Place, context: Path, tmp_path: Path, name: str
) -> None:
    known = {host: login for host, login in auths(place).items() if host == place.basic.address}
    config = written(tmp_path / "source", auths=known)
    tags = [f"{server.address}/e2e/{name}:1" for server in place.both]
    run = place.push(context, {"DOCKER_CONFIG": str(config.parent)}, *tags)
    assert run.code == 1, run.stderr
    last = run.stderr.splitlines()[-1]
    host = place.token.address
    # The registry is asked while the builder boots; a build that is faster meets the refusal itself.
    if not last.startswith(f"ERROR: pushing to {host}/e2e/{name} failed with status 401: "):
        assert last.startswith(f"ERROR: failed to solve: failed to push {host}/e2e/{name}: ")
        assert "(no tags were pushed); " in last
    assert last.endswith(f"; log in to {host} (docker login) or set DOCKER_AUTH_CONFIG")
    client = Client(place.basic, place.basic.username, place.basic.password)
    assert client.call("GET", f"/v2/e2e/{name}/manifests/1", Accept=OCI_INDEX).status_code == 404


def refresh_token(server: Registry) -> str:
    """What ``docker login`` leaves as identity token (distribution, ``docs/content/spec/auth/token.md``)."""
    challenge = requests.get(f"{server.url}/v2/", verify=str(server.ca_file), timeout=30).headers["WWW-Authenticate"]
    realm = challenge.partition('realm="')[2].partition('"')[0]
    answer = requests.get(
        realm,
        params={"service": server.address, "offline_token": "true", "client_id": "docker"},
        auth=(server.username, server.password.reveal_text()),
        verify=str(server.ca_file),
        timeout=30,
    )
    return str(answer.json()["refresh_token"])


def platforms(server: Registry, repository: str) -> set[str]:
    client = Client(server, server.username, server.password)
    index = client.call("GET", f"/v2/{repository}/manifests/1", Accept=OCI_INDEX).json()
    return {entry["platform"]["architecture"] for entry in index["manifests"]} - {"unknown"}
