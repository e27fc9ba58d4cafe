"""`kube-builder bake` on a real cluster, as a user's shell runs it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from devcluster import layout, programs, pushed
from devcluster.registry import Registry
from tests.e2e.cluster import Builders
from tests.e2e.product import Product, Run
from tests.integration.buildkit.served import serving
from tests.unit.fsutil.repositories import Repository

LINKED = """
variable "REF" {}
group "default" { targets = ["app", "files"] }
target "base" {
  platforms         = ["linux/amd64", "linux/arm64"]
  dockerfile-inline = "FROM busybox\\nCOPY note /note\\nRUN uname -m > /machine && head -c 8 /dev/urandom > /random\\n"
}
target "app" {
  platforms         = ["linux/amd64", "linux/arm64"]
  contexts          = { base = "target:base" }
  dockerfile-inline = "FROM base\\nRUN test $(cat /machine) = $(uname -m) && cat /note /machine > /both\\n"
  tags              = [REF]
  output            = ["type=registry"]
}
target "files" {
  platforms         = ["linux/amd64", "linux/arm64"]
  contexts          = { base = "target:base", app = "target:app" }
  dockerfile-inline = <<EOT
FROM scratch
COPY --from=base /random /base
COPY --from=app /random /app
COPY --from=app /both /both
EOT
  output            = ["out"]
}
"""


def bake(product: Product, context: Path, *options: str, own_builder: bool = True) -> Run:
    """`kube-builder bake` in the context."""
    configured = ["--buildkitd-config", str(product.config)] if own_builder else []
    there = Product(cwd=context, env=product.env, config=product.config)
    return there.run("bake", *configured, *options)


def test_linked_targets_are_built_once_on_each_node_and_nothing_is_left(
    product: Product, context: Path, builders: Builders, reference: str, open_registry: Registry
) -> None:
    (context / "docker-bake.hcl").write_text(LINKED)
    (context / "note").write_text("hello\n")
    run = bake(product, context, "--var", f"REF={reference}", "--metadata-file", "meta.json")
    assert run.code == 0, run.stderr
    metadata = json.loads((context / "meta.json").read_text())
    assert metadata.keys() == {"app", "base", "files"}
    images = pushed.images(open_registry.url, f"e2e/{context.name}", metadata["app"]["containerimage.digest"])
    assert {platform: image.files["both"] for platform, image in images.items()} == {
        "linux/amd64": b"hello\nx86_64\n",
        "linux/arm64": b"hello\naarch64\n",
    }
    for folder in ("linux_amd64", "linux_arm64"):
        assert (context / "out" / folder / "base").read_bytes() == (context / "out" / folder / "app").read_bytes()
    assert f"app: digest {metadata['app']['containerimage.digest']}\n" in run.stderr
    assert builders.left() == []


FAILING = """
group "default" { targets = ["bad", "good", "needs-bad"] }
target "bad" { dockerfile-inline = "FROM busybox\\nRUN echo almost && exit 7\\n" }
target "needs-bad" {
  contexts          = { bad = "target:bad" }
  dockerfile-inline = "FROM bad\\n"
}
target "good" {
  dockerfile-inline = "FROM busybox\\nRUN sleep 2\\nRUN echo made > /made\\nFROM scratch\\nCOPY --from=0 /made /made\\n"
  output            = ["out"]
}
"""


def test_a_failed_target_ends_the_others(product: Product, context: Path, builders: Builders) -> None:
    (context / "docker-bake.hcl").write_text(FAILING)
    run = bake(product, context)
    assert run.code == 1
    last = run.stderr.splitlines()[-1]
    assert last.startswith("ERROR: target bad: failed to solve: ")
    assert "exit code: 7" in last
    assert not (context / "out").exists()
    assert builders.left() == []


def test_with_defer_error_the_others_are_built_and_each_is_summarized(
    product: Product, context: Path, builders: Builders
) -> None:
    (context / "docker-bake.hcl").write_text(FAILING)
    run = bake(product, context, "--jobs", "defer-error", "--metadata-file", "meta.json")
    assert run.code == 1
    assert (context / "out" / "made").read_text() == "made\n"
    assert "[internal] target results" in run.stderr
    for said in ("bad: failed", "good: succeeded", "needs-bad: aborted"):
        assert said in run.stderr
    assert json.loads((context / "meta.json").read_text()).keys() == {"good"}
    assert run.stderr.splitlines()[-1].startswith("ERROR: target bad: ")
    assert builders.left() == []


def test_with_defer_output_a_failure_exports_nothing(product: Product, context: Path) -> None:
    (context / "docker-bake.hcl").write_text(FAILING.replace("RUN sleep 2\\n", ""))
    run = bake(product, context, "--jobs", "defer-output")
    assert run.code == 1, run.stderr
    assert not (context / "out" / "made").exists()


def test_checks_of_all_targets_are_printed_below_their_names(product: Product, context: Path) -> None:
    (context / "docker-bake.hcl").write_text(
        'group "default" { targets = ["one", "two"] }\n'
        'target "one" {\n  description = "the first"\n  dockerfile-inline = "from busybox\\nRUN true\\n"\n}\n'
        'target "two" { dockerfile-inline = "FROM busybox\\n" }\n'
    )
    run = bake(product, context, "--check")
    assert run.code == 1, run.stderr
    shown = run.stdout.decode()
    assert shown.startswith("one\nthe first\n\n")
    assert "ConsistentInstructionCasing" in shown
    assert "\ntwo\n\nCheck complete, no warnings found." in shown
    as_json = json.loads(bake(product, context, "--call", "check,format=json").stdout)
    assert as_json["target"]["one"]["check"]["warnings"][0]["ruleName"] == "ConsistentInstructionCasing"


def test_files_elsewhere_have_to_be_granted_before_anything_is_made(
    product: Product, context: Path, builders: Builders, tmp_path: Path
) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "file").write_text("from elsewhere\n")
    (context / "docker-bake.hcl").write_text(
        'target "default" {\n  contexts = { other = "../elsewhere" }\n  output = ["out"]\n'
        '  dockerfile-inline = "FROM scratch\\nCOPY --from=other file /file\\n"\n}\n'
    )
    run = bake(product, context)
    assert run.code == 2
    assert 'Pass "--allow=fs.read=../elsewhere" to grant requested privileges.' in run.stderr
    assert run.stderr.splitlines()[-1].startswith("ERROR: additional privileges requested")
    assert builders.namespaces() == []
    granted = bake(product, context, "--allow", "fs.read=../elsewhere")
    assert granted.code == 0, granted.stderr
    assert (context / "out" / "file").read_text() == "from elsewhere\n"


REMOTE = """
target "default" {
  context    = "sub"
  contexts   = { here = "cwd://local" }
  output     = ["out"]
}
"""


def test_a_definition_in_a_git_repository_means_its_folders(
    product: Product, context: Path, builders: Builders, tmp_path: Path
) -> None:
    repository = Repository(tmp_path / "served" / "app.git")
    dockerfile = "FROM scratch\nCOPY file /file\nCOPY --from=here note /note\n"
    repository.write(**{"docker-bake.hcl": REMOTE, "sub__Dockerfile": dockerfile, "sub__file": "of the repository\n"})
    repository.commit()
    (context / "local").mkdir()
    (context / "local" / "note").write_text("of this machine\n")
    with serving(tmp_path / "served", address=str(layout.cluster(layout.default_name()).host_address)) as address:
        url = f"http://{address}/app.git"
        printed = bake(product, context, "--print", url)
        assert printed.code == 0, printed.stderr
        assert json.loads(printed.stdout)["target"]["default"]["context"].startswith(url)
        run = bake(product, context, url)
    assert run.code == 0, run.stderr
    assert (context / "out" / "file").read_text() == "of the repository\n"
    assert (context / "out" / "note").read_text() == "of this machine\n"
    assert builders.left() == []


@pytest.mark.parametrize(
    ("definition", "options", "said"),
    [
        ('target "default" {\n  tags = "x"\n}\n', (), "docker-bake.hcl:2,11-12: Unsuitable value type"),
        ('target "default" {}\n', ("second",), "failed to find target second"),
        ('target "default" { platforms = ["linux/amd46"] }\n', (), "target default, --platform: "),
        ('target "default" {}\n', ("https://example.com/x.tar",), "only a git repository can hold a definition"),
    ],
)
def test_bad_input_is_one_line_and_makes_nothing(
    definition: str, options: tuple[str, ...], said: str, product: Product, context: Path, builders: Builders
) -> None:
    (context / "docker-bake.hcl").write_text(definition)
    (context / "Dockerfile").write_text("FROM scratch\n")
    run = bake(product, context, *options)
    assert run.code == 2
    errors = [line for line in run.stderr.splitlines() if line and not line.startswith("#")]
    assert len(errors) == 1
    assert errors[0].startswith("kube-builder: error: ")
    assert said in errors[0]
    assert builders.namespaces() == []


def test_a_context_of_forty_targets_is_sent_once(product: Product, context: Path, builders: Builders) -> None:
    (context / "payload").write_bytes(os.urandom(4 << 20))
    (context / "docker-bake.hcl").write_text(
        r"""
group "default" { targets = ["many"] }
target "many" {
  name              = "t${n}"
  matrix            = { n = range(40) }
  dockerfile-inline = "FROM scratch\nCOPY payload /payload\nARG N\nLABEL n=$N\n"
  args              = { N = n }
  output            = ["type=cacheonly"]
}
"""
    )
    run = bake(product, context)
    assert run.code == 0, run.stderr
    (shown,) = re.findall(r"\(context\): ([0-9.]+)MB for 40 targets", run.stderr)
    assert 4.19 <= float(shown) < 4.3, "its bytes and their frames, once"
    assert builders.left() == []


TWELVE = r"""
variable "REF" {}
group "default" { targets = ["app"] }
target "app" {
  name              = "app-${n}"
  matrix            = { n = range(12) }
  platforms         = ["linux/amd64", "linux/arm64"]
  args              = { N = n }
  labels            = { n = n }
  attest            = ["type=provenance,disabled=true"]
  tags              = ["${REF}-${n}:1"]
  output            = ["type=image,push=true,rewrite-timestamp=true"]
  dockerfile-inline = <<EOT
FROM busybox AS base
COPY note /note
RUN uname -m > /machine
FROM base
ARG N
RUN echo $N > /number
EOT
}
"""


def test_twelve_targets_with_a_common_stage_are_what_docker_buildx_builds(
    product: Product, context: Path, reference: str, open_registry: Registry, name: str
) -> None:
    """docker buildx builds again, without the cache, on each node of the same builder."""
    (context / "docker-bake.hcl").write_text(TWELVE)
    (context / "note").write_text("hello\n")
    there = Product(cwd=context, env={**product.env, "SOURCE_DATE_EPOCH": "1700000000"}, config=product.config)
    base = reference.rpartition(":")[0]
    kept = there.run(
        *("bake", "--keep", "--buildkitd-config", str(product.config), "--var", f"REF={base}"),
        *("--metadata-file", "ours.json"),
    )
    assert kept.code == 0, kept.stderr
    try:
        theirs: dict[str, dict[str, str]] = {}
        for platform in ("linux/amd64", "linux/arm64"):
            file = context.parent / f"{platform.partition('/')[2]}.json"
            script = f"""
set -e
export BUILDX_CONFIG="$PWD/../buildx-{platform.partition("/")[2]}"
{programs.path("buildx")} create --name exposed --driver remote "$BUILDKIT_HOST"
{programs.path("buildx")} bake --builder exposed --no-cache --var REF={base}-theirs --set '*.platform={platform}' \\
  --metadata-file {file}
"""
            run = there.run("exec", "--platform", platform, kept.builder, "--", "sh", "-c", script)
            assert run.code == 0, run.stderr
            for target, metadata in json.loads(file.read_text()).items():
                if target.startswith("app-"):
                    theirs.setdefault(target, {})[platform] = metadata["containerimage.digest"]
        ours = {}
        for target, metadata in json.loads((context / "ours.json").read_text()).items():
            digest = metadata["containerimage.digest"]
            found = pushed.images(open_registry.url, f"e2e/{name}-{target.partition('-')[2]}", digest)
            ours[target] = {platform: image.digest for platform, image in found.items()}
        assert len(ours) == 12
        assert ours == theirs
    finally:
        there.run("rm", kept.builder)
