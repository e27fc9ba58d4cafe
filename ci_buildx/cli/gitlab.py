"""``kube-builder gitlab``: the GitLab template's command."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli.parser import VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError

SUMMARY = (
    "Runs the build of the GitLab template, configured by its inputs. --post cleans up; --merge merges the images of "
    "earlier jobs, --bake builds the targets of a definition."
)
EXAMPLES = f"""\
examples:
  kube-builder gitlab
  kube-builder gitlab --post
  kube-builder gitlab --merge
  kube-builder gitlab --bake

{EXIT_CODES}"""


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Run the build, the merge or the bake, or a clean-up."""
    parser = VerbParser("gitlab", "[--merge|--bake] [--post]", SUMMARY, examples=EXAMPLES)
    other = parser.add_argument_group("Other")
    other.add_argument("--post", action="store_true", help="clean up after the build")
    other.add_argument("--merge", action="store_true", help="merge the images that earlier jobs pushed by digest")
    other.add_argument("--bake", action="store_true", help="build the targets of a definition")
    parser.offer_help(other)
    given = parser.read(argv)
    if given["merge"] and given["bake"]:
        raise InputError("--merge and --bake are mutually exclusive")
    if given["bake"]:
        from ci_buildx.ci.gitlab import bake

        return bake.main(post=bool(given["post"]), env=around.env, cwd=around.cwd, stdout=around.stdout)
    if given["merge"]:
        from ci_buildx.ci.gitlab import merge

        return merge.main(post=bool(given["post"]), env=around.env, cwd=around.cwd, stdout=around.stdout)
    from ci_buildx.ci.gitlab import job

    return job.main(post=bool(given["post"]), env=around.env, cwd=around.cwd, stdout=around.stdout)
