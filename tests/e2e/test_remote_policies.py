"""A policy in Rego is refused by name also where only BuildKit sees it: in git repositories and archives."""

from __future__ import annotations

import io
import shlex
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import layout
from tests.e2e.product import COMMAND, Product
from tests.integration.buildkit.served import serving
from tests.unit.fsutil.repositories import Repository

DOCKERFILE = "FROM scratch\nCOPY file /\n"
POLICY = "package docker\nallow = false\n"
SAID = "the context holds {}, a policy in Rego, which docker buildx alone enforces; "
FIX = "or build without it: --policy disabled=true"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Address of a server with ``plain.git``, ``denied.git`` (a policy beside three Dockerfiles) and ``denied.tar``."""
    folder = tmp_path / "served"
    plain = Repository(folder / "plain.git")
    plain.write(Dockerfile=DOCKERFILE, file="1", **{"other__Dockerfile.rego": POLICY})
    plain.commit()
    denied = Repository(folder / "denied.git")
    denied.write(Dockerfile=DOCKERFILE, file="1", sub__Dockerfile=DOCKERFILE, sub__file="1")
    denied.write(**{"Dockerfile.rego": POLICY, "sub__Dockerfile.rego": POLICY, "a[b]": DOCKERFILE, "a[b].rego": POLICY})
    denied.commit()
    (folder / "single.Dockerfile").write_text("FROM busybox\n")
    with tarfile.open(folder / "denied.tar", "w") as tar:
        for name, text in {"Dockerfile": DOCKERFILE, "file": "1", "Dockerfile.rego": POLICY}.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    with serving(folder, address=str(layout.cluster(layout.default_name()).host_address)) as address:
        yield f"http://{address}"


def test_a_policy_in_a_remote_context(product: Product, served: str, context: Path, tmp_path: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    kept = product.build("--keep", "--platform", "linux/amd64", str(context))
    assert kept.code == 0, kept.stderr

    def build(*options: str) -> tuple[int, str]:
        run = product.build("--builder", kept.builder, "-o", "out", *options, own_builder=False)
        return run.code, run.stderr

    try:
        for context_without in ("plain.git", "single.Dockerfile"):
            code, log = build(f"{served}/{context_without}")
            assert code == 0, log
        command = f"cat {tmp_path}/served/denied.tar | {shlex.join(COMMAND)} build --builder {kept.builder} -o out -"
        piped = subprocess.run(
            ["sh", "-c", command], cwd=product.cwd, env=dict(product.env), capture_output=True, text=True, check=False
        )
        assert (piped.returncode, SAID.format("Dockerfile.rego") in piped.stderr) == (1, True), piped.stderr
        for options, name in (
            ((f"{served}/denied.git",), "Dockerfile.rego"),
            ((f"{served}/denied.git#:sub",), "Dockerfile.rego"),
            (("-f", "sub/Dockerfile", f"{served}/denied.git"), "sub/Dockerfile.rego"),
            (("-f", "a[b]", f"{served}/denied.git"), "a[b].rego"),
            ((f"{served}/denied.tar",), "Dockerfile.rego"),
        ):
            code, log = build(*options)
            assert code == 1, log
            assert SAID.format(name) in log
            assert FIX in log
        assert not (product.cwd / "out/file").exists() or (product.cwd / "out/file").read_text() == "1"
        code, log = build("--policy", "disabled=true", f"{served}/denied.git")
        assert code == 0, log
    finally:
        product.run("rm", "-f", kept.builder)
