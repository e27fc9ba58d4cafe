"""What a build needs in memory, as the operating system accounts it; `bench` does the same at full size."""

from __future__ import annotations

from pathlib import Path

from bench import measure
from bench.lines.memory import prepare
from tests.e2e.cluster import Builders
from tests.e2e.product import COMMAND, Product

FILES = 20_000
MB = 1_000_000
NOISE = 2.0
"""MB by which the peaks of equal builds differ."""
BUFFERS = 3.0
"""MB for what is under way when buildkitd takes much: not all of it is used by what takes a moment."""


def test_memory_grows_by_bytes_for_each_file_and_not_with_size(
    product: Product, context: Path, builders: Builders, tmp_path: Path
) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN true\n")
    made = product.build("--keep", str(context))
    assert made.code == 0, made.stderr

    def peak(name: str, *, files: int = 10, big: int = 0, ignored: int = 0) -> float:
        """MB of a build on the builder that is up."""
        folder = prepare(tmp_path / name, files=files, big=big, ignored=ignored)
        with (folder / "Dockerfile").open("a") as dockerfile:
            # So that small builds also meet what a build does after a while: questions to registries.
            dockerfile.write("RUN sleep 3\n")
        return measure.run([*COMMAND, "build", "--builder", made.builder, str(folder)], env=product.env).peak

    try:
        tiny, some = peak("tiny"), peak("some", big=100 * MB)
        many, large = peak("many", files=FILES), peak("large", big=400 * MB)
        ignored = peak("ignored", ignored=20_000 * MB)
    finally:
        product.run("rm", made.builder)
    assert tiny < 80
    assert (many - tiny - NOISE) * MB / FILES <= 100
    assert large - some <= BUFFERS
    assert ignored - tiny <= NOISE
    assert builders.left() == []
