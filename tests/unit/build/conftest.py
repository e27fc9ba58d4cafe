"""What tests of builds share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.build.whole_build import WholeBuild
from tests.unit.memory_cluster import MemoryCluster


@pytest.fixture
def build(memory_cluster: MemoryCluster, tmp_path: Path) -> WholeBuild:
    """A build on a cluster in memory, which the test runs."""
    folder = tmp_path / "context"
    folder.mkdir()
    return WholeBuild(cluster=memory_cluster, folder=folder)
