"""The product with driver options: its builders are looked at while a step of their build waits."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.kube.client import KubeClient
from tests.e2e.product import NAME, Product
from tests.integration import inside

_HOLD = 5
_PATIENCE = 120.0
"""Seconds after which a wait on the devcluster has failed."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """A build whose step sleeps. ``builder`` is its name, ``said`` what it printed until then."""

    kube: KubeClient
    process: subprocess.Popen[str]
    builder: str
    said: list[str]

    def objects(self, path: str) -> list[dict[str, Any]]:
        """A collection of the builder's namespace: ``/api/v1`` and ``pods``, or ``/apis/…`` and the plural."""
        group, _, plural = path.rpartition("/")
        return list(self.kube.list(f"{group}/namespaces/{self.builder}/{plural}")["items"])

    def pods(self) -> dict[str, dict[str, Any]]:
        """Its pods by node."""
        found = self.objects("/api/v1/pods")
        return {pod["metadata"]["labels"]["kube-builder.dev/node"]: pod for pod in found}

    def inside(self, pod: dict[str, Any], *command: str) -> str:
        """What a command prints that runs in buildkitd's container."""
        return inside.run(self.kube, pod, *command)

    def finish(self) -> str:
        """Let the build go on; all that it printed. It has to succeed."""
        rest = self.process.communicate(timeout=_PATIENCE)[0]
        printed = "".join(self.said) + rest
        assert self.process.returncode == 0, printed
        return printed


@dataclass(frozen=True, kw_only=True)
class Builds:
    """Starts builds of ``context`` and sees what became of them."""

    kube: KubeClient
    product: Product
    context: Path

    @contextmanager
    def holding(self, *options: str, steps: str = "", config: Path | None = None, **variables: str) -> Iterator[Held]:
        """A build whose step sleeps for some seconds, in which the cluster can be looked at."""
        (self.context / "Dockerfile").write_text(f"FROM busybox\n{steps}RUN echo HELD && sleep {_HOLD}\n")
        product = replace(self.product.with_env(**variables), config=config or self.product.config)
        with product.popen(*options, str(self.context)) as process:
            try:
                said = list(_until_held(process))
                found = NAME.search("".join(said))
                assert found, said
                yield Held(kube=self.kube, process=process, builder=found[0], said=said)
            finally:
                process.terminate()


@pytest.fixture
def builds(kube: KubeClient, tmp_path: Path, product: Product) -> Builds:
    """Starts builds of a context of the test's own, whose builders the test looks at while a step sleeps."""
    context = tmp_path / f"opts-{secrets.token_hex(4)}"
    context.mkdir()
    return Builds(kube=kube, product=product, context=context)


def _until_held(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line
        if "HELD" in line and "RUN" not in line:
            return
    raise AssertionError("the build ended before its step began")
