"""Options that select a builder, shared by all verbs for builders."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli.build import merge_variables
from ci_buildx.cli.parser import ParsedArguments, VerbParser
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
    help="the builder, if NAME is not given",
    otherwise="the one selected by kube-builder use",
)
NAMESPACE = Option(
    name="namespace",
    flags=("--namespace",),
    metavar="NAME",
    group=OptionGroup.CLUSTER,
    help="namespace of the builder",
    otherwise="the context's namespace, else any that has the builder",
)
CLUSTER = (options.BY_NAME["kubeconfig"], options.BY_NAME["kube-context"])
TIMEOUT = Option(
    name="timeout",
    flags=("--timeout",),
    metavar="DURATION",
    group=OptionGroup.BUILDER,
    default="20s",
    help="time to wait for each pod's answer",
)
"""Same as buildx 0.38.2's (``commands/root.go``)."""
FORCE = Option(
    name="force",
    flags=("-f", "--force"),
    kind=OptionKind.SWITCH,
    group=OptionGroup.BUILDER,
    help="do not ask for confirmation",
)


def make_format_option(*kinds: str) -> Option:
    """Make the option ``--format``; the first kind is the default."""
    return Option(
        name="format",
        flags=("--format",),
        kind=OptionKind.CHOICE,
        choices=kinds,
        default=kinds[0],
        group=OptionGroup.DISPLAY,
        help="output format; json is one object per line",
    )


def offer_names(parser: VerbParser, text: str, *, metavar: str = "NAME", most: str = "?") -> None:
    """Add positional names of builders."""
    group = parser.add_argument_group("Arguments")
    group.add_argument("names", nargs="*" if most == "*" else "?", default=[], metavar=metavar, help=text)


def offer_hidden(parser: VerbParser, name: str) -> None:
    """Accept a hidden positional argument of docker's, so that it can be refused with a clear error."""
    import argparse

    parser.add_argument(name, nargs="*", default=[], help=argparse.SUPPRESS)


def read_place(answers: ParsedArguments, around: ProcessContext) -> BuilderTarget:
    """Read cluster and namespace, without a builder's name."""
    values, sources = merge_variables(answers.select_given("kubeconfig", "kube-context", "namespace"), around.env)
    return BuilderTarget(
        cluster=make_cluster_settings(values, sources, around.env, around.cwd),
        namespace=read_namespace({**values, "driver-opts": []}, sources, around.env, around.cwd),
    )


def read_target(answers: ParsedArguments, around: ProcessContext) -> BuilderTarget:
    """Read cluster, namespace and builder.

    The builder is the positional name, else that of ``--builder``, else of its variable, else the current one. Raises
    InputError if none is named.
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
        raise InputError("missing builder name", fix="add a name, or select a builder with kube-builder use NAME")
    return BuilderTarget(cluster=place.cluster, namespace=place.namespace or choice.namespace, name=choice.builder)


def read_names(answers: ParsedArguments) -> Sequence[str]:
    """Return the positional names. Raises InputError for an invalid one."""
    return [check_builder(name, source="NAME") for name in answers.read_texts("names")]


def read_timeout(answers: ParsedArguments) -> float:
    """Return ``--timeout`` in seconds."""
    return parse_duration(answers.read_text("timeout", TIMEOUT.default), source="--timeout")
