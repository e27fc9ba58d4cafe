"""The step that only sets a builder up: what later steps and the post step find."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.identity import JobIdentity
from ci_buildx.ci.github import action, setup
from ci_buildx.ci.github import inputs as github_inputs
from ci_buildx.ci.github.setup import RunningBuilder, RunningNode
from ci_buildx.model import platform
from ci_buildx.settings.values import Settings
from tests.unit.ci.fake_job import FakeJob
from tests.unit.ci.github.runner import RUNNER, read

ROOT = Path(__file__).parents[4]
FILES = ("GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_ENV")
AMD, ARM = platform.parse_platform("linux/amd64"), platform.parse_platform("linux/arm64")


class FakeKeep:
    """Stands for ``build.keep``; ``place`` is the namespace, "" for one of the builder's own."""

    def __init__(self) -> None:
        self.place = ""
        self.settings: Settings | None = None
        self.identity: JobIdentity | None = None
        self.during: Callable[[], None] = lambda: None

    def run(
        self, settings: Settings, *, identity: JobIdentity, announce: Callable[[BuilderLocation], None], **_: object
    ) -> RunningBuilder:
        self.settings, self.identity = settings, identity
        name = identity.name
        announce(BuilderLocation(name=name, namespace=self.place or name, exclusive=not self.place))
        self.during()
        nodes = (
            RunningNode(name="amd64", platforms=(AMD,), buildkit="v0.34.2"),
            RunningNode(name="arm64", platforms=(ARM,), buildkit="v0.34.2"),
        )
        return RunningBuilder(name=name, namespace=self.place or name, flags=("--debug",), nodes=nodes)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> FakeKeep:
    """A builder that is made without a cluster, and records how."""
    fake = FakeKeep()
    monkeypatch.setattr(setup, "run_setup_builder", fake.run)
    return fake


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The variables of a step that sets up a builder."""
    own = {name: value for name, value in RUNNER.items() if not name.startswith("INPUT_")}
    return own | {name: str(tmp_path / name) for name in FILES} | {"RUNNER_TEMP": str(tmp_path)}


def run(env: dict[str, str], cwd: Path, *, post: bool = False, **given: str) -> tuple[int, str]:
    stdout = io.StringIO()
    inputs = {f"INPUT_{name.upper().replace('_', '-')}": value for name, value in given.items()}
    return action.main(
        post=post, kind=action.ActionKind.SETUP, env=env | inputs, cwd=cwd, stdout=stdout
    ), stdout.getvalue()


def test_outputs_are_setup_buildxs(env: dict[str, str], cwd: Path, kept: FakeKeep) -> None:
    assert run(env, cwd, platforms="linux/amd64,linux/arm64", buildkitd_flags="--debug")[0] == 0
    assert kept.identity is not None
    outputs = read(env["GITHUB_OUTPUT"])
    assert (outputs["name"], outputs["driver"]) == (kept.identity.name, "kubernetes")
    assert outputs["platforms"] == "linux/amd64,linux/arm64"
    nodes: list[dict[str, Any]] = json.loads(outputs["nodes"])
    assert [node["platforms"] for node in nodes] == ["linux/amd64", "linux/arm64"]
    assert nodes[0] | {"platforms": ""} == {
        "name": "amd64",
        "endpoint": f"kubernetes:///{kept.identity.name}?node=amd64",
        "status": "running",
        "buildkitd-flags": "--debug",
        "buildkit": "v0.34.2",
        "platforms": "",
    }


def test_later_steps_find_it_by_variables(env: dict[str, str], cwd: Path, kept: FakeKeep, job: FakeJob) -> None:
    kept.place = "ci"
    run(env, cwd, transport="exec", kube_context="prod", namespace="ci")
    assert kept.identity is not None
    variables = read(env["GITHUB_ENV"])
    assert variables == {
        "KUBE_BUILDER_BUILDER": kept.identity.name,
        "KUBE_BUILDER_NAMESPACE": "ci",
        "KUBE_BUILDER_TRANSPORT": "exec",
        "KUBE_BUILDER_KUBE_CONTEXT": "prod",
    }
    stdout = io.StringIO()
    later = env | variables | {"INPUT_CONTEXT": ".", "INPUT_PUSH": "true", "INPUT_TAGS": "r.example/a:1"}
    assert action.main(post=False, env=later, cwd=cwd, stdout=stdout) == 0, stdout.getvalue()
    assert job.settings is not None
    assert (job.settings.builder_name, job.settings.cluster.context) == (kept.identity.name, "prod")


def test_it_is_made_from_yaml_by_whom_the_jobs_token_says(
    env: dict[str, str], cwd: Path, kept: FakeKeep, job: FakeJob
) -> None:
    audience = "https://kubernetes.example"
    code, log = run(env, cwd, builder_config="replicas: 2\nlabels: {team: ours}\n", oidc=audience)
    assert code == 0, log
    assert kept.settings is not None
    assert kept.settings.cluster.oidc == audience
    assert kept.settings.builder.replicas == 2
    assert read(env["GITHUB_ENV"])["KUBE_BUILDER_OIDC"] == audience
    code, log = run(env | {"STATE_builder": "b", "STATE_alone": "true"}, cwd, post=True, oidc=audience)
    assert code == 0, log
    assert job.removed["cluster"].oidc == audience


def test_with_use_false_they_name_it(env: dict[str, str], cwd: Path, kept: FakeKeep) -> None:
    run(env, cwd, use="false")
    assert not Path(env["GITHUB_ENV"]).exists()


def test_the_builder_is_of_the_runs_trust_scope(env: dict[str, str], cwd: Path, kept: FakeKeep) -> None:
    run(env, cwd)
    assert kept.identity is not None
    assert kept.identity.annotations["kube-builder.dev/trust-scope"] == "unprotected"


def test_a_kubeconfigs_content_is_a_file_until_post(
    env: dict[str, str], cwd: Path, kept: FakeKeep, job: FakeJob, tmp_path: Path
) -> None:
    during: list[dict[str, str]] = []
    kept.during = lambda: during.append(read(env["GITHUB_STATE"]))
    run(env, cwd, kubeconfig="kind: Config\nclusters: []\n")
    (path,) = tmp_path.glob("kube-builder-kubeconfig-*")
    assert (path.stat().st_mode & 0o777, read(env["GITHUB_ENV"])["KUBE_BUILDER_KUBECONFIG"]) == (0o600, str(path))
    state = during[0]
    assert state["kubeconfig"] == str(path)
    stdout = io.StringIO()
    after = env | {f"STATE_{name}": value for name, value in state.items()}
    code = action.main(post=True, env=after | {"INPUT_USE": "true"}, cwd=cwd, stdout=stdout)
    assert code == 0, stdout.getvalue()
    assert job.removed["cluster"].kubeconfig == (path,)
    assert not path.exists()


def test_with_cleanup_false_post_leaves_it(env: dict[str, str], cwd: Path, kept: FakeKeep, job: FakeJob) -> None:
    run(env, cwd, cleanup="false")
    state = {f"STATE_{name}": value for name, value in read(env["GITHUB_STATE"]).items()}
    assert run(env | state, cwd, post=True) == (0, "")
    assert not job.removed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"driver": "docker-container"}, "input driver: unknown driver 'docker-container'; omit it"),
        ({"version": "latest"}, "input version: is not supported"),
        ({"name": "mine"}, "input name: is not supported"),
        ({"tags": "x"}, "unknown input 'tags'"),
        ({"platforms": "linux/amd46"}, "input platforms: "),
    ],
)
def test_bad_input_makes_nothing(
    given: dict[str, str], message: str, env: dict[str, str], cwd: Path, kept: FakeKeep
) -> None:
    code, log = run(env, cwd, post=False, **given)
    assert code == 2
    assert message in log
    assert kept.settings is None


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({}, setup.FLAGS),
        ({"buildkitd_flags": "--debug"}, ("--debug",)),
        ({"buildkitd_config_inline": "insecure-entitlements = []"}, ()),
    ],
)
def test_the_entitlements_are_setup_buildxs(
    given: dict[str, Any], flags: tuple[str, ...], env: dict[str, str], cwd: Path, kept: FakeKeep
) -> None:
    assert run(env, cwd, **given)[0] == 0
    assert kept.settings is not None
    assert kept.settings.builder.buildkitd_flags == flags


@pytest.mark.parametrize("name", sorted(setup.KNOWN.keys() - {"python", "bundle"}))
def test_no_default_of_the_setups_inputs_hides_a_variable(name: str, tmp_path: Path) -> None:
    """With what the runner hands over for an input that is not given: the default that setup/action.yml declares."""
    declared = yaml.safe_load((ROOT / "setup" / "action.yml").read_text())["inputs"]
    assert declared.keys() == setup.KNOWN.keys()
    env = {f"INPUT_{each.upper()}": str(one.get("default", "")) for each, one in declared.items()}
    env[setup.KNOWN[name].variable] = "true"
    given = github_inputs.add_variables(github_inputs.read_inputs(env, tmp_path, known=setup.KNOWN), setup.KNOWN)
    assert given.values == {name: "true"}
    told = github_inputs.read_inputs(env | {f"INPUT_{name.upper()}": "told"}, tmp_path, known=setup.KNOWN)
    assert github_inputs.add_variables(told, setup.KNOWN).values == {name: "told"}


def test_variables_of_builds_are_for_builds(env: dict[str, str], cwd: Path, kept: FakeKeep) -> None:
    """Those of the whole job, which its later steps need; the ones that shape a builder count here."""
    shared = {"KUBE_BUILDER_PUSH": "true", "KUBE_BUILDER_BUILDER": "other", "KUBE_BUILDER_DRIVER_OPTS": "replicas=2"}
    assert run(env | shared, cwd)[0] == 0
    assert kept.settings is not None
    assert (kept.settings.build.push, kept.settings.builder_name, kept.settings.builder.replicas) == (False, "", 2)
