"""The end of a build that went well: its result is told first, and what clean-up meets does not change the outcome."""

from __future__ import annotations

import io
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ci_buildx.errors import KubeBuilderError
from ci_buildx.job import build, housing
from ci_buildx.job.result import BuildResult
from ci_buildx.settings.assembly import Value, settings_from
from ci_buildx.settings.values import Settings
from tests.e2e.cluster import Builders
from tests.e2e.product import Product
from tests.faults.relay import relaying

DOCKERFILE = "FROM scratch\nCOPY Dockerfile /\n"


def settings_of(product: Product, context: Path, reference: str, **given: Value) -> Settings:
    (context / "Dockerfile").write_text(DOCKERFILE)
    given = {"context": str(context), "buildkitd-config": str(product.config), "tags": reference, **given}
    given = {name.replace("_", "-"): value for name, value in given.items()} | {"platforms": "linux/amd64"}
    return settings_from(given | {"push": True, "progress": "plain"}, {}, product.env, product.cwd)


def test_an_api_server_that_is_gone_at_clean_up_is_a_warning(
    product: Product, context: Path, reference: str, builders: Builders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off from the moment at which the result is there, for longer than clean-up waits."""
    monkeypatch.setattr(housing, "TEARDOWN_TIME", 3.0)
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

        result = build.run(settings, env=product.env, display_stream=shown, deliver=deliver)
    (builder,) = builders.left()
    assert [one.digest for one in told] == [result.digest]
    assert f"WARNING: the build succeeded, its clean-up did not: not removed: namespace {builder}" in shown.getvalue()
    assert "kube-builder reap removes it once it has expired" in shown.getvalue()
    assert json.loads(metadata.read_text())["kube-builder.phases"]["teardown"] >= 2
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
        build.run(settings, env=product.env, display_stream=io.StringIO(), deliver=told.append)
    (result,) = told
    assert caught.value.exit_code == 1
    assert str(caught.value) == (
        f"--metadata-file: cannot write {full}: No space left on device; "
        f"the build succeeded ({reference}@{result.digest}): free space there or name another file"
    )
    assert (product.cwd / "iid").read_text() == result.image_id
    assert builders.left() == []


def test_a_builder_that_is_kept_stays_when_a_file_cannot_be_written(
    product: Product, context: Path, reference: str, builders: Builders, full: Path
) -> None:
    settings = settings_of(product, context, reference, metadata_file="meta.json", keep=True)
    with pytest.raises(KubeBuilderError, match="No space left on device; the build succeeded"):
        build.run(settings, env=product.env, display_stream=io.StringIO())
    (builder,) = builders.left()
    assert product.run("rm", builder).code == 0
