"""``kube-builder prune``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ci_buildx.cli import du, filters, target, units
from ci_buildx.cli.answers import Answers
from ci_buildx.cli.boundary import EXIT_CODES
from ci_buildx.cli.parser import Parser
from ci_buildx.cli.world import World
from ci_buildx.settings.option import Group, Kind, Option

if TYPE_CHECKING:
    from ci_buildx.job.cache import Usage

SUMMARY = "Clears a builder's cache, in each of its pods: all that no build uses, or what filters and limits say."
EXAMPLES = f"""\
examples:
  kube-builder prune --force --builder kube
  kube-builder prune --force --filter until=48h --max-used-space 20GB kube

{EXIT_CODES}"""


def _limit(name: str, text: str) -> Option:
    return Option(name=name, flags=(f"--{name}",), metavar="SIZE", group=Group.BUILDER, help=text)


LIMITS = (
    _limit("reserved-space", "disk space that the cache may always keep"),
    _limit("max-used-space", "disk space that the cache may keep at most"),
    _limit("min-free-space", "disk space that should be free afterwards"),
)
OPTIONS = (
    Option(
        name="all",
        flags=("-a", "--all"),
        kind=Kind.SWITCH,
        group=Group.BUILDER,
        help="also internal records and images of frontends",
    ),
    filters.OPTION,
    *LIMITS,
    target.FORCE,
    target.TIMEOUT,
    target.BUILDER,
    Option(
        name="verbose", flags=("--verbose",), kind=Kind.SWITCH, group=Group.DISPLAY, help="say all about each record"
    ),
    target.NAMESPACE,
    *target.CLUSTER,
)
_REFUSED = {"--keep-storage": "write --reserved-space"}


def main(argv: Sequence[str], around: World) -> int:
    """Clear it, and show what went."""
    answers = Answers(make_parser().read(argv))
    asked, everything = filters.read(answers.texts("filter")), answers.switch("all")
    sizes = [_size(answers, limit.name) for limit in LIMITS]
    wanted, timeout = target.read_target(answers, around), target.read_timeout(answers)
    what = "all build cache" if everything else "all dangling build cache"
    if not answers.switch("force") and not around.confirm(f"This will remove {what}."):
        return 0
    from ci_buildx.buildkit.messages import PruneRequest
    from ci_buildx.job import cache

    request = PruneRequest(asked.filter, everything, asked.keep_duration, *sizes)
    shown = _Shown(around, verbose=answers.switch("verbose"))
    cache.prune(wanted, request, env=around.env, timeout=timeout, tell=shown.tell)
    shown.end()
    return 0


def make_parser() -> Parser:
    """The parser."""
    parser = Parser("prune", "[OPTIONS] [NAME]", SUMMARY, examples=EXAMPLES, refused=_REFUSED)
    target.offer_names(parser, "the builder")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser


class _Shown:
    """What is cleared, as it goes: lines come from several pods at once."""

    def __init__(self, around: World, *, verbose: bool) -> None:
        from threading import Lock

        self._around = around
        self._verbose = verbose
        self._lock = Lock()
        self._begun = False
        self._total = 0

    def tell(self, one: Usage) -> None:
        """Show one record, which is gone."""
        with self._lock:
            self._total += one.record.size
            self._around.stdout.write(self._text(one))
            self._around.stdout.flush()

    def end(self) -> None:
        """Show what it comes to."""
        self._around.stdout.write(f"Total:  {units.size(self._total)}\n")

    def _text(self, one: Usage) -> str:
        if self._verbose:
            return du.block(one.record, time.time())
        name, reclaimable, size, used = du.row(one.record, time.time())
        line = f"{name:<40}  {reclaimable:<11}  {size:<10}  {used}".rstrip() + "\n"
        header = "" if self._begun else f"{'ID':<40}  {'RECLAIMABLE':<11}  {'SIZE':<10}  LAST ACCESSED\n"
        self._begun = True
        return header + line


def _size(answers: Answers, name: str) -> int:
    text = answers.text(name)
    return units.read_size(text, source=f"--{name}") if text else 0
