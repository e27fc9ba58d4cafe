"""The targets of a bake on builders with several pods: each in its own, linked ones together, within the slots."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.cluster import Builders
from tests.e2e.product import Product, Run
from tests.integration.build.lasting import Shop, create_builder, eventually, list_holders

CHOSEN = re.compile(r"pod (\S+), one of \d ready, is chosen by the sticky key '([^']+)'")
SHARED = re.compile(r"\(context\): ([0-9.]+)MB for (\d+) targets? in pod (\S+)")
MANY = r"""
group "default" { targets = ["many"] }
target "many" {
  name              = "t${n}"
  matrix            = { n = range(8) }
  args              = { N = n }
  output            = ["type=local,dest=out/${n}"]
  dockerfile-inline = <<EOT
FROM busybox
COPY payload /payload
ARG N
RUN --mount=type=cache,target=/pod \
    test -e /pod/name || head -c 8 /dev/urandom | base64 > /pod/name; sleep 2; cp /pod/name /name
FROM scratch
COPY --from=0 /name /
EOT
}
"""


def bake(shop: Shop, context: Path, *options: str) -> Run:
    there = Product(cwd=context, env=shop.product.env, config=shop.product.config)
    return there.run("bake", *options)


@pytest.fixture
def many(context: Path) -> Path:
    """A context of a megabyte with eight targets that know the cache they were built with."""
    (context / "payload").write_bytes(bytes(range(256)) * 4096)
    (context / "docker-bake.hcl").write_text(MANY)
    return context


def read_pods(context: Path) -> Counter[str]:
    """The number of targets by pod, as their cache mounts show it."""
    return Counter((context / "out" / str(number) / "name").read_text() for number in range(8))


def test_targets_are_spread_over_pods_within_their_slots(shop: Shop, many: Path) -> None:
    with create_builder(shop, "one", "--driver-opt", "replicas=2,max-builds=3"):
        run = bake(shop, many, "--builder", "one", "--metadata-file", "meta.json")
        assert run.code == 0, run.stderr
        placed = CHOSEN.findall(run.stderr)
        assert sorted(key.partition("#")[2] for _, key in placed) == [f"t{number}" for number in range(8)]
        pods = Counter(pod for pod, _ in placed)
        assert sorted(pods.values()) == sorted(read_pods(many).values())
        assert len(pods) == 2
        assert "waiting for a slot" in run.stderr, "six slots for eight targets"
        sent = SHARED.findall(run.stderr)
        assert {pod: int(count) for _, count, pod in sent} == dict(pods)
        assert {size for size, _, _ in sent} <= {"1.05", "1.06"}
        assert json.loads((many / "meta.json").read_text()).keys() == {f"t{number}" for number in range(8)}
        eventually("that all slots are given up", lambda: not list_holders(shop, "slot") + list_holders(shop, "ticket"))
        again = bake(shop, many, "--builder", "one", "--jobs", "1")
        assert again.code == 0, again.stderr
        first = {key: pod for pod, key in CHOSEN.findall(again.stderr)}
        third = bake(shop, many, "--builder", "one", "--jobs", "1")
        assert {key: pod for pod, key in CHOSEN.findall(third.stderr)} == first, (
            "each target's key prefers the same pod"
        )


def test_linked_targets_meet_in_a_pod_and_count_as_one_build(shop: Shop, context: Path) -> None:
    (context / "docker-bake.hcl").write_text(
        r"""
group "default" { targets = ["app", "test", "alone"] }
target "base" { dockerfile-inline = "FROM busybox\nRUN head -c 8 /dev/urandom > /random\n" }
target "app" {
  contexts          = { base = "target:base" }
  dockerfile-inline = "FROM base\n"
  output            = ["out/app"]
}
target "test" {
  contexts          = { base = "target:base" }
  dockerfile-inline = "FROM base\nRUN true\n"
  output            = ["out/test"]
}
target "alone" { dockerfile-inline = "FROM busybox\n" }
"""
    )
    with create_builder(shop, "linked", "--driver-opt", "replicas=2,max-builds=1"):
        run = bake(shop, context, "--builder", "linked")
        assert run.code == 0, run.stderr
        assert (context / "out/app/random").read_bytes() == (context / "out/test/random").read_bytes()
        assert len(CHOSEN.findall(run.stderr)) == 2
        deferred = bake(shop, context, "--builder", "linked", "--jobs", "defer-output", "--no-cache")
        assert deferred.code == 0, deferred.stderr
        assert len(CHOSEN.findall(deferred.stderr)) == 1, "all wait for each other"


def test_a_job_spreads_targets_over_its_own_pods(product: Product, many: Path, builders: Builders) -> None:
    there = Product(cwd=many, env=product.env, config=product.config)
    options = ("--buildkitd-config", str(product.config), "--driver-opt", "replicas=2")
    run = there.run("bake", *options, "--set", "*.platform=linux/amd64")
    assert run.code == 0, run.stderr
    assert len(read_pods(many)) == 2
    assert builders.left() == []
    same = there.run("bake", *options, "--set", "*.platform=linux/amd64", "--sticky-key", "{repo}")
    assert same.code == 0, same.stderr
    assert len(set(CHOSEN.findall(same.stderr))) == 1, "a key that was asked for is used as it is"
