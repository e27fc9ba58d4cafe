"""``kube-builder logs``."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli import target
from ci_buildx.cli.answers import Answers
from ci_buildx.cli.boundary import EXIT_CODES
from ci_buildx.cli.parser import Parser
from ci_buildx.cli.world import World
from ci_buildx.progress.text import inert
from ci_buildx.settings.durations import parse_duration
from ci_buildx.settings.option import Group, Kind, Option

SUMMARY = "Shows what buildkitd says in the pods of a builder; of several pods each line begins with the pod's name."
EXAMPLES = f"""\
examples:
  kube-builder logs kube
  kube-builder logs --follow --tail 20 --node builder-arm64 kube

{EXIT_CODES}"""
OPTIONS = (
    Option(name="node", flags=("--node",), metavar="NAME", group=Group.BUILDER, help="the node", otherwise="all nodes"),
    target.BUILDER,
    Option(
        name="follow", flags=("-f", "--follow"), kind=Kind.SWITCH, group=Group.DISPLAY, help="go on with what follows"
    ),
    Option(
        name="tail",
        flags=("--tail",),
        metavar="LINES",
        group=Group.DISPLAY,
        help="the last lines only",
        otherwise="all",
    ),
    Option(name="since", flags=("--since",), metavar="DURATION", group=Group.DISPLAY, help="no older than this"),
    Option(
        name="timestamps", flags=("--timestamps",), kind=Kind.SWITCH, group=Group.DISPLAY, help="with the time of each"
    ),
    Option(
        name="previous",
        flags=("-p", "--previous"),
        kind=Kind.SWITCH,
        group=Group.DISPLAY,
        help="of the container that ended before this one",
    ),
    target.NAMESPACE,
    *target.CLUSTER,
)


def main(argv: Sequence[str], around: World) -> int:
    """Show the logs."""
    answers = Answers(make_parser().read(argv))
    since = answers.text("since")
    wanted = target.read_target(answers, around)
    from threading import Lock

    from ci_buildx.job import logs

    extract = logs.Extract(
        node=answers.text("node"),
        tail=answers.number("tail"),
        since=max(1, round(parse_duration(since, source="--since"))) if since else None,
        follow=answers.switch("follow"),
        previous=answers.switch("previous"),
        timestamps=answers.switch("timestamps"),
    )
    lock = Lock()

    def tell(pod: str, line: str) -> None:
        line = inert(line)
        with lock:
            around.stdout.write(f"{pod} | {line}\n" if pod else f"{line}\n")
            if extract.follow:
                around.stdout.flush()

    logs.run(wanted, extract, env=around.env, tell=tell)
    return 0


def make_parser() -> Parser:
    """The parser."""
    parser = Parser("logs", "[OPTIONS] [NAME]", SUMMARY, examples=EXAMPLES)
    target.offer_names(parser, "the builder")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser
