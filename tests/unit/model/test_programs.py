"""Programs come from the runner, never from the checkout; and they are told nothing that they do not need."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ci_buildx.build.context.origin import SYSTEMS, CiSystem
from ci_buildx.errors import InputError
from ci_buildx.kube import config
from ci_buildx.kube.credentials import TokenFile
from ci_buildx.model.programs import (
    MOST_OUTPUT,
    TooMuchOutput,
    find_escape,
    find_program,
    find_workspaces,
    list_safe_folders,
    make_environment,
    run_program,
)
from ci_buildx.settings.values import ClusterSettings


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout that is the current directory, as in a CI job."""
    folder = tmp_path / "checkout"
    (folder / ".git").mkdir(parents=True)
    (folder / "bin").mkdir()
    monkeypatch.chdir(folder)
    return folder


def install(folder: Path, name: str = "helper") -> Path:
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    "entry", ["", ".", "bin", "./bin", "{workspace}", "{workspace}/bin", "{tmp}/../{name}/checkout/bin"]
)
def test_a_folder_of_the_checkout_does_not_count(entry: str, workspace: Path, tmp_path: Path) -> None:
    install(workspace / "bin")
    install(workspace)
    entry = entry.format(workspace=workspace, tmp=tmp_path, name=tmp_path.name)
    assert find_program("helper", {"PATH": entry}) is None
    theirs = install(tmp_path / "bin")
    assert find_program("helper", {"PATH": f"{entry}:{theirs.parent}"}) == str(theirs)


def test_a_link_into_the_checkout_does_not_count(workspace: Path, tmp_path: Path) -> None:
    install(workspace / "bin")
    (tmp_path / "link").symlink_to(workspace / "bin")
    assert find_program("helper", {"PATH": str(tmp_path / "link")}) is None


def test_a_link_to_a_program_of_the_checkout_does_not_count(workspace: Path, tmp_path: Path) -> None:
    """As an installation in editable mode leaves it in a folder of the PATH."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "helper").symlink_to(install(workspace / "bin"))
    theirs = install(tmp_path / "theirs")
    env = {"CI_PROJECT_DIR": str(workspace)}
    assert find_program("helper", {**env, "PATH": f"{tmp_path}/bin"}) is None
    assert find_program("helper", {**env, "PATH": f"{tmp_path}/bin:{theirs.parent}"}) == str(theirs)
    # Outside of CI, the link is the user's.
    assert find_program("helper", {"PATH": f"{tmp_path}/bin"}) == str(tmp_path / "bin" / "helper")


def test_links_in_a_circle_are_no_folders(tmp_path: Path) -> None:
    theirs, circle = install(tmp_path / "theirs"), tmp_path / "circle"
    circle.symlink_to(circle)
    assert find_program("helper", {"PATH": f"{circle}:{circle}/bin:{theirs.parent}"}) == str(theirs)
    assert find_escape(circle, {"CI_PROJECT_DIR": str(tmp_path)}) is None


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_the_workspace_is_what_the_ci_system_says(system: CiSystem, tmp_path: Path) -> None:
    program = install(tmp_path / "bin")
    env = {"PATH": str(program.parent)}
    assert find_program("helper", env) == str(program)
    signs = dict.fromkeys(system.signs, "x")
    for variable in system.checkout:
        assert find_program("helper", {**env, **signs, variable: str(tmp_path)}) is None


def test_a_workspace_below_an_unknown_home_or_a_circle_of_links(tmp_path: Path) -> None:
    program, circle = install(tmp_path / "bin"), tmp_path / "circle"
    circle.symlink_to(circle)
    for named in ("~no-such-user/project", str(circle)):
        assert find_program("helper", {"PATH": str(program.parent), "CIRCLE_WORKING_DIRECTORY": named}) == str(program)


def test_a_variable_of_a_common_name_is_no_workspace_outside_of_its_system(tmp_path: Path) -> None:
    program = install(tmp_path / "bin")
    assert find_program("helper", {"PATH": str(program.parent), "WORKSPACE": str(tmp_path)}) == str(program)


def test_a_home_in_git_is_the_users_own(workspace: Path) -> None:
    assert find_workspaces({"HOME": str(workspace)}) == ()
    assert find_workspaces({"HOME": str(workspace.parent)}) == (workspace,)


def test_an_absolute_name_is_not_looked_up(tmp_path: Path) -> None:
    program = install(tmp_path)
    assert find_program(str(program), {"PATH": ""}) == str(program)
    assert find_program("./helper", {"PATH": str(tmp_path)}) is None


def test_an_absolute_name_in_the_checkout_does_not_count(workspace: Path, tmp_path: Path) -> None:
    program = install(workspace / "bin")
    (tmp_path / "link").symlink_to(program)
    for name in (program, tmp_path / "link"):
        assert find_program(str(name), {"GITHUB_WORKSPACE": str(workspace)}) is None
        assert find_program(str(name), {}) == str(name)


def test_where_a_path_of_the_workspace_leads(tmp_path: Path) -> None:
    workspace, secret = tmp_path / "real" / "work", tmp_path / "secret"
    workspace.mkdir(parents=True)
    secret.mkdir()
    (tmp_path / "work").symlink_to(workspace)
    for name, target in {"out": secret, "in": workspace / "src", "back": tmp_path / "work" / "src"}.items():
        (workspace / name).symlink_to(target)
    for written in (workspace, tmp_path / "work"):
        env = {"GITHUB_WORKSPACE": str(written)}
        assert find_escape(workspace / "out", env) == secret
        assert find_escape(tmp_path / "work" / "out" / "new" / "file", env) == secret / "new" / "file"
        assert find_escape(workspace / "src" / ".." / "out", env) == secret
        for harmless in (workspace / "in", workspace / "back", workspace / "src", workspace / ".." / "x", secret):
            assert find_escape(harmless, env) is None
    assert find_escape(workspace / "out", {}) is None


def test_programs_are_not_told_inputs(workspace: Path) -> None:
    env = {
        "INPUT_PASSWORD": "x",
        "KUBE_BUILDER_KUBECONFIG": "x",
        "AWS_PROFILE": "y",
        "PATH": "/usr/bin:.",
        "HOME": "/h",
    }
    assert make_environment(env) == {"AWS_PROFILE": "y", "PATH": "/usr/bin", "HOME": "/h"}


@pytest.mark.parametrize(
    ("name", "value", "stays"),
    [
        ("PYTHONPATH", "src", False),
        ("PYTHONPATH", "/opt/x:", False),
        ("PYTHONPATH", "/opt/x", True),
        ("PYTHONPATH", "{workspace}/src", False),
        ("NODE_OPTIONS", "--max-old-space-size=4096", True),
        ("NODE_OPTIONS", "--require ./evil.js", False),
        ("NODE_OPTIONS", "--require={workspace}/evil.js", False),
        ("LD_PRELOAD", "{workspace}/evil.so", False),
        ("LD_PRELOAD", "/usr/lib/x.so", True),
        ("BASH_ENV", "env.sh", False),
        ("ENV", "production", True),
        ("ENV", "{workspace}/env.sh", False),
    ],
)
def test_interpreters_find_no_code_of_the_checkout(name: str, value: str, stays: bool, workspace: Path) -> None:
    made = make_environment({name: value.format(workspace=workspace), "PATH": "/usr/bin"})
    assert (name in made) is stays


def test_folders_of_path_are_absolute(workspace: Path) -> None:
    assert list_safe_folders({"PATH": "/usr/bin::x:/bin"}) == ["/usr/bin", "/bin"]


def test_an_auth_providers_program_is_not_the_checkouts(workspace: Path, tmp_path: Path) -> None:
    install(workspace / "bin")
    file = tmp_path / "kubeconfig"
    file.write_text(
        '{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],'
        '"clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}], "users": [{"name": "u",'
        '"user": {"auth-provider": {"name": "gcp", "config": {"cmd-path": "helper"}}}}]}'
    )
    settings = ClusterSettings(kubeconfig=(file,))
    with pytest.raises(InputError, match="only in the checkout; set its absolute path"):
        config.load_cluster(settings, env={"PATH": f"{workspace}/bin:/usr/bin"})
    config.load_cluster(settings, env={"PATH": str(install(tmp_path / "bin").parent)})


@pytest.mark.parametrize("place", ["itself", "a link to it", "a link in it"])
@pytest.mark.parametrize("way", ["exec", "auth-provider"])
def test_a_kubeconfig_of_the_checkout_names_no_program(way: str, place: str, tmp_path: Path) -> None:
    """A link in the checkout counts, too: a relative program would be the checkout's."""
    inner = tmp_path / "checkout"
    inner.mkdir()
    (tmp_path / "link").symlink_to(inner / "kubeconfig")
    (inner / "link").symlink_to(tmp_path / "kubeconfig")
    file = {"a link to it": tmp_path / "link", "a link in it": inner / "link"}.get(place, inner / "kubeconfig")
    body = (
        '{"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", "exit"]}'
        if way == "exec"
        else '{"name": "gcp", "config": {"cmd-path": "sh"}}'
    )
    file.write_text(
        '{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],'
        f'"clusters": [{{"name": "c", "cluster": {{"server": "https://127.0.0.1:1"}}}}],'
        f'"users": [{{"name": "u", "user": {{"{way}": {body}}}}}]}}'
    )
    settings = ClusterSettings(kubeconfig=(file,))
    config.load_cluster(settings, env={"PATH": "/usr/bin"})
    with pytest.raises(InputError, match="must not name a program to run"):
        config.load_cluster(settings, env={"PATH": "/usr/bin", "GITHUB_WORKSPACE": str(inner)})


def test_a_kubeconfig_of_the_checkout_sends_no_file_of_the_runner(tmp_path: Path) -> None:
    """Its author chooses the server."""
    inner = tmp_path / "checkout"
    inner.mkdir()
    (inner / "link").symlink_to(tmp_path / "secret")
    for place in (tmp_path / "secret", inner / "token"):
        place.write_text("hunter2")

    def load(folder: Path, token: str) -> object:
        file = folder / "kubeconfig"
        file.write_text(
            '{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],'
            '"clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],'
            f'"users": [{{"name": "u", "user": {{"tokenFile": "{token}"}}}}]}}'
        )
        env = {"GITHUB_WORKSPACE": str(inner)}
        return config.load_cluster(ClusterSettings(kubeconfig=(file,)), env=env).credentials

    for token in (str(tmp_path / "secret"), "../secret", "link"):
        with pytest.raises(InputError, match="must not name a tokenFile outside of it") as caught:
            load(inner, token)
        assert "hunter2" not in str(caught.value)
    assert isinstance(load(inner, "token"), TokenFile)
    assert isinstance(load(tmp_path, "secret"), TokenFile)


def script(folder: Path, text: str) -> tuple[str, ...]:
    program = folder / "program"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return (str(program),)


ENV = {"PATH": "/usr/bin:/bin"}


def test_a_program_runs_in_a_neutral_folder(tmp_path: Path, workspace: Path) -> None:
    command = script(tmp_path, "pwd; cat; echo why >&2; exit 3")
    assert run_program(command, env=ENV, given=b"asked", timeout=10) == (3, b"/\nasked", b"why\n")


def test_a_program_that_prints_without_end_is_ended(tmp_path: Path) -> None:
    just = script(tmp_path, f"head -c {MOST_OUTPUT} /dev/zero")
    assert len(run_program(just, env=ENV, timeout=30)[1]) == MOST_OUTPUT
    with pytest.raises(TooMuchOutput):
        run_program(script(tmp_path, "exec cat /dev/zero"), env=ENV, timeout=30)


def test_complaints_without_end_are_read_and_forgotten(tmp_path: Path) -> None:
    command = script(tmp_path, "head -c 5000000 /dev/zero >&2; echo done")
    status, output, complaints = run_program(command, env=ENV, timeout=30)
    assert (status, output) == (0, b"done\n")
    assert len(complaints) < 1 << 16


def test_a_silent_program_is_ended_with_those_that_it_started(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        run_program(script(tmp_path, f"sleep 600 & echo $! > {tmp_path}/pid; sleep 600"), env=ENV, timeout=1)
    started = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while is_running(started):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(process: int) -> bool:
    """Whether it runs; one that has ended may wait to be collected."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_program_may_leave_its_input_unread(tmp_path: Path) -> None:
    assert run_program(script(tmp_path, "echo yes"), env=ENV, given=bytes(1 << 20), timeout=10)[:2] == (0, b"yes\n")
