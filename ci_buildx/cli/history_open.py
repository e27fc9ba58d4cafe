"""``kube-builder history open``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ci_buildx.cli.history import OPTIONS as SHARED
from ci_buildx.cli.history import offer_refs, open_builder_history, read_only_ref
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.history.inspection import list_secrets
from ci_buildx.settings.option import Option, OptionGroup
from ci_buildx.settings.values import ProgressMode

if TYPE_CHECKING:
    from ci_buildx.history.records import PlacedRecord
    from ci_buildx.manage.history import BuilderHistory

SUMMARY = (
    "Writes a build's timeline as one HTML page, and prints where it is. docker buildx opens Docker Desktop here, "
    "which knows no builders of a cluster; no program is started."
)
EXAMPLES = f"""\
examples:
  kube-builder history open --builder kube
  kube-builder history open --output build.html ^1

{EXIT_CODES}"""
OPTIONS = (
    Option(
        name="output",
        flags=("-o", "--output"),
        metavar="FILE",
        group=OptionGroup.DISPLAY,
        help="the page to write",
        otherwise="REF.html in the current folder",
    ),
    *SHARED,
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Write the page and print its path."""
    answers = ParsedArguments(make_parser().read(argv))
    choice = read_only_ref(answers)
    with open_builder_history(answers, around) as history:
        placed = history.choose(choice)
        page = render_record(history, placed)
    from ci_buildx.build.result import write_file

    path = around.cwd / (answers.read_text("output") or f"{placed.ref}.html")
    write_file(path, page, source="--output")
    around.stdout.write(f"{path}\n")
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("history open", "[OPTIONS] [REF]", SUMMARY, examples=EXAMPLES)
    offer_refs(parser)
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser


def render_record(history: BuilderHistory, placed: PlacedRecord) -> str:
    """Return the timeline of a build as a page; secrets of its build arguments are masked."""
    import io

    from ci_buildx.progress.display import open_display
    from ci_buildx.progress.timeline import pages, svg

    end = (placed.completed or time.time_ns()) / 1e9
    shown = open_display(ProgressMode.QUIET, io.StringIO(), env={}, clock=lambda: end, hidden=list_secrets(placed))
    for update in history.find_pod(placed).read_status(placed.ref):
        shown.update(update)
    error = placed.record.error
    report = shown.report(placed.name or placed.ref, failure=error.message.partition("\n")[0] if error else "")
    shown.close()
    caption = svg.TimelineCaption(title=report.title, facts=report.format_facts(), failure=report.failure)
    return pages.render_page(report.timeline, caption)
