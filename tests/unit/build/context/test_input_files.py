"""What standard input and URLs become."""

import base64
import bz2
import gzip
import io
import lzma
import socket
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ci_buildx.build.context.input_files import (
    LARGEST_DOCKERFILE,
    find_ignore_file,
    is_archive,
    list_context_files,
    open_input_files,
)
from ci_buildx.errors import InputError
from ci_buildx.session import oci_layout
from ci_buildx.session.oci_layout import LayoutName
from ci_buildx.settings.values import BuildSettings, ImageLayout, NamedContext
from tests.unit.conftest import DebugLog

DOCKERFILE = b"FROM scratch\n"


def archive(kind: int = tarfile.PAX_FORMAT) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=kind) as tar:
        info = tarfile.TarInfo("é" * 120)
        info.size = len(DOCKERFILE)
        tar.addfile(info, io.BytesIO(DOCKERFILE))
    return made.getvalue()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (gzip.compress(b"x"), True),
        (bz2.compress(b"x"), True),
        (lzma.compress(b"x"), True),
        (b"\x28\xb5\x2f\xfd", True),
        (b"\x5f\x2a\x4d\x18\0\0\0\0", True),
        (b"\x60\x2a\x4d\x18\0\0\0\0", False),
        (b"\x50\x2a\x4d\x18", False),
        (archive(), True),
        (archive(tarfile.GNU_FORMAT), True),
        (DOCKERFILE, False),
        (b"\0" * 1024, False),
        (b"x" * 1024, False),
    ],
)
def test_archives(head: bytes, expected: bool) -> None:
    """BuildKit 0.34.2, ``util/archiveutil``."""
    assert is_archive(head[:1024]) is expected


def test_an_archive_is_the_context() -> None:
    build = BuildSettings(context="-", dockerfile=None, dockerfile_name="docker/Dockerfile")
    with open_input_files(build, stdin=io.BytesIO(archive())) as taken:
        assert taken.archive is not None
        assert taken.archive.read_bytes() == archive()
        assert str(taken.context).startswith("http://buildkit-session/")
        assert (taken.dockerfile, taken.dockerfile_name) == (None, "docker/Dockerfile")
    assert not taken.archive.exists()


def test_anything_else_is_the_dockerfile_of_an_empty_context() -> None:
    text = DOCKERFILE * 500
    with open_input_files(BuildSettings(context="-", dockerfile=None), stdin=io.BytesIO(text)) as taken:
        assert taken.dockerfile is not None
        assert taken.dockerfile.read_bytes() == text
        assert isinstance(taken.context, Path)
        assert list(taken.context.iterdir()) == []
        assert taken.dockerfile_origin == "-"
    assert not taken.dockerfile.exists()


def test_a_dockerfile_on_standard_input(tmp_path: Path) -> None:
    build = BuildSettings(context=tmp_path, dockerfile=None, dockerfile_origin="-")
    with open_input_files(build, stdin=io.BytesIO(DOCKERFILE)) as taken:
        assert taken.dockerfile is not None
        assert (taken.dockerfile.read_bytes(), taken.dockerfile.name) == (DOCKERFILE, "Dockerfile")
        assert [path.name for path in taken.dockerfile.parent.iterdir()] == ["Dockerfile"]
        assert taken.context == tmp_path


@pytest.mark.parametrize(
    ("stdin", "name", "message"),
    [
        (b"", "Dockerfile", "PATH|URL: standard input is empty; pipe an archive or a Dockerfile into it"),
        (
            DOCKERFILE,
            "other",
            "--file: standard input already contains the Dockerfile; omit it or pipe an archive",
        ),
    ],
)
def test_refuses(stdin: bytes, name: str, message: str) -> None:
    build = BuildSettings(context="-", dockerfile=None, dockerfile_name=name)
    with pytest.raises(InputError) as caught, open_input_files(build, stdin=io.BytesIO(stdin)):
        pass
    assert str(caught.value) == message


def test_most_builds_need_none_of_it(tmp_path: Path) -> None:
    build = BuildSettings(context=tmp_path, dockerfile=tmp_path / "Dockerfile")
    with open_input_files(build) as taken:
        assert taken is build


class Files(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        size = {"/Dockerfile": 0, "/largest": LARGEST_DOCKERFILE, "/large": LARGEST_DOCKERFILE + 1}.get(self.path)
        login = self.headers["Authorization"] == f"Basic {base64.b64encode(b'me:top').decode()}"
        if self.path == "/private" and login:
            size = 0
        self.send_response(302 if self.path == "/away" else 404 if size is None else 200)
        self.send_header("Location", "file:///etc/passwd")
        self.end_headers()
        self.wfile.write(b"x" * size if size else DOCKERFILE)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server of Dockerfiles, for a URL."""
    with HTTPServer(("127.0.0.1", 0), Files) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{served.server_port}"
        served.shutdown()


def fetched(url: str, folder: Path) -> bytes:
    """The Dockerfile of a build that names it by ``url``."""
    build = BuildSettings(context=folder, dockerfile=None, dockerfile_origin=url)
    with open_input_files(build) as taken:
        assert taken.dockerfile is not None
        return taken.dockerfile.read_bytes()


def test_a_dockerfile_by_url(server: str, tmp_path: Path) -> None:
    assert fetched(f"http://{server}/Dockerfile", tmp_path) == DOCKERFILE
    assert len(fetched(f"http://{server}/largest", tmp_path)) == LARGEST_DOCKERFILE


def test_a_login_comes_from_the_url_and_from_nowhere_else(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("default login me password top")
    assert fetched(f"http://me:top@{server}/private", tmp_path) == DOCKERFILE
    with pytest.raises(InputError, match="HTTP status 404"):
        fetched(f"http://{server}/private", tmp_path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/none", "cannot fetch the Dockerfile {url}: HTTP status 404"),
        ("/large", "the Dockerfile {url} is larger than 2 MiB"),
        (
            "/away",
            "cannot fetch the Dockerfile {url}: no answer from {server}: No connection adapters were found for .*",
        ),
    ],
)
def test_a_url_that_gives_none(server: str, tmp_path: Path, path: str, message: str) -> None:
    url = f"http://{server}{path}"
    with pytest.raises(InputError, match=f"^--file: {message.format(url=url, server=server)}$"):
        fetched(url, tmp_path)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(InputError, match=f"no answer from {address}: .*refused"):
        fetched(f"http://{address}/", tmp_path)


DIGEST = "sha256:" + "a" * 64


def layout(folder: Path, *tags: str) -> Path:
    """A layout with one blob under some tags."""
    (folder / "blobs" / "sha256").mkdir(parents=True)
    (folder / "blobs" / "sha256" / ("a" * 64)).write_text("{}")
    oci_layout.put_entry(folder, {"mediaType": "m", "digest": DIGEST, "size": 2}, [LayoutName(tag=tag) for tag in tags])
    return folder


def with_image(folder: Path, **place: str) -> BuildSettings:
    named = NamedContext(name="base", location=ImageLayout(folder=folder, **place))
    return BuildSettings(context=folder, dockerfile=folder / "Dockerfile", contexts=(named,))


@pytest.mark.parametrize("place", [{"tag": "latest"}, {"tag": "other"}, {"digest": DIGEST}])
def test_an_image_layouts_digest_is_looked_up(tmp_path: Path, place: dict[str, str]) -> None:
    """A tag that is not there stands for the only image."""
    with open_input_files(with_image(layout(tmp_path, "latest"), **place)) as build:
        (context,) = build.contexts
        assert context.location == ImageLayout(folder=tmp_path, tag=place.get("tag", ""), digest=DIGEST)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({"tag": "1"}, "tag '1' not found in {folder}; it has 2, 3"),
        ({"digest": "sha256:" + "b" * 64}, f"blob sha256:{'b' * 64} not found in {{folder}}"),
    ],
)
def test_an_image_that_the_layout_does_not_have(tmp_path: Path, place: dict[str, str], said: str) -> None:
    with (
        pytest.raises(InputError, match=rf"^--build-context: context 'base': {said.format(folder=tmp_path)}$"),
        open_input_files(with_image(layout(tmp_path, "2", "3"), **place)),
    ):
        pass


def test_a_broken_layout(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("{")
    with (
        pytest.raises(InputError, match=r"^--build-context: context 'base': .*index\.json is malformed"),
        open_input_files(with_image(tmp_path, tag="x")),
    ):
        pass


def test_the_debug_log_tells_where_a_dockerfile_comes_from(tmp_path: Path, server: str, debug_log: DebugLog) -> None:
    url = f"http://{server}/none?sig=hush"
    build = BuildSettings(context=tmp_path, dockerfile=None, dockerfile_origin=url)
    with pytest.raises(InputError), open_input_files(build):
        pass
    assert debug_log.of("build") == [f"the Dockerfile is fetched from http://{server}/none?***"]


def test_an_ignore_file_is_not_looked_for_outside_of_the_context(tmp_path: Path) -> None:
    """BuildKit gets the link alone, and no error shows a line of what it leads to."""
    (tmp_path / "secret").write_text("hunter2[\n")
    context = tmp_path / "context"
    context.mkdir()
    (context / ".dockerignore").symlink_to("../secret")
    build = BuildSettings(context=context, dockerfile=None)
    assert [one["path"] for one in list_context_files(build)] == [".dockerignore"]
    (context / "rules").write_text("rules\n")
    (context / ".dockerignore").unlink()
    (context / ".dockerignore").symlink_to("rules")
    assert find_ignore_file(context, None) == context / ".dockerignore"
    assert [one["path"] for one in list_context_files(build)] == [".dockerignore"]
