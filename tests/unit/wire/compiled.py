"""Our .proto files, compiled by grpcio-tools: the reference that our own encoding is held against."""

import functools
import importlib.util
import tempfile
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc_tools
from grpc_tools import protoc

import ci_buildx

SOURCES = Path(ci_buildx.__file__).parent


@functools.cache
def load(proto: str) -> Any:
    """The generated module of a file below ``ci_buildx``, for example ``buildkit/control.proto``."""
    source = SOURCES / proto
    with tempfile.TemporaryDirectory() as target:
        wellknown = resources.files(grpc_tools) / "_proto"
        command = ["protoc", f"-I{source.parent}", f"-I{wellknown}", f"--python_out={target}", str(source)]
        assert protoc.main(command) == 0, proto
        return _import(Path(target) / f"{source.stem}_pb2.py")


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fill(message: Any, values: dict[str, Any]) -> None:
    """Set the fields of a generated message; None stays unset, seconds become a Timestamp."""
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, dict):
            getattr(message, name).update(value)
        elif isinstance(value, tuple | list):
            target = getattr(message, name)
            for item in value:
                if isinstance(item, dict):
                    fill(target.add(), item)
                else:
                    target.append(item)
        elif isinstance(value, float):
            getattr(message, name).FromMilliseconds(round(value * 1000))
        else:
            setattr(message, name, value)
