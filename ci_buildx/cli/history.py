"""Options and helpers that all verbs of ``history`` share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ci_buildx.cli import target
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.history.records import RecordChoice, read_choice
from ci_buildx.manage.history import BuilderHistory, open_history
from ci_buildx.settings.option import Option, OptionGroup

OPTIONS = (target.BUILDER, target.TIMEOUT, target.NAMESPACE, *target.CLUSTER)
OUTPUT = Option(
    name="output",
    flags=("-o", "--output"),
    metavar="FILE",
    group=OptionGroup.DISPLAY,
    help="the file to write",
    otherwise="standard output, unless it is a terminal",
)
_SECOND = 1_000_000_000


def make_template_option(default: str, help: str) -> Option:  # noqa: A002
    """Make the option ``--format`` of a verb that takes Go templates."""
    return Option(
        name="format", flags=("--format",), metavar="FORMAT", group=OptionGroup.DISPLAY, default=default, help=help
    )


def offer_refs(parser: VerbParser, *, several: bool = False) -> None:
    """Add the positional REF."""
    group = parser.add_argument_group("Arguments")
    about = "a build's reference, builder/node/reference, or ^N for the N-th build before the newest"
    group.add_argument(
        "refs", nargs="*" if several else "?", default=[], metavar="REF", help=f"{about} (default: the newest)"
    )


def read_refs(answers: ParsedArguments) -> list[RecordChoice]:
    """Return the chosen records. Raises InputError."""
    return [read_choice(text) for text in answers.read_texts("refs")]


def read_only_ref(answers: ParsedArguments) -> RecordChoice:
    """Return the chosen record, by default the newest. Raises InputError."""
    chosen = read_refs(answers)
    return chosen[0] if chosen else RecordChoice()


@contextmanager
def open_builder_history(answers: ParsedArguments, around: ProcessContext) -> Iterator[BuilderHistory]:
    """Connect to the pods of the builder that the options name."""
    wanted, timeout = target.read_target(answers, around), target.read_timeout(answers)
    with open_history(wanted, env=around.env, timeout=timeout, display_stream=around.stderr) as found:
        yield found


def refuse_terminal(around: ProcessContext) -> None:
    """Raise InputError if standard output is a terminal, where binary content makes no sense."""
    if around.stdout_is_closed or around.stdout.isatty():
        raise InputError("refusing to write to a terminal", fix="name a file with --output, or redirect the output")


def format_local_time(nanoseconds: int) -> str:
    """Format a time as RFC 3339 in the machine's time zone, to the nanosecond."""
    seconds, fraction = divmod(nanoseconds, _SECOND)
    parts = time.localtime(seconds)
    digits = f"{fraction:09d}".rstrip("0")
    minutes = abs(parts.tm_gmtoff) // 60
    zone = f"{'-' if parts.tm_gmtoff < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}" if parts.tm_gmtoff else "Z"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', parts)}{digits and f'.{digits}'}{zone}"
