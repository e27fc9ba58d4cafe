"""What tests of registries share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.registry.scripted import Registry, scripted


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry that answers as the test tells it."""
    with scripted() as served:
        yield served
