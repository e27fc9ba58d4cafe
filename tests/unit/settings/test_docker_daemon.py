"""Where `--load` finds a docker daemon, and what is said where it finds none."""

from pathlib import Path

import pytest

from ci_buildx.errors import InputError
from ci_buildx.settings.assembly import make_settings
from ci_buildx.settings.docker_variables import find_daemon
from ci_buildx.settings.values import BuildSettings, DockerDaemon, TypedAttributes
from tests import docker_daemon


def build(folder: Path, **values: object) -> BuildSettings:
    (folder / "Dockerfile").write_text("FROM scratch\n")
    given = {"context": str(folder), **{name.replace("_", "-"): value for name, value in values.items()}}
    env = {"DOCKER_HOST": f"unix://{folder}/s"}
    return make_settings(given, {"load": "--load", "outputs": "--output"}, env, folder).build  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [{"load": True}, {"outputs": ["type=docker"]}, {"load": True, "outputs": ["type=docker"]}],
)
def test_one_output_goes_to_the_daemon(tmp_path: Path, values: dict[str, object]) -> None:
    with docker_daemon.listening(tmp_path / "s"):
        settings = build(tmp_path, **values)
    assert settings.outputs == (TypedAttributes(type="docker"),)
    assert settings.daemon == DockerDaemon(socket=tmp_path / "s")


def test_other_outputs_stay(tmp_path: Path) -> None:
    with docker_daemon.listening(tmp_path / "s"):
        settings = build(tmp_path, load=True, outputs=["type=docker,dest=a.tar"])
    assert [output.get("dest") for output in settings.outputs] == [str(tmp_path / "a.tar"), ""]
    assert build(tmp_path, outputs=["type=docker,dest=a.tar"]).daemon is None


def test_a_builder_that_loads_by_default(tmp_path: Path) -> None:
    with docker_daemon.listening(tmp_path / "s"):
        assert build(tmp_path, driver_opts=["default-load=true"]).outputs == (TypedAttributes(type="docker"),)
        for other in ({"outputs": ["out"]}, {"call": "check"}, {"platforms": ["linux/amd64,linux/arm64"]}):
            assert build(tmp_path, driver_opts=["default-load=true"], **other).daemon is None


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"DOCKER_HOST": "tcp://docker:2375"}, DockerDaemon(host="docker", port=2375)),
        ({"DOCKER_HOST": "tcp://10.0.0.1"}, DockerDaemon(host="10.0.0.1", port=2375)),
    ],
)
def test_a_daemon_by_tcp(env: dict[str, str], expected: DockerDaemon) -> None:
    assert find_daemon(env, source="--load") == expected


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"DOCKER_HOST": "unix:///nowhere"}, "docker daemon not found: /nowhere is not a socket"),
        (
            {"DOCKER_HOST": "ssh://me@host"},
            "a docker daemon at ssh://me@host is not supported: only unix:// and tcp:// without TLS are",
        ),
        (
            {"DOCKER_HOST": "tcp://docker:2376", "DOCKER_TLS_VERIFY": "1"},
            "a docker daemon at tcp://docker:2376 is not supported: only unix:// and tcp:// without TLS are",
        ),
        ({"DOCKER_HOST": "tcp://docker:port"}, "DOCKER_HOST is not a valid address: "),
    ],
)
def test_no_daemon(env: dict[str, str], said: str) -> None:
    with pytest.raises(InputError) as caught:
        find_daemon(env, source="--load")
    assert str(caught.value).startswith(f"--load: {said}")
    assert str(caught.value).endswith("dest=FILE (docker load -i FILE reads it), or push the image")
