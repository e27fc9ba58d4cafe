"""`include:` of the template with inputs, under gitlab-ci-local, which runs the job's scripts on this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ci_buildx.ci import inputs
from ci_buildx.ci.gitlab import inputs as gitlab
from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.copies import copy_manifest
from ci_buildx.registry.credentials import CredentialStore, DockerConfig, RegistryLogin
from ci_buildx.registry.trust import RegistryTrust
from ci_buildx.settings.option import OptionSurface
from devcluster import layout, pushed, registry
from devcluster.registry import Registry
from tests.e2e import checkout
from tests.e2e.cluster import Builders
from tests.unit.planted import read_sprung

# The shell executor in the checkout itself, as a runner on a plain machine.
OPTIONS = ("--force-shell-executor", "--shell-isolation=false", "--no-color")
LATER = 'echo "later got $KUBE_BUILDER_DIGEST of $KUBE_BUILDER_IMAGE" && test -s "$KUBE_BUILDER_METADATA"'


@dataclass(frozen=True)
class Pipeline:
    code: int
    log: str
    folder: Path


@pytest.fixture
def run(tmp_path: Path, name: str, product_env: dict[str, str], buildkitd_config: Path) -> Callable[..., Pipeline]:
    """Run a pipeline that includes the template with ``inputs``, and a job after it."""

    def pipeline(dockerfile: str, later: str = LATER, **said: object) -> Pipeline:
        variables, also, merge = said.pop("variables", {}), said.pop("also", None), said.pop("merge", None)
        bake, definition = said.pop("bake", None), said.pop("definition", "")
        given = {"context": "app", "buildkitd-config": "buildkitd.toml", **said}
        every = [given, {**given, **also}] if isinstance(also, dict) else [given]
        include: list[dict[str, object]] = [
            {"local": "gitlab-template/kube-builder.yml", "inputs": each} for each in every
        ]
        include += [{"local": "gitlab-template/merge.yml", "inputs": merge}] if merge else []
        if isinstance(bake, dict):
            given = {"buildkitd-config": "buildkitd.toml", **bake}
            include = [{"local": "gitlab-template/bake.yml", "inputs": given}]
        jobs = {
            "include": include,
            "stages": ["build", "after", "merge", "test"],
            "variables": variables,
            "later": {"stage": "test", "script": [later]},
        }
        files = {".gitlab-ci.yml": json.dumps(jobs), "buildkitd.toml": buildkitd_config.read_text()}
        files |= {"docker-bake.hcl": str(definition)} if definition else {}
        folder = checkout.make(tmp_path / "repository", name=name, dockerfile=dockerfile, files=files)
        checkout.set_traps(folder)
        env = {**checkout.environment("gitlab-home"), "KUBECONFIG": product_env["KUBECONFIG"], "USERNAME": "ann"}
        command = [checkout.program("gitlab-ci-local"), *OPTIONS]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False)
        return Pipeline(code=done.returncode, log=done.stdout + done.stderr, folder=folder)

    return pipeline


def test_success_with_inputs(
    run: Callable[..., Pipeline], team_builders: Builders, name: str, open_registry: Registry
) -> None:
    dockerfile = f"{checkout.BOTH}ARG GREETING\nARG USERNAME\nRUN echo $GREETING $USERNAME > /said\n"
    repository = f"{open_registry.address}/e2e/{name}"
    done = run(
        dockerfile,
        **{"job-name": "build-image", "build-args": ['GREETING=it\'s "quoted", really', "USERNAME"], "push": True},
        tags=[f"{repository}:1", f"{repository}:$CI_COMMIT_REF_SLUG"],
        platforms=["linux/amd64", "linux/arm64"],
    )
    assert done.code == 0, done.log
    assert read_sprung(done.folder) == []
    images = pushed.images(open_registry.url, f"e2e/{name}", "1")
    assert {image.files["machine"] for image in images.values()} == {b"x86_64\n", b"aarch64\n"}
    assert {image.files["said"] for image in images.values()} == {b'it\'s "quoted", really ann\n'}
    assert pushed.images(open_registry.url, f"e2e/{name}", "main").keys() == images.keys()
    digest = (done.folder / "kube-builder.env").read_text().partition("KUBE_BUILDER_DIGEST=")[2].split()[0]
    assert f"later got {digest} of {repository}:1@{digest}\n" in done.log
    assert "critical path" in (done.folder / "kube-builder-timeline.html").read_text()
    assert json.loads((done.folder / "kube-builder-checks.json").read_text()) == []
    assert team_builders.left() == []


def test_an_include_without_inputs_goes_by_the_jobs_own_variables(
    run: Callable[..., Pipeline], team_builders: Builders, name: str, open_registry: Registry
) -> None:
    image = f"{open_registry.address}/e2e/{name}"
    of_job = {"CI_REGISTRY_IMAGE": image, "CI_JOB_TIMEOUT": "900", "CI_PROJECT_URL": "https://git.example/x"}
    done = run(f"{checkout.BOTH}FROM busybox as other\n", variables=of_job | {"KUBE_BUILDER_PUSH": "true"})
    assert done.code == 0, done.log
    assert pushed.images(open_registry.url, f"e2e/{name}", "latest").keys() == {"linux/amd64"}
    (finding,) = json.loads((done.folder / "kube-builder-checks.json").read_text())
    assert (finding["check_name"], finding["location"]["path"]) == ("FromAsCasing", "app/Dockerfile")
    assert team_builders.left() == []


def test_two_includes_are_two_images(
    run: Callable[..., Pipeline], team_builders: Builders, name: str, open_registry: Registry
) -> None:
    image = f"{open_registry.address}/e2e/{name}"
    done = run(
        f"{checkout.BOTH}ARG WHICH\nRUN echo $WHICH > /which\n",
        **{"job-name": "first", "build-args": ["WHICH=first"], "tags": [f"{image}:first"], "push": True},
        # In a stage of its own: this runner gives all jobs one folder, and so one file of variables.
        also={"job-name": "second", "stage": "after", "build-args": ["WHICH=second"], "tags": [f"{image}:second"]},
        later='cat "$FIRST_KUBE_BUILDER_METADATA" "$SECOND_KUBE_BUILDER_METADATA" > both'
        ' && echo "later got $FIRST_KUBE_BUILDER_IMAGE $SECOND_KUBE_BUILDER_IMAGE"',
    )
    assert done.code == 0, done.log
    first, second = re.findall(r'"containerimage.digest": "(.*)"', (done.folder / "both").read_text())
    assert f"later got {image}:first@{first} {image}:second@{second}\n" in done.log
    for which in ("first", "second"):
        (built,) = pushed.images(open_registry.url, f"e2e/{name}", which).values()
        assert built.files["which"] == f"{which}\n".encode()
    assert team_builders.left() == []


def test_a_last_job_merges_what_others_pushed_by_digest(
    run: Callable[..., Pipeline], team_builders: Builders, name: str, open_registry: Registry
) -> None:
    image = f"{open_registry.address}/e2e/{name}"
    done = run(
        checkout.BOTH,
        **{"job-name": "build-amd64", "platforms": ["linux/amd64"]},
        outputs=["type=image,push-by-digest=true,push=true"],
        also={"job-name": "build-arm64", "stage": "after", "platforms": ["linux/arm64"]},
        merge={
            "stage": "merge",
            "platforms": ["linux/amd64", "linux/arm64"],
            "annotations": ["of=all"],
            "buildkitd-config": "buildkitd.toml",
        },
        variables={"CI_REGISTRY_IMAGE": image},
    )
    assert done.code == 0, done.log
    images = pushed.images(open_registry.url, f"e2e/{name}", "latest")
    assert {str(platform): found.files["machine"] for platform, found in images.items()} == {
        "linux/amd64": b"x86_64\n",
        "linux/arm64": b"aarch64\n",
    }
    digest = json.loads((done.folder / "kube-builder.json").read_text())["containerimage.digest"]
    assert f"later got {digest} of {image}:latest@{digest}\n" in done.log
    assert team_builders.left() == []


def test_a_base_image_comes_through_the_dependency_proxy(
    run: Callable[..., Pipeline], team_builders: Builders, name: str, open_registry: Registry
) -> None:
    """A registry that asks who one is in the proxy's place; the job is told of it as GitLab tells."""
    _, proxy, _ = registry.registries(layout.cluster())
    group = f"e2e/{name}/dependency_proxy/containers"
    fill(proxy, f"{group}/busybox", open_registry)
    done = run(
        "ARG CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX\nFROM ${CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX}/busybox\n"
        "COPY note /note\nRUN uname -m > /machine\n",
        **{"build-args": ["CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX"], "push": True},
        tags=[f"{open_registry.address}/e2e/{name}:1"],
        variables={
            "CI_DEPENDENCY_PROXY_SERVER": proxy.address,
            "CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX": f"{proxy.address}/{group}",
            "CI_DEPENDENCY_PROXY_USER": proxy.username,
            "CI_DEPENDENCY_PROXY_PASSWORD": proxy.password.reveal_text(),
        },
    )
    assert done.code == 0, done.log
    assert f"FROM {proxy.address}/{group}/busybox" in done.log
    assert proxy.password.reveal_text() not in done.log
    assert pushed.images(open_registry.url, f"e2e/{name}", "1")["linux/amd64"].files["machine"] == b"x86_64\n"
    assert team_builders.left() == []


def fill(proxy: Registry, path: str, upstream: Registry) -> None:
    """What the proxy has when somebody has asked for it before."""
    assert proxy.ca_file
    login = RegistryLogin(username=proxy.username, secret=proxy.password)
    store = CredentialStore(
        [DockerConfig(origin="test", auths={(proxy.address, ""): login}, helpers={}, store="")], env={}
    )
    trust = RegistryTrust(plain=frozenset({upstream.address}), authorities={proxy.address: (proxy.ca_file,)})
    source, target = RegistryRepository(upstream.address, "library/busybox"), RegistryRepository(proxy.address, path)
    with RegistryClient(store, trust=trust) as client:
        index = client.read_manifest(source, "latest")
        copy_manifest(client, index.descriptor.digest, source, target)
        client.put_manifest(target, "latest", index)


def test_a_failing_build_is_followed_by_after_script(
    run: Callable[..., Pipeline], team_builders: Builders, name: str
) -> None:
    done = run(checkout.FAILS, timeline="failed.svg")
    assert done.code == 1
    assert "2 | >>> RUN echo almost && exit 7" in done.log
    assert "ERROR: failed to solve: " in done.log
    after = done.log.partition("Running after script")[2]
    assert re.search(rf"kube-builder-{name}-[a-z0-9-]+: (removed|nothing is left)\n", after), done.log
    assert "Traceback" not in done.log
    assert (done.folder / "failed.svg").read_text().startswith("<svg")
    assert team_builders.left() == []


def test_every_variable_of_the_pipeline_reaches_the_job(run: Callable[..., Pipeline], tmp_path: Path) -> None:
    """Past the inputs that the include does not set; a program in the product's place notes what it gets."""
    offered = {option.variable: option.name for option in inputs.list_inputs(OptionSurface.GITLAB)}
    seen = tmp_path / "seen"
    program = tmp_path / "programs" / "kube-builder"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nenv -0 > {seen}\n")
    program.chmod(0o755)
    done = run(
        checkout.BOTH,
        **{"context": "", "buildkitd-config": ""},
        variables=dict.fromkeys(offered, "said") | {"PATH": f"{program.parent}:{os.environ['PATH']}"},
    )
    env = dict(line.split("=", 1) for line in seen.read_text().split("\0") if line)
    assert gitlab.read_inputs(env, tmp_path).sources == {name: variable for variable, name in offered.items()}, done.log


def test_bad_input_names_the_input(run: Callable[..., Pipeline], team_builders: Builders) -> None:
    done = run(checkout.BOTH, platforms=["linux/amd46"])
    assert done.code == 1
    assert "kube-builder: error: input platforms: " in done.log
    assert team_builders.namespaces() == []


def test_bake_builds_the_targets_of_a_definition(
    run: Callable[..., Pipeline], team_builders: Builders, name: str, open_registry: Registry
) -> None:
    repository = f"{open_registry.address}/e2e/{name}"
    definition = f"""
variable "CI_JOB_TOKEN" {{ default = "none" }}
group "default" {{ targets = ["app", "worker"] }}
target "app" {{
  context = "app"
  tags    = ["{repository}:app"]
  labels  = {{ token = CI_JOB_TOKEN }}
}}
target "worker" {{
  inherits = ["app"]
  tags     = ["{repository}:worker"]
}}
"""
    done = run(
        checkout.BOTH,
        later='test -s "$KUBE_BUILDER_METADATA" && grep -c containerimage.digest "$KUBE_BUILDER_METADATA"',
        bake={"set": ["app.platform=linux/amd64", "worker.platform=linux/arm64"], "push": True},
        definition=definition,
    )
    assert done.code == 0, done.log
    (app,) = pushed.images(open_registry.url, f"e2e/{name}", "app").values()
    (worker,) = pushed.images(open_registry.url, f"e2e/{name}", "worker").values()
    assert (app.files["machine"], worker.files["machine"]) == (b"x86_64\n", b"aarch64\n")
    assert app.config["config"]["Labels"]["token"] == "none"
    assert json.loads((done.folder / "kube-builder.json").read_text()).keys() == {"app", "worker"}
    assert read_sprung(done.folder) == []
    assert team_builders.left() == []
