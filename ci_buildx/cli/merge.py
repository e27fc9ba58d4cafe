"""``kube-builder merge``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.build.result import write_file
from ci_buildx.ci import digests
from ci_buildx.cli import imagetools_create, registries
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.model.record import replace
from ci_buildx.settings.option import Option, OptionGroup
from ci_buildx.settings.platforms import parse_platforms

SUMMARY = (
    "Merges the images that several jobs pushed by digest into one image for all their platforms, and publishes it "
    "under its names. DIGEST is a digest, a metadata file of kube-builder build or docker buildx, an empty file that "
    "is named after the digest, or a folder with such files."
)
EXAMPLES = f"""\
examples:
  in each job, without a tag
    kube-builder build --platform linux/arm64 --metadata-file arm64.json \\
      -o type=image,name=registry.example/app,push-by-digest=true,push=true .
  in the last job, with all files
    kube-builder merge -t registry.example/app:1 -t registry.example/app:latest \\
      --platform linux/amd64,linux/arm64 amd64.json arm64.json

{EXIT_CODES}"""
_CREATE = {option.name: option for option in imagetools_create.OPTIONS}
FROM = Option(
    name="from",
    flags=("--from",),
    metavar="REPOSITORY",
    group=OptionGroup.IMAGE,
    help="repository that the jobs pushed to",
    otherwise="that of the first --tag",
)
PLATFORMS = replace(
    _CREATE["platforms"], help="fail if this platform is missing, for example because a job did not pass on its digest"
)
ANNOTATIONS = replace(_CREATE["annotations"], metavar="K=V", help="OCI annotation of the merged index")
OPTIONS = (
    _CREATE["tags"],
    FROM,
    PLATFORMS,
    ANNOTATIONS,
    replace(_CREATE["dry-run"], help="print the merged index without publishing it"),
    replace(_CREATE["metadata-file"], help="write the digest and the names to FILE as JSON"),
    *imagetools_create.OPTIONS[list(_CREATE).index("progress") :],
)
SOURCES = {"tags": "--tag", "digests": "DIGEST", "repository": "--from", "annotations": "--annotation"}


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Merge and print the result."""
    answers = ParsedArguments(make_parser().read(argv))
    request = digests.make_request(
        digests.read_digests(answers.read_texts("digests"), source="DIGEST", cwd=around.cwd, env=around.env),
        answers.read_texts("tags"),
        repository=answers.read_text("from"),
        annotations=answers.read_texts("annotations"),
        platforms=parse_platforms(answers.read_texts("platforms"), source="--platform"),
        sources=SOURCES,
    )
    metadata_file = imagetools_create.read_output_path(answers.read_text("metadata-file"), around)
    publishes = not answers.switch("dry-run")
    with (
        registries.open_client(answers, around) as client,
        imagetools_create.open_progress(answers, around) as display,
    ):
        merged = digests.merge_digests(client, request, display, publish=publishes)
    if not publishes:
        around.stdout.write(f"{merged.image.body.decode()}\n")
        return 0
    if metadata_file is not None:
        text = digests.format_metadata(merged)
        write_file(metadata_file, text, source="--metadata-file", fix="the image is published")
    around.stdout.writelines(f"{line}\n" for line in merged.list_lines())
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("merge", "[OPTIONS] DIGEST|FILE|FOLDER…", SUMMARY, examples=EXAMPLES)
    group = parser.add_argument_group("Arguments")
    group.add_argument(
        "digests", nargs="*", default=[], metavar="DIGEST", help="a digest, or a file or folder that contains it"
    )
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser
