"""``kube-builder history rm``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli.history import OPTIONS as SHARED
from ci_buildx.cli.history import open_builder_history
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.history.records import read_choice
from ci_buildx.settings.option import Option, OptionGroup, OptionKind

SUMMARY = "Removes builds from a builder's history, with their logs and attachments. Images and the cache stay."
EXAMPLES = f"""\
examples:
  kube-builder history rm qu2gsuo8ejqrwdfii23xkkckt
  kube-builder history rm --builder kube --all

{EXIT_CODES}"""
OPTIONS = (
    Option(
        name="all",
        flags=("--all",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.BUILDER,
        help="remove all finished builds",
    ),
    *SHARED,
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Remove the records, as buildx 0.38.2 does (``commands/history/rm.go``): nothing is asked or printed."""
    answers = ParsedArguments(make_parser().read(argv))
    texts, everything = answers.read_texts("refs"), answers.switch("all")
    if bool(texts) is everything:
        raise InputError("requires either references or --all", fix="kube-builder history ls lists the references")
    choices = [read_choice(text) for text in texts]
    if any(choice.offset is not None for choice in choices):
        raise InputError("an offset is not accepted here", source="REF", fix="name references of history ls")
    with open_builder_history(answers, around) as history:
        if everything:
            history.delete_all()
        else:
            history.delete([choice.ref for choice in choices])
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("history rm", "[OPTIONS] [REF...]", SUMMARY, examples=EXAMPLES)
    group = parser.add_argument_group("Arguments")
    group.add_argument("refs", nargs="*", default=[], metavar="REF", help="a build's reference")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser
