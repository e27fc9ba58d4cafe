"""A policy in Rego is refused by name also where only BuildKit sees it: in git repositories and archives."""

from __future__ import annotations

import io
import itertools
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

DOCKERFILE = """\
FROM busybox
ARG RUN
RUN echo step $RUN has run: $((40+2)) | tee /ran
FROM scratch
COPY --from=0 /ran /
COPY file /
"""
HAS_RUN = "has run: 42"
POLICY = "package docker\nallow = false\n"
SAID = "the context contains {}, a Rego policy, which only docker buildx enforces; "
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
    ignored = Repository(folder / "ignored.git")
    ignored.write(Dockerfile=DOCKERFILE, file="1", **{"Dockerfile.rego": POLICY, ".dockerignore": "*\n!file\n"})
    ignored.commit()
    linked = Repository(folder / "linked.git")
    linked.write(Dockerfile=DOCKERFILE, file="1", real=POLICY)
    (linked.folder / "Dockerfile.rego").symlink_to("real")
    linked.commit()
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

    tries = itertools.count()

    def build(*options: str) -> tuple[int, str]:
        """Build with a step that no cache holds."""
        fresh = ("--build-arg", f"RUN={next(tries)}", "--progress", "plain")
        run = product.build("--builder", kept.builder, "-o", "out", *fresh, *options, own_builder=False)
        return run.code, run.stderr

    try:
        for context_without in ("plain.git", "single.Dockerfile"):
            code, log = build(f"{served}/{context_without}")
            assert code == 0, log
            assert (HAS_RUN in log) is (context_without == "plain.git")
        (product.cwd / "out/file").unlink()
        command = f"cat {tmp_path}/served/denied.tar | {shlex.join(COMMAND)} build --builder {kept.builder} -o out -"
        piped = subprocess.run(
            ["sh", "-c", command], cwd=product.cwd, env=dict(product.env), capture_output=True, text=True, check=False
        )
        assert HAS_RUN not in piped.stderr
        assert (piped.returncode, SAID.format("Dockerfile.rego") in piped.stderr) == (1, True), piped.stderr
        for options, name in (
            ((f"{served}/denied.git",), "Dockerfile.rego"),
            ((f"{served}/denied.git#:sub",), "Dockerfile.rego"),
            ((f"{served}/denied.git?subdir=sub",), "Dockerfile.rego"),
            ((f"{served}/ignored.git",), "Dockerfile.rego"),
            ((f"{served}/linked.git",), "Dockerfile.rego"),
            (("-f", "./sub/Dockerfile", f"{served}/denied.git"), "./sub/Dockerfile.rego"),
            (("-f", "sub/../Dockerfile", f"{served}/denied.git"), "sub/../Dockerfile.rego"),
            (("--platform", "linux/amd64", "--call", "check", f"{served}/denied.git"), "Dockerfile.rego"),
            (("-f", "sub/Dockerfile", f"{served}/denied.git"), "sub/Dockerfile.rego"),
            (("-f", "a[b]", f"{served}/denied.git"), "a[b].rego"),
            ((f"{served}/denied.tar",), "Dockerfile.rego"),
        ):
            code, log = build(*options)
            assert code == 1, log
            assert SAID.format(name) in log
            assert FIX in log
            assert HAS_RUN not in log
        assert not (product.cwd / "out/file").exists()
        code, log = build("--policy", "disabled=true", f"{served}/denied.git")
        assert code == 0, log
        assert HAS_RUN in log
    finally:
        product.run("rm", "-f", kept.builder)
