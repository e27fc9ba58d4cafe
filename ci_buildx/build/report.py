"""The report of a build and its timeline as SVG or HTML, written after success and after failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ci_buildx.build.build_run import BuildRun
from ci_buildx.build.result import write_file
from ci_buildx.errors import Interrupted, KubeBuilderError
from ci_buildx.model.record import replace

if TYPE_CHECKING:
    from ci_buildx.progress.summary import BuildReport

Hear = Callable[["BuildReport"], None]


@contextmanager
def record_build(site: BuildRun, hear: Hear | None) -> Iterator[None]:
    """Write the requested timeline at the end of the block, and call ``hear`` with the report.

    An error of these does not replace the build's own error; it becomes a note on it.
    """
    try:
        yield
    except BaseException as error:
        try:
            _write_record(site, hear, failure=_describe_error(error))
        except KubeBuilderError as lost:
            error.add_note(str(lost))
        raise
    _write_record(site, hear, failure="")


def _write_record(site: BuildRun, hear: Hear | None, *, failure: str) -> None:
    path = site.settings.build.timeline
    if path is None and hear is None:
        return
    report = site.display.report(_make_title(site), laps=site.phases.list_laps(), failure=failure)
    if path is not None:
        write_file(path, _draw_picture(report, page=path.suffix.lower() != ".svg"), source="--timeline")
    if hear is not None:
        from ci_buildx.build.calls import collect_findings

        hear(replace(report, findings=collect_findings(site.settings.build, site.display.list_warnings())))


def _make_title(site: BuildRun) -> str:
    """Return the build's first tag, or its context."""
    build = site.settings.build
    return build.tags[0] if build.tags else str(getattr(build.context, "name", "") or build.context)


def _draw_picture(report: BuildReport, *, page: bool) -> str:
    from ci_buildx.progress.timeline import html, svg

    caption = svg.TimelineCaption(title=report.title, facts=report.format_facts(), failure=report.failure)
    return (html.render_page if page else svg.render_svg)(report.timeline, caption)


def _describe_error(error: BaseException) -> str:
    if isinstance(error, Interrupted):
        return "stopped by a signal"
    return (str(error) or type(error).__name__).splitlines()[0]
