"""The CI system's own step, with the other layers off: the job was killed, its builder has an hour to live."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from ci_buildx.kube.client import KubeClient
from tests.e2e.cluster import Builders
from tests.e2e.product import COMMAND
from tests.faults.victim import ENDLESS, PATIENCE, has_pods, runs_a_pod
from tests.integration.builder.conftest import eventually


@pytest.fixture
def builders(kube: KubeClient, name: str) -> Builders:
    return Builders(kube, f"team/{name}")


@pytest.fixture
def github(
    tmp_path: Path, product_env: dict[str, str], name: str, context: Path, buildkitd_config: Path
) -> dict[str, str]:
    """What a runner gives the Action."""
    return {
        **product_env,
        "GITHUB_ACTIONS": "true",
        "GITHUB_REPOSITORY": f"team/{name}",
        "GITHUB_RUN_ID": "7",
        "GITHUB_STATE": str(tmp_path / "state"),
        "INPUT_CONTEXT": str(context),
        "INPUT_BUILDKITD-CONFIG": str(buildkitd_config),
    }


@pytest.fixture
def gitlab(product_env: dict[str, str], name: str, context: Path, buildkitd_config: Path) -> dict[str, str]:
    """What a runner gives the template's job, in script and after_script alike."""
    return {
        **product_env,
        "GITLAB_CI": "true",
        "CI_SERVER_HOST": "gitlab.example",
        "CI_PROJECT_ID": "1",
        "CI_PROJECT_PATH": f"team/{name}",
        "CI_JOB_ID": f"{int(name.removeprefix('app-'), 16)}",
        "KUBE_BUILDER_CONTEXT": str(context),
        "KUBE_BUILDER_BUILDKITD_CONFIG": str(buildkitd_config),
    }


@pytest.mark.parametrize("moment", [has_pods, runs_a_pod])
def test_the_actions_post_step(
    github: dict[str, str], builders: Builders, context: Path, moment: object, tmp_path: Path
) -> None:
    kill("action", github, builders, context, moment)
    saved = dict(re.findall(r"(\w+)<<(?:\S+)\n(.*)\n", (tmp_path / "state").read_text()))
    after = {**github, **{f"STATE_{name}": value for name, value in saved.items()}}
    check(run("action", "--post", env=after, cwd=context), builders)


@pytest.mark.parametrize("moment", [has_pods, runs_a_pod])
def test_gitlabs_after_script(gitlab: dict[str, str], builders: Builders, context: Path, moment: object) -> None:
    kill("ci", gitlab, builders, context, moment)
    check(run("ci", "--post", env=gitlab, cwd=context), builders)


def kill(verb: str, env: Mapping[str, str], builders: Builders, context: Path, moment: object) -> None:
    """Start a build and kill it with -9 at a moment."""
    (context / "Dockerfile").write_text(ENDLESS)
    with subprocess.Popen(
        [*COMMAND, verb], env=dict(env), cwd=context, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            eventually("the moment", lambda: process.poll() is not None or bool(moment(builders)))  # type: ignore[operator]
            assert process.poll() is None, process.communicate()[0]
        finally:
            process.kill()
    assert builders.left() != []


def run(*arguments: str, env: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=dict(env), cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def check(done: subprocess.CompletedProcess[str], builders: Builders) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert builders.left() == []
    assert builders.wait_for_pods_to_go(PATIENCE) == []
