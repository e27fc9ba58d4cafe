"""The verbs of `history`, and `top`, on a lasting builder in memory."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ci_buildx.builder.builder import locate_lasting_builder
from ci_buildx.builder.pods import PodView
from ci_buildx.builder.pool.keeper import ServerClock
from ci_buildx.builder.pool.leases import PoolNode, make_slot, make_ticket
from ci_buildx.buildkit.history import RecordBlob
from ci_buildx.buildkit.messages import RPC_STATUS, RpcStatus, StatusDetail, UsageRecord
from ci_buildx.cli.main import main
from ci_buildx.cli.process import ProcessContext
from tests.unit.builder.pool.samples import connect
from tests.unit.history.records import BEGIN, MemoryBlobs, make_full_record, make_record
from tests.unit.lasting import create_builder
from tests.unit.memory_cluster import MemoryCluster

SCOPE = "KUBE_BUILDER_TRUST_SCOPE"


@dataclass
class Shell:
    """Runs commands against the cluster in ``folder``."""

    cluster: MemoryCluster
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    stdout: bytes = b""
    stderr: str = ""

    def run(self, *argv: str) -> int:
        out, err = io.BytesIO(), io.StringIO()
        stdout = io.TextIOWrapper(out, encoding="utf-8", write_through=True)
        env = {"KUBE_BUILDER_KUBECONFIG": self.cluster.kubeconfig, "KUBE_BUILDER_BUILDER": "kube", **self.env}
        code = main(argv, ProcessContext(env=env, cwd=self.folder, stdout=stdout, stderr=err))
        stdout.flush()
        self.stdout, self.stderr = out.getvalue(), err.getvalue()
        return code

    def read(self, *argv: str) -> str:
        assert self.run(*argv) == 0, self.stderr
        return self.stdout.decode()


@pytest.fixture
def shell(memory_cluster: MemoryCluster, tmp_path: Path) -> Shell:
    """A shell beside a builder with three builds in its history."""
    create_builder(memory_cluster, bootstrap=True)
    blobs = MemoryBlobs()
    whole = make_full_record(blobs)
    failed = RpcStatus(code=2, message="failed", details=(_describe_vertex(),))
    error = blobs.add(RPC_STATUS.encode(failed), "application/vnd.googeapis.google.rpc.status+proto")
    memory_cluster.script.history = [
        whole,
        make_record("failed", begin=BEGIN - 60, error=RpcStatus(code=2, message="exit code: 1"), external_error=error),
        make_record("runs", begin=BEGIN - 30, seconds=None, completed_steps=3),
    ]
    memory_cluster.script.blobs = blobs.content
    memory_cluster.script.output = b"line 1\nline 2\n"
    return Shell(memory_cluster, tmp_path)


def _describe_vertex() -> StatusDetail:
    body = json.dumps({"digest": "sha256:1"}).encode()
    return StatusDetail(type_url="github.com/moby/buildkit/errdefs.Vertex+json", value=body)


def test_ls(shell: Shell) -> None:
    rows = [line.split() for line in shell.read("history", "ls").splitlines()]
    assert rows[0] == ["BUILD", "ID", "NAME", "STATUS", "CREATED", "AT", "DURATION"]
    assert [row[0] for row in rows[1:]] == ["runs", "whole", "failed"]
    assert "Running" in rows[1]
    assert rows[2][1:3] == ["https://host.example/team/app.git", "Completed"]
    found = [json.loads(line) for line in shell.read("history", "ls", "--format", "json").splitlines()]
    assert found[1] == {
        "cached_steps": 2,
        "completed_at": "2026-11-30T10:00:02.5Z",
        "completed_steps": 8,
        "created_at": "2026-11-30T10:00:00Z",
        "name": "https://host.example/team/app.git",
        "ref": "kube/kube0/whole",
        "status": "Completed",
        "total_steps": 8,
    }
    assert json.loads(shell.read("history", "ls", "--format", "{{json .}}").splitlines()[1]) == found[1]
    assert (
        shell.read("history", "ls", "--format", "{{.Ref}} {{.Status}}", "--filter", "status=error") == "failed Error\n"
    )
    assert shell.cluster.script.listed[-1].filter == ("status==error",)
    table = shell.read("history", "ls", "--format", r"table {{.Ref}}\t{{.Duration}}").splitlines()
    assert [line.split() for line in table[:2]] == [["BUILD", "ID", "DURATION"], ["runs", "30.0s+"]]


def test_inspect(shell: Shell) -> None:
    text = shell.read("history", "inspect", "whole")
    for line in (
        "VCS Revision:\tabc",
        "Platforms:\tlinux/amd64, linux/arm64",
        "Duration:\t2.5s",
        "Build Steps:\t8/8 (25% cached)",
        "Multi-Platform:\ttrue",
        "API_TOKEN\t***",
        "Print build logs: kube-builder history logs whole",
    ):
        assert line in text
    assert "secret-value-1" not in text
    found = json.loads(shell.read("history", "inspect", "--format", "json", "failed"))
    assert found["Error"]["Name"] == "[1/1] FROM base"
    assert found["Error"]["Logs"] == ["line 1", "line 2"]
    assert (
        shell.read("history", "inspect", "--format", "{{.Ref}} {{.Status}}", "kube/kube0/failed") == "failed failed\n"
    )
    assert "Error:\tUnknown exit code: 1" in "".join(shell.read("history", "inspect", "failed").replace("\t\t", "\t"))
    assert "Ref:\t" in shell.read("history", "inspect", "^0")


def test_an_attachment(shell: Shell) -> None:
    assert json.loads(shell.read("history", "inspect", "attachment", "--type", "provenance", "whole"))[
        "buildDefinition"
    ]
    digest = next(one.digest for one in _list_blobs(shell) if one.size == 2)
    assert shell.read("history", "inspect", "attachment", "whole", digest) == "{}"
    assert shell.run("history", "inspect", "attachment", "whole") == 2
    assert "missing attachment; add --type, --platform or DIGEST" in shell.stderr
    assert shell.run("history", "inspect", "attachment", "--type", "sbom", "whole") == 2
    assert "no matching attachment found for ref 'whole'" in shell.stderr


def _list_blobs(shell: Shell) -> list[RecordBlob]:
    return [RecordBlob(digest=name, size=len(body)) for name, body in shell.cluster.script.blobs.items()]


def test_logs(shell: Shell) -> None:
    assert shell.run("history", "logs", "whole") == 0
    assert shell.stdout == b""
    assert "#1 [1/1] FROM base" in shell.stderr
    assert "line 2" in shell.stderr
    assert shell.run("history", "logs", "--progress", "rawjson", "whole") == 0
    assert json.loads(shell.stderr.splitlines()[0])["vertexes"]


def test_rm(shell: Shell) -> None:
    shell.read("history", "rm", "whole")
    assert [(one.ref, one.delete) for one in shell.cluster.script.changed] == [("whole", True)]
    shell.read("history", "rm", "--all")
    assert [one.ref for one in shell.cluster.script.changed] == ["whole", "whole", "failed"]
    assert shell.run("history", "rm", "missing") == 2
    assert "no record found for ref 'missing'" in shell.stderr
    assert shell.run("history", "rm") == 2
    assert shell.run("history", "rm", "--all", "whole") == 2
    assert shell.run("history", "rm", "^1") == 2


def test_export(shell: Shell) -> None:
    shell.read("history", "export", "-o", "app.dockerbuild", "whole")
    content = gzip.decompress((shell.folder / "app.dockerbuild").read_bytes())
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert "index.json" in archive.getnames()
    assert sorted(one.name for one in shell.folder.iterdir()) == ["app.dockerbuild"]
    assert shell.run("history", "export", "--all") == 0
    assert gzip.decompress(shell.stdout)
    assert shell.run("history", "export", "-o", "missing/x", "whole") == 2
    assert shell.run("history", "export", "--finalize", "failed", "-o", "x") == 0
    assert shell.cluster.script.changed[-1].finalize


def test_open_and_trace(shell: Shell) -> None:
    assert shell.read("history", "open", "whole") == f"{shell.folder / 'whole.html'}\n"
    assert "[1/1] FROM base" in (shell.folder / "whole.html").read_text()
    (trace,) = json.loads(shell.read("history", "trace", "whole"))["data"]
    assert len(trace["spans"]) == 2
    assert json.loads(shell.read("history", "trace", "--format", "otlp", "whole"))["resourceSpans"]
    assert shell.run("history", "trace", "--addr", "127.0.0.1:0") == 2
    assert "option --addr of docker buildx is not supported; no user interface is started" in shell.stderr


def test_builds_of_another_trust_scope_are_not_shown(shell: Shell) -> None:
    shell.env[SCOPE] = "fork:1"
    for verb in ("ls", "inspect", "logs", "export", "open", "trace"):
        assert shell.run("history", verb) == 2
        assert "is not allowed for runs of trust scope 'fork:1'" in shell.stderr
    for argv in (("history", "rm", "--all"), ("history", "inspect", "attachment", "--type", "sbom"), ("top",)):
        assert shell.run(*argv) == 2
        assert "is not allowed for runs of trust scope 'fork:1'" in shell.stderr
    assert shell.cluster.script.listed == []
    assert shell.cluster.script.changed == []


def test_errors(shell: Shell) -> None:
    assert shell.run("history", "inspect", "missing") == 2
    assert "no record found for ref 'missing'; kube-builder history ls lists them" in shell.stderr
    shell.cluster.script.history = []
    assert shell.run("history", "inspect") == 2
    assert "no records found" in shell.stderr
    assert shell.run("history", "import") == 2
    assert shell.run("history", "ls", "--local") == 2
    assert "not in a git repository" in shell.stderr


def test_a_stopped_builder_is_started(shell: Shell) -> None:
    shell.read("stop", "kube")
    assert shell.cluster.list_names("pods") == []
    shell.read("history", "ls")
    assert shell.cluster.list_names("pods") == ["kube0-0"]


def test_top(shell: Shell) -> None:
    shell.cluster.script.records = (UsageRecord(id="a", size=1500), UsageRecord(id="b", size=500))
    lines = [line.split() for line in shell.read("top").splitlines()]
    assert lines[1] == ["kube0", "kube0-0", "running", "1", "-", "2kB", "25%", "2"]
    assert lines[3][:2] == ["RUNNING", "BUILD"]
    assert lines[4][:2] == ["runs", "kube0-0"]
    found = json.loads(shell.read("top", "--format", "json"))
    (pod,) = found["pods"]
    assert (pod["cache_bytes"], pod["hit_rate"], pod["builds"], pod["taken_slots"]) == (2000, 0.25, 2, None)
    assert pod["running"][0]["ref"] == "runs"
    shell.read("stop", "kube")
    assert [line.split()[-3:] for line in shell.read("top").splitlines()[1:]] == [["-", "-", "-"]]


def test_top_shows_slots_and_who_waits(shell: Shell) -> None:
    create_builder(shell.cluster, name="pool", replicas=2, max_builds=2, bootstrap=True)
    pods = [name for name in shell.cluster.list_names("pods") if name.startswith("pool0")]
    node = PoolNode(location=locate_lasting_builder("pool", "ci"), name="pool0")
    renewed = ServerClock(connect(shell.cluster)).format()
    uid = shell.cluster.find("pods", pods[0])["metadata"]["uid"]
    view = PodView(name=pods[0], namespace="ci", node="pool0", uid=uid)
    for one in (
        make_slot(node, view, 1, holder="a", key="team/app", renewed=renewed),
        make_ticket(node, holder="b", key="team/other", renewed=renewed),
    ):
        shell.cluster.put(f"{node.path}/{one['metadata']['name']}", one)
    lines = [line.split() for line in shell.read("top", "pool").splitlines()]
    assert [line[1:5] for line in lines[1:3]] == [[pods[0], "running", "1", "1/2"], [pods[1], "running", "1", "0/2"]]
    assert lines[-1][:3] == ["1", "pool0", "team/other"]
    found = json.loads(shell.read("top", "pool", "--format", "json"))
    assert [(one["node"], one["place"], one["key"]) for one in found["queue"]] == [("pool0", 1, "team/other")]
    assert found["queue"][0]["seconds"] < 60
    shell.cluster.refuse("GET", r".*/leases.*")
    assert shell.run("top", "pool") == 0
    assert "warning: slots and queue are unknown: " in shell.stderr
    assert [line.split()[4] for line in shell.stdout.decode().splitlines()[1:3]] == ["-", "-"]


def test_a_builder_without_builds_has_no_share_of_cached_steps(shell: Shell) -> None:
    shell.cluster.script.clock = "not a time"
    shell.cluster.script.history = []
    assert "0%" not in shell.read("top")
    (pod,) = json.loads(shell.read("top", "--format", "json"))["pods"]
    assert (pod["hit_rate"], pod["builds"]) == (None, 0)
