"""``kube-builder use``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli import target
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.manage import target as manage_target
from ci_buildx.manage.target import BuilderTarget
from ci_buildx.settings.names import NO_BUILDER
from ci_buildx.settings.option import Option, OptionGroup, OptionKind

SUMMARY = (
    "Selects the current builder, which build, inspect, du and the other verbs use if none is "
    "named. The choice applies to this user on this machine, for the kubeconfig's context. "
    '"kube-builder use default" reverts it: builds create builders of their own again.'
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
        kind=OptionKind.SWITCH,
        group=OptionGroup.BUILDER,
        help="for all contexts of the kubeconfig",
    ),
    Option(
        name="default",
        flags=("--default",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.BUILDER,
        help="for this context only; this is the default",
    ),
    target.BUILDER,
    target.NAMESPACE,
    *target.CLUSTER,
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Save the current builder."""
    answers = ParsedArguments(make_parser().read(argv))
    everywhere = answers.switch("global")
    if everywhere and answers.switch("default"):
        raise InputError("contradicts --default", source="--global", fix="set only one")
    names = target.read_names(answers) or [name for name in [answers.read_text("builder")] if name]
    if not names:
        raise InputError("missing builder name", fix="write kube-builder use NAME; see kube-builder ls")
    place = target.read_place(answers, around)
    if names[0] == NO_BUILDER:
        manage_target.write_current(None, place.cluster, around.env, everywhere=everywhere)
        return 0
    from ci_buildx.manage import builders

    wanted = BuilderTarget(cluster=place.cluster, namespace=place.namespace, name=names[0])
    builders.use_builder(wanted, env=around.env, everywhere=everywhere)
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("use", "[OPTIONS] NAME", SUMMARY, examples=EXAMPLES)
    target.offer_names(parser, "the builder, or default for none")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser
