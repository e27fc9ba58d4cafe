"""`image-pull-secrets=auto`: the job's own login for the builder's images, as the kubelet takes it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ci_buildx.build.pull_login import find_pull_login
from ci_buildx.errors import InputError
from ci_buildx.settings.builder import BuilderSettings, Qemu


def log_in(**auths: dict[str, str]) -> dict[str, str]:
    """The environment of a job that has logged in; names of hosts have ``_`` for a dot."""
    return {"DOCKER_AUTH_CONFIG": json.dumps({"auths": {host.replace("_", "."): one for host, one in auths.items()}})}


def encode(login: str) -> dict[str, str]:
    return {"auth": base64.b64encode(login.encode()).decode()}


def find(settings: BuilderSettings, env: dict[str, str]) -> Any:
    found = find_pull_login(settings, env)
    return found and json.loads(found.reveal())


def test_nothing_is_read_unless_it_is_asked_for() -> None:
    assert find(BuilderSettings(image="my.io/buildkit"), log_in(my_io=encode("me:pw"))) is None


def test_the_logins_of_all_images_and_no_others() -> None:
    settings = BuilderSettings(
        image="my.io/buildkit", qemu=Qemu(install=True, image="other.io/binfmt"), pull_login=True
    )
    env = log_in(my_io=encode("me:pw"), other_io=encode("you:word"), third_io=encode("x:y"))
    assert find(settings, env) == {"auths": {"my.io": encode("me:pw"), "other.io": encode("you:word")}}


def test_docker_hub_has_its_old_name() -> None:
    env = {"DOCKER_AUTH_CONFIG": json.dumps({"auths": {"https://index.docker.io/v1/": encode("me:pw")}})}
    assert find(BuilderSettings(image="moby/buildkit", pull_login=True), env) == {
        "auths": {"https://index.docker.io/v1/": encode("me:pw")}
    }


def test_without_a_login_the_option_is_a_bad_value() -> None:
    with pytest.raises(InputError, match=r"credentials for my\.io not found; log in there, or name a Secret"):
        find(BuilderSettings(image="my.io/buildkit", pull_login=True), log_in())


def test_a_kubelet_takes_no_identity_token() -> None:
    env = log_in(my_io={"identitytoken": "t", **encode("<token>:")})
    with pytest.raises(InputError, match="the login is an identity token, which nodes cannot use; name a Secret"):
        find(BuilderSettings(image="my.io/buildkit", pull_login=True), env)
