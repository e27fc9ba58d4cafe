"""Links of a CI job's checkout, which its author chose, do not make the job read or write files of the runner."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ci_buildx.errors import InputError
from ci_buildx.settings import assembly
from ci_buildx.settings.raw_values import Value
from ci_buildx.settings.values import Settings

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\n"
READ: dict[str, dict[str, Value]] = {
    "context": {"context": "out"},
    "context below": {"context": "out/folder"},
    "Dockerfile": {"file": "out/Dockerfile"},
    "Dockerfile itself": {"file": "file"},
    "named context": {"build-contexts": ["lib=out"]},
    "layout": {"build-contexts": ["base=oci-layout://out/layout:latest"]},
    "secret": {"secrets": ["id=x,src=file"]},
    "secret below": {"secrets": ["id=x,src=./out/file"]},
    "secret by its id": {"secrets": ["id=file"]},
    "ssh": {"ssh": ["default=file"]},
    "cache": {"cache-from": ["type=local,src=out"]},
    "buildkitd": {"buildkitd-config": "file"},
    "pod template": {"driver-opts": ["pod-template=file"]},
    "certificates": {"driver-opts": ["ca-certificates=file"]},
    "driver options": {"builder-config": "file"},
}
WRITTEN: dict[str, dict[str, Value]] = {
    "folder": {"outputs": ["out"]},
    "local": {"outputs": ["type=local,dest=out/new"]},
    "cleared": {"outputs": ["type=local,dest=out,mode=delete"], "allow": ["buildx.local.delete"]},
    "tar": {"outputs": ["type=tar,dest=out/new.tar"]},
    "oci": {"outputs": ["type=oci,dest=file"]},
    "oci folder": {"outputs": ["type=oci,tar=false,dest=out/new"]},
    "cache": {"cache-to": ["type=local,dest=out/new"]},
    "metadata": {"metadata-file": "out/new.json"},
    "iidfile": {"iidfile": "file"},
    "timeline": {"timeline": "out/new.html"},
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """The runner's own files."""
    folder = tmp_path / "home"
    (folder / "folder").mkdir(parents=True)
    (folder / "layout").mkdir()
    (folder / "layout" / "index.json").write_text("{}")
    for name in ("file", "Dockerfile", "folder/Dockerfile"):
        (folder / name).write_text("runner's\n")
    return folder


@pytest.fixture
def checkout(tmp_path: Path, outside: Path) -> Path:
    """A checkout with links that lead out of it, and one that stays inside."""
    folder = tmp_path / "work" / "app"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "out").symlink_to("../../home")
    (folder / "file").symlink_to(outside / "file")
    (folder / "inner").mkdir()
    (folder / "link").symlink_to("inner")
    return folder


def make(values: Mapping[str, Value], checkout: Path, **env: str) -> Settings:
    return assembly.make_settings({"context": ".", **values}, {}, env, checkout)


@pytest.mark.parametrize("variable", ["GITHUB_WORKSPACE", "CI_PROJECT_DIR", "KUBE_BUILDER_CHECKOUT"])
@pytest.mark.parametrize("values", [*READ.values(), *WRITTEN.values()], ids=[*READ, *(f"to {key}" for key in WRITTEN)])
def test_a_link_out_of_the_workspace_is_refused(values: Mapping[str, Value], variable: str, checkout: Path) -> None:
    with pytest.raises(InputError, match="leads out of the job's workspace by a symbolic link, to ") as caught:
        make(values, checkout, **{variable: str(checkout)})
    assert caught.value.source.split()[0] in (*values, "context")
    assert "runner's" not in str(caught.value)


@pytest.mark.parametrize("values", WRITTEN.values(), ids=WRITTEN)
def test_elsewhere_links_are_followed(values: Mapping[str, Value], checkout: Path) -> None:
    make(values, checkout)


def test_what_the_job_itself_names_may_be_anywhere(checkout: Path, outside: Path) -> None:
    env = {"GITHUB_WORKSPACE": str(checkout)}
    made = make({"context": str(outside), "secrets": [f"id=x,src={outside}/file"]}, checkout, **env)
    assert made.build.context == outside
    make({"context": "../../home", "outputs": ["type=local,dest=../../home/new"]}, checkout, **env)


def test_links_inside_of_the_workspace_are_followed(checkout: Path) -> None:
    made = make(
        {"context": "link", "file": "Dockerfile", "outputs": ["link/new"]}, checkout, CI_PROJECT_DIR=str(checkout)
    )
    assert made.build.context == checkout / "link"


def test_a_source_policy_is_no_link_either(checkout: Path) -> None:
    env = {"EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": "file", "GITHUB_WORKSPACE": str(checkout)}
    with pytest.raises(InputError, match="leads out of the job's workspace") as caught:
        make({}, checkout, **env)
    assert caught.value.source == "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"
