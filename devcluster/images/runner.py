"""`kube-builder/runner:dev`: a CI runner's container in the cluster, with Python and the product of this checkout.

Python and the dependencies are those that run this code; nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import py_compile
import re
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from importlib.util import cache_from_source
from pathlib import Path, PurePosixPath
from py_compile import PycInvalidationMode, PyCompileError

from devcluster.images import base, buildkit, host_files
from devcluster.images.image import Content, Image, Variant
from devcluster.images.layer import Entry, File, Folder, Link

PRODUCT = "kube-builder"
_ROOT = Path(__file__).parents[2]
_SITE = "/opt/kube-builder"
# Parts of the standard library that none of our programs loads; together they are most of its size.
_UNUSED = (
    "__pycache__",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "site-packages",
    "dist-packages",
    "test",
    "tkinter",
    "turtledemo",
)
_BUILD_FILES = re.compile(r"config-\d.*")
_COMMAND = f"""#!/usr/bin/python3 -IS
import sys
sys.path.append("{_SITE}")
from ci_buildx.cli.main import run
run()
"""


def image(busybox: Path) -> Image:
    """Return the image; its layers change only if Python, a dependency or the product does."""
    layers = (
        Content(entries=(*base.shell(busybox), *base.accounts(), *_interpreter())),
        Content(entries=tuple(_dependencies())),
        Content(entries=tuple(_product())),
    )
    settings = {
        "Cmd": ["sh"],
        "Env": [base.PATH, "HOME=/root", "LANG=C.UTF-8"],
        "WorkingDir": "/work",
    }
    return Image(
        repository="kube-builder/runner",
        tags=("dev",),
        variants=(Variant(architecture="amd64", layers=layers, settings=settings),),
    )


def _interpreter() -> Iterator[Entry]:
    """Yield Python at its path on the host, from which it finds its library."""
    program = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    unused = {*_UNUSED, *(path.name for path in library.iterdir() if _BUILD_FILES.fullmatch(path.name))}
    yield from host_files.program(program)
    yield from host_files.folder(library, without=unused, dated=True)
    yield from host_files.libraries(*sorted((library / "lib-dynload").glob("*.so")))
    yield Link(path="/usr/bin/python3", target=str(program))
    yield File(path=str(buildkit.CERTIFICATES), source=buildkit.CERTIFICATES)
    yield from (Folder(path="/tmp", mode=0o1777), Folder(path="/root", mode=0o711), Folder(path="/work"))


def _dependencies() -> Iterator[Entry]:
    """Yield the files of all packages that the product needs, with the libraries that their extensions load."""
    extensions = []
    for found in _closure(PRODUCT):
        for file in found.files or ():
            source = Path(str(found.locate_file(file)))
            if ".." in file.parts or not source.is_file():
                continue
            modified = int(source.stat().st_mtime)
            yield File(path=str(PurePosixPath(_SITE, *file.parts)), source=source, modified=modified)
            if source.suffix == ".so":
                extensions.append(source)
    yield from host_files.libraries(*extensions)


def _closure(name: str) -> list[Distribution]:
    """Return the installed packages that a package needs, without the package itself, sorted by name."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    needed: dict[str, Distribution] = {}
    waiting = [name]
    while waiting:
        for text in distribution(waiting.pop()).requires or ():
            requirement = Requirement(text)
            key = canonicalize_name(requirement.name)
            if key not in needed and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
                needed[key] = distribution(key)
                waiting.append(key)
    return [needed[key] for key in sorted(needed)]


def _product() -> Iterator[Entry]:
    """Yield the product as installed: the package, its compiled modules, and its command."""
    for entry in host_files.folder(_ROOT / "ci_buildx", f"{_SITE}/ci_buildx", without=("__pycache__",)):
        yield entry
        if isinstance(entry, File) and isinstance(entry.source, Path) and entry.source.suffix == ".py":
            yield from _compiled(entry.source, entry.path)
    yield File(path="/usr/bin/kube-builder", source=_COMMAND.encode(), mode=0o755)


def _compiled(source: Path, path: str) -> Iterator[Entry]:
    """Yield a module's bytecode for its path in the image, to be used without checking the source.

    A module that does not compile is skipped, as by pip: the error is for its importers.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(PyCompileError):
        target = Path(folder) / "module.pyc"
        unchecked = PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(source), str(target), dfile=path, doraise=True, quiet=1, invalidation_mode=unchecked)
        yield File(path=cache_from_source(path), source=target.read_bytes())
