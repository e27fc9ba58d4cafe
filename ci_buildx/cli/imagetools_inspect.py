"""``kube-builder imagetools inspect``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli import formatting, registries
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.gotemplate.functions import make_json_function
from ci_buildx.gotemplate.template import GoTemplate
from ci_buildx.imagetools.create import open_store
from ci_buildx.imagetools.inspect import ImageInspection
from ci_buildx.imagetools.kinds import format_platform
from ci_buildx.imagetools.location import ImageLocation, parse_location
from ci_buildx.progress.step import drop_controls
from ci_buildx.settings.option import Option, OptionGroup, OptionKind

SUMMARY = (
    "Shows an image in a registry or an OCI layout (oci-layout://PATH:TAG): its manifest, for all platforms, and with "
    "--format its configs (.Image), provenance (.Provenance) and SBOM (.SBOM). No builder is needed."
)
EXAMPLES = f"""\
examples:
  kube-builder imagetools inspect alpine
  kube-builder imagetools inspect --raw registry.example/team/app:1
  kube-builder imagetools inspect --format '{{{{json .Manifest}}}}' alpine
  kube-builder imagetools inspect \\
    --format '{{{{(index .Image "linux/arm64").Config.Env}}}}' alpine

{EXIT_CODES}"""
OPTIONS = (
    Option(
        name="format",
        flags=("--format",),
        metavar="TEMPLATE",
        group=OptionGroup.DISPLAY,
        default="{{.Manifest}}",
        help="Go template of the output; fields are Name, Manifest, Image, SBOM and Provenance",
    ),
    Option(
        name="raw",
        flags=("--raw",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.DISPLAY,
        help="print the manifest byte by byte as it is stored",
    ),
    *registries.OPTIONS,
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Print the image."""
    answers = ParsedArguments(make_parser().read(argv))
    (name,) = answers.read_texts("name") or [""]
    if not name:
        raise InputError("missing image", fix="name an image, such as alpine:3.22")
    location = parse_location(name, source="NAME", cwd=around.cwd, env=around.env)
    text = answers.read_text("format")
    if text and answers.switch("raw"):
        raise InputError("cannot be combined with --raw", source="--format", fix="set only one")
    template = GoTemplate(text, {"json": make_json_function(indent="  ")}, source="--format") if text else None
    with registries.open_client(answers, around) as client:
        store = open_store(client, location)
        document = store.read_manifest(location.digest or location.tag)
        found = ImageInspection(store, document, name=name)
        if answers.switch("raw"):
            around.write_bytes(document.body)
        elif template is None or template.find_only_field() == "Manifest":
            around.stdout.write(format_inspection(found, location))
        else:
            shown = template.execute(found.make_value())
            around.stdout.write(drop_controls(shown) if around.stdout.isatty() else shown)
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("imagetools inspect", "[OPTIONS] NAME", SUMMARY, examples=EXAMPLES)
    group = parser.add_argument_group("Arguments")
    group.add_argument("name", nargs="?", default="", metavar="NAME", help="the image")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser


def format_inspection(found: ImageInspection, location: ImageLocation) -> str:
    """Format the manifest as buildx 0.38.2 does (``util/imagetools/printers.go``)."""
    descriptor = found.document.descriptor
    head = [["Name:", str(location)], ["MediaType:", descriptor.media_type], ["Digest:", descriptor.digest]]
    text = formatting.align_columns(head)
    if not found.document.is_index:
        return text
    text += "\nManifests:\n"
    rows: list[list[str]] = []
    for number, entry in enumerate(found.index.get("Manifests") or []):
        rows += [["", ""]] if number else []
        rows += [
            ["  Name:", str(location.select_digest(entry["Digest"]))],
            ["  MediaType:", entry.get("MediaType", "")],
        ]
        platform = entry.get("Platform")
        if platform is None:
            continue
        rows += [
            [f"  {name}:", value]
            for name, value in (
                ("Platform", format_platform(platform)),
                ("OSVersion", platform.get("OSVersion", "")),
                ("OSFeatures", ", ".join(platform.get("OSFeatures") or ())),
                ("URLs", ", ".join(entry.get("URLs") or ())),
            )
            if value
        ]
        if notes := entry.get("Annotations"):
            text += formatting.align_columns([*rows, ["  Annotations:", ""]])
            text += formatting.align_columns([[f"    {key}:", value] for key, value in sorted(notes.items())])
            rows = []
    return text + formatting.align_columns(rows)
