"""The end of a build that went well: its result is told first, and what clean-up meets does not change the outcome."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ci_buildx.build import builder_scope, run
from ci_buildx.build.result import BuildResult
from ci_buildx.ci.github import action, state, step
from ci_buildx.errors import KubeBuilderError
from ci_buildx.settings.assembly import Value, make_settings
from ci_buildx.settings.values import Settings
from devcluster.relay import relaying
from tests.e2e.cluster import Builders
from tests.e2e.product import Product

DOCKERFILE = "FROM scratch\nCOPY Dockerfile /\n"


def settings_of(product: Product, context: Path, reference: str, **given: Value) -> Settings:
    (context / "Dockerfile").write_text(DOCKERFILE)
    given = {"context": str(context), "buildkitd-config": str(product.config), "tags": reference, **given}
    given = {name.replace("_", "-"): value for name, value in given.items()} | {"platforms": "linux/amd64"}
    return make_settings(given | {"push": True, "progress": "plain"}, {}, product.env, product.cwd)


def test_an_api_server_that_is_gone_at_clean_up_is_a_warning(
    product: Product, context: Path, reference: str, builders: Builders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off from the moment at which the result is there, for longer than clean-up waits."""
    monkeypatch.setattr(builder_scope, "TEARDOWN_TIME", 3.0)
    found = json.loads(Path(product.env["KUBECONFIG"]).read_text())
    server = found["clusters"][0]["cluster"]
    place = urlsplit(server["server"])
    metadata, iid = product.cwd / "meta.json", product.cwd / "iid"
    told: list[BuildResult] = []
    shown = io.StringIO()
    with relaying(str(place.hostname), int(place.port or 443)) as relay:
        server |= {"server": f"https://127.0.0.1:{relay.port}", "tls-server-name": place.hostname}
        (product.cwd / "relayed").write_text(json.dumps(found))
        given: dict[str, Value] = {"kubeconfig": "relayed", "transport": "direct"}
        settings = settings_of(product, context, reference, metadata_file="meta.json", iidfile="iid", **given)

        def deliver(result: BuildResult) -> None:
            assert json.loads(metadata.read_text())["containerimage.digest"] == result.digest
            assert iid.read_text() == result.image_id
            told.append(result)
            relay.close()

        result = run.run_build(settings, env=product.env, display_stream=shown, deliver=deliver)
    (builder,) = builders.left()
    assert [one.digest for one in told] == [result.digest]
    assert (
        f"WARNING: the build succeeded, but its clean-up failed: not removed: namespace {builder}" in shown.getvalue()
    )
    assert "kube-builder reap removes it once it has expired" in shown.getvalue()
    assert json.loads(metadata.read_text())["kube-builder.phases"]["teardown"] >= 2
    assert product.run("rm", builder).code == 0


def test_an_api_server_that_says_nothing_at_clean_up_costs_the_action_no_result(
    product: Product, context: Path, reference: str, builders: Builders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer and no refusal from the moment at which the outputs are there, for longer than 25 s.

    Timeline and summary come after clean-up, since they show it; so it must not keep them from being written either.
    """
    (context / "Dockerfile").write_text(DOCKERFILE)
    found = json.loads(Path(product.env["KUBECONFIG"]).read_text())
    server = found["clusters"][0]["cluster"]
    place = urlsplit(server["server"])
    files = {name: product.cwd / name for name in ("GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")}
    shown, timeline = io.StringIO(), product.cwd / "timeline.html"
    silenced: list[float] = []
    with relaying(str(place.hostname), int(place.port or 443)) as relay:
        server |= {"server": f"https://127.0.0.1:{relay.port}", "tls-server-name": place.hostname}
        (product.cwd / "relayed").write_text(json.dumps(found))
        deliver = step._deliver

        def silence(of: state.ActionStep, result: BuildResult) -> None:
            deliver(of, result)
            relay.silent.set()
            silenced.append(time.monotonic())

        monkeypatch.setattr(step, "_deliver", silence)
        inputs = {"context": str(context), "kubeconfig": "relayed", "buildkitd-config": str(product.config)}
        inputs |= {"tags": reference, "push": "true", "platforms": "linux/amd64", "transport": "direct"}
        env = {f"INPUT_{name.upper()}": text for name, text in {**inputs, "timeline": str(timeline)}.items()}
        env |= {**product.env, **{name: str(path) for name, path in files.items()}, "RUNNER_TEMP": str(product.cwd)}
        env["GITHUB_REPOSITORY"] = context.name
        code = action.main(post=False, env=env, cwd=product.cwd, stdout=shown)
        waited = time.monotonic() - silenced[0]
        (builder,) = builders.left()
    assert code == 0, shown.getvalue()
    assert builder_scope.TEARDOWN_TIME <= waited < builder_scope.TEARDOWN_TIME + 10
    said = (
        f"the build succeeded, but its clean-up failed: not removed: namespace {builder}: the API server did not answer"
    )
    assert said in shown.getvalue()
    assert "digest" in files["GITHUB_OUTPUT"].read_text() and "sha256:" in files["GITHUB_OUTPUT"].read_text()
    assert reference in files["GITHUB_STEP_SUMMARY"].read_text()
    assert "removing builder" in timeline.read_text()
    assert builder in files["GITHUB_STATE"].read_text()
    assert product.run("rm", builder).code == 0


@pytest.fixture
def full(product: Product) -> Path:
    """A file for which there is never space."""
    path = product.cwd / "meta.json"
    path.symlink_to("/dev/full")
    return path


def test_a_full_disk_costs_the_file_and_not_the_digest(
    product: Product, context: Path, reference: str, builders: Builders, full: Path
) -> None:
    told: list[BuildResult] = []
    settings = settings_of(product, context, reference, metadata_file="meta.json", iidfile="iid")
    with pytest.raises(KubeBuilderError) as caught:
        run.run_build(settings, env=product.env, display_stream=io.StringIO(), deliver=told.append)
    (result,) = told
    assert caught.value.exit_code == 1
    assert str(caught.value) == (
        f"--metadata-file: cannot write {full}: No space left on device; "
        f"the build succeeded ({reference}@{result.digest}): free disk space or name another file"
    )
    assert (product.cwd / "iid").read_text() == result.image_id
    assert builders.left() == []


def test_a_builder_that_is_kept_stays_when_a_file_cannot_be_written(
    product: Product, context: Path, reference: str, builders: Builders, full: Path
) -> None:
    settings = settings_of(product, context, reference, metadata_file="meta.json", keep=True)
    with pytest.raises(KubeBuilderError, match="No space left on device; the build succeeded"):
        run.run_build(settings, env=product.env, display_stream=io.StringIO())
    (builder,) = builders.left()
    assert product.run("rm", builder).code == 0
