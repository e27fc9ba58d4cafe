"""What the run's page shows of a build. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from re import Match
from shlex import quote
from urllib.parse import quote as quote_url

from ci_buildx.job.result import BuildResult
from ci_buildx.model.login import MASK
from ci_buildx.model.pattern import pattern
from ci_buildx.model.record import dataclass, field
from ci_buildx.progress.report import Report
from ci_buildx.progress.summary import StepTime, Summary
from ci_buildx.progress.text import amount, inert, printable

LONGEST = 12
"""Steps that the table shows: the slowest."""
_ALIVE = frozenset("|`*_~[]!@:\\$#")
_FENCE = pattern("[`~]{3,}")
_WWW = pattern("(?i)(www)\\.")
_OF_URLS = "/:?#@!$&'*+,;=%~"
"""What stays as it is in an address: brackets would end it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One build.

    ``error`` is empty where it succeeded; ``result`` is None where it did not. ``sizes`` are compressed bytes by
    platform, ``inputs`` those that were given, ``artifacts`` names and addresses.
    """

    report: Report
    seconds: float
    error: str = ""
    result: BuildResult | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)


def markdown(page: Page) -> str:
    """GitHub-flavoured Markdown, ending in an empty line."""
    parts = [f"### {'❌' if page.error else '✅'} {_code(page.report.title)}", _outcome(page)]
    if page.error:
        parts.append(f"```text\n{_fenced(page.error)}\n```")
    if page.result is not None:
        parts += [_images(page.result, page.sizes), _pulling(page.result)]
    parts.append(_chart(page.report))
    parts.append(_folded("Slowest steps", _steps(page.report.summary)))
    if page.result is not None:
        parts.append(_folded("Time of each phase", _table(("phase", "time"), _phases(page.result))))
    rows = [(f"`{name}`", _cell(value)) for name, value in page.inputs.items()]
    parts.append(_folded("Inputs", _table(("input", "value"), rows)))
    if page.artifacts:
        links = (f"[{_code(name)}]({quote_url(url, safe=_OF_URLS)})" for name, url in page.artifacts.items())
        parts.append("Artifacts: " + ", ".join(links))
    return "\n\n".join(part for part in parts if part) + "\n\n"


def _outcome(page: Page) -> str:
    words = [f"{'failed' if page.error else 'built'} in {page.seconds:.1f} s"]
    steps = page.report.summary
    if steps.completed:
        words.append(f"{steps.cached} of {len(steps.completed)} steps cached ({steps.cached_share:.0%})")
    if steps.warnings:
        words.append(f"{steps.warnings} finding{'' if steps.warnings == 1 else 's'} of build checks")
    return " · ".join(words)


def _chart(report: Report) -> str:
    """The build over time: summaries draw Mermaid, and no SVG."""
    from ci_buildx.progress.timeline_gantt import gantt

    return f"```mermaid\n{gantt(report.timeline).rstrip()}\n```" if report.summary.completed else ""


def _images(result: BuildResult, sizes: Mapping[str, int]) -> str:
    rows = [("image", _cell(reference)) for reference in result.references]
    rows += [("digest", _cell(result.digest))] if result.digest else []
    for platform in map(str, result.platforms):
        size = f" {amount(sizes[platform])} compressed" if platform in sizes else ""
        rows.append(("platform", f"{platform}{size}"))
    return _table(("", ""), rows)


def _pulling(result: BuildResult) -> str:
    if not (result.references and result.digest):
        return ""
    lines = [f"docker pull {quote(f'{reference}@{result.digest}')}" for reference in result.references]
    return "```sh\n" + "\n".join(map(_fenced, lines)) + "\n```"


def _steps(steps: Summary) -> str:
    slowest = sorted(steps.completed, key=lambda step: -step.seconds)[:LONGEST]
    return _table(("step", "time"), [(_cell(step.name), _time(step)) for step in slowest])


def _time(step: StepTime) -> str:
    if step.error:
        return "failed"
    return "cached" if step.cached else f"{step.seconds:.1f} s"


def spellings(line: str) -> tuple[str, ...]:
    """How a page may spell a line."""
    return line, _text(line), _inside(line), _fenced(line)


def _phases(result: BuildResult) -> list[tuple[str, str]]:
    return [(name, f"{seconds:.1f} s") for name, seconds in result.phases.items()]


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [head, ("---", "---"), *rows]
    return "\n".join(f"| {left} | {right} |" for left, right in lines) if rows else ""


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>" if body else ""


def _text(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;")


def _inside(line: str) -> str:
    """Characters of Markdown as entities: neither links, images, mentions nor addresses of theirs come alive."""
    text = "".join(f"&#{ord(one)};" if one in _ALIVE else one for one in _text(printable(line)))
    return _WWW.sub(r"\1&#46;", text.replace("&#42;" * 3, MASK))


def _code(value: str) -> str:
    """A text on one line in which nothing comes alive, neither in Markdown nor afterwards (mentions, issues)."""
    return f"<code>{_inside(' '.join(value.split()))}</code>" if value.strip() else ""


def _cell(value: str) -> str:
    """A value that cannot end its cell: lines become breaks."""
    lines = [_inside(line) for line in value.strip().splitlines()]
    return "<br>".join(f"<code>{line}</code>" for line in lines if line)


def _fenced(text: str) -> str:
    """A text that cannot end its fence."""
    return _FENCE.sub(_spaced, inert(text, colours=False)).strip()


def _spaced(fence: Match[str]) -> str:
    return " ".join(fence[0])
