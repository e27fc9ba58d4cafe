"""``kube-builder rm``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ci_buildx.cli.boundary import EXIT_CODES
from ci_buildx.cli.build import merge
from ci_buildx.cli.parser import Parser
from ci_buildx.cli.world import World
from ci_buildx.errors import InputError
from ci_buildx.settings import options
from ci_buildx.settings.assembly import cluster_from, namespace_from
from ci_buildx.settings.names import check_namespace

SUMMARY = "Removes a builder that kube-builder build --keep left running."
EXAMPLES = f"""\
examples:
  kube-builder rm kube-builder-app-1f2e3d4c-x7k2p
  kube-builder rm --namespace ci-builds kube-builder-app-1f2e3d4c-x7k2p

{EXIT_CODES}"""


def main(argv: Sequence[str], around: World) -> int:
    """Remove the builder and everything that belongs to it."""
    given = make_parser().read(argv)
    name = given.pop("name", "")
    if not isinstance(name, str) or not name:
        raise InputError("no builder is named", fix="write kube-builder rm NAME")
    check_namespace(name, source="NAME")
    values, sources = merge(given, around.env)
    cluster = cluster_from(values, sources, around.env, around.cwd)
    namespace = namespace_from(values, sources, around.env, around.cwd)
    from ci_buildx.job import remove

    remove.run(cluster, name, env=around.env, namespace=namespace)
    around.stdout.write(f"removed {name}\n")
    return 0


def make_parser() -> Parser:
    """The parser: a name, and where to look for it."""
    parser = Parser("rm", "[OPTIONS] NAME", SUMMARY, examples=EXAMPLES)
    parser.add_options([options.BY_NAME["kubeconfig"], options.BY_NAME["kube-context"], options.BY_NAME["oidc"]])
    other = parser.add_argument_group("Other")
    help_of_namespace = "the namespace that the build was given, where it was"
    other.add_argument("--namespace", default=argparse.SUPPRESS, metavar="NAME", help=help_of_namespace)
    other.add_argument("name", nargs="?", default="", metavar="NAME", help="the builder, as the build named it")
    parser.offer_help(other)
    return parser
