"""``kube-builder replay snapshot``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from ci_buildx.cli import registries, replay
from ci_buildx.cli.imagetools_create import open_progress
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError, KubeBuilderError
from ci_buildx.fsutil import scratch
from ci_buildx.model.masker import mask_value
from ci_buildx.model.record import replace
from ci_buildx.replay.plan import describe_subject, make_material_plan
from ci_buildx.replay.snapshot import SnapshotTarget, SnapshotWriter, move_layout, write_archive
from ci_buildx.replay.subject import load_predicate
from ci_buildx.settings.attributes import STDOUT
from ci_buildx.settings.contexts import refuse_escape
from ci_buildx.settings.option import Option, OptionGroup, OptionKind
from ci_buildx.settings.syntax import read_boolean, require_boolean
from ci_buildx.settings.values import TypedAttributes

SUMMARY = (
    "Stores what an image was built from in an OCI layout: its provenance and the content of its sources. Images are "
    "copied from their registries; files at URLs are not fetched and must be named with --materials. Repositories are "
    "left out."
)
EXAMPLES = f"""\
examples:
  into a folder
    kube-builder replay snapshot registry.example/team/app:1 -o snapshot/
  with the content of a URL
    kube-builder replay snapshot registry.example/team/app:1 -o type=oci,dest=app.tar \\
      --materials provenance --materials https://example.com/app.tar=/tmp/app.tar

{EXIT_CODES}"""
_VERB = "replay snapshot"
_LAYOUT = "layout"
_NAMES = ("materials", "platforms", "progress")
OPTIONS = (
    *(option for option in replay.SHARED if option.name in _NAMES),
    Option(
        name="include-materials",
        flags=("--include-materials",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.RESULT,
        help="store the content of the sources, too (default: true)",
    ),
    replace(
        replay.OUTPUT,
        help="a folder, - (tar to stdout), or type=oci,dest=FILE[,tar=false]",
        otherwise="-",
    ),
    Option(
        name="dry-run",
        flags=("--dry-run",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.RESULT,
        help="print what would be stored as JSON",
    ),
    *registries.OPTIONS,
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Write the snapshot, or print the plan."""
    answers = ParsedArguments(make_parser().read(argv))
    is_dry = answers.switch("dry-run")
    output = None if is_dry else read_output(answers, around)
    with_content = require_boolean(answers.read_text("include-materials", "true"), source="--include-materials")
    stores = replay.read_materials(answers, around)
    with registries.open_client(answers, around) as client:
        subjects = replay.load_several(answers, around, client)
        targets = [SnapshotTarget(subject=one, predicate=load_predicate(one)) for one in subjects]
        writer = SnapshotWriter(client, stores)
        writer.check_input(targets, materials=with_content and output is not None)
        if output is None:
            plan = mask_value(
                [_make_plan(writer, one, with_content=with_content) for one in targets], around.list_secrets()
            )
            around.stdout.write(f"{json.dumps(plan, indent=2)}\n")
            return 0
        with open_progress(answers, around) as display, display.begin_phase("store sources") as phase:
            writer = SnapshotWriter(client, stores, note=phase.add_output, warn=around.warn)
            write_snapshot(writer, targets, output, around, with_content=with_content)
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    return replay.make_parser(_VERB, SUMMARY, EXAMPLES, OPTIONS)


def read_output(answers: ParsedArguments, around: ProcessContext) -> TypedAttributes:
    """Return where the snapshot goes, as an output of type oci. Raises InputError."""
    texts = answers.read_texts("outputs") or [STDOUT]
    found = replay.parse_only_output(texts, around)
    if found.type == "registry":
        raise InputError("not implemented: snapshot registry output", source="--output", fix="write type=oci,dest=FILE")
    if found.type not in ("tar", "local", "oci"):
        raise InputError(f"unsupported type {found.type!r}", source="--output", fix="write type=oci,dest=FILE")
    replay.check_attributes(found, ("dest", "tar") if found.type == "oci" else ("dest",))
    dest = found.get("dest")
    if dest in ("", STDOUT) and (around.stdout_is_closed or around.stdout.isatty()):
        message = "refusing to write binary snapshot to terminal"
        raise InputError(message, source="--output", fix="name a file or a folder")
    return found


def write_snapshot(
    writer: SnapshotWriter,
    targets: Sequence[SnapshotTarget],
    output: TypedAttributes,
    around: ProcessContext,
    *,
    with_content: bool,
) -> None:
    """Write the snapshot into a folder, or as an archive into a file or to standard output."""
    dest = output.get("dest")
    try:
        if output.type == "local" or read_boolean(output.get("tar") or "true") is False:
            folder = refuse_escape(around.cwd / dest, source="--output", env=around.env)
            _write_folder(writer, targets, folder, with_content=with_content)
            return
        with scratch.open_folder() as made:
            layout = made / _LAYOUT
            writer.write(layout, targets, materials=with_content)
            if dest in ("", STDOUT):
                around.stdout.flush()
                write_archive(layout, around.stdout.buffer)
            else:
                path = refuse_escape(around.cwd / dest, source="--output", env=around.env)
                _write_file(layout, path)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise KubeBuilderError(f"cannot write the snapshot: {error.strerror}") from error


def _write_folder(
    writer: SnapshotWriter, targets: Sequence[SnapshotTarget], folder: Path, *, with_content: bool
) -> None:
    """Add the snapshot to the layout in ``folder`` once it is complete."""
    missing = list(takewhile(lambda one: not one.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        scratch.sweep(folder)
        with scratch.open_folder(folder) as made:
            writer.write(made / _LAYOUT, targets, materials=with_content)
            move_layout(made / _LAYOUT, folder)
    except BaseException:
        with suppress(OSError):  # Another process may write here, too: only empty folders are removed.
            for one in missing:
                one.rmdir()
        raise


def _write_file(layout: Path, path: Path) -> None:
    """Replace a file with the complete archive; a device or a pipe is written in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            write_archive(layout, stream)
        return
    with scratch.open_partial(path) as stream:
        draft = Path(stream.name)
        try:
            write_archive(layout, stream)
            stream.flush()
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _make_plan(writer: SnapshotWriter, target: SnapshotTarget, *, with_content: bool) -> dict[str, Any]:
    materials = [
        make_material_plan(material, target.predicate, included=is_stored, size=size)
        for material, is_stored, size in writer.list_materials(target, materials=with_content)
    ]
    return {"subject": describe_subject(target.subject), "materials": materials}
