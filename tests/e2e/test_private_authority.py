"""A registry with the certificate of a private authority: what each error advises is done, and then it works."""

from __future__ import annotations

import base64
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from devcluster import layout, registry
from devcluster.registry import Registry
from tests.e2e.cluster import Builders
from tests.e2e.product import Product, Run

PLATFORMS = {"one": "linux/amd64", "two": "linux/amd64,linux/arm64"}
AT_ONCE = 3


@pytest.fixture
def private() -> Registry:
    """The registry with a password, whose certificate is of the devcluster's authority."""
    return registry.registries(layout.cluster())[1]


@pytest.fixture
def job(product: Product, private: Registry) -> Product:
    """The product with a login for the registry; the authority's certificate is a file in its folder."""
    assert private.ca_file
    (product.cwd / "ca.crt").write_bytes(private.ca_file.read_bytes())
    login = base64.b64encode(f"{private.username}:{private.password.reveal_text()}".encode()).decode()
    return product.with_env(DOCKER_AUTH_CONFIG=json.dumps({"auths": {private.address: {"auth": login}}}))


def read_platforms(private: Registry, repository: str, tag: str) -> list[str]:
    """What the index of a tag has, without attestations."""
    answer = requests.get(
        f"{private.url}/v2/{repository}/manifests/{tag}",
        headers={"Accept": "application/vnd.oci.image.index.v1+json"},
        auth=(private.username, private.password.reveal_text()),
        verify=str(private.ca_file),
        timeout=30,
    )
    answer.raise_for_status()
    found = [entry["platform"] for entry in answer.json()["manifests"]]
    return [f"{one['os']}/{one['architecture']}" for one in found if one["os"] != "unknown"]


def read_advice(error: str, private: Registry, folder: Path) -> dict[str, list[str]]:
    """The options that an error advises, each done as it says."""
    section = re.escape(f'[registry."{private.address}"]')
    found = {}
    if re.search(rf"{section} ca\b", error):
        found["ca"] = ["--buildkitd-config", "ca.toml"]
        (folder / "ca.toml").write_text(f'[registry."{private.address}"]\n  ca = ["ca.crt"]\n')
    if re.search(rf"{section} .*insecure = true", error):
        found["insecure"] = ["--buildkitd-config", "insecure.toml"]
        (folder / "insecure.toml").write_text(f'[registry."{private.address}"]\n  insecure = true\n')
    return found


def test_the_advice_of_each_error_works(job: Product, context: Path, private: Registry, builders: Builders) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    repository = f"e2e/{context.name}"

    def push(tag: str, platforms: str, options: list[str]) -> Run:
        target = ("--push", "-t", f"{private.address}/{repository}:{tag}", "--platform", platforms)
        return job.build(*target, *options, str(context), own_builder=False)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        refused = pool.map(lambda name: push(name, PLATFORMS[name], []), PLATFORMS)
        ways: dict[str, list[str]] = {}
        for run in refused:
            assert run.code == 1
            advised = read_advice(run.stderr.splitlines()[-1], private, job.cwd)
            assert advised, run.stderr
            ways |= advised
        assert ways.keys() == {"ca", "insecure"}, ways
        ways["ca-certificates"] = ["--driver-opt", "ca-certificates=ca.crt"]
        tries = [(f"{name}-{way}", PLATFORMS[name], options) for name in PLATFORMS for way, options in ways.items()]
        tries = [each for each in tries if each[0] not in ("one-ca", "one-insecure")]
        for (tag, platforms, _), run in zip(tries, pool.map(lambda each: push(*each), tries), strict=True):
            assert run.code == 0, f"{tag}: {run.stderr}"
            assert read_platforms(private, repository, tag) == platforms.split(",")
    assert builders.left() == []
