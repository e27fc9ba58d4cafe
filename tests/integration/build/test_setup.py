"""A builder that the Action's setup step makes, and a later step's build on it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_buildx.ci.github import action
from tests.e2e.product import Product


@pytest.fixture
def job(product: Product, tmp_path: Path) -> dict[str, str]:
    """A GitHub job's environment, with the files through which its steps pass values on."""
    files = {
        name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_ENV", "GITHUB_STEP_SUMMARY")
    }
    workspace = tmp_path / "checkout"
    workspace.mkdir()
    (workspace / "Dockerfile").write_text("FROM busybox\nRUN ip link show > /links\n")
    about = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "team/app", "GITHUB_RUN_ID": "1", "GITHUB_JOB": "build"}
    return {**product.env, **files, **about, "GITHUB_WORKSPACE": str(workspace), "RUNNER_TEMP": str(tmp_path)}


def read_values(path: str) -> dict[str, str]:
    """Return what a step has written into one of the runner's files."""
    return dict(re.findall(r"^(\S+)<<(?:\S+)\n(.*?)\nend-", Path(path).read_text(), re.MULTILINE | re.DOTALL))


def run(env: dict[str, str], *, post: bool = False, alone: bool = False) -> tuple[int, str]:
    log = io.StringIO()
    code = action.main(
        post=post,
        kind=action.ActionKind.SETUP if alone else action.ActionKind.BUILD,
        env=env,
        cwd=Path(env["GITHUB_WORKSPACE"]),
        stdout=log,
    )
    return code, log.getvalue()


@pytest.fixture
def later(job: dict[str, str], product: Product) -> Iterator[dict[str, str]]:
    """The environment of the steps after the setup step."""
    code, log = run(job | {"INPUT_BUILDKITD-CONFIG": str(product.config), "INPUT_USE": "true"}, alone=True)
    try:
        assert code == 0, log
        yield job | read_values(job["GITHUB_ENV"])
    finally:
        state = {f"STATE_{name}": value for name, value in read_values(job["GITHUB_STATE"]).items()}
        assert run(job | state, post=True)[0] == 0


def test_a_later_step_may_build_in_the_hosts_network(later: dict[str, str]) -> None:
    """As on a builder of docker/setup-buildx-action: the builder permits it, and the build asks for it."""
    given = {"INPUT_CONTEXT": ".", "INPUT_NETWORK": "host", "INPUT_ALLOW": "network.host"}
    code, log = run(later | given)
    assert code == 0, log
