"""A kubeconfig that a CI system hands over as its content instead of a path."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_path(text: str, *, folder: str | None) -> Iterator[str]:
    """The path of a kubeconfig given as path or content.

    Content is written to a private file in ``folder`` (default: the system's) that is removed at the end.
    """
    if "\n" not in text.strip() and not text.lstrip().startswith("{"):
        yield text.strip()
        return
    descriptor, name = tempfile.mkstemp(prefix="kubeconfig-", dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        yield name
    finally:
        Path(name).unlink(missing_ok=True)
