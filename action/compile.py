"""Compiles newly installed packages by importing what builds import: ``python -I -S compile.py PACKAGES``.

Its imports write compiled modules beside their sources, as they do in any other interpreter; start.py never does.
"""

import sys
from contextlib import suppress
from importlib import import_module

_MODULES = (
    "grpc",
    "requests",
    "urllib3",
    "yaml",
    "cryptography.x509",
    "cryptography.hazmat.primitives.asymmetric.ec",
    "cryptography.hazmat.primitives.serialization",
)

sys.path.append(sys.argv[1])
for _name in _MODULES:
    with suppress(ImportError):
        import_module(_name)
