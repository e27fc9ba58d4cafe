"""``kube-builder github``: the GitHub Action's command."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli.parser import VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError

SUMMARY = (
    "Runs the build of the GitHub Action, configured by its inputs. --setup only starts a builder, --merge merges the "
    "images of other jobs; --post cleans up."
)
EXAMPLES = f"""\
examples:
  kube-builder github
  kube-builder github --setup
  kube-builder github --merge
  kube-builder github --post

{EXIT_CODES}"""


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Run the step or, with ``--post``, the clean-up."""
    parser = VerbParser("github", "[--setup] [--merge] [--post]", SUMMARY, examples=EXAMPLES)
    other = parser.add_argument_group("Other")
    other.add_argument("--post", action="store_true", help="clean up after the build")
    other.add_argument("--setup", action="store_true", help="only start a builder for later steps")
    other.add_argument("--merge", action="store_true", help="merge the images that other jobs pushed by digest")
    parser.offer_help(other)
    given = parser.read(argv)
    if not (around.env.get("GITHUB_ACTIONS") or around.env.get("GITHUB_RUN_ID")):
        fix = "`kube-builder github` runs in a job of GitHub Actions; elsewhere use `kube-builder build`"
        raise InputError("GITHUB_ACTIONS is not set", fix=fix)
    from ci_buildx.ci.github import action

    return action.main(
        post=bool(given["post"]),
        alone=bool(given["setup"]),
        merges=bool(given["merge"]),
        env=around.env,
        cwd=around.cwd,
        stdout=around.stdout,
    )
