"""Commands of kube-builder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import measure
from bench.ground import Ground
from bench.measure import Run


def build(ground: Ground, context: Path, *options: str) -> Run:
    """Run one `kube-builder build`."""
    return measure.run([str(ground.product), "build", *options, str(context)], env=ground.env)


def build_alone(ground: Ground, context: Path, *options: str) -> tuple[Run, dict[str, float]]:
    """Run one build in a builder created for it; return the run and the seconds of each phase."""
    metadata = ground.folder / "metadata.json"
    own = ["--buildkitd-config", str(ground.buildkitd_config), "--metadata-file", str(metadata)]
    finished = build(ground, context, *own, *options)
    return finished, _phases(json.loads(metadata.read_text()))


def _phases(metadata: dict[str, Any]) -> dict[str, float]:
    return {name: float(seconds) for name, seconds in metadata["kube-builder.phases"].items()}


@contextmanager
def kept_builder(ground: Ground, platforms: Sequence[str], *driver_opts: str) -> Iterator[str]:
    """Provide a running builder; yield its name. Its first build has pulled the base image."""
    wanted = ["--platform", ",".join(platforms), "--buildkitd-config", str(ground.buildkitd_config), "--keep"]
    wanted += [word for option in driver_opts for word in ("--driver-opt", option)]
    context = ground.example(f"kept-{len(platforms)}")
    before = _builders(ground)
    build(ground, context, *wanted, "--push", "--tag", ground.reference("kept"))
    name = next(name for name in _builders(ground) - before if f"-{context.name}-" in name)
    try:
        yield name
    finally:
        measure.run([str(ground.product), "rm", name], env=ground.env)


def _builders(ground: Ground) -> set[str]:
    found = ground.kube.list("/api/v1/namespaces", labelSelector="app.kubernetes.io/managed-by=kube-builder")
    return {item["metadata"]["name"] for item in found["items"]}
