"""``kube-builder history logs``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli.history import OPTIONS as SHARED
from ci_buildx.cli.history import offer_refs, open_builder_history, read_only_ref
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.history.inspection import list_secrets
from ci_buildx.progress.display import open_display
from ci_buildx.settings.option import Option, OptionGroup, OptionKind
from ci_buildx.settings.values import ProgressMode

SUMMARY = (
    "Writes the log of a build on standard error, as the build wrote it; of a running build, until it ends. Secrets "
    "that steps printed are not masked: they were masked only in the job's own log."
)
EXAMPLES = f"""\
examples:
  kube-builder history logs --builder kube
  kube-builder history logs --progress rawjson ^1

{EXIT_CODES}"""
_MODES = ("plain", "rawjson", "tty", "auto")
OPTIONS = (
    Option(
        name="progress",
        flags=("--progress",),
        kind=OptionKind.CHOICE,
        choices=_MODES,
        default=_MODES[0],
        group=OptionGroup.DISPLAY,
        help="form of the log",
    ),
    *SHARED,
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Print the log."""
    answers = ParsedArguments(make_parser().read(argv))
    mode = answers.read_choice("progress", _MODES)
    choice = read_only_ref(answers)
    with open_builder_history(answers, around) as history:
        placed = history.choose(choice)
        fitting = ProgressMode.PLAIN if mode == "auto" else ProgressMode(mode)
        shown = open_display(fitting, around.stderr, env=around.env, hidden=list_secrets(placed))
        try:
            for update in history.find_pod(placed).read_status(placed.ref):
                shown.update(update)
        finally:
            shown.close()
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("history logs", "[OPTIONS] [REF]", SUMMARY, examples=EXAMPLES)
    offer_refs(parser)
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser
