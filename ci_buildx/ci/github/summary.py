"""The build's summary on the run's page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from re import Match
from shlex import quote
from urllib.parse import quote as quote_url

from ci_buildx.build.result import BuildResult
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.plaintext import MASK
from ci_buildx.model.record import dataclass, field
from ci_buildx.progress.step import drop_controls, format_amount, strip_control_characters
from ci_buildx.progress.summary import BuildReport, BuildSummary, StepTime

LONGEST = 12
"""Number of steps in the table of the slowest, beside those that failed."""
LEGEND = "Light bars are the critical path, grey ones were cached, red ones failed."
_FAILED = "❌ failed"
_ALIVE = frozenset("|`*_~[]!@:\\$#")
_FENCE = compile_lazily("[`~]{3,}")
_WWW = compile_lazily("(?i)(www)\\.")
_OF_URLS = "/:?#@!$&'*+,;=%~"
"""Characters that stay unquoted in a URL; brackets would end a Markdown link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryPage:
    """The content of one build's summary.

    ``error`` is empty if the build succeeded; ``result`` is None if it failed. ``sizes`` are compressed bytes by
    platform, ``inputs`` those that were set, and ``artifacts`` URLs by name. Of several targets, ``targets`` are the
    results and ``definition`` the JSON, instead of ``result``.
    """

    report: BuildReport
    seconds: float
    error: str = ""
    result: BuildResult | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, BuildResult] = field(default_factory=dict)
    definition: str = ""


def render_summary(page: SummaryPage) -> str:
    """Render the summary as GitHub-flavoured Markdown, which ends with an empty line."""
    parts = [f"### {'❌' if page.error else '✅'} {_render_code(page.report.title)}", _render_outcome(page)]
    if page.error:
        parts.append(f"```text\n{_render_code_block(page.error)}\n```")
    if page.result is not None:
        parts += [_render_images(page.result, page.sizes), _render_pull_commands(page.result)]
    parts.append(_render_targets(page.targets))
    parts.append(_render_chart(page.report))
    parts.append(_render_details("Slowest steps", _render_steps(page.report.summary), opened=bool(page.error)))
    if page.result is not None:
        parts.append(
            _render_details("Time of each phase", _render_table(("phase", "time"), _render_phases(page.result)))
        )
    rows = [(f"`{name}`", _escape_cell(value)) for name, value in page.inputs.items()]
    parts.append(_render_details("Inputs", _render_table(("input", "value"), rows)))
    if page.definition:
        parts.append(_render_details("Definition", f"```json\n{_render_code_block(page.definition)}\n```"))
    if page.artifacts:
        links = (f"[{_render_code(name)}]({quote_url(url, safe=_OF_URLS)})" for name, url in page.artifacts.items())
        parts.append("Artifacts: " + ", ".join(links))
    return "\n\n".join(part for part in parts if part) + "\n\n"


def render_merge(result: BuildResult) -> str:
    """Render the summary of merged digests, which ends with an empty line."""
    parts = ["### ✅ merged", _render_images(result, {}), _render_pull_commands(result)]
    return "\n\n".join(part for part in parts if part) + "\n\n"


def _render_outcome(page: SummaryPage) -> str:
    words = [f"{'failed' if page.error else 'built'} in {page.seconds:.1f} s"]
    steps = page.report.summary
    if steps.completed:
        words.append(f"{steps.cached} of {len(steps.completed)} steps cached ({steps.cached_share:.0%})")
    if steps.warnings:
        words.append(f"{steps.warnings} finding{'' if steps.warnings == 1 else 's'} of build checks")
    return " · ".join(words)


def _render_chart(report: BuildReport) -> str:
    """Render the timeline: summaries support Mermaid, but not SVG."""
    from ci_buildx.progress.timeline.pages import render_gantt

    if not report.summary.completed:
        return ""
    return f"```mermaid\n{render_gantt(report.timeline).rstrip()}\n```\n\n{LEGEND}"


def _render_images(result: BuildResult, sizes: Mapping[str, int]) -> str:
    rows = [("image", _escape_cell(reference)) for reference in result.references]
    rows += [("digest", _escape_cell(result.digest))] if result.digest else []
    for platform in map(str, result.platforms):
        size = f" {format_amount(sizes[platform])} compressed" if platform in sizes else ""
        rows.append(("platform", f"{platform}{size}"))
    return _render_table(("", ""), rows)


def _render_targets(targets: Mapping[str, BuildResult]) -> str:
    """Render the table of targets, with the names and the digest of each one's image."""
    rows = [
        (_escape_cell(name), _escape_cell("\n".join((*one.references, one.digest)))) for name, one in targets.items()
    ]
    return _render_table(("target", "image"), rows)


def _render_pull_commands(result: BuildResult) -> str:
    if not (result.references and result.digest):
        return ""
    lines = [f"docker pull {quote(f'{reference}@{result.digest}')}" for reference in result.references]
    return "```sh\n" + "\n".join(map(_render_code_block, lines)) + "\n```"


def _render_steps(steps: BuildSummary) -> str:
    """Render the table: steps that failed first, each marked, then the slowest."""
    failed = [step for step in steps.steps if step.failed]
    others = sorted((step for step in steps.completed if not step.failed), key=lambda step: -step.seconds)
    rows = [(f"**{_escape_cell(step.name)}**", f"**{_render_time(step)}**") for step in failed]
    rows += [(_escape_cell(step.name), _render_time(step)) for step in others[:LONGEST]]
    return _render_table(("step", "time"), rows)


def _render_time(step: StepTime) -> str:
    if step.failed:
        return f"{_FAILED} after {step.seconds:.1f} s"
    if step.canceled:
        return "canceled"
    return "cached" if step.cached else f"{step.seconds:.1f} s"


def list_spellings(line: str) -> tuple[str, ...]:
    """Return all spellings of a line in a summary."""
    return line, _escape_text(line), _escape_inline(line), _render_code_block(line)


def _render_phases(result: BuildResult) -> list[tuple[str, str]]:
    return [(name, f"{seconds:.1f} s") for name, seconds in result.phases.items()]


def _render_table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [head, ("---", "---"), *rows]
    return "\n".join(f"| {left} | {right} |" for left, right in lines) if rows else ""


def _render_details(title: str, body: str, *, opened: bool = False) -> str:
    tag = "<details open>" if opened else "<details>"
    return f"{tag}<summary>{title}</summary>\n\n{body}\n\n</details>" if body else ""


def _escape_text(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;")


def _escape_inline(line: str) -> str:
    """Escape Markdown as entities, so that no link, image, mention or URL becomes active."""
    text = "".join(f"&#{ord(one)};" if one in _ALIVE else one for one in _escape_text(strip_control_characters(line)))
    return _WWW.sub(r"\1&#46;", text.replace("&#42;" * 3, MASK))


def _render_code(value: str) -> str:
    """Render text as code on one line, inactive in Markdown and in GitHub's later passes (mentions, issues)."""
    return f"<code>{_escape_inline(' '.join(value.split()))}</code>" if value.strip() else ""


def _escape_cell(value: str) -> str:
    """Escape a value of a table cell; line breaks become ``<br>``."""
    lines = [_escape_inline(line) for line in value.strip().splitlines()]
    return "<br>".join(f"<code>{line}</code>" for line in lines if line)


def _render_code_block(text: str) -> str:
    """Break up runs of backticks and tildes, so that the text cannot end its code block."""
    return _FENCE.sub(_break_up, drop_controls(text, colours=False)).strip()


def _break_up(backticks: Match[str]) -> str:
    return " ".join(backticks[0])
