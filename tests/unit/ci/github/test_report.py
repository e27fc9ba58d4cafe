"""What the run's page shows: summary, annotations at lines, the record as an artifact."""

from __future__ import annotations

import base64
import html
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ci_buildx.ci.github import commands, summary
from ci_buildx.ci.github import report as github_report
from ci_buildx.ci.github.summary import SummaryPage
from ci_buildx.errors import SolveError
from ci_buildx.model.record import replace
from ci_buildx.progress.summary import BuildSummary, StepTime
from tests.unit.ci.fake_job import RESULT, FakeJob
from tests.unit.ci.github.conftest import report
from tests.unit.ci.github.runner import RUNNER, run

STEPS = BuildSummary(
    steps=(
        StepTime(name="[1/2] FROM busybox", node="amd64", seconds=0.0, cached=True, error=""),
        StepTime(name="[2/2] RUN a | b <c>", node="amd64", seconds=2.25, cached=False, error=""),
    ),
    warnings=1,
)
REPORT = replace(report(), title="r.example/app:1", summary=STEPS)


def test_a_summary_of_a_build() -> None:
    text = summary.render_summary(
        SummaryPage(
            report=REPORT,
            seconds=12.34,
            result=RESULT,
            sizes={"linux/amd64": 1_500_000},
            inputs={"tags": "a\nb|c`"},
            artifacts={"build": "https://git.example/1"},
        )
    )
    digest = RESULT.digest
    assert text.startswith(
        "### ✅ <code>r.example/app&#58;1</code>\n\n"
        "built in 12.3 s · 1 of 2 steps cached (50%) · 1 finding of build checks\n"
    )
    for part in (
        "| image | <code>registry.example/team/app&#58;1</code> |",
        f"| digest | <code>{digest.replace(':', '&#58;')}</code> |",
        "| platform | linux/amd64 1.50MB compressed |\n| platform | linux/arm64 |",
        f"docker pull registry.example/team/app:1@{digest}",
        "```mermaid\ngantt\n",
        "| <code>&#91;2/2&#93; RUN a &#124; b &lt;c></code> | 2.2 s |",
        "| <code>&#91;1/2&#93; FROM busybox</code> | cached |",
        "| boot | 1.2 s |",
        "| `tags` | <code>a</code><br><code>b&#124;c&#96;</code> |",
        "Artifacts: [<code>build</code>](https://git.example/1)",
    ):
        assert part in text
    assert text.endswith("\n\n")


def test_the_step_that_failed_is_marked_and_those_that_were_stopped_are_not() -> None:
    steps = (
        *(StepTime(name=f"[1/9] RUN slow {n}", node="", seconds=90.0 + n, cached=False, error="") for n in range(20)),
        StepTime(name="[2/9] RUN make", node="", seconds=1.26, cached=False, error="exit code: 2"),
        StepTime(name="[3/9] RUN other", node="", seconds=200.0, cached=False, error="context canceled"),
    )
    failed = replace(REPORT, summary=BuildSummary(steps=steps, warnings=0))
    text = summary.render_summary(SummaryPage(report=failed, seconds=9, error="exit code: 2"))
    table = text.partition("<details open><summary>Slowest steps")[2].splitlines()
    assert table[4] == "| **<code>&#91;2/9&#93; RUN make</code>** | **❌ failed after 1.3 s** |"
    assert table[5] == "| <code>&#91;3/9&#93; RUN other</code> | canceled |"
    assert text.count("❌ failed after") == 1


def test_the_chart_says_what_its_colours_mean() -> None:
    text = summary.render_summary(SummaryPage(report=REPORT, seconds=9))
    assert f"```\n\n{summary.LEGEND}\n" in text
    assert "crit, " not in text, "nothing failed, so nothing is in the colour of failure"


def test_inputs_that_are_shown(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    given = {
        "INPUT_BUILD-ARGS": "VERSION=1.2\nNPM_TOKEN=abcdefgh\nPROXY=http://u:hunter22@p.example\nBARE",
        "INPUT_DRIVER": "kubernetes",
        "INPUT_LOGOUT": "TRUE",
        "INPUT_PULL": "false",
        "INPUT_NO-CACHE": "true",
        "INPUT_PROGRESS": "auto",
    }
    run(env | given, cwd)
    text = html.unescape(Path(env["GITHUB_STEP_SUMMARY"]).read_text())
    table = text.partition("<summary>Inputs")[2].partition("</details>")[0]
    assert (
        "<code>VERSION=1.2</code><br><code>NPM_TOKEN=***</code><br><code>PROXY=***</code><br><code>BARE</code>" in table
    )
    rows = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert rows == ["build-args", "no-cache", "push", "tags"]


def test_a_summary_of_a_failure_cannot_be_ended_by_its_text() -> None:
    empty = replace(REPORT, title="app", summary=BuildSummary(steps=(), warnings=0))
    text = summary.render_summary(SummaryPage(report=empty, seconds=1, error="said ```\n# heading"))
    assert text == "### ❌ <code>app</code>\n\nfailed in 1.0 s\n\n```text\nsaid ` ` `\n# heading\n```\n\n"


def test_what_is_secret_is_in_no_summary() -> None:
    assert github_report.redact_text("a hunter2 b\nsecond abc", ["hunter2\nsecond", "abc"], {}) == "a *** b\n*** abc"


@pytest.mark.parametrize("secret", ['a"b\\c', "x<y&z", "p|q`r`", "grün-grün", "a```b", "it's"])
def test_a_secret_is_found_however_it_is_spelt(secret: str) -> None:
    page = SummaryPage(report=replace(REPORT, title=secret), seconds=1, error=secret, inputs={"labels": secret})
    assert secret not in html.unescape(github_report.redact_text(summary.render_summary(page), [secret], {}))
    assert json.loads(github_report.redact_text(json.dumps({"a": f"said {secret}"}), [secret], {})) == {"a": "said ***"}
    assert github_report.redact_text(f"<text>{html.escape(secret)}</text>", [secret], {}) == "<text>***</text>"


@pytest.fixture
def env(tmp_path: Path, cwd: Path) -> dict[str, str]:
    """The variables of a step that builds, pushes and writes a summary."""
    files = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")}
    return RUNNER | files | {"GITHUB_WORKSPACE": str(cwd.parent), "RUNNER_TEMP": str(tmp_path)}


def test_a_failure_stands_at_the_dockerfiles_line(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    job.failure = SolveError("failed to solve: exit code: 7", line=2, excerpt="x")
    code, log = run(env, cwd)
    assert code == 1
    errors = [line for line in log.splitlines() if line.startswith("::error")]
    assert errors == ["::error file=checkout/Dockerfile,line=2,title=kube-builder::failed to solve: exit code: 7"]
    text = Path(env["GITHUB_STEP_SUMMARY"]).read_text()
    assert "### ❌" in text
    assert "failed to solve: exit code: 7" in text


def test_a_line_of_a_file_in_a_remote_context(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    job.failure = SolveError("no", line=3, excerpt="x")
    log = run(env | {"INPUT_CONTEXT": "https://git.example/team/app.git#main:docker"}, cwd)[1]
    assert "::error file=docker/Dockerfile,line=3,title=kube-builder::no" in log


@pytest.mark.parametrize(("wanted", "count"), [("", 1), ("true", 1), ("false", 0)])
def test_findings_of_build_checks_are_annotations(
    wanted: str, count: int, env: dict[str, str], cwd: Path, job: FakeJob
) -> None:
    log = run(env | {"DOCKER_BUILD_CHECKS_ANNOTATIONS": wanted}, cwd)[1]
    found = [line for line in log.splitlines() if line.startswith("::warning file=checkout/Dockerfile,line=4,")]
    assert len(found) == count
    assert all("JSONArgsRecommended" in line and "%0AExec form keeps signals intact%0Ahttps" in line for line in found)


def test_the_summary_can_be_switched_off(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    run(env | {"DOCKER_BUILD_SUMMARY": "false"}, cwd)
    assert not Path(env["GITHUB_STEP_SUMMARY"]).exists()


def test_a_secret_among_the_inputs_is_in_no_file(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    seeded = {"INPUT_SECRETS": "key=seeded-1", "INPUT_BUILD-ARGS": "A=seeded-1", "INPUT_PASSWORD": "seeded-2"}
    run(env | seeded | {"INPUT_USERNAME": "ann", "INPUT_REGISTRY": "r.example"}, cwd)
    text = Path(env["GITHUB_STEP_SUMMARY"]).read_text()
    assert "seeded" not in text
    assert "A=***" in text


@pytest.mark.parametrize("name", ["LABELS", "TAGS", "TARGET", "ADD-HOSTS", "FILE"])
def test_a_secret_of_the_environment_is_in_no_file(name: str, env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    """A step's env holds secrets that are no inputs; the runner masks them in its log only."""
    (cwd / "seeded-[1]").write_text("FROM scratch\n")
    texts = {"LABELS": "x=seeded-[1]", "TAGS": "r.example/app:seeded-_1_", "ADD-HOSTS": "seeded-[1]:1.1.1.1"}
    secret = "seeded-_1_" if name == "TAGS" else "seeded-[1]"
    code, log = run(env | {f"INPUT_{name}": texts.get(name, secret), "DEPLOY_TOKEN": secret}, cwd)
    assert code == 0, log
    text = Path(env["GITHUB_STEP_SUMMARY"]).read_text()
    assert "seeded" not in text
    assert "***" in text


def test_credentials_that_stand_in_other_inputs_are_hidden(env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    seeded = {
        "INPUT_CONTEXT": "https://ann:seeded-1@x@git.example/app.git#main",
        "INPUT_BUILD-ARGS": "HTTP_PROXY=http://u:seeded-2@proxy.example:3128",
        "INPUT_CACHE-TO": "type=s3,region=r,bucket=b,access_key_id=k,secret_access_key=seeded-3",
        "INPUT_CACHE-FROM": "type=azblob,account_url=https://x.example,secret_access_key=seeded-4",
        "INPUT_BUILD-CONTEXTS": f"lib=https://{'seeded-5' * 4}@git.example/lib.git",
        "INPUT_LABELS": "url=https://git@git.example/app",
    }
    _, log = run(env | seeded, cwd)
    masks = [line.removeprefix("::add-mask::") for line in log.splitlines() if line.startswith("::add-mask::")]
    assert {"seeded-1@x", "seeded-2", "seeded-3", "seeded-4", "seeded-5" * 4} <= set(masks)
    assert min(map(len, masks)) == len("seeded-2")
    assert "seeded" not in Path(env["GITHUB_STEP_SUMMARY"]).read_text()


@dataclass
class Results:
    """A stand-in for the results service, as actions/toolkit speaks to it; ``requests`` are what came in."""

    url: str = ""
    status: int = 200
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    blocks: dict[str, bytes] = field(default_factory=dict)
    committed: bytes = b""

    def answer(self, method: str, target: str, authorization: str, body: bytes) -> tuple[int, Any]:
        self.requests.append((method, target, body))
        call = urlsplit(target).path.rpartition("/")[2]
        if method == "POST":
            assert authorization == f"Bearer {token()}"
            answers = {
                "CreateArtifact": {"ok": True, "signedUploadUrl": f"{self.url}/blob?sig=a%2Fb"},
                "FinalizeArtifact": {"ok": True, "artifactId": "42"},
            }
            return self.status, answers[call]
        asked = parse_qs(urlsplit(target).query)
        assert asked["sig"] == ["a/b"]
        if asked["comp"] == ["block"]:
            self.blocks[asked["blockid"][0]] = body
        else:
            self.committed = b"".join(self.blocks[name] for name in self.blocks if name.encode() in body)
        return 201, ""


@pytest.fixture
def results() -> Iterator[Results]:
    """A service that stores artifacts, as GitHub's does."""
    service = Results()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = service.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        do_PUT = do_POST  # noqa: N815 - the name that http.server calls

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield service
        server.shutdown()


def token(scopes: str = "Actions.Read Actions.Results:run-1:job-2") -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, {"scp": scopes})]
    return ".".join((*parts, "signature"))


def test_the_record_is_an_artifact(results: Results, env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    around = {"ACTIONS_RESULTS_URL": f"{results.url}/", "ACTIONS_RUNTIME_TOKEN": token()}
    seeded = {"INPUT_SECRETS": "key=seeded-1", "INPUT_LABELS": "a=seeded-1", "DOCKER_BUILD_RECORD_RETENTION_DAYS": "3"}
    cloud = {"GITHUB_SERVER_URL": "https://github.com"}
    code, log = run(env | around | seeded | cloud, cwd)
    assert code == 0, log
    created, _, _, finished = results.requests
    base = "/twirp/github.actions.results.api.v1.ArtifactService"
    assert (created[1], finished[1]) == (f"{base}/CreateArtifact", f"{base}/FinalizeArtifact")
    asked = json.loads(created[2])
    assert job.identity is not None
    assert asked["name"] == f"{job.identity.name}.build"
    assert (asked["workflowRunBackendId"], asked["workflowJobRunBackendId"], asked["version"]) == ("run-1", "job-2", 4)
    assert "expiresAt" in asked
    assert json.loads(finished[2])["size"] == str(len(results.committed))
    with zipfile.ZipFile(io.BytesIO(results.committed)) as archive:
        record = json.loads(archive.read("record.json"))
    assert job.settings is not None
    assert job.settings.build.timeline is not None
    assert record["metadata"] == RESULT.metadata
    assert record["steps"][2]["name"] == "[2/3] RUN make"
    assert "seeded" not in json.dumps(record)
    assert "https://github.com/team/app/actions/runs/77/artifacts/42" in Path(env["GITHUB_STEP_SUMMARY"]).read_text()


def test_a_service_that_refuses_is_a_warning(results: Results, env: dict[str, str], cwd: Path, job: FakeJob) -> None:
    results.status = 503
    around = {"ACTIONS_RESULTS_URL": results.url, "ACTIONS_RUNTIME_TOKEN": token()}
    code, log = run(env | around | {"GITHUB_SERVER_URL": "https://github.com"}, cwd)
    assert code == 0
    warning = "::warning title=kube-builder::the build record was not uploaded: CreateArtifact: HTTP 503"
    assert warning in log.splitlines()


@pytest.mark.parametrize(
    ("server", "given", "found"),
    [
        ("https://github.com", token(), True),
        ("https://corp.ghe.com", token(), True),
        ("https://git.example", token(), False),
        ("https://github.com", "no.jwt", False),
        ("https://github.com", "a.!!.c", False),
        ("https://github.com", token("Actions.Read"), False),
        ("https://github.com", "", False),
    ],
)
def test_where_there_is_a_service(server: str, given: str, found: bool) -> None:
    env = {"ACTIONS_RESULTS_URL": "http://x", "ACTIONS_RUNTIME_TOKEN": given, "GITHUB_SERVER_URL": server}
    assert (github_report.find_artifact_service(env) is not None) == found


def test_bytes_that_are_no_characters_are_written_escaped(tmp_path: Path) -> None:
    env = {name: str(tmp_path / name) for name in (commands.SUMMARY, commands.OUTPUT)}
    commands.append_summary(env, "a\udcff\n")
    commands.append_value(env, commands.OUTPUT, "x", "a\udcff")
    assert (tmp_path / commands.SUMMARY).read_bytes() == b"a\\udcff\n"
    assert b"\na\\udcff\n" in (tmp_path / commands.OUTPUT).read_bytes()
