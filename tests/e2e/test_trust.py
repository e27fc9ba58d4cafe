"""A builder that lasts is for the runs of its own trust scope, and for those of protected refs."""

from __future__ import annotations

from pathlib import Path

from ci_buildx.build.context.origin import TRUST_SCOPE
from tests.e2e.cluster import Builders
from tests.e2e.product import Product

FORK = "fork:mallory/app"


def test_a_fork_does_not_build_on_a_builder_of_others(product: Product, context: Path, builders: Builders) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    kept = product.build("--keep", str(context))
    assert kept.code == 0, kept.stderr
    try:
        refused = product.with_env(**{TRUST_SCOPE: FORK}).build(
            "--builder", kept.builder, str(context), own_builder=False
        )
        assert refused.code == 2
        assert f"builder {kept.builder!r} is not allowed for runs of trust scope {FORK!r}" in refused.stderr
        assert product.build("--builder", kept.builder, str(context), own_builder=False).code == 0
    finally:
        assert product.run("rm", kept.builder).code == 0
    assert builders.left() == []
