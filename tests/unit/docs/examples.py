"""Examples of the pages: their files, their commands, and what is in them."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
ACTIONS = {
    "org/kube-builder": ROOT / "action.yml",
    "org/kube-builder/setup": ROOT / "setup" / "action.yml",
    "org/kube-builder/merge": ROOT / "merge" / "action.yml",
    "org/kube-builder/bake": ROOT / "bake" / "action.yml",
    "org/kube-builder/bake/subaction/matrix": ROOT / "bake" / "subaction" / "matrix" / "action.yml",
}
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(kube-builder [^`\n]+)`")


@dataclass(frozen=True)
class Example:
    page: Path
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.stem}-{self.language}-{' '.join(self.text.split())[:30]}"

    def documents(self) -> list[Any]:
        if self.language == "json":
            return [json.loads(self.text)]
        if self.language == "toml":
            return [tomllib.loads(self.text)]
        return list(yaml.safe_load_all(self.text))


def examples(*languages: str) -> list[Example]:
    return [
        Example(page, found["language"], re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE))
        for page in PAGES
        for found in _FENCE.finditer(page.read_text())
        if found["language"] in languages
    ]


def commands() -> Iterator[str]:
    """Every ``kube-builder …`` of the pages' shells and texts, without variables before it and commands around it."""
    for example in examples("sh", "console"):
        for line in example.text.replace("\\\n", " ").splitlines():
            for words in split_shell_line(line.removeprefix("$ ")):
                if words[0] == "kube-builder":
                    yield shlex.join(words)
    for page in PAGES:
        yield from _INLINE.findall(_FENCE.sub("", page.read_text()))


def split_shell_line(line: str) -> list[list[str]]:
    """The words of each simple command of a line."""
    lexer = shlex.shlex(re.sub(r"(^|\s)#.*", "", line), posix=True, punctuation_chars="|&;")
    lexer.whitespace_split, lexer.commenters = True, ""
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&;"):
            found.append([])
        elif found[-1] or not re.match(r"[A-Z_]+=", word):
            found[-1].append(word)
    return [words for words in found if words]


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(inner)


def is_bake(part: dict[str, Any]) -> bool:
    """Whether an include is that of the bake."""
    return "bake" in f"{part.get('file', '')} {part.get('component', '')}"


def is_merge(part: dict[str, Any]) -> bool:
    """Whether an include is that of the merge."""
    return "merge" in f"{part.get('file', '')} {part.get('component', '')}"
