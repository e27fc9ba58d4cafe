"""`kube-builder/runner:dev`: a CI runner's container in the cluster, with Python and the product of this checkout.

Python and the dependencies are those that run this code; nothing is downloaded.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path, PurePosixPath

from devcluster.images import base, buildkit, host_files
from devcluster.images.image import Content, Image, Variant
from devcluster.images.layer import Entry, File, Folder, Link

PRODUCT = "kube-builder"
_ROOT = Path(__file__).parents[2]
_SITE = "/opt/kube-builder"
# Parts of the standard library that no program of ours loads; together they are most of its size.
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
_COMMAND = """#!/bin/sh
exec /usr/bin/python3 -m ci_buildx "$@"
"""


def image(busybox: Path) -> Image:
    """The image; its layers are new only where Python, a dependency or the product is."""
    layers = (
        Content(entries=(*base.shell(busybox), *base.accounts(), *_interpreter())),
        Content(entries=tuple(_dependencies())),
        Content(entries=tuple(_product())),
    )
    settings = {
        "Cmd": ["sh"],
        "Env": [base.PATH, "HOME=/root", "LANG=C.UTF-8", f"PYTHONPATH={_SITE}"],
        "WorkingDir": "/work",
    }
    return Image(
        repository="kube-builder/runner",
        tags=("dev",),
        variants=(Variant(architecture="amd64", layers=layers, settings=settings),),
    )


def _interpreter() -> Iterator[Entry]:
    """Python at the path where it is on the host, for it finds its library from there."""
    program = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    unused = {*_UNUSED, *(path.name for path in library.iterdir() if _BUILD_FILES.fullmatch(path.name))}
    yield from host_files.program(program)
    yield from host_files.folder(library, without=unused)
    yield from host_files.libraries(*sorted((library / "lib-dynload").glob("*.so")))
    yield Link(path="/usr/bin/python3", target=str(program))
    yield File(path=str(buildkit.CERTIFICATES), source=buildkit.CERTIFICATES)
    yield from (Folder(path="/tmp", mode=0o1777), Folder(path="/root", mode=0o700), Folder(path="/work"))


def _dependencies() -> Iterator[Entry]:
    """The files of all packages that the product needs, with the libraries that their extensions load."""
    for found in _closure(PRODUCT):
        for file in found.files or ():
            source = Path(str(found.locate_file(file)))
            if ".." in file.parts or "__pycache__" in file.parts or not source.is_file():
                continue
            yield File(path=str(PurePosixPath(_SITE, *file.parts)), source=source)
            if source.suffix == ".so":
                yield from host_files.libraries(source)


def _closure(name: str) -> list[Distribution]:
    """The installed packages that a package needs here, itself left out, in order of their names."""
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
    """The product as an installation has it: the package, and its command."""
    yield from host_files.folder(_ROOT / "ci_buildx", f"{_SITE}/ci_buildx", without=("__pycache__",))
    yield File(path="/usr/bin/kube-builder", source=_COMMAND.encode(), mode=0o755)
