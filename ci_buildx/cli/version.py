"""``kube-builder version``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx import __version__
from ci_buildx.cli.parser import VerbParser
from ci_buildx.cli.process import ProcessContext


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Print only the version, for scripts."""
    parser = VerbParser("version", "", "Shows the version.", examples="example:\n  kube-builder version")
    parser.offer_help()
    parser.read(argv)
    around.stdout.write(f"{__version__}\n")
    return 0
