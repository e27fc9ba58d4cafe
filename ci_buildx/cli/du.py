"""``kube-builder du``, and filters of the cache.

Filters are read as buildx 0.38.2 does (``commands/prune.go``, ``toBuildkitPruneInfo``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ci_buildx.cli import formatting, target, templates
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass
from ci_buildx.progress.step import strip_control_characters
from ci_buildx.settings.names import suggest_name
from ci_buildx.settings.option import Option, OptionGroup, OptionKind
from ci_buildx.settings.syntax import parse_duration

if TYPE_CHECKING:
    from ci_buildx.buildkit.messages import UsageRecord
    from ci_buildx.gotemplate.kinds import GoKind
    from ci_buildx.manage.survey import CacheUsage

AGES = ("until", "unused-for")
KEYS = ("id", "parents", "description", "inuse", "mutable", "immutable", "shared", "private", "type", *AGES)
"""Fields of a record in BuildKit 0.34.2 (``cache/manager.go``, ``adaptUsageInfo``), and the ages."""
OPTION = Option(
    name="filter",
    flags=("--filter",),
    kind=OptionKind.LINES,
    metavar="KEY[=VALUE]",
    group=OptionGroup.BUILDER,
    help="select records by id=, parents=, description=, type=, until=DURATION (unused for that "
    "long), inuse, mutable, immutable, shared or private; also KEY~=REGEX and KEY!=VALUE",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFilters:
    """Filters for BuildKit, and the least time that a record was unused, in nanoseconds."""

    filter: tuple[str, ...] = ()
    keep_duration: int = 0


def read_filters(texts: Sequence[str]) -> CacheFilters:
    """Parse and combine all filters. Raises InputError."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        name = key.rstrip("!~")
        if name not in KEYS:
            raise InputError(f"unknown filter {name!r}", source="--filter", fix=suggest_name(name, KEYS))
        if key in found:
            raise InputError(f"filter {key!r} is given twice", source="--filter", fix="set it once")
        found[key] = value if equals else ""
    ages = [key for key in AGES if key in found]
    if len(ages) > 1:
        raise InputError("'until' and 'unused-for' are the same", source="--filter", fix="set only one")
    seconds = parse_duration(found.pop(ages[0]), source=f"--filter {ages[0]}") if ages else 0.0
    parts = [_make_clause(key, value) for key, value in found.items()]
    return CacheFilters(filter=(",".join(parts),) if parts else (), keep_duration=round(seconds * 1e9))


def _make_clause(key: str, value: str) -> str:
    if not value:
        return key
    if key == "id":
        return f"id~={value}"
    return f"{key}={value}" if key.endswith(("!", "~")) else f"{key}=={value}"


SUMMARY = (
    "Shows the records of a builder's cache and their sizes. Each pod has its own cache; if there are several pods, "
    "the table names the pod."
)
EXAMPLES = f"""\
examples:
  kube-builder du --builder kube
  kube-builder du --filter type=exec.cachemount --format json
  kube-builder du --format 'table {{{{.ID}}}}\\t{{{{.Size}}}}'

{EXIT_CODES}"""
FORMATS = ("table", "pretty", "json")
TITLES = {
    "ID": "ID",
    "Parents": "PARENTS",
    "CreatedAt": "CREATED AT",
    "Mutable": "MUTABLE",
    "Reclaimable": "RECLAIMABLE",
    "Shared": "SHARED",
    "Size": "SIZE",
    "Description": "DESCRIPTION",
    "UsageCount": "USAGE COUNT",
    "LastUsedAt": "LAST ACCESSED",
    "Type": "TYPE",
    "Node": "NODE",
}
"""Fields of templates, with the titles of their columns: those of buildx 0.38.2, plus the pod."""
OPTIONS = (
    OPTION,
    target.TIMEOUT,
    target.BUILDER,
    templates.make_option(*FORMATS),
    Option(
        name="verbose",
        flags=("--verbose",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.DISPLAY,
        help="same as --format pretty",
    ),
    target.NAMESPACE,
    *target.CLUSTER,
)
HEADER = ("ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED")


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Print the cache, as buildx 0.38.2 does (``commands/diskusage.go``)."""
    answers = ParsedArguments(make_parser().read(argv))
    shape = templates.read_format(answers.read_text("format"), FORMATS)
    if answers.switch("verbose"):
        if answers.read_text("format"):
            raise InputError("cannot be combined with --format", source="--verbose", fix="set only one")
        shape = templates.OutputFormat(name="pretty")
    asked = read_filters(answers.read_texts("filter"))
    wanted, timeout = target.read_target(answers, around), target.read_timeout(answers)
    from ci_buildx.manage import survey

    found = survey.read_usage(wanted, asked.filter, env=around.env, timeout=timeout)
    now = time.time()
    if shape.name == templates.JSON:
        around.stdout.writelines(f"{json.dumps(describe_record(one, now))}\n" for one in found)
        return 0
    if shape.template:
        write_template(shape, found, now, around)
        return 0
    around.stdout.write(format_records(found, now) if shape.is_table else format_blocks(found, now))
    if not answers.read_texts("filter"):
        around.stdout.write(format_summary([one.record for one in found]))
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("du", "[OPTIONS] [NAME]", SUMMARY, examples=EXAMPLES)
    target.offer_names(parser, "the builder")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser


def format_records(found: Sequence[CacheUsage], now: float) -> str:
    """Format records as a table."""
    several = len({one.pod for one in found}) > 1
    header = [*HEADER, "NODE"] if several else list(HEADER)
    return formatting.format_table(
        header, [[*format_row(one.record, now), *([one.pod] if several else [])] for one in found]
    )


def format_row(record: UsageRecord, now: float) -> list[str]:
    """Return a record's cells; a star marks mutable records and shared sizes."""
    name = f"{record.id}*" if record.mutable else record.id
    size = formatting.format_size(record.size) + ("*" if record.shared else "")
    return [name, _format_boolean(not record.in_use), size, _format_age(record.last_used, now)]


def format_blocks(found: Sequence[CacheUsage], now: float) -> str:
    """Format each record as a block."""
    several = len({one.pod for one in found}) > 1
    return "".join(format_block(one.record, now, one.pod if several else "") for one in found)


def format_block(record: UsageRecord, now: float, pod: str = "") -> str:
    """Format all fields of one record."""
    parents = "\n - ".join(["Parents:", *map(strip_control_characters, record.parents)]) if record.parents else ""
    rows = (
        ("ID:", record.id),
        ("Node:", pod),
        (parents, " "),
        ("Created at:", _format_time(record.created)),
        ("Mutable:", _format_boolean(record.mutable)),
        ("Reclaimable:", _format_boolean(not record.in_use)),
        ("Shared:", _format_boolean(record.shared)),
        ("Size:", formatting.format_size(record.size)),
        ("Description:", record.description),
        ("Usage count:", str(record.usage_count)),
        ("Last used:", _format_age(record.last_used, now)),
        ("Type:", record.type),
    )
    lines = (f"{name:<14}{strip_control_characters(value)}".rstrip() for name, value in rows if name and value)
    return "".join(f"{line}\n" for line in lines) + "\n"


def describe_record(one: CacheUsage, now: float) -> dict[str, Any]:
    """Return a record in the JSON form of docker's tools, plus its pod."""
    record = one.record
    return {
        "CreatedAt": _format_time(record.created),
        "Description": record.description,
        "ID": record.id,
        "LastUsedAt": _format_age(record.last_used, now),
        "Mutable": record.mutable,
        "Node": one.pod,
        "Parents": list(record.parents),
        "Reclaimable": not record.in_use,
        "Shared": record.shared,
        "Size": formatting.format_size(record.size),
        "Type": record.type,
        "UsageCount": record.usage_count,
    }


def write_template(
    shape: templates.OutputFormat, found: Sequence[CacheUsage], now: float, around: ProcessContext
) -> None:
    """Print the records by a template; in a table, IDs and sizes have their marks. Raises InputError."""
    from ci_buildx.gotemplate.kinds import BOOLEAN, INTEGER, TEXT, ListKind, make_struct

    others: dict[str, GoKind] = {
        "Parents": ListKind(TEXT),
        "UsageCount": INTEGER,
        **dict.fromkeys(("Mutable", "Reclaimable", "Shared"), BOOLEAN),
    }
    kind = make_struct("record", {name: others.get(name, TEXT) for name in TITLES})
    rows = [describe_record(one, now) for one in found]
    if shape.is_table:
        for row, one in zip(rows, found, strict=True):
            row["ID"], _, row["Size"], _ = format_row(one.record, now)
    shape.write(rows, kind, around, titles=TITLES)


def format_summary(records: Sequence[UsageRecord]) -> str:
    """Format the totals."""
    total = sum(record.size for record in records if record.size > 0)
    reclaimable = sum(record.size for record in records if record.size > 0 and not record.in_use)
    shared = sum(record.size for record in records if record.shared)
    rows = (
        [["Shared:", formatting.format_size(shared)], ["Private:", formatting.format_size(total - shared)]]
        if shared
        else []
    )
    rows += [["Reclaimable:", formatting.format_size(reclaimable)], ["Total:", formatting.format_size(total)]]
    return formatting.align_columns(rows, padding=2)


def _format_boolean(value: bool) -> str:
    return "true" if value else "false"


def _format_age(moment: float | None, now: float) -> str:
    return "" if moment is None else f"{formatting.format_duration(max(now - moment, 0.0))} ago"


def _format_time(moment: float | None) -> str:
    return "" if moment is None else time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(moment))
