"""``kube-builder history export``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ci_buildx.cli.history import OPTIONS as SHARED
from ci_buildx.cli.history import OUTPUT, offer_refs, open_builder_history, read_refs, refuse_terminal
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError, KubeBuilderError
from ci_buildx.fsutil import scratch
from ci_buildx.history.bundle import ExportedRecord, RecordBundle
from ci_buildx.history.records import PlacedRecord, RecordChoice
from ci_buildx.manage.history import BuilderHistory
from ci_buildx.settings.option import Option, OptionGroup, OptionKind

SUMMARY = (
    "Writes builds of a builder into one .dockerbuild file, which Docker Desktop imports (docker buildx history "
    "import): their records, logs, traces and attestations. The file contains build arguments and whatever steps "
    "printed; keep it as confidential as the log."
)
EXAMPLES = f"""\
examples:
  kube-builder history export --builder kube -o app.dockerbuild
  kube-builder history export --all > builds.dockerbuild

{EXIT_CODES}"""
OPTIONS = (
    Option(
        name="all",
        flags=("--all",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.BUILDER,
        help="export all finished builds",
    ),
    Option(
        name="finalize",
        flags=("--finalize",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.BUILDER,
        help="complete the traces of builds that have just ended",
    ),
    OUTPUT,
    *SHARED,
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Write the archive, with the structure of buildx 0.38.2 (``commands/history/export.go``)."""
    answers = ParsedArguments(make_parser().read(argv))
    choices, everything = read_refs(answers), answers.switch("all")
    if choices and everything:
        raise InputError("cannot be combined with references", source="--all", fix="set only one")
    output = answers.read_text("output")
    if not output:
        refuse_terminal(around)
    with open_builder_history(answers, around) as history:
        if everything:
            found = history.list_records(finished=True)
        else:
            named = (history.list_named(choice, finished=True) for choice in choices or [RecordChoice()])
            found = [one for part in named for one in part]
        if not found:
            raise InputError("no records found", fix="build on this builder first")
        if answers.switch("finalize"):
            found = [one if one.record.trace else history.complete_trace(one) for one in found]
        with _open_output(output, around) as stream:
            RecordBundle().write([_prepare(history, one) for one in found], stream)
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("history export", "[OPTIONS] [REF...]", SUMMARY, examples=EXAMPLES)
    offer_refs(parser, several=True)
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser


def _prepare(history: BuilderHistory, placed: PlacedRecord) -> ExportedRecord:
    pod = history.find_pod(placed)
    return ExportedRecord(record=placed.record, source=pod, platform=pod.platform)


@contextmanager
def _open_output(output: str, around: ProcessContext) -> Iterator[BinaryIO]:
    """Open the file, which replaces an existing one only when it is complete, or standard output."""
    if not output:
        with around.open_binary() as stream:
            yield stream
        return
    path = around.cwd / output
    try:
        stream = scratch.open_partial(path)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}", source="--output") from error
    draft = Path(stream.name)
    try:
        with stream:
            yield stream
        draft.replace(path)
    except OSError as error:
        raise KubeBuilderError(f"--output: cannot write {output}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
