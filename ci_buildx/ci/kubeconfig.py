"""A kubeconfig that a CI system hands over as its content instead of a path."""

from __future__ import annotations

import base64
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_path(text: str, *, folder: str | None, announce: Callable[[str], None] = lambda _: None) -> Iterator[str]:
    """The path of a kubeconfig given as path, as content or as content in base64.

    Content is written to a private file in ``folder`` (default: the system's) that is removed at the end;
    ``announce`` gets its path before.
    """
    content = read_content(text)
    if content is None:
        yield text.strip()
        return
    path = place(folder)
    announce(str(path))
    try:
        write(content, path)
        yield str(path)
    finally:
        path.unlink(missing_ok=True)


def place(folder: str | None) -> Path:
    """A path where no file is yet, in ``folder`` or the system's."""
    return Path(folder or tempfile.gettempdir()) / f"kubeconfig-{secrets.token_hex(8)}"


def write(content: str, path: Path) -> None:
    """Write a private file."""
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(content, encoding="utf-8")


def read_content(text: str) -> str | None:
    """The kubeconfig that ``text`` is, None where it is a path: no path holds a line break or is base64 of YAML."""
    if _is_kubeconfig(text):
        return text
    try:
        decoded = base64.b64decode("".join(text.split()), validate=True).decode()
    except ValueError:
        return None
    return decoded if _is_kubeconfig(decoded) else None


def _is_kubeconfig(text: str) -> bool:
    text = text.strip()
    return text.startswith("{") or ("\n" in text and ":" in text)
