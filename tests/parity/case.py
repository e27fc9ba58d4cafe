"""What both clients are given to build."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.parity.tree import EPOCH, Tree

SOURCE_DATE_EPOCH = {"SOURCE_DATE_EPOCH": str(EPOCH)}
LETTERS: Tree = {f"{folder}{name}": name for folder in ("", "d/", "d/e/") for name in ("a.txt", "b.txt", "c.log")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A Dockerfile, which is planted under ``place`` in the folder ``context``, and what it is built with.

    ``tree`` is planted in that folder too, ``beside`` in the one above, where both clients work.
    """

    name: str
    dockerfile: str
    place: str = "Dockerfile"
    tree: Tree = field(default_factory=dict)
    beside: Tree = field(default_factory=dict)
    argv: tuple[str, ...] = ("context",)
    env: Mapping[str, str] = field(default_factory=lambda: SOURCE_DATE_EPOCH)

    def __str__(self) -> str:
        return self.name
