"""``kube-builder ls``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ci_buildx.cli import columns, starred, target
from ci_buildx.cli.answers import Answers
from ci_buildx.cli.boundary import EXIT_CODES
from ci_buildx.cli.parser import Parser
from ci_buildx.cli.world import World
from ci_buildx.job import current
from ci_buildx.job.current import Choice
from ci_buildx.settings.option import Group, Kind, Option

if TYPE_CHECKING:
    from ci_buildx.job.survey import Seat, Surveyed

SUMMARY = (
    "Lists the builders of the cluster, those that create made: their pods, and what buildkitd says in each of them. "
    "A star marks the current builder, and the platforms that were named when a node was made."
)
EXAMPLES = f"""\
examples:
  kube-builder ls
  kube-builder ls --format json
  kube-builder ls --all           (also the builders of jobs)

{EXIT_CODES}"""
DRIVER = "kubernetes"
HEADER = ("NAME/NODE", "DRIVER/ENDPOINT", "STATUS", "BUILDKIT", "PLATFORMS")
_INDENT = " \\_ "


OPTIONS = (
    Option(
        name="all", flags=("-a", "--all"), kind=Kind.SWITCH, group=Group.BUILDER, help="also list the builders of jobs"
    ),
    target.TIMEOUT,
    target.formats("table", "json"),
    Option(name="no-trunc", flags=("--no-trunc",), kind=Kind.SWITCH, group=Group.DISPLAY, help="show every platform"),
    Option(
        name="namespace",
        flags=("--namespace",),
        metavar="NAME",
        group=Group.CLUSTER,
        help="list the builders of this namespace only",
        otherwise="those of all",
    ),
    *target.CLUSTER,
)


def main(argv: Sequence[str], around: World) -> int:
    """List them, and say on stderr what could not be asked."""
    answers = Answers(make_parser().read(argv))
    kind = answers.choice("format", ("table", "json"))
    place, timeout = target.read_place(answers, around), target.read_timeout(answers)
    from ci_buildx.job import upkeep

    found = upkeep.listed(place, env=around.env, timeout=timeout, jobs=answers.switch("all"), warn=around.warn)
    chosen = current.read(place.cluster, around.env)
    if kind == "json":
        around.stdout.writelines(f"{json.dumps(described(one, chosen))}\n" for one in found)
        return 0
    around.stdout.write(table(found, chosen, whole=answers.switch("no-trunc")))
    for line in problems(found):
        around.warn(line)
    return 0


def make_parser() -> Parser:
    """The parser."""
    parser = Parser("ls", "[OPTIONS]", SUMMARY, examples=EXAMPLES)
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser


def table(found: Sequence[Surveyed], chosen: Choice | None, *, whole: bool = False) -> str:
    """The table of buildx 0.38.2 (``commands/ls.go``)."""
    rows = []
    for one in found:
        mark = "*" if is_current(one, chosen) else ""
        rows.append([f"{one.record.name}{mark}", DRIVER, "error" if one.error and not one.seats else "", "", ""])
        rows += [_row(one, seat, whole=whole) for seat in one.seats]
    return columns.table(HEADER, rows)


def problems(found: Sequence[Surveyed]) -> list[str]:
    """What could not be found out, a line each."""
    lines = [
        f"cannot {'ask' if one.seats else 'load'} builder {one.record.name}: {one.error}" for one in found if one.error
    ]
    return lines + [
        f"failed to get status for {one.record.name} ({seat.name}): {seat.error}"
        for one in found
        for seat in one.seats
        if seat.error
    ]


def is_current(found: Surveyed, chosen: Choice | None) -> bool:
    """Whether it is the builder that ``use`` chose."""
    here = Choice(builder=found.record.name, namespace=found.record.location.namespace)
    return chosen == here


def endpoint(found: Surveyed, seat: Seat) -> str:
    """Where a node is, in buildx's form."""
    location = found.record.location
    return f"kubernetes:///{location.name}?deployment={seat.node.name}&namespace={location.namespace}"


def platforms(seat: Seat) -> list[str]:
    """A pod's platforms, those first that the user named."""
    return starred.starred(seat.node.named, seat.runs)


def described(found: Surveyed, chosen: Choice | None) -> dict[str, Any]:
    """A builder as buildx 0.38.2 writes it in JSON (``builder/builder.go``, ``builder/node.go``), and where it is."""
    record = found.record
    value: dict[str, Any] = {
        "Name": record.name,
        "Driver": DRIVER,
        "Namespace": record.location.namespace,
        "Lifetime": record.location.lifetime.value,
        "Dynamic": True,
        "Nodes": [_described(found, seat) for seat in found.seats],
        "Current": is_current(found, chosen),
    }
    return value | ({"Err": found.error} if found.error else {})


def _described(found: Surveyed, seat: Seat) -> dict[str, Any]:
    value = {
        "Name": seat.name,
        "Node": seat.node.name,
        "Endpoint": endpoint(found, seat),
        "Flags": list(seat.node.flags),
        "DriverOpts": dict(seat.node.driver_opts),
        "Status": seat.status.value,
        "Version": seat.version,
        "Err": seat.error,
        "IDs": sorted(worker.id for worker in seat.workers),
        "Platforms": [str(platform) for platform in dict.fromkeys((*seat.node.named, *seat.runs))],
        "GCPolicy": [_policy(asdict(rule)) for rule in (seat.workers[0].gc_policy if seat.workers else ())],
        "Labels": dict(seat.workers[0].labels) if seat.workers else {},
    }
    always = ("Name", "Node", "Endpoint")
    return {name: content for name, content in value.items() if content or name in always}


def _policy(rule: dict[str, Any]) -> dict[str, Any]:
    names = {
        "all": "all",
        "filters": "filter",
        "keep_duration": "keepDuration",
        "reserved_space": "reservedSpace",
        "max_used_space": "maxUsedSpace",
        "min_free_space": "minFreeSpace",
    }
    return {shown: rule[name] for name, shown in names.items()}


def _row(found: Surveyed, seat: Seat, *, whole: bool) -> list[str]:
    names = platforms(seat)
    shown = ", ".join(names) if whole else starred.shortened(names)
    return [f"{_INDENT}{seat.name}", f"{_INDENT}{endpoint(found, seat)}", seat.status.value, seat.version, shown]
