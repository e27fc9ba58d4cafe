"""Cache for built programs and unpacked packages that outlives clusters and checkouts."""

import os
from pathlib import Path


def folder() -> Path:
    """Return the folder: KUBE_BUILDER_CACHE, or `kube-builder` in the user's cache folder."""
    chosen = os.environ.get("KUBE_BUILDER_CACHE")
    if chosen:
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kube-builder"
