"""``kube-builder action``: the GitHub Action's command."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli.parser import VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext

SUMMARY = "Builds what the inputs of the GitHub Action say; with --setup only makes a builder, with --post cleans up."
EXAMPLES = f"""\
examples:
  kube-builder action
  kube-builder action --setup
  kube-builder action --post

{EXIT_CODES}"""


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Run the step or, with ``--post``, the clean-up."""
    parser = VerbParser("action", "[--setup] [--post]", SUMMARY, examples=EXAMPLES)
    other = parser.add_argument_group("Other")
    other.add_argument("--post", action="store_true", help="clean up what the build left")
    other.add_argument("--setup", action="store_true", help="make a builder for later steps, and build nothing")
    parser.offer_help(other)
    given = parser.read(argv)
    from ci_buildx.ci.github import action

    return action.main(
        post=bool(given["post"]),
        alone=bool(given["setup"]),
        env=around.env,
        cwd=around.cwd,
        stdout=around.stdout,
    )
