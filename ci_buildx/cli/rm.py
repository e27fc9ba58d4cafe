"""``kube-builder rm``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli import target
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.settings.names import NO_BUILDER
from ci_buildx.settings.option import Option, OptionGroup, OptionKind

SUMMARY = (
    "Removes builders with all their objects: those made by create, and those that a build kept. "
    "Volumes are removed as well, except those of nodes with driver-opt reclaim=retain, which are "
    "listed."
)
EXAMPLES = f"""\
examples:
  kube-builder rm kube
  keep the volumes, which a new builder of that name reuses
    kube-builder rm --keep-state kube
  kube-builder rm --all-inactive --force
  kube-builder rm --namespace ci-builds kube-builder-app-1f2e3d4c-x7k2p

{EXIT_CODES}"""
OPTIONS = (
    Option(
        name="keep-state",
        flags=("--keep-state",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.BUILDER,
        help="keep the volumes",
    ),
    Option(
        name="all-inactive",
        flags=("--all-inactive",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.BUILDER,
        help="remove all builders without a running pod, except those of jobs",
    ),
    target.FORCE,
    target.TIMEOUT,
    target.BUILDER,
    target.NAMESPACE,
    *target.CLUSTER,
)
_REFUSED = {"--keep-daemon": "omit it; kube-builder stop stops the pods of a builder and keeps the builder"}
_WARNING = "This will remove all builders that are not in running state."


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Remove the builders; a failure does not stop the others."""
    answers = ParsedArguments(make_parser().read(argv))
    names = list(target.read_names(answers))
    if NO_BUILDER in names:
        message = f"context builder cannot be removed: {NO_BUILDER!r} means no builder"
        raise InputError(message, source="NAME", fix="name a builder; kube-builder ls lists all")
    from ci_buildx.manage import builders

    def report_removal(name: str) -> None:
        around.stdout.write(f"{name} removed\n")

    removal = builders.RemovalRequest(
        keep_state=answers.switch("keep-state"),
        timeout=target.read_timeout(answers),
        say=report_removal,
        tell=lambda kept: around.note(str(kept)),
    )
    if answers.switch("all-inactive"):
        if names:
            raise InputError("cannot be combined with names", source="--all-inactive", fix="omit one")
        place = target.read_place(answers, around)
        if answers.switch("force") or around.confirm(_WARNING):
            builders.remove_inactive_builders(place, removal, env=around.env)
        return 0
    place = target.read_place(answers, around) if names else target.read_target(answers, around)
    builders.remove_builders(place, names or [place.name], removal, env=around.env)
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("rm", "[OPTIONS] [NAME…]", SUMMARY, examples=EXAMPLES, refused=_REFUSED)
    target.offer_names(parser, "the builders", most="*")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser
