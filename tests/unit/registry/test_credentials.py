import json
import os
from collections.abc import Callable
from inspect import signature
from pathlib import Path

import pytest

from ci_buildx.errors import InputError, RegistryError
from ci_buildx.model.secret import Secret
from ci_buildx.registry import credentials
from ci_buildx.registry.credentials import RegistryLogin, parse_docker_config
from tests.unit.registry.docker_auth import auth

Install = Callable[[str], dict[str, str]]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Puts docker-credential-test on a PATH, made of a shell script, and into the configuration of r.io."""

    def put(script: str) -> dict[str, str]:
        file = tmp_path / "docker-credential-test"
        file.write_text(f"#!/bin/sh\nread server\n{script}\n")
        file.chmod(0o755)
        content = json.dumps({"credHelpers": {"r.io": "test", "docker.io": "test"}})
        return {"PATH": f"{tmp_path}:{os.defpath}", "HOME": str(tmp_path), "DOCKER_AUTH_CONFIG": content}

    return put


def found(env: dict[str, str], host: str = "r.io") -> RegistryLogin | None:
    return credentials.load_credentials(env).lookup(host)


def test_files_and_content_in_their_order(tmp_path: Path) -> None:
    docker, podman = tmp_path / "config.json", tmp_path / "auth.json"
    docker.write_text(json.dumps({"auths": {host: auth("docker", "x") for host in ("a.io", "b.io", "c.io")}}))
    podman.write_text(json.dumps({"auths": {host: auth("podman", "x") for host in ("a.io", "b.io")}}))
    content = json.dumps({"auths": {"a.io": auth("content", "x")}})
    env = {"DOCKER_CONFIG": str(tmp_path), "REGISTRY_AUTH_FILE": str(podman), "DOCKER_AUTH_CONFIG": content}
    names = [login and login.username for login in (found(env, host) for host in ("a.io", "b.io", "c.io", "d.io"))]
    assert names == ["content", "podman", "docker", None]


def test_the_default_file(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {"r.io": auth("me", "x")}}))
    login = found({"HOME": str(tmp_path)})
    assert login is not None
    assert login.username == "me"


def test_no_file_is_no_login(tmp_path: Path) -> None:
    assert found({"HOME": str(tmp_path)}) is None


def test_a_user_whom_the_system_does_not_know_has_no_login(nobody: None) -> None:
    assert found({}) is None


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"REGISTRY_AUTH_FILE: .*none\.json does not exist"):
        credentials.load_credentials({"REGISTRY_AUTH_FILE": str(tmp_path / "none.json"), "HOME": str(tmp_path)})


def test_a_malformed_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: malformed JSON at line 1, column 2"):
        credentials.load_credentials({"DOCKER_CONFIG": str(tmp_path)})


def test_a_program_is_asked_once_for_each_host(install: Install, tmp_path: Path) -> None:
    env = install(f"""echo x >> {tmp_path}/asked; echo '{{"Username": "'$server'", "Secret": "word"}}'""")
    store = credentials.load_credentials(env)
    for _ in range(2):
        assert store.lookup("r.io") == RegistryLogin(username="r.io", secret=Secret("word"))
    hub = store.lookup("docker.io")
    assert hub is not None
    assert hub.username == "https://index.docker.io/v1/"
    assert (tmp_path / "asked").read_text() == "x\n" * 2


def test_a_program_gives_an_identity_token(install: Install) -> None:
    login = found(install("""echo '{"Username": "<token>", "Secret": "refresh"}'"""))
    assert login == RegistryLogin(username="", secret=Secret(""), identity_token=Secret("refresh"))


def test_a_program_that_knows_nothing_is_no_error(install: Install) -> None:
    assert found(install("echo credentials not found in native keychain; exit 1")) is None


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo the keychain is locked; exit 3", "failed for r.io with status 3: the keychain is locked"),
        ("""echo '{"Secret": "word"}'; exit 1""", "failed for r.io with status 1; run it manually"),
        ("echo word", "returned an invalid login"),
        ("""echo '{"Username": "me", "Secret": ["word"]}'""", "returned an invalid login"),
    ],
)
def test_a_program_that_fails(install: Install, script: str, message: str) -> None:
    with pytest.raises(RegistryError) as caught:
        found(install(script))
    assert f"docker-credential-test {message}" in str(caught.value)
    assert "word" not in str(caught.value)


def test_a_program_that_hangs(install: Install) -> None:
    assert signature(credentials.ask_program).parameters["deadline"].default == credentials.DEADLINE
    env = install("exec sleep 60")
    with pytest.raises(RegistryError, match=r"returned no login for r\.io within 0 s"):
        credentials.ask_program("test", "r.io", origin="x", env=env, deadline=0.2)


@pytest.mark.parametrize("suffix", ["none", "../test", "a b"])
def test_a_program_that_is_not_there(install: Install, suffix: str) -> None:
    with pytest.raises(InputError, match=r"x: docker-credential-.* is not installed; install it outside"):
        credentials.ask_program(suffix, "r.io", origin="x", env=install("exit 0"))


def test_a_program_is_asked_again_in_time(install: Install, tmp_path: Path) -> None:
    env = install(f'echo x >> {tmp_path}/asked\necho \'{{"Username": "me", "Secret": "s"}}\'')
    now = 0.0
    config = parse_docker_config(env["DOCKER_AUTH_CONFIG"], "test")
    store = credentials.CredentialStore([config], env=env, clock=lambda: now)
    for now, asked in ((0.0, 1), (credentials.KEPT - 1, 1), (credentials.KEPT, 2)):  # noqa: B007 - the clock's
        store.lookup("r.io")
        assert len((tmp_path / "asked").read_text().split()) == asked
