"""A kubeconfig that a CI system hands over as its content instead of a path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ci_buildx.fsutil import scratch
from ci_buildx.model.pasted import read_kubeconfig


@contextmanager
def write_as_path(text: str, *, folder: str | None, announce: Callable[[str], None] = lambda _: None) -> Iterator[str]:
    """The path of a kubeconfig given as path, as content or as content in base64.

    Content is written to a private file in ``folder`` (default: the system's) that is removed at the end;
    ``announce`` gets its path before.
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
    """A path where no file is yet, in ``folder`` or the system's."""
    return scratch.name_shared(scratch.KUBECONFIG, folder)


def write_private_file(content: str, path: Path) -> None:
    """Write a private file."""
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(content, encoding="utf-8")
