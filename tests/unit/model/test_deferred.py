"""Modules that wait for their first use."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_buildx.model.lazy import defer_modules

NAME = "module_for_test_deferred"
PROJECT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module on the path that records its import."""
    (tmp_path / f"{NAME}.py").write_text("import sys\nsys.loaded_for_test = True\nvalue = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop(NAME, None)
    vars(sys).pop("loaded_for_test", None)


def test_a_module_is_loaded_by_its_first_use() -> None:
    with defer_modules(NAME):
        found = __import__(NAME)
        assert not hasattr(sys, "loaded_for_test")
        assert found.value == 7
    assert hasattr(sys, "loaded_for_test")
    assert sys.modules[NAME].value == 7


def test_it_is_found_itself_afterwards() -> None:
    with defer_modules(NAME):
        placeholder = __import__(NAME)
    assert NAME not in sys.modules
    found = __import__(NAME)
    assert found is not placeholder
    assert placeholder.value == found.value == 7


def test_what_is_loaded_stays() -> None:
    before = __import__(NAME)
    with defer_modules(NAME):
        assert __import__(NAME) is before
    assert sys.modules[NAME] is before


def test_a_name_that_the_module_lacks() -> None:
    with defer_modules(NAME), pytest.raises(AttributeError, match="absent"):
        _ = __import__(NAME).absent


GRPC = """
import sys
from ci_buildx.buildkit.grpc import load_grpc
grpc = load_grpc()
assert "asyncio" not in sys.modules and "grpc.aio" not in sys.modules
import asyncio, inspect
async def ask():
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        try:
            await channel.unary_unary("/some/Method")(b"", timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code().name
assert inspect.isclass(int)
print(asyncio.run(ask()))
"""


def test_all_of_grpcio_works_for_whoever_needs_it() -> None:
    done = subprocess.run([sys.executable, "-c", GRPC], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["UNAVAILABLE"], done.stderr


PATHS = """
import sys
import ci_buildx.cli.main
# pathlib of Python 3.12 calls fnmatch when it is imported.
unused = {"ipaddress", "ntpath"} if sys.version_info[:2] == (3, 12) else {"fnmatch", "ipaddress", "ntpath"}
assert not unused & set(sys.modules), sys.modules.keys()
from pathlib import Path, PureWindowsPath
from urllib.parse import urlsplit
assert PureWindowsPath("C:/a/../b").drive == "C:"
assert Path("/a/b.py").match("*.py")
assert urlsplit("https://[::1]:80/a").port == 80
"""


def test_all_of_pathlib_works_for_whoever_needs_it() -> None:
    """Without the folder of packages: the developers' import hook in it imports pathlib before us."""
    argv = [sys.executable, "-S", "-c", PATHS]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
