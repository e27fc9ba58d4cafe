"""``kube-builder ls``."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ci_buildx.cli import formatting, target, templates
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.manage import target as manage_target
from ci_buildx.manage.target import CurrentBuilder
from ci_buildx.settings.option import Option, OptionGroup, OptionKind

if TYPE_CHECKING:
    from ci_buildx.manage.survey import BuilderView, ReplicaView

SUMMARY = (
    "Lists the cluster's builders made by create, with their pods and what buildkitd reports in "
    "each pod. A star marks the current builder, and platforms that were set when a node was created."
)
EXAMPLES = f"""\
examples:
  kube-builder ls
  kube-builder ls --format json
  kube-builder ls --format '{{{{.Name}}}}: {{{{.Status}}}}'
  also builders of jobs
    kube-builder ls --all

{EXIT_CODES}"""
DRIVER = "kubernetes"
HEADER = ("NAME/NODE", "DRIVER/ENDPOINT", "STATUS", "BUILDKIT", "PLATFORMS")
FORMATS = ("table", "json")
TITLES = {
    "Name": "NAME/NODE",
    "DriverEndpoint": "DRIVER/ENDPOINT",
    "LastActivity": "LAST ACTIVITY",
    "Status": "STATUS",
    "Buildkit": "BUILDKIT",
    "Platforms": "PLATFORMS",
    "Error": "ERROR",
}
"""Fields of templates, with the titles of their columns (buildx 0.38.2, ``commands/ls.go``)."""
_INDENT = " \\_ "

OPTIONS = (
    Option(
        name="all",
        flags=("-a", "--all"),
        kind=OptionKind.SWITCH,
        group=OptionGroup.BUILDER,
        help="also list builders of jobs",
    ),
    target.TIMEOUT,
    templates.make_option(*FORMATS),
    Option(
        name="no-trunc",
        flags=("--no-trunc",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.DISPLAY,
        help="show all platforms",
    ),
    Option(
        name="namespace",
        flags=("--namespace",),
        metavar="NAME",
        group=OptionGroup.CLUSTER,
        help="list only builders in this namespace",
        otherwise="all namespaces",
    ),
    *target.CLUSTER,
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Print the builders, and warn on stderr about those that did not answer."""
    answers = ParsedArguments(make_parser().read(argv))
    shape = templates.read_format(answers.read_text("format"), FORMATS)
    place, timeout = target.read_place(answers, around), target.read_timeout(answers)
    from ci_buildx.manage import builders

    found = builders.list_builder_views(
        place, env=around.env, timeout=timeout, jobs=answers.switch("all"), warn=around.warn
    )
    chosen = manage_target.read_current(place.cluster, around.env)
    whole = answers.switch("no-trunc")
    if shape.name == templates.JSON:
        around.stdout.writelines(f"{json.dumps(describe_builder(one, chosen))}\n" for one in found)
        return 0
    if shape.template:
        write_template(shape, found, chosen, around, whole=whole)
    else:
        around.stdout.write(format_builders(found, chosen, whole=whole))
    if not shape.is_table:
        return 0
    for line in list_problems(found):
        around.warn(line)
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("ls", "[OPTIONS]", SUMMARY, examples=EXAMPLES)
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser


def format_builders(found: Sequence[BuilderView], chosen: CurrentBuilder | None, *, whole: bool = False) -> str:
    """Format the table of buildx 0.38.2 (``commands/ls.go``)."""
    rows = []
    for one in found:
        mark = "*" if is_current(one, chosen) else ""
        rows.append([f"{one.record.name}{mark}", DRIVER, "error" if one.error and not one.seats else "", "", ""])
        rows += [_format_row(one, seat, whole=whole) for seat in one.seats]
    return formatting.format_table(HEADER, rows)


def write_template(
    shape: templates.OutputFormat,
    found: Sequence[BuilderView],
    chosen: CurrentBuilder | None,
    around: ProcessContext,
    *,
    whole: bool,
) -> None:
    """Print the rows of builders and of their nodes by a template. Raises InputError."""
    from ci_buildx.gotemplate.kinds import TEXT, make_struct

    kind = make_struct("builder", dict.fromkeys(TITLES, TEXT))
    rows = []
    for one in found:
        mark = "*" if shape.is_table and is_current(one, chosen) else ""
        status = "error" if one.error and not one.seats else ""
        rows.append(
            {"Name": f"{one.record.name}{mark}", "DriverEndpoint": DRIVER, "Status": status, "Error": one.error}
        )
        rows += [_make_node_row(one, seat, is_table=shape.is_table, whole=whole) for seat in one.seats]
    shape.write(rows, kind, around, titles=TITLES)


def _make_node_row(found: BuilderView, seat: ReplicaView, *, is_table: bool, whole: bool) -> dict[str, str]:
    indent = _INDENT if is_table else ""
    names = format_platforms(seat)
    return {
        "Name": f"{indent}{seat.name}",
        "DriverEndpoint": f"{indent}{format_endpoint(found, seat)}",
        "Status": seat.status.value,
        "Buildkit": seat.version,
        "Platforms": formatting.shorten_platforms(names) if is_table and not whole else ", ".join(names),
        "Error": seat.error or found.error,
    }


def list_problems(found: Sequence[BuilderView]) -> list[str]:
    """Return the errors of builders and pods, one per line."""
    lines = [
        f"cannot {'query' if one.seats else 'load'} builder {one.record.name}: {one.error}"
        for one in found
        if one.error
    ]
    return lines + [
        f"failed to get status for {one.record.name} ({seat.name}): {seat.error}"
        for one in found
        for seat in one.seats
        if seat.error
    ]


def is_current(found: BuilderView, chosen: CurrentBuilder | None) -> bool:
    """Return whether it is the current builder, which ``use`` chose."""
    here = CurrentBuilder(builder=found.record.name, namespace=found.record.location.namespace)
    return chosen == here


def format_endpoint(found: BuilderView, seat: ReplicaView) -> str:
    """Return a node's endpoint in buildx's form."""
    location = found.record.location
    return f"kubernetes:///{location.name}?deployment={seat.node.name}&namespace={location.namespace}"


def format_platforms(seat: ReplicaView) -> list[str]:
    """Return a pod's platforms, those that the user named first."""
    return formatting.mark_named_platforms(seat.node.named, seat.runs)


def describe_builder(found: BuilderView, chosen: CurrentBuilder | None) -> dict[str, Any]:
    """Return a builder in buildx 0.38.2's JSON form, plus its namespace.

    Source: ``builder/builder.go``, ``builder/node.go``.
    """
    record = found.record
    value: dict[str, Any] = {
        "Name": record.name,
        "Driver": DRIVER,
        "Namespace": record.location.namespace,
        "Lifetime": record.location.lifetime.value,
        "Dynamic": True,
        "Nodes": [_describe_replica(found, seat) for seat in found.seats],
        "Current": is_current(found, chosen),
    }
    return value | ({"Err": found.error} if found.error else {})


def _describe_replica(found: BuilderView, seat: ReplicaView) -> dict[str, Any]:
    value = {
        "Name": seat.name,
        "Node": seat.node.name,
        "Endpoint": format_endpoint(found, seat),
        "Flags": list(seat.node.flags),
        "DriverOpts": dict(seat.node.driver_opts),
        "Files": {
            name: b64encode(text.encode()).decode() for name, text in found.files.get(seat.node.name, {}).items()
        },
        "Status": seat.status.value,
        "Version": seat.version,
        "Err": seat.error,
        "IDs": sorted(worker.id for worker in seat.workers),
        "Platforms": [str(platform) for platform in dict.fromkeys((*seat.node.named, *seat.runs))],
        "GCPolicy": [_describe_policy(asdict(rule)) for rule in (seat.workers[0].gc_policy if seat.workers else ())],
        "Labels": dict(seat.workers[0].labels) if seat.workers else {},
    }
    always = ("Name", "Node", "Endpoint")
    return {name: content for name, content in value.items() if content or name in always}


def _describe_policy(rule: dict[str, Any]) -> dict[str, Any]:
    names = {
        "all": "all",
        "filters": "filter",
        "keep_duration": "keepDuration",
        "reserved_space": "reservedSpace",
        "max_used_space": "maxUsedSpace",
        "min_free_space": "minFreeSpace",
    }
    return {shown: rule[name] for name, shown in names.items()}


def _format_row(found: BuilderView, seat: ReplicaView, *, whole: bool) -> list[str]:
    names = format_platforms(seat)
    shown = ", ".join(names) if whole else formatting.shorten_platforms(names)
    return [f"{_INDENT}{seat.name}", f"{_INDENT}{format_endpoint(found, seat)}", seat.status.value, seat.version, shown]
