"""A push that a real registry refuses is known while the builder boots: no step of the Dockerfile runs."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from devcluster import layout, registry
from tests.e2e.cluster import Builders
from tests.e2e.product import Product

SLOW = "FROM busybox\nRUN sleep 30 && echo the step has run\n"


@pytest.mark.parametrize(
    ("place", "account", "said"),
    [
        ("REGISTRY_TOKEN", registry.READER, "the login 'reader' for {} is wrong or has insufficient permissions"),
        ("REGISTRY_TOKEN", "builder", "{} refuses the login 'builder'"),
        ("REGISTRY_BASIC", "", "{} requires authentication; no credentials found; log in to {}"),
    ],
)
def test_a_push_that_is_refused_is_known_before_the_build(
    place: str,
    account: str,
    said: str,
    product: Product,
    context: Path,
    builders: Builders,
    cluster_env: dict[str, str],
    tmp_path: Path,
) -> None:
    host = cluster_env[place]
    secret = registry.password(layout.cluster(), account).reveal_text() if account == registry.READER else "wrong"
    login = {"auth": base64.b64encode(f"{account}:{secret}".encode()).decode()}
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": {host: login} if account else {}}))
    (context / "Dockerfile").write_text(SLOW)
    run = product.with_env(DOCKER_CONFIG=str(tmp_path / "docker")).build(
        *("--progress", "plain", "--push", "--tag", f"{host}/tests/refused:1", str(context))
    )
    assert run.code == 1
    error = run.stderr.splitlines()[-1]
    assert error.startswith(f"ERROR: pushing to {host}/tests/refused ")
    assert said.replace("{}", host) in error
    assert "the step has run" not in run.stderr
    assert builders.left() == []
