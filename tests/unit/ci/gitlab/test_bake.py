"""`kube-builder gitlab --bake`: the template's job, from variables to reports."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from ci_buildx.ci.gitlab import bake as gitlab_bake
from ci_buildx.errors import InputError
from tests.unit.ci.fake_bake import FakeBake
from tests.unit.ci.fake_job import FakeJob

DEFINITION = """
variable "CI_JOB_TOKEN" { default = "none" }
variable "CI_COMMIT_REF_SLUG" { default = "none" }
target "app" {
  tags = ["registry.example/app:${CI_COMMIT_REF_SLUG}"]
  args = { TOKEN = CI_JOB_TOKEN }
}
target "worker" {
  tags = ["registry.example/worker:1"]
}
"""
RUNNER = {
    "GITLAB_CI": "true",
    "CI_JOB_ID": "7",
    "CI_JOB_NAME": "bake",
    "CI_JOB_TOKEN": "glcbt-64_private",
    "CI_PROJECT_ID": "1",
    "CI_PROJECT_PATH": "group/app",
    "CI_SERVER_HOST": "git.example",
    "CI_COMMIT_REF_SLUG": "main",
    "CI_REGISTRY": "registry.git.example",
    "CI_REGISTRY_USER": "gitlab-ci-token",
    "CI_REGISTRY_PASSWORD": "registry-password-of-the-job",
    "KUBE_BUILDER_INPUT_JOB_NAME": "bake\n",
    "KUBE_BUILDER_INPUT_TARGETS": '["app", "worker"]\n',
    "KUBE_BUILDER_INPUT_PUSH": "true\n",
}


@pytest.fixture
def env(cwd: Path) -> dict[str, str]:
    """The variables of a job whose checkout has a definition of two targets."""
    (cwd / "docker-bake.hcl").write_text(DEFINITION)
    return RUNNER | {"CI_PROJECT_DIR": str(cwd)}


def start(env: dict[str, str], cwd: Path, *, post: bool = False) -> tuple[int, str]:
    stdout = io.StringIO()
    return gitlab_bake.main(post=post, env=env, cwd=cwd, stdout=stdout), stdout.getvalue()


def test_targets_are_built_with_the_inputs_and_their_results_passed_on(
    env: dict[str, str], cwd: Path, bake: FakeBake
) -> None:
    more = {"KUBE_BUILDER_INPUT_SET": '["*.platform=linux/arm64"]\n', "KUBE_BUILDER_INPUT_JOBS": "1\n"}
    code, log = start(env | more, cwd)
    assert code == 0
    app, worker = (job.settings.build for job in bake.jobs)
    assert app.tags == ("registry.example/app:main",)
    assert [(one.type, one.get("push")) for one in app.outputs] == [("image", "true")]
    assert app.build_args == (("TOKEN", "none"),), "a definition does not see the job's token"
    assert [str(one) for one in worker.platforms] == ["linux/arm64"]
    assert bake.session is not None
    assert bake.session.execution.parallel == 1
    assert json.loads((cwd / "kube-builder.json").read_text()).keys() == {"app", "worker"}
    assert (cwd / "kube-builder.bake.json").exists()
    assert (cwd / "kube-builder.env").read_text() == (
        "KUBE_BUILDER_METADATA=kube-builder.json\nBAKE_KUBE_BUILDER_METADATA=kube-builder.bake.json\n"
    )
    assert json.loads((cwd / "kube-builder-checks.json").read_text()) == []
    assert "app: image     registry.example/app:main" in log


def test_a_definition_in_git_is_refused(env: dict[str, str], cwd: Path, bake: FakeBake) -> None:
    with pytest.raises(InputError, match="must be a folder") as caught:
        start(env | {"KUBE_BUILDER_INPUT_SOURCE": "https://git.example/group/app.git\n"}, cwd)
    assert caught.value.source == "input source"
    assert bake.jobs == ()


def test_files_outside_of_the_project_are_refused(env: dict[str, str], cwd: Path, bake: FakeBake) -> None:
    (cwd / "docker-bake.hcl").write_text('target "app" { context = ".." }\ntarget "worker" {}\n')
    with pytest.raises(InputError, match="Read access to path") as caught:
        start(env, cwd)
    assert caught.value.source == "input allow"


def test_the_clean_up_removes_the_jobs_builder(env: dict[str, str], cwd: Path, bake: FakeBake, job: FakeJob) -> None:
    start(env, cwd)
    assert bake.session is not None
    assert bake.session.identity is not None
    code, _ = start(env, cwd, post=True)
    assert (code, job.removed["name"]) == (0, bake.session.identity.name)
