"""The CI system's own step, with the other layers off: the job was killed, its builder has an hour to live."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.cluster import Builders
from tests.e2e.product import COMMAND
from tests.faults.victim import ENDLESS, PATIENCE, has_pods, runs_a_pod
from tests.integration.builder.conftest import eventually


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where a job keeps its credentials while it runs."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def given(product_env: dict[str, str], context: Path, buildkitd_config: Path) -> dict[str, str]:
    """The inputs: credentials of the cluster and of a registry as their content, as a CI system's secrets hold them."""
    return {
        "KUBECONFIG": Path(product_env["KUBECONFIG"]).read_text(),
        "REGISTRY": "registry.example",
        "USERNAME": "ann",
        "PASSWORD": "hunter2",
        "CONTEXT": str(context),
        "BUILDKITD-CONFIG": str(buildkitd_config),
    }


@pytest.fixture
def around(product_env: dict[str, str], temporary: Path) -> dict[str, str]:
    """The environment of a job without a kubeconfig, with a temporary folder of its own."""
    own = {name: value for name, value in product_env.items() if name != "KUBECONFIG"}
    return own | {"TMPDIR": str(temporary), "RUNNER_TEMP": str(temporary)}


@pytest.fixture
def github(tmp_path: Path, around: dict[str, str], given: dict[str, str], name: str) -> dict[str, str]:
    """What a runner gives the Action."""
    return {
        **around,
        **{f"INPUT_{key}": value for key, value in given.items()},
        "GITHUB_ACTIONS": "true",
        "GITHUB_REPOSITORY": f"team/{name}",
        "GITHUB_RUN_ID": "7",
        "GITHUB_STATE": str(tmp_path / "state"),
    }


@pytest.fixture
def gitlab(around: dict[str, str], given: dict[str, str], name: str) -> dict[str, str]:
    """What a runner gives the template's job, in script and after_script alike."""
    return {
        **around,
        **{f"KUBE_BUILDER_{key.replace('-', '_')}": value for key, value in given.items()},
        "GITLAB_CI": "true",
        "CI_SERVER_HOST": "gitlab.example",
        "CI_PROJECT_ID": "1",
        "CI_PROJECT_PATH": f"team/{name}",
        "CI_JOB_ID": f"{int(name.removeprefix('app-'), 16)}",
        "CI_JOB_TOKEN": "glcbt-64_token",
    }


@pytest.mark.parametrize("moment", [has_pods, runs_a_pod])
def test_the_actions_post_step(
    github: dict[str, str], team_builders: Builders, context: Path, moment: object, tmp_path: Path, temporary: Path
) -> None:
    kill("github", github, team_builders, context, moment)
    assert len(credentials(temporary)) == 2
    saved = dict(re.findall(r"(\w+)<<(?:\S+)\n(.*)\n", (tmp_path / "state").read_text()))
    after = {**github, **{f"STATE_{name}": value for name, value in saved.items()}}
    check(run("github", "--post", env=after, cwd=context), team_builders)
    assert credentials(temporary) == []


@pytest.mark.parametrize("moment", [has_pods, runs_a_pod])
def test_gitlabs_after_script(
    gitlab: dict[str, str], team_builders: Builders, context: Path, moment: object, temporary: Path
) -> None:
    kill("gitlab", gitlab, team_builders, context, moment)
    assert len(credentials(temporary)) == 2
    check(run("gitlab", "--post", env=gitlab, cwd=context), team_builders)
    assert credentials(temporary) == []


def kill(verb: str, env: Mapping[str, str], team_builders: Builders, context: Path, moment: object) -> None:
    """Start a build and kill it with -9 at a moment."""
    (context / "Dockerfile").write_text(ENDLESS)
    with subprocess.Popen(
        [*COMMAND, verb], env=dict(env), cwd=context, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            eventually("the moment", lambda: process.poll() is not None or bool(moment(team_builders)))  # type: ignore[operator]
            assert process.poll() is None, process.communicate()[0]
        finally:
            process.kill()
    assert team_builders.left() != []


def credentials(temporary: Path) -> list[Path]:
    """The kubeconfig and the docker configuration, as long as they are there."""
    found = (path for path in temporary.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in found if "hunter2" in (text := path.read_text()) or "clusters" in text or "auths" in text]


def run(*arguments: str, env: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=dict(env), cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def check(done: subprocess.CompletedProcess[str], team_builders: Builders) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert team_builders.left() == []
    assert team_builders.wait_for_pods_to_go(PATIENCE) == []
