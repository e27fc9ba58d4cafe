"""Many targets: 12 that share a stage on two nodes, 40 that share a context, and 40 on a pool of one and of four pods.

A machine with two cores cannot run four pods' work at the same time. So the targets of the pools wait instead of
computing, and `max-builds` bounds a pod, as its processors bound it on a node of its own.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import measure, ours
from bench.arena import Arena
from bench.ground import ARCHITECTURE, Ground
from bench.measure import Run
from bench.series import Comparison, Contestant, Limit, Series, Target, alternate, pair_fresh_and_cached

ARCHITECTURES = ("amd64", "arm64")
PLATFORMS = [f"linux/{architecture}" for architecture in ARCHITECTURES]
OURS, THEIRS = "kube-builder", "buildx, kubernetes driver"
ONE, FOUR = "kube-builder, one pod", "kube-builder, four pods"
MEGABYTES = 20
SHARED = r"""
variable "REF" {}
variable "ROUND" {}
group "default" { targets = ["app"] }
target "app" {
  name              = "app-${n}"
  matrix            = { n = range(12) }
  platforms         = ["linux/amd64", "linux/arm64"]
  args              = { N = n, ROUND = ROUND }
  tags              = ["${REF}/app-${n}:1"]
  attest            = ["type=provenance,disabled=true"]
  output            = ["type=registry"]
  dockerfile-inline = <<EOT
FROM busybox AS base
ARG ROUND
COPY payload /payload
RUN echo $ROUND > /round
FROM base
ARG N
RUN echo $N > /number
EOT
}
"""
FORTY = r"""
variable "ROUND" {}
group "default" { targets = ["part"] }
target "part" {
  name              = "part-${n}"
  matrix            = { n = range(40) }
  args              = { N = n, ROUND = ROUND }
  output            = ["type=cacheonly"]
  dockerfile-inline = "FROM scratch\nARG N\nARG ROUND\nCOPY payload /payload\nLABEL n=$N round=$ROUND\n"
}
"""
WAITING = FORTY.replace(r"FROM scratch\nARG N\nARG ROUND\n", r"FROM busybox\nARG N\nARG ROUND\n").replace(
    r"LABEL n=$N round=$ROUND", r"RUN echo $N $ROUND && sleep 4"
)
SLOTS = 5
_MARKS = {"pod-security.kubernetes.io/enforce": "privileged"}


def compare(arena: Arena) -> Iterator[Comparison]:
    """Compare with buildx where it does the same, and one pod with four."""
    yield from _compare_shared_stage(arena)
    yield _compare_shared_context(arena)
    yield _compare_pools(arena)


def _make_context(ground: Ground, name: str, definition: str, size: int) -> Path:
    folder = ground.folder / name
    folder.mkdir()
    (folder / "docker-bake.hcl").write_text(definition)
    (folder / "payload").write_bytes(os.urandom(size))
    return folder


def _bake(ground: Ground, context: Path, builder: str, variables: Sequence[str], *options: str) -> Run:
    return measure.run(
        [str(ground.product), "bake", "--builder", builder, "--progress", "plain", *options],
        env={**ground.env, **dict(one.split("=", 1) for one in variables)},
        cwd=context,
    )


def _compare_shared_stage(arena: Arena) -> Iterator[Comparison]:
    ground, peer = arena.ground, arena.peer
    context = _make_context(ground, "bake-stage", SHARED, 1 << 20)
    with ours.kept_builder(ground, PLATFORMS) as own, peer.builder(ARCHITECTURES) as theirs:

        def run_ours(mark: str) -> Run:
            reference = f"{ground.registry}/bench/bake-ours"
            return _bake(ground, context, own, [f"REF={reference}", f"ROUND={mark}"])

        def run_theirs(mark: str) -> Run:
            reference = f"{ground.registry}/bench/bake-theirs"
            return peer.bake(theirs, context, {"REF": reference, "ROUND": mark})

        fresh, cached = pair_fresh_and_cached({OURS: run_ours, THEIRS: run_theirs})
        for title, contestants, usual in (("steps to run", fresh, 5), ("all cached", cached, 8)):
            yield Comparison(
                title=f"bake: 12 targets with a common stage on two nodes, merged and pushed, {title}",
                reference=THEIRS,
                series=alternate(contestants, arena.count(usual)),
                targets=(Target(ours=OURS, theirs=THEIRS, most=1.0),),
            )


def _compare_shared_context(arena: Arena) -> Comparison:
    ground, peer = arena.ground, arena.peer
    context = _make_context(ground, "bake-context", FORTY, MEGABYTES * 1_000_000)

    def renew() -> None:
        (context / "payload").write_bytes(os.urandom(MEGABYTES * 1_000_000))

    def run_ours(number: int) -> Run:
        renew()
        return _bake(ground, context, arena.kept, [f"ROUND={number}"])

    def run_theirs(number: int) -> Run:
        renew()
        return peer.bake(arena.theirs, context, {"ROUND": str(number)})

    contestants = [
        Contestant(name=OURS, perform=run_ours, warm=True),
        Contestant(name=THEIRS, perform=run_theirs, warm=True),
    ]
    series = alternate(contestants, arena.count(5))
    sent = max(read_megabytes(run.output) for run in series[0].runs)
    return Comparison(
        title=f"bake: 40 targets with one context of {MEGABYTES} MB, which is new each time, builder up",
        reference=THEIRS,
        series=series,
        targets=(Target(ours=OURS, theirs=THEIRS, most=1.0),),
        limits=(Limit(what="MB sent for all 40 targets", figure=sent, most=MEGABYTES * 1.02),),
    )


def read_megabytes(log: str) -> float:
    """Return the megabytes of shared folders that a bake's log shows. Raises ValueError if it shows none."""
    found = re.findall(r"\(context\): ([0-9.]+)MB for \d+ targets?", log)
    if not found:
        raise ValueError("the log shows no shared folder")
    return sum(map(float, found))


def _compare_pools(arena: Arena) -> Comparison:
    ground = arena.ground
    context = _make_context(ground, "bake-pool", WAITING, 1 << 20)
    with _created_builder(ground, 1) as one, _created_builder(ground, 4) as four:

        def run(builder: str, number: int) -> Run:
            return _bake(ground, context, builder, [f"ROUND={number}"], *_of_namespace(builder))

        contestants = [
            Contestant(name=ONE, perform=lambda number: run(one, number)),
            Contestant(name=FOUR, perform=lambda number: run(four, number)),
        ]
        series: tuple[Series, ...] = alternate(contestants, arena.count(3))
    return Comparison(
        title=f"bake: 40 targets that wait 4 s each, at most {SLOTS} at once in a pod (max-builds)",
        reference=ONE,
        series=series,
        targets=(Target(ours=FOUR, theirs=ONE, most=0.5),),
    )


def _of_namespace(name: str) -> tuple[str, str]:
    return "--namespace", name


@contextmanager
def _created_builder(ground: Ground, replicas: int) -> Iterator[str]:
    """Provide a lasting builder of the account's, in a namespace of its own; all its pods have the base image."""
    name = f"bake-{secrets.token_hex(3)}"
    ground.kube.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": _MARKS}})
    try:
        ground.account.let_into(name)
        options = [f"namespace={name}", f"replicas={replicas}", f"max-builds={SLOTS}"]
        options.append(f'"nodeselector=kubernetes.io/arch={ARCHITECTURE}"')
        given = [word for option in options for word in ("--driver-opt", option)]
        config = ["--buildkitd-config", str(ground.buildkitd_config)]
        measure.run([str(ground.product), "create", "--name", name, "--bootstrap", *config, *given], env=ground.env)
        warm = _make_context(ground, f"warm-{name}", WAITING.replace("sleep 4", "true"), 1)
        _bake(ground, warm, name, ["ROUND=warm"], *_of_namespace(name))
        yield name
    finally:
        ground.kube.delete(f"/api/v1/namespaces/{name}")
