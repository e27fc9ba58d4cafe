"""Every step, include and command of the pages passes the product's own checks of its values.

The files that the snippets name exist in the checkout of the test, and expressions of the CI system have a value.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import socket
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ci_buildx.ci import bake as ci_bake
from ci_buildx.ci import bake_inputs, digests, inputs
from ci_buildx.ci.github import events, step
from ci_buildx.ci.github.bake import KNOWN as OF_BAKE
from ci_buildx.ci.github.inputs import read_inputs
from ci_buildx.ci.github.merge import KNOWN as OF_MERGE
from ci_buildx.ci.github.setup import KNOWN
from ci_buildx.ci.github.state import ActionStep
from ci_buildx.ci.gitlab import inputs as gitlab_inputs
from ci_buildx.cli import build, create
from ci_buildx.cli.process import ProcessContext
from ci_buildx.settings import assembly
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.option import OptionSurface
from ci_buildx.settings.values import Settings
from tests.unit.docs.examples import Example, commands, examples, is_bake, is_merge, parts
from tests.unit.settings.certificate import PEM

FOLDERS = ("api", "web", "worker", "services/api", "services/web", "libs", "ci", "hello")
VALUES: Mapping[str, str] = {
    "github.sha": "b" * 40,
    "github.repository": "acme/app",
    "github.actor": "someone",
    "github.event_name == 'push'": "true",
    "runner.temp": "/tmp",
    "matrix.arch": "amd64",
    "matrix.name": "api",
    "matrix.context": "services/api",
    "secrets.KUBECONFIG": "",
    "secrets[matrix.kubeconfig]": "",
    "secrets.GITHUB_TOKEN": "ghs_0123456789abcdef",
}
"""Values of expressions. Others have a text of their own."""
CI_VARIABLES = {
    "CI_REGISTRY_IMAGE": "registry.example/acme/app",
    "CI_COMMIT_SHORT_SHA": "bbbbbbbb",
    "CI_COMMIT_TAG": "v1.2.3",
    "CI_SERVER_FQDN": "gitlab.example",
}
STEPS = [
    (example, part)
    for example in examples("yaml")
    if "org/kube-builder" in example.text
    for document in example.documents()
    for part in parts(document)
    if str(part.get("uses", "")).startswith("org/kube-builder")
]
INCLUDES = [
    (example, part["inputs"])
    for example in examples("yaml")
    for document in example.documents()
    for part in parts(document)
    if "inputs" in part and ("component" in part or "file" in part) and not is_merge(part) and not is_bake(part)
]
BAKES = [
    (example, part["inputs"])
    for example in examples("yaml")
    for document in example.documents()
    for part in parts(document)
    if "inputs" in part and is_bake(part)
]
MERGES = [
    (example, part["inputs"])
    for example in examples("yaml")
    for document in example.documents()
    for part in parts(document)
    if "inputs" in part and is_merge(part)
]
OUTLINE = re.compile(r"[…[]|\b(DIR|METHOD|VERB)\b")
BUILDS = sorted({one for one in commands() if one.split()[1] in ("build", "create") and not OUTLINE.search(one)})
CONFIGURATIONS = [
    (example, text)
    for example in examples("yaml")
    for document in example.documents()
    for part in parts(document)
    if isinstance(text := part.get("builder-config"), str)
]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with the files that the snippets name."""
    for folder in FOLDERS:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "app.Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "gitlab-template").mkdir()
    (tmp_path / "gitlab-template" / "Containerfile").write_text("FROM scratch\n")
    (tmp_path / "ci" / "ca.pem").write_text(PEM)
    (tmp_path / "ci" / "buildkitd.toml").write_text('[registry."registry.internal"]\n  ca = ["ci/ca.pem"]\n')
    (tmp_path / "ci" / "kubeconfig").write_text("{}")
    (tmp_path / "digests").mkdir()
    (tmp_path / "digests" / "amd64").write_text(f"sha256:{'1' * 64}")
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    (tmp_path / "home" / ".npm-token").write_text("t")
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, encryption_algorithm=NoEncryption()
    )
    (tmp_path / "home" / ".ssh" / "id_ed25519").write_bytes(key)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        yield tmp_path


def fill_expressions(text: str) -> str:
    """Replace a workflow's expressions by values that the checks accept."""

    def replace(found: re.Match[str]) -> str:
        expression = found[1].strip()
        if choice := re.search(r"&& '([^']+)' \|\|", expression):
            return choice[1]
        return VALUES.get(expression, "a-value")

    return re.sub(r"\$\{\{(.*?)\}\}", replace, text, flags=re.DOTALL).strip()


def make_action_env(given: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Make the environment of a step with these inputs, as the runner does."""
    texts = {
        name: str(value).lower() if isinstance(value, bool) else fill_expressions(str(value))
        for name, value in given.items()
    }
    files = {name: str(folder / name.lower()) for name in ("GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_ENV")}
    (folder / "event.json").write_text(json.dumps({"repository": {"html_url": "https://github.com/acme/app"}}))
    return {
        **{f"INPUT_{name.upper()}": text for name, text in texts.items()},
        **files,
        "GITHUB_EVENT_PATH": str(folder / "event.json"),
        "GITHUB_EVENT_NAME": "push",
        "GITHUB_REPOSITORY": "acme/app",
        "GITHUB_REF": "refs/heads/main",
        "GITHUB_SHA": "b" * 40,
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_WORKSPACE": str(folder),
        "RUNNER_TEMP": str(folder / "home"),
        "HOME": str(folder / "home"),
        "SSH_AUTH_SOCK": str(folder / "s"),
        "DOCKER_HOST": f"unix://{folder / 's'}",
    }


@pytest.mark.parametrize(("example", "part"), STEPS, ids=str)
def test_steps_are_valid(example: Example, part: dict[str, Any], checkout: Path) -> None:
    env = make_action_env(part.get("with", {}), checkout)
    if part["uses"].startswith("org/kube-builder/setup@"):
        given = read_inputs(env, checkout, known=KNOWN)
        assert given.values.keys() <= KNOWN.keys()
        values = {**given.select_build_options(), "context": str(checkout), "file": "-"}
        assert isinstance(inputs.read_job_settings(values, given.sources, env, checkout), Settings)
        return
    run = ActionStep(env=env, cwd=checkout, stdout=io.StringIO(), event=events.read_event(env), begun=time.monotonic())
    if part["uses"].startswith("org/kube-builder/bake/subaction/matrix@"):
        known = {option.name: option for option in bake_inputs.list_matrix_inputs()}
        assert read_inputs(env, checkout, known=known).values.keys() <= known.keys()
        return
    if part["uses"].startswith("org/kube-builder/bake@"):
        given = read_inputs(env, checkout, known=OF_BAKE)
        assert ci_bake.read_command(given, env, checkout).request.targets
        return
    if part["uses"].startswith("org/kube-builder/merge@"):
        given = step.name_image(read_inputs(env, checkout, known=OF_MERGE), run)
        assert digests.read_request(given).tags
        return
    with step.prepare_build(run) as (given, around):
        settings = inputs.read_job_settings(given.select_build_options(), given.sources, around, checkout)
    assert settings.build.push == (fill_expressions(str(part.get("with", {}).get("push", "false"))).lower() == "true")


@pytest.mark.parametrize(("example", "given"), MERGES, ids=str)
def test_includes_of_the_merge_are_valid(example: Example, given: dict[str, Any], checkout: Path) -> None:
    env = {gitlab_inputs.name_variable(name): json.dumps(value) for name, value in given.items()}
    env |= {gitlab_inputs.name_variable("digests"): json.dumps([f"sha256:{'1' * 64}"])}
    known = inputs.list_merge_inputs(OptionSurface.GITLAB)
    read = gitlab_inputs.read_inputs(env, checkout, template=known)
    request = digests.read_request(read.replace_values(tags=gitlab_inputs.make_default_tags(CI_VARIABLES)))
    assert [str(platform) for platform in request.platforms] == given.get("platforms", [])


@pytest.mark.parametrize(("example", "given"), BAKES, ids=str)
def test_includes_of_the_bake_are_valid(example: Example, given: dict[str, Any], checkout: Path) -> None:
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    env = {gitlab_inputs.name_variable(name): text for name, text in texts.items()}
    read = gitlab_inputs.read_inputs(env, checkout, template=bake_inputs.list_bake_inputs(OptionSurface.GITLAB))
    command = ci_bake.read_command(read, env, checkout)
    assert list(command.request.targets) == given.get("targets", ["default"])


@pytest.mark.parametrize(("example", "given"), INCLUDES, ids=str)
def test_includes_are_valid(example: Example, given: dict[str, Any], checkout: Path) -> None:
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    for name, value in CI_VARIABLES.items():
        texts = {key: text.replace(f"${name}", value) for key, text in texts.items()}
    env = {gitlab_inputs.name_variable(name): text for name, text in texts.items()}
    env |= {"CI_JOB_NAME": texts.get("job-name", "kube-builder"), "NPM_TOKEN": "t", **CI_VARIABLES}
    env |= {gitlab_inputs.name_variable("job-name"): env["CI_JOB_NAME"]}
    read = gitlab_inputs.fill_defaults(gitlab_inputs.read_inputs(env, checkout), folder=checkout)
    settings = inputs.read_job_settings(read.select_build_options(), read.sources, env, checkout)
    assert settings.build.push is bool(given.get("push", False))
    assert settings.build.tags or "push-by-digest=true" in str(given)


@pytest.mark.parametrize("command", BUILDS)
def test_commands_are_valid(command: str, checkout: Path) -> None:
    verb, *arguments = shlex.split(command.replace("$HOME", str(checkout / "home")), comments=True)[1:]
    env = {"HOME": str(checkout / "home"), "NPM_TOKEN": "t", "GIT_TOKEN": "t", "SSH_AUTH_SOCK": str(checkout / "s")}
    around = ProcessContext(env=env, cwd=checkout, stdout=io.StringIO(), stderr=io.StringIO())
    if verb == "create":
        read = create.make_parser().read(arguments)
        given = {name: value for name, value in read.items() if name in ("driver-opts", "builder-config")}
        assert isinstance(assembly.make_builder_settings(given, {}, env, checkout), BuilderSettings)
    elif arguments and "--help" not in arguments:
        assert isinstance(build.parse_settings(arguments, around), Settings)


@pytest.mark.parametrize(("example", "text"), CONFIGURATIONS, ids=str)
def test_configurations_of_builders_are_valid(example: Example, text: str, checkout: Path) -> None:
    env = {"HTTPS_PROXY": "http://proxy.example:3128"}
    settings = assembly.make_builder_settings({"builder-config": text}, {}, env, checkout)
    assert settings != BuilderSettings()


@pytest.mark.parametrize("example", [one for one in examples("toml") if "worker" in one.text], ids=str)
def test_configurations_of_buildkitd_are_merged(example: Example, checkout: Path) -> None:
    given = {"buildkitd-config-inline": example.text}
    settings = assembly.make_builder_settings(given, {}, {}, checkout)
    assert tomllib.loads(settings.buildkitd_config) == tomllib.loads(example.text)


def test_there_are_snippets_of_each_kind() -> None:
    assert min(len(STEPS), len(INCLUDES), len(BUILDS)) >= 15
    assert len(CONFIGURATIONS) >= 4
