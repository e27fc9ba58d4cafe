"""``kube-builder stop``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli import target
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext

SUMMARY = (
    "Stops a builder: its nodes have no pods until the next build. The cluster waits for running "
    "builds to end. The cache is kept if the builder's state has a volume."
)
EXAMPLES = f"""\
examples:
  kube-builder stop kube

{EXIT_CODES}"""
OPTIONS = (target.BUILDER, target.NAMESPACE, *target.CLUSTER)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Scale the builder's nodes to zero."""
    wanted = target.read_target(ParsedArguments(make_parser().read(argv)), around)
    from ci_buildx.manage import builders

    builders.stop_builder(wanted, env=around.env)
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("stop", "[OPTIONS] [NAME]", SUMMARY, examples=EXAMPLES)
    target.offer_names(parser, "the builder")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser
