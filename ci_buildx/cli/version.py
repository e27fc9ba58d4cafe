"""``kube-builder version``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx import __version__
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import ProcessContext
from ci_buildx.settings.option import Option, OptionGroup, OptionKind

SUMMARY = (
    "Shows the program and its version, as docker buildx version does; kube-builder --version and --format text print "
    "the version alone. With --format json it prints one object on one line: version (kube-builder's), "
    "python (the interpreter's version), platform (this machine's, as OS/ARCH) and image (the BuildKit image of "
    "builders without driver-opts image and rootless). Later versions may add keys, but do not rename or remove these."
)
EXAMPLES = """\
examples:
  kube-builder version
  kube-builder --version
  kube-builder version --format json
"""
# Not target.make_format_option: that module imports what a build needs, which takes 60 ms.
FORMAT = Option(
    name="format",
    flags=("--format",),
    kind=OptionKind.CHOICE,
    choices=("buildx", "text", "json"),
    default="buildx",
    group=OptionGroup.DISPLAY,
    help="output format; buildx is the program's name and the version, text is only the version",
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Print the version: as buildx does, alone for scripts, or with its environment as JSON."""
    answers = ParsedArguments(make_parser().read(argv))
    match answers.read_choice("format", FORMAT.choices):
        case "json":
            import json

            around.stdout.write(f"{json.dumps(describe_version())}\n")
        case "text":
            around.stdout.write(f"{__version__}\n")
        case _:
            around.stdout.write(f"kube-builder v{__version__}\n")
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("version", "[OPTIONS]", SUMMARY, examples=EXAMPLES)
    parser.add_options((FORMAT,))
    parser.offer_help()
    return parser


def describe_version() -> dict[str, str]:
    """Return the version and its environment in JSON form. Scripts read the keys: add some, but keep these."""
    import platform

    from ci_buildx.model.platform import parse_platform
    from ci_buildx.settings.builder import IMAGE

    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": str(parse_platform(f"{platform.system()}/{platform.machine()}")),
        "image": IMAGE,
    }
