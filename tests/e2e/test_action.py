"""`uses: ./` under act, which runs the workflow's steps, post steps included, on this machine."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ci_buildx.kube.client import KubeClient
from devcluster import pushed, toolchain
from devcluster.registry import Registry
from tests.e2e import checkout
from tests.e2e.cluster import Builders
from tests.e2e.processes import finish, follow, kill_with_descendants, start_act
from tests.unit.planted import read_sprung

WORKFLOW = ".github/workflows/image.yml"
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(
    tmp_path: Path, name: str, reference: str, product_env: dict[str, str], buildkitd_config: Path
) -> Callable[..., subprocess.Popen[str]]:
    """Begin a job: checkout, the Action with ``inputs``, ``later`` steps. ``acts`` are more options of act's."""

    def begin(
        dockerfile: str, *later: dict[str, object], acts: tuple[str, ...] = (), traps: bool = False, **inputs: object
    ) -> subprocess.Popen[str]:
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
        if traps:
            checkout.set_traps(folder)
        env = {**checkout.environment("act-home"), "KUBECONFIG": product_env["KUBECONFIG"]}
        # Only GitHub itself takes artifacts, where act would know the repository's name by a remote that is there.
        variables = ["--env", f"KUBECONFIG={env['KUBECONFIG']}", "--env", f"GITHUB_REPOSITORY=team/{name}"]
        return start_act(WORKFLOW, folder, env, "--no-cache-server", *variables, *acts)

    return begin


def lint(*workflows: Path) -> None:
    done = subprocess.run([checkout.program("actionlint"), *workflows], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_success_gives_an_image_and_outputs(
    start: Start, team_builders: Builders, name: str, open_registry: Registry, tmp_path: Path
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
    kept = ("--artifact-server-addr", "127.0.0.1", "--artifact-server-path", str(tmp_path / "artifacts"))
    dockerfile = f"{checkout.BOTH}CMD echo in shell form\n"
    # What is no input comes from the job's environment, also what action.yml could declare a default for.
    shared = ("--env", "KUBE_BUILDER_PUSH=true", "--env", "KUBE_BUILDER_PLATFORMS=linux/amd64,linux/arm64")
    # Folders of the checkout on the PATH, and its modules on Python's.
    careless = ("--env", "PYTHONPATH=.", "--env", f"PATH=.:bin:{os.environ['PATH']}")
    acts = (*kept, "--artifact-server-port", str(free_port()), *shared, *careless)
    job = start(dockerfile, later, acts=acts, traps=True, push="", annotations="a.b=c")
    log = finish(job)
    assert job.returncode == 0, log
    assert read_sprung(tmp_path / "repository") == []
    images = pushed.images(open_registry.url, f"e2e/{name}", "1")
    assert {image.files["machine"] for image in images.values()} == {b"x86_64\n", b"aarch64\n"}
    digest = log.partition("digest    ")[2].split()[0]
    assert f"got {digest} of {open_registry.address}/e2e/{name}:1 as {digest}" in log
    assert "\x1b[" not in log.partition("| #1 ")[2].partition("digest    ")[0]
    assert team_builders.namespaces(), "its deletion takes longer than this"
    assert team_builders.left() == []
    assert log.count("::group::") == log.count("::endgroup::") > 5
    assert "::warning file=app/Dockerfile,line=4,title=kube-builder::JSONArgsRecommended: " in log
    summary = log.partition("Summary - ")[2]
    assert re.search(r"\| platform \| linux/arm64 [0-9.]+[kM]B compressed \|", summary)
    assert f"docker pull {open_registry.address}/e2e/{name}:1@{digest}" in summary
    assert "```mermaid" in summary
    (archive,) = (tmp_path / "artifacts").rglob("*.zip")
    with zipfile.ZipFile(archive) as files:
        assert json.loads(files.read("record.json"))["metadata"]["containerimage.digest"] == digest
        assert b"<svg" in files.read("timeline.html")


def test_a_failing_build_is_an_annotation(start: Start, team_builders: Builders) -> None:
    job = start(checkout.FAILS)
    log = finish(job)
    assert job.returncode == 1
    assert "| almost" in log or " almost" in log
    assert "2 | >>> RUN echo almost && exit 7" in log
    assert "::error file=app/Dockerfile,line=2,title=kube-builder::failed to solve: " in log
    assert log.count("::error ") == 1
    assert "Failure - Main image" in log
    assert team_builders.left() == []


def test_bad_input_fails_before_anything_is_made(start: Start, team_builders: Builders) -> None:
    job = start(checkout.BOTH, platforms="linux/amd46")
    log = finish(job)
    assert job.returncode == 1
    assert "input platforms: " in log
    assert team_builders.namespaces() == []


def test_a_failing_later_step_leaves_nothing(start: Start, team_builders: Builders) -> None:
    job = start(checkout.BOTH, {"name": "later", "run": "exit 3"})
    log = finish(job)
    assert job.returncode == 1
    assert "Success - Post image" in log
    assert team_builders.left() == []


def test_a_secret_does_not_show(start: Start) -> None:
    dockerfile = (
        "FROM busybox\nRUN --mount=type=secret,id=token cat /run/secrets/token && cat /run/secrets/token | rev\n"
    )
    job = start(dockerfile, secrets="token=seeded-91bc")
    log = finish(job)
    assert job.returncode == 0, log
    assert "seeded-91bc" not in log
    assert "cb19-dedees" in log


def test_a_syntax_error_stands_at_its_line(start: Start, team_builders: Builders) -> None:
    job = start("FROM busybox\n\nRUM echo typo\n")
    log = finish(job)
    assert job.returncode == 1
    assert re.search(r"::error file=app/Dockerfile,line=3,title=kube-builder::.*unknown instruction: RUM", log), log
    assert team_builders.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_job_that_is_cancelled_in_a_later_step(number: signal.Signals, start: Start, team_builders: Builders) -> None:
    job = start(checkout.BOTH, {"name": "later", "run": "echo later begun; sleep 60"})
    log = follow(job, "| later begun")
    job.send_signal(number)
    log += finish(job)
    assert "Success - Main image" in log
    assert "Success - Post image" in log
    assert team_builders.left() == []


@pytest.mark.parametrize("end", ["two signals", "killed"])
def test_a_runner_that_lets_nothing_of_ours_live(
    end: str, start: Start, team_builders: Builders, kube: KubeClient
) -> None:
    """The cluster itself ends the compute at the job's deadline. act kills main and post at its second signal."""
    job = start(checkout.SLOW, lifetime="15s")
    follow(job, "begun")
    if end == "killed":
        kill_with_descendants(job.pid)
    else:
        for _ in range(2):
            job.send_signal(signal.SIGINT)
            time.sleep(0.3)
    finish(job)
    left = team_builders.left()
    try:
        assert left or end != "killed", "a quick post step is done before the second signal"
        assert team_builders.wait_for_pods_to_end(60) == []
    finally:
        for name in left:
            kube.delete(f"/api/v1/namespaces/{name}")


def test_two_signals_of_githubs_own_runner(
    tmp_path: Path, name: str, product_env: dict[str, str], buildkitd_config: Path, team_builders: Builders
) -> None:
    """SIGINT, then SIGTERM, to the wrapper (actions/runner, ``ProcessInvoker``): it cleans up and tells."""
    folder = checkout.make(tmp_path / "repository", name=name, dockerfile=checkout.SLOW, files={})
    given = {"CONTEXT": "app", "BUILDKITD-CONFIG": str(buildkitd_config)}
    env = {
        **checkout.environment("act-home"),
        **{f"INPUT_{key}": value for key, value in given.items()},
        "KUBECONFIG": product_env["KUBECONFIG"],
        "GITHUB_ACTIONS": "true",
        "GITHUB_REPOSITORY": f"team/{name}",
        "RUNNER_TEMP": str(tmp_path),
    }
    env["RUNNER_TOOL_CACHE"] = str(Path(env["HOME"]) / ".cache" / "act" / "tool_cache")
    command = [toolchain.node(), folder / "action" / "main.js"]
    job = subprocess.Popen(command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    log = follow(job, "begun")
    for number in (signal.SIGINT, signal.SIGTERM):
        job.send_signal(number)
        time.sleep(0.1)
    log += finish(job)
    # The second may also strike while Node takes itself down, with all said: a shell shows the same number.
    code = job.returncode if job.returncode >= 0 else 128 - job.returncode
    assert code in (130, 143), f"{code}\n{log}"
    assert "::error title=kube-builder::interrupted by SIG" in log
    assert team_builders.namespaces()
    assert team_builders.left() == []


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "creating builder"),
        (signal.SIGTERM, "booting builder"),
        (signal.SIGINT, "begun"),
        (signal.SIGTERM, "begun"),
    ],
)
def test_a_cancelled_job_is_cleaned_up_by_the_post_step(
    number: signal.Signals, moment: str, start: Start, team_builders: Builders
) -> None:
    job = start(checkout.SLOW)
    log = follow(job, moment)
    job.send_signal(number)
    log += finish(job)
    assert "Run Post image" in log, log
    assert "Success - Post image" in log
    assert team_builders.left() == []
    assert team_builders.wait_for_pods_to_go(30) == []


def test_workflows_of_this_repository_are_clean() -> None:
    files = sorted((checkout.ROOT / ".github" / "workflows").glob("*.yml"))
    assert all(yaml.safe_load(file.read_text()) for file in files)
    lint(*files)
