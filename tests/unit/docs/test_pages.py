"""The pages are true and readable: links work, messages and lists are the code's, lines are short."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from ci_buildx.builder.lifecycle import lease
from ci_buildx.cli import main, process

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TROUBLESHOOTING = DOCS / "operations" / "troubleshooting.md"
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
    [text[1:-1] for text in headings(TROUBLESHOOTING) if text.startswith("`") and text.endswith("`")],
)
def test_messages_are_the_codes(message: str) -> None:
    assert any(message in text for text in messages()), message


def test_every_page_of_troubleshooting_is_about_messages() -> None:
    assert sum(text.startswith("`") for text in headings(TROUBLESHOOTING)) >= 35


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

    assert sorted(files(yaml.safe_load(text)["nav"])) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


MENTION = re.compile(r"(?<![\w./-])docs/[\w./-]*\w")
"""A path of the documentation in another file."""
MENTIONING = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *(ROOT / name for name in ("action.yml", "setup/action.yml", "bench/README.md", "dev/mkdocs.yml")),
    *sorted((ROOT / "gitlab-template").iterdir()),
    *sorted((ROOT / "templates").iterdir()),
    *sorted(DOCS.rglob("*.yaml")),
    *sorted((ROOT / "bundle").glob("*.py")),
)


@pytest.mark.parametrize("file", MENTIONING, ids=lambda path: str(path.relative_to(ROOT)))
def test_mentioned_pages_exist(file: Path) -> None:
    assert [path for path in MENTION.findall(file.read_text()) if not (ROOT / path).exists()] == []


def test_pages_that_messages_mention_exist() -> None:
    """Errors, help and what the product writes; the rights' file names follow their modes."""
    mentioned = {path for text in messages() for path in MENTION.findall(text) if "docs/" in text and "``" not in text}
    assert {"docs/rbac/jobs.yaml", "docs/rbac/unconfined.yaml", "docs/reference/driver-opts.md"} <= mentioned
    assert [path for path in mentioned if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_are_short(page: Path) -> None:
    """Tables and examples cannot be wrapped, nor can a single link."""
    lines = _FENCE.sub("", page.read_text()).splitlines()
    long = [line for line in lines if len(line) > 120 and not line.startswith("|") and not _LINK.search(line[-120:])]
    assert long == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_numbers_of_steps_survive_examples(page: Path) -> None:
    """Python-Markdown begins a list after an example with 1 again: such steps are ``**2.**``."""
    assert re.findall(r"^```\n\n([2-9]\. .*)", page.read_text(), re.MULTILINE) == []


@pytest.mark.parametrize("page", sorted((DOCS / "start").iterdir()), ids=lambda path: path.stem)
def test_a_quick_start_fits_one_screen(page: Path) -> None:
    assert len(page.read_text().partition("\n## Next")[0].splitlines()) <= 60
    assert "\n## Next" in page.read_text()


@pytest.mark.parametrize("page", ["README.md", "docs/reference/options.md"])
def test_pages_have_each_exit_code(page: str) -> None:
    text = (ROOT / page).read_text()
    listed = text[text.lower().index("exit codes") :][:1200]
    codes = re.findall(r"\b\d+\b", "\n".join(line[:10] for line in process.EXIT_CODES.splitlines()))
    assert {"0", "1", "2", "3", "130"} <= set(codes)
    assert [code for code in codes if not re.search(rf"\b{code}\b", listed)] == []


def test_the_page_on_doctor_has_each_check() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (DOCS / "operations" / "doctor.md").read_text(), re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    modules = ("builder/rbac/checks.py", "manage/doctor.py", "manage/trial_builder.py")
    assert listed == {topic for module in modules for topic in topics(ROOT / "ci_buildx" / module)}


def topics(path: Path) -> Iterator[str]:
    """The constants that a module passes or assigns as ``topic``."""
    for node in ast.walk(ast.parse(path.read_text())):
        values: list[ast.expr] = []
        if isinstance(node, ast.keyword) and node.arg == "topic":
            values = [node.value]
        elif isinstance(node, ast.Assign) and any(
            isinstance(name, ast.Name) and name.id == "topic" for target in node.targets for name in ast.walk(target)
        ):
            values = [node.value.elts[0] if isinstance(node.value, ast.Tuple) else node.value]
        yield from (value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str))


@pytest.mark.parametrize("page", ["docs/operations/reaper.md", "docs/reference/commands.md"])
def test_pages_have_the_time_after_which_a_job_is_silent(page: str) -> None:
    assert re.search(rf"\b{lease.SILENCE // 60}\s+minutes", (ROOT / page).read_text())


BUILDX = (
    *("bake", "build", "create", "dap", "debug", "dial-stdio", "du", "history", "imagetools", "inspect", "ls"),
    *("policy", "prune", "replay", "rm", "stop", "use", "version"),
)
"""Verbs of docker buildx 0.38.2 (``docs/reference/buildx.md``)."""


def test_the_differences_from_buildx_name_each_verb_that_is_missing() -> None:
    section = (DOCS / "migrating" / "buildx.md").read_text().partition("## What buildx has")[2].partition("\n## ")[0]
    named = {word for line in section.splitlines() if line.startswith("|") for word in first_words(line)}
    assert named & set(BUILDX) == set(BUILDX) - {verb.partition(" ")[0] for verb in main.VERBS}


def first_words(row: str) -> list[str]:
    """The texts in backquotes of a row's first cell that are one word."""
    return re.findall(r"`([\w-]+)`", row.split("|")[1])
