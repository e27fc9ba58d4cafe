"""`uses: ./` under act, which runs the workflow's steps, post steps included, on this machine."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ci_buildx.kube.client import KubeClient
from devcluster import pushed
from devcluster.registry import Registry
from tests.e2e import checkout
from tests.e2e.cluster import Builders

WORKFLOW = ".github/workflows/image.yml"
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def builders(kube: KubeClient, name: str) -> Builders:
    return Builders(kube, f"team/{name}")


@pytest.fixture
def start(
    tmp_path: Path, name: str, reference: str, product_env: dict[str, str], buildkitd_config: Path
) -> Callable[..., subprocess.Popen[str]]:
    """Begin a job: checkout, the Action with ``inputs``, ``later`` steps."""

    def begin(dockerfile: str, *later: dict[str, object], **inputs: object) -> subprocess.Popen[str]:
        given = {"context": "app", "tags": reference, "push": True, "buildkitd-config": "buildkitd.toml", **inputs}
        image = {"name": "image", "id": "image", "uses": "./", "with": given}
        steps = [{"uses": "actions/checkout@v4"}, image, *later]
        jobs = {"image": {"runs-on": "ubuntu-latest", "steps": steps}}
        files = {
            WORKFLOW: json.dumps({"name": "image", "on": "workflow_dispatch", "jobs": jobs}),
            "buildkitd.toml": buildkitd_config.read_text(),
        }
        folder = checkout.make(tmp_path / "repository", name=name, dockerfile=dockerfile, files=files)
        lint(folder / WORKFLOW)
        env = {**checkout.environment("act-home"), "KUBECONFIG": product_env["KUBECONFIG"]}
        options = ["--platform", "ubuntu-latest=-self-hosted", "--pull=false", "--no-cache-server"]
        variables = ["--env", f"KUBECONFIG={env['KUBECONFIG']}"]
        return subprocess.Popen(
            [checkout.program("act"), "workflow_dispatch", "--workflows", WORKFLOW, *options, *variables],
            cwd=folder,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    return begin


def lint(*workflows: Path) -> None:
    done = subprocess.run([checkout.program("actionlint"), *workflows], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def finish(job: subprocess.Popen[str]) -> str:
    return job.communicate(timeout=240)[0]


def test_success_gives_an_image_and_outputs(
    start: Start, builders: Builders, name: str, open_registry: Registry
) -> None:
    later = {
        "name": "later",
        "run": 'echo "got $DIGEST of $NAME as $ID"',
        "env": {
            "DIGEST": "${{ steps.image.outputs.digest }}",
            "ID": "${{ steps.image.outputs.imageid }}",
            "NAME": "${{ fromJSON(steps.image.outputs.metadata)['image.name'] }}",
        },
    }
    job = start(checkout.BOTH, later, platforms="linux/amd64,linux/arm64")
    log = finish(job)
    assert job.returncode == 0, log
    images = pushed.images(open_registry.url, f"e2e/{name}", "1")
    assert {image.files["machine"] for image in images.values()} == {b"x86_64\n", b"aarch64\n"}
    digest = log.partition("digest    ")[2].split()[0]
    assert f"got {digest} of {open_registry.address}/e2e/{name}:1 as {digest}" in log
    assert "\x1b[" not in log.partition("| #1 ")[2].partition("digest    ")[0]
    assert builders.left() == []


def test_a_failing_build_is_an_annotation(start: Start, builders: Builders) -> None:
    job = start(checkout.FAILS)
    log = finish(job)
    assert job.returncode == 1
    assert "| almost" in log or " almost" in log
    assert "2 | >>> RUN echo almost && exit 7" in log
    assert "::error title=kube-builder::failed to solve: " in log or "failed to solve: " in log
    assert "Failure - Main image" in log
    assert builders.left() == []


def test_bad_input_fails_before_anything_is_made(start: Start, builders: Builders) -> None:
    job = start(checkout.BOTH, platforms="linux/amd46")
    log = finish(job)
    assert job.returncode == 1
    assert "input platforms: " in log
    assert builders.namespaces() == []


def test_a_failing_later_step_leaves_nothing(start: Start, builders: Builders) -> None:
    job = start(checkout.BOTH, {"name": "later", "run": "exit 3"})
    log = finish(job)
    assert job.returncode == 1
    assert "Success - Post image" in log
    assert builders.left() == []


def test_a_secret_does_not_show(start: Start) -> None:
    dockerfile = (
        "FROM busybox\nRUN --mount=type=secret,id=token cat /run/secrets/token && cat /run/secrets/token | rev\n"
    )
    job = start(dockerfile, secrets="token=seeded-91bc")
    log = finish(job)
    assert job.returncode == 0, log
    assert "seeded-91bc" not in log
    assert "cb19-dedees" in log


@pytest.mark.parametrize("moment", ["creating builder", "booting builder", "begun"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_job_is_cleaned_up_by_the_post_step(
    number: signal.Signals, moment: str, start: Start, builders: Builders
) -> None:
    job = start(checkout.SLOW)
    assert job.stdout is not None
    log = ""
    while moment not in log.rpartition("| #")[2] and (line := job.stdout.readline()):
        log += line
    job.send_signal(number)
    log += finish(job)
    assert "Run Post image" in log, log
    assert "Success - Post image" in log
    assert builders.left() == []
    assert builders.wait_for_pods_to_go(30) == []


def test_workflows_of_this_repository_are_clean() -> None:
    files = sorted((checkout.ROOT / ".github" / "workflows").glob("*.yml"))
    assert all(yaml.safe_load(file.read_text()) for file in files)
    lint(*files)
