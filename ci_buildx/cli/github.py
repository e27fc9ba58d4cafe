"""``kube-builder github``: the GitHub Action's command."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli.parser import VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError

SUMMARY = (
    "Runs the build of the GitHub Action, configured by its inputs. --setup only starts a builder, --merge merges the "
    "images of other jobs, --bake builds the targets of a definition; --post cleans up."
)
EXAMPLES = f"""\
examples:
  kube-builder github
  kube-builder github --setup
  kube-builder github --merge
  kube-builder github --bake
  kube-builder github --post

{EXIT_CODES}"""


_KINDS = {
    "setup": "only start a builder for later steps",
    "merge": "merge the images that other jobs pushed by digest",
    "bake": "build the targets of a definition",
    "matrix": "output a job matrix of a definition",
    "list-targets": "output the targets of a definition",
    "serve": "serve the sockets of a builder that --setup exposes",
}


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Run the step or, with ``--post``, the clean-up."""
    parser = VerbParser(
        "github", "[--setup|--merge|--bake|--matrix|--list-targets] [--post]", SUMMARY, examples=EXAMPLES
    )
    other = parser.add_argument_group("Other")
    other.add_argument("--post", action="store_true", help="clean up after the build")
    for name, text in _KINDS.items():
        other.add_argument(f"--{name}", action="store_true", help=text)
    parser.offer_help(other)
    given = parser.read(argv)
    if not (around.env.get("GITHUB_ACTIONS") or around.env.get("GITHUB_RUN_ID")):
        fix = "`kube-builder github` runs in a job of GitHub Actions; elsewhere use `kube-builder build`"
        raise InputError("GITHUB_ACTIONS is not set", fix=fix)
    from ci_buildx.ci.github import action

    chosen = [name for name in _KINDS if given[name.replace("-", "_")]]
    if len(chosen) > 1:
        raise InputError(f"--{chosen[0]} and --{chosen[1]} are mutually exclusive")
    return action.main(
        post=bool(given["post"]),
        kind=action.ActionKind(chosen[0] if chosen else ""),
        env=around.env,
        cwd=around.cwd,
        stdout=around.stdout,
    )
