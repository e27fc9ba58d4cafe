"""Fault tests use the same cluster, registry and product as the end-to-end tests."""

from tests.e2e.conftest import (
    builders,
    buildkitd_config,
    context,
    kube,
    name,
    open_registry,
    product,
    reference,
)

__all__ = ["builders", "buildkitd_config", "context", "kube", "name", "open_registry", "product", "reference"]
