"""``kube-builder create``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ci_buildx.cli import target
from ci_buildx.cli.answers import Answers
from ci_buildx.cli.boundary import EXIT_CODES
from ci_buildx.cli.build import merge
from ci_buildx.cli.parser import Parser
from ci_buildx.cli.world import World
from ci_buildx.errors import InputError
from ci_buildx.model.record import replace
from ci_buildx.settings import assembly, options
from ci_buildx.settings.assembly import Value
from ci_buildx.settings.csvline import split_fields
from ci_buildx.settings.names import NO_BUILDER, check_builder
from ci_buildx.settings.nearest import suggest
from ci_buildx.settings.option import Group, Kind, Option
from ci_buildx.settings.platforms import parse_platforms
from ci_buildx.settings.values import Progress

SUMMARY = (
    "Makes a builder that stays: a Deployment for each node, or a StatefulSet where its state has a volume, in the "
    "namespace of the context or the one that is named. The cluster is its only record, so every machine that reaches "
    "the cluster can use it. Options are those of docker buildx create."
)
EXAMPLES = f"""\
examples:
  kube-builder create --bootstrap --name=kube --driver=kubernetes \\
    --driver-opt=namespace=buildkit,replicas=4
  another node, for another architecture
    kube-builder create --append --bootstrap --name=kube --platform=linux/arm64 \\
      --node=builder-arm64 --driver-opt=nodeselector=kubernetes.io/arch=arm64
  a node less
    kube-builder create --leave --name=kube --node=builder-arm64

{EXIT_CODES}"""
DRIVER = "kubernetes"
FOREIGN = ("cloud", "docker", "docker-container", "remote")
"""Drivers of buildx 0.38.2 that build elsewhere."""
SHAPE = ("driver-opts", "builder-config", "buildkitd-config", "buildkitd-flags")
"""Options of the table that say how a node is to be."""
OPTIONS = (
    Option(
        name="name",
        flags=("--name",),
        metavar="NAME",
        group=Group.BUILDER,
        help="name of the builder",
        otherwise="a new one",
    ),
    Option(
        name="driver", flags=("--driver",), metavar="DRIVER", default=DRIVER, group=Group.BUILDER, help="the driver"
    ),
    Option(
        name="node",
        flags=("--node",),
        metavar="NAME",
        group=Group.BUILDER,
        help="name of the node and its Deployment; without --append, the node that is to be changed",
        otherwise="the builder's and a number",
    ),
    replace(
        options.BY_NAME["platforms"],
        name="platform",
        group=Group.BUILDER,
        help="platforms that the node is for, such as linux/amd64,linux/386",
        otherwise="whatever it runs",
    ),
    *(options.BY_NAME[name] for name in SHAPE),
    Option(
        name="append",
        flags=("--append",),
        kind=Kind.SWITCH,
        group=Group.BUILDER,
        help="add a node to a builder that exists",
    ),
    Option(
        name="leave",
        flags=("--leave",),
        kind=Kind.SWITCH,
        group=Group.BUILDER,
        help="remove the node from its builder",
    ),
    Option(
        name="bootstrap",
        flags=("--bootstrap",),
        kind=Kind.SWITCH,
        group=Group.BUILDER,
        help="wait until the node is up",
    ),
    Option(name="use", flags=("--use",), kind=Kind.SWITCH, group=Group.BUILDER, help="make it the current builder"),
    replace(target.NAMESPACE, help="existing namespace for the builder", otherwise="the context's"),
    *target.CLUSTER,
    options.BY_NAME["progress"],
)
_REFUSED = {
    "--config": "write --buildkitd-config",
    "--timeout": "how long a node may take to come up is driver-opt timeout",
}
_LONGEST = 50
"""Characters of a name: that of a pod in a StatefulSet is a label, with a number and a hash appended."""


def main(argv: Sequence[str], around: World) -> int:
    """Make a builder, or change its nodes, and print its name."""
    answers = Answers(make_parser().read(argv))
    check_driver(answers.text("driver", DRIVER), answers.texts("endpoint"))
    name, node = check_name(answers.text("name"), "--name"), check_name(answers.text("node"), "--node")
    if answers.switch("leave"):
        leave(answers, around, name, node)
        return 0
    if answers.switch("append") and not name:
        raise InputError("needs the name of a builder", source="--append", fix="add --name")
    from ci_buildx.builder import lasting
    from ci_buildx.builder.equipment import equipped
    from ci_buildx.job import creation

    values, sources = merge(answers.some(*SHAPE, "namespace", "kubeconfig", "kube-context", "progress"), around.env)
    settings = assembly.builder_from(values, sources, around.env, around.cwd)
    wanted = creation.Creation(
        name=name,
        order=lasting.Order(
            node=node,
            platforms=parse_platforms(answers.texts("platform"), source="--platform"),
            settings=equipped(settings),
            given=written(values, sources, around),
        ),
        append=answers.switch("append"),
        bootstrap=answers.switch("bootstrap"),
        use=answers.switch("use"),
        progress=Progress(answers.choice("progress", list(Progress))),
    )
    cluster = assembly.cluster_from(values, sources, around.env, around.cwd)
    around.stdout.write(f"{creation.run(wanted, cluster, env=around.env, display_stream=around.stderr)}\n")
    return 0


def make_parser() -> Parser:
    """The parser."""
    parser = Parser("create", "[OPTIONS]", SUMMARY, examples=EXAMPLES, refused=_REFUSED)
    parser.add_options(OPTIONS)
    parser.offer_help()
    target.offer_hidden(parser, "endpoint")
    return parser


def leave(answers: Answers, around: World, name: str, node: str) -> None:
    """Remove a node, as ``--leave`` asks."""
    if not name or not node:
        raise InputError("needs a builder and one of its nodes", source="--leave", fix="add --name and --node")
    place = target.read_place(answers, around)
    from ci_buildx.job import creation

    kept = creation.leave(replace(place, name=name), node, env=around.env)
    if kept.claims:
        around.note(str(kept))
    around.stdout.write(f"{name}\n")


def check_driver(driver: str, endpoint: Sequence[str]) -> None:
    """There is one driver, and the cluster is its endpoint."""
    if driver in FOREIGN:
        fix = f"kube-builder has {DRIVER} alone; docker buildx has the others"
        raise InputError(f"driver {driver!r} of docker buildx is not supported", source="--driver", fix=fix)
    if driver != DRIVER:
        raise InputError(f"unknown driver {driver!r}", source="--driver", fix=suggest(driver, (DRIVER,)))
    if endpoint:
        fix = "the cluster is that of --kubeconfig and --kube-context"
        raise InputError(f"driver {DRIVER} takes no endpoint, as {endpoint[0]!r}", source="ENDPOINT", fix=fix)


def check_name(name: str, source: str) -> str:
    """A builder's or node's name becomes the name of objects; "" where none is given."""
    if not name:
        return ""
    check_builder(name, source=source)
    if len(name) > _LONGEST:
        raise InputError(f"name {name!r} is longer than {_LONGEST} characters", source=source)
    if name == NO_BUILDER:
        raise InputError(f"{name!r} stands for no builder", source=source, fix="choose another name")
    from ci_buildx.builder.store import is_jobs

    if is_jobs(name):
        raise InputError(f"{name!r} begins as the builders of jobs do", source=source, fix="choose another name")
    return name


def written(values: Mapping[str, Value], sources: Mapping[str, str], around: World) -> dict[str, str]:
    """The driver options as they were written, by name; those of a YAML document as texts of the command line."""
    document = str(values.get("builder-config") or "")
    given: dict[str, str] = {}
    if document:
        from ci_buildx.settings import driver_opts
        from ci_buildx.settings.driver.outside import Outside
        from ci_buildx.settings.driver.texts import write_text

        outside, source = Outside(env=around.env, cwd=around.cwd), sources.get("builder-config", "")
        entries = driver_opts.document_entries(document, source=source, outside=outside)
        given = {name: write_text(entry.value) for name, entry in entries.items()}
    texts = values.get("driver-opts") or []
    lines = texts.splitlines() if isinstance(texts, str) else texts if isinstance(texts, list) else []
    fields = [field for line in lines for field in split_fields(line)]
    found = {name.strip(): value.strip() for name, _, value in (field.partition("=") for field in fields)}
    return {name: value for name, value in {**given, **found}.items() if value}
