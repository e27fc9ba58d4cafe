"""A job of the template that is cancelled, runs out of time, or still runs while its clean-up does."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
import yaml

from ci_buildx.kube.client import KubeClient
from devcluster import accounts, issuer, layout, pushed
from tests.e2e import checkout, runner
from tests.e2e.cluster import Builders
from tests.e2e.product import COMMAND
from tests.e2e.runner import Job

SLOW = "FROM busybox\nRUN echo it has begun && sleep 60\n"


@pytest.fixture
def start(tmp_path: Path, name: str, product_env: dict[str, str], buildkitd_config: Path) -> Callable[[], Job]:
    """Starts the template's job with a slow build, and returns when the build runs."""

    def job() -> Job:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "Dockerfile").write_text(SLOW)
        env = {**identity_of(tmp_path, name, folder), "KUBECONFIG": product_env["KUBECONFIG"]}
        made = Job(folder=folder, env=env, job=runner.load({"buildkitd-config": str(buildkitd_config)}))
        made.start()
        made.wait_for("it has begun")
        return made

    return job


def test_a_cancelled_job(start: Callable[[], Job], team_builders: Builders) -> None:
    job = start()
    (namespace,) = team_builders.namespaces()
    assert namespace["metadata"]["labels"]["kube-builder.dev/job"] == job.env["CI_JOB_ID"]
    job.signal(signal.SIGTERM)
    assert job.end() == 143, job.log
    assert team_builders.left() == []
    after = job.run_after_script("canceled")
    assert (after.returncode, after.stderr) == (0, "")
    name = namespace["metadata"]["name"]
    assert after.stdout in (f"{name}: removed\n", f"{name}: nothing is left\n")
    assert (job.folder / "kube-builder-timeline.html").is_file()
    assert re.findall(r"section_(start|end):\d+:kube_builder_(\w+)", job.log) == [
        (kind, section) for section in ("builder", "build", "teardown") for kind in ("start", "end")
    ]
    assert not (job.folder / "kube-builder.env").exists()


def test_a_job_that_is_killed_when_its_time_is_over(start: Callable[[], Job], team_builders: Builders) -> None:
    job = start()
    job.signal(signal.SIGKILL)
    job.end()
    (left,) = team_builders.left()
    after = job.run_after_script("failed")
    assert (after.returncode, after.stdout) == (0, f"{left}: removed\n"), after.stderr
    assert team_builders.left() == []
    assert team_builders.wait_for_pods_to_go(30) == []


def test_a_script_that_still_runs_beside_after_script(start: Callable[[], Job], team_builders: Builders) -> None:
    job = start()
    (left,) = team_builders.left()
    after = job.run_after_script("failed")
    assert (after.returncode, after.stdout) == (0, f"{left}: removed\n"), after.stderr
    assert team_builders.left() == []
    assert job.end() == 1
    error = job.log.rpartition("kube-builder: error: ")[2]
    assert "buildkit-" in error or left in error, job.log
    assert "Traceback" not in job.log
    assert team_builders.left() == []


def identity_of(place: Path, name: str, folder: Path) -> dict[str, str]:
    """The variables of a job, and a PATH with nothing of ours but the command."""
    programs = place / "bin"
    programs.mkdir()
    (programs / "kube-builder").write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    (programs / "kube-builder").chmod(0o755)
    return {
        "PATH": f"{programs}:/usr/bin:/bin",
        "PYTHONPATH": ":".join(filter(None, [*sys.path, os.environ.get("PYTHONPATH", "")])),
        "HOME": str(place),
        "CI_JOB_ID": uuid.uuid4().hex,
        "CI_JOB_TOKEN": f"glcbt-64_{uuid.uuid4().hex}",
        "CI_PROJECT_ID": "7",
        "CI_PROJECT_PATH": f"team/{name}",
        "CI_PROJECT_DIR": str(folder),
        "CI_JOB_TIMEOUT": "600",
        "CI_SERVER_HOST": "git.example",
    }


def test_the_harness_reads_the_component(tmp_path: Path) -> None:
    job = runner.load({"tags": ['a"b', "c"], "push": True, "context": "app"})
    assert job["variables"]["KUBE_BUILDER_INPUT_TAGS"] == '["a\\"b", "c"]\n'
    assert (job["variables"]["KUBE_BUILDER_INPUT_PUSH"], job["variables"]["KUBE_BUILDER_INPUT_CONTEXT"]) == (
        "true\n",
        "app\n",
    )
    assert checkout.ROOT / "templates" / "kube-builder.yml" == runner.TEMPLATE


def test_a_job_without_any_stored_secret(
    tmp_path: Path, name: str, cluster_env: dict[str, str], kube: KubeClient, buildkitd_config: Path
) -> None:
    """The cluster and one registry take the job's ID tokens, the other registry the login that GitLab gives."""
    accounts.apply(kube, accounts.sheet("jobs"))
    folder = tmp_path / name
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM busybox\nRUN uname -m > /machine\n")
    config = yaml.safe_load(Path(cluster_env["KUBECONFIG"]).read_text())
    del config["users"], config["contexts"][0]["context"]["user"], config["current-context"]
    (folder / "kubeconfig").write_text(json.dumps(config))
    project, other = cluster_env["REGISTRY_BASIC"], cluster_env["REGISTRY_TOKEN"]
    secrets = {
        "KUBE_BUILDER_ID_TOKEN": id_token(issuer.AUDIENCE, name),
        "KUBE_BUILDER_REGISTRY_ID_TOKEN": id_token(other, name),
        "CI_REGISTRY_PASSWORD": cluster_env["REGISTRY_BASIC_PASSWORD"],
    }
    job = Job(
        folder=folder,
        env={
            **identity_of(tmp_path, name, folder),
            **secrets,
            "KUBECONFIG": str(folder / "kubeconfig"),
            "KUBE_CONTEXT": config["contexts"][0]["name"],
            "CI_REGISTRY": project,
            "CI_REGISTRY_USER": cluster_env["REGISTRY_BASIC_USER"],
            "KUBE_BUILDER_REGISTRY": other,
            "KUBE_BUILDER_USERNAME": "job",
            "REQUESTS_CA_BUNDLE": cluster_env["REGISTRY_TOKEN_CA"],
        },
        job=runner.load(
            {
                "buildkitd-config": str(buildkitd_config),
                "platforms": ["linux/amd64", "linux/arm64"],
                "tags": [f"{project}/e2e/{name}:1", f"{other}/{name}:1"],
                "push": True,
            }
        ),
    )
    job.start()
    assert job.end() == 0, job.log
    after = job.run_after_script("success")
    assert (after.returncode, after.stderr) == (0, "")
    told = dict(line.split("=", 1) for line in (folder / "kube-builder.env").read_text().splitlines())
    assert told["KUBE_BUILDER_IMAGE"] == f"{project}/e2e/{name}:1@{told['KUBE_BUILDER_DIGEST']}"
    answer = requests.head(
        f"https://{project}/v2/e2e/{name}/manifests/1",
        auth=(cluster_env["REGISTRY_BASIC_USER"], cluster_env["REGISTRY_BASIC_PASSWORD"]),
        headers={"Accept": pushed.INDEX},
        verify=cluster_env["REGISTRY_BASIC_CA"],
        timeout=30,
    )
    assert answer.headers["Docker-Content-Digest"] == told["KUBE_BUILDER_DIGEST"]
    written = [path.read_text() for path in folder.rglob("*") if path.is_file()]
    for text in (job.log, after.stdout, *written):
        assert not [secret for secret in secrets.values() if secret in text]
    assert not list(Path(tempfile.gettempdir()).glob("kube-builder-docker-*"))


def id_token(audience: str, name: str) -> str:
    """A token of the issuer's for a job of the main branch."""
    job = issuer.job_variables(layout.cluster(), repository=f"team/{name}", ref="refs/heads/main", lifetime="600")
    answer = requests.get(
        f"{job['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience={quote(audience)}",
        headers={"Authorization": f"Bearer {job['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"},
        verify=str(layout.cluster().pki / "ca.crt"),
        timeout=30,
    )
    return str(answer.json()["value"])
