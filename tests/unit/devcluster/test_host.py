import os
import shutil
import subprocess
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


MIRROR = """#!/bin/sh
# A package mirror that fails as often as the files say, once for each word of `update` and `install`.
echo "$*" >> "{folder}/calls"
case "$1" in update) word=update ;; *) word=install ;; esac
left=$(cat "{folder}/$word" 2>/dev/null || echo 0)
[ "$left" = 0 ] && exit 0
echo $((left - 1)) > "{folder}/$word"
echo "E: Failed to fetch http://mirror/dists/x/InRelease  503  Service Unavailable" >&2
exit 100
"""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an apt-get whose faults a real mirror cannot be made to show; files in it count them."""
    program = tmp_path / "apt-get"
    program.write_text(MIRROR.format(folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(host, "PAUSES", (0.0, 0.0))
    return tmp_path


def read_calls(mirror: Path) -> list[str]:
    return [line.split()[0] for line in (mirror / "calls").read_text().splitlines()]


def test_missing_lists_are_reported_and_survived(mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mirror / "update").write_text("1")
    host.fetch(lambda: host.apt("install", *host.INSTALLATION, "rsync"))
    assert read_calls(mirror) == ["update", "install"]
    assert "apt-get update failed: E: Failed to fetch http://mirror/" in capsys.readouterr().err


def test_an_installation_is_repeated_with_new_lists(mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mirror / "update").write_text("1")
    (mirror / "install").write_text("2")
    host.fetch(lambda: host.apt("install", *host.INSTALLATION, "rsync"))
    assert read_calls(mirror) == ["update", "install"] * 3
    assert capsys.readouterr().err.count("trying again in") == 2


def test_a_mirror_that_stays_away_is_one_error(mirror: Path) -> None:
    (mirror / "install").write_text("9")
    with pytest.raises(DevclusterError, match=r"apt-get install failed: E: Failed to fetch .* 503") as error:
        host.fetch(lambda: host.apt("install", *host.INSTALLATION, "rsync"))
    assert "\n" not in str(error.value)
    assert read_calls(mirror) == ["update", "install"] * 3


def test_missing_lists_count_as_a_failure_for_apt(mirror: Path) -> None:
    host.refresh("-o", "Dir::State::lists=/private")
    (call,) = (mirror / "calls").read_text().splitlines()
    assert "APT::Update::Error-Mode=any" in call
    assert call.endswith("-o Dir::State::lists=/private")


@pytest.fixture
def bare_machine(mirror: Path) -> dict[str, str]:
    """An environment without git, with a sudo that does nothing and a make that prints its arguments."""
    for name, text in {"make": 'echo "make $*"', "sudo": 'exec "$@"', "python3.11": "exit 0"}.items():
        (mirror / name).write_text(f"#!/bin/sh\n{text}\n")
        (mirror / name).chmod(0o755)
    for name in ("sh", "dirname", "id", "env", "cat", "sleep"):
        (mirror / name).symlink_to(shutil.which(name) or name)
    return {"PATH": str(mirror), "SETUP_PAUSES": "0 0"}


SETUP = Path(__file__).parents[3] / "dev" / "setup.sh"


def test_setting_up_repeats_what_a_mirror_refuses(mirror: Path, bare_machine: dict[str, str]) -> None:
    (mirror / "update").write_text("1")
    (mirror / "install").write_text("2")
    done = subprocess.run([SETUP, "demo"], env=bare_machine, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "make demo PYTHON=python3.11\n")
    assert read_calls(mirror) == ["update", "install"] * 3
    assert (mirror / "calls").read_text().splitlines()[-1].endswith("git")


def test_setting_up_ends_with_what_is_missing(mirror: Path, bare_machine: dict[str, str]) -> None:
    (mirror / "install").write_text("9")
    done = subprocess.run([SETUP], env=bare_machine, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "setup: cannot install git: see above, then run this again"
