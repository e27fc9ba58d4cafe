"""What the verbs refuse: one line, status 2, and nothing is created."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.imagetools.memory_registry import SIGNATURE, MemoryRegistry
from tests.unit.replay.conftest import ReplayShell
from tests.unit.replay.images import push_subject
from tests.unit.replay.provenance import TAR, make_document

VERBS = ("build", "verify", "snapshot")


def refuse(shell: ReplayShell, *argv: str) -> str:
    """Run what must be refused; return the message."""
    before = sorted(shell.folder.rglob("*"))
    assert shell.run("replay", *argv) == 2, shell.stderr
    assert shell.stdout == b""
    assert sorted(shell.folder.rglob("*")) == before
    (line,) = shell.stderr.splitlines()
    return line.removeprefix("kube-builder: error: ")


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A file with provenance."""
    (tmp_path / "provenance.json").write_text(json.dumps(make_document()))
    return "provenance.json"


@pytest.mark.parametrize("verb", VERBS)
def test_subjects(shell: ReplayShell, verb: str) -> None:
    output = ("-o", "out") if verb == "snapshot" else ()
    assert refuse(shell, verb, *output).startswith("missing subject; name an image, an OCI layout or a provenance file")
    assert refuse(shell, verb, *output, "./nothing") == "SUBJECT: './nothing' does not exist"
    assert refuse(shell, verb, *output, "--materials", "x", "a").startswith("--materials: unknown materials 'x'")
    assert "unrecognized" in refuse(shell, verb, "--nothing", "a") or "--nothing" in shell.stderr
    assert "b" in refuse(shell, verb, "a", "b")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("build", "--format", "json", "FILE"), "--format: requires --dry-run; add it, or omit --format"),
        (("build", "--replay-mode", "x", "FILE"), "--replay-mode"),
        (("build", "--dry-run", "--format", "x", "FILE"), "--format"),
        (("build", "--network", "host", "FILE"), "--network: unsupported network 'host'; known: default, none"),
        (("build", "--materials", "/", "FILE"), "--materials: not implemented: replay build with sources of this"),
        (("verify", "--materials", "/", "FILE"), "--materials: not implemented: replay verify with sources of this"),
        (("build", "--platform", "all", "FILE"), '--platform "all" is not supported by replay build'),
        (
            ("build", "--platform", "linux/amd64,linux/arm64", "FILE"),
            "--platform: not implemented: replay build of sev",
        ),
        (("build", "--secret", "id=a,env=HOME", "FILE"), "--secret: extra secrets not declared in provenance: a"),
        (("verify", "FILE"), "SUBJECT: verify requires an image; name the image instead of a file"),
        (("verify", "--compare", "x", "FILE"), "--compare"),
        (("verify", "-o", "a", "-o", "b", "FILE"), "exactly one --output is required (got 2)"),
        (("verify", "-o", "type=oci,dest=a", "FILE"), "--output: unsupported type 'oci'; write type=local,dest=FOLDER"),
        (("snapshot", "-o", "out", "FILE"), "SUBJECT: snapshot requires an image with provenance"),
        (("snapshot", "-o", "a", "-o", "b", "FILE"), "exactly one --output is required (got 2)"),
        (("snapshot", "-o", "type=registry", "FILE"), "--output: not implemented: snapshot registry output"),
        (("snapshot", "-o", "type=docker", "FILE"), "--output: unsupported type 'docker'; write type=oci,dest=FILE"),
        (("snapshot", "-o", "type=oci,tar=false", "FILE"), "--output"),
        (("snapshot", "-o", "provenance.json", "FILE"), "--output"),
        (("snapshot", "-o", "out", "--include-materials=x", "FILE"), "--include-materials"),
        (("snapshot", "--dry-run", "FILE"), "SUBJECT: snapshot requires an image with provenance"),
        (("snapshot", "-o", "type=oci,dest=a,compression=zstd", "FILE"), "--output: compression has no effect here"),
        (("snapshot", "-o", "type=local,dest=a,platform-split=true", "FILE"), "--output: platform-split has no effect"),
        (("verify", "-o", "type=local,dest=a,platform-split=true", "FILE"), "--output: platform-split has no effect"),
        (("snapshot", "-o", "out", "--materials", f"/{'x' * 300}", "FILE"), "--materials: cannot use path"),
        (("snapshot", "-o", "out", "--materials", f"a=/{'x' * 300}", "FILE"), "--materials: cannot use path"),
    ],
)
def test_options(shell: ReplayShell, file: str, argv: tuple[str, ...], message: str) -> None:
    assert refuse(shell, *(file if one == "FILE" else one for one in argv)).startswith(message)


@pytest.mark.parametrize("form", ["pretty", "json"])
def test_the_plan_of_a_build(shell: ReplayShell, file: str, form: str) -> None:
    assert shell.run("replay", "build", "--dry-run", "--format", form, "--platform", "linux/arm64", file) == 0
    shown = shell.stdout.decode()
    if form == "json":
        (one,) = json.loads(shown)["subjects"]
        assert one["descriptor"]["platform"] == {"architecture": "arm64", "os": "linux"}
    else:
        assert shown.startswith("Replay plan\n")
        assert TAR in shown


def test_a_signature_causes_a_warning(registry: MemoryRegistry, shell: ReplayShell) -> None:
    (attestation,) = push_subject(registry)
    registry.push_artifact("app", SIGNATURE, attestation, b"signature", "application/json")
    assert shell.run("replay", "build", "--dry-run", registry.name("app", "1")) == 0, shell.stderr
    assert "the provenance is signed; kube-builder does not verify the signature" in shell.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_an_image_without_provenance(registry: MemoryRegistry, shell: ReplayShell, verb: str) -> None:
    registry.push_image("app", "amd64", "1")
    name = registry.name("app", "1")
    output = ("-o", "out") if verb == "snapshot" else ()
    assert refuse(shell, verb, *output, name).startswith(f"{name}: no SLSA provenance attestation found")


@pytest.mark.parametrize("form", ["pretty", "json"])
def test_the_plan_shows_no_secrets(shell: ReplayShell, form: str) -> None:
    """They are in the provenance, but a job's log has other readers."""
    arguments = {"build-arg:NPM_TOKEN": "of the registry", "build-arg:VERSION": "1", "label:password": "short"}
    (shell.folder / "provenance.json").write_text(json.dumps(make_document(args=arguments)))
    assert shell.run("replay", "build", "--dry-run", "--format", form, "provenance.json") == 0, shell.stderr
    shown = shell.stdout.decode()
    assert ("VERSION" in shown, "NPM_TOKEN" in shown) == (True, True)
    assert "of the registry" not in shown
    assert "short" not in shown


def test_a_link_into_a_folder_without_access(shell: ReplayShell) -> None:
    (shell.folder / "loop").symlink_to("loop")
    assert refuse(shell, "build", "loop").startswith("SUBJECT: cannot use path")
