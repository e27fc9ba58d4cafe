"""What a build says of its settings before it has a builder."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from ci_buildx.build import run
from ci_buildx.errors import KubeError
from ci_buildx.model.record import replace
from ci_buildx.settings.assembly import make_settings
from tests.unit.kube.scripted import refused, scripted


def test_an_empty_secret_is_named_with_a_question(tmp_path: Path) -> None:
    """A pull request from a fork gets no secrets, and its build would fail without a word on why."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    with scripted(refused(403, "Forbidden", "no")) as server:
        config = {
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a"}}],
            "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{server.port}"}}],
        }
        env = {"HOME": str(tmp_path), "KUBECONFIG": json.dumps(config)}
        settings = make_settings({"context": "."}, {}, env, tmp_path)
        settings = replace(settings, build=replace(settings.build, empty_secrets=("TOKEN", "THIRD")))
        log = io.StringIO()
        with pytest.raises(KubeError):
            run.run_build(settings, env=env, display_stream=log)
    for name in ("TOKEN", "THIRD"):
        assert (
            f"WARNING: secret {name} is empty and was not sent; check that the CI system defines it\n" in log.getvalue()
        )
