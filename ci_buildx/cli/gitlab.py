"""``kube-builder gitlab``: the GitLab template's command."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli.parser import VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext

SUMMARY = "Runs the build of the GitLab template, configured by its inputs. --post cleans up."
EXAMPLES = f"""\
examples:
  kube-builder gitlab
  kube-builder gitlab --post

{EXIT_CODES}"""


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Run the build or, with ``--post``, the clean-up."""
    parser = VerbParser("gitlab", "[--post]", SUMMARY, examples=EXAMPLES)
    other = parser.add_argument_group("Other")
    other.add_argument("--post", action="store_true", help="clean up after the build")
    parser.offer_help(other)
    post = bool(parser.read(argv)["post"])
    from ci_buildx.ci.gitlab import job

    return job.main(post=post, env=around.env, cwd=around.cwd, stdout=around.stdout)
