"""The release's own steps, as far as they can run here: build, notes, checksums, the wheel in a fresh environment."""

from __future__ import annotations

import hashlib
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
PARTS = ("ci_buildx", ".ci", "Makefile", "README.md", "LICENSE", "pyproject.toml", "requirements-dev.lock")
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
    return subprocess.run([".ci/release", tag], cwd=folder, capture_output=True, text=True, timeout=240, check=False)


def test_a_release_is_built_and_tried(checkout: Path) -> None:
    done = release(checkout, f"v{ci_buildx.__version__}")
    assert done.returncode == 0, done.stderr
    dist = checkout / "dist"
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    assert done.stdout.startswith(f"{ci_buildx.__version__}\n")
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


def test_only_the_job_that_runs_none_of_our_code_may_write() -> None:
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    assert jobs["build"]["permissions"] == {"contents": "read"}
    publish = [step.get("run", "") + step.get("uses", "") for step in jobs["publish"]["steps"]]
    assert not any(".ci/" in step or "checkout" in step for step in publish)
    assert any("attest" in step for step in publish)
