"""`metadata-context: git`: tags and labels tell of what is checked out, as actions/checkout leaves it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ci_buildx.ci.github import inputs, naming
from ci_buildx.ci.github.events import WorkflowEvent
from ci_buildx.errors import InputError

DATE = "2026-01-02T03:04:05Z"


class Repository:
    """A repository with one commit, whose HEAD is detached."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "--quiet", "--initial-branch=work")
        self.git("commit", "--quiet", "--allow-empty", "--message=x")
        self.sha = self.git("rev-parse", "HEAD")
        self.git("checkout", "--quiet", "--detach")
        self.git("branch", "--quiet", "--delete", "work")

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@mail.example")
        env = {"PATH": "/usr/bin:/bin", "GIT_COMMITTER_DATE": DATE, "HOME": str(self.folder)}
        command = ["git", "-C", str(self.folder), *who, *arguments]
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty git repository in the test's folder."""
    return Repository(tmp_path)


@pytest.mark.parametrize(
    ("refs", "expected"),
    [
        (["refs/tags/v1.2.3"], "refs/tags/v1.2.3"),
        (["refs/remotes/origin/feature/x"], "refs/heads/feature/x"),
        (["refs/remotes/origin/HEAD", "refs/remotes/origin/main"], "refs/heads/main"),
        (["refs/remotes/pull/7/merge"], "refs/pull/7/merge"),
        (["refs/pull/7/head"], "refs/pull/7/head"),
        (["refs/heads/main", "refs/tags/v1", "refs/notes/x"], "refs/tags/v1"),
    ],
)
def test_a_detached_head_is_at_one_of_its_refs(repository: Repository, refs: list[str], expected: str) -> None:
    for ref in refs:
        repository.git("update-ref", ref, "HEAD")
    assert naming.read_checkout(repository.folder, source="x") == (expected, repository.sha)


def test_a_branch(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "-b", "release/2")
    repository.git("tag", "v1")
    assert naming.read_checkout(repository.folder, source="x") == ("refs/heads/release/2", repository.sha)


def test_a_commit_that_nothing_points_at(repository: Repository) -> None:
    with pytest.raises(InputError, match=r"^x: no branch, tag or pull request points at the checked-out commit; "):
        naming.read_checkout(repository.folder, source="x")


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^x: git rev-parse failed: fatal: .*; run actions/checkout before this step"):
        naming.read_checkout(tmp_path, source="x")


@pytest.mark.parametrize(("chosen", "tags"), [("", ["pr-7"]), ("workflow", ["pr-7"]), ("git", ["v1.2", "20260102"])])
def test_tags_are_of_what_is_chosen(repository: Repository, chosen: str, tags: list[str]) -> None:
    """The run is a pull request's from elsewhere; the job checked out a tag."""
    repository.git("tag", "v1.2.3")
    rules = "type=ref,event=pr\ntype=semver,pattern=v{{major}}.{{minor}}"
    if chosen == "git":
        rules += "\ntype=raw,value={{commit_date 'YYYYMMDD'}}"
    given = {"IMAGES": "r.example/a", "TAG-RULES": rules, "METADATA-CONTEXT": chosen, "FLAVOR": "latest=false"}
    env = {
        "GITHUB_EVENT_NAME": "pull_request_target", "GITHUB_REF": "refs/heads/main", "GITHUB_SHA": "0" * 40,
        **{f"INPUT_{name}": value for name, value in given.items()},
    }  # fmt: skip
    made = naming.make_metadata(
        inputs.read_inputs(env, repository.folder), WorkflowEvent(env=env, payload={"number": 7})
    )
    assert made is not None
    assert sorted(made.tag_names) == sorted(tags)
    assert (("org.opencontainers.image.revision", repository.sha) in made.labels) is (chosen == "git")


def test_another_choice_is_named(tmp_path: Path) -> None:
    env = {"INPUT_IMAGES": "r.example/a", "INPUT_METADATA-CONTEXT": "gitt"}
    with pytest.raises(InputError, match=r"^input metadata-context: .*'gitt'.*; did you mean 'git'"):
        naming.make_metadata(inputs.read_inputs(env, tmp_path), WorkflowEvent(env=env))
