"""``kube-builder replay verify``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ci_buildx.build.result import write_file
from ci_buildx.cli import registries, replay
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError, KubeBuilderError
from ci_buildx.fsutil import scratch
from ci_buildx.model.record import replace
from ci_buildx.registry.layouts import LayoutStore
from ci_buildx.replay.compare import CompareMode, compare_images, make_summary
from ci_buildx.replay.request import ReplayRequest
from ci_buildx.replay.subject import SOURCE, ReplaySubject
from ci_buildx.session.oci_layout import list_entries
from ci_buildx.settings.contexts import refuse_escape
from ci_buildx.settings.option import Option, OptionGroup, OptionKind
from ci_buildx.settings.syntax import join_fields

SUMMARY = (
    "Builds an image again and compares the result with it. On a builder with the build's cache, cached steps have "
    "equal results even if they are not reproducible; a new builder runs every step."
)
EXAMPLES = f"""\
examples:
  compare digests
    kube-builder replay verify registry.example/team/app:1
  compare configs and layers, and write a report
    kube-builder replay verify --compare artifact -o type=local,dest=report/ registry.example/team/app:1

{EXIT_CODES}"""
_VERB = "replay verify"
OPTIONS = (
    *replay.SHARED,
    Option(
        name="compare",
        flags=("--compare",),
        kind=OptionKind.CHOICE,
        choices=tuple(CompareMode),
        default=CompareMode.DIGEST,
        group=OptionGroup.RESULT,
        help="artifact reports the differences of config and layers if the manifest's digest is not the same",
    ),
    replace(replay.OUTPUT, metavar="type=local,dest=FOLDER", help="folder for the verification summary and the report"),
    *replay.BUILDING,
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Build the image again and compare it. Raises KubeBuilderError if they differ."""
    answers = ParsedArguments(make_parser().read(argv))
    mode = CompareMode(answers.read_choice("compare", tuple(CompareMode)))
    folder = read_folder(answers, around)
    replay.read_materials(answers, around, verb=_VERB)
    with registries.open_client(answers, around) as client:
        subject = replay.load_only(answers, around, client, verb=_VERB)
        if subject.store is None:
            raise InputError("verify requires an image", source=SOURCE, fix="name the image instead of a file")
        request = replay.make_request(subject, answers, around)
        with scratch.open_folder() as made:
            built = _build(request, made / "layout", answers, around)
            report = None
            is_equal = built["digest"] == subject.digest
            if mode is CompareMode.ARTIFACT:
                report = compare_images(subject.store, subject.descriptor, LayoutStore(made / "layout"), built)
                is_equal = "children" not in report
    summary = make_summary(request.subject, mode, built["digest"], is_equal=is_equal)
    if folder is not None:
        _write_results(folder, summary, report)
    if not is_equal:
        message = f"replay mismatch: verify --compare={mode} failed: {built['digest']} is not {subject.digest}"
        raise KubeBuilderError(message, fix="" if report else "add --compare=artifact -o DIR for the differences")
    _report_success(subject, around)
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    return replay.make_parser(_VERB, SUMMARY, EXAMPLES, OPTIONS)


def read_folder(answers: ParsedArguments, around: ProcessContext) -> Path | None:
    """Return the folder of the results, None without one. Raises InputError."""
    texts = answers.read_texts("outputs")
    if not texts:
        return None
    found = replay.parse_only_output(texts, around)
    if found.type != "local":
        raise InputError(f"unsupported type {found.type!r}", source="--output", fix="write type=local,dest=FOLDER")
    replay.check_attributes(found, ("dest",))
    return refuse_escape(around.cwd / found.get("dest"), source="--output", env=around.env)


def _build(request: ReplayRequest, layout: Path, answers: ParsedArguments, around: ProcessContext) -> dict[str, Any]:
    """Build into a layout and return the descriptor of the image."""
    from ci_buildx.build import run

    known = [option for option in OPTIONS if option.name != "outputs"]
    outputs = [join_fields(("type=oci", f"dest={layout}", "tar=false"))]
    settings = replay.read_settings(request, answers, around, known, {"outputs": outputs})
    run.run_build(settings, env=around.env, display_stream=around.stderr)
    entries = list_entries(layout)
    if not entries:
        raise KubeBuilderError("the replay has no image")
    root = LayoutStore(layout).read_manifest(entries[0]["digest"])
    # The recorded argument BUILDKIT_MULTI_PLATFORM makes an index of a single image.
    return dict(root.entries[0] if root.is_index and root.entries else entries[0])


def _write_results(folder: Path, summary: str, report: object) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KubeBuilderError(f"cannot create {folder}: {error.strerror}") from error
    write_file(folder / "vsa.intoto.jsonl", summary + "\n", source="--output", fix="the comparison is done")
    if report is not None:
        text = json.dumps(report, indent=2)
        write_file(folder / "diff.json", text, source="--output", fix="the comparison is done")


def _report_success(subject: ReplaySubject, around: ProcessContext) -> None:
    around.stdout.write(f"{subject.name}: the replay is equal to {subject.digest}\n")
