import os
import shutil
import sys

import pytest

from devcluster import host
from devcluster.errors import DevclusterError


class Replaced(Exception):
    """Stands for the process becoming another one."""


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def become(_: str, command: list[str]) -> None:
        raise Replaced(*command)

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "execvp", become)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return monkeypatch


def test_root_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    host.become_root()


def test_a_user_becomes_root_with_the_same_arguments_and_folders(user: pytest.MonkeyPatch) -> None:
    user.setattr(sys, "argv", ["devcluster", "--name", "x", "up"])
    user.setenv("KUBE_BUILDER_STATE", "/state")
    user.delenv("KUBE_BUILDER_CACHE", raising=False)
    user.setenv("XDG_CACHE_HOME", "/home/me/.cache")
    with pytest.raises(Replaced) as replaced:
        host.become_root()
    command = list(replaced.value.args)
    assert command[:2] == ["sudo", "env"]
    assert "KUBE_BUILDER_STATE=/state" in command
    assert "KUBE_BUILDER_CACHE=/home/me/.cache/kube-builder" in command
    assert command[-6:] == [sys.executable, "-m", "devcluster", "--name", "x", "up"]


def test_without_sudo_the_user_is_told(user: pytest.MonkeyPatch) -> None:
    user.setattr(shutil, "which", lambda _: None)
    with pytest.raises(DevclusterError, match="sudo"):
        host.become_root()


def test_apt_keeps_its_hands_off_the_hosts_lists(tmp_path: os.PathLike[str]) -> None:
    from pathlib import Path

    options = host.foreign_options(Path(tmp_path))
    assert options[::2] == ["-o"] * (len(options) // 2)
    assert {"APT::Architecture=arm64", f"Dir::State::lists={tmp_path}/lists"} <= set(options[1::2])
