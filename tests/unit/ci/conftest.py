from __future__ import annotations

from pathlib import Path

import pytest

from ci_buildx.bake import run as bake_run
from ci_buildx.build import publish, run
from ci_buildx.manage import reap
from tests.unit.ci.fake_bake import FakeBake
from tests.unit.ci.fake_job import FakeJob


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> FakeJob:
    """A build that succeeds without a cluster, and records how it was called."""
    fake = FakeJob()
    monkeypatch.setattr(run, "run_build", fake.run)
    monkeypatch.setattr(reap, "remove_job_builder", fake.remove)
    monkeypatch.setattr(publish, "measure_images", lambda *_: {"linux/amd64": 3_210_000})
    return fake


@pytest.fixture
def bake(monkeypatch: pytest.MonkeyPatch, job: FakeJob) -> FakeBake:
    """The stand-in, in place of the function that builds targets."""
    fake = FakeBake()
    monkeypatch.setattr(bake_run, "run_targets", fake.run)
    return fake


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """A checkout with a Dockerfile."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    return folder
