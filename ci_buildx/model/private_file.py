"""Private files for libraries that accept secrets only as files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

PREFIX = "kube-builder-key-"


@contextmanager
def open_private_file(content: bytes) -> Iterator[str]:
    """Provide a file name for ``content``, which stays in memory and disappears on exit. Raises OSError."""
    if not hasattr(os, "memfd_create"):
        with _open_temporary(content) as name:
            yield name
        return
    descriptor = os.memfd_create("kube-builder", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as stream:
            stream.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


@contextmanager
def _open_temporary(content: bytes) -> Iterator[str]:
    """Create a temporary file that only its owner can read, for systems without ``memfd_create``."""
    import tempfile

    with tempfile.NamedTemporaryFile(prefix=PREFIX) as stream:
        stream.write(content)
        stream.flush()
        yield stream.name
