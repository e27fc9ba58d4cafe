"""Runs pip: ``python -I -S run_pip.py ARGUMENTS``; with ``--find`` it only exits with 0 if there is one.

Without ``site``, the interpreter runs no ``.pth`` file and no ``sitecustomize``: an earlier step may have installed the
checkout there in editable mode. So this script searches the usual folders for pip.

``--few-platforms`` becomes ``--platform`` options for the platforms that wheels are usually built for. pip up to 23.2
compares each link of an index page with all thousand tags of the interpreter, and grpcio's page has 11,000 links.
"""

import os
import runpy
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

_GLIBC = (34, 28, 24, 17)
"""Minor versions of glibc that policies of manylinux are named after; the oldest one is also called manylinux2014."""


def _find_pip() -> Path | None:
    """Return the folder or the wheel that contains pip, or None."""
    library = Path(sysconfig.get_path("stdlib"))
    places = [
        Path(sysconfig.get_path("purelib")),
        library / "site-packages",
        library.parent / "python3" / "dist-packages",  # Debian
        *library.glob("ensurepip/_bundled/pip-*.whl"),
    ]
    return next((place for place in places if place.suffix == ".whl" or (place / "pip" / "__main__.py").exists()), None)


def _list_platforms() -> list[str]:
    """Return pip's options for this system's platforms; none if its C library is not glibc."""
    with suppress(AttributeError, OSError, ValueError):
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        major, minor = map(int, version.split(".")[:2])
        if name == "glibc" and major == 2:
            machine = os.uname().machine
            names = [*(f"manylinux_2_{one}" for one in _GLIBC if one <= minor), "manylinux2014", "linux"]
            return [word for platform in names for word in ("--platform", f"{platform}_{machine}")]
    return []


_found = _find_pip()
if _found is None or sys.argv[1:] == ["--find"]:
    sys.exit(_found is None)
if "--few-platforms" in sys.argv:
    _place = sys.argv.index("--few-platforms")
    sys.argv[_place : _place + 1] = _list_platforms()
sys.path.append(str(_found))
runpy.run_module("pip", run_name="__main__", alter_sys=True)
