"""Starts the kube-builder of this checkout: ``python -I -S start.py PACKAGES VERB …``.

The interpreter is isolated and without ``site``, so it runs no ``.pth`` file and no ``sitecustomize``. It finds only
Python's own modules, the packages of the folder PACKAGES, which pack.py has prepared, and kube-builder. Nothing is
written to that folder.
"""

import os
import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
)


class _Loader(SourceFileLoader):
    """Loads compiled modules, and never writes any."""

    def set_data(self, *_args: object, **_options: object) -> None:
        """Write nothing."""


class _Finder:
    """Finds kube-builder, and packages in archives."""

    @staticmethod
    def find_spec(name: str, path: object = None, _target: object = None) -> ModuleSpec | None:
        """Return the package's spec, or None."""
        if path is not None:
            return None
        place = _root if name == "ci_buildx" else f"{_packages}/{name}.zip"
        return PathFinder.find_spec(name, [place]) if os.path.exists(place) else None


def _find(folder: str) -> FileFinder:
    if folder == _packages or (folder.startswith(f"{_packages}/") and ".zip" not in folder[len(_packages) :]):
        return FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES), (_Loader, SOURCE_SUFFIXES))
    raise ImportError


_root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
_packages = sys.argv.pop(1)
sys.path_hooks.insert(0, _find)
sys.path.append(_packages)
sys.meta_path.append(_Finder)

from ci_buildx.cli.main import run

run()
