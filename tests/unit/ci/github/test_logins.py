"""Logins of the inputs: in a file of their own, beside the user's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.ci import logins
from ci_buildx.ci.github import inputs
from ci_buildx.errors import InputError
from ci_buildx.registry import credentials
from tests.unit.ci.fake_job import FakeJob
from tests.unit.ci.github.runner import run

SECRET = "hunter2-😀"
AWS = "123456789012.dkr.ecr.eu-west-1.example"


def read(**given: str) -> tuple[logins.LoginInput, ...]:
    path = {"PATH": given.pop("PATH", os.defpath)}
    env = {f"INPUT_{name.upper().replace('_', '-')}": value for name, value in given.items()} | path
    return logins.read_logins(inputs.read_inputs(env, Path()))


def written(
    found: tuple[logins.LoginInput, ...], tmp_path: Path, users: dict[str, Any] | None = None
) -> dict[str, str]:
    home = tmp_path / "home"
    (home / ".docker").mkdir(parents=True)
    if users is not None:
        (home / ".docker" / "config.json").write_text(json.dumps(users))
    folder = logins.choose_folder(str(tmp_path))
    logins.write_docker_config(found, {"HOME": str(home)}, folder)
    return {"HOME": str(home), "DOCKER_CONFIG": str(folder)}


def test_one_login(tmp_path: Path) -> None:
    env = written(read(registry="https://r.example/", username="ann", password=SECRET), tmp_path)
    login = credentials.load_credentials(env).lookup("r.example")
    assert login is not None
    assert (login.username, login.secret.reveal_text()) == ("ann", SECRET)
    folder = Path(env["DOCKER_CONFIG"])
    assert (folder.stat().st_mode & 0o777, (folder / "config.json").stat().st_mode & 0o777) == (0o700, 0o600)


def test_docker_hub_is_where_no_registry_is_named(tmp_path: Path) -> None:
    env = written(read(username="ann", password=SECRET), tmp_path)
    assert credentials.load_credentials(env).lookup("docker.io") is not None
    assert list(json.loads((Path(env["DOCKER_CONFIG"]) / "config.json").read_text())["auths"]) == [
        "https://index.docker.io/v1/"
    ]


@pytest.mark.parametrize("name", ["registries", "registry_auth"])
def test_several_logins(name: str, tmp_path: Path) -> None:
    text = f"- registry: a.example\n  username: ann\n  password: {SECRET}\n- username: bob\n  password: 12345\n"
    store = credentials.load_credentials(written(read(**{name: text}), tmp_path))
    found = [store.lookup(host) for host in ("a.example", "docker.io", "c.example")]
    assert [login.username if login else None for login in found] == ["ann", "bob", None]


def test_a_login_for_some_repositories(tmp_path: Path) -> None:
    store = credentials.load_credentials(
        written(read(registry="r.example", username="a", password="b", scope="/team"), tmp_path)
    )
    assert store.lookup("r.example", "team/app") is not None
    assert store.lookup("r.example", "teamwork/app") is None


def test_beside_a_login_for_some_repositories_the_users_program_knows_the_others(tmp_path: Path) -> None:
    program = tmp_path / "docker-credential-test"
    program.write_text("""#!/bin/sh\necho '{"Username": "program", "Secret": "x"}'\n""")
    program.chmod(0o755)
    scoped = read(registry="r.example", username="ann", password="b", scope="team")
    env = written(scoped, tmp_path, {"credHelpers": {"r.example": "test"}})
    store = credentials.load_credentials(env | {"PATH": f"{tmp_path}:{os.defpath}"})
    found = {path: store.lookup("r.example", path) for path in ("team/app", "other/app", "")}
    names = {path: login.username for path, login in found.items() if login}
    assert names == {"team/app": "ann", "other/app": "program", "": "program"}


def test_the_users_own_logins_stay_and_theirs_programs_do_not_hide_the_new_one(tmp_path: Path) -> None:
    auth = {"auth": "dXNlcjpwYXNz"}
    users = {"auths": {"old.example": auth}, "credsStore": "none-such", "proxies": {"default": {}}}
    env = written(read(registry="new.example", username="ann", password=SECRET), tmp_path, users)
    document = json.loads((Path(env["DOCKER_CONFIG"]) / "config.json").read_text())
    assert document["auths"].keys() == {"old.example", "new.example"}
    assert (document["credsStore"], document["proxies"]) == ("none-such", {"default": {}})
    login = credentials.load_credentials(env).lookup("new.example")
    assert login is not None
    assert login.username == "ann"
    assert json.loads((tmp_path / "home" / ".docker" / "config.json").read_text()) == users


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"username": "ann"}, "the login for docker.io requires password"),
        ({"registry": "r.example", "password": SECRET}, "the login for r.example requires username"),
        ({"registries": f"registry: x\npassword: {SECRET}"}, "input registries: must be a YAML list"),
        ({"registries": f"- user: x\n  password: {SECRET}"}, "unknown field 'user'; did you mean 'username'?"),
        (
            {"registries": "- [", "registry": "x"},
            "input registries: cannot be combined with input registry; set only one",
        ),
        ({"registries": "- x", "registry_auth": "- x"}, "set only one"),
        (
            {"ecr": "true", "registry": AWS, "username": "a", "password": SECRET},
            "ecr cannot be combined with username and password; omit them: the program uses AWS_ACCESS_KEY_ID",
        ),
        ({"ecr": "maybe", "registry": AWS}, "ecr must be auto, true or false, not 'maybe'"),
        (
            {"ecr": "true", "registry": AWS},
            "input ecr: docker-credential-ecr-login, which logs in to AWS, is not installed; install it on the ",
        ),
        (
            {"scope": "team@push", "username": "a", "password": SECRET},
            "separate logins for pull and push are not supported",
        ),
    ],
)
def test_wrong_logins_are_named_and_never_shown(given: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(**given)
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"registry": AWS},
        {"registry": AWS, "ecr": "true"},
        {"registry": "mirror.example", "ecr": "true"},
        {"registries": f"- {{registry: {AWS}, ecr: true}}\n- {{registry: r.example, username: ann, password: x}}"},
    ],
)
def test_aws_program_logs_in(given: dict[str, str], tmp_path: Path) -> None:
    """Beside other logins; the user's file may name another program for all the rest."""
    program = tmp_path / "docker-credential-ecr-login"
    program.write_text('#!/bin/sh\nread host\nprintf \'{"Username": "AWS", "Secret": "of %s"}\' "$host"\n')
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    env = written(read(PATH=path, **given), tmp_path, {"credsStore": "desktop"}) | {"PATH": path}
    host = given.get("registry", AWS)
    login = credentials.load_credentials(env).lookup(host)
    assert login is not None
    assert (login.username, login.secret.reveal_text()) == ("AWS", f"of {host}")
    if "registries" in given:
        other = credentials.load_credentials(env).lookup("r.example")
        assert other is not None
        assert other.username == "ann"


def test_a_password_for_aws_is_a_login_as_any(tmp_path: Path) -> None:
    (login,) = read(registry=AWS, username="AWS", password=SECRET)
    assert (login.program, login.username) == ("", "AWS")


def test_without_a_login_nothing_is_written() -> None:
    assert read(ecr="auto", logout="true") == ()


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The variables of a step that logs in to one registry."""
    files = {name: str(tmp_path / name) for name in ("GITHUB_STATE", "GITHUB_ENV", "GITHUB_OUTPUT")}
    given = {"INPUT_REGISTRY": "r.example", "INPUT_USERNAME": "ann", "INPUT_PASSWORD": SECRET}
    return files | given | {"RUNNER_TEMP": str(tmp_path), "HOME": str(tmp_path)}


def folders(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("kube-builder-docker-*"))


def test_the_login_is_there_for_the_step_alone(env: dict[str, str], cwd: Path, tmp_path: Path, job: FakeJob) -> None:
    during: list[Path] = []
    job.on_create = lambda: during.extend(folders(tmp_path))
    code, log = run(env, cwd)
    assert code == 0
    assert log.startswith(f"::add-mask::{SECRET}\n")
    assert job.env["DOCKER_CONFIG"] == str(during[0])
    assert f"\n{during[0]}\n" in Path(env["GITHUB_STATE"]).read_text()
    assert folders(tmp_path) == []
    assert not Path(env["GITHUB_ENV"]).exists()


def test_with_logout_false_later_steps_have_it_and_post_removes_it(
    env: dict[str, str], cwd: Path, tmp_path: Path, job: FakeJob
) -> None:
    run(env | {"INPUT_LOGOUT": "false"}, cwd)
    (folder,) = folders(tmp_path)
    assert "DOCKER_CONFIG<<" in Path(env["GITHUB_ENV"]).read_text()
    assert run(env | {"STATE_logins": str(folder)}, cwd, post=True)[0] == 0
    assert folders(tmp_path) == []


def test_with_logout_false_docker_still_has_its_plugins_and_contexts(
    env: dict[str, str], cwd: Path, tmp_path: Path, job: FakeJob
) -> None:
    plugins = tmp_path / ".docker" / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-buildx").touch()
    run(env | {"INPUT_LOGOUT": "false"}, cwd)
    (folder,) = folders(tmp_path)
    assert (folder / "cli-plugins" / "docker-buildx").exists()
    run(env | {"STATE_logins": str(folder)}, cwd, post=True)
    assert (plugins / "docker-buildx").exists()


def test_post_removes_no_folder_but_its_own(tmp_path: Path, cwd: Path, job: FakeJob) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    run({"STATE_logins": str(precious)}, cwd, post=True)
    assert precious.exists()


def test_a_fork_without_secrets_builds_without_the_login(
    env: dict[str, str], cwd: Path, tmp_path: Path, job: FakeJob
) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"head": {"repo": {"full_name": "mallory/app"}}}}))
    of_fork = {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(event), "GITHUB_REPOSITORY": "team/app"}
    code, log = run(env | of_fork | {"INPUT_PASSWORD": ""}, cwd)
    assert code == 0
    notice = (
        "::notice title=kube-builder::not logged in to r.example: password is empty, "
        "since pull requests from forks do not get secrets"
    )
    assert notice in log
    assert folders(tmp_path) == []
    code, log = run(env | of_fork | {"INPUT_PASSWORD": "", "INPUT_USERNAME": ""}, cwd)
    assert (code, notice in log) == (0, True)
    code, log = run(env | of_fork | {"INPUT_USERNAME": ""}, cwd)
    assert (code, "the login for r.example requires username" in log) == (2, True)
    aws = f"- registry: {AWS}\n  ecr: true\n"
    lists = {name: text for name, text in env.items() if not name.startswith("INPUT_")} | {"INPUT_REGISTRIES": aws}
    code, log = run(lists | of_fork, cwd)
    assert (code, "docker-credential-ecr-login, which logs in to AWS, is not installed" in log) == (2, True)
    several = "- registry: a.example\n  username:\n  password:\n- registry: b.example\n  username: ann\n  password: x\n"
    lists = {name: text for name, text in env.items() if not name.startswith("INPUT_")} | {"INPUT_REGISTRIES": several}
    code, log = run(lists | of_fork, cwd)
    assert (code, "not logged in to a.example" in log, "b.example" in log) == (0, True, False)
    assert job.env["DOCKER_CONFIG"].startswith(str(tmp_path))
