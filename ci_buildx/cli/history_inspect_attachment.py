"""``kube-builder history inspect attachment``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli.history import OPTIONS as SHARED
from ci_buildx.cli.history import open_builder_history
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.history.attachments import TYPES, choose_attachment
from ci_buildx.history.records import read_choice
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.settings.option import Option, OptionGroup

SUMMARY = (
    "Writes one attachment of a build, byte by byte: its provenance, its SBOM, or the manifest or config of an image "
    "that is in the builder. history inspect lists the attachments."
)
EXAMPLES = f"""\
examples:
  kube-builder history inspect attachment --type provenance
  kube-builder history inspect attachment \\
    --type sbom --platform linux/arm64 ^1

{EXIT_CODES}"""
OPTIONS = (
    Option(
        name="type",
        flags=("--type",),
        metavar="TYPE",
        group=OptionGroup.BUILDER,
        help=f"{', '.join(TYPES)}, a predicate type or a media type",
    ),
    Option(
        name="platform",
        flags=("--platform",),
        metavar="PLATFORM",
        group=OptionGroup.BUILDER,
        help="the platform that the attachment belongs to",
    ),
    *SHARED,
)
_DIGEST = compile_lazily(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Write the attachment, as buildx 0.38.2 does (``commands/history/inspect_attachment.go``)."""
    answers = ParsedArguments(make_parser().read(argv))
    kind, platform = answers.read_text("type"), answers.read_text("platform")
    ref, digest, *surplus = [*answers.read_texts("refs"), "", ""]
    if any(surplus):
        raise InputError(f"unexpected argument {surplus[0]!r}", fix="name at most REF and DIGEST")
    if digest and not _DIGEST.fullmatch(digest):
        raise InputError(f"{digest!r} is not a digest", source="DIGEST", fix="copy one from history inspect")
    if not (digest or kind or platform):
        raise InputError("missing attachment", fix="add --type, --platform or DIGEST")
    with open_builder_history(answers, around) as history:
        placed = history.choose(read_choice(ref))
        if not digest:
            found = choose_attachment(history.list_attachments(placed), wanted=kind, platform=platform)
            if found is None:
                fix = "kube-builder history inspect lists the attachments"
                raise InputError(f"no matching attachment found for ref {placed.ref!r}", fix=fix)
            digest = found.blob.digest
        for piece in history.find_pod(placed).read_pieces(digest):
            around.write_bytes(piece)
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("history inspect attachment", "[OPTIONS] [REF [DIGEST]]", SUMMARY, examples=EXAMPLES)
    group = parser.add_argument_group("Arguments")
    about = "a build's reference, builder/node/reference, or ^N, and an attachment's digest (default: the newest build)"
    group.add_argument("refs", nargs="*", default=[], metavar="REF", help=about)
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser
