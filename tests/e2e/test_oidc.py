"""A job whose kubeconfig holds no user: its OIDC token is the bearer, fetched anew as often as it takes."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from ci_buildx.kube.client import KubeClient
from devcluster import accounts, issuer, layout, pushed
from devcluster.registry import Registry
from tests.e2e import checkout
from tests.e2e.cluster import Builders
from tests.e2e.product import Product

WORKFLOW = ".github/workflows/image.yml"
LIFETIME = 4
"""Seconds of a token's life. The API server remembers a token that it has checked for ten more."""
LONG = "FROM busybox\nRUN echo begun && sleep 15\n"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(
    tmp_path: Path, name: str, cluster_env: dict[str, str], kube: KubeClient, buildkitd_config: Path
) -> Iterator[Start]:
    """Begin a job with the token of ``ref``; everybody in the main branch's group has the rights of docs/rbac."""
    accounts.apply(kube, accounts.sheet("jobs"))

    def begin(ref: str, **inputs: object) -> subprocess.Popen[str]:
        given = {"context": "app", "oidc": issuer.AUDIENCE, "buildkitd-config": "buildkitd.toml", **inputs}
        config = yaml.safe_load(Path(cluster_env["KUBECONFIG"]).read_text())
        del config["users"], config["contexts"][0]["context"]["user"]
        steps = [{"uses": "actions/checkout@v4"}, {"name": "image", "uses": "./", "with": given}]
        jobs = {"image": {"runs-on": "ubuntu-latest", "permissions": {"id-token": "write"}, "steps": steps}}
        files = {
            WORKFLOW: json.dumps({"name": "image", "on": "workflow_dispatch", "jobs": jobs}),
            "buildkitd.toml": buildkitd_config.read_text(),
            "kubeconfig": json.dumps(config),
            # pip, which installs the Action's packages, reads the same variable.
            "authorities.pem": AUTHORITIES.read_text() + (layout.cluster().pki / "ca.crt").read_text(),
        }
        folder = checkout.make(tmp_path / "repository", name=name, dockerfile=LONG, files=files)
        job = issuer.job_variables(layout.cluster(), repository=f"team/{name}", ref=ref, lifetime=str(LIFETIME))
        trust = {"REQUESTS_CA_BUNDLE": str(folder / "authorities.pem"), "KUBECONFIG": str(folder / "kubeconfig")}
        variables = [word for pair in (job | trust).items() for word in ("--env", "=".join(pair))]
        options = [*checkout.ACT, "--no-cache-server"]
        return subprocess.Popen(
            [checkout.program("act"), "workflow_dispatch", "--workflows", WORKFLOW, *options, *variables],
            cwd=folder,
            env=checkout.environment("act-home"),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    yield begin


def test_a_build_that_outlasts_its_token(
    start: Start, team_builders: Builders, name: str, reference: str, open_registry: Registry
) -> None:
    job = start("refs/heads/main", tags=reference, push=True)
    log = job.communicate(timeout=240)[0]
    assert job.returncode == 0, log
    assert pushed.images(open_registry.url, f"e2e/{name}", "1")
    assert team_builders.left() == []


def test_the_post_step_has_a_token_of_its_own(start: Start, team_builders: Builders) -> None:
    job = start("refs/heads/main")
    assert job.stdout is not None
    log = ""
    while "begun" not in log.rpartition("| #")[2] and (line := job.stdout.readline()):
        log += line
    time.sleep(LIFETIME)
    job.send_signal(signal.SIGINT)
    log += job.communicate(timeout=240)[0]
    assert "Success - Post image" in log, log
    assert team_builders.left() == []


def test_it_logs_in_to_a_registry(
    product: Product, tmp_path: Path, context: Path, name: str, cluster_env: dict[str, str]
) -> None:
    host = cluster_env["REGISTRY_TOKEN"]
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo whoever I am > /built\n")
    job = product.with_env(
        DOCKER_CONFIG=str(tmp_path),
        REQUESTS_CA_BUNDLE=cluster_env["REGISTRY_TOKEN_CA"],
        **issuer.job_variables(layout.cluster(), repository=f"team/{name}"),
    )
    options = ["--platform", "linux/amd64,linux/arm64", "-t", f"{host}/{name}:1", "--push", str(context)]
    log_in(tmp_path, host, f"oidc:{host}")
    assert (done := job.build(*options)).code == 0, done.stderr
    log_in(tmp_path, host, "oidc:another-registry")
    refused = job.build(*options)
    assert refused.code == 1
    assert f"{host} refuses the login 'job'" in refused.stderr, refused.stderr


def log_in(folder: Path, host: str, password: str) -> None:
    entry = {"auth": b64encode(f"job:{password}".encode()).decode()}
    (folder / "config.json").write_text(json.dumps({"auths": {host: entry}}))


def test_a_pull_requests_token_has_no_rights(start: Start, team_builders: Builders, name: str) -> None:
    job = start("refs/pull/7/merge")
    log = job.communicate(timeout=240)[0]
    assert job.returncode == 1, log
    assert f'user "ci:repo:team/{name}:ref:refs/pull/7/merge" may not create namespaces' in log
    assert team_builders.namespaces() == []
