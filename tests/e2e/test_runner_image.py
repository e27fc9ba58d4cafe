"""The image that GitLab jobs and the reaper run in: a release's own script builds it with the product."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_buildx import RUNNER_IMAGE, __version__
from ci_buildx.builder.rbac.rights import REAPER
from ci_buildx.builder.rbac.roles import SYSTEM
from ci_buildx.kube.client import KubeClient
from dev import runner_image
from devcluster import accounts, pushed
from devcluster.accounts import Account
from devcluster.registry import Registry
from tests.e2e.cluster import Builders
from tests.e2e.product import Product
from tests.e2e.runner_image import RunnerImage
from tests.unit.planted import plant

INSIDE = """\
FROM made AS inside
WORKDIR /checkout
COPY traps .
ENV PYTHONPATH=/checkout
RUN kube-builder --version > /version && kube-builder build --help > /help && command -v kube-builder > /where
RUN ! kube-builder gitlab 2> /error
RUN find /checkout > /files
RUN git --version > /git && uname -m > /machine
FROM busybox
COPY --from=inside /version /where /error /files /git /machine /
"""
BATCH = f"/apis/batch/v1/namespaces/{SYSTEM}"
PATIENCE = 120.0
pytestmark = pytest.mark.timeout(900)
"""The first test builds the image, on one architecture by emulation."""


def test_each_platforms_image_is_small_and_has_only_what_it_needs(runner: RunnerImage, open_registry: Registry) -> None:
    sizes = (runner.folder / "sizes").read_text()
    print(sizes)
    assert [line.split()[0] for line in sizes.splitlines()] == ["linux/amd64", "linux/arm64"]
    assert all(float(line.split()[1]) <= runner_image.LIMIT / 1e6 for line in sizes.splitlines())
    assert sizes in runner.log
    images = pushed.images(open_registry.url, "kube-builder/runner", runner.digest)
    assert images.keys() == {"linux/amd64", "linux/arm64"}
    for image in images.values():
        assert {"usr/bin/git", "opt/runner/bin/kube-builder", "var/lib/dpkg/status.d/git"} <= image.files.keys()
        names = " ".join(image.files)
        assert "usr/bin/perl" not in names
        assert "pip-" not in names
        assert image.files["etc/ssl/certs/ca-certificates.crt"].count(b"BEGIN CERTIFICATE") > 100
        assert image.config["config"]["Env"][0].startswith("PATH=/opt/runner/bin:")


def test_everything_that_names_the_image_gets_its_digest(runner: RunnerImage) -> None:
    pinned = runner.folder / "pinned"
    reference = RUNNER_IMAGE.partition("@")[0]
    assert (runner.folder / "reference").read_text() == reference
    named = (runner.folder / "files").read_text().split()
    assert {str(path.relative_to(pinned)) for path in pinned.rglob("*") if path.is_file()} == set(named)
    wanted = {"ci_buildx/__init__.py", "gitlab-template/kube-builder.yml", "templates/kube-builder.yml"}
    assert wanted | {"docs/rbac/reaper-cronjob.yaml"} <= set(named)
    for name in set(named) - {"ci_buildx/__init__.py"}:
        assert f"{reference}@{runner.digest}" in (pinned / name).read_text()
    assert f"`{reference}@{runner.digest}`" in (runner.folder / "notes.md").read_text()


def test_a_build_runs_in_it_and_imports_nothing_of_the_checkout(
    product: Product, runner: RunnerImage, open_registry: Registry, name: str, context: Path, builders: Builders
) -> None:
    (context / "Dockerfile").write_text(INSIDE)
    plant(context / "traps", as_=Path("/checkout"))
    made = f"made=docker-image://{open_registry.address}/kube-builder/runner@{runner.digest}"
    target = f"{open_registry.address}/e2e/{name}:checked"
    platforms = ["--platform", "linux/amd64,linux/arm64"]
    done = product.build("--build-context", made, "-t", target, "--push", *platforms, str(context))
    assert done.code == 0, done.stderr[-3000:]
    images = pushed.images(open_registry.url, f"e2e/{name}", "checked")
    assert {image.files["machine"] for image in images.values()} == {b"x86_64\n", b"aarch64\n"}
    for image in images.values():
        assert image.files["where"] == b"/opt/runner/bin/kube-builder\n"
        assert image.files["version"] == f"{__version__}\n".encode()
        assert image.files["git"].startswith(b"git version ")
        assert b"json.py" in image.files["files"]
        assert b"sprung" not in image.files["files"]
        assert b"CI_JOB_ID is not set" in image.files["error"]
    assert builders.left() == []


@pytest.fixture
def schedule(kube: KubeClient, reaper_account: Account) -> Iterator[dict[str, Any]]:
    """The CronJob that docs/rbac/reaper-cronjob.yaml makes, after reaper.yaml, each as it is."""
    accounts.apply(kube, accounts.sheet("reaper-cronjob"))
    yield kube.get(f"{BATCH}/cronjobs/{REAPER}")
    kube.delete(f"{BATCH}/cronjobs/{REAPER}", propagationPolicy="Background")


def test_the_reapers_sheets_work_as_they_are(
    published_runner: RunnerImage, kube: KubeClient, schedule: dict[str, Any]
) -> None:
    """With the image of the constant; a Job is made of the schedule as `kubectl create job --from` makes one."""
    text = accounts.sheet("reaper-cronjob")
    assert schedule["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"] == RUNNER_IMAGE
    assert yaml.safe_load(text)["spec"]["schedule"] == schedule["spec"]["schedule"]
    name = f"{REAPER}-{secrets.token_hex(3)}"
    kube.create(f"{BATCH}/jobs", {"metadata": {"name": name}, "spec": schedule["spec"]["jobTemplate"]["spec"]})
    try:
        deadline = time.monotonic() + PATIENCE
        while not (status := kube.get(f"{BATCH}/jobs/{name}")["status"]).get("succeeded"):
            pods = kube.list(f"/api/v1/namespaces/{SYSTEM}/pods", labelSelector=f"job-name={name}")["items"]
            assert not status.get("failed"), pods
            assert time.monotonic() < deadline, pods
            time.sleep(0.5)
        (pod,) = kube.list(f"/api/v1/namespaces/{SYSTEM}/pods", labelSelector=f"job-name={name}")["items"]
        (container,) = pod["status"]["containerStatuses"]
        assert container["image"] == RUNNER_IMAGE
        assert container["state"]["terminated"]["exitCode"] == 0
    finally:
        kube.delete(f"{BATCH}/jobs/{name}", propagationPolicy="Background")
