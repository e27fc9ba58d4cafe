"""What a cached build imports and asks the cluster: of its 150 ms each module takes 0.1 to 0.3, each call 2 or more."""

import base64
import subprocess
import sys
from typing import Any, cast

import pytest

from ci_buildx.builder import labels
from ci_buildx.builder.builder import CA_FILE, CLIENT_CERTIFICATE_FILE, CLIENT_KEY_FILE
from ci_buildx.builder.lifecycle import records
from ci_buildx.errors import Forbidden, InputError
from ci_buildx.kube.client import KubeClient

NAME = "kube-builder-a"
MOST_MODULES = 123
"""Of ours, when all is imported: one more should be worth it."""
NOT_NEEDED = {
    *("argparse", "asyncio", "bisect", "calendar", "concurrent", "copy", "cryptography", "dataclasses", "decimal"),
    *("email", "fnmatch", "gettext", "hmac", "html", "http", "inspect", "locale", "ntpath", "numbers", "pkgutil"),
    *("random", "requests", "secrets", "shlex", "shutil", "subprocess", "tempfile", "traceback", "urllib3", "uuid"),
    "yaml",
    *(f"ci_buildx.builder.{name}" for name in ("cluster_facts", "manifests.objects", "manifests.podspec")),
    *(f"ci_buildx.builder.lifecycle.{name}" for name in ("provision", "teardown")),
    *(f"ci_buildx.buildkit.{name}" for name in ("diagnostics", "gateway", "remote_cache")),
    *(f"ci_buildx.cli.{name}" for name in ("create", "debug", "parser")),
    *(
        f"ci_buildx.build.{name}"
        for name in ("calls", "context.mtimes", "context.sticky_key", "retries", "start_on_use")
    ),
    *(f"ci_buildx.manage.{name}" for name in ("create", "target")),
    *(f"ci_buildx.kube.{name}" for name in ("credential_plugins", "refusal", "websocket")),
    *(f"ci_buildx.progress.{name}" for name in ("summary", "terminal", "timeline")),
    *("ci_buildx.fsutil.automaton", "ci_buildx.registry.client", "ci_buildx.session.ssh"),
    "ci_buildx.transport.tunnel",
}
OTHER_VERBS = tuple(
    f"ci_buildx.{name}"
    for name in ("bake", "hcl", "gotemplate", "imagetools", "history", "manage.exposure", "ci", "build.target_pods")
)
"""What bake, imagetools, history, merge and exec have of their own."""
if sys.version_info < (3, 13):  # from then on pathlib leaves urllib.parse, which has it, to those who need it
    NOT_NEEDED.add("ipaddress")
CODE = """
import sys
sys.path[:0] = sys.argv[1:]
import ci_buildx.cli.main, ci_buildx.cli.build
from ci_buildx.build import run, builder_scope
builder_scope.import_early()
# What each build does besides, at run time: mask secrets, and remove what killed processes left.
from ci_buildx.fsutil import scratch
from ci_buildx.model import masker
from ci_buildx.settings import buildkitd
masker.mask_secrets("RUN a=b", masker.list_process_secrets({"DEPLOY_TOKEN": "<hush> of the job"}, ()))
buildkitd.parse_flags("", source="")
scratch.sweep_all()
print(*sys.modules)
"""
COMPILED = """
import re, sys
sys.path[:0] = sys.argv[1:]
compiled = []
compile_pattern = re._compile
def note(pattern, flags):
    compiled.append(str(pattern))
    return compile_pattern(pattern, flags)
re._compile = note
from ci_buildx.model import masker
from ci_buildx.builder.lifecycle import records
compiled.clear()
env = {"PATH": "/usr/bin", "DEPLOY_TOKEN": "hush of the job", "HOME": "/root", "CI_JOB_NAME_SLUG": "build"}
hidden = masker.list_process_secrets(env, ())
assert masker.mask_secrets("[build 1/2] RUN apk add git curl", hidden)
records._read_timeout("")
print(len(compiled), *compiled)
"""


class Cluster:
    """A kept builder in a namespace of its own, and what was asked about it."""

    def __init__(self, *jobs: dict[str, Any], forbidden: bool = False) -> None:
        self.jobs = jobs
        self.forbidden = forbidden
        self.namespace = "default"
        self.calls: list[str] = []

    def list(self, path: str, **_: Any) -> dict[str, Any]:
        self.calls.append(path)
        if self.forbidden:
            raise Forbidden("no", status=403)
        return {"items": self.jobs if f"/namespaces/{NAME}/" in path else []}

    def get(self, path: str, **_: Any) -> dict[str, Any]:
        self.calls.append(path)
        marks = {labels.MANAGED_BY: labels.MANAGER, labels.BUILDER: NAME}
        files = (CA_FILE, CLIENT_CERTIFICATE_FILE, CLIENT_KEY_FILE)
        return {"metadata": {"labels": marks}, "data": {name: base64.b64encode(b"pem").decode() for name in files}}


def job(**status: Any) -> dict[str, Any]:
    marks = {labels.NODE: "amd64", labels.BUILDER: NAME}
    return {
        "metadata": {"name": "buildkit-amd64", "namespace": NAME, "labels": marks},
        "spec": {"template": {"spec": {"nodeSelector": {labels.ARCHITECTURE: "amd64"}}}},
        "status": status,
    }


def test_nothing_is_imported_that_it_does_not_need() -> None:
    # Without the import hook of the developers' folder of packages, which imports half the standard library.
    done = subprocess.run(
        [sys.executable, "-S", "-c", CODE, *sys.path], capture_output=True, text=True, timeout=60, check=False
    )
    imported = set(done.stdout.split())
    assert "grpc" in imported, done.stderr
    # pathlib of Python 3.12 calls fnmatch when it is imported.
    assert NOT_NEEDED & imported == ({"fnmatch"} if sys.version_info[:2] == (3, 12) else set())
    ours = [name for name in imported if name.startswith("ci_buildx")]
    assert not [name for name in ours if f"{name}.".startswith(tuple(f"{one}." for one in OTHER_VERBS))]
    assert len(ours) <= MOST_MODULES, len(ours)


def test_ordinary_texts_need_few_patterns() -> None:
    """Compiling one takes 0.1 to 0.5 ms."""
    done = subprocess.run([sys.executable, "-S", "-c", COMPILED, *sys.path], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[0]) <= 3, done.stdout


@pytest.mark.parametrize("namespace", ["", NAME])
def test_a_kept_builder_is_found_and_read_by_two_calls(namespace: str) -> None:
    cluster = Cluster(job())
    kube = cast("KubeClient", cluster)
    builder = records.load_builder(kube, records.find_builder(kube, NAME, namespace))
    assert (builder.namespace, builder.location.exclusive) == (NAME, True)
    place = f"namespaces/{NAME}"
    assert cluster.calls == [f"/apis/batch/v1/{place}/jobs", f"/api/v1/{place}/secrets/buildkit-keys"]


def test_where_its_jobs_do_not_say_so_its_namespace_does() -> None:
    cluster = Cluster(job(conditions=[{"type": "Failed", "status": "True"}]))
    kube = cast("KubeClient", cluster)
    with pytest.raises(InputError, match="has no nodes; omit the builder: its lifetime has ended"):
        records.load_builder(kube, records.find_builder(kube, NAME))
    assert f"/api/v1/namespaces/{NAME}" in cluster.calls
    with pytest.raises(Forbidden):
        records.find_builder(cast("KubeClient", Cluster(forbidden=True)), NAME)
