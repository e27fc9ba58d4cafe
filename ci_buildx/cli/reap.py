"""``kube-builder reap``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli.build import merge_variables
from ci_buildx.cli.parser import VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.settings import options
from ci_buildx.settings.assembly import make_cluster_settings
from ci_buildx.settings.names import check_namespace

SUMMARY = (
    "Deletes leftovers of killed jobs: builders that are past their lifetime, and those whose job has not renewed its "
    "Lease for 5 minutes, after a second look. Touches only builders of jobs with kube-builder's labels. In the named "
    "namespaces, also removes idle pods of builders with a range of replicas. Run it manually or as a CronJob."
)
EXAMPLES = f"""\
examples:
  kube-builder reap
  kube-builder reap --dry-run
  also expired builders in an existing namespace
    kube-builder reap ci-builds

{EXIT_CODES}"""


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Remove expired builders and print their names, one per line."""
    given = make_parser().read(argv)
    dry_run = bool(given.pop("dry-run"))
    names = given.pop("namespaces")
    namespaces = [check_namespace(name, source="NAMESPACE") for name in names] if isinstance(names, list) else []
    cluster = make_cluster_settings(*merge_variables(given, around.env), around.env, around.cwd)
    from ci_buildx.manage import reap

    verb = "expired" if dry_run else "removed"
    found = reap.run_reap(cluster, env=around.env, namespaces=tuple(namespaces), dry_run=dry_run, warn=around.warn)
    around.stdout.writelines(f"{verb} {name}\n" for name in found)
    if dry_run and not found:
        around.stderr.write("nothing has expired\n")
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("reap", "[OPTIONS] [NAMESPACE…]", SUMMARY, examples=EXAMPLES)
    parser.add_argument_group("Arguments").add_argument(
        "namespaces", nargs="*", metavar="NAMESPACE", help="also look for expired builders and idle pods here"
    )
    parser.add_options([options.BY_NAME["kubeconfig"], options.BY_NAME["kube-context"], options.BY_NAME["oidc"]])
    other = parser.add_argument_group("Other")
    other.add_argument(
        "--dry-run", dest="dry-run", action="store_true", help="print what would be removed, and remove nothing"
    )
    parser.offer_help(other)
    return parser
