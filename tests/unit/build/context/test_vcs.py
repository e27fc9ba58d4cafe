import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.build.context import origin
from ci_buildx.model.plaintext import redact_url
from ci_buildx.settings.values import BuildSettings, TypedAttributes

CHECKOUT = "rev-parse --is-inside-work-tree --show-toplevel HEAD --symbolic-full-name HEAD"
FOLLOWS = "for-each-ref --format=%(upstream:remotename) refs/heads/main"
URL = "https://host.example/team/repo.git"


def settings(root: Path = Path("/src"), **more: Any) -> BuildSettings:
    given: dict[str, Any] = {"context": root / "app", "dockerfile": root / "docker" / "Dockerfile", "push": True}
    return BuildSettings(**given | more)


def attributes(answers: Mapping[str, str], env: Mapping[str, str] | None = None, **more: Any) -> dict[str, str]:
    return origin.read_git_attributes(settings(**more), env or {}, git=lambda *words: answers.get(" ".join(words), ""))


def checkout(*, revision: str = "c0ffee", branch: str = "refs/heads/main") -> dict[str, str]:
    return {CHECKOUT: f"true\n/src\n{revision}\n{branch}\n"}


def test_a_checkout() -> None:
    assert attributes(checkout() | {"remote get-url origin": f"{URL}\n"}) == {
        "vcs:revision": "c0ffee",
        "vcs:source": URL,
        "vcs:localdir:context": "app",
        "vcs:localdir:dockerfile": "docker",
    }


@pytest.mark.parametrize(
    ("answers", "source"),
    [
        ({FOLLOWS: "fork\n", "remote get-url fork": "git@host:fork\n", "remote get-url origin": URL}, "git@host:fork"),
        ({FOLLOWS: "gone\n", "remote get-url origin": URL}, URL),
        ({FOLLOWS: "\n", "remote get-url upstream": URL}, URL),
        ({}, None),
    ],
)
def test_the_source_is_what_the_branch_follows(answers: dict[str, str], source: str | None) -> None:
    assert attributes(checkout() | answers).get("vcs:source") == source


def test_a_detached_head_follows_nothing() -> None:
    assert attributes(checkout(branch="HEAD") | {"remote get-url origin": URL})["vcs:source"] == URL


def test_nothing_is_committed_yet() -> None:
    found = attributes({CHECKOUT: "true\n/src\nHEAD\n"})
    assert found == {"vcs:localdir:context": "app", "vcs:localdir:dockerfile": "docker"}


@pytest.mark.parametrize("answer", ["", "false\n", "true\n"])
def test_no_checkout(answer: str) -> None:
    assert attributes({CHECKOUT: answer}) == {}


def test_folders_outside_the_checkout_are_not_named() -> None:
    found = attributes(checkout(), context=Path("/src"), dockerfile=Path("/elsewhere/Dockerfile"))
    assert found == {"vcs:revision": "c0ffee", "vcs:localdir:context": "."}


def test_changes_are_marked_if_asked_for() -> None:
    changed = checkout() | {"status --porcelain --ignored": "?? x\n"}
    assert attributes(changed)["vcs:revision"] == "c0ffee"
    assert attributes(changed, {"BUILDX_GIT_CHECK_DIRTY": "1"})["vcs:revision"] == "c0ffee-dirty"
    assert attributes(checkout(), {"BUILDX_GIT_CHECK_DIRTY": "1"})["vcs:revision"] == "c0ffee"


def test_labels_if_asked_for() -> None:
    env = {"BUILDX_GIT_LABELS": "full", "BUILDX_GIT_INFO": "false"}
    assert attributes(checkout() | {"remote get-url origin": URL}, env) == {
        "label:org.opencontainers.image.revision": "c0ffee",
        "label:org.opencontainers.image.source": URL,
        "label:com.docker.image.source.entrypoint": "docker/Dockerfile",
    }


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("https://user:password@host/x@y", "https://xxxxx:xxxxx@y"),
        ("https://token@host", "https://xxxxx@host"),
        ("https://user:p/a#ss@host/x", "https://xxxxx:xxxxx@host/x"),
        ("https://host/x?private_token=abc", "https://host/x?private_token=xxxxx"),
        ("https://:password@host/x", "https://:xxxxx@host/x"),
        ("ssh://git@host:22/x", "ssh://xxxxx@host:22/x"),
        ("git@host:team/x", "git@host:team/x"),
        ("https://host/a@b", "https://host/a@b"),
        ("/a/folder", "/a/folder"),
    ],
)
def test_credentials_are_not_told(url: str, redacted: str) -> None:
    assert redact_url(url) == redacted


@pytest.mark.parametrize(
    ("build", "env"),
    [
        ({"context": "https://host/x.git"}, {}),
        ({"push": False}, {}),
        ({"push": False, "outputs": (TypedAttributes(type="local", attrs=(("dest", "/out"),)),)}, {}),
        ({"provenance": ""}, {}),
        ({}, {"BUILDX_GIT_INFO": "0"}),
    ],
)
def test_git_is_not_asked_where_nothing_will_tell(build: dict[str, Any], env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert origin.start_git_attributes(settings(tmp_path, **build), env, warn=pytest.fail)() == {}


def test_git_is_not_asked_outside_a_checkout(tmp_path: Path) -> None:
    assert origin.start_git_attributes(settings(tmp_path), {}, warn=pytest.fail)() == {}


@pytest.mark.parametrize("path", ["/usr/bin:/bin", "/nowhere"])
def test_what_git_does_not_know_is_a_warning(path: str, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / ".git").write_text("broken")
    said: list[str] = []
    assert origin.start_git_attributes(settings(tmp_path), {"PATH": path}, warn=said.append)() == {}
    assert f"run git -C {tmp_path}/app status" in said[0]


def test_a_real_repository(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=somebody", "-c", "user.email=somebody@host.example")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    (tmp_path / "app").mkdir()
    git("init", "--quiet")
    git("remote", "add", "origin", "https://user:password@host.example/x")
    ask = origin.start_git_attributes(settings(tmp_path), {"PATH": os.environ["PATH"]}, warn=pytest.fail)
    folders = {"vcs:localdir:context": "app", "vcs:localdir:dockerfile": "docker"}
    source = {"vcs:source": "https://xxxxx:xxxxx@host.example/x"}
    assert ask() == folders | source
    git("commit", "--quiet", "--allow-empty", "--message=x")
    ask = origin.start_git_attributes(settings(tmp_path), {"PATH": os.environ["PATH"]}, warn=pytest.fail)
    assert ask() == {"vcs:revision": git("rev-parse", "HEAD").strip()} | folders | source
