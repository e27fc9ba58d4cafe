"""git reads a stranger's checkout: no program that the repository, its files or its folder name is run."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from ci_buildx.build.context import origin
from ci_buildx.ci.github import naming
from ci_buildx.errors import InputError
from ci_buildx.fsutil import commit_times
from ci_buildx.fsutil.git import Git, GitFailed
from tests.unit.conftest import DebugLog
from tests.unit.fsutil.repositories import Repository


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A program that leaves a file beside itself when it is run."""
    program = tmp_path / "trap"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    program.chmod(0o755)
    return program


def sprung(trap: Path) -> bool:
    return (trap.parent / "sprung").exists()


SETTINGS = (
    *("core.fsmonitor", "core.hooksPath", "core.sshCommand", "core.pager", "core.editor", "core.askPass"),
    *("diff.external", "diff.x.command", "diff.x.textconv", "gpg.program", "gpg.ssh.program", "credential.helper"),
    *("filter.x.clean", "filter.x.smudge", "filter.x.process", "filter.y.z.clean", "pager.log", "pager.status"),
    *("interactive.diffFilter", "core.alternateRefsCommand", "merge.x.driver", "alias.log", "alias.status"),
)


def plant(repository: Repository, trap: Path) -> None:
    """Name the trap wherever git takes a program from, and make every file look changed."""
    for name in SETTINGS:
        repository.git("config", name, f"!{trap}" if name.startswith("alias.") else str(trap))
    repository.git("config", "log.showSignature", "true")
    repository.git("config", "filter.x.required", "true")
    (repository.folder / ".gitattributes").write_text("* filter=x diff=x\n*.z filter=y.z\n")
    hooks = repository.folder / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for hook in ("post-index-change", "post-checkout", "reference-transaction", "fsmonitor-watchman"):
        (hooks / hook).write_text(f"#!/bin/sh\nexec {trap}\n")
        (hooks / hook).chmod(0o755)
    for path in repository.folder.iterdir():
        if path.is_file():
            path.write_text(path.read_text() + "changed\n")


@pytest.fixture
def planted(tmp_path: Path, trap: Path) -> Repository:
    """A repository whose configuration tries to run ``trap``."""
    repository = Repository(tmp_path / "checkout")
    repository.write(a="a\n", b__c="c\n", **{"d.z": "d\n"})
    repository.commit()
    repository.git("remote", "add", "origin", f"ext::{trap}")
    plant(repository, trap)
    return repository


def test_the_trap_works(planted: Repository, trap: Path) -> None:
    subprocess.run(["git", "status"], cwd=planted.folder, capture_output=True, check=False)
    assert sprung(trap)


def test_no_program_of_the_repository_is_run(planted: Repository, trap: Path) -> None:
    folder = planted.folder
    env = {"PATH": os.environ["PATH"], "BUILDX_GIT_CHECK_DIRTY": "1"}
    commit_times.check_repository(folder, source="x")
    assert b"b/c" in commit_times.read_commit_times(folder, source="x").times
    assert naming.read_checkout(folder, source="x")[0] == "refs/heads/main"
    assert origin.read_remote_url(folder, env) == f"ext::{trap}"
    assert Git(folder).read_text("status", "--porcelain")
    assert Git(folder).read_text("show", "--no-patch", "--format=%cI", "HEAD")
    assert not sprung(trap)


INCLUDES = {
    "include.path": "[include]\npath = ../settings.inc\n",
    "gitdir": '[includeIf "gitdir:**"]\npath = ../settings.inc\n',
    "onbranch": '[includeIf "onbranch:**"]\npath = ../settings.inc\n',
    "hasconfig": '[includeIf "hasconfig:remote.*.url:**"]\npath = ../settings.inc\n',
    "worktree": "[core]\nrepositoryformatversion = 1\n[extensions]\nworktreeConfig = true\n",
}
"""Ways to keep settings outside of ``.git/config``."""


@pytest.fixture(params=INCLUDES)
def including(planted: Repository, trap: Path, request: pytest.FixtureRequest) -> Repository:
    """The planted checkout, whose settings come from a file that the repository includes."""
    planted.git("config", "--remove-section", "remote.origin")
    config = planted.folder / ".git" / "config"
    moved = planted.folder / (".git/config.worktree" if request.param == "worktree" else "settings.inc")
    moved.write_text(config.read_text())
    remote = f'[remote "origin"]\nurl = ext::{trap}\n'
    config.write_text(f"[core]\nbare = false\n{remote}{INCLUDES[request.param]}")
    return planted


def test_included_settings_work(including: Repository, trap: Path) -> None:
    subprocess.run(["git", "status"], cwd=including.folder, capture_output=True, check=False)
    assert sprung(trap)


def test_no_program_of_included_settings_is_run(including: Repository, trap: Path) -> None:
    test_no_program_of_the_repository_is_run(including, trap)


def test_settings_that_git_cannot_read_stop_it(planted: Repository, trap: Path) -> None:
    with (planted.folder / ".git/config").open("a") as config:
        config.write("[include]\npath = ~nobody-of-this-name/x\n")
    with pytest.raises(GitFailed, match=r"git config failed: .* expand include path"):
        Git(planted.folder).read("status")
    assert not sprung(trap)


def test_a_missing_object_is_not_fetched(planted: Repository, trap: Path) -> None:
    planted.git("config", "extensions.partialClone", "origin")
    planted.git("config", "remote.origin.promisor", "true")
    blob = planted.git("rev-parse", "HEAD:a").strip()
    lost = planted.folder / ".git/objects" / blob[:2] / blob[2:]
    lost.chmod(lost.stat().st_mode | stat.S_IWUSR)
    lost.unlink()
    with pytest.raises(GitFailed):
        Git(planted.folder).read("cat-file", "-p", blob)
    assert not sprung(trap)


def test_a_bare_repository_in_the_checkout_is_refused(tmp_path: Path, trap: Path) -> None:
    outer = Repository(tmp_path / "checkout")
    inner = outer.folder / "context"
    outer.git("init", "-q", "--bare", str(inner))
    core = f"[core]\nrepositoryformatversion = 0\nbare = false\nworktree = .\nfsmonitor = {trap}\n"
    (inner / "config").write_text(f'{core}[filter "x"]\nclean = {trap}\n')
    (inner / ".gitattributes").write_text("* filter=x\n")
    with pytest.raises(InputError, match="bare repository") as caught:
        commit_times.check_repository(inner, source="--context-mtime")
    assert caught.value.source == "--context-mtime"
    assert not sprung(trap)


@pytest.fixture
def old_git(tmp_path: Path) -> dict[str, str]:
    """An environment with a git that does not know ``safe.bareRepository``, as before 2.38."""
    program = tmp_path / "old" / "git"
    program.parent.mkdir()
    known = '[ "$word" = safe.bareRepository=explicit ] && word=core.unknown=true'
    loop = f'for word; do {known}; set -- "$@" "$word"; shift; done'
    program.write_text(f'#!/bin/sh\n{loop}\nexec {shutil.which("git")} "$@"\n')
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}"}


@pytest.mark.parametrize("shape", ["plain", "commondir", "HEAD is a link to nothing", "beside an empty .git"])
def test_a_bare_repository_is_refused_before_an_old_git_finds_it(
    shape: str, tmp_path: Path, old_git: dict[str, str]
) -> None:
    outer = Repository(tmp_path / "checkout")
    outer.write(a="a\n")
    outer.commit()
    inner = outer.folder / "context"
    outer.git("init", "-q", "--bare", str(inner))
    if shape == "commondir":
        (outer.folder / "elsewhere").mkdir()
        for name in ("objects", "refs", "config"):
            (inner / name).rename(outer.folder / "elsewhere" / name)
        (inner / "commondir").write_text("../elsewhere\n")
    elif shape.startswith("HEAD"):
        (inner / "HEAD").unlink()
        (inner / "HEAD").symlink_to("refs/heads/main")
    elif shape.startswith("beside"):
        (inner / ".git").mkdir()
    found = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=inner, env=old_git, capture_output=True, check=True)
    assert found.stdout == b".\n"
    with pytest.raises(GitFailed, match="is itself a bare repository"):
        Git(inner, old_git).read("rev-parse", "--git-dir")
    assert Git(outer.folder, old_git).read_text("rev-parse", "--git-dir") == ".git"


def test_submodules_are_not_entered(planted: Repository, trap: Path) -> None:
    module = Repository(planted.folder / "module")
    module.write(a="a\n")
    module.commit()
    planted.git("config", "filter.x.required", "false")
    planted.git("-c", "core.fsmonitor=false", "-c", "filter.x.clean=", "-c", "filter.x.process=", "add", "module")
    (trap.parent / "sprung").unlink(missing_ok=True)
    (planted.folder / ".gitmodules").write_text('[submodule "module"]\npath = module\nurl = ./module\nignore = none\n')
    planted.git("config", "submodule.module.ignore", "none")
    planted.git("config", "status.submoduleSummary", "true")
    planted.git("config", "diff.submodule", "diff")
    plant(module, trap)
    Git(planted.folder).read("status", "--porcelain")
    commit_times.read_commit_times(planted.folder, source="x")
    assert not sprung(trap)


@pytest.mark.parametrize("path", ["", ".", "bin", "{checkout}/bin", "{link}"])
def test_git_is_not_taken_from_the_checkout(path: str, planted: Repository, trap: Path, tmp_path: Path) -> None:
    folder = planted.folder / "bin"
    folder.mkdir()
    for place in (folder / "git", planted.folder / "git"):
        place.write_text(trap.read_text())
        place.chmod(0o755)
    (tmp_path / "link").symlink_to(folder)
    entry = path.format(checkout=planted.folder, link=tmp_path / "link")
    git = Git(planted.folder, {"PATH": f"{entry}:{os.environ['PATH']}"})
    assert git.read_text("rev-parse", "--is-inside-work-tree") == "true"
    assert not sprung(trap)


@pytest.mark.parametrize("variable", ["HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"])
def test_the_users_configuration_counts_unless_it_is_in_the_checkout(
    variable: str, planted: Repository, tmp_path: Path
) -> None:
    def told(home: Path) -> str:
        place = {"HOME": home / ".gitconfig", "XDG_CONFIG_HOME": home / "git/config"}.get(variable, home / "config")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("[user]\nname = marked\n")
        named = home if variable in ("HOME", "XDG_CONFIG_HOME") else place
        git = Git(planted.folder, {"PATH": os.environ["PATH"], variable: str(named)})
        return git.read_partly("config", "user.name", timeout=10).strip()

    assert told(tmp_path / "home") == "marked"
    assert told(planted.folder / "home") == ""


def test_a_relative_home_is_none(planted: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here it is outside of the checkout; git runs in the checkout."""
    monkeypatch.chdir(tmp_path)
    (planted.folder / "home").mkdir()
    (planted.folder / "home" / ".gitconfig").write_text("[user]\nname = marked\n")
    git = Git(planted.folder, {"PATH": os.environ["PATH"], "HOME": "home"})
    assert git.read_partly("config", "user.name", timeout=10) == ""


def test_a_home_in_another_checkout_of_the_workspace_is_none(planted: Repository, tmp_path: Path) -> None:
    home = tmp_path / "other" / "home"
    home.mkdir(parents=True)
    (home / ".gitconfig").write_text("[user]\nname = marked\n")
    env = {"PATH": os.environ["PATH"], "HOME": str(home)}
    assert Git(planted.folder, env).read_text("config", "user.name") == "marked"
    assert (
        Git(planted.folder, {**env, "CI_PROJECT_DIR": str(home.parent)}).read_partly("config", "user.name", timeout=10)
        == ""
    )


def test_the_environment_does_not_configure_git(planted: Repository, trap: Path) -> None:
    hostile = {
        "GIT_EXTERNAL_DIFF": str(trap),
        "GIT_SSH_COMMAND": str(trap),
        "GIT_PAGER": str(trap),
        "GIT_DIR": "/nowhere",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": str(trap),
    }
    git = Git(planted.folder, {**os.environ, **hostile})
    assert git.read_text("rev-parse", "--is-inside-work-tree") == "true"
    git.read("diff", "HEAD")
    assert not sprung(trap)


def test_a_filter_without_a_name_is_not_run(planted: Repository, trap: Path) -> None:
    with (planted.folder / ".git/config").open("a") as config:
        config.write(f'[filter ""]\nclean = {trap}\n')
    (planted.folder / ".gitattributes").write_text("* filter=\n")
    assert Git(planted.folder).read_text("status", "--porcelain")
    assert b"b/c" in commit_times.read_commit_times(planted.folder, source="x").times
    assert not sprung(trap)


def test_a_checkout_that_the_environment_calls_safe_is_read(planted: Repository, trap: Path) -> None:
    given = {"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "core.fsmonitor", "GIT_CONFIG_VALUE_0": str(trap)}
    given |= {"GIT_CONFIG_KEY_1": "safe.directory", "GIT_CONFIG_VALUE_1": "*", "PATH": os.environ["PATH"]}
    stranger = 65534
    for path in (planted.folder, *planted.folder.rglob("*")):
        os.chown(path, stranger, stranger)
    with pytest.raises(GitFailed, match="dubious ownership"):
        Git(planted.folder, {"PATH": os.environ["PATH"]}).read("status")
    assert Git(planted.folder, given).read_text("status", "--porcelain")
    assert not sprung(trap)


def test_a_filter_that_cannot_be_overridden_stops_git(planted: Repository, trap: Path) -> None:
    with (planted.folder / ".git/config").open("a") as config:
        config.write(f'[filter "a=b"]\nclean = {trap}\n')
    with pytest.raises(GitFailed, match="cannot be overridden"):
        Git(planted.folder).read("status")
    assert not sprung(trap)


def test_the_debug_log_tells_what_git_ran(tmp_path: Path, debug_log: DebugLog) -> None:
    repository = Repository(tmp_path / "r")
    repository.git("remote", "add", "origin", "https://me:hush-of-a-remote@git.example/r")
    Git(repository.folder).read("remote", "get-url", "origin")
    with pytest.raises(GitFailed):
        Git(repository.folder).read("rev-parse", "--verify", "hush-of-a-ref")
    lines = [line.rpartition(" after ")[0] for line in debug_log.of("fsutil")]
    assert lines == ["git remote: exit code 0", "git rev-parse: exit code 128"]
    assert "hush" not in debug_log.text
