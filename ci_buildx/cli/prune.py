"""``kube-builder prune``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ci_buildx.cli import du, formatting, target
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.settings.option import Option, OptionGroup, OptionKind

if TYPE_CHECKING:
    from ci_buildx.manage.survey import CacheUsage

SUMMARY = "Clears a builder's cache in each of its pods: all unused records, or those that filters and limits select."
EXAMPLES = f"""\
examples:
  kube-builder prune --force --builder kube
  kube-builder prune --force --filter until=48h --max-used-space 20GB kube

{EXIT_CODES}"""


def _add_limit(name: str, text: str) -> Option:
    return Option(name=name, flags=(f"--{name}",), metavar="SIZE", group=OptionGroup.BUILDER, help=text)


LIMITS = (
    _add_limit("reserved-space", "disk space that the cache may always keep, such as 10GB"),
    _add_limit("max-used-space", "maximum disk space of the cache"),
    _add_limit("min-free-space", "disk space that should be free afterwards"),
)
OPTIONS = (
    Option(
        name="all",
        flags=("-a", "--all"),
        kind=OptionKind.SWITCH,
        group=OptionGroup.BUILDER,
        help="also remove internal records and images of frontends",
    ),
    du.OPTION,
    *LIMITS,
    target.FORCE,
    target.TIMEOUT,
    target.BUILDER,
    Option(
        name="verbose",
        flags=("--verbose",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.DISPLAY,
        help="print all fields of each record",
    ),
    target.NAMESPACE,
    *target.CLUSTER,
)
_REFUSED = {"--keep-storage": "use --reserved-space"}


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Clear the cache and print the removed records."""
    answers = ParsedArguments(make_parser().read(argv))
    asked, everything = du.read_filters(answers.read_texts("filter")), answers.switch("all")
    sizes = [_read_size(answers, limit.name) for limit in LIMITS]
    wanted, timeout = target.read_target(answers, around), target.read_timeout(answers)
    what = "all build cache" if everything else "all dangling build cache"
    if not answers.switch("force") and not around.confirm(f"This will remove {what}."):
        return 0
    from ci_buildx.buildkit.messages import PruneRequest
    from ci_buildx.manage import survey

    request = PruneRequest(asked.filter, everything, asked.keep_duration, *sizes)
    shown = _PruneOutput(around, verbose=answers.switch("verbose"))
    survey.prune_caches(wanted, request, env=around.env, timeout=timeout, tell=shown.tell)
    shown.end()
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("prune", "[OPTIONS] [NAME]", SUMMARY, examples=EXAMPLES, refused=_REFUSED)
    target.offer_names(parser, "the builder")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser


class _PruneOutput:
    """Prints removed records as they arrive, from several pods at once."""

    def __init__(self, around: ProcessContext, *, verbose: bool) -> None:
        from threading import Lock

        self._around = around
        self._verbose = verbose
        self._lock = Lock()
        self._begun = False
        self._total = 0

    def tell(self, one: CacheUsage) -> None:
        """Print one removed record."""
        with self._lock:
            self._total += one.record.size
            self._around.stdout.write(self._format_records(one))
            self._around.stdout.flush()

    def end(self) -> None:
        """Print the total."""
        self._around.stdout.write(f"Total:  {formatting.format_size(self._total)}\n")

    def _format_records(self, one: CacheUsage) -> str:
        if self._verbose:
            return du.format_block(one.record, time.time())
        name, reclaimable, size, used = du.format_row(one.record, time.time())
        line = f"{name:<40}  {reclaimable:<11}  {size:<10}  {used}".rstrip() + "\n"
        header = "" if self._begun else f"{'ID':<40}  {'RECLAIMABLE':<11}  {'SIZE':<10}  LAST ACCESSED\n"
        self._begun = True
        return header + line


def _read_size(answers: ParsedArguments, name: str) -> int:
    text = answers.read_text(name)
    return formatting.read_size(text, source=f"--{name}") if text else 0
