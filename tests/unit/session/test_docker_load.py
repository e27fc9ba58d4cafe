"""Images go to a docker daemon; what it says against them is told."""

from pathlib import Path

import pytest

from ci_buildx.errors import KubeBuilderError
from ci_buildx.session import filesend as subject
from ci_buildx.session.filesend import open_image_load
from ci_buildx.settings.values import DockerDaemon
from tests import docker_daemon

PIECES = (b"one", b"", b"x" * 100_000)


def load(path: Path) -> None:
    with open_image_load(DockerDaemon(socket=path)) as loader:
        for piece in PIECES:
            loader.write(piece)


def test_an_image(tmp_path: Path) -> None:
    with docker_daemon.listening(tmp_path / "s") as daemon:
        load(tmp_path / "s")
    assert daemon.loaded == [b"".join(PIECES)]


def test_a_daemon_may_take_its_time_with_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_CONNECT", 0.2)
    with docker_daemon.listening() as daemon:
        daemon.pause = 0.6
        with open_image_load(DockerDaemon(host="127.0.0.1", port=daemon.port)) as loader:
            loader.write(b"image")
    assert daemon.loaded == [b"image"]


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (
            200,
            b'{"stream":"x"}\n{"error":"no space left on device"}\n',
            "could not load the image: no space left on device",
        ),
        (500, b'{"message":"unexpected EOF"}\n', "refused the image: unexpected EOF"),
        (403, b"<html>", "refused the image: Forbidden"),
    ],
)
def test_what_the_daemon_says_against_it(tmp_path: Path, status: int, answer: bytes, said: str) -> None:
    with docker_daemon.listening(tmp_path / "s") as daemon:
        daemon.status, daemon.answer = status, answer
        with pytest.raises(KubeBuilderError, match=f"^the docker daemon {said}$"):
            load(tmp_path / "s")


def test_a_build_that_breaks_off_loads_nothing(tmp_path: Path) -> None:
    place = DockerDaemon(socket=tmp_path / "s")
    with (
        docker_daemon.listening(tmp_path / "s") as daemon,
        pytest.raises(RuntimeError),
        open_image_load(place) as loader,
    ):
        loader.write(b"half")
        raise RuntimeError
    assert daemon.loaded == []


def test_no_daemon(tmp_path: Path) -> None:
    with pytest.raises(KubeBuilderError, match=r"the docker daemon closed the connection: .*No such file"):
        load(tmp_path / "s")
