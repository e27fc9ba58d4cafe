"""Modules and regular expressions that are loaded at their first use."""

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
    """Within this, importing one of these modules gives a placeholder that becomes the module at its first use.

    Modules that are loaded already are left alone; after this, imports find the modules themselves.
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
    """Stands for a module; asked for what it has not (anything), it loads the module and takes all from there."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = import_module(self.__name__)
        self.__dict__.update(module.__dict__)
        return getattr(module, name)


def compile_lazily(text: str, flags: int = 0) -> re.Pattern[str]:
    """``re.compile``, later. An error in ``text`` shows at its first use: tests use every one."""
    return cast("re.Pattern[str]", _LazyPattern(text, flags))


class _LazyPattern:
    """Has the methods of a pattern as soon as one is asked for."""

    def __init__(self, text: str, flags: int) -> None:
        self._asked = (text, flags)

    def __getattr__(self, name: str) -> Any:
        compiled = re.compile(*self._asked)
        for method in ("findall", "finditer", "fullmatch", "match", "search", "split", "sub"):
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)
