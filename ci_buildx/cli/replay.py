"""Options and helpers that all verbs of ``replay`` share."""

from __future__ import annotations

from collections.abc import Sequence

from ci_buildx.cli.build import add_current_builder, merge_variables
from ci_buildx.cli.parser import ParsedArguments, VerbParser
from ci_buildx.cli.process import ProcessContext
from ci_buildx.errors import InputError
from ci_buildx.model.record import replace
from ci_buildx.registry.client import RegistryClient
from ci_buildx.replay.checks import ReplayMode
from ci_buildx.replay.materials import SOURCE as MATERIALS
from ci_buildx.replay.materials import MaterialStores, parse_materials
from ci_buildx.replay.request import ReplayRequest, make_settings
from ci_buildx.replay.subject import (
    ALL_PLATFORMS,
    ReplaySubject,
    is_signed,
    load_predicate,
    load_subjects,
    select_subjects,
)
from ci_buildx.settings import options
from ci_buildx.settings.attributes import parse_outputs
from ci_buildx.settings.option import Option, OptionGroup, OptionKind
from ci_buildx.settings.platforms import parse_platforms
from ci_buildx.settings.raw_values import Value
from ci_buildx.settings.values import Settings, TypedAttributes

_AROUND = (
    *("builder", "keep", "lifetime", "driver-opts", "builder-config", "buildkitd-config", "buildkitd-flags"),
    *("queue-timeout", "retries", "transport", "namespace", "kubeconfig", "kube-context", "oidc"),
)
"""Options of ``build`` that are about the builder."""
SHARED = (
    Option(
        name="materials",
        flags=("--materials",),
        kind=OptionKind.LINES,
        metavar="STORE",
        group=OptionGroup.CACHE,
        help="where sources are: provenance, oci-layout://FOLDER, an absolute path, or URI=PATH",
        otherwise="provenance, which are the recorded places",
    ),
    replace(
        options.BY_NAME["network"],
        help="network mode of RUN: default or none",
        otherwise="that of the original build",
    ),
    options.BY_NAME["secrets"],
    options.BY_NAME["ssh"],
    replace(
        options.BY_NAME["platforms"],
        help="the image's platform to build again",
        otherwise="the only one",
    ),
    options.BY_NAME["progress"],
)
BUILDING = tuple(options.BY_NAME[name] for name in (*_AROUND, "timeline"))
OUTPUT = options.BY_NAME["outputs"]


def make_parser(verb: str, summary: str, examples: str, known: Sequence[Option]) -> VerbParser:
    """Make the parser of a verb with the positional SUBJECT and the ``known`` options."""
    parser = VerbParser(verb, "[OPTIONS] SUBJECT", summary, examples=examples)
    group = parser.add_argument_group("Arguments")
    about = "docker-image://REF, oci-layout://FOLDER:TAG, a provenance file, or a reference"
    group.add_argument("subject", nargs="?", default="", metavar="SUBJECT", help=about)
    parser.add_options(known)
    parser.offer_help()
    return parser


def parse_only_output(texts: Sequence[str], around: ProcessContext) -> TypedAttributes:
    """Parse the only ``--output``. Raises InputError if there are several."""
    if len(texts) > 1:
        raise InputError(f"exactly one --output is required (got {len(texts)})")
    (found,) = parse_outputs(texts, source="--output", cwd=around.cwd, env=around.env, may_delete=False)
    return found


def check_attributes(output: TypedAttributes, known: Sequence[str]) -> None:
    """Raise InputError for an attribute that has an effect on the outputs of builds only."""
    for name, _ in output.attrs:
        if name not in known:
            raise InputError(f"{name} has no effect here", source="--output", fix="omit it")


def load_only(answers: ParsedArguments, around: ProcessContext, client: RegistryClient, *, verb: str) -> ReplaySubject:
    """Return the chosen subject. Raises InputError for several platforms, RegistryError."""
    texts = answers.read_texts("platforms")
    if ALL_PLATFORMS in texts:
        message = f'--platform "{ALL_PLATFORMS}" is not supported by {verb}'
        raise InputError(message, fix="select a single platform")
    if len(parse_platforms(texts, source="--platform")) > 1:
        raise InputError(f"not implemented: {verb} of several platforms", source="--platform", fix="select one")
    (found,) = load_several(answers, around, client)
    return found


def load_several(answers: ParsedArguments, around: ProcessContext, client: RegistryClient) -> tuple[ReplaySubject, ...]:
    """Return the chosen subjects. Raises InputError and RegistryError."""
    texts = answers.read_texts("platforms")
    every = texts == [ALL_PLATFORMS]
    platforms = () if every else parse_platforms(texts, source="--platform")
    found = load_subjects(answers.read_text("subject"), client, cwd=around.cwd, env=around.env)
    return select_subjects(found, platforms, every=every)


def read_materials(answers: ParsedArguments, around: ProcessContext, *, verb: str = "") -> MaterialStores:
    """Read ``--materials``; a ``verb`` that builds accepts none, as in buildx 0.38.2. Raises InputError."""
    stores = parse_materials(answers.read_texts("materials"), cwd=around.cwd, env=around.env)
    if verb and (stores.is_explicit or not stores.uses_registries):
        message = f"not implemented: {verb} with sources of this machine"
        raise InputError(message, source=MATERIALS, fix="omit it: BuildKit fetches each source and checks its digest")
    return stores


def make_request(
    subject: ReplaySubject, answers: ParsedArguments, around: ProcessContext, *, mode: ReplayMode = ReplayMode.MATERIALS
) -> ReplayRequest:
    """Read the subject's provenance; warn if it is signed. Raises InputError and RegistryError."""
    predicate = load_predicate(subject)
    if is_signed(subject):
        around.warn("the provenance is signed; kube-builder does not verify the signature")
    if subject.platform is None and predicate.target_platform is not None:
        subject = replace(subject, platform=predicate.target_platform)
    return ReplayRequest(subject=subject, predicate=predicate, mode=mode, network=answers.read_text("network"))


def read_settings(
    request: ReplayRequest,
    answers: ParsedArguments,
    around: ProcessContext,
    known: Sequence[Option],
    added: dict[str, Value] | None = None,
) -> Settings:
    """Return the settings of the build from the request and the ``known`` options. Raises InputError.

    Variables that set other options of ``build`` have no effect: they belong to another build.
    """
    names = {option.name for option in known if option.name in options.BY_NAME} - {"network", "platforms"}
    given = {name: value for name, value in answers.values.items() if name in names}
    values, sources = merge_variables(given, around.env)
    values = {name: value for name, value in values.items() if name in names}
    values, sources = add_current_builder(values, sources, around)
    return make_settings(request, {**values, **(added or {})}, sources, around.env, around.cwd)
