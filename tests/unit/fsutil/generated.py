"""The code that protoc generates from our ``fsutil.proto``."""

import functools
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import ci_buildx.fsutil


@functools.cache
def module() -> Any:
    """Compile and import it."""
    from grpc_tools import protoc

    source = Path(ci_buildx.fsutil.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["protoc", f"-I{source}", f"--python_out={folder}", "fsutil.proto"]
        assert protoc.main(arguments) == 0
        sys.path.insert(0, folder)
        try:
            return importlib.import_module("fsutil_pb2")
        finally:
            sys.path.remove(folder)
