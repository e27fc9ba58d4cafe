import os
import shutil
import sys
from pathlib import Path

import pytest

from devcluster import host
from devcluster.errors import DevclusterError


class Replaced(Exception):
    """Stands for the process becoming another one."""


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A user who is not root; ``Replaced`` holds the command that would run."""

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


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the file that stops packages from starting services."""
    file = tmp_path / "policy-rc.d"
    monkeypatch.setattr(host, "NO_SERVICES", file)
    return file


def test_services_are_refused_meanwhile(refusal: Path) -> None:
    with pytest.raises(RuntimeError, match="apt"), host.no_services():
        assert os.access(refusal, os.X_OK)
        raise RuntimeError("apt")
    assert not refusal.exists()


def test_the_hosts_own_refusal_stays(refusal: Path) -> None:
    refusal.write_text("exit 101")
    with host.no_services():
        assert refusal.read_text() == "exit 101"
    assert refusal.read_text() == "exit 101"


def test_a_refusal_left_by_a_killed_process_goes(refusal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal.write_text(host.REFUSAL)
    monkeypatch.setattr(host, "missing_packages", list)
    monkeypatch.setattr(host, "is_root", lambda: True)
    host.install_packages()
    assert not refusal.exists()
