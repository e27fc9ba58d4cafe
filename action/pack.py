"""Prepares newly installed packages: ``python -I -S pack.py PACKAGES``.

Packages that builds import are compiled by importing them. Each other pure Python package (the Kubernetes client's 800
modules, time zones, the live display) becomes one archive, which start.py opens on import. All files are checked before
each use, so there should be few.
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
        # The others are scripts, or an installer's records.
        shutil.rmtree(top) if top.is_dir() else top.unlink()


def _files(top: Path) -> Iterator[Path]:
    return (path for path in (top, *top.rglob("*")) if path.is_file() and path.suffix != ".pyc")


_folder = Path(sys.argv[1])
sys.path.append(str(_folder))
_compile()
_pack(_folder)
