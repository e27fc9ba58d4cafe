"""Definitions in a locale whose encoding is not UTF-8."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DEFINITION = 'target "default" {\n  dockerfile-inline = "FROM scratch\\n# →"\n}\n'
KUBECONFIG = """
clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: a, user: {token: abcdefghij}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
current-context: a
"""


def test_an_inline_dockerfile_is_utf_8(tmp_path: Path) -> None:
    """The Dockerfile is written before the cluster, which is not there, is asked."""
    (tmp_path / "docker-bake.hcl").write_text(DEFINITION, encoding="utf-8")
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    given = {"HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "kubeconfig"), "PYTHONPATH": os.pathsep.join(sys.path)}
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "ci_buildx", "bake"]
    done = subprocess.run(command, cwd=tmp_path, env={**given, **plain}, capture_output=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith(b"ERROR: the API server 127.0.0.1:1 refuses connections")
