"""A repository and a tarball for buildkitd to fetch, on loopback."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_IDENTITY = ("-c", "user.name=somebody", "-c", "user.email=somebody@host.example")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *_: object) -> None:  # noqa: A002
        return


def git(folder: Path, *arguments: str) -> None:
    """Run git there, as somebody."""
    subprocess.run(["git", *_IDENTITY, *arguments], cwd=folder, check=True, timeout=60, capture_output=True)


def commit(folder: Path, *names: str) -> None:
    """Make the folder a repository in which these files are committed."""
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", *names)
    git(folder, "commit", "--quiet", "--message=one")


@contextmanager
def served(checkout: Path, folder: Path) -> Iterator[str]:
    """Serve what is committed as ``x.git``, for git's dumb protocol, and ``x.tar.gz``; yields their place's URL."""
    git(checkout, "clone", "--quiet", "--bare", ".", str(folder / "x.git"))
    git(folder / "x.git", "update-server-info")
    git(checkout, "archive", "--output", str(folder / "x.tar.gz"), "HEAD")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
