"""The pusher against a registry of the test's own, whose storage it can spoil."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from devcluster import registry
from devcluster.images import oci
from devcluster.images.image import Content, Image, Variant
from devcluster.images.layer import File
from devcluster.images.push import Pusher

PATIENCE = 30.0


def image(content: bytes = b"content", *architectures: str) -> Image:
    return Image(
        repository="tests/image",
        tags=("1", "latest"),
        variants=tuple(
            Variant(
                architecture=architecture,
                layers=(
                    Content(entries=(File(path="/file", source=content),)),
                    Content(entries=(File(path="/architecture", source=architecture.encode()),), compressed=True),
                ),
                settings={"Cmd": ["sh"]},
            )
            for architecture in architectures or ("amd64",)
        ),
    )


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """The folder in which the registry stores its blobs."""
    return tmp_path / "storage"


@pytest.fixture
def url(tmp_path: Path, storage: Path) -> Iterator[str]:
    """The URL of a running registry without a login."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}},
        "http": {"addr": address},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    process = subprocess.Popen([registry.PROGRAM, "serve", str(tmp_path / "config.json")], stderr=subprocess.PIPE)
    try:
        await_answer(f"http://{address}/", process)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def await_answer(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, "docker-registry ended"
        try:
            requests.get(url, timeout=PATIENCE).raise_for_status()
        except requests.ConnectionError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"no answer from {url} within {PATIENCE} s")


@pytest.fixture
def said() -> list[str]:
    """The lines that ``pusher`` prints."""
    return []


@pytest.fixture
def pusher(url: str, tmp_path: Path, said: list[str]) -> Iterator[Pusher]:
    """The devcluster's pusher, with a memory of its own."""
    with requests.Session() as session:
        yield Pusher(session=session, url=url, memory=tmp_path / "memory", say=said.append)


def pull(url: str, reference: str) -> requests.Response:
    headers = {"Accept": f"{oci.INDEX}, {oci.MANIFEST}"}
    response = requests.get(f"{url}/v2/tests/image/manifests/{reference}", headers=headers, timeout=PATIENCE)
    response.raise_for_status()
    return response


def blob(url: str, descriptor: dict[str, str]) -> bytes:
    response = requests.get(f"{url}/v2/tests/image/blobs/{descriptor['digest']}", timeout=PATIENCE)
    response.raise_for_status()
    return response.content


def test_every_tag_and_blob_can_be_pulled(pusher: Pusher, url: str) -> None:
    digest = pusher.push(image())
    for tag in ("1", "latest"):
        manifest = pull(url, tag)
        assert manifest.headers["Docker-Content-Digest"] == digest
        assert [layer["mediaType"] for layer in manifest.json()["layers"]] == [oci.LAYER, oci.COMPRESSED_LAYER]
        for descriptor in (manifest.json()["config"], *manifest.json()["layers"]):
            assert oci.digest(blob(url, descriptor)) == descriptor["digest"]
            assert len(blob(url, descriptor)) == descriptor["size"]


def test_several_architectures_make_an_index(pusher: Pusher, url: str) -> None:
    pusher.push(image(b"content", "amd64", "arm64"))
    index = pull(url, "latest").json()
    assert index["mediaType"] == oci.INDEX
    for entry in index["manifests"]:
        config = json.loads(blob(url, pull(url, entry["digest"]).json()["config"]))
        assert config["architecture"] == entry["platform"]["architecture"]


def test_a_second_push_says_and_uploads_nothing(pusher: Pusher, storage: Path, said: list[str]) -> None:
    first = pusher.push(image())
    assert len(said) == 1
    before = {path: path.stat().st_mtime_ns for path in storage.rglob("*")}
    assert pusher.push(image()) == first
    assert {path: path.stat().st_mtime_ns for path in storage.rglob("*")} == before
    assert len(said) == 1


def test_new_content_moves_the_tags(pusher: Pusher, url: str) -> None:
    old = pusher.push(image())
    new = pusher.push(image(b"other"))
    assert new != old
    assert pull(url, "latest").headers["Docker-Content-Digest"] == new
    assert pull(url, old).headers["Docker-Content-Digest"] == old


def test_a_wiped_storage_is_filled_again(pusher: Pusher, url: str, storage: Path) -> None:
    first = pusher.push(image())
    shutil.rmtree(storage)
    assert pusher.push(image()) == first
    for descriptor in pull(url, "1").json()["layers"]:
        assert blob(url, descriptor)


def test_a_lost_layer_is_pushed_again_under_an_unchanged_tag(pusher: Pusher, url: str, storage: Path) -> None:
    pusher.push(image())
    layer = pull(url, "1").json()["layers"][0]
    number = layer["digest"].removeprefix("sha256:")
    shutil.rmtree(storage / "docker/registry/v2/blobs/sha256" / number[:2] / number)
    pusher.push(image())
    assert oci.digest(blob(url, layer)) == layer["digest"]


@pytest.mark.parametrize("spoilt", ["", "{", "{}", "[]"])
def test_a_spoilt_memory_is_made_again(pusher: Pusher, spoilt: str) -> None:
    first = pusher.push(image())
    for record in pusher.memory.iterdir():
        record.write_text(spoilt)
    assert pusher.push(image()) == first


def test_a_registry_that_is_away_is_an_error(tmp_path: Path) -> None:
    with requests.Session() as session, pytest.raises(requests.ConnectionError):
        Pusher(session=session, url="http://127.0.0.1:1", memory=tmp_path, say=print).push(image())
