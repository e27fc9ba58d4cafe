"""The image that GitLab jobs run in, built by the product, and a build that runs in it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from ci_buildx import __version__
from devcluster import cache, layout, pushed
from devcluster.images import push_runner
from devcluster.registry import Registry
from tests.e2e.checkout import ROOT
from tests.e2e.cluster import Builders
from tests.e2e.product import Product
from tests.unit.planted import plant

LOCK = ROOT / "requirements.lock"
INSIDE = """\
FROM made AS inside
WORKDIR /checkout
COPY traps .
ENV PYTHONPATH=/checkout
RUN kube-builder version > /version && kube-builder build --help > /help && command -v kube-builder > /where
RUN ! kube-builder gitlab 2> /error
RUN find /checkout > /files
FROM busybox
COPY --from=inside /version /where /error /files /
"""


@pytest.fixture(scope="session")
def wheels() -> Path:
    """The wheels that a cluster without PyPI needs, fetched once for each lock."""
    folder = cache.folder() / f"wheels-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    if not folder.is_dir():
        draft = folder.with_name(f"{folder.name}.draft")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", str(draft)]
        subprocess.run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK)], check=True)
        subprocess.run([*pip, "pip"], check=True)
        draft.rename(folder)
    return folder


def test_the_product_builds_its_own_image(
    product: Product, open_registry: Registry, wheels: Path, name: str, context: Path, builders: Builders
) -> None:
    push_runner(layout.cluster())
    base = f"docker-image://{open_registry.address}/kube-builder/runner:dev"
    made = f"{open_registry.address}/e2e/{name}:runner"
    options = ["--platform", "linux/amd64", "--build-context", f"base={base}", "--build-context", f"wheels={wheels}"]
    file = str(ROOT / "gitlab-template" / "Containerfile")
    done = product.build("-f", file, *options, "-t", made, "--push", str(ROOT))
    assert done.code == 0, done.stderr[-3000:]
    (context / "Dockerfile").write_text(INSIDE)
    plant(context / "traps", as_=Path("/checkout"))
    checked = f"{open_registry.address}/e2e/{name}:checked"
    done = product.build(
        "--build-context",
        f"made=docker-image://{made}",
        "-t",
        checked,
        "--push",
        "--platform",
        "linux/amd64",
        str(context),
    )
    assert done.code == 0, done.stderr[-3000:]
    (image,) = pushed.images(open_registry.url, f"e2e/{name}", "checked").values()
    assert image.files["where"] == b"/opt/runner/bin/kube-builder\n"
    assert image.files["version"] == f"{__version__}\n".encode()
    assert b"json.py" in image.files["files"]
    assert b"sprung" not in image.files["files"]
    assert b"CI_JOB_ID is not set" in image.files["error"]
    assert builders.left() == []
