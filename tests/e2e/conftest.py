"""What end-to-end tests share: the cluster's registry, a context of the test's own, and the builders made from it."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from ci_buildx.kube.client import KubeClient
from devcluster import layout, registry
from devcluster.registry import Registry
from tests.e2e import runner_image
from tests.e2e.cluster import Builders
from tests.e2e.runner_image import RunnerImage


@pytest.fixture(scope="session")
def open_registry(cluster_env: dict[str, str]) -> Registry:
    """The devcluster's registry without a login, to which tests push."""
    return next(found for found in registry.registries(layout.cluster()) if found.address == cluster_env["REGISTRY"])


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
def builders(kube: KubeClient, name: str) -> Builders:
    """The builders that builds of ``context`` create, as the administrator sees them."""
    return Builders(kube, name)


@pytest.fixture
def team_builders(kube: KubeClient, name: str) -> Builders:
    """The builders that CI jobs of the repository ``team/NAME`` create, as the administrator sees them."""
    return Builders(kube, f"team/{name}")


@pytest.fixture
def reference(open_registry: Registry, name: str) -> str:
    """The image reference that the test pushes, in a repository of its own."""
    return f"{open_registry.address}/e2e/{name}:1"


@pytest.fixture(scope="session")
def runner(
    tmp_path_factory: pytest.TempPathFactory,
    open_registry: Registry,
    product_env: dict[str, str],
    buildkitd_config: Path,
) -> RunnerImage:
    """The runner image of this checkout for both architectures, built by the product in a release's script."""
    return runner_image.build(tmp_path_factory.mktemp("runner"), open_registry, product_env, buildkitd_config)


@pytest.fixture(scope="session")
def published_runner(runner: RunnerImage, open_registry: Registry) -> RunnerImage:
    """The same, where the devcluster finds it by its public name."""
    runner_image.publish(runner, open_registry)
    return runner
