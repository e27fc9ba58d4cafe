"""Whole builds against a real buildkitd."""

import os
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.buildkit.control import Control
from ci_buildx.errors import BuildkitError, SolveError
from ci_buildx.model.secret import Secret
from ci_buildx.model.status import StatusUpdate
from ci_buildx.settings.assembly import make_settings
from ci_buildx.settings.values import BuildSettings, SecretSource, TypedAttributes
from tests import docker_daemon
from tests.integration.buildkit.conftest import Build, Solve, forwarding


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def settings(context: Path, *outputs: TypedAttributes, dockerfile: Path | None = None, **more: object) -> BuildSettings:
    return BuildSettings(
        context=context,
        dockerfile=dockerfile or context / "Dockerfile",
        outputs=outputs,
        **more,  # type: ignore[arg-type]
    )


def tar(path: Path) -> TypedAttributes:
    return TypedAttributes(type="tar", attrs=(("dest", str(path)),))


def test_workers_and_version(control: Control) -> None:
    (worker,) = control.list_workers(timeout=10)
    assert "linux/amd64" in map(str, worker.platforms)
    assert worker.labels["org.mobyproject.buildkit.worker.executor"] == "oci"
    assert control.read_version(timeout=10).package == "github.com/moby/buildkit"


def test_an_address_where_nobody_listens() -> None:
    with (
        Control("127.0.0.1:1") as control,
        pytest.raises(BuildkitError, match="did not respond to ListWorkers") as caught,
    ):
        control.list_workers(timeout=10)
    assert caught.value.code == "UNAVAILABLE"


def test_a_context_with_links_odd_names_and_an_ignore_file(solve: Solve, tmp_path: Path) -> None:
    context = write(
        tmp_path / "c", Dockerfile="FROM scratch\nCOPY . /\n", plain="text", **{"skip.log": "", "é ü.txt": "u"}
    )
    write(context / "d" / "e", x="x" * 100_000)
    write(context, **{"d-a": "sorted after d/", ".dockerignore": "*.log\n.dockerignore\nDockerfile\n"})
    (context / "d-a").chmod(0o755)
    (context / "link").symlink_to("d/e/x")
    os.link(context / "d" / "e" / "x", context / "hard")
    out = tmp_path / "out.tar"
    solve(settings(context, tar(out)))
    with tarfile.open(out) as archive:
        names = sorted(archive.getnames())
        assert names == sorted(["d", "d/e", "d/e/x", "d-a", "hard", "link", "plain", "é ü.txt"])
        assert archive.getmember("link").linkname == "d/e/x"
        assert archive.getmember("d-a").mode & 0o777 == 0o755
        hard = archive.extractfile("hard")
        assert hard is not None
        assert hard.read() == b"x" * 100_000
        assert {member.uid for member in archive} == {0}


def test_a_dockerfile_outside_the_context_with_an_ignore_file_of_its_own(solve: Solve, tmp_path: Path) -> None:
    context = write(tmp_path / "c", a="a", b="b", **{".dockerignore": "a"})
    place = write(tmp_path / "other", **{"X": "FROM scratch\nCOPY . /\n", "X.dockerignore": "b\n.dockerignore\n"})
    out = tmp_path / "out.tar"
    solve(settings(context, tar(out), dockerfile=place / "X"))
    with tarfile.open(out) as archive:
        assert archive.getnames() == ["a"]


def test_a_folder_comes_back(solve: Solve, tmp_path: Path) -> None:
    context = write(tmp_path / "c", Dockerfile="FROM scratch\nCOPY d /d\n")
    write(context / "d", x="x" * 300_000, y="")
    (context / "d" / "link").symlink_to("x")
    target = write(tmp_path / "out", stays="here")
    solve(settings(context, TypedAttributes(type="local", attrs=(("dest", str(target)),))))
    assert (target / "d" / "x").read_text() == "x" * 300_000
    assert (target / "d" / "link").readlink() == Path("x")
    assert (target / "stays").read_text() == "here"


def test_an_image_and_a_file_at_once(solve: Solve, registry: str, tmp_path: Path) -> None:
    context = write(tmp_path / "c", Dockerfile="FROM scratch\nCOPY a /\n", a="a")
    oci = tmp_path / "image.tar"
    outputs = (TypedAttributes(type="registry"), TypedAttributes(type="oci", attrs=(("dest", str(oci)),)))
    build = solve(settings(context, *outputs, tags=(f"{registry}/tests/buildkit:1",)))
    assert build.result is not None
    assert build.result.exporter_response["containerimage.digest"].startswith("sha256:")
    with tarfile.open(oci) as archive:
        assert "index.json" in archive.getnames()


def test_a_second_run_is_cached(solve: Solve, tmp_path: Path) -> None:
    context = write(tmp_path / "cached", Dockerfile="FROM scratch\nCOPY a /\n", a=os.urandom(8).hex())
    assert not solve(settings(context)).step("COPY").cached
    assert solve(settings(context)).step("COPY").cached


def test_a_secret(solve: Solve, registry: str, tmp_path: Path) -> None:
    lines = [
        f"FROM {registry}/library/busybox",
        "ARG WHO",
        "RUN --mount=type=secret,id=s,required cat /run/secrets/s && echo of $WHO",
    ]
    context = write(tmp_path / "c", Dockerfile="\n".join(lines))
    given = SecretSource(id="s", value=Secret("hush"))
    build = solve(settings(context, secrets=(given,), build_args=(("WHO", "mine"),), no_cache=True))
    assert build.logs == b"hushof mine\n"
    with pytest.raises(SolveError, match="secret s: not found") as caught:
        solve(settings(context, no_cache=True))
    assert ">>> RUN --mount=type=secret" in caught.value.excerpt


def test_a_failing_step(solve: Solve, registry: str, tmp_path: Path) -> None:
    lines = [f"FROM {registry}/library/busybox", "RUN true", "RUN echo why >&2; exit 7", "RUN true", ""]
    context = write(tmp_path / "c", Dockerfile="\n".join(lines))
    build = Build()
    with pytest.raises(SolveError, match="did not complete successfully: exit code: 7") as caught:
        solve(settings(context), build=build)
    failed = build.step("exit 7")
    assert caught.value.vertex == failed.digest
    assert "exit code: 7" in failed.error
    assert b"why\n" in build.logs
    assert caught.value.excerpt.splitlines() == [
        "Dockerfile:3",
        "--------------------",
        f"   1 |     FROM {registry}/library/busybox",
        "   2 |     RUN true",
        "   3 | >>> RUN echo why >&2; exit 7",
        "   4 |     RUN true",
        "   5 |     ",
        "--------------------",
    ]


def test_a_dockerfile_that_cannot_be_read(solve: Solve, tmp_path: Path) -> None:
    context = write(tmp_path / "c", Dockerfile="FROM scratch\nCOPPY a /\n")
    with pytest.raises(SolveError, match="unknown instruction: COPPY") as caught:
        solve(settings(context))
    assert "   2 | >>> COPPY a /" in caught.value.excerpt


def test_a_file_that_is_missing_from_the_context(solve: Solve, tmp_path: Path) -> None:
    context = write(tmp_path / "c", Dockerfile="FROM scratch\nCOPY gone /\n")
    with pytest.raises(SolveError, match='"/gone": not found'):
        solve(settings(context))


def test_a_target_that_cannot_be_written(solve: Solve, tmp_path: Path) -> None:
    context = write(tmp_path / "c", Dockerfile="FROM scratch\nCOPY Dockerfile /\n")
    with pytest.raises(SolveError, match="cannot write /dev/full: No space left on device"):
        solve(settings(context, tar(Path("/dev/full"))))


def sleeping(registry: str, folder: Path) -> BuildSettings:
    lines = [f"FROM {registry}/library/busybox", f"RUN echo started {os.urandom(4).hex()}; sleep 300"]
    return settings(write(folder, Dockerfile="\n".join(lines)))


def test_stop_ends_the_build_and_its_step(solve: Solve, registry: str, tmp_path: Path) -> None:
    stop = threading.Event()

    def on_status(update: StatusUpdate) -> None:
        if any(log.data.startswith(b"started") for log in update.logs):
            stop.set()

    build = sleeping(registry, tmp_path / "c")
    with pytest.raises(BuildkitError, match="the build was stopped") as caught:
        solve(build, on_status=on_status, stop=stop)
    assert caught.value.code == "CANCELLED"
    marker = Path(str(build.context), "Dockerfile").read_text().split("started ")[1].split(";")[0]
    while marker in _command_lines():
        threading.Event().wait(0.05)


def test_a_connection_that_breaks_is_named(solve: Solve, buildkitd: str, registry: str, tmp_path: Path) -> None:
    with forwarding(buildkitd) as (address, cut), Control(address) as control:

        def on_status(update: StatusUpdate) -> None:
            if any(log.data.startswith(b"started") for log in update.logs):
                cut()

        with pytest.raises(BuildkitError, match="lost the connection to buildkitd during the build") as caught:
            solve(sleeping(registry, tmp_path / "c"), control=control, on_status=on_status)
    assert caught.value.code == "UNAVAILABLE"


def _command_lines() -> str:
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(process.read_bytes())
        except OSError:
            continue
    return b"\n".join(lines).decode(errors="replace")


def test_an_image_is_loaded_into_a_docker_daemon(solve: Solve, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    given: dict[str, Any] = {"context": str(tmp_path), "load": True, "tags": ["app:1"]}
    with docker_daemon.listening(tmp_path / "s") as daemon:
        env = {"DOCKER_HOST": f"unix://{tmp_path}/s"}
        solve(make_settings(given, {}, env, tmp_path).build)
        assert "manifest.json" in daemon.names()
        daemon.answer = b'{"error":"no space left on device"}'
        with pytest.raises(SolveError, match="the docker daemon could not load the image: no space left on device"):
            solve(make_settings(given, {}, env, tmp_path).build)
