"""``kube-builder build``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from ci_buildx.cli import arguments
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.progress.renderer import TextOutlet
from ci_buildx.settings import assembly, options
from ci_buildx.settings.assembly import Value
from ci_buildx.settings.attributes import STDOUT
from ci_buildx.settings.names import NO_BUILDER
from ci_buildx.settings.option import OptionSurface
from ci_buildx.settings.values import PreviewKind, ProgressMode, Settings

if TYPE_CHECKING:
    from ci_buildx.build.result import BuildResult
    from ci_buildx.cli.parser import VerbParser

SUMMARY = (
    "Builds an image on temporary builders, one per architecture. They are created in your kubeconfig's cluster and "
    "always removed afterwards, even on failure. Options are those of docker buildx build.\n"
    "Each option can also be set by an environment variable: --build-arg by "
    f"{options.BY_NAME['build-args'].variable}, one value per line."
)
EXAMPLES = f"""\
examples:
  push an image for two architectures
    kube-builder build --platform linux/amd64,linux/arm64 \\
      -t registry.example/team/app:1 --push .
  another Dockerfile, a build argument, a secret, a target stage
    kube-builder build -f docker/app.Dockerfile --build-arg VERSION=1.2 \\
      --secret id=token,env=TOKEN --target test .
  files instead of an image
    kube-builder build -o out/ .
  a bigger builder on selected cluster nodes
    kube-builder build --driver-opt requests.cpu=4,requests.memory=8Gi \\
      --driver-opt '"nodeselector=pool=ci,disk=ssd"' .

{EXIT_CODES}"""
_NO_CONTAINERS = "omit it: BuildKit keeps no intermediate containers"
NOT_TAKEN = {
    "-m": "use --resource memory=…",
    "-c": "use --resource cpu-shares=…",
    **{
        f"--{name}": f"use --resource {name}=…"
        for name in ("memory", "memory-swap", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems")
    },
    "--isolation": "omit it: BuildKit has no isolation modes",
    "--security-opt": "use RUN --security=insecure in the Dockerfile and --allow security.insecure",
    "--squash": "omit it: BuildKit does not squash layers; copy the result into a stage of its own",
    "--compress": "omit it: only changes of the context are sent",
    "--rm": _NO_CONTAINERS,
    "--force-rm": _NO_CONTAINERS,
}
"""Options of docker build and buildx, hidden ones too (buildx 0.38.2, ``commands/build.go``), that are not taken."""

_CHOOSING = (
    "builder",
    "keep",
    "lifetime",
    "driver-opts",
    "buildkitd-config",
    "buildkitd-config-inline",
    "buildkitd-flags",
)
"""Options that select a builder or ask for a new one."""


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Build and print the result."""
    settings = parse_settings(argv, around)
    if settings.preview is not None:
        print_preview(settings, settings.preview, around)
        return 0
    check_stdout(settings, around)
    from ci_buildx.build import run

    result = run.run_build(settings, env=around.env, display_stream=around.stderr)
    print_result(result, settings, stdout=around.stdout, stderr=around.stderr)
    return result.status


def parse_settings(argv: Sequence[str], around: ProcessContext) -> Settings:
    """Return the settings from arguments and variables; an argument overrides its variable."""
    given = arguments.read(argv, options.list_options(OptionSurface.CLI))
    given = make_parser().parse(argv) if given is None else given
    values, sources = merge_variables(given, around.env)
    arguments.start_log(given, progress=values.get("progress"))
    if not values.get("context"):
        raise InputError("missing build context", fix="name a folder or a URL, such as . for the current folder")
    values, sources = add_current_builder(values, sources, around)
    return assembly.make_settings(values, sources, around.env, around.cwd)


def add_current_builder(
    values: dict[str, Value], sources: dict[str, str], around: ProcessContext
) -> tuple[dict[str, Value], dict[str, str]]:
    """Add the builder that ``use`` chose, unless an option names one or configures a new one."""
    if values.get("builder") == NO_BUILDER:
        return {name: value for name, value in values.items() if name != "builder"}, sources
    if any(values.get(name) for name in _CHOOSING):
        return values, sources
    from ci_buildx.manage import target

    choice = target.read_current(assembly.make_cluster_settings(values, sources, around.env, around.cwd), around.env)
    if choice is None:
        return values, sources
    named = {"builder": choice.builder, "namespace": values.get("namespace") or choice.namespace}
    return {**values, **named}, {"namespace": target.SOURCE, **sources, "builder": target.SOURCE}


def merge_variables(given: Mapping[str, Value], env: Mapping[str, str]) -> tuple[dict[str, Value], dict[str, str]]:
    """Merge the arguments over the variables; return values and sources.

    As in buildx, a variable may choose the display even if the argument is ``auto`` (0.38.2, ``util/progress``).
    """
    values, sources = assembly.read_variables(env)
    if given.get("progress") == ProgressMode.AUTO and "progress" in values:
        given = {name: value for name, value in given.items() if name != "progress"}
    flags = {name: options.BY_NAME[name].flag for name in given}
    return {**values, **given}, {**sources, **flags}


def check_stdout(settings: Settings, around: ProcessContext) -> None:
    """Refuse to write a result to a terminal, as buildx 0.38.2 does (``build/opt.go``), or to a closed stdout.

    Raises InputError.
    """
    for output in settings.build.outputs:
        if output.get("dest") == STDOUT and (around.stdout_is_closed or around.stdout.isatty()):
            where = "closed" if around.stdout_is_closed else "a terminal"
            message = f"refusing to write type={output.type} to standard output, which is {where}"
            raise InputError(message, source=options.BY_NAME["outputs"].flag, fix="add dest=FILE, or redirect it")


def make_parser() -> VerbParser:
    """Make the verb's parser from the table of options."""
    from ci_buildx.cli.parser import VerbParser

    parser = VerbParser("build", "[OPTIONS] PATH|URL", SUMMARY, examples=EXAMPLES, refused=NOT_TAKEN)
    parser.add_options(options.list_options(OptionSurface.CLI))
    parser.offer_help()
    return parser


def print_preview(settings: Settings, kind: PreviewKind, around: ProcessContext) -> None:
    """Print a preview as JSON; a list's elements are printed as they are found."""
    import json

    from ci_buildx.build.preview import BuildPreview

    values = BuildPreview(settings=settings, env=around.env, warn=around.warn).make_values(kind)
    if isinstance(values, dict):
        around.stdout.write(json.dumps(values, indent=2) + "\n")
        return
    mark = "["
    for value in values:
        around.stdout.write(f"{mark}\n{json.dumps(value)}")
        mark = ","
    around.stdout.write("\n]\n" if mark == "," else "[]\n")


def print_result(result: BuildResult, settings: Settings, *, stdout: TextIO, stderr: TextIO) -> None:
    """Print the result: with quiet progress only the image ID, to stdout; else a few lines after the progress.

    For a frontend call, print its answer to stdout.
    """
    progress = settings.build.progress
    if settings.build.call:
        stdout.write(result.answer)
    elif progress is ProgressMode.QUIET:
        stdout.write(f"{result.image_id or result.digest}\n")
    elif progress not in (ProgressMode.RAWJSON, ProgressMode.NONE):
        TextOutlet(stderr).write("".join(f"{line}\n" for line in ("", *result.list_lines())))
