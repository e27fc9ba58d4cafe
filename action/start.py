"""Starts the kube-builder of this checkout: ``python -I -S start.py PACKAGES NODE VERB …``.

The interpreter is isolated and without ``site``, so it runs no ``.pth`` file and no ``sitecustomize``. It finds only
Python's own modules, the packages of the folder PACKAGES, and kube-builder. Nothing is written to that folder. Packages
that few jobs need are in another folder: later.js, which NODE runs, installs or verifies it when one is first imported.
"""

import os
import sys
from _thread import allocate_lock
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
)

_LATER = ("kubernetes", "rich", "tzdata")
"""Modules of the second layer that kube-builder and Python's own modules import; lock.js has all its packages."""


class _Loader(SourceFileLoader):
    """Loads compiled modules, and never writes any."""

    def set_data(self, *_args: object, **_options: object) -> None:
        """Write nothing."""


class _Finder:
    """Finds kube-builder, packages in archives, and the second layer."""

    @staticmethod
    def find_spec(name: str, path: object = None, _target: object = None) -> ModuleSpec | None:
        """Return the package's spec, or None."""
        if path is not None:
            return None
        if name == "ci_buildx":
            return PathFinder.find_spec(name, [_root])
        if os.path.exists(archive := f"{_folders[0]}/{name}.zip"):
            return PathFinder.find_spec(name, [archive])
        if name not in _LATER:
            return None
        with _lock:
            if len(_folders) == 1:
                _folders.append(_install_later(name))
                sys.path.append(_folders[1])
        return PathFinder.find_spec(name, _folders[1:])


def _install_later(name: str) -> str:
    """Return the folder of the second layer, installed or verified. Raises KubeBuilderError."""
    import subprocess

    from ci_buildx.errors import KubeBuilderError
    from ci_buildx.model.programs import make_environment

    command = [_node, f"{_root}/action/later.js", sys.executable, name]
    pipe = subprocess.PIPE
    # Its standard input ends when this process does, and it with it.
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=make_environment(os.environ)) as process:
        try:
            assert process.stdout is not None
            output = process.stdout.read().decode(errors="replace")
        finally:
            assert process.stdin is not None
            process.stdin.close()
    if process.returncode:
        fix = "check the package index that the runner's settings name, or use a bundle"
        raise KubeBuilderError(f"cannot load {name}: {output or 'its packages could not be installed'}", fix=fix)
    return output


def _find(folder: str) -> FileFinder:
    for own in _folders:
        if folder == own or (folder.startswith(f"{own}/") and ".zip" not in folder[len(own) :]):
            return FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES), (_Loader, SOURCE_SUFFIXES))
    raise ImportError


_root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
_folders = [sys.argv.pop(1)]
_node = sys.argv.pop(1)
_lock = allocate_lock()
sys.path_hooks.insert(0, _find)
sys.path.extend(_folders)
sys.meta_path.append(_Finder)

from ci_buildx.cli.main import run

run()
