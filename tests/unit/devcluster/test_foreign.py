import platform
from pathlib import Path

import pytest

from devcluster import foreign


def options(folder: Path) -> set[str]:
    given = foreign.private_view(folder)
    assert given[::2] == ["-o"] * (len(given) // 2)
    return set(given[1::2])


def test_apt_keeps_its_hands_off_the_hosts_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "debian"})
    given = options(tmp_path)
    assert {
        "APT::Architectures=arm64,armhf,i386",
        f"Dir::State::lists={tmp_path}/lists",
        f"Dir::State::status={tmp_path}/status",
        f"Dir::Cache::archives={tmp_path}/archives",
    } <= given
    assert not any("source" in option for option in given if not option.startswith("Dir::Cache"))


def test_ubuntu_has_foreign_packages_on_another_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "ubuntu", "VERSION_CODENAME": "noble"})
    assert f"Dir::Etc::sourcelist={tmp_path}/sources.list" in options(tmp_path)
    lines = (tmp_path / "sources.list").read_text().splitlines()
    assert [line.split("]")[0].split()[1] for line in lines] == ["[arch=i386", "[arch=arm64,armhf"]
    assert all(line.endswith(" noble main") for line in lines)
