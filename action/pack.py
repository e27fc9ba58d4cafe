"""Readies new packages for use: ``python -I -S pack.py PACKAGES``, once when they are installed.

What builds import is compiled, by importing it. Other packages that are plain Python (the Kubernetes client's 800
modules, time zones, the live display) become an archive each, which start.py opens when one is imported: all files are
looked at before each use, so there should be few.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from zipfile import ZipFile

_MODULES = (
    "grpc",
    "requests",
    "urllib3",
    "yaml",
    "cryptography.x509",
    "cryptography.hazmat.primitives.asymmetric.ec",
    "cryptography.hazmat.primitives.serialization",
)


def _compile() -> None:
    for name in _MODULES:
        with suppress(ImportError):
            import_module(name)


def _pack(folder: Path) -> None:
    imported = {name.partition(".")[0] for name in sys.modules}
    for top in list(folder.iterdir()):
        files = [*_files(top)]
        if top.stem in imported or any(file.name.endswith(tuple(EXTENSION_SUFFIXES)) for file in files):
            continue
        if (top / "__init__.py").exists() or top.suffix == ".py":
            with ZipFile(folder / f"{top.stem}.zip", "w") as archive:
                for file in files:
                    archive.write(file, file.relative_to(folder))
        # Else they are scripts, or records of an installer.
        shutil.rmtree(top) if top.is_dir() else top.unlink()


def _files(top: Path) -> Iterator[Path]:
    return (path for path in (top, *top.rglob("*")) if path.is_file() and path.suffix != ".pyc")


_folder = Path(sys.argv[1])
sys.path.append(str(_folder))
_compile()
_pack(_folder)
