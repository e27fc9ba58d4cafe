"""``kube-builder logs``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli import target
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.progress.step import drop_controls
from ci_buildx.settings.option import Option, OptionGroup, OptionKind
from ci_buildx.settings.syntax import parse_duration

SUMMARY = (
    "Shows buildkitd's log in the pods of a builder; if there are several pods, each line begins with the pod's name."
)
EXAMPLES = f"""\
examples:
  kube-builder logs kube
  kube-builder logs --follow --tail 20 --node builder-arm64 kube

{EXIT_CODES}"""
OPTIONS = (
    Option(
        name="node",
        flags=("--node",),
        metavar="NAME",
        group=OptionGroup.BUILDER,
        help="the node",
        otherwise="all nodes",
    ),
    target.BUILDER,
    Option(
        name="follow",
        flags=("-f", "--follow"),
        kind=OptionKind.SWITCH,
        group=OptionGroup.DISPLAY,
        help="keep printing new lines",
    ),
    Option(
        name="tail",
        flags=("--tail",),
        metavar="LINES",
        group=OptionGroup.DISPLAY,
        help="print only the last LINES lines of each pod",
        otherwise="all",
    ),
    Option(
        name="since",
        flags=("--since",),
        metavar="DURATION",
        group=OptionGroup.DISPLAY,
        help="print only lines from the last DURATION, such as 10m",
    ),
    Option(
        name="timestamps",
        flags=("--timestamps",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.DISPLAY,
        help="print the time of each line",
    ),
    Option(
        name="previous",
        flags=("-p", "--previous"),
        kind=OptionKind.SWITCH,
        group=OptionGroup.DISPLAY,
        help="print the log of each pod's previous, terminated container",
    ),
    target.NAMESPACE,
    *target.CLUSTER,
)


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Print the logs."""
    answers = ParsedArguments(make_parser().read(argv))
    since = answers.read_text("since")
    wanted = target.read_target(answers, around)
    from threading import Lock

    from ci_buildx.manage import logs

    extract = logs.LogExtract(
        node=answers.read_text("node"),
        tail=answers.number("tail"),
        since=max(1, round(parse_duration(since, source="--since"))) if since else None,
        follow=answers.switch("follow"),
        previous=answers.switch("previous"),
        timestamps=answers.switch("timestamps"),
    )
    lock = Lock()

    def tell(pod: str, line: str) -> None:
        line = drop_controls(line)
        with lock:
            around.stdout.write(f"{pod} | {line}\n" if pod else f"{line}\n")
            if extract.follow:
                around.stdout.flush()

    logs.run_logs(wanted, extract, env=around.env, tell=tell)
    return 0


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("logs", "[OPTIONS] [NAME]", SUMMARY, examples=EXAMPLES)
    target.offer_names(parser, "the builder")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser
