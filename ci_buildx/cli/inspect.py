"""``kube-builder inspect``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ci_buildx.cli import columns, ls, target, units
from ci_buildx.cli.answers import Answers
from ci_buildx.cli.boundary import EXIT_CODES
from ci_buildx.cli.parser import Parser
from ci_buildx.cli.world import World
from ci_buildx.job import current
from ci_buildx.settings.option import Group, Kind, Option

if TYPE_CHECKING:
    from ci_buildx.buildkit.messages import GcPolicy, Worker
    from ci_buildx.job.survey import Seat, Surveyed

SUMMARY = "Shows one builder: where it is, when its certificates end, and what buildkitd says in each of its pods."
EXAMPLES = f"""\
examples:
  kube-builder inspect kube
  kube-builder inspect --bootstrap kube

{EXIT_CODES}"""
OPTIONS = (
    Option(
        name="bootstrap",
        flags=("--bootstrap",),
        kind=Kind.SWITCH,
        group=Group.BUILDER,
        help="start it where it is stopped, and wait until it is up",
    ),
    target.TIMEOUT,
    target.BUILDER,
    target.formats("table", "json"),
    target.NAMESPACE,
    *target.CLUSTER,
)
_DAY = 86400


def main(argv: Sequence[str], around: World) -> int:
    """Show it."""
    answers = Answers(make_parser().read(argv))
    kind = answers.choice("format", ("table", "json"))
    wanted, timeout = target.read_target(answers, around), target.read_timeout(answers)
    from ci_buildx.job import upkeep

    found, ends = upkeep.inspected(
        wanted,
        env=around.env,
        timeout=timeout,
        bootstrap=answers.switch("bootstrap"),
        display_stream=around.stderr,
    )
    if kind == "json":
        import json

        value = ls.described(found, current.read(wanted.cluster, around.env)) | {"CertificatesExpire": moment(ends)}
        around.stdout.write(f"{json.dumps(value)}\n")
    else:
        around.stdout.write(columns.align(rows(found, ends, time.time())))
    return 0


def make_parser() -> Parser:
    """The parser."""
    parser = Parser("inspect", "[OPTIONS] [NAME]", SUMMARY, examples=EXAMPLES)
    target.offer_names(parser, "the builder")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser


def moment(seconds: float) -> str:
    """A time as RFC 3339 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def rows(found: Surveyed, ends: float, now: float) -> list[list[str]]:
    """The lines of buildx 0.38.2 (``commands/inspect.go``), and where the builder is and how long its keys are good."""
    location = found.record.location
    days = int((ends - now) / _DAY)
    left = f"{days} days left" if days >= 0 else "expired: kube-builder stop renews them"
    made = [
        ["Name:", location.name],
        ["Driver:", ls.DRIVER],
        ["Namespace:", location.namespace],
        ["Certificates:", f"until {moment(ends)} ({left})"],
    ]
    if found.error:
        return [*made, ["Error:", found.error]]
    made += [[], ["Nodes:"]]
    for index, seat in enumerate(found.seats):
        made += [[]] if index else []
        made += _seat(found, seat)
    return made


def _seat(found: Surveyed, seat: Seat) -> list[list[str]]:
    options = " ".join(f'{name}="{value}"' for name, value in sorted(seat.node.driver_opts.items()))
    lines = {
        "Name:": seat.name,
        "Endpoint:": ls.endpoint(found, seat),
        "Driver Options:": options,
        "Host:": seat.pod.host if seat.pod else "",
        "Error:": seat.error,
        "Status:": "" if seat.error else seat.status.value,
        "BuildKit daemon flags:": " ".join(seat.node.flags),
        "BuildKit version:": seat.version,
        "Platforms:": ", ".join(ls.platforms(seat)),
    }
    shown = [[name, value] for name, value in lines.items() if value]
    return [*shown, *_worker(seat.workers[0])] if seat.workers else shown


def _worker(worker: Worker) -> list[list[str]]:
    lines = [["Labels:"]] if worker.labels else []
    lines += [["", f"{name}:", worker.labels[name]] for name in sorted(worker.labels)]
    for number, rule in enumerate(worker.gc_policy):
        lines += [[f"GC Policy rule#{number}:"], *_rule(rule)]
    return lines


def _rule(rule: GcPolicy) -> list[list[str]]:
    lines = {
        "All:": str(rule.all).lower(),
        "Filters:": " ".join(rule.filters),
        "Keep Duration:": units.go_duration(rule.keep_duration) if rule.keep_duration > 0 else "",
        "Reserved Space:": units.binary_size(rule.reserved_space) if rule.reserved_space > 0 else "",
        "Max Used Space:": units.binary_size(rule.max_used_space) if rule.max_used_space > 0 else "",
        "Min Free Space:": units.binary_size(rule.min_free_space) if rule.min_free_space > 0 else "",
    }
    return [["", name, value] for name, value in lines.items() if value]
