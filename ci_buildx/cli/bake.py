"""``kube-builder bake``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ci_buildx.cli.build import merge_variables
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import EXIT_CODES, ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass, replace
from ci_buildx.progress.renderer import TextOutlet
from ci_buildx.settings import options
from ci_buildx.settings.building import read_metadata_provenance
from ci_buildx.settings.calls import parse_call
from ci_buildx.settings.option import Option, OptionGroup, OptionKind
from ci_buildx.settings.raw_values import Value
from ci_buildx.settings.values import FrontendCall, MetadataProvenance, ProgressMode

if TYPE_CHECKING:
    from pathlib import Path

    from ci_buildx.bake.definitions import DefinitionFile
    from ci_buildx.bake.entitlements import Entitlements
    from ci_buildx.bake.execution import TargetExecution
    from ci_buildx.bake.inputs import TargetInputs
    from ci_buildx.bake.jobs import SharedOptions, TargetJob
    from ci_buildx.bake.request import BakeRequest
    from ci_buildx.bake.resolution import ResolvedTargets
    from ci_buildx.bake.run import BakeOutcome
    from ci_buildx.progress.display import BuildDisplay

SUMMARY = (
    "Builds the targets of a definition in HCL or JSON, or of a compose file, in parallel on the nodes of one builder. "
    "Options and files are those of docker buildx bake. Without targets, builds the group or target named default."
)
EXAMPLES = f"""\
examples:
  the group default of docker-bake.hcl
    kube-builder bake --push
  two targets with another tag and a variable
    kube-builder bake --set '*.tags=registry.example/app:1' --var VERSION=1.2 app db
  what would be built
    kube-builder bake --print
  a definition in a git repository
    kube-builder bake https://git.example/team/app.git#main

{EXIT_CODES}"""


def _make_option(
    name: str, help_text: str, group: OptionGroup, metavar: str, *, short: str = "", many: bool = False
) -> Option:
    kind = OptionKind.LINES if many else OptionKind.TEXT
    flags = (*((short,) if short else ()), f"--{name}")
    return Option(name=name, flags=flags, kind=kind, metavar=metavar, group=group, help=help_text)


def _make_switch(name: str, help_text: str, group: OptionGroup) -> Option:
    return Option(name=name, flags=(f"--{name}",), kind=OptionKind.SWITCH, group=group, help=help_text)


_IMAGE, _RESULT, _STEPS, _CACHE = OptionGroup.IMAGE, OptionGroup.RESULT, OptionGroup.STEPS, OptionGroup.CACHE
OWN_OPTIONS = (
    _make_option(
        "file", "definition: HCL, JSON or a compose file, or - for stdin", _IMAGE, "FILE", short="-f", many=True
    ),
    _make_option(
        "set",
        "override a target's attribute; * in TARGET matches any characters",
        _IMAGE,
        "TARGET.KEY=VALUE",
        many=True,
    ),
    _make_option("var", "set a variable of the definition", _IMAGE, "NAME=VALUE", many=True),
    _make_switch("print", "print the targets as JSON instead of building", _RESULT),
    _make_option("list", "list targets or variables; type=targets,format=json for JSON", _RESULT, "KIND"),
    _make_switch("push", "push the images of all targets; same as --set=*.output=type=registry", _RESULT),
    _make_switch("load", "load the images of all targets into docker; same as --set=*.output=type=docker", _RESULT),
    _make_option("metadata-file", "write the results of all targets to FILE, as JSON by target", _RESULT, "FILE"),
    _make_option(
        "call", "instead of building, report on the Dockerfiles: check, outline or targets", _RESULT, "METHOD"
    ),
    _make_switch("check", "same as --call check", _RESULT),
    _make_option("provenance", "provenance of all targets; same as --set=*.attest=type=provenance", _RESULT, "VALUE"),
    _make_option("sbom", "SBOM of all targets; same as --set=*.attest=type=sbom", _RESULT, "VALUE"),
    _make_switch("no-cache", "run every step of all targets, ignoring the cache", _CACHE),
    _make_switch("pull", "check the registry for newer base images of all targets", _CACHE),
    _make_option(
        "policy", "disabled=true ignores the Rego policies next to the Dockerfiles", _CACHE, "KEY=VALUE", many=True
    ),
    _make_option(
        "allow",
        "permit what the definition requests: network.host, security.insecure, device, ssh, fs=PATH, fs.read=PATH, "
        "fs.write=PATH",
        _STEPS,
        "ENTITLEMENT",
        many=True,
    ),
    _make_option(
        "jobs",
        "maximum number of targets at once, or MODE[,parallel=N]: fail-fast, defer-output (export once all are built) "
        "or defer-error (build the others as well)",
        _STEPS,
        "N|MODE",
        short="-j",
    ),
)
SHARED = (
    *("builder", "keep", "lifetime", "driver-opts", "builder-config", "buildkitd-config", "buildkitd-flags"),
    *("sticky-key", "queue-timeout", "retries", "transport", "namespace", "kubeconfig", "kube-context", "oidc"),
    *("context-mtime", "timeline", "progress", "debug"),
)
"""Options of ``build`` that are about the job around the targets."""
OPTIONS = (*OWN_OPTIONS, *(options.BY_NAME[name] for name in SHARED))
_HIDDEN = {"--list-targets": "use --list targets", "--list-variables": "use --list variables"}


def main(argv: Sequence[str], around: ProcessContext) -> int:
    """Print, list or build targets."""
    from ci_buildx.bake import request as bake_request
    from ci_buildx.bake.entitlements import parse_entitlements
    from ci_buildx.bake.execution import parse_jobs
    from ci_buildx.bake.limits import run_bounded

    given = make_parser().read(argv)
    answers = ParsedArguments(given)
    printed, listed = answers.switch("print"), answers.read_text("list")
    if printed and listed:
        raise InputError("--print and --list are mutually exclusive")
    request, from_env = make_request(answers, around)
    execution = parse_jobs(answers.read_text("jobs"))
    allowed = parse_entitlements(answers.read_texts("allow"))
    shared = read_shared(given, around)
    files = read_files(request, from_env, shared, around)
    if not files:
        bake_request.refuse_nothing()
    loaded = bake_request.load_files(files, request, env=around.env, cwd=around.cwd, readable=allowed.read)
    bounded = partial(run_bounded, source=loaded.source)
    if listed:
        from ci_buildx.bake.listing import show_list

        around.stdout.write(bounded(lambda: show_list(loaded, listed, hidden=around.list_secrets())))
        return 0
    resolved = bake_request.select_targets(loaded, request, around.env)
    bake_request.check_files(resolved, around.env, around.cwd)
    hidden = around.list_secrets()
    if printed:
        print_them = partial(bake_request.print_targets, written=[file.text for file in files])
        around.stdout.write(bounded(lambda: print_them(resolved, request.remote, hidden=hidden)))
        return 0
    inputs = grant_inputs(resolved, request, allowed, shared, around)
    call = parse_call("check" if answers.switch("check") else answers.read_text("call"), source="--call")
    metadata = answers.read_text("metadata-file")
    order = BakeOrder(
        inputs=inputs,
        execution=execution,
        call=call,
        metadata_file=around.cwd / metadata if metadata else None,
        definition=bake_request.describe_targets(resolved, request.remote, hidden=hidden),
    )
    return build_targets(order, shared, around)


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeOrder:
    """What is built, and what is told about it; ``call`` is the call of the command, not of the definition."""

    inputs: Sequence[TargetInputs]
    execution: TargetExecution
    call: FrontendCall | None
    metadata_file: Path | None
    definition: Mapping[str, Any]


def grant_inputs(
    resolved: ResolvedTargets,
    request: BakeRequest,
    allowed: Entitlements,
    shared: SharedOptions,
    around: ProcessContext,
) -> list[TargetInputs]:
    """Return the targets as options of builds, after what they ask for has been granted. Raises InputError."""
    from ci_buildx.bake import entitlements
    from ci_buildx.bake.inputs import list_inputs

    inputs = list_inputs(resolved.targets, request.remote, around.env)
    granted = entitlements.grant_paths(allowed, resolved.allowed, around.cwd)
    missing = entitlements.find_missing(inputs, granted, around.cwd)
    wanted = entitlements.make_request(missing, around.cwd)
    wanted = entitlements.drop_unchecked(wanted, around.env, remote=bool(request.remote))
    if wanted.is_empty:
        return inputs
    stdin = around.stdin
    interactive = stdin is not None and stdin.isatty() and around.stderr.isatty()
    if shared.values.get("progress") != ProgressMode.RAWJSON:
        text = entitlements.describe_request(wanted, around.argv[1:], interactive=interactive, hint=not request.remote)
        around.stderr.write(around.mask(text))
        if interactive and stdin is not None:
            around.stderr.write("Do you want to grant requested privileges and continue? [y/N] ")
            around.stderr.flush()
            if stdin.readline().strip().lower() in ("y", "yes"):
                return inputs
    raise entitlements.refuse(wanted)


def build_targets(order: BakeOrder, shared: SharedOptions, around: ProcessContext) -> int:
    """Build the targets, write the metadata and print the answers to calls. Raises the KubeBuilderError tree."""
    from ci_buildx.bake import answers as bake_answers
    from ci_buildx.bake import run
    from ci_buildx.bake.jobs import merge_settings, open_jobs
    from ci_buildx.cli.build import check_stdout

    shared = choose_builder(shared, around)

    def deliver(outcome: BakeOutcome) -> None:
        if order.metadata_file is not None:
            bake_answers.write_metadata(order.metadata_file, outcome, around.env)

    with open_jobs(order.inputs, shared) as jobs:
        if order.call is not None:
            jobs = [job if job.linked else set_call(job, order.call) for job in jobs]
        provenance = read_metadata_provenance(around.env, is_written=True) if order.metadata_file else None
        jobs = [set_provenance(job, provenance) for job in jobs]
        for job in jobs:
            check_stdout(job.settings, around)
        settings = merge_settings(jobs, around.cwd)
        session = run.BakeSession(
            settings=settings,
            env=around.env,
            display_stream=around.stderr,
            execution=order.execution,
            deliver=deliver,
        )
        outcome = run.run_targets(jobs, session)
    if order.call is not None and order.call.json:
        around.stdout.write(bake_answers.format_answers_json(order.definition, jobs, outcome.results))
    elif text := bake_answers.format_answers(jobs, outcome.results):
        around.stdout.write(text)
    elif settings.build.progress not in (ProgressMode.QUIET, ProgressMode.NONE, ProgressMode.RAWJSON):
        print_results(outcome, around)
    return next((one.status for _, one in sorted(outcome.results.items()) if one.status), 0)


def set_call(job: TargetJob, call: FrontendCall) -> TargetJob:
    """Return a target with the call of the command line, whose format counts for all."""
    return replace(job, settings=replace(job.settings, build=replace(job.settings.build, call=call)))


def set_provenance(job: TargetJob, provenance: MetadataProvenance | None) -> TargetJob:
    """Return a target whose metadata has this provenance."""
    build = replace(job.settings.build, metadata_provenance=provenance)
    return replace(job, settings=replace(job.settings, build=build))


def print_results(outcome: BakeOutcome, around: ProcessContext) -> None:
    """Print what was pushed and the digests, by target, after the progress."""
    lines = []
    for name, result in sorted(outcome.results.items()):
        rows = [(title, value) for title, value in result.list_rows() if title in ("image", "digest")]
        lines += [f"{name}: {title} {value}" for title, value in rows]
    if lines:
        TextOutlet(around.stderr).write("\n" + "".join(f"{line}\n" for line in lines))


def read_shared(given: Mapping[str, Value], around: ProcessContext) -> SharedOptions:
    """Return the options about the job around the targets, also those of variables. Raises InputError."""
    from ci_buildx.bake.jobs import SharedOptions

    values, sources = merge_variables({name: value for name, value in given.items() if name in SHARED}, around.env)
    return SharedOptions(
        values={name: value for name, value in values.items() if name in SHARED},
        sources={name: text for name, text in sources.items() if name in SHARED},
        env=around.env,
        cwd=around.cwd,
    )


def make_request(answers: ParsedArguments, around: ProcessContext) -> tuple[BakeRequest, bool]:
    """Return the request, and whether its files come from ``BUILDX_BAKE_FILE``. Raises InputError."""
    from ci_buildx.bake import request as bake_request
    from ci_buildx.bake.definitions import list_named_files, parse_variables

    remote, context, targets = bake_request.split_arguments(answers.read_texts("names"))
    files = answers.read_texts("file")
    named = [] if files else list_named_files(around.env, around.cwd)
    added = [f"*.{name}=true" for name in ("push", "load") if answers.switch(name)]
    call = "check" if answers.switch("check") else answers.read_text("call")
    added += bake_request.make_call_overrides(call, source="--call")
    added += [
        f"*.{name}={str(answers.switch(name)).lower()}" for name in ("no-cache", "pull") if name in answers.values
    ]
    for kind in ("sbom", "provenance"):
        if text := answers.read_text(kind):
            added.append(bake_request.make_attestation_override(kind, text))
    policies, enforced = bake_request.make_policy_overrides(answers.read_texts("policy"))
    request = bake_request.BakeRequest(
        targets=targets,
        remote=remote,
        command_context=context,
        files=tuple(files or named),
        overrides=(*answers.read_texts("set"), *added, *policies),
        variables=parse_variables(answers.read_texts("var")),
        enforced=enforced,
    )
    return request, bool(named)


def read_files(
    request: BakeRequest, from_env: bool, shared: SharedOptions, around: ProcessContext
) -> list[DefinitionFile]:
    """Read the definitions: those of a repository, then local ones. Raises the KubeBuilderError tree."""
    from ci_buildx.bake.definitions import FILES
    from ci_buildx.bake.request import read_local_files

    found: list[DefinitionFile] = []
    if request.remote:
        from ci_buildx.bake.remote import read_remote_files

        found = read_remote_files(request.remote, request.remote_files, choose_builder(shared, around), around.stderr)
    names = request.local_files
    if names is None:
        return found
    where = f" from {FILES} env" if from_env else ""
    stdin = around.stdin or sys.stdin
    with open_progress(shared, around) as shown, shown.begin_phase(f"load local bake definitions{where}") as phase:
        return [*found, *read_local_files(names, cwd=around.cwd, stdin=stdin, report=phase.add_status)]


def choose_builder(shared: SharedOptions, around: ProcessContext) -> SharedOptions:
    """Add the builder that ``use`` chose. Raises InputError."""
    from ci_buildx.cli.build import add_current_builder

    values, sources = add_current_builder(dict(shared.values), dict(shared.sources), around)
    return replace(shared, values=values, sources=sources)


@contextmanager
def open_progress(shared: SharedOptions, around: ProcessContext) -> Iterator[BuildDisplay]:
    """Open the display of a command for the time of a block."""
    from ci_buildx.progress import display

    text = str(shared.values.get("progress") or ProgressMode.AUTO)
    if text not in tuple(ProgressMode):
        known = ", ".join(ProgressMode)
        raise InputError(f"unknown value {text!r}", source="--progress", fix=f"known: {known}")
    shown = display.open_display(ProgressMode(text), around.stderr, env=around.env)
    try:
        yield shown
    except BaseException as error:
        shown.close(error)
        raise
    shown.close()


def make_parser() -> VerbParser:
    """Make the verb's parser."""
    usage = "[OPTIONS] [URL [CONTEXT-URL]] [TARGET…]"
    parser = VerbParser("bake", usage, SUMMARY, examples=EXAMPLES, refused=_HIDDEN)
    group = parser.add_argument_group("Arguments")
    group.add_argument("names", nargs="*", metavar="TARGET", help="targets, groups, or patterns such as app-*")
    parser.add_options(OPTIONS)
    parser.offer_help()
    return parser
