"""One cache for two nodes of different architecture: each finds all its steps in it in the next job's builder."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import requests

from devcluster import layout
from devcluster.registry import Registry
from tests.e2e import actions_cache
from tests.e2e.product import Product

BOTH = "linux/amd64,linux/arm64"
DOCKERFILE = "FROM busybox\nCOPY note /note\nRUN sleep 0.1; uname -m > /machine\n"
STEP = re.compile(r"^#(\d+) \[(linux/\w+) ([23])/3\]", re.MULTILINE)
CACHED = {("linux/amd64", "2"), ("linux/amd64", "3"), ("linux/arm64", "2"), ("linux/arm64", "3")}


@pytest.fixture(autouse=True)
def files(context: Path) -> None:
    """Writes the Dockerfile and the file that it copies into the context."""
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "note").write_text("hello\n")


def build(product: Product, context: Path, cache: str, *, platforms: str = BOTH, **attrs: str) -> set[tuple[str, str]]:
    """One job, which reads and writes the cache; the steps that came from it."""
    written = ",".join((cache, "mode=max", *(f"{name}={value}" for name, value in attrs.items())))
    folder = {"dest": "src"} if cache.startswith("type=local") else {}
    read = cache.replace("dest=", f"{folder.get('dest', 'dest')}=")
    run = product.build("--platform", platforms, "--cache-from", read, "--cache-to", written, str(context))
    assert run.code == 0, run.stderr
    single = f"[{platforms} " if "," not in platforms else "["
    steps = STEP.findall(re.sub(r"^(#\d+) \[(?=[23]/3\])", rf"\1 {single}", run.stderr, flags=re.MULTILINE))
    return {(platform, step) for number, platform, step in steps if f"\n#{number} CACHED" in run.stderr}


@pytest.mark.parametrize("form", ["true", "false"])
def test_in_a_registry(product: Product, context: Path, reference: str, open_registry: Registry, form: str) -> None:
    """In either form of the manifest; the cache that one node had written before serves, too."""
    cache = f"type=registry,ref={reference}-cache"
    build(product, context, cache, platforms="linux/amd64", **{"image-manifest": form})
    assert {"linux/amd64"} == {name for name, _ in build(product, context, cache, **{"image-manifest": form})}
    assert build(product, context, cache, **{"image-manifest": form}) == CACHED
    path = reference.partition("/")[2].partition(":")[0]
    tags = requests.get(f"{open_registry.url}/v2/{path}/tags/list", timeout=10).json()["tags"]
    assert tags == ["1-cache"], "nodes leave no tags behind"


def test_in_a_folder(product: Product, context: Path) -> None:
    cache = "type=local,dest=cache"
    assert build(product, context, cache) == set()
    assert build(product, context, cache) == CACHED
    assert {name for name, _ in build(product, context, cache, platforms="linux/arm64")} == {"linux/arm64"}


def test_in_githubs_cache(product: Product, context: Path) -> None:
    with actions_cache.serving(str(layout.cluster().host_address), int(time.time())) as service:
        job = product.with_env(
            ACTIONS_CACHE_SERVICE_V2="true",
            ACTIONS_RESULTS_URL=f"{service.url}/",
            ACTIONS_RUNTIME_TOKEN=service.token,
        )
        assert build(job, context, "type=gha", platforms="linux/amd64") == set()
        assert {name for name, _ in build(job, context, "type=gha")} == {"linux/amd64"}
        assert build(job, context, "type=gha") == CACHED


def test_two_caches_at_once(product: Product, context: Path, reference: str) -> None:
    """buildkitd tells the digest of one; both hold all."""
    caches = [f"{reference}-first", f"{reference}-second"]
    options = [option for cache in caches for option in ("--cache-to", f"type=registry,mode=max,ref={cache}")]
    run = product.build("--platform", BOTH, *options, str(context))
    assert run.code == 0, run.stderr
    for cache in caches:
        assert build(product, context, f"type=registry,ref={cache}") == CACHED
