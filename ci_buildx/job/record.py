"""What stays of a build, whether it succeeded or not: its report, and the timeline as a picture or a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ci_buildx.errors import Interrupted, KubeBuilderError
from ci_buildx.job.files import write
from ci_buildx.job.site import Site
from ci_buildx.model.record import replace

if TYPE_CHECKING:
    from ci_buildx.progress.report import Report

Hear = Callable[["Report"], None]


@contextmanager
def recorded(site: Site, hear: Hear | None) -> Iterator[None]:
    """At the end of what is inside, write the timeline that was asked for and tell ``hear`` the report.

    A build's own error is not replaced by one of these: that becomes a note on it.
    """
    try:
        yield
    except BaseException as error:
        try:
            _keep(site, hear, failure=_said(error))
        except KubeBuilderError as lost:
            error.add_note(str(lost))
        raise
    _keep(site, hear, failure="")


def _keep(site: Site, hear: Hear | None, *, failure: str) -> None:
    path = site.settings.build.timeline
    if path is None and hear is None:
        return
    report = site.display.report(_title(site), laps=site.phases.laps(), failure=failure)
    if path is not None:
        write(path, _picture(report, page=path.suffix.lower() != ".svg"), source="--timeline")
    if hear is not None:
        from ci_buildx.job.calls import findings

        hear(replace(report, findings=findings(site.settings.build, site.display.warnings())))


def _title(site: Site) -> str:
    """What is built: its first name, or where it is built from."""
    build = site.settings.build
    return build.tags[0] if build.tags else str(getattr(build.context, "name", "") or build.context)


def _picture(report: Report, *, page: bool) -> str:
    from ci_buildx.progress import timeline_html, timeline_svg

    caption = timeline_svg.Caption(title=report.title, facts=report.facts(), failure=report.failure)
    return (timeline_html.page if page else timeline_svg.draw)(report.timeline, caption)


def _said(error: BaseException) -> str:
    if isinstance(error, Interrupted):
        return "stopped by a signal"
    return (str(error) or type(error).__name__).splitlines()[0]
