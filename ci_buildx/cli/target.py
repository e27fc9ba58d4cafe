"""Which builder a verb is about: what all verbs for builders have in common."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli.answers import ParsedArguments
from ci_buildx.cli.build import merge_variables
from ci_buildx.cli.parser import VerbParser
from ci_buildx.cli.process import ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.manage import target
from ci_buildx.manage.target import BuilderTarget
from ci_buildx.settings import options
from ci_buildx.settings.assembly import make_cluster_settings, read_namespace
from ci_buildx.settings.names import NO_BUILDER, check_builder
from ci_buildx.settings.option import Option, OptionGroup, OptionKind
from ci_buildx.settings.syntax import parse_duration

BUILDER = Option(
    name="builder",
    flags=("--builder",),
    metavar="NAME",
    group=OptionGroup.BUILDER,
    help="the builder, where no name is given",
    otherwise="the one of kube-builder use",
)
NAMESPACE = Option(
    name="namespace",
    flags=("--namespace",),
    metavar="NAME",
    group=OptionGroup.CLUSTER,
    help="where the builder is",
    otherwise="the context's namespace, then wherever it is found",
)
CLUSTER = (options.BY_NAME["kubeconfig"], options.BY_NAME["kube-context"])
TIMEOUT = Option(
    name="timeout",
    flags=("--timeout",),
    metavar="DURATION",
    group=OptionGroup.BUILDER,
    default="20s",
    help="how long to wait for what each pod says",
)
"""As long as buildx 0.38.2 waits (``commands/root.go``)."""
FORCE = Option(
    name="force",
    flags=("-f", "--force"),
    kind=OptionKind.SWITCH,
    group=OptionGroup.BUILDER,
    help="do it without being asked",
)


def make_format_option(*kinds: str) -> Option:
    """The option ``--format``; the first kind is the default."""
    return Option(
        name="format",
        flags=("--format",),
        kind=OptionKind.CHOICE,
        choices=kinds,
        default=kinds[0],
        group=OptionGroup.DISPLAY,
        help="how to print it; json is one object a line",
    )


def offer_names(parser: VerbParser, text: str, *, metavar: str = "NAME", most: str = "?") -> None:
    """Add the positional names of builders."""
    group = parser.add_argument_group("Arguments")
    group.add_argument("names", nargs="*" if most == "*" else "?", default=[], metavar=metavar, help=text)


def offer_hidden(parser: VerbParser, name: str) -> None:
    """Take positional arguments that docker has, so that they can be refused by name."""
    import argparse

    parser.add_argument(name, nargs="*", default=[], help=argparse.SUPPRESS)


def read_place(answers: ParsedArguments, around: ProcessContext) -> BuilderTarget:
    """Cluster and namespace; no name yet."""
    values, sources = merge_variables(answers.select_given("kubeconfig", "kube-context", "namespace"), around.env)
    return BuilderTarget(
        cluster=make_cluster_settings(values, sources, around.env, around.cwd),
        namespace=read_namespace({**values, "driver-opts": []}, sources, around.env, around.cwd),
    )


def read_target(answers: ParsedArguments, around: ProcessContext) -> BuilderTarget:
    """Cluster, namespace and builder: the name, or that of ``--builder``, of its variable, or the current one.

    Raises InputError where none of them names one.
    """
    place = read_place(answers, around)
    named = read_names(answers)
    values, sources = merge_variables(answers.select_given("builder"), around.env)
    wanted = named[0] if named else str(values.get("builder", ""))
    if wanted and wanted != NO_BUILDER:
        name = check_builder(wanted, source="NAME" if named else sources["builder"])
        return BuilderTarget(cluster=place.cluster, namespace=place.namespace, name=name)
    choice = None if wanted else target.read_current(place.cluster, around.env)
    if choice is None:
        raise InputError("no builder is named", fix="write its name, or choose one by kube-builder use NAME")
    return BuilderTarget(cluster=place.cluster, namespace=place.namespace or choice.namespace, name=choice.builder)


def read_names(answers: ParsedArguments) -> Sequence[str]:
    """The positional names, checked."""
    return [check_builder(name, source="NAME") for name in answers.read_texts("names")]


def read_timeout(answers: ParsedArguments) -> float:
    """Seconds of ``--timeout``."""
    return parse_duration(answers.read_text("timeout", TIMEOUT.default), source="--timeout")
