"""A buildkitd for all comparisons."""

from collections.abc import Iterator

import pytest

from devcluster.parity import clients
from devcluster.parity.clients import Arena


@pytest.fixture(scope="session")
def arena(cluster_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """A buildkitd on which kube-builder and buildx build the same, for the whole session."""
    with clients.opened(cluster_env["REGISTRY"], tmp_path_factory.mktemp("arena")) as opened:
        yield opened
