"""``kube-builder imagetools create``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ci_buildx.build.result import write_file
from ci_buildx.cli import registries
from ci_buildx.cli.build import merge_variables
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.imagetools.combine import CombinedImage, check_annotations
from ci_buildx.imagetools.create import ImageRequest, combine_image, publish_image
from ci_buildx.imagetools.kinds import encode_descriptor
from ci_buildx.imagetools.location import ImageLocation, parse_location
from ci_buildx.imagetools.sources import ImageSource, parse_index_annotations, parse_source
from ci_buildx.model.record import replace
from ci_buildx.settings import options
from ci_buildx.settings.contexts import refuse_escape
from ci_buildx.settings.option import Option, OptionGroup, OptionKind
from ci_buildx.settings.platforms import parse_platforms
from ci_buildx.settings.syntax import require_boolean
from ci_buildx.settings.values import ProgressMode

if TYPE_CHECKING:
    from ci_buildx.progress.display import BuildDisplay

SUMMARY = (
    "Makes a new image from existing ones: merges images of several platforms under one name, tags or copies an image, "
    "within a registry or between registries and OCI layouts (oci-layout://PATH:TAG). Attestations and signatures "
    "stay with their images. A source is a reference, a digest in the repository of --tag, or the JSON of a "
    "descriptor. No builder is needed."
)
EXAMPLES = f"""\
examples:
  one image from two
    kube-builder imagetools create -t registry.example/team/app:1 \\
      registry.example/team/app:1-amd64 registry.example/team/app:1-arm64
  another tag, in another registry
    kube-builder imagetools create -t other.example/app:1 registry.example/team/app:1
  add a platform to an image
    kube-builder imagetools create --append -t registry.example/team/app:1 SOURCE

{EXIT_CODES}"""
OPTIONS = (
    replace(options.BY_NAME["tags"], kind=OptionKind.LINES, help="name of the new image"),
    Option(
        name="files",
        flags=("-f", "--file"),
        kind=OptionKind.LINES,
        metavar="FILE",
        group=OptionGroup.IMAGE,
        help="read a source from a file: a descriptor, a digest or a reference",
    ),
    replace(
        options.BY_NAME["platforms"],
        flags=("-p", "--platform"),
        kind=OptionKind.LINES,
        otherwise="",
        help="keep only these platforms, with their attestations",
    ),
    replace(
        options.BY_NAME["annotations"],
        metavar="TARGET:K=V",
        help="OCI annotation; TARGET is index, manifest-descriptor or manifest-descriptor[linux/amd64]",
    ),
    Option(
        name="append",
        flags=("--append",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.IMAGE,
        help="add the sources to the image that the first --tag names now",
    ),
    Option(
        name="prefer-index",
        flags=("--prefer-index",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.IMAGE,
        help="make an index even of a single manifest; --prefer-index=false copies it unchanged (default: true)",
    ),
    Option(
        name="dry-run",
        flags=("--dry-run",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.RESULT,
        help="print the new image's index without publishing it",
    ),
    replace(options.BY_NAME["metadata-file"], help="write the new image's descriptor and names to FILE as JSON"),
    options.BY_NAME["progress"],
    *registries.OPTIONS,
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Make the image."""
    answers = ParsedArguments(make_parser().read(argv))
    request = read_request(answers, around)
    metadata_file = read_output_path(answers.read_text("metadata-file"), around)
    if not request.targets and not answers.switch("dry-run"):
        raise InputError("missing name of the new image", fix="add --tag, or --dry-run to publish nothing")
    with registries.open_client(answers, around) as client:
        image = combine_image(client, request)
        if warning := check_annotations(image):
            around.warn(warning)
        if answers.switch("dry-run"):
            around.stdout.write(f"{image.body.decode()}\n")
            return 0
        with open_progress(answers, around) as display:
            publish_image(client, image, request.targets, display)
    if metadata_file is not None:
        write_metadata(metadata_file, image, request.targets)
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("imagetools create", "[OPTIONS] [SOURCE…]", SUMMARY, examples=EXAMPLES)
    group = parser.add_argument_group("Arguments")
    group.add_argument("sources", nargs="*", default=[], metavar="SOURCE", help="an image, a digest or a descriptor")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser


def read_request(answers: ParsedArguments, around: ProcessContext) -> ImageRequest:
    """Read what to make. Raises InputError."""
    targets = tuple(
        parse_location(one, source="--tag", cwd=around.cwd, env=around.env) for one in answers.read_texts("tags")
    )
    sources = [_read_file(one, around) for one in answers.read_texts("files")]
    sources += [
        parse_source(one, source="SOURCE", cwd=around.cwd, env=around.env) for one in answers.read_texts("sources")
    ]
    if not sources:
        raise InputError("missing sources", fix="name the images to combine")
    if answers.switch("append") and targets:
        sources.insert(0, ImageSource(text=str(targets[0]), location=targets[0]))
    return ImageRequest(
        sources=tuple(sources),
        targets=targets,
        annotations=parse_index_annotations(answers.read_texts("annotations"), source="--annotation"),
        prefer_index=require_boolean(answers.read_text("prefer-index", "true"), source="--prefer-index"),
        platforms=parse_platforms(answers.read_texts("platforms"), source="--platform"),
    )


def _read_file(name: str, around: ProcessContext) -> ImageSource:
    path = refuse_escape(around.cwd / name, source="--file", env=around.env)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"cannot read {name!r}: {reason}", source="--file") from error
    return parse_source(text, source=f"--file {name}", cwd=around.cwd, env=around.env)


def read_output_path(text: str, around: ProcessContext) -> Path | None:
    """Return the path of ``--metadata-file``, None without one. Raises InputError if links lead out of the job."""
    return refuse_escape(around.cwd / text, source="--metadata-file", env=around.env) if text else None


@contextmanager
def open_progress(answers: ParsedArguments, around: ProcessContext) -> Iterator[BuildDisplay]:
    """Yield the display of ``--progress`` on standard error. Raises InputError for an unknown mode."""
    from ci_buildx.model import masker
    from ci_buildx.progress.display import open_display

    values, sources = merge_variables(answers.select_given("progress"), around.env)
    text = str(values.get("progress") or ProgressMode.AUTO)
    if text not in tuple(ProgressMode):
        raise InputError(f"unknown value {text!r}", source=sources["progress"], fix=f"known: {', '.join(ProgressMode)}")
    hidden = masker.list_process_secrets(around.env, around.argv)
    display = open_display(ProgressMode(text), around.stderr, env=around.env, hidden=hidden)
    try:
        yield display
    except BaseException as error:
        display.close(error)
        raise
    display.close()


def write_metadata(path: Path, image: CombinedImage, targets: Sequence[ImageLocation]) -> None:
    """Write the keys that buildx 0.38.2 writes (``commands/imagetools/create.go``)."""
    names = sorted({one.name for one in targets})
    content = {
        "containerimage.descriptor": encode_descriptor(image.descriptor),
        "image.name": ",".join(names),
    }
    write_file(path, json.dumps(content, indent=2), source="--metadata-file", fix="the image is published")
