"""How often a job of one node asks the API server, with the rights of docs/rbac: at most 25 times."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest

from ci_buildx.build import run
from ci_buildx.kube.exchange import ApiExchange
from ci_buildx.settings.assembly import Value, make_settings
from tests.e2e.cluster import Builders
from tests.e2e.product import Product

MOST = 25


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The path of each request that is sent, tries and upgrades included."""
    paths: list[str] = []
    target = ApiExchange.make_target

    def noted(exchange: ApiExchange, path: str, query: Sequence[tuple[str, str]]) -> str:
        paths.append(path)
        return target(exchange, path, query)

    monkeypatch.setattr(ApiExchange, "make_target", noted)
    return paths


def test_a_job_of_one_node_asks_the_api_server_at_most_25_times(
    product: Product, context: Path, builders: Builders, asked: list[str]
) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN uname -m > /machine\n")
    given: dict[str, Value] = {
        "context": str(context),
        "platforms": "linux/amd64",
        "outputs": f"type=local,dest={product.cwd / 'out'}",
        "buildkitd-config": str(product.config),
    }
    settings = make_settings(given, {}, product.env, product.cwd)
    run.run_build(settings, env=product.env, display_stream=io.StringIO())
    assert (product.cwd / "out/machine").read_text() == "x86_64\n"
    assert builders.left() == []
    assert len(asked) <= MOST, "\n".join(asked)
