"""`imagetools inspect`: the text, the raw bytes, and what templates see."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.errors import InputError
from ci_buildx.imagetools import inspect as inspect_module
from ci_buildx.imagetools.location import parse_location
from ci_buildx.registry.content import DOCKER_MANIFEST
from tests.unit.imagetools.conftest import Run
from tests.unit.imagetools.memory_registry import AMD64, ATTESTATION, IN_TOTO, UNKNOWN, MemoryRegistry

PROVENANCE = "https://slsa.dev/provenance/v1"
SPDX = "https://spdx.dev/Document"


def inspect(run: Run, *argv: str) -> str:
    code, stdout, stderr = run("imagetools", "inspect", *argv)
    assert (code, stderr) == (0, "")
    return stdout


def push_statements(registry: MemoryRegistry, *architectures: str) -> None:
    """Images with a provenance and two SBOMs each, the second one signed."""
    entries = []
    for name in architectures:
        image = registry.push_image("app", name)
        layers = []
        for kind, predicate in ((SPDX, {"n": 1}), (SPDX, {"n": 2}), (PROVENANCE, {"of": name, "big": 12345678901})):
            body = json.dumps({"predicateType": kind, "predicate": predicate}).encode()
            media_type = IN_TOTO
            if predicate.get("n") == 2:
                body = json.dumps({"payload": base64.b64encode(body).decode()}).encode()
                media_type = "application/vnd.in-toto.spdx+dsse"
            layer = registry.push_blob("app", body, media_type)
            layers.append({**layer, "annotations": {"in-toto.io/predicate-type": kind}})
        config = registry.push_blob("app", b"{}", "application/vnd.oci.image.config.v1+json")
        document = {"schemaVersion": 2, "mediaType": image["mediaType"], "config": config, "layers": layers}
        attestation = registry.push("app", document)
        notes = {"vnd.docker.reference.digest": image["digest"], "vnd.docker.reference.type": "attestation-manifest"}
        entries.append({**image, "platform": {"architecture": name, "os": "linux"}})
        entries.append({**attestation, "platform": UNKNOWN, "annotations": notes})
    registry.push_index("app", entries, "1")


def test_shows_a_manifest(registry: MemoryRegistry, run: Run) -> None:
    image = registry.push_image("app", "amd64", "latest")
    expected = (
        f"Name:      {registry.name('app', 'latest')}\nMediaType: {image['mediaType']}\nDigest:    {image['digest']}\n"
    )
    assert inspect(run, registry.name("app")) == expected
    assert inspect(run, registry.name("app"), "--format", " {{ .Manifest }}\n") == expected


def test_shows_an_index(registry: MemoryRegistry, run: Run) -> None:
    image = registry.push_image("app", "amd64")
    entries = [
        {**image, "platform": {**AMD64, "os.version": "10.0", "os.features": ["a", "b"]}, "urls": ["https://x"]},
        {**image, "platform": UNKNOWN, "annotations": {"longer": "2", "k": "1"}},
        image,
    ]
    index = registry.push_index("app", entries, "1")
    name = f"{registry.name('app', '1')}@{image['digest']}"
    assert inspect(run, registry.name("app", "1")) == (
        f"Name:      {registry.name('app', '1')}\n"
        f"MediaType: {index['mediaType']}\n"
        f"Digest:    {index['digest']}\n"
        "\n"
        "Manifests:\n"
        f"  Name:        {name}\n"
        f"  MediaType:   {image['mediaType']}\n"
        "  Platform:    linux/amd64\n"
        "  OSVersion:   10.0\n"
        "  OSFeatures:  a, b\n"
        "  URLs:        https://x\n"
        "\n"
        f"  Name:        {name}\n"
        f"  MediaType:   {image['mediaType']}\n"
        "  Platform:    unknown/unknown\n"
        "  Annotations:\n"
        "    k:      1\n"
        "    longer: 2\n"
        "\n"
        f"  Name:      {name}\n"
        f"  MediaType: {image['mediaType']}\n"
    )


def test_raw_is_byte_for_byte(registry: MemoryRegistry, run: Run) -> None:
    registry.push_image("app", "amd64", "1")
    assert inspect(run, registry.name("app", "1"), "--raw").encode() == registry.manifests["app", "1"][1]


def test_a_template_sees_manifest_and_config(registry: MemoryRegistry, run: Run) -> None:
    config: dict[str, Any] = {"Env": ["A=<b>"], "Cmd": None, "Healthcheck": {"Test": []}, "Labels": {"x": "y"}}
    more = {"created": "2026-01-01T00:00:00.120000000Z", "config": config, "docker_version": "29", "container": "z"}
    image = registry.push_image("app", "amd64", "1", kind=DOCKER_MANIFEST, **more)
    found = inspect(run, registry.name("app", "1"), "--format", "{{json .}}")
    assert json.loads(found) == {
        "name": registry.name("app", "1"),
        "manifest": image,
        "image": {
            "created": "2026-01-01T00:00:00.12Z",
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["A=<b>"], "Labels": {"x": "y"}},
            "rootfs": {"type": "layers", "diff_ids": []},
        },
    }
    assert '"A=\\u003cb\\u003e"' in found
    assert '\n  "name": ' in found
    template = "{{.Name}} {{.Image.OS}}/{{.Image.Platform.Architecture}} {{.Image.Config.Env}} {{.Image.Created}}"
    assert inspect(run, registry.name("app", "1"), "--format", template) == (
        f"{registry.name('app', '1')} linux/amd64 [A=<b>] 2026-01-01 00:00:00.12 +0000 UTC"
    )


def test_images_of_several_platforms_are_a_map(registry: MemoryRegistry, run: Run) -> None:
    push_statements(registry, "amd64", "arm64")
    found = json.loads(inspect(run, registry.name("app", "1"), "--format", "{{json .}}"))
    assert list(found) == ["name", "manifest", "image"]
    assert list(found["manifest"]) == ["schemaVersion", "mediaType", "digest", "size", "manifests"]
    assert found["manifest"]["manifests"] == registry.read("app", "1")["manifests"]
    assert {name: image["architecture"] for name, image in found["image"].items()} == {
        "linux/amd64": "amd64",
        "linux/arm64": "arm64",
    }
    template = '{{(index .Image "linux/arm64").Architecture}} {{range $p, $_ := .Image}}{{$p}};{{end}}'
    assert inspect(run, registry.name("app", "1"), "--format", template) == "arm64 linux/amd64;linux/arm64;"


def test_attestations_of_one_platform(registry: MemoryRegistry, run: Run) -> None:
    push_statements(registry, "amd64")
    image = registry.name("app", "1")
    assert inspect(run, image, "--format", "{{json .Provenance}}") == (
        '{\n  "SLSA": {\n    "big": 12345678901,\n    "of": "amd64"\n  }\n}'
    )
    assert json.loads(inspect(run, image, "--format", "{{json .SBOM}}")) == {
        "SPDX": {"n": 1},
        "AdditionalSPDXs": [{"n": 2}],
    }
    assert inspect(run, image, "--format", "{{.SBOM.SPDX.n}} {{.Provenance.SLSA.big}}") == "1 1.2345678901e+10"


def test_attestations_of_several_platforms_are_a_map(registry: MemoryRegistry, run: Run) -> None:
    push_statements(registry, "amd64", "arm64")
    image = registry.name("app", "1")
    assert inspect(run, image, "--format", '{{(index .Provenance "linux/arm64").SLSA.of}}') == "arm64"
    assert list(json.loads(inspect(run, image, "--format", "{{json .SBOM}}"))) == ["linux/amd64", "linux/arm64"]


def test_an_image_without_attestations(registry: MemoryRegistry, run: Run) -> None:
    registry.push_image("app", "amd64", "1")
    assert inspect(run, registry.name("app", "1"), "--format", "{{json .SBOM}} {{json .Provenance.SLSA}}") == "{} null"


def test_attestations_are_read_only_if_they_are_used(registry: MemoryRegistry, run: Run) -> None:
    push_statements(registry, "amd64")
    registry.asked.clear()
    inspect(run, registry.name("app", "1"), "--format", "{{json .Image}}")
    assert len([line for line in registry.asked if "/blobs/" in line]) == 1


def test_an_attestation_alone_has_no_image(registry: MemoryRegistry, run: Run) -> None:
    artifact = registry.push_artifact("app", ATTESTATION, None, b"{}", IN_TOTO)
    found = inspect(run, f"{registry.name('app')}@{artifact['digest']}", "--format", "{{json .Manifest.Digest}}")
    assert found == f'"{artifact["digest"]}"'


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "missing image; name an image, such as alpine:3.22"),
        (("A:1",), "NAME: invalid reference 'A:1': repository name 'A' must be lower-case"),
        (("a", "b"), "unexpected argument 'b'; see kube-builder imagetools inspect --help"),
        (("a", "--raw", "--format", "x"), "--format: cannot be combined with --raw; set only one"),
        (("a", "--format", "{{.Name"), "--format: the action is not closed; close it with }}"),
        (("REG/app:1", "--format", "{{.Images}}"), "--format: image has no field 'Images'; did you mean 'Image'?"),
        (("REG/app:1", "--format", "{{.Image.Xyzzy}}"), "--format: v1.Image has no field 'Xyzzy'; known: "),
    ],
)
def test_refuses_in_one_line(registry: MemoryRegistry, run: Run, argv: tuple[str, ...], message: str) -> None:
    registry.push_image("app", "amd64", "1")
    code, stdout, stderr = run("imagetools", "inspect", *(word.replace("REG", registry.address) for word in argv))
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert stderr.startswith(f"kube-builder: error: {message}")


@pytest.mark.parametrize("config", [b"[]", b"{", b'{"created": "yesterday"}', b'{"config": {"Env": "x"}}'])
def test_a_malformed_config_is_an_error_of_one_line(registry: MemoryRegistry, run: Run, config: bytes) -> None:
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": registry.push_blob("app", config, "x"),
        "layers": [],
    }
    registry.push("app", document, "1")
    code, stdout, stderr = run("imagetools", "inspect", registry.name("app", "1"), "--format", "{{json .}}")
    assert (code, stdout, stderr.count("\n")) == (1, "", 1)
    assert "the image's config is " in stderr


def test_an_attestation_without_end_is_refused(
    registry: MemoryRegistry, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_statements(registry, "amd64")
    assert inspect_module.LARGEST_ATTESTATION > 60 << 20
    monkeypatch.setattr(inspect_module, "LARGEST_ATTESTATION", 20)
    code, _, stderr = run("imagetools", "inspect", registry.name("app", "1"), "--format", "{{json .SBOM}}")
    assert (code, "sent more than 20 bytes for /v2/app/blobs/" in stderr) == (1, True), stderr


def test_an_index_that_lists_itself_many_times_over_is_left(
    registry: MemoryRegistry, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty thousand entries fit into an index, and indexes nest."""
    monkeypatch.setattr(inspect_module, "MOST_LISTED", 20)
    entry = {**registry.push_image("app", "amd64"), "platform": AMD64}
    for level in range(4):
        entry = registry.push_index("app", [entry] * 8, str(level))
    code, stdout, stderr = run("imagetools", "inspect", registry.name("app", "3"), "--format", "{{.Image}}")
    assert (code, stdout) == (1, "")
    assert f"the image of {registry.name('app')} has more than 20 manifests" in stderr


def test_attestations_of_an_image_have_a_bound_together(
    registry: MemoryRegistry, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_module, "MOST_ATTESTED", 100)
    push_statements(registry, "amd64")
    code, stdout, stderr = run("imagetools", "inspect", registry.name("app", "1"), "--format", "{{json .SBOM}}")
    assert (code, stdout) == (1, "")
    assert "the attestations of" in stderr


def test_a_layout_that_a_link_leads_out_of_the_workspace_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, outside = tmp_path / "work", tmp_path / "outside"
    outside.mkdir()
    workspace.mkdir()
    (workspace / "layout").symlink_to(outside)
    env = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(workspace)}
    with pytest.raises(InputError, match="leads out of the job's workspace by a symbolic link"):
        parse_location("oci-layout://layout:1", source="--tag", cwd=workspace, env=env)
    assert parse_location("oci-layout://layout:1", source="--tag", cwd=workspace, env={})


@pytest.mark.parametrize("architecture", ["a/b/c/d", " ", "/", "(x"])
def test_an_architecture_that_is_none_is_shown_as_it_is(registry: MemoryRegistry, run: Run, architecture: str) -> None:
    entries = [
        {**registry.push_image("app", name), "platform": {"os": "linux", "architecture": shown}}
        for name, shown in (("amd64", architecture), ("arm64", "arm64"))
    ]
    registry.push_index("app", entries, "1")
    name = registry.name("app", "1")
    code, stdout, stderr = run(
        "imagetools", "inspect", name, "--format", "{{range $name, $_ := .Image}}<{{$name}}>{{end}}"
    )
    assert (code, f"<linux/{architecture}>" in stdout) == (0, True), stderr


@pytest.mark.parametrize("platform", ["linux/amd64", {"os": 1}, {"os": "linux", "architecture": []}])
def test_a_malformed_platform_is_an_error_of_one_line(registry: MemoryRegistry, run: Run, platform: object) -> None:
    registry.push_index("app", [{**registry.push_image("app", "amd64"), "platform": platform}], "1")
    for argv in (("imagetools", "inspect"), ("replay", "build", "--dry-run")):
        code, stdout, stderr = run(*argv, registry.name("app", "1"))
        assert (code, stdout, stderr.count("\n")) == (1, "", 1), stderr
        assert "ERROR: the platform of sha256:" in stderr
