"""``kube-builder create``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ci_buildx.cli import target
from ci_buildx.cli.build import merge_variables
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.model.record import replace
from ci_buildx.settings import assembly, options
from ci_buildx.settings.assembly import Value
from ci_buildx.settings.names import NO_BUILDER, check_builder, suggest_name
from ci_buildx.settings.option import Option, OptionGroup, OptionKind
from ci_buildx.settings.platforms import parse_platforms
from ci_buildx.settings.syntax import split_fields
from ci_buildx.settings.values import ProgressMode

SUMMARY = (
    "Creates a lasting builder in the given namespace, or in that of the kubeconfig's context: a Deployment per "
    "node, or a StatefulSet if its state has a volume. All its data is in the cluster, so every "
    "machine with access to the cluster can use it. Options are those of docker buildx create."
)
EXAMPLES = f"""\
examples:
  kube-builder create --bootstrap --name=kube --driver=kubernetes \\
    --driver-opt=namespace=buildkit,replicas=4
  add a node for another architecture
    kube-builder create --append --bootstrap --name=kube --platform=linux/arm64 \\
      --node=builder-arm64 --driver-opt=nodeselector=kubernetes.io/arch=arm64
  remove a node
    kube-builder create --leave --name=kube --node=builder-arm64

{EXIT_CODES}"""
DRIVER = "kubernetes"
FOREIGN = ("cloud", "docker", "docker-container", "remote")
"""Drivers of buildx 0.38.2 that kube-builder does not support."""
SHAPE = ("driver-opts", "builder-config", "buildkitd-config", "buildkitd-flags")
"""Options that configure a node."""
OPTIONS = (
    Option(
        name="name",
        flags=("--name",),
        metavar="NAME",
        group=OptionGroup.BUILDER,
        help="name of the builder",
        otherwise="a generated name",
    ),
    Option(
        name="driver",
        flags=("--driver",),
        metavar="DRIVER",
        default=DRIVER,
        group=OptionGroup.BUILDER,
        help="builder driver; kubernetes is the only one",
    ),
    Option(
        name="node",
        flags=("--node",),
        metavar="NAME",
        group=OptionGroup.BUILDER,
        help="name of the node and its Deployment; without --append, the node to change",
        otherwise="the builder's name and a number",
    ),
    replace(
        options.BY_NAME["platforms"],
        name="platform",
        group=OptionGroup.BUILDER,
        help="platforms to build on the node, such as linux/amd64,linux/386",
        otherwise="all platforms that the node runs",
    ),
    *(options.BY_NAME[name] for name in SHAPE),
    Option(
        name="max-builds",
        flags=("--max-builds",),
        metavar="NUMBER",
        group=OptionGroup.BUILDER,
        help="maximum number of concurrent builds in a pod, 0 for any number; the same as driver-opt max-builds",
    ),
    Option(
        name="append",
        flags=("--append",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.BUILDER,
        help="add a node to an existing builder",
    ),
    Option(
        name="leave",
        flags=("--leave",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.BUILDER,
        help="remove the node from its builder",
    ),
    Option(
        name="bootstrap",
        flags=("--bootstrap",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.BUILDER,
        help="wait until the node is ready",
    ),
    Option(
        name="use",
        flags=("--use",),
        kind=OptionKind.SWITCH,
        group=OptionGroup.BUILDER,
        help="make it the current builder, as kube-builder use does",
    ),
    replace(target.NAMESPACE, help="existing namespace for the builder", otherwise="the context's namespace"),
    *target.CLUSTER,
    options.BY_NAME["progress"],
)
_REFUSED = {
    "--config": "use --buildkitd-config",
    "--timeout": "set driver-opt timeout, the time for a node to become ready",
}
_LONGEST = 50
"""Longest name, in characters: a StatefulSet's pod name is a label, with a number and a hash appended."""


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Create a builder or change its nodes, and print its name."""
    answers = ParsedArguments(make_parser().read(argv))
    check_driver(answers.read_text("driver", DRIVER), answers.read_texts("endpoint"))
    name, node = check_name(answers.read_text("name"), "--name"), check_name(answers.read_text("node"), "--node")
    if answers.switch("leave"):
        remove_node(answers, around, name, node)
        return 0
    if answers.switch("append") and not name:
        raise InputError("requires the name of a builder", source="--append", fix="add --name")
    from ci_buildx.builder.lifecycle import create as lifecycle_create
    from ci_buildx.builder.manifests.buildkitd import add_defaults
    from ci_buildx.manage import create

    values, sources = merge_variables(
        answers.select_given(*SHAPE, "namespace", "kubeconfig", "kube-context", "progress"), around.env
    )
    values = add_bound(values, answers.number("max-builds"))
    settings = assembly.make_builder_settings(values, sources, around.env, around.cwd)
    wanted = create.CreateRequest(
        name=name,
        order=lifecycle_create.NodeRequest(
            node=node,
            platforms=parse_platforms(answers.read_texts("platform"), source="--platform"),
            settings=add_defaults(settings),
            given=list_written_options(values, sources, around),
        ),
        append=answers.switch("append"),
        bootstrap=answers.switch("bootstrap"),
        use=answers.switch("use"),
        progress=choose_progress(answers),
    )
    cluster = assembly.make_cluster_settings(values, sources, around.env, around.cwd)
    around.stdout.write(f"{create.run_create(wanted, cluster, env=around.env, display_stream=around.stderr)}\n")
    return 0


def choose_progress(answers: ParsedArguments) -> ProgressMode:
    """Return the display: none if nothing boots and none is requested, since scripts expect the name alone.

    Raises InputError for an unknown mode.
    """
    mode = ProgressMode(answers.read_choice("progress", list(ProgressMode)))
    is_silent = not (answers.switch("bootstrap") or answers.read_text("progress"))
    return ProgressMode.NONE if is_silent else mode


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    parser = VerbParser("create", "[OPTIONS]", SUMMARY, examples=EXAMPLES, refused=_REFUSED)
    parser.add_options(OPTIONS)
    parser.offer_help()
    target.offer_hidden(parser, "endpoint")
    return parser


def remove_node(answers: ParsedArguments, around: ProcessContext, name: str, node: str) -> None:
    """Remove a node, for ``--leave``."""
    if not name or not node:
        raise InputError("requires a builder and one of its nodes", source="--leave", fix="add --name and --node")
    place = target.read_place(answers, around)
    from ci_buildx.manage import create

    kept = create.remove_node(replace(place, name=name), node, env=around.env)
    if kept.claims:
        around.note(str(kept))
    around.stdout.write(f"{name}\n")


def check_driver(driver: str, endpoint: Sequence[str]) -> None:
    """Raise InputError for another driver, and for an endpoint: the cluster is the endpoint."""
    if driver in FOREIGN:
        fix = f"use {DRIVER}, the only driver of kube-builder, or docker buildx"
        raise InputError(f"driver {driver!r} of docker buildx is not supported", source="--driver", fix=fix)
    if driver != DRIVER:
        raise InputError(f"unknown driver {driver!r}", source="--driver", fix=suggest_name(driver, (DRIVER,)))
    if endpoint:
        fix = "select the cluster with --kubeconfig and --kube-context"
        raise InputError(f"driver {DRIVER} does not accept an endpoint: {endpoint[0]!r}", source="ENDPOINT", fix=fix)


def check_name(name: str, source: str) -> str:
    """Return a valid name of a builder or node, or "" if none is given. Raises InputError.

    Objects in the cluster are named after it.
    """
    if not name:
        return ""
    check_builder(name, source=source)
    if len(name) > _LONGEST:
        raise InputError(f"name {name!r} is longer than {_LONGEST} characters", source=source)
    if name == NO_BUILDER:
        raise InputError(f"name {name!r} is reserved", source=source, fix="choose another name")
    from ci_buildx.builder.lifecycle.records import is_job_builder_name

    if is_job_builder_name(name):
        raise InputError(f"name {name!r} is reserved for job builders", source=source, fix="choose another name")
    return name


def add_bound(values: Mapping[str, Value], most: int | None) -> dict[str, Value]:
    """Return the values with ``--max-builds`` as the driver option of that name, which it overrides."""
    given = values.get("driver-opts") or []
    lines = given.splitlines() if isinstance(given, str) else given if isinstance(given, list) else []
    return {**values} if most is None else {**values, "driver-opts": [*lines, f"max-builds={most}"]}


def list_written_options(
    values: Mapping[str, Value], sources: Mapping[str, str], around: ProcessContext
) -> dict[str, str]:
    """Return the driver options as written, by name; those of a YAML document in the command line's form."""
    document = str(values.get("builder-config") or "")
    given: dict[str, str] = {}
    if document:
        from ci_buildx.settings.driver_opts import parse
        from ci_buildx.settings.driver_opts.outside import ExternalInputs
        from ci_buildx.settings.driver_opts.parse import write_text

        outside, source = ExternalInputs(env=around.env, cwd=around.cwd), sources.get("builder-config", "")
        entries = parse.read_document_entries(document, source=source, outside=outside)
        given = {name: write_text(entry.value) for name, entry in entries.items()}
    texts = values.get("driver-opts") or []
    lines = texts.splitlines() if isinstance(texts, str) else texts if isinstance(texts, list) else []
    fields = [field for line in lines for field in split_fields(line)]
    found = {name.strip(): value.strip() for name, _, value in (field.partition("=") for field in fields)}
    return {name: value for name, value in {**given, **found}.items() if value}
