"""No secret that goes in comes out: logs, summaries, outputs, objects, process lists and files are searched for it."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from ci_buildx.kube.client import KubeClient
from devcluster import layout
from devcluster.accounts import Account
from devcluster.registry import Registry, registries
from tests.e2e import checkout
from tests.e2e.cluster import Builders
from tests.e2e.product import Product
from tests.e2e.witness import watching

WORKFLOW = ".github/workflows/image.yml"
# The build reads each secret, and fails in the end, so that errors and excerpts are searched as well.
READS = "RUN --mount=type=secret,id={0} test -s /run/secrets/{0}\n"
FAILS = "RUN --mount=type=secret,id=typed cat /run/secrets/typed > /dev/null; sleep 1; exit 9\n"


WRITTEN = ("argument", "url", "s3", "azure")
"""Secrets that users write into inputs which are no secret as a whole."""
ARGUED = 'FROM busybox\nARG TOKEN\nRUN test -n "$TOKEN"\n'
# Nobody listens there: a cache that cannot be read fails no build.
NOWHERE = "127.0.0.1:9"
REPOSITORY = f"http://ann:{{}}@{NOWHERE}/team/app.git#main"
S3 = f"type=s3,region=here,bucket=b,endpoint_url=http://{NOWHERE},access_key_id=AKIA,secret_access_key={{}}"
AZURE = f"type=azblob,account_url=http://{NOWHERE}/account,secret_access_key={{}}"


def seeded(*names: str) -> dict[str, str]:
    return {each: f"seeded-{each}-{secrets.token_hex(8)}" for each in names}


@pytest.fixture
def login() -> Registry:
    """The registry that wants a password."""
    return next(found for found in registries(layout.cluster()) if found.name == "basic")


@pytest.mark.parametrize("fails", [False, True], ids=["success", "failure"])
def test_the_action(
    fails: bool,
    tmp_path: Path,
    name: str,
    kube: KubeClient,
    job_account: Account,
    login: Registry,
    buildkitd_config: Path,
) -> None:
    seeds = seeded("typed", "variable", "filed", "github", *WRITTEN)
    config = job_account.kubeconfig.read_text()
    hidden = {**seeds, "password": login.password.reveal_text(), "bearer": token(config)}
    dockerfile = ARGUED + "".join(READS.format(each) for each in ("typed", "variable", "filed"))
    steps = [
        {"uses": "actions/checkout@v4"},
        {"run": 'printf %s "$filed" > ../filed'},
        {"name": "image", "id": "image", "uses": "./", "with": inputs(name, login)},
        {
            "if": "always()",
            "run": 'printf %s "$OUTPUTS" > outputs',
            "env": {"OUTPUTS": "${{ toJSON(steps.image.outputs) }}"},
        },
    ]
    jobs = {"image": {"runs-on": "ubuntu-latest", "steps": steps}}
    files = {
        WORKFLOW: json.dumps({"name": "image", "on": "workflow_dispatch", "jobs": jobs}),
        "buildkitd.toml": buildkitd_config.read_text(),
    }
    folder = checkout.make(tmp_path / "repository", name=name, dockerfile=dockerfile + FAILS * fails, files=files)
    options = [*checkout.ACT, "--no-cache-server"]
    values = {**hidden, "kubeconfig": base64.b64encode(config.encode()).decode()}
    (tmp_path / "values").write_text("".join(f"{each}={value}\n" for each, value in values.items()))
    command = [checkout.program("act"), "workflow_dispatch", "--workflows", WORKFLOW, *options]
    with watching(Builders(kube, f"team/{name}")) as witness:
        done = subprocess.run(
            [*command, "--env-file", str(tmp_path / "values")],
            cwd=folder,
            env=environment(tmp_path),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=280,
            check=False,
        )
    assert done.returncode == int(fails), done.stdout
    assert ("exit code: 9" in done.stdout) == fails, done.stdout
    witness.note("log", done.stdout)
    witness.note_files("checkout", folder, without=frozenset({".git"}))
    witness.note_files("temporary", tmp_path / "temporary")
    assert {"process list", "namespace", "jobs", "pods", "secrets"} <= witness.seen.keys()
    assert witness.finds({"name": name}), "what is not hidden is found"
    assert witness.finds(hidden) == []


def inputs(name: str, login: Registry) -> dict[str, object]:
    """Every input that takes a secret."""
    return {
        "context": "app",
        "buildkitd-config": "buildkitd.toml",
        "kubeconfig": "${{ env.kubeconfig }}",
        "registry": login.address,
        "username": login.username,
        "password": "${{ env.password }}",
        "github-token": "${{ env.github }}",
        "secrets": "typed=${{ env.typed }}",
        "secret-envs": "variable=variable",
        "secret-files": "filed=../filed",
        "build-args": "TOKEN=${{ env.argument }}",
        "build-contexts": "other=" + REPOSITORY.format("${{ env.url }}"),
        "cache-from": S3.format("${{ env.s3 }}") + "\n" + AZURE.format("${{ env.azure }}"),
        "tags": f"{login.address}/e2e/{name}:1",
        "push": True,
        "timeline": "timeline.html",
    }


def environment(place: Path) -> Mapping[str, str]:
    (place / "temporary").mkdir()
    return {**checkout.environment("act-home"), "TMPDIR": str(place / "temporary")}


def token(kubeconfig: str) -> str:
    return str(json.loads(kubeconfig)["users"][0]["user"]["token"])


@pytest.mark.parametrize("fails", ["", FAILS, "COPY $TOKEN /\n"], ids=["success", "failure", "told"])
def test_the_command_line(
    fails: str, tmp_path: Path, context: Path, name: str, kube: KubeClient, login: Registry, product: Product
) -> None:
    hidden = seeded("typed", "git", *WRITTEN)
    (context / "Dockerfile").write_text(ARGUED + READS.format("typed") + fails)
    pair = f"{login.username}:{login.password.reveal_text()}"
    document = {"auths": {login.address: {"auth": base64.b64encode(pair.encode()).decode()}}}
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text(json.dumps(document))
    (tmp_path / "results").mkdir()
    job = product.with_env(
        DOCKER_CONFIG=str(tmp_path / "docker"),
        TYPED=hidden["typed"],
        GIT_AUTH_TOKEN=hidden["git"],
        TOKEN=hidden["argument"],
        KUBE_BUILDER_BUILD_CONTEXTS="other=" + REPOSITORY.format(hidden["url"]),
        KUBE_BUILDER_CACHE_FROM="\n".join((S3.format(hidden["s3"]), AZURE.format(hidden["azure"]))),
    )
    outcomes = ["--metadata-file", "results/metadata", "--timeline", "results/timeline.svg", "--progress", "rawjson"]
    reference = f"{login.address}/e2e/{name}:1"
    with watching(Builders(kube, name)) as witness:
        done = job.build(
            "--secret",
            "id=typed,env=TYPED",
            "--build-arg",
            "TOKEN",
            *outcomes,
            "-t",
            reference,
            "--push",
            str(context),
        )
    assert done.code == bool(fails), done.stderr
    witness.note("stdout", done.stdout.decode())
    witness.note("stderr", done.stderr)
    witness.note_files("results", tmp_path / "results")
    assert {"process list", "namespace", "jobs", "pods", "secrets"} <= witness.seen.keys()
    assert witness.finds({"name": name}), "what is not hidden is found"
    bearer = token(Path(job.env["KUBECONFIG"]).read_text())
    assert witness.finds({**hidden, "password": login.password.reveal_text(), "bearer": bearer}) == []
