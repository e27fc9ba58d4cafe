"""``kube-builder use``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli import target
from ci_buildx.cli.answers import Answers
from ci_buildx.cli.boundary import EXIT_CODES
from ci_buildx.cli.parser import Parser
from ci_buildx.cli.world import World
from ci_buildx.errors import InputError
from ci_buildx.job import current
from ci_buildx.job.target import Target
from ci_buildx.settings.names import NO_BUILDER
from ci_buildx.settings.option import Group, Kind, Option

SUMMARY = (
    "Chooses the current builder: the one that build, inspect, du and the other verbs use where none is named. The "
    "choice is this user's on this machine, for the context of the kubeconfig. "
    "kube-builder use default takes it back: builds make builders of their own again."
)
EXAMPLES = f"""\
examples:
  kube-builder use kube
  kube-builder use default

{EXIT_CODES}"""
OPTIONS = (
    Option(
        name="global",
        flags=("--global",),
        kind=Kind.SWITCH,
        group=Group.BUILDER,
        help="for all contexts of the kubeconfig",
    ),
    Option(
        name="default",
        flags=("--default",),
        kind=Kind.SWITCH,
        group=Group.BUILDER,
        help="for this context: what is done anyway",
    ),
    target.BUILDER,
    target.NAMESPACE,
    *target.CLUSTER,
)


def main(argv: Sequence[str], around: World) -> int:
    """Remember the choice."""
    answers = Answers(make_parser().read(argv))
    everywhere = answers.switch("global")
    if everywhere and answers.switch("default"):
        raise InputError("contradicts --default", source="--global", fix="give one of them")
    names = target.read_names(answers) or [name for name in [answers.text("builder")] if name]
    if not names:
        raise InputError("no builder is named", fix="write kube-builder use NAME; kube-builder ls shows them all")
    place = target.read_place(answers, around)
    if names[0] == NO_BUILDER:
        current.write(None, place.cluster, around.env, everywhere=everywhere)
        return 0
    from ci_buildx.job import upkeep

    wanted = Target(cluster=place.cluster, namespace=place.namespace, name=names[0])
    upkeep.use(wanted, env=around.env, everywhere=everywhere)
    return 0


def make_parser() -> Parser:
    """The parser."""
    parser = Parser("use", "[OPTIONS] NAME", SUMMARY, examples=EXAMPLES)
    target.offer_names(parser, "the builder, or default for none")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser
