"""Any other CI system is a shell: `KUBE_BUILDER_<INPUT>` and that system's own variables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from devcluster import pushed
from devcluster.registry import Registry
from tests.e2e.checkout import BOTH
from tests.e2e.cluster import Builders
from tests.e2e.product import COMMAND

# What the pages tell users of Jenkins to write, word for word but for the names.
PIPELINE = """\
set -eu
export KUBE_BUILDER_PLATFORMS=linux/amd64,linux/arm64 KUBE_BUILDER_PUSH=true
export KUBE_BUILDER_BUILD_ARGS="FIRST=it's \\"quoted\\"
SECOND=b, c"
kube-builder build .
kube-builder build --print manifests . > manifests.json
"""


def test_a_plain_shell_in_jenkins(
    context: Path,
    name: str,
    reference: str,
    product_env: dict[str, str],
    buildkitd_config: Path,
    open_registry: Registry,
    team_builders: Builders,
) -> None:
    (context / "Dockerfile").write_text(f"{BOTH}ARG FIRST\nARG SECOND\nRUN echo $FIRST, $SECOND > /said\n")
    (context / "note").write_text("hello\n")
    programs = context.parent / "bin"
    programs.mkdir()
    (programs / "kube-builder").write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    (programs / "kube-builder").chmod(0o755)
    env = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "PYTHONPATH": ":".join(path for path in sys.path if path),
        "KUBECONFIG": product_env["KUBECONFIG"],
        "KUBE_BUILDER_TAGS": reference,
        "KUBE_BUILDER_BUILDKITD_CONFIG": str(buildkitd_config),
        "JENKINS_URL": "https://ci.example/",
        "JOB_NAME": "folder/app/main",
        "BUILD_NUMBER": "17",
        "BUILD_URL": "https://ci.example/job/folder/17/",
        "GIT_URL": f"https://git.example/team/{name}.git",
        "WORKSPACE": str(context),
    }
    command = ["sh", "-c", PIPELINE]
    done = subprocess.run(command, cwd=context, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    images = pushed.images(open_registry.url, f"e2e/{name}", "1")
    assert {image.files["machine"] for image in images.values()} == {b"x86_64\n", b"aarch64\n"}
    assert {image.files["said"] for image in images.values()} == {b'it\'s "quoted", b, c\n'}
    (namespace,) = [one for one in json.loads((context / "manifests.json").read_text()) if one["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["kube-builder.dev/ci"] == "jenkins"
    assert namespace["metadata"]["annotations"]["kube-builder.dev/repository"] == f"team/{name}"
    assert namespace["metadata"]["annotations"]["kube-builder.dev/run-url"] == env["BUILD_URL"]
    assert team_builders.left() == []
