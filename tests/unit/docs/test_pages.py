"""The pages say what is: links lead somewhere, messages are the code's, every page can be found."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


@cache
def messages() -> tuple[str, ...]:
    """Every text of the code, with an ellipsis for what is filled in."""
    return tuple(text for path in sorted((ROOT / "ci_buildx").rglob("*.py")) for text in texts(path))


def texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def headings(page: Path) -> list[str]:
    return _HEADING.findall(_FENCE.sub("", page.read_text()))


def anchor(heading: str) -> str:
    """As Python-Markdown makes it (``markdown.extensions.toc.slugify``)."""
    plain = re.sub(r"[^\w\s-]", "", re.sub(r"[`*]", "", heading).encode("ascii", "ignore").decode()).strip().lower()
    return re.sub(r"[-\s]+", "-", plain)


@pytest.mark.parametrize(
    "message",
    [text[1:-1] for text in headings(DOCS / "troubleshooting.md") if text.startswith("`") and text.endswith("`")],
)
def test_messages_are_the_codes(message: str) -> None:
    assert any(message in text for text in messages()), message


def test_every_page_of_troubleshooting_is_about_messages() -> None:
    assert sum(text.startswith("`") for text in headings(DOCS / "troubleshooting.md")) >= 35


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(_FENCE.sub("", page.read_text())):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, part = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if part:
            assert part in {anchor(heading) for heading in headings(file)}, target


def test_the_sites_menu_leads_to_pages() -> None:
    """`make docs` fails for a page that is in no menu."""
    text = re.sub(r"!!\S+", "", (ROOT / "dev" / "mkdocs.yml").read_text())

    def files(entries: list[dict[str, object]]) -> Iterator[str]:
        for entry in entries:
            for value in entry.values():
                if isinstance(value, str):
                    yield value
                elif isinstance(value, list):
                    yield from files(value)

    assert set(files(yaml.safe_load(text)["nav"])) <= {str(page.relative_to(DOCS)) for page in PAGES}
