"""``kube-builder dial-stdio``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli import exec as cli_exec
from ci_buildx.cli.parser import VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.settings.values import ProgressMode

SUMMARY = (
    "Connects standard input and output with the builder's buildkitd, for programs that speak its protocol through a "
    "command, until one side ends. The builder must exist."
)
EXAMPLES = f"""\
examples:
  kube-builder dial-stdio kube
  kube-builder dial-stdio --platform linux/arm64 kube

{EXIT_CODES}"""


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Connect and return 0 at the end."""
    settings = cli_exec.read_settings(make_parser().read(argv), around, progress=ProgressMode.QUIET)
    if not settings.builder_name:
        raise InputError("missing builder name", fix="add a name, or select a builder with kube-builder use NAME")
    if around.stdin is None:
        raise InputError("standard input is closed", fix="connect it with a client of BuildKit")
    source, target = around.stdin.fileno(), around.stdout.fileno()
    from ci_buildx.manage import exposure

    return exposure.run_with_builder(
        settings,
        env=around.env,
        display_stream=around.stderr,
        work=lambda run: exposure.connect_standard_streams(run, source, target),
    )


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("dial-stdio", "[OPTIONS] [BUILDER]", SUMMARY, examples=EXAMPLES)
    group = parser.add_argument_group("Arguments")
    group.add_argument("names", nargs="?", metavar="BUILDER", help="the builder")
    parser.add_options(cli_exec.SHARED)
    parser.offer_help()
    return parser
