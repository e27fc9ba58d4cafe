"""The devcluster's registries as any client sees them; `python -m devcluster up` has started them."""

import pytest

from devcluster import layout, registry
from devcluster.layout import Cluster
from devcluster.registry import Registry


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return layout.cluster(layout.default_name())


@pytest.fixture(scope="session")
def registries(cluster: Cluster) -> dict[str, Registry]:
    return {server.name: server for server in registry.registries(cluster)}
