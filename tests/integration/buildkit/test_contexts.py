"""Contexts of every kind, against a real buildkitd: what arrives in the result."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.build.context.input_files import open_input_files
from ci_buildx.errors import SolveError
from ci_buildx.fsutil.sender import TreeSender
from ci_buildx.model.record import replace
from ci_buildx.session import filesync
from ci_buildx.settings.assembly import make_settings
from ci_buildx.settings.values import BuildSettings, TypedAttributes
from tests.integration.buildkit.conftest import Solve
from tests.integration.buildkit.served import serving
from tests.unit.fsutil.repositories import Repository

EVERYTHING = "FROM scratch\nCOPY . /\n"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for a build's result; the build creates it."""
    return tmp_path / "out"


def settings(out: Path, env: dict[str, str] | None = None, cwd: Path = Path("/"), **values: Any) -> BuildSettings:
    """As the command line makes them, with a folder as the result."""
    named = {name.replace("_", "-"): value for name, value in values.items()}
    return make_settings({**named, "outputs": [f"type=local,dest={out}"]}, {}, env or {}, cwd).build


def found(out: Path) -> dict[str, str]:
    return {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}


def archive(compression: str = "", **files: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=f"w:{compression}") as tar:  # type: ignore[call-overload]
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return made.getvalue()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A git repository with two commits and a tag on the first."""
    made = Repository(tmp_path / "served" / "app.git")
    made.write(Dockerfile=EVERYTHING, sub__Dockerfile=EVERYTHING, sub__file="in sub", top="1")
    made.commit()
    made.git("tag", "first")
    made.write(top="2")
    made.commit()
    return made


@pytest.mark.parametrize("compression", ["", "gz", "xz", "bz2"])
def test_an_archive_from_standard_input(solve: Solve, out: Path, compression: str) -> None:
    stdin = io.BytesIO(archive(compression, Dockerfile=EVERYTHING, a="x" * 300_000))
    with open_input_files(settings(out, context="-"), stdin=stdin) as build:
        solve(build)
    assert found(out) == {"Dockerfile": EVERYTHING, "a": "x" * 300_000}


def test_a_named_dockerfile_in_an_archive(solve: Solve, out: Path) -> None:
    stdin = io.BytesIO(archive(Other="FROM scratch\nCOPY a /b\n", a="1"))
    with open_input_files(settings(out, context="-", file="Other"), stdin=stdin) as build:
        solve(build)
    assert found(out) == {"b": "1"}


def test_a_dockerfile_alone_from_standard_input(solve: Solve, out: Path) -> None:
    text = b"FROM scratch\nCOPY <<end /a\nhere\nend\nCOPY . /context/\n"
    with open_input_files(settings(out, context="-"), stdin=io.BytesIO(text)) as build:
        solve(build)
    assert found(out) == {"a": "here\n"}


def test_a_dockerfile_from_standard_input_with_a_context(solve: Solve, out: Path, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a").write_text("1")
    (tmp_path / "c" / "Dockerfile").write_text("not this one")
    build = settings(out, context="c", file="-", cwd=tmp_path)
    with open_input_files(build, stdin=io.BytesIO(b"FROM scratch\nCOPY a /\n")) as taken:
        solve(taken)
    assert found(out) == {"a": "1"}


def test_a_dockerfile_by_url(solve: Solve, out: Path, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "my.Dockerfile").write_text("FROM scratch\nCOPY a /\n")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a").write_text("1")
    with serving(tmp_path / "served") as host:
        build = settings(out, context="c", file=f"http://{host}/my.Dockerfile", cwd=tmp_path)
        with open_input_files(build) as taken:
            solve(taken)
    assert found(out) == {"a": "1"}


def test_a_tarball_by_url(solve: Solve, out: Path, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "context.tar.gz").write_bytes(archive("gz", Dockerfile=EVERYTHING, a="1"))
    with serving(tmp_path / "served") as host:
        solve(settings(out, context=f"http://{host}/context.tar.gz"))
    assert found(out) == {"Dockerfile": EVERYTHING, "a": "1"}


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [
        ("#main", {"Dockerfile": EVERYTHING, "top": "2", "sub/Dockerfile": EVERYTHING, "sub/file": "in sub"}),
        ("#first:sub", {"Dockerfile": EVERYTHING, "file": "in sub"}),
        ("?tag=first&subdir=sub", {"Dockerfile": EVERYTHING, "file": "in sub"}),
    ],
)
def test_a_repository(solve: Solve, out: Path, repository: Repository, suffix: str, expected: dict[str, str]) -> None:
    with serving(repository.folder.parent) as host:
        solve(settings(out, context=f"http://{host}/app.git{suffix}"))
    assert found(out) == expected


@pytest.mark.parametrize("how", ["environment by plain HTTP", "secret", "secret of the host", "neither"])
def test_a_repository_behind_a_token(solve: Solve, out: Path, repository: Repository, how: str) -> None:
    env = {} if how == "neither" else {"GIT_AUTH_TOKEN": "s3cret"}
    with serving(repository.folder.parent, token="s3cret") as host:
        name = f"GIT_AUTH_TOKEN.{host}" if how == "secret of the host" else "GIT_AUTH_TOKEN"
        given = [f"id={name},env=GIT_AUTH_TOKEN"] if how.startswith("secret") else []
        build = settings(out, env, context=f"http://{host}/app.git#first:sub", secrets=given)
        if not given:
            with pytest.raises(SolveError, match=r"fetch|Authentication|username"):
                solve(build)
        else:
            solve(build)
            assert found(out)["file"] == "in sub"


def test_named_contexts(solve: Solve, out: Path, tmp_path: Path, repository: Repository, registry: str) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "Dockerfile").write_text(
        "FROM base AS one\nRUN cp /bin/busybox /made\nFROM scratch\nCOPY --from=lib . /lib/\nCOPY --from=context x /\n"
        "COPY --from=git sub/file /\nCOPY --from=one --chmod=644 /made /\n"
    )
    for name in ("lib", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
    (tmp_path / "lib" / "ignored").write_text("")
    (tmp_path / "lib" / ".dockerignore").write_text("ignored\n")
    with serving(repository.folder.parent) as host:
        contexts = [
            *("lib=lib", "context=other"),
            f"git=http://{host}/app.git?tag=first",
            f"base=docker-image://{registry}/library/busybox",
        ]
        solve(settings(out, context="c", build_contexts=contexts, cwd=tmp_path))
    assert (out / "made").stat().st_size > 100_000
    (out / "made").unlink()
    assert found(out) == {"lib/x": "lib", "lib/.dockerignore": "ignored\n", "x": "other", "file": "in sub"}


class Counted(TreeSender):
    """Counts what all senders send."""

    sent = 0

    def produce(self, room: int) -> bytes:
        packets = super().produce(room)
        Counted.sent += len(packets)
        return packets


@pytest.mark.parametrize("mode", ["git", "epoch"])
def test_of_a_second_clone_only_changes_are_sent(
    solve: Solve, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1,000 files, changed ones arrive, also one that is as long as before."""
    monkeypatch.setattr(filesync, "TreeSender", Counted)
    source = Repository(tmp_path / "r")
    source.write(**{f"d{number % 10}__f{number}": f"{number:2000}" for number in range(1000)}, Dockerfile=EVERYTHING)
    source.write(**{".dockerignore": ".git\n"})
    source.commit()

    def build(name: str, mode: str, key: str) -> tuple[int, dict[str, str]]:
        clone = source.clone(tmp_path / name)
        Counted.sent = 0
        env = {"SOURCE_DATE_EPOCH": "1700000000"}
        solve(settings(tmp_path / f"{name}-out", env, context=str(clone.folder), context_mtime=mode), shared_key=key)
        return Counted.sent, found(tmp_path / f"{name}-out")

    first, _ = build("first", mode, f"{mode}-clones")
    source.write(d1__f1="changed".rjust(2000))
    source.commit()
    second, arrived = build("second", mode, f"{mode}-clones")
    assert arrived["d1/f1"] == "changed".rjust(2000)
    assert len(arrived) == 1002
    build("third", "keep", f"{mode}-keep")
    kept, _ = build("fourth", "keep", f"{mode}-keep")
    assert first > 2_000_000
    assert second * 5 < kept


@pytest.mark.parametrize("mode", ["git", "epoch"])
def test_the_image_shows_whole_seconds(solve: Solve, tmp_path: Path, mode: str) -> None:
    source = Repository(tmp_path / "r")
    source.write(a="1", d__b="2", Dockerfile="FROM scratch\nCOPY a d /\n")
    time = source.commit()
    made = tmp_path / "image.tar"
    env = {"SOURCE_DATE_EPOCH": str(time)}
    build = settings(tmp_path / "unused", env, context=str(source.folder), context_mtime=mode)
    solve(replace(build, outputs=(TypedAttributes(type="oci", attrs=(("dest", str(made)),)),)))
    with tarfile.open(made) as image:
        layers = [image.extractfile(member) for member in image.getmembers() if member.size and "blobs" in member.name]
        times = [
            member.mtime
            for layer in layers
            if layer is not None and layer.read(2) == b"\x1f\x8b" and not layer.seek(0)
            for member in tarfile.open(fileobj=layer, mode="r:gz")  # noqa: SIM115 - read at once
            if member.name in ("a", "b")
        ]
    assert times == [time, time]


@pytest.mark.parametrize("denied", [True, False])
def test_a_source_policy(solve: Solve, out: Path, tmp_path: Path, registry: str, denied: bool) -> None:
    """A source that is denied fails the build; one that is replaced is another image."""
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "Dockerfile").write_text("FROM docker.io/team/base:1\nRUN cp /bin/busybox /made\n")
    selector = {"identifier": "docker-image://docker.io/team/base:1"}
    rules = [
        {
            "action": "CONVERT",
            "selector": selector,
            "updates": {"identifier": f"docker-image://{registry}/library/busybox:latest"},
        }
    ]
    if denied:
        rules = [{"action": "DENY", "selector": selector}]
    (tmp_path / "policy.json").write_text(json.dumps({"version": 1, "rules": rules}))
    env = {"EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": "policy.json"}
    build = settings(out, env, context="c", cwd=tmp_path)
    if denied:
        with pytest.raises(SolveError, match="denied by policy"):
            solve(build)
    else:
        solve(build)
        assert (out / "made").exists()
