"""``kube-builder scale``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli import target
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.settings.option import Option, OptionGroup

SUMMARY = "Changes the number of pods of each node of a builder, or of one node."
EXAMPLES = f"""\
examples:
  kube-builder scale --replicas 4 kube
  kube-builder scale --replicas 1 --node builder-arm64 kube

{EXIT_CODES}"""
MOST = 1000
"""Most pods of a node: a larger number is a typing error."""
OPTIONS = (
    Option(
        name="replicas",
        flags=("--replicas",),
        metavar="NUMBER",
        group=OptionGroup.BUILDER,
        help="pods per node; required",
    ),
    Option(
        name="node",
        flags=("--node",),
        metavar="NAME",
        group=OptionGroup.BUILDER,
        help="the node",
        otherwise="all nodes",
    ),
    target.BUILDER,
    target.NAMESPACE,
    *target.CLUSTER,
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Set the number of replicas."""
    answers = ParsedArguments(make_parser().read(argv))
    replicas = answers.number("replicas")
    if replicas is None:
        raise InputError("is required", source="--replicas", fix="set the number of pods per node")
    if replicas > MOST:
        raise InputError(f"{replicas} exceeds the maximum of {MOST}", source="--replicas")
    wanted = target.read_target(answers, around)
    from ci_buildx.manage import builders

    record = builders.scale_builder(wanted, replicas, answers.read_text("node"), env=around.env)
    around.stdout.write(f"{record.name} scaled\n")
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("scale", "[OPTIONS] [NAME]", SUMMARY, examples=EXAMPLES)
    target.offer_names(parser, "the builder")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser
