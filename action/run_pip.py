"""Runs pip: ``python -I -S run_pip.py ARGUMENTS``; with ``--find`` it only exits with 0 if there is one.

Without ``site``, the interpreter runs no ``.pth`` file and no ``sitecustomize``: an earlier step may have installed the
checkout there in editable mode. So this script searches the usual folders for pip.
"""

import runpy
import sys
import sysconfig
from pathlib import Path


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


_found = _find_pip()
if _found is None or sys.argv[1:] == ["--find"]:
    sys.exit(_found is None)
sys.path.append(str(_found))
runpy.run_module("pip", run_name="__main__", alter_sys=True)
