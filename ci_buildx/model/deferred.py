"""Modules that another package imports and that we never use: they are loaded when somebody touches them.

``importlib.util.LazyLoader`` would be the tool, but before Python 3.12 the second ``import`` already counts as a touch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


@contextmanager
def deferred(*names: str) -> Iterator[None]:
    """Within this, importing one of these modules gives a placeholder that becomes the module at its first use.

    Modules that are loaded already are left alone; after this, imports find the modules themselves.
    """
    placed = {name: _Placeholder(name) for name in names if name not in sys.modules}
    sys.modules.update(placed)
    try:
        yield
    finally:
        for name, placeholder in placed.items():
            if sys.modules.get(name) is placeholder:
                del sys.modules[name]


class _Placeholder(ModuleType):
    """Stands for a module; asked for what it has not (anything), it loads the module and takes all from there."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = import_module(self.__name__)
        self.__dict__.update(module.__dict__)
        return getattr(module, name)
