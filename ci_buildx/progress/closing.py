"""What is printed once, after the last step: the failed steps' output, the checks' findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ci_buildx.model.status import VertexWarning
from ci_buildx.progress.graph import Graph
from ci_buildx.progress.step import Step
from ci_buildx.progress.text import inert

_RULE = "------"


def lines(graph: Graph, *, limit: int, excerpt: str) -> Iterator[str]:
    """All of it, inert, in buildx's order; ``limit`` bounds the lines of output shown of each failed step."""
    return map(inert, _lines(graph, limit, excerpt))


def _lines(graph: Graph, limit: int, excerpt: str) -> Iterator[str]:
    for step in graph.steps:
        if step.failed and not step.hidden and not step.ours and step.key not in graph.forgiven:
            yield from failure(step, limit)
    yield from findings(graph.warnings)
    if graph.omitted:
        yield f"buildkitd told of more than is kept: {graph.omitted} steps, lines of progress or warnings are not shown"
    if excerpt:
        yield from excerpt.rstrip("\n").split("\n")


def failure(step: Step, limit: int) -> Iterator[str]:
    """A failed step and the end of its output, as BuildKit prints it (``progressui.trace.printErrorLogs``)."""
    yield _RULE
    yield f" > {step.name}:"
    for line in list(step.lines)[-limit:]:
        yield str(line)
    yield _RULE


def findings(warnings: Sequence[VertexWarning]) -> Iterator[str]:
    """The findings of build checks, each with its place and explanation (buildx hides these without ``--debug``)."""
    if not warnings:
        return
    yield ""
    yield f" {len(warnings)} warning{'s' if len(warnings) > 1 else ''} found:"
    for warning in warnings:
        yield f" - {_placed(warning)}"
        for detail in warning.detail:
            yield f"   {detail}"
        if warning.url:
            yield f"   More info: {warning.url}"
    yield ""


def _placed(warning: VertexWarning) -> str:
    """The finding after its place, which BuildKit 0.34.2 also appends (``linter.LintFormatShort``)."""
    if not (warning.filename and warning.line):
        return warning.short
    return f"{warning.filename}:{warning.line}: {warning.short.removesuffix(f' (line {warning.line})')}"
