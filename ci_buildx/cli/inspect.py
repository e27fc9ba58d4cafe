"""``kube-builder inspect``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ci_buildx.cli import formatting, ls, target, templates
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.manage import target as manage_target
from ci_buildx.settings.option import Option, OptionGroup, OptionKind

if TYPE_CHECKING:
    from ci_buildx.buildkit.messages import GcPolicy, Worker
    from ci_buildx.manage.survey import BuilderView, ReplicaView

SUMMARY = (
    "Shows one builder: its namespace, when its certificates expire, and what buildkitd reports in each of its pods."
)
EXAMPLES = f"""\
examples:
  kube-builder inspect kube
  kube-builder inspect --bootstrap kube

{EXIT_CODES}"""
OPTIONS = (
    Option(
        name="bootstrap",
        flags=("--bootstrap",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.BUILDER,
        help="start the builder if it is stopped, and wait until it is ready",
    ),
    target.TIMEOUT,
    target.BUILDER,
    templates.make_option(*ls.FORMATS),
    target.NAMESPACE,
    *target.CLUSTER,
)
_DAY = 86400


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Print the builder."""
    answers = ParsedArguments(make_parser().read(argv))
    shape = templates.read_format(answers.read_text("format"), ls.FORMATS)
    wanted, timeout = target.read_target(answers, around), target.read_timeout(answers)
    from ci_buildx.manage import builders

    found, ends = builders.inspect_builder(
        wanted,
        env=around.env,
        timeout=timeout,
        bootstrap=answers.switch("bootstrap"),
        display_stream=around.stderr,
    )
    if shape.name == templates.JSON or shape.template:
        value = ls.describe_builder(found, manage_target.read_current(wanted.cluster, around.env)) | {
            "CertificatesExpire": format_time(ends)
        }
        write_value(value, shape, around)
    else:
        around.stdout.write(formatting.align_columns(format_rows(found, ends, time.time())))
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("inspect", "[OPTIONS] [NAME]", SUMMARY, examples=EXAMPLES)
    target.offer_names(parser, "the builder")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser


def write_value(value: dict[str, Any], shape: templates.OutputFormat, around: ProcessContext) -> None:
    """Print the builder as JSON, or by a template whose fields are the keys of that JSON. Raises InputError."""
    if shape.template:
        from ci_buildx.cli.builder_kind import BUILDER

        shape.write([value], BUILDER, around)
        return
    import json

    around.stdout.write(f"{json.dumps(value)}\n")


def format_time(seconds: float) -> str:
    """A time as RFC 3339 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def format_rows(found: BuilderView, ends: float, now: float) -> list[list[str]]:
    """Return the lines of buildx 0.38.2 (``commands/inspect.go``), plus namespace and the certificates' expiry."""
    location = found.record.location
    days = int((ends - now) / _DAY)
    left = f"{days} days left" if days >= 0 else "expired: renew them with kube-builder stop"
    made = [
        ["Name:", location.name],
        ["Driver:", ls.DRIVER],
        ["Namespace:", location.namespace],
        ["Certificates:", f"until {format_time(ends)} ({left})"],
    ]
    if found.error:
        return [*made, ["Error:", found.error]]
    made += [[], ["Nodes:"]]
    for index, seat in enumerate(found.seats):
        made += [[]] if index else []
        made += _format_replica(found, seat)
    return made


def _format_replica(found: BuilderView, seat: ReplicaView) -> list[list[str]]:
    options = " ".join(f'{name}="{value}"' for name, value in sorted(seat.node.driver_opts.items()))
    lines = {
        "Name:": seat.name,
        "Endpoint:": ls.format_endpoint(found, seat),
        "Driver Options:": options,
        "Host:": seat.pod.host if seat.pod else "",
        "Error:": seat.error,
        "Status:": "" if seat.error else seat.status.value,
        "BuildKit daemon flags:": " ".join(seat.node.flags),
        "BuildKit version:": seat.version,
        "Platforms:": ", ".join(ls.format_platforms(seat)),
    }
    shown = [[name, value] for name, value in lines.items() if value]
    shown += _format_worker(seat.workers[0]) if seat.workers else []
    return [*shown, *_format_files(found.files.get(seat.node.name, {}))]


def _format_files(files: Mapping[str, str]) -> list[list[str]]:
    """Return the files of a node's configuration; TOML has buildx's form."""
    from ci_buildx.cli.toml_text import normalize_toml

    lines: list[list[str]] = []
    for name, text in sorted(files.items()):
        shown = normalize_toml(text) if name.endswith(".toml") else text
        lines += [[f"File#{name}:"], *(["", f"> {line}"] for line in shown.split("\n"))]
    return lines


def _format_worker(worker: Worker) -> list[list[str]]:
    lines = [["Labels:"]] if worker.labels else []
    lines += [["", f"{name}:", worker.labels[name]] for name in sorted(worker.labels)]
    for number, rule in enumerate(worker.gc_policy):
        lines += [[f"GC Policy rule#{number}:"], *_format_rule(rule)]
    return lines


def _format_rule(rule: GcPolicy) -> list[list[str]]:
    lines = {
        "All:": str(rule.all).lower(),
        "Filters:": " ".join(rule.filters),
        "Keep Duration:": formatting.format_go_duration(rule.keep_duration) if rule.keep_duration > 0 else "",
        "Reserved Space:": formatting.format_binary_size(rule.reserved_space) if rule.reserved_space > 0 else "",
        "Max Used Space:": formatting.format_binary_size(rule.max_used_space) if rule.max_used_space > 0 else "",
        "Min Free Space:": formatting.format_binary_size(rule.min_free_space) if rule.min_free_space > 0 else "",
    }
    return [["", name, value] for name, value in lines.items() if value]
