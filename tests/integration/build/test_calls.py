"""How often builds ask the API server, with the rights of docs/rbac: a job of one node at most 25 times."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.build import run
from ci_buildx.kube.exchange import ApiCall, ApiExchange
from ci_buildx.settings.assembly import Value, make_settings
from tests.e2e.cluster import Builders
from tests.e2e.product import Product
from tests.integration.build.lasting import Shop, create_builder

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


POOLED = 10
"""Limit for a build on a lasting builder of several pods, without renewals and lost races."""


def test_a_pooled_build_asks_the_api_server_at_most_10_times(
    shop: Shop, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four of the calls are those of the pool; docs/operations/pools.md and capacity.md reckon with both numbers."""
    calls: list[tuple[str, str]] = []
    plain, streamed = ApiExchange.call, ApiExchange.open_stream

    def call(exchange: ApiExchange, one: ApiCall) -> dict[str, Any]:
        calls.append((one.method, one.path))
        return plain(exchange, one)

    def open_stream(exchange: ApiExchange, one: ApiCall, deadline: float) -> Any:
        calls.append(("WATCH", one.path))
        return streamed(exchange, one, deadline)

    with create_builder(shop, "one", "--driver-opt", "replicas=2,max-builds=2"):
        (context / "Dockerfile").write_text("FROM busybox\nRUN uname -m > /machine\n")
        product = shop.product
        given: dict[str, Value] = {"context": str(context), "builder": "one", "namespace": shop.namespace}
        settings = make_settings(given, {}, product.env, product.cwd)
        monkeypatch.setattr(ApiExchange, "call", call)
        monkeypatch.setattr(ApiExchange, "open_stream", open_stream)
        run.run_build(settings, env=product.env, display_stream=io.StringIO())
        monkeypatch.undo()
    # A build of more than 20 s renews its slot.
    counted = [one for one in calls if one[0] not in ("PUT", "PATCH")]
    listing = "\n".join(map(" ".join, counted))
    of_pool = [method for method, path in counted if "/leases" in path]
    assert sorted(of_pool) == ["DELETE", "GET", "POST"], listing
    assert [method for method, path in counted if path == "/api/v1/nodes"] == ["GET"], listing
    assert len(counted) <= POOLED, listing
