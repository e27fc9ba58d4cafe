"""``kube-builder migrate``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ci_buildx.cli.arguments import STDIN
from ci_buildx.cli.parser import VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError

SUMMARY = (
    "Prints the kube-builder step that replaces the steps of a GitHub workflow that use docker's actions: login, "
    "setup-qemu, setup-buildx, metadata and build-push. Comments list what was converted and what is left to do. "
    "No file is changed."
)
EXAMPLES = f"""\
examples:
  kube-builder migrate .github/workflows/image.yml

{EXIT_CODES}"""


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Print the new steps."""
    parser = VerbParser("migrate", "WORKFLOW.yml", SUMMARY, examples=EXAMPLES)
    parser.add_argument_group("Arguments").add_argument(
        "file", nargs="?", metavar="WORKFLOW.yml", help="the workflow, or - for stdin"
    )
    parser.offer_help()
    file = str(parser.read(argv).get("file") or "")
    if not file:
        raise InputError("missing workflow", fix="name a file of .github/workflows")
    from ci_buildx.ci.github import migrate

    around.stdout.write(migrate.migrate_workflow(_read_workflow(file, around), source=file))
    return 0


def _read_workflow(file: str, around: ProcessContext) -> str:
    if file == STDIN:
        return sys.stdin.read()
    try:
        return (around.cwd / file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"cannot be read: {reason}", source=file) from error
