"""A kubeconfig that a CI system passes as content instead of a path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ci_buildx.fsutil import scratch
from ci_buildx.model.pasted import read_kubeconfig


@contextmanager
def write_as_path(text: str, *, folder: str | None, announce: Callable[[str], None] = lambda _: None) -> Iterator[str]:
    """Yield the path of a kubeconfig given as a path, as content or as base64 content.

    Content is written to a private file in ``folder`` (default: the system's temporary folder), which is removed at the
    end. ``announce`` is called with its path before the file is written.
    """
    content = read_kubeconfig(text)
    if content is None:
        yield text.strip()
        return
    path = choose_path(folder)
    announce(str(path))
    try:
        write_private_file(content, path)
        yield str(path)
    finally:
        path.unlink(missing_ok=True)


def choose_path(folder: str | None) -> Path:
    """Choose a path for a new file, in ``folder`` or the system's temporary folder."""
    return scratch.name_shared(scratch.KUBECONFIG, folder)


def write_private_file(content: str, path: Path) -> None:
    """Write a file that only this user can read; it must not exist yet."""
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(content, encoding="utf-8")
