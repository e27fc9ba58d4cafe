"""``kube-builder stop``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli import target
from ci_buildx.cli.answers import Answers
from ci_buildx.cli.boundary import EXIT_CODES
from ci_buildx.cli.parser import Parser
from ci_buildx.cli.world import World

SUMMARY = (
    "Lets a builder rest: its nodes have no pods until it is used again. Builds under way are waited for by the "
    "cluster. Its cache stays where its state has a volume."
)
EXAMPLES = f"""\
examples:
  kube-builder stop kube

{EXIT_CODES}"""
OPTIONS = (target.BUILDER, target.NAMESPACE, *target.CLUSTER)


def main(argv: Sequence[str], around: World) -> int:
    """Scale its nodes to nothing."""
    wanted = target.read_target(Answers(make_parser().read(argv)), around)
    from ci_buildx.job import upkeep

    upkeep.stop(wanted, env=around.env)
    return 0


def make_parser() -> Parser:
    """The parser."""
    parser = Parser("stop", "[OPTIONS] [NAME]", SUMMARY, examples=EXAMPLES)
    target.offer_names(parser, "the builder")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser
