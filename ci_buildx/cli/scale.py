"""``kube-builder scale``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli import target
from ci_buildx.cli.answers import Answers
from ci_buildx.cli.boundary import EXIT_CODES
from ci_buildx.cli.parser import Parser
from ci_buildx.cli.world import World
from ci_buildx.errors import InputError
from ci_buildx.settings.option import Group, Option

SUMMARY = "Gives each node of a builder, or one of them, another number of pods."
EXAMPLES = f"""\
examples:
  kube-builder scale --replicas 4 kube
  kube-builder scale --replicas 1 --node builder-arm64 kube

{EXIT_CODES}"""
MOST = 1000
"""Pods of a node: more is a slip."""
OPTIONS = (
    Option(name="replicas", flags=("--replicas",), metavar="NUMBER", group=Group.BUILDER, help="pods of each node"),
    Option(
        name="node",
        flags=("--node",),
        metavar="NAME",
        group=Group.BUILDER,
        help="the node",
        otherwise="all nodes",
    ),
    target.BUILDER,
    target.NAMESPACE,
    *target.CLUSTER,
)


def main(argv: Sequence[str], around: World) -> int:
    """Set the number of replicas."""
    answers = Answers(make_parser().read(argv))
    replicas = answers.number("replicas")
    if replicas is None:
        raise InputError("is not given", source="--replicas", fix="write the number of pods of each node")
    if replicas > MOST:
        raise InputError(f"{replicas} is more than {MOST}", source="--replicas")
    wanted = target.read_target(answers, around)
    from ci_buildx.job import upkeep

    record = upkeep.scale(wanted, replicas, answers.text("node"), env=around.env)
    around.stdout.write(f"{record.name} scaled\n")
    return 0


def make_parser() -> Parser:
    """The parser."""
    parser = Parser("scale", "[OPTIONS] [NAME]", SUMMARY, examples=EXAMPLES)
    target.offer_names(parser, "the builder")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser
