"""Modules and regular expressions that are loaded at first use."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, cast


@contextmanager
def defer_modules(*names: str) -> Iterator[None]:
    """Make imports of these modules return placeholders that load the module at first use.

    Modules that are already loaded are not replaced. After the ``with`` block, imports load the modules as usual.
    """
    placed = {name: _ModulePlaceholder(name) for name in names if name not in sys.modules}
    sys.modules.update(placed)
    try:
        yield
    finally:
        for name, placeholder in placed.items():
            if sys.modules.get(name) is placeholder:
                del sys.modules[name]


class _ModulePlaceholder(ModuleType):
    """Placeholder for a module: the first access to a missing attribute loads the module and copies its contents."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = import_module(self.__name__)
        self.__dict__.update(module.__dict__)
        return getattr(module, name)


def compile_lazily(text: str, flags: int = 0) -> re.Pattern[str]:
    """Return a pattern that calls ``re.compile`` at its first use.

    An error in ``text`` shows only then; the tests use every pattern.
    """
    return cast("re.Pattern[str]", _LazyPattern(text, flags))


class _LazyPattern:
    """Pattern that is compiled when one of its methods is first used."""

    def __init__(self, text: str, flags: int) -> None:
        self._asked = (text, flags)

    def __getattr__(self, name: str) -> Any:
        compiled = re.compile(*self._asked)
        for method in ("findall", "finditer", "fullmatch", "match", "search", "split", "sub"):
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)
