"""Registries that ask who one is, through buildkitd: it gets tokens, and passwords only where there are none."""

import secrets
from pathlib import Path

import pytest

from ci_buildx.errors import SolveError
from ci_buildx.model.secret import Secret
from ci_buildx.registry.credentials import RegistryLogin
from tests.integration.session.conftest import Somebody, login_for
from tests.integration.session.services import ShortLived

NAMES = ["BASIC", "TOKEN"]


def dockerfile(base: str) -> str:
    """A build that is unlike all others."""
    return f"FROM {base}\nRUN echo {secrets.token_hex(8)} > /unique\n"


@pytest.fixture
def busybox(cluster_env: dict[str, str]) -> str:
    """The reference of the devcluster's busybox image, without a tag."""
    return f"{cluster_env['REGISTRY']}/library/busybox"


@pytest.mark.parametrize("name", NAMES)
def test_private_images_are_pushed_and_are_bases(
    somebody: Somebody, cluster_env: dict[str, str], busybox: str, repository_path: str, name: str
) -> None:
    me = somebody(login_for(cluster_env, name))
    base = f"{cluster_env[f'REGISTRY_{name}']}/{repository_path}"
    me.push(dockerfile(busybox), f"{base}:1")
    me.push(dockerfile(f"{base}:1"), f"{base}:2")
    assert ("Credentials" in me.asked) == (name == "BASIC")
    assert ("FetchToken" in me.asked) == (name == "TOKEN")


def test_a_base_of_one_registry_goes_to_another(
    somebody: Somebody, cluster_env: dict[str, str], busybox: str, repository_path: str
) -> None:
    me = somebody(login_for(cluster_env, "TOKEN") | login_for(cluster_env, "BASIC"))
    places = [f"{cluster_env[f'REGISTRY_{name}']}/{repository_path}" for name in NAMES]
    me.push(dockerfile(busybox), places[0])
    me.push(dockerfile(places[0]), *places)


def test_a_kept_buildkitd_needs_no_second_token(
    somebody: Somebody, cluster_env: dict[str, str], busybox: str, repository_path: str
) -> None:
    base = f"{cluster_env['REGISTRY_TOKEN']}/{repository_path}"
    logins = login_for(cluster_env, "TOKEN")
    somebody(logins).push(dockerfile(busybox), base)
    somebody(logins).build(dockerfile(base))
    again = somebody(logins)
    again.build(dockerfile(base))
    assert "VerifyTokenAuthority" in again.asked
    assert "FetchToken" not in again.asked


def test_another_client_gets_no_token_of_ours(
    somebody: Somebody, cluster_env: dict[str, str], busybox: str, repository_path: str, tmp_path: Path
) -> None:
    base = f"{cluster_env['REGISTRY_TOKEN']}/{repository_path}"
    logins = login_for(cluster_env, "TOKEN")
    somebody(logins).push(dockerfile(busybox), base)
    (tmp_path / "other").mkdir()
    other = somebody(logins, folder=tmp_path / "other")
    other.build(dockerfile(base))
    assert "FetchToken" in other.asked


def test_tokens_can_be_left_to_buildkitd(
    somebody: Somebody, cluster_env: dict[str, str], busybox: str, repository_path: str
) -> None:
    me = somebody(login_for(cluster_env, "TOKEN"), tokens=False)
    me.push(dockerfile(busybox), f"{cluster_env['REGISTRY_TOKEN']}/{repository_path}")
    assert set(me.asked) == {"Credentials"}


@pytest.mark.parametrize(
    ("name", "said"), [("BASIC", "the login 'builder' for {} is wrong"), ("TOKEN", "{} refuses the login 'builder'")]
)
def test_a_wrong_password_is_said(
    somebody: Somebody, cluster_env: dict[str, str], busybox: str, name: str, said: str
) -> None:
    host = cluster_env[f"REGISTRY_{name}"]
    me = somebody(login_for(cluster_env, name, "wrong-password"))
    with pytest.raises(SolveError) as caught:
        me.push(dockerfile(busybox), f"{host}/tests/unseen")
    line = str(caught.value)
    assert said.format(host) in line
    assert "wrong-password" not in line
    assert "\n" not in line


@pytest.mark.parametrize("name", NAMES)
def test_a_private_base_without_a_login(
    somebody: Somebody, cluster_env: dict[str, str], busybox: str, repository_path: str, name: str
) -> None:
    host = cluster_env[f"REGISTRY_{name}"]
    somebody(login_for(cluster_env, name)).push(dockerfile(busybox), f"{host}/{repository_path}")
    with pytest.raises(SolveError) as caught:
        somebody().build(dockerfile(f"{host}/{repository_path}"))
    assert f"{host}/{repository_path}" in caught.value.message
    assert caught.value.fix == f"log in to {host} (docker login) or set DOCKER_AUTH_CONFIG"


def test_public_images_need_no_login(
    somebody: Somebody, cluster_env: dict[str, str], busybox: str, repository_path: str
) -> None:
    image = f"{cluster_env['REGISTRY_TOKEN']}/public/{repository_path.replace('/', '-')}"
    somebody(login_for(cluster_env, "TOKEN")).push(dockerfile(busybox), image)
    nobody = somebody()
    nobody.build(dockerfile(image))
    assert "Credentials" not in nobody.asked


def test_a_token_that_ends_during_the_build_is_renewed(somebody: Somebody, expiring: ShortLived, busybox: str) -> None:
    me = somebody({expiring.address: expiring.login})
    me.push(dockerfile(busybox), f"{expiring.address}/base")
    before = len(expiring.requests)
    me.push(dockerfile(f"{expiring.address}/base") + "RUN sleep 4\n", f"{expiring.address}/late")
    assert me.asked.count("FetchToken") >= 3
    assert set(expiring.requests[before:]) == {"GET"}


def test_an_identity_token(somebody: Somebody, expiring: ShortLived, busybox: str) -> None:
    before = len(expiring.requests)
    somebody({expiring.address: expiring.identity}).push(dockerfile(busybox), f"{expiring.address}/identity")
    assert set(expiring.requests[before:]) == {"POST"}


def test_an_identity_token_that_was_revoked(somebody: Somebody, expiring: ShortLived, busybox: str) -> None:
    revoked = RegistryLogin(username="", secret=Secret(""), identity_token=Secret("revoked"))
    with pytest.raises(SolveError, match=f"{expiring.address} refuses the identity token"):
        somebody({expiring.address: revoked}).push(dockerfile(busybox), f"{expiring.address}/identity")
