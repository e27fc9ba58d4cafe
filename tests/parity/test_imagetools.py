"""`imagetools inspect` prints what docker buildx prints, and `create` makes the same digest."""

from __future__ import annotations

import io
import json
import os
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from ci_buildx.cli.main import main
from ci_buildx.cli.process import ProcessContext
from ci_buildx.registry.client import RegistryClient, RegistryRepository
from ci_buildx.registry.content import compute_digest
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.registry.trust import RegistryTrust
from devcluster import programs
from devcluster.parity.clients import Arena, Call
from tests.parity import images, tree
from tests.parity.images import SHAPES, ImagePusher

_BUILDER = "registries"
BUILT = {
    "built": ("--provenance=false",),
    "built-docker": ("--provenance=false", "--output", "type=image,push=true,oci-mediatypes=false"),
    "built-two": ("--provenance=false", "--platform", "linux/amd64,linux/arm64"),
    "built-attested": ("--provenance=mode=max",),
    "built-attested-two": ("--provenance=mode=min", "--platform", "linux/amd64,linux/arm/v7"),
    "built-artifacts": ("--output", "type=image,push=true,oci-mediatypes=true,oci-artifact=true"),
}
"""Options of docker buildx build for the image under the tag that is the key."""
FORMATS = (
    *("{{json .Manifest}}", "{{json .Image}}", "{{json .Provenance}}", "{{json .SBOM}}"),
    *("{{.Name}} {{.Manifest.Digest}} {{.Manifest.Size}}", "{{json .Provenance.SLSA}}", "{{json .SBOM.SPDX}}"),
)


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Both programs, and the repositories of this session."""

    folder: Path
    registry: str
    path: str
    kubeconfig: str

    @property
    def home(self) -> str:
        return f"{self.registry}/{self.path}"

    def ours(self, *argv: str) -> tuple[int, str]:
        stdout, stderr = io.StringIO(), io.StringIO()
        env = {"HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder)}
        around = ProcessContext(env=env, cwd=self.folder, stdout=stdout, stderr=stderr)
        code = main(["imagetools", *argv, "--buildkitd-config", str(self.folder / "buildkitd.toml")], around)
        return code, stdout.getvalue() if code == 0 else stderr.getvalue()

    def theirs(self, *argv: str) -> tuple[int, str]:
        done = self._buildx(["imagetools", "--builder", _BUILDER, *argv])
        return done.returncode, (done.stdout if done.returncode == 0 else done.stderr).decode()

    def make_builder(self) -> None:
        """Make the builder that tells docker buildx how to reach the registry; it is never started."""
        created = ["create", "--name", _BUILDER, "--driver", "kubernetes", "--buildkitd-config", "buildkitd.toml"]
        done = self._buildx(created)
        assert done.returncode == 0, done.stderr

    def _buildx(self, argv: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "BUILDX_CONFIG": str(self.folder / "buildx"),
            "KUBECONFIG": self.kubeconfig,
        }
        command = [str(programs.path("buildx")), *argv]
        return subprocess.run(command, env=env, cwd=self.folder, capture_output=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def tools(arena: Arena, cluster_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    """A repository with an image of each shape."""
    folder, registry = tmp_path_factory.mktemp("imagetools"), cluster_env["REGISTRY"]
    (folder / "buildkitd.toml").write_text(f'[registry."{registry}"]\n  http = true\n')
    made = Tools(
        folder=folder,
        registry=registry,
        path=f"imagetools-{secrets.token_hex(4)}",
        kubeconfig=cluster_env["KUBECONFIG"],
    )
    made.make_builder()
    trust = RegistryTrust(plain=frozenset({registry}))
    with RegistryClient(CredentialStore([], env={}), trust=trust) as client:
        for push in SHAPES.values():
            push(ImagePusher(client, RegistryRepository(registry, made.path)))
    tree.plant(folder / "context", {"Dockerfile": "FROM scratch\nCOPY a.txt /\nENV A=<b>\n", "a.txt": "a"})
    for tag, options in BUILT.items():
        output = [] if "--output" in options else ["--push"]
        call = Call(argv=(*options, *output, "-t", f"{made.home}:{tag}", "."), env={}, cwd=folder / "context")
        assert not arena.theirs(call)
    yield made


@pytest.mark.parametrize("tag", [*SHAPES, *BUILT])
def test_the_manifest_is_printed_byte_for_byte(tools: Tools, tag: str) -> None:
    code, text = tools.ours("inspect", "--raw", f"{tools.home}:{tag}")
    assert (code, text) == tools.theirs("inspect", "--raw", f"{tools.home}:{tag}")
    assert code == 0


@pytest.mark.parametrize("tag", [*SHAPES, *BUILT])
def test_templates_print_the_same(tools: Tools, tag: str) -> None:
    image = f"{tools.home}:{tag}"
    for template in ("{{json .}}", "\n".join(FORMATS)):
        code, text = tools.ours("inspect", "--format", template, image)
        assert (code, text) == tools.theirs("inspect", "--format", template, image)
        assert code == 0


@pytest.mark.parametrize("tag", [*SHAPES, *BUILT])
def test_the_text_is_the_same(tools: Tools, tag: str) -> None:
    """But for blanks at the ends of lines, and the order of annotations, which docker buildx shuffles."""
    ours, theirs = (run("inspect", f"{tools.home}:{tag}") for run in (tools.ours, tools.theirs))
    assert ours[0] == theirs[0] == 0
    assert sorted(ours[1].splitlines()) == sorted(line.rstrip() for line in theirs[1].splitlines())


CREATED: dict[str, tuple[str, ...]] = {
    "a single image": ("HOME:oci",),
    "a copy": ("--prefer-index=false", "HOME:oci"),
    "a copy of docker's": ("--prefer-index=false", "HOME:docker-full"),
    "docker's alone": ("HOME:docker",),
    "docker's two": ("HOME:docker", "HOME:docker-full"),
    "both kinds": ("HOME:docker", "HOME:full"),
    "an index": ("HOME:index",),
    "a list": ("HOME:list",),
    "an index and an image": ("HOME:index", "HOME:docker-full"),
    "two indexes with a common image": ("HOME:index", "HOME:one"),
    "all fields of entries": ("HOME:entries", "HOME:oci"),
    "no platforms": ("HOME:no-platforms", "HOME:full"),
    "nested": ("HOME:nested",),
    "attestations": ("HOME:attested", "HOME:built-attested-two"),
    "attested artifacts": ("HOME:attested-artifacts", "HOME:windows"),
    "one platform with its attestation": ("--platform", "linux/arm64", "HOME:attested-two"),
    "two platforms of several": ("--platform", "linux/arm/v6,linux/arm64", "HOME:entries"),
    "a platform of several sources": ("--platform", "linux/amd64", "HOME:index", "HOME:built-two"),
    "annotations": ("--annotation", "index:a=<b>", "--annotation", "manifest-descriptor:c=d", "HOME:index"),
    "annotations of a platform": ("--annotation", "manifest-descriptor[linux/arm64]:c=d", "HOME:index", "HOME:windows"),
    "annotations that docker's list cannot have": ("--annotation", "index:a=b", "HOME:list"),
    "built": ("HOME:built", "HOME:built-two", "HOME:built-artifacts"),
    "built by docker's types": ("HOME:built-docker",),
    "an artifact": ("--prefer-index=false", "HOME:artifacts"),
}


@pytest.mark.parametrize("name", CREATED)
def test_an_image_of_others_has_the_same_digest(tools: Tools, name: str) -> None:
    argv = [word.replace("HOME", tools.home) for word in CREATED[name]]
    plans = [run("create", "--dry-run", *argv) for run in (tools.ours, tools.theirs)]
    assert plans[0] == plans[1]
    assert plans[0][0] == 0, plans
    made = []
    for side, run in (("ours", tools.ours), ("theirs", tools.theirs)):
        target, file = f"{tools.home}-{side}:{secrets.token_hex(4)}", tools.folder / f"{side}.json"
        code, text = run("create", "--progress=none", "-t", target, "--metadata-file", str(file), *argv)
        assert code == 0, text
        metadata = json.loads(file.read_text())
        assert metadata.pop("image.name") == f"{tools.home}-{side}"
        raw = tools.theirs("inspect", "--raw", target)[1]
        assert compute_digest(raw.encode()) == metadata["containerimage.descriptor"]["digest"]
        made.append((metadata, raw))
    assert made[0] == made[1]
    assert plans[0][1] == f"{made[0][1]}\n"


def test_append_makes_the_same_digest(tools: Tools) -> None:
    digests = []
    for side, run in (("ours", tools.ours), ("theirs", tools.theirs)):
        target = f"{tools.home}-append-{side}:1"
        for argv in (
            ["create", "-t", target, f"{tools.home}:one"],
            ["create", "--append", "-t", target, f"{tools.home}:full"],
        ):
            code, text = run(*argv)
            assert code == 0, text
        digests.append(compute_digest(run("inspect", "--raw", target)[1].encode()))
    assert digests[0] == digests[1]


def test_signatures_are_copied_as_docker_buildx_copies_them(tools: Tools) -> None:
    trust = RegistryTrust(plain=frozenset({tools.registry}))
    with RegistryClient(CredentialStore([], env={}), trust=trust) as client:
        source = RegistryRepository(tools.registry, f"{tools.path}-signed")
        pusher = ImagePusher(client, source)
        images.push_attested(pusher, "1", "amd64", "arm64", artifact=True)
        entries = client.read_manifest(source, "1").entries
        signatures = [
            pusher.push_signature({key: one[key] for key in ("mediaType", "digest", "size")}) for one in entries
        ]
        for side, run in (("ours", tools.ours), ("theirs", tools.theirs)):
            code, text = run("create", "-t", f"{tools.home}-signed-{side}:1", f"{source}:1")
            assert code == 0, text
            target = RegistryRepository(tools.registry, f"{tools.path}-signed-{side}")
            assert [client.has_manifest(target, one["digest"]) for one in signatures] == [True] * 4
            found = client.read_manifest(target, "1")
            assert found.descriptor == client.read_manifest(source, "1").descriptor


def test_layouts_have_the_same_content(tools: Tools) -> None:
    for tag in ("attested-artifacts", "built-two", "docker"):
        found = []
        for side, run in (("ours", tools.ours), ("theirs", tools.theirs)):
            layout = tools.folder / f"{tag}-{side}"
            code, text = run("create", "-t", f"oci-layout://{layout}:v1", f"{tools.home}:{tag}")
            assert code == 0, text
            blobs = {path.name for path in (layout / "blobs" / "sha256").iterdir()}
            found.append((blobs, json.loads((layout / "index.json").read_text())))
            back = f"{tools.home}-layout-{side}:{tag}"
            code, text = run("create", "-t", back, f"oci-layout://{layout}:v1")
            assert code == 0, text
            found[-1] += (run("inspect", "--raw", back),)  # type: ignore[assignment]
        assert found[0] == found[1]
