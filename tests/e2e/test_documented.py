"""The examples of README and docs, word for word: only the registry is the devcluster's, and what names it."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shlex
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from ci_buildx import RUNNER_IMAGE
from devcluster import pushed
from devcluster.registry import Registry
from tests import documentation
from tests.documentation import Snippet
from tests.e2e import checkout
from tests.e2e.cluster import Builders
from tests.e2e.product import COMMAND
from tests.e2e.runner_image import RunnerImage

DOCKERFILE = "FROM busybox\nRUN uname -m > /machine\n"
MACHINES = {"linux/amd64": b"x86_64\n", "linux/arm64": b"aarch64\n"}
PIPELINES = [snippet for snippet in documentation.find_snippets("yaml") if documentation.find_pipeline(snippet)]
WORKFLOWS = [snippet for snippet in documentation.find_snippets("yaml") if documentation.find_workflow(snippet)]
SHELLS = [
    snippet
    for snippet in documentation.find_snippets("sh", "console")
    if any(
        documentation.can_run(one) and one.startswith("kube-builder") for one in documentation.list_commands(snippet)
    )
]
pytestmark = pytest.mark.timeout(900)
"""The first pipeline may have to build the runner image."""
GITLAB = ("--force-shell-executor", "--shell-isolation=false", "--no-color")
_RACED = ": File exists"
# The job's command in the image's file system, with the job's folder and the host's network.
IN_THE_IMAGE = """\
#!/bin/sh
exec unshare --mount sh -ec '
  root=$0
  mkdir -p "$root/proc" "$root/dev" "$root$PWD"
  mount --bind /proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mount --bind "$PWD" "$root$PWD"
  exec /usr/sbin/chroot "$root" /enter "$PWD" "$@"
' {root} "$@"
"""
ENTER = """\
#!/bin/sh
cd "$1" && shift
PATH=/opt/runner/bin:/usr/bin:/bin exec kube-builder "$@"
"""


@pytest.fixture(scope="module")
def image_root(
    published_runner: RunnerImage, open_registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The file system of the runner image, pulled by the reference that the template names."""
    folder = tmp_path_factory.mktemp("image")
    place = f"{open_registry.url}/v2/{RUNNER_IMAGE.partition('/')[2].rpartition(':')[0]}"
    tag = RUNNER_IMAGE.rpartition(":")[2]
    index = json.loads(pushed.fetch(f"{place}/manifests/{tag}", tag, accept=pushed.INDEX))
    (entry,) = [one for one in index["manifests"] if one["platform"]["architecture"] == "amd64"]
    for layer in pushed.manifest(place, entry["digest"])["layers"]:
        blob = gzip.decompress(pushed.fetch(f"{place}/blobs/{layer['digest']}", layer["digest"]))
        with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
            archive.extractall(folder, filter="fully_trusted")
    (folder / "enter").write_text(ENTER)
    (folder / "enter").chmod(0o755)
    return folder


def make_repository(folder: Path, name: str, files: Mapping[str, str]) -> Path:
    """A project with a Dockerfile at its root."""
    folder.mkdir()
    for path, text in {"Dockerfile": DOCKERFILE, **files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    git = ["git", "-C", str(folder)]
    subprocess.run([*git, "init", "--quiet", "--initial-branch=main"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, *checkout.AUTHOR, "commit", "--quiet", "--message", "All"], check=True)
    subprocess.run([*git, "remote", "add", "origin", f"https://{checkout.HOST}/team/{name}.git"], check=True)
    return folder


def publish_product(place: Path) -> Path:
    """A server's folder with the product's repository at its tag v1."""
    source = checkout.make(place / "source", name="product", dockerfile=DOCKERFILE, files={})
    for part in ("templates", "gitlab-template"):
        subprocess.run(["cp", "-r", str(checkout.ROOT / part), str(source)], check=True)
    git = ["git", "-C", str(source), *checkout.AUTHOR]
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "Release"], check=True)
    subprocess.run([*git, "tag", "v1"], check=True)
    bare = place / "served" / "org" / "kube-builder.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(source), str(bare)], check=True)
    subprocess.run(["git", "-C", str(bare), "config", "uploadpack.allowFilter", "true"], check=True)
    return place / "served"


def check_pushed(server: Registry, path: str, tag: str, platforms: set[str]) -> None:
    """The image is there and each platform's RUN ran on it."""
    images = pushed.images(server.url, path, tag)
    assert {platform: image.files["machine"] for platform, image in images.items()} == {
        platform: MACHINES[platform] for platform in platforms
    }


@pytest.mark.parametrize("snippet", PIPELINES, ids=str)
def test_a_pipeline_runs_as_the_page_has_it(
    snippet: Snippet,
    tmp_path: Path,
    name: str,
    image_root: Path,
    product_env: dict[str, str],
    buildkitd_config: Path,
    open_registry: Registry,
    team_builders: Builders,
) -> None:
    """The include comes from a server's tag v1, the job runs in the image that the template names."""
    document = documentation.find_pipeline(snippet)
    assert document
    contexts = [entry.get("inputs", {}).get("context", ".") for entry in document["include"]]
    served = publish_product(tmp_path)
    files = {
        **{f"{context}/Dockerfile": DOCKERFILE for context in contexts},
        ".gitlab-ci.yml": snippet.text,
        "buildkitd.toml": buildkitd_config.read_text(),
        "kubeconfig": Path(product_env["KUBECONFIG"]).read_text(),
    }
    folder = make_repository(tmp_path / "repository", name, files)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "kube-builder").write_text(IN_THE_IMAGE.format(root=shlex.quote(str(image_root))))
    (programs / "kube-builder").chmod(0o755)
    env = checkout.environment("gitlab-home")
    env |= {
        "PATH": f"{programs}:{env['PATH']}",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{served}/.insteadOf",
        "GIT_CONFIG_VALUE_0": f"https://{checkout.HOST}:443/",
    }
    image = f"{open_registry.address}/e2e/{name}"
    variables = {
        "CI_REGISTRY": open_registry.address,
        "CI_REGISTRY_IMAGE": image,
        "KUBECONFIG": "kubeconfig",
        "KUBE_BUILDER_BUILDKITD_CONFIG": "buildkitd.toml",
    }
    options = [word for key, value in variables.items() for word in ("--variable", f"{key}={value}")]
    program = checkout.program("gitlab-ci-local")

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        def try_once() -> subprocess.CompletedProcess[str]:
            command = [program, *GITLAB, *options, *more]
            return subprocess.run(
                command, cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False
            )

        # gitlab-ci-local fetches two includes of one file at the same time into the same place, and then one may fail.
        done = try_once()
        return try_once() if _RACED in done.stderr else done

    preview = run("--preview")
    assert f"name: {RUNNER_IMAGE}\n" in preview.stdout or f"image: {RUNNER_IMAGE}\n" in preview.stdout, preview.stdout
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    for given in (entry.get("inputs", {}) for entry in document["include"]):
        if given.get("push"):
            path = next(iter(given.get("tags", [""]))).removeprefix("$CI_REGISTRY_IMAGE").partition(":")[0]
            check_pushed(open_registry, f"e2e/{name}{path}", "latest", set(given.get("platforms", ["linux/amd64"])))
    assert team_builders.left() == []


@pytest.mark.parametrize("snippet", WORKFLOWS, ids=str)
def test_a_workflow_runs_as_the_page_has_it(
    snippet: Snippet,
    tmp_path: Path,
    name: str,
    product_env: dict[str, str],
    buildkitd_config: Path,
    open_registry: Registry,
    team_builders: Builders,
) -> None:
    """Fragments get what is around them; act takes org/kube-builder@v1 from this checkout."""
    server = f"{open_registry.address}/{name}"
    action = checkout.make(tmp_path / "action", name="product", dockerfile=DOCKERFILE, files={})
    document = documentation.find_workflow(snippet)
    assert document
    whole: dict[str, Any] = {"name": "image", "on": "workflow_dispatch", "jobs": document["jobs"]}
    text = json.dumps(whole).replace(f'"{documentation.REGISTRY}"', f'"{open_registry.address}"')
    text = text.replace(documentation.REGISTRY, server).replace("ubuntu-24.04", "ubuntu-latest")
    text = text.replace("ghcr.io", open_registry.address)
    files = {".github/workflows/image.yml": text, "buildkitd.toml": buildkitd_config.read_text()}
    folder = make_repository(tmp_path / "repository", name, files)
    config = Path(product_env["KUBECONFIG"]).read_text()
    env = {**checkout.environment("act-home"), "KUBECONFIG": config}  # act takes a secret's value from there.
    options = [*checkout.ACT_HERE, "--no-cache-server", "--secret", "KUBECONFIG", "--secret", "GITHUB_TOKEN=of-the-job"]
    options += ["--var", "REGISTRY_USER=me", "--secret", "REGISTRY_PASSWORD=of-the-team"]
    variables = {"GITHUB_REPOSITORY": f"team/{name}", "KUBE_BUILDER_BUILDKITD_CONFIG": "buildkitd.toml"}
    options += [word for key, value in variables.items() for word in ("--env", f"{key}={value}")]
    options += ["--local-repository", f"{documentation.PRODUCT}@v1={action}"]
    command = [checkout.program("act"), "workflow_dispatch", "--workflows", ".github/workflows/image.yml", *options]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (job,) = document["jobs"].values()
    given = next(step["with"] for step in job["steps"] if step["uses"].startswith(documentation.PRODUCT))
    if str(given.get("push", "")).lower() == "true":
        path = f"team/{name}"  # The images of github.repository.
        if "tags" in given:
            path = given["tags"].split()[0].replace(documentation.REGISTRY, name).rpartition(":")[0]
        tag, *_ = requests.get(f"{open_registry.url}/v2/{path}/tags/list", timeout=30).json()["tags"]
        check_pushed(open_registry, path, tag, set(given.get("platforms", "linux/amd64").split(",")))
    assert team_builders.left() == []


@pytest.mark.parametrize("snippet", SHELLS, ids=str)
def test_commands_run_as_the_page_has_them(
    snippet: Snippet,
    context: Path,
    name: str,
    product_env: dict[str, str],
    buildkitd_config: Path,
    open_registry: Registry,
    builders: Builders,
) -> None:
    """Those of a block that build; the others need what the list in tests/documentation.py says."""
    (context / "Dockerfile").write_text(DOCKERFILE)
    programs = context.parent / "bin"
    programs.mkdir()
    (programs / "kube-builder").write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    (programs / "kube-builder").chmod(0o755)
    commands = [one for one in documentation.list_commands(snippet) if documentation.can_run(one)]
    script = "\n".join(commands).replace(documentation.REGISTRY, f"{open_registry.address}/{name}")
    env = {**product_env, "PATH": f"{programs}:{os.environ['PATH']}"}
    env |= {"KUBE_BUILDER_BUILDKITD_CONFIG": str(buildkitd_config), "PYTHONPATH": str(documentation.ROOT)}
    command = ["sh", "-euc", script]
    done = subprocess.run(command, cwd=context, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    if "--push" in script or "KUBE_BUILDER_PUSH=true" in script:
        for path, tag in re.findall(rf"{re.escape(open_registry.address)}/(\S+):([\w.-]+)", script):
            answer = requests.head(
                f"{open_registry.url}/v2/{path}/manifests/{tag}", headers={"Accept": pushed.INDEX}, timeout=30
            )
            assert answer.status_code == 200, (path, tag)
    assert builders.left() == []
