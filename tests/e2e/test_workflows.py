"""Workflows as users write them, in ``workflows/``: the examples of docker/build-push-action's documentation with only
``uses:`` and the registry changed, and those of its neighbours. act runs all of them at once.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_buildx.kube.client import KubeClient
from ci_buildx.registry import credentials
from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.registry.trust import RegistryTrust
from devcluster import buildkitd, layout, pushed, registry
from devcluster.registry import Registry
from tests.e2e import checkout
from tests.e2e.cluster import Builders
from tests.integration.buildkit.served import serving

FOLDER = Path(__file__).parent / "workflows"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yml"))
AT_ONCE = 3
DOCKERFILES = {
    "Dockerfile": "FROM busybox\nARG KIND=none\nCOPY app/note /note\nRUN uname -m > /machine\n",
    "app/secrets.Dockerfile": (
        "FROM busybox\n"
        "RUN --mount=type=secret,id=github_token --mount=type=secret,id=MULTILINE --mount=type=secret,id=JSON_SECRET "
        "--mount=type=secret,id=FROM_ENV --mount=type=secret,id=FROM_FILE "
        "cd /run/secrets && for f in *; do cat $f | wc -c; done > /sizes && ls > /names && cat github_token\n"
    ),
    "app/named.Dockerfile": "FROM base\nCOPY --from=notes note /named\n",
}
BAKE = """
group "default" { targets = ["app", "inner"] }
target "app" {}
target "inner" { context = "app" }
target "split" {
  inherits  = ["inner"]
  platforms = ["linux/amd64", "linux/arm64"]
}
"""
APP = "FROM busybox\nARG KIND=none\nCOPY note /note\nRUN uname -m > /machine; echo $KIND > /kind\n"


@dataclass(frozen=True, kw_only=True)
class Run:
    """All workflows, run."""

    name: str
    log: str
    token: str
    left: list[str]

    def of(self, workflow: str) -> str:
        """The lines of one."""
        return "\n".join(line for line in self.log.splitlines() if line.startswith(f"[{workflow}/"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, product_env: dict[str, str], kube: KubeClient) -> Iterator[Run]:
    """The log of one run of all example workflows, from a repository on a local server."""
    name, token = f"app-{secrets.token_hex(4)}", f"seeded-{secrets.token_hex(8)}"
    place = tmp_path_factory.mktemp("workflows")
    basic = of_name("basic")
    folder = checkout.make(place / "repository", name=name, dockerfile=APP, files=files(name, product_env["REGISTRY"]))
    bare = place / "served" / "team" / f"{name}.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(folder), str(bare)], check=True)
    (place / "event.json").write_text(json.dumps(event(name)))
    known = {"SEEDED": token, "GITHUB_TOKEN": token, "REGISTRY_PASSWORD": basic.password.reveal_text()}
    (place / "secrets").write_text("".join(f"{key}={value}\n" for key, value in known.items()))
    with serving(place / "served", token=token, address=str(layout.cluster().host_address)) as address:
        env = {**checkout.environment("act-home"), "KUBECONFIG": product_env["KUBECONFIG"]}
        variables = {
            "KUBECONFIG": product_env["KUBECONFIG"],
            "KUBE_BUILDER_BUILDKITD_CONFIG": "buildkitd.toml",
            "GITHUB_SERVER_URL": f"http://{address}",
            "GITHUB_REPOSITORY": f"team/{name}",
            "GITHUB_API_URL": f"http://{address}/api",
            "SHARED": str(place / "shared"),
            "BUILDCTL": checkout.program("buildctl"),
            "BUILDX": checkout.program("buildx"),
        }
        options = [*checkout.ACT, "--no-cache-server"]
        options += ["--concurrent-jobs", str(AT_ONCE), "--eventpath", str(place / "event.json")]
        options += ["--secret-file", str(place / "secrets")]
        options += [word for key, value in variables.items() for word in ("--env", f"{key}={value}")]
        done = subprocess.run(
            [checkout.program("act"), "push", "--workflows", ".github/workflows", *options],
            cwd=folder,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=280,
            check=False,
        )
    yield Run(name=name, log=done.stdout, token=token, left=Builders(kube, f"team/{name}").left())


def of_name(name: str) -> Registry:
    return next(found for found in registry.registries(layout.cluster()) if found.name == name)


def files(name: str, address: str) -> dict[str, str]:
    """The workflows and what they build, with the devcluster's registries."""
    found = {path.name: path.read_text() for path in FOLDER.glob("*.yml")}
    for file, text in found.items():
        text = text.replace("registry.example/user/", f"{address}/e2e/{name}-")
        text = text.replace("basic.example", of_name("basic").address).replace("USERNAME", of_name("basic").username)
        found[file] = text.replace("OWN-", f"{name}-")
    workflows = {f".github/workflows/{file}": text for file, text in found.items()}
    configuration = buildkitd.configuration(registry.registries(layout.cluster()))
    return {**workflows, **DOCKERFILES, "docker-bake.hcl": BAKE, "buildkitd.toml": configuration}


def event(name: str) -> dict[str, Any]:
    repository = {"name": name, "full_name": f"team/{name}", "private": False, "default_branch": "main"}
    return {"ref": "refs/heads/main", "repository": {**repository, "html_url": f"https://git.example/team/{name}"}}


@pytest.mark.parametrize("workflow", NAMES)
def test_it_succeeds(workflow: str, run: Run) -> None:
    log = run.of(workflow)
    assert re.search(r"🏁  Job succeeded", log) and "🏁  Job failed" not in log, log or run.log


def test_there_are_as_many_as_were_promised() -> None:
    assert len(NAMES) >= 15


def test_nothing_is_left(run: Run) -> None:
    assert len(set(re.findall(r"creating builder (kube-builder-\S+)", run.log))) >= len(NAMES)
    assert run.left == []


def test_no_secret_is_in_a_log_or_summary(run: Run) -> None:
    assert run.token not in run.log
    assert of_name("basic").password.reveal_text() not in run.log


@pytest.mark.parametrize(
    ("workflow", "tag", "platforms"),
    [
        ("git-context", "latest", {"linux/amd64"}),
        ("git-subfolder", "latest", {"linux/amd64"}),
        ("multi-platform", "latest", {"linux/amd64", "linux/arm64"}),
        ("metadata", "main", {"linux/amd64"}),
        ("one-builder", "prod", {"linux/amd64"}),
        ("merge", "main", {"linux/amd64", "linux/arm64"}),
        ("bake", "latest", {"linux/amd64"}),
        ("bake", "inner", {"linux/amd64"}),
        ("bake-matrix", "latest", {"linux/amd64", "linux/arm64"}),
        ("expose", "buildctl", {"linux/amd64"}),
        ("expose", "latest", {"linux/amd64"}),
        ("expose", "own", {"linux/amd64"}),
    ],
)
def test_the_image_is_there(workflow: str, tag: str, platforms: set[str], run: Run, open_registry: Registry) -> None:
    images = pushed.images(open_registry.url, f"e2e/{run.name}-{workflow}", tag)
    assert {str(image) for image in images} == platforms
    assert all(image.files["note"] == b"hello\n" for image in images.values())


def test_secrets_reached_the_build(run: Run, open_registry: Registry) -> None:
    (image,) = pushed.images(open_registry.url, f"e2e/{run.name}-secrets", "latest").values()
    assert image.files["names"].split() == [b"FROM_ENV", b"FROM_FILE", b"JSON_SECRET", b"MULTILINE", b"github_token"]
    assert [int(size) for size in image.files["sizes"].split()] == [23, 6, 33, 26, 23]


def test_the_login_of_the_inputs_pushed_to_the_other_registry(run: Run) -> None:
    basic = of_name("basic")
    config = {"auths": {basic.address: {"username": basic.username, "password": basic.password.reveal_text()}}}
    store = CredentialStore([credentials.parse_docker_config(json.dumps(config), "test")], env={})
    with RegistryClient(store, trust=RegistryTrust(insecure=frozenset({basic.address}))) as client:
        repository = RegistryRepository(basic.address, f"e2e/{run.name}-registries")
        assert client.has_manifest(repository, client.read_manifest(repository, "1.0.0").descriptor.digest)


def test_metadata_is_on_the_image(run: Run, open_registry: Registry) -> None:
    name = f"e2e/{run.name}-metadata"
    (image,) = pushed.images(open_registry.url, name, "main").values()
    labels = image.config["config"]["Labels"]
    assert labels["of"] == "main"
    assert labels["org.opencontainers.image.title"] == run.name
    assert labels["org.opencontainers.image.url"] == f"https://git.example/team/{run.name}"
    revision = labels["org.opencontainers.image.revision"]
    assert pushed.images(open_registry.url, name, f"sha-{revision[:7]}")


def test_a_socket_ends_with_its_job(run: Run) -> None:
    (path,) = re.findall(r"socket    (/\S+)", run.of("expose"))
    assert not Path(path).parent.exists()


def test_merged_digests_are_one_annotated_image(run: Run, open_registry: Registry) -> None:
    with RegistryClient(
        CredentialStore([], env={}), trust=RegistryTrust(plain=frozenset({open_registry.address}))
    ) as client:
        repository = RegistryRepository(open_registry.address, f"e2e/{run.name}-merge")
        index = client.read_manifest(repository, "main")
        revision = index.fields["annotations"]["org.opencontainers.image.revision"]
        assert index.fields["annotations"]["of"] == "main"
        assert client.read_manifest(repository, f"sha-{revision[:7]}").descriptor == index.descriptor
        assert len(index.entries) == 4, "two images and their attestations"


def test_they_are_clean() -> None:
    files = sorted(FOLDER.glob("*.yml"))
    assert all(yaml.safe_load(file.read_text()) for file in files)
    done = subprocess.run([checkout.program("actionlint"), *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
