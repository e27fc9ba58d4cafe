"""``kube-builder du``."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ci_buildx.cli import columns, filters, target, units
from ci_buildx.cli.answers import Answers
from ci_buildx.cli.boundary import EXIT_CODES
from ci_buildx.cli.parser import Parser
from ci_buildx.cli.world import World
from ci_buildx.errors import InputError
from ci_buildx.progress.text import printable
from ci_buildx.settings.option import Group, Kind, Option

if TYPE_CHECKING:
    from ci_buildx.buildkit.messages import UsageRecord
    from ci_buildx.job.cache import Usage

SUMMARY = "Shows what is in a builder's cache. Each pod has its own; of several pods the table says whose it is."
EXAMPLES = f"""\
examples:
  kube-builder du --builder kube
  kube-builder du --filter type=exec.cachemount --format json

{EXIT_CODES}"""
OPTIONS = (
    filters.OPTION,
    target.TIMEOUT,
    target.BUILDER,
    target.formats("table", "pretty", "json"),
    Option(
        name="verbose", flags=("--verbose",), kind=Kind.SWITCH, group=Group.DISPLAY, help="the same as --format pretty"
    ),
    target.NAMESPACE,
    *target.CLUSTER,
)
HEADER = ("ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED")


def main(argv: Sequence[str], around: World) -> int:
    """Show it, as buildx 0.38.2 does (``commands/diskusage.go``)."""
    answers = Answers(make_parser().read(argv))
    kind = answers.choice("format", ("table", "pretty", "json"))
    if answers.switch("verbose"):
        if answers.text("format"):
            raise InputError("cannot be given with --format", source="--verbose")
        kind = "pretty"
    asked = filters.read(answers.texts("filter"))
    wanted, timeout = target.read_target(answers, around), target.read_timeout(answers)
    from ci_buildx.job import cache

    found = cache.usage(wanted, asked.filter, env=around.env, timeout=timeout)
    now = time.time()
    if kind == "json":
        around.stdout.writelines(f"{json.dumps(described(one, now))}\n" for one in found)
        return 0
    around.stdout.write(table(found, now) if kind == "table" else pretty(found, now))
    if not answers.texts("filter"):
        around.stdout.write(summary([one.record for one in found]))
    return 0


def make_parser() -> Parser:
    """The parser."""
    parser = Parser("du", "[OPTIONS] [NAME]", SUMMARY, examples=EXAMPLES)
    target.offer_names(parser, "the builder")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser


def table(found: Sequence[Usage], now: float) -> str:
    """A line for each record."""
    several = len({one.pod for one in found}) > 1
    header = [*HEADER, "NODE"] if several else list(HEADER)
    return columns.table(header, [[*row(one.record, now), *([one.pod] if several else [])] for one in found])


def row(record: UsageRecord, now: float) -> list[str]:
    """One record's cells; a star marks what is mutable, and sizes that are shared."""
    name = f"{record.id}*" if record.mutable else record.id
    size = units.size(record.size) + ("*" if record.shared else "")
    return [name, _word(not record.in_use), size, _ago(record.last_used, now)]


def pretty(found: Sequence[Usage], now: float) -> str:
    """A block for each record."""
    several = len({one.pod for one in found}) > 1
    return "".join(block(one.record, now, one.pod if several else "") for one in found)


def block(record: UsageRecord, now: float, pod: str = "") -> str:
    """Everything about one record."""
    parents = "\n - ".join(["Parents:", *map(printable, record.parents)]) if record.parents else ""
    rows = (
        ("ID:", record.id),
        ("Node:", pod),
        (parents, " "),
        ("Created at:", _when(record.created)),
        ("Mutable:", _word(record.mutable)),
        ("Reclaimable:", _word(not record.in_use)),
        ("Shared:", _word(record.shared)),
        ("Size:", units.size(record.size)),
        ("Description:", record.description),
        ("Usage count:", str(record.usage_count)),
        ("Last used:", _ago(record.last_used, now)),
        ("Type:", record.type),
    )
    lines = (f"{name:<14}{printable(value)}".rstrip() for name, value in rows if name and value)
    return "".join(f"{line}\n" for line in lines) + "\n"


def described(one: Usage, now: float) -> dict[str, Any]:
    """A record as docker's tools write it in JSON, and whose it is."""
    record = one.record
    return {
        "CreatedAt": _when(record.created),
        "Description": record.description,
        "ID": record.id,
        "LastUsedAt": _ago(record.last_used, now),
        "Mutable": record.mutable,
        "Node": one.pod,
        "Parents": list(record.parents),
        "Reclaimable": not record.in_use,
        "Shared": record.shared,
        "Size": units.size(record.size),
        "Type": record.type,
        "UsageCount": record.usage_count,
    }


def summary(records: Sequence[UsageRecord]) -> str:
    """What it comes to."""
    total = sum(record.size for record in records if record.size > 0)
    reclaimable = sum(record.size for record in records if record.size > 0 and not record.in_use)
    shared = sum(record.size for record in records if record.shared)
    rows = [["Shared:", units.size(shared)], ["Private:", units.size(total - shared)]] if shared else []
    rows += [["Reclaimable:", units.size(reclaimable)], ["Total:", units.size(total)]]
    return columns.align(rows, padding=2)


def _word(value: bool) -> str:
    return "true" if value else "false"


def _ago(moment: float | None, now: float) -> str:
    return "" if moment is None else f"{units.duration(max(now - moment, 0.0))} ago"


def _when(moment: float | None) -> str:
    return "" if moment is None else time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(moment))
