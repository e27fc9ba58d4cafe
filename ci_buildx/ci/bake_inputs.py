"""Inputs of the CI systems for ``bake``, by the names of docker/bake-action 7.1 (``action.yml``, ``subaction/matrix``).

``workdir`` is that of its versions before 7; ``jobs`` is the command's option.
"""

from __future__ import annotations

from collections.abc import Iterable

from ci_buildx.ci.inputs import BUNDLE, BY_NAME, DRIVER, OF_LOGIN, PYTHON
from ci_buildx.model.record import replace
from ci_buildx.settings.option import Option, OptionGroup, OptionKind, OptionSurface, Reading

_ON_GITHUB = frozenset((OptionSurface.GITHUB,))

SOURCE = Option(
    name="source",
    metavar="FOLDER|URL",
    group=OptionGroup.IMAGE,
    help="folder that the definition and its paths are relative to, or a git repository that both come from",
    otherwise="this repository at the event's commit, as a git URL",
)
WORKDIR = Option(
    name="workdir",
    metavar="FOLDER",
    group=OptionGroup.IMAGE,
    surfaces=_ON_GITHUB,
    help="folder that paths are relative to, with a definition in it: source, if that is a folder",
)
FILES = Option(
    name="files",
    kind=OptionKind.WORDS,
    metavar="FILE",
    group=OptionGroup.IMAGE,
    help="definition: HCL, JSON or a compose file; cwd:// marks a file of the runner beside a definition in git",
    otherwise="compose.yaml, docker-bake.hcl and the other files that docker buildx bake reads",
)
_TARGETS = Option(
    name="targets",
    kind=OptionKind.WORDS,
    metavar="TARGET",
    group=OptionGroup.IMAGE,
    help="target, group, or pattern such as app-*",
    otherwise="default",
)
_SET = Option(
    name="set",
    kind=OptionKind.LINES,
    reading=Reading.LINES,
    metavar="TARGET.KEY=VALUE",
    group=OptionGroup.IMAGE,
    help="override of a target's attribute; * in TARGET matches any characters",
)
_VARS = Option(
    name="vars",
    kind=OptionKind.LINES,
    reading=Reading.LINES,
    metavar="NAME=VALUE",
    group=OptionGroup.IMAGE,
    help="variable of the definition",
)
_ALLOW = replace(
    BY_NAME["allow"],
    help="permit what the definition requests: network.host, security.insecure, device, ssh, fs=PATH, fs.read=PATH, "
    "fs.write=PATH; files of the checkout are always permitted",
)
_JOBS = Option(
    name="jobs",
    metavar="N|MODE",
    group=OptionGroup.STEPS,
    help="number of targets at once, or MODE[,parallel=N]: fail-fast, defer-output (export once all are built) or "
    "defer-error (build the others as well)",
    otherwise="all at once, fail-fast",
)
_RESULTS = (
    BY_NAME["call"],
    replace(BY_NAME["push"], help="push the images of all targets"),
    replace(BY_NAME["load"], help="load the images of all targets into the docker daemon of DOCKER_HOST", as_input=""),
    replace(BY_NAME["provenance"], help="provenance of all targets: a boolean, or attributes such as mode=max"),
    replace(BY_NAME["sbom"], help="SBOM of all targets: a boolean, or generator=IMAGE"),
    replace(BY_NAME["no-cache"], help="run all steps of all targets, ignoring the cache"),
    replace(BY_NAME["pull"], help="check the registry for newer base images of all targets"),
)
_SHARED = tuple(
    BY_NAME[name]
    for name in (
        *("context-mtime", "timeline", "driver-opts", "builder-config", "buildkitd-config", "buildkitd-config-inline"),
        *("buildkitd-flags", "builder", "lifetime", "sticky-key", "queue-timeout", "trust-scope", "transport"),
        *("namespace", "kubeconfig", "kube-context", "oidc", "progress"),
    )
)
"""Options of a build that are about the job around the targets."""
SHARED_NAMES = frozenset(option.name for option in _SHARED)
_TARGET = Option(
    name="target",
    metavar="TARGET",
    group=OptionGroup.IMAGE,
    surfaces=_ON_GITHUB,
    help="target or group whose targets are listed",
    otherwise="default",
)
_FIELDS = Option(
    name="fields",
    kind=OptionKind.WORDS,
    metavar="NAME",
    group=OptionGroup.IMAGE,
    surfaces=_ON_GITHUB,
    help="attribute of the targets, such as platforms: each of its values becomes a job of the matrix",
)
_GITHUB_TOKEN = replace(
    BY_NAME["github-token"], help="token for the repository, if the definition and the contexts come from it"
)


def list_bake_inputs(surface: OptionSurface) -> tuple[Option, ...]:
    """Return the inputs of the step or job that builds a definition's targets."""
    of_definition = (SOURCE, WORKDIR, FILES, _TARGETS, _SET, _VARS, _ALLOW, *_RESULTS, _JOBS, *_SHARED)
    if surface is OptionSurface.GITHUB:
        return (*of_definition, _GITHUB_TOKEN, *OF_LOGIN, DRIVER, PYTHON, BUNDLE)
    folder = replace(
        SOURCE, metavar="FOLDER", help="folder that the definition and its paths are relative to", otherwise="."
    )
    return (folder, *(option for option in of_definition[1:] if surface in option.surfaces))


def list_matrix_inputs() -> tuple[Option, ...]:
    """Return the inputs of the step that makes a job matrix of a definition."""
    return (replace(WORKDIR, help="folder that paths are relative to", otherwise="."), FILES, _TARGET, _FIELDS, PYTHON)


def list_targets_inputs() -> tuple[Option, ...]:
    """Return the inputs of the step that lists a definition's targets."""
    return tuple(option for option in list_matrix_inputs() if option is not _FIELDS)


def list_with_variables(known: Iterable[Option]) -> tuple[Option, ...]:
    """Return the options that ``KUBE_BUILDER_…`` variables set, as for a build: none of bake's own."""
    own = {option.name for option in (SOURCE, WORKDIR, FILES, _TARGETS, _SET, _VARS, _JOBS)}
    return tuple(option for option in known if option.name not in own)
