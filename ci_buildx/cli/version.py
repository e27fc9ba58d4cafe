"""``kube-builder version``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx import __version__
from ci_buildx.cli.parser import Parser
from ci_buildx.cli.world import World


def main(argv: Sequence[str], around: World) -> int:
    """Print the version alone, for scripts."""
    parser = Parser("version", "", "Shows the version.", examples="example:\n  kube-builder version")
    parser.offer_help()
    parser.read(argv)
    around.stdout.write(f"{__version__}\n")
    return 0
