"""What end-to-end tests share: the cluster's registry, a context of the test's own, and the builders made from it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_buildx.kube import config
from ci_buildx.kube.client import KubeClient
from ci_buildx.settings.values import ClusterSettings
from devcluster import buildkitd, layout, registry
from devcluster.registry import Registry
from tests.e2e.cluster import Builders
from tests.e2e.product import Product


@pytest.fixture(scope="session")
def kube(cluster_env: dict[str, str]) -> Iterator[KubeClient]:
    with KubeClient(config.load_cluster(ClusterSettings(), env=cluster_env)) as client:
        yield client


@pytest.fixture(scope="session")
def open_registry(cluster_env: dict[str, str]) -> Registry:
    return next(found for found in registry.registries(layout.cluster()) if found.address == cluster_env["REGISTRY"])


@pytest.fixture(scope="session")
def buildkitd_config(open_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("buildkitd") / "buildkitd.toml"
    path.write_text(buildkitd.configuration(registry.registries(layout.cluster())))
    return path


@pytest.fixture
def name() -> str:
    """A name that no other test has: of the context, and so of its builders, and of the repository pushed to."""
    return f"app-{secrets.token_hex(4)}"


@pytest.fixture
def context(tmp_path: Path, name: str) -> Path:
    """An empty context."""
    folder = tmp_path / name
    folder.mkdir()
    return folder


@pytest.fixture
def product(tmp_path: Path, product_env: dict[str, str], buildkitd_config: Path) -> Product:
    return Product(cwd=tmp_path, env=product_env, config=buildkitd_config)


@pytest.fixture
def builders(kube: KubeClient, name: str) -> Builders:
    return Builders(kube, name)


@pytest.fixture
def reference(open_registry: Registry, name: str) -> str:
    return f"{open_registry.address}/e2e/{name}:1"
