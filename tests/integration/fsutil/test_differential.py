"""A sample of what the soak run does with more seeds."""

from pathlib import Path

import pytest

from tests.integration.fsutil import differential


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled Go program that walks with fsutil itself."""
    return differential.build(tmp_path_factory.mktemp("program"))


@pytest.mark.timeout(900)
def test_we_send_what_fsutil_sends(program: Path) -> None:
    assert list(differential.differences(range(40), program)) == []
