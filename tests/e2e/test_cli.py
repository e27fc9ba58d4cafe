"""`kube-builder build` on a real cluster, as a user's shell runs it."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from devcluster import pushed
from devcluster.registry import Registry
from tests.e2e.cluster import Builders
from tests.e2e.product import Product

BOTH = "linux/amd64,linux/arm64"
RECORDS_MACHINE = "FROM busybox\nRUN uname -m > /machine\n"


def test_two_architectures_are_pushed_whole_and_nothing_is_left(
    product: Product, context: Path, builders: Builders, reference: str, open_registry: Registry
) -> None:
    (context / "Dockerfile").write_text(
        "FROM busybox AS build\nCOPY greeting /in/\nRUN uname -m > /machine && cat /in/greeting >> /machine\n"
        "FROM busybox\nCOPY --from=build /machine /machine\n"
        'RUN test "$(head -n 1 /machine)" = "$(uname -m)"\n'
    )
    (context / "greeting").write_text("hello\n")
    run = product.build("--platform", BOTH, "-t", reference, "--push", "--metadata-file", "meta", str(context))
    assert run.code == 0, run.stderr
    digest = json.loads((product.cwd / "meta").read_text())["containerimage.digest"]
    images = pushed.images(open_registry.url, f"e2e/{context.name}", digest)
    assert {platform: image.files["machine"] for platform, image in images.items()} == {
        "linux/amd64": b"x86_64\nhello\n",
        "linux/arm64": b"aarch64\nhello\n",
    }
    assert pushed.images(open_registry.url, f"e2e/{context.name}", "1").keys() == images.keys()
    assert f"digest    {digest}\n" in run.stderr
    assert builders.left() == []


def test_failing_step_shows_its_last_lines_and_the_line_of_the_dockerfile(
    product: Product, context: Path, builders: Builders
) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo almost && echo broken >&2 && exit 7\nRUN true\n")
    run = product.build("--platform", BOTH, str(context))
    assert run.code == 1
    shown = run.stderr[run.stderr.index("------\n") :]
    assert "almost" in shown
    assert "broken" in shown
    assert "   2 | >>> RUN echo almost && echo broken >&2 && exit 7\n" in shown
    assert shown.splitlines()[-1].startswith("ERROR: failed to solve: ")
    assert "exit code: 7" in shown.splitlines()[-1]
    assert "Traceback" not in run.stderr
    assert builders.left() == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-f", "Dockerfil", "."], "--file: Dockerfile 'Dockerfil' does not exist"),
        (["--platform", "linux/amd46", "."], "--platform: "),
        (["-t", "Team/App:1", "."], "--tag: "),
        (["--driver-opt", "replica=2", "."], "--driver-opt: unknown option 'replica'; did you mean 'replicas'?"),
        (["--driver-opt", "requests.memory=4GiB", "."], "--driver-opt requests.memory: "),
        (["--secret", "id=token,src=absent", "."], "--secret: secret 'token': cannot read "),
        (["absent"], "PATH|URL: context folder 'absent' does not exist"),
        (["--kube-context", "absent", "."], "absent"),
        (["--push", "."], "--push: missing image name to push to"),
        (["--progres", "plain", "."], "unknown option --progres; did you mean --progress?"),
    ],
)
def test_bad_input_is_one_line_and_makes_nothing(
    options: list[str], said: str, product: Product, context: Path, builders: Builders
) -> None:
    (context / "Dockerfile").write_text("FROM scratch\n")
    run = Product(cwd=context, env=product.env, config=product.config).run("build", *options)
    assert run.code == 2
    assert run.stderr.startswith("kube-builder: error: ")
    assert said in run.stderr
    assert run.stderr.count("\n") == 1
    assert run.stdout == b""
    assert builders.namespaces() == []


def test_arguments_secrets_stages_and_labels(
    product: Product, context: Path, reference: str, open_registry: Registry
) -> None:
    (context / "Dockerfile").write_text(
        "FROM busybox AS base\nARG GREETING\nARG USERNAME\n"
        "RUN --mount=type=secret,id=token --mount=type=secret,id=file "
        "echo $GREETING $USERNAME $(wc -c < /run/secrets/token) $(wc -c < /run/secrets/file) > /said\n"
        "FROM base AS wanted\nFROM base AS last\nRUN false\n"
    )
    (context / "file.txt").write_text("12345")
    run = product.with_env(USERNAME="ann", TOKEN="seeded-7f3a").build(
        *("--build-arg", "GREETING=hi", "--build-arg", "USERNAME", "--target", "wanted", "--label", "team=a=b"),
        *("--secret", "id=token,env=TOKEN", "--secret", f"id=file,src={context / 'file.txt'}"),
        *("-t", reference, "--push", str(context)),
    )
    assert run.code == 0, run.stderr
    (image,) = pushed.images(open_registry.url, f"e2e/{context.name}", "1").values()
    assert image.files["said"] == b"hi ann 11 5\n"
    assert image.config["config"]["Labels"] == {"team": "a=b"}
    assert "seeded-7f3a" not in run.stderr


def test_results_as_files(product: Product, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY note /folder/note\n")
    (context / "note").write_text("text\n")
    run = product.build("-o", "out", "-o", "type=tar,dest=files.tar", "-o", "type=oci,dest=image.tar", str(context))
    assert run.code == 0, run.stderr
    assert (product.cwd / "out/folder/note").read_text() == "text\n"
    with tarfile.open(product.cwd / "files.tar") as archive:
        assert "folder/note" in archive.getnames()
    with tarfile.open(product.cwd / "image.tar") as archive:
        assert {"index.json", "oci-layout"} <= set(archive.getnames())


def test_files_of_several_platforms_and_a_tar_to_stdout(product: Product, context: Path) -> None:
    (context / "Dockerfile").write_text(
        "FROM busybox AS build\nRUN uname -m > /machine\nFROM scratch\nCOPY --from=build /machine /\n"
    )
    assert product.build("--platform", BOTH, "-o", "out", str(context)).code == 0
    assert (product.cwd / "out/linux_amd64/machine").read_text() == "x86_64\n"
    assert (product.cwd / "out/linux_arm64/machine").read_text() == "aarch64\n"
    run = product.build("-o", "-", str(context))
    with tarfile.open(fileobj=io.BytesIO(run.stdout)) as archive:
        assert archive.getnames() == ["machine"]


def test_result_files(product: Product, context: Path, reference: str) -> None:
    (context / "Dockerfile").write_text("FROM busybox\n")
    run = product.build(
        *("--iidfile", "iid", "--metadata-file", "meta", "--progress", "quiet", "-t", reference, "--push", str(context))
    )
    assert (run.code, run.stderr) == (0, "")
    metadata = json.loads((product.cwd / "meta").read_text())
    assert metadata["image.name"] == reference
    assert run.stdout.decode().strip() == (product.cwd / "iid").read_text()
    assert metadata["containerimage.digest"].startswith("sha256:")


def test_cache_in_a_registry_serves_another_builder(product: Product, context: Path, reference: str) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN date +%s%N > /when\n")
    cache = f"type=registry,ref={reference}-cache"
    options = ["--cache-from", cache, "--cache-to", f"{cache},mode=max", str(context)]
    first, second = product.build(*options), product.build(*options)
    assert (first.code, second.code) == (0, 0), first.stderr + second.stderr
    assert first.builder != second.builder
    assert "CACHED" not in first.stderr
    assert second.stderr.count("CACHED") == 1


def test_a_kept_builder_is_used_again_until_it_is_removed(
    product: Product, context: Path, builders: Builders, reference: str
) -> None:
    (context / "Dockerfile").write_text(RECORDS_MACHINE)
    first = product.build("--keep", str(context))
    assert first.code == 0, first.stderr
    assert builders.left() == [first.builder]
    again = product.build("--builder", first.builder, "-t", reference, "--push", str(context), own_builder=False)
    assert again.code == 0, again.stderr
    assert "CACHED" in again.stderr
    assert builders.left() == [first.builder]
    removed = product.run("rm", first.builder)
    assert (removed.code, removed.stdout.decode()) == (0, f"{first.builder} removed\n")
    assert builders.left() == []


def test_rm_of_what_is_not_there(product: Product) -> None:
    run = product.run("rm", "kube-builder-never-was")
    assert run.code == 2
    assert run.stderr.startswith("kube-builder: error: builder 'kube-builder-never-was' not found")


@pytest.mark.parametrize("transport", ["direct", "port-forward", "exec"])
def test_each_transport_alone(
    transport: str, product: Product, context: Path, reference: str, open_registry: Registry
) -> None:
    (context / "Dockerfile").write_text(RECORDS_MACHINE)
    run = product.build("--transport", transport, "-t", reference, "--push", str(context))
    assert run.code == 0, run.stderr
    assert f"answered over {transport}" in run.stderr
    assert len(pushed.images(open_registry.url, f"e2e/{context.name}", "1")) == 1


def test_emulation_where_the_cluster_has_no_such_node(
    product: Product, context: Path, reference: str, open_registry: Registry
) -> None:
    (context / "Dockerfile").write_text(RECORDS_MACHINE)
    only = ["--driver-opt", "nodeselector=kubernetes.io/arch=amd64"]
    run = product.build(*only, "--platform", BOTH, "-t", reference, "--push", str(context))
    assert run.code == 0, run.stderr
    reasons = [line for line in run.stderr.splitlines() if "emulated" in line]
    assert len(reasons) == 1
    assert "linux/arm64: emulated on amd64: " in reasons[0]
    images = pushed.images(open_registry.url, f"e2e/{context.name}", "1")
    assert {image.files["machine"] for image in images.values()} == {b"x86_64\n", b"aarch64\n"}


def test_variants_go_to_the_nodes_that_run_them(
    product: Product, context: Path, reference: str, open_registry: Registry
) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nARG TARGETPLATFORM\nLABEL platform=$TARGETPLATFORM\n")
    wanted = "linux/386,linux/amd64/v3,linux/arm/v7"
    run = product.build("--platform", wanted, "-t", reference, "--push", str(context))
    assert run.code == 0, run.stderr
    images = pushed.images(open_registry.url, f"e2e/{context.name}", "1")
    assert {image.config["config"]["Labels"]["platform"] for image in images.values()} == set(wanted.split(","))
    assert set(images) == set(wanted.split(","))


def test_checks_of_a_dockerfile(product: Product, context: Path, builders: Builders) -> None:
    """By a call, which fails for what it finds, and in the metadata of a build, which does not."""
    (context / "Dockerfile").write_text("FROM scratch as base\nCOPY Dockerfile /\n")
    called = product.build("--check", "--platform", BOTH, "--push", str(context))
    assert called.code == 1, called.stderr
    said = called.stdout.decode()
    assert said.startswith("Check complete, 1 warning has been found!\n\nWARNING: FromAsCasing - https://")
    assert f"{context.name}/Dockerfile:1\n" in said
    built = product.with_env(BUILDX_METADATA_WARNINGS="1").build("--metadata-file", "meta", str(context))
    assert built.code == 0, built.stderr
    (finding,) = json.loads((product.cwd / "meta").read_text())["buildx.build.warnings"]
    assert finding["range"] == [{"start": {"line": 1}, "end": {"line": 1}}]
    assert finding["sourceInfo"]["filename"] == "Dockerfile"
    assert builders.left() == []
