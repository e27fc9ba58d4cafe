"""The release's own steps, as far as they can run here: build, notes, checksums, the wheel in a fresh environment."""

from __future__ import annotations

import email
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import ci_buildx

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
PARTS = ("ci_buildx", ".ci", "Makefile", "README.md", "LICENSE", "pyproject.toml", "dev")
NOTES = f"""\
# Changelog

## Unreleased

## {ci_buildx.__version__} - 2026-11-25

### Added
- This.

## 0.0.1
- That.
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository to release from, with the environment of this one."""
    folder = tmp_path / "repository"
    folder.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    (folder / "CHANGELOG.md").write_text(NOTES)
    (folder / ".venv").symlink_to((ROOT / ".venv").resolve())
    git = ["git", "-C", str(folder), "-c", "user.name=Ann", "-c", "user.email=ann@mail.example"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "CHANGELOG.md"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "All"], check=True)
    (ROOT / ".venv" / ".installed").touch()
    return folder


def release(folder: Path, tag: str) -> subprocess.CompletedProcess[str]:
    # Under `make test`, make would take these for its parent's, and print the folders that it enters.
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = [".ci/release", tag]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False)


def test_a_release_is_built_and_tried(checkout: Path) -> None:
    done = release(checkout, f"v{ci_buildx.__version__}")
    assert done.returncode == 0, done.stderr
    dist = checkout / "dist"
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    assert done.stdout.startswith(f"kube-builder v{ci_buildx.__version__}\n")
    names = zipfile.ZipFile(wheel).namelist()
    assert "ci_buildx/cli/main.py" in names
    assert not [name for name in names if name.startswith(("tests", "devcluster", "bench", "bundle"))]
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("/pyproject.toml") for name in archive.getnames())
    assert (dist / "notes.md").read_text().strip() == "### Added\n- This."
    assert f"{hashlib.sha256(wheel.read_bytes()).hexdigest()}  ./{wheel.name}\n" in (dist / "SHA256SUMS").read_text()


def test_a_tag_that_is_another_version_is_refused(checkout: Path) -> None:
    done = release(checkout, "v99.0.0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (f"release: the tag says 99.0.0, ci_buildx/__init__.py says {ci_buildx.__version__}\n")
    assert not (checkout / "dist").exists()


def test_a_version_without_notes_is_refused(checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n- This.\n")
    done = release(checkout, f"v{ci_buildx.__version__}")
    assert done.returncode == 1
    assert f"CHANGELOG.md has no section '## {ci_buildx.__version__}'" in done.stderr


JOBS = yaml.safe_load(WORKFLOW.read_text())["jobs"]
STEPS = {name: [step.get("run", "") + step.get("uses", "") for step in job["steps"]] for name, job in JOBS.items()}


def test_only_jobs_that_run_none_of_our_code_may_write() -> None:
    ours = {name: job["permissions"] for name, job in JOBS.items() if name not in ("publish", "index")}
    assert all(set(rights.values()) == {"read"} for rights in ours.values()), ours
    for name in ("publish", "index"):
        assert not any(".ci/" in step or "checkout" in step for step in STEPS[name])
    assert any("attest" in step for step in STEPS["publish"])


def test_the_package_index_gets_what_was_signed_and_nothing_else() -> None:
    """By trusted publishing: the job's own token, an environment of its own, no password."""
    index = JOBS["index"]
    assert (index["needs"], index["environment"]) == ("publish", "index")
    assert index["permissions"] == {"actions": "read", "id-token": "write"}
    assert "secrets." not in json.dumps(index)
    *_, check, move, publish = STEPS["index"]
    assert "sha256sum --check --strict" in check
    assert move == "mkdir packages && mv dist/*.whl dist/*.tar.gz packages"
    assert publish.startswith("pypa/gh-action-pypi-publish@")
    assert index["steps"][-1]["with"] == {"packages-dir": "packages"}


def test_the_packages_metadata_is_what_an_index_takes(checkout: Path) -> None:
    """Long description, licence and version, whole in wheel and sdist."""
    assert release(checkout, f"v{ci_buildx.__version__}").returncode == 0
    (wheel,) = (checkout / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        fields = email.message_from_bytes(archive.read(name))
    assert (fields["Name"], fields["Version"]) == ("kube-builder", ci_buildx.__version__)
    assert fields["Description-Content-Type"] == "text/markdown"
    assert "# kube-builder" in fields.get_payload()
    assert fields["License-Expression"] == "Apache-2.0"
