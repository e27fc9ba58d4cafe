"""Fault tests use the same cluster, registry and product as the end-to-end tests."""

from tests.e2e.conftest import (
    builders,
    context,
    name,
    open_registry,
    reference,
    team_builders,
)

__all__ = ["builders", "context", "name", "open_registry", "reference", "team_builders"]
