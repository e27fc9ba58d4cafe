"""``kube-builder history ls``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ci_buildx.cli import formatting
from ci_buildx.cli.history import OPTIONS as SHARED
from ci_buildx.cli.history import make_template_option, open_builder_history
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.gotemplate.encoding import encode
from ci_buildx.gotemplate.functions import make_json_function
from ci_buildx.gotemplate.kinds import INTEGER, TEXT, GoValue, StructField, StructKind
from ci_buildx.gotemplate.template import GoTemplate
from ci_buildx.history import records
from ci_buildx.history.filters import read_filters
from ci_buildx.progress.step import drop_controls
from ci_buildx.settings.option import Option, OptionGroup, OptionKind

if TYPE_CHECKING:
    from ci_buildx.history.records import PlacedRecord

SUMMARY = (
    "Lists the builds that ran on a builder: of each pod the running ones and at most 50 finished ones. buildkitd "
    "keeps at least the last 50 builds, and all of the last 48 hours, as long as its pod's state exists."
)
EXAMPLES = f"""\
examples:
  kube-builder history ls --builder kube
  kube-builder history ls --filter status=error --filter 'startedAt>2h'
  kube-builder history ls --format '{{{{.Ref}}}} {{{{.Duration}}}}'

{EXIT_CODES}"""
HEADER = {
    "Ref": "BUILD ID",
    "Name": "NAME",
    "Status": "STATUS",
    "CreatedAt": "CREATED AT",
    "Duration": "DURATION",
    "Link": "",
}
_COLUMNS = (*HEADER, "FullRef")
_COUNTS = ("cached_steps", "completed_steps", "total_steps")
_KIND = StructKind(
    "lsContext",
    (
        *(StructField(name=name, kind=TEXT, method=True) for name in _COLUMNS),
        StructField(name="cached_steps", kind=INTEGER),
        StructField(name="completed_at", kind=TEXT, omit=True),
        StructField(name="completed_steps", kind=INTEGER),
        StructField(name="created_at", kind=TEXT),
        *(StructField(name=name, kind=TEXT) for name in ("name", "ref", "status")),
        StructField(name="total_steps", kind=INTEGER),
    ),
)
"""What templates use are methods, so that JSON has only the keys of buildx."""
_TABLE = "table "
_LONGEST_NAME = 36
OPTIONS = (
    Option(
        name="filter",
        flags=("--filter",),
        kind=OptionKind.LINES,
        metavar="KEY=VALUE",
        group=OptionGroup.BUILDER,
        help="select builds by ref=, repository=, status=completed|running|error|canceled (also with !=), and by "
        "startedAt, completedAt (a time, or an age such as 2h) and duration with <=, <, >=, >",
    ),
    Option(
        name="local",
        flags=("--local",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.BUILDER,
        help="list only builds of the current folder's git repository",
    ),
    make_template_option("table", "table, json, or a Go template with Ref, FullRef, Name, Status, CreatedAt, Duration"),
    Option(
        name="no-trunc",
        flags=("--no-trunc",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.DISPLAY,
        help="show the whole name",
    ),
    *SHARED,
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Print the builds, as buildx 0.38.2 does (``commands/history/ls.go``)."""
    answers = ParsedArguments(make_parser().read(argv))
    kind = answers.read_text("format") or "table"
    template = None if kind in ("table", "json") else _parse_template(kind)
    texts = answers.read_texts("filter")
    if answers.switch("local"):
        texts = [f"repository={_read_remote(around)}", *texts]
    filters = read_filters(texts)
    with open_builder_history(answers, around) as history:
        found = records.sort_for_table(history.list_records(filters=filters))
    now = time.time_ns()
    whole = answers.switch("no-trunc")
    if kind == "table":
        rows = [make_row(one, now, whole=whole) for one in found]
        around.stdout.write(
            formatting.format_table(list(HEADER.values()), [[row[key] for key in HEADER] for row in rows])
        )
    elif template is None:
        around.stdout.writelines(f"{encode(make_value(one, now))}\n" for one in found)
    elif kind.startswith(_TABLE):
        head = {**dict.fromkeys(_COLUMNS, ""), **HEADER}
        lines = [template.execute(make_template_value(head))]
        lines += [template.execute(make_value(one, now, whole=whole)) for one in found]
        around.stdout.write(formatting.format_table(lines[0].split("\t"), [line.split("\t") for line in lines[1:]]))
    else:
        around.stdout.writelines(f"{drop_controls(template.execute(make_value(one, now)))}\n" for one in found)
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("history ls", "[OPTIONS]", SUMMARY, examples=EXAMPLES)
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser


def _parse_template(kind: str) -> GoTemplate:
    text = kind.removeprefix(_TABLE).replace("\\t", "\t") if kind.startswith(_TABLE) else kind
    return GoTemplate(text, {"json": make_json_function()}, source="--format")


def make_row(one: PlacedRecord, now: int, *, whole: bool) -> dict[str, str]:
    """Return the cells of a build by the names of their fields; ``now`` is in nanoseconds since the epoch."""
    name = one.name
    if not whole and len(name) > _LONGEST_NAME:
        name = f"..{name[2 - _LONGEST_NAME :]}"
    running = "+" if one.completed is None else ""
    return {
        "Ref": one.ref,
        "FullRef": one.full_ref,
        "Name": name,
        "Status": one.status,
        "CreatedAt": f"{formatting.format_duration((now - one.created) / 1e9)} ago",
        "Duration": "" if one.duration is None else f"{records.format_duration(one.duration)}{running}",
        "Link": "",
    }


def make_value(one: PlacedRecord, now: int, *, whole: bool = True) -> GoValue:
    """Return the value of a build that templates see, and that JSON has."""
    record = one.record
    counts = dict(zip(_COUNTS, (record.cached_steps, record.completed_steps, record.total_steps), strict=True))
    described = {
        **counts,
        "created_at": records.format_time(one.created),
        "completed_at": "" if one.completed is None else records.format_time(one.completed),
        "name": one.name,
        "ref": one.full_ref,
        "status": one.status,
    }
    return make_template_value(make_row(one, now, whole=whole), described)


def make_template_value(row: Mapping[str, str], described: Mapping[str, object] | None = None) -> GoValue:
    """Return the value of a row's cells."""
    return GoValue(_KIND, {**(described or {}), **{key: lambda text=text: text for key, text in row.items()}})


def _read_remote(around: ProcessContext) -> str:
    """Return the URL of the repository around the working directory, as builds name it. Raises InputError."""
    from ci_buildx.build.context.origin import read_remote_url
    from ci_buildx.model.plaintext import redact_url

    remote = redact_url(read_remote_url(around.cwd, around.env))
    if not remote:
        raise InputError("the current folder is not in a git repository with a remote", source="--local")
    return remote
