"""Inputs of the CI systems: options of a build, and inputs of the surrounding job.

Inputs of docker's actions keep their names: docker/login-action 4.1 (``registry`` …), metadata-action 6.2
(``images`` …), build-push-action 7.3 (``secret-envs`` …). ``tag-rules`` is metadata-action's ``tags``, and
``metadata-context`` its ``context``; build-push-action uses those two names for something else. The precedence of the
attestation inputs is that of its version 7.3.0 (``src/context.ts``).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from ci_buildx.model.record import replace
from ci_buildx.settings import assembly, options
from ci_buildx.settings.assembly import Value
from ci_buildx.settings.attributes import PROVENANCE, SBOM
from ci_buildx.settings.option import Option, OptionGroup, OptionKind, OptionSurface, Reading
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.syntax import split_fields
from ci_buildx.settings.values import ClusterSettings, ProgressMode, Settings


class MetadataContext(StrEnum):
    """Source of the ref and commit for tags and labels."""

    WORKFLOW = "workflow"
    GIT = "git"


_ON_GITHUB = frozenset((OptionSurface.GITHUB,))

OF_LOGIN = (
    Option(
        name="registry",
        metavar="HOST",
        group=OptionGroup.LOGIN,
        surfaces=_ON_GITHUB,
        help="registry to log in to",
        otherwise="Docker Hub",
    ),
    Option(
        name="username",
        metavar="NAME",
        group=OptionGroup.LOGIN,
        surfaces=_ON_GITHUB,
        help="user name for the registry",
    ),
    Option(
        name="password",
        metavar="SECRET",
        group=OptionGroup.LOGIN,
        surfaces=_ON_GITHUB,
        help="password or token for the registry",
    ),
    Option(
        name="scope",
        metavar="PATH",
        group=OptionGroup.LOGIN,
        surfaces=_ON_GITHUB,
        help="repository, or prefix of its path, that the login is limited to",
        otherwise="the whole registry",
    ),
    Option(
        name="registries",
        metavar="YAML",
        group=OptionGroup.LOGIN,
        surfaces=_ON_GITHUB,
        help="several logins, as a YAML list of registry, username, password and scope",
    ),
    Option(
        name="registry-auth",
        metavar="YAML",
        group=OptionGroup.LOGIN,
        surfaces=_ON_GITHUB,
        help="same as registries, with docker/login-action's name",
    ),
    Option(
        name="ecr",
        kind=OptionKind.CHOICE,
        choices=("auto", "true", "false"),
        default="auto",
        group=OptionGroup.LOGIN,
        surfaces=_ON_GITHUB,
        help="whether the registry is AWS ECR, so that username and password are an access key; without them, "
        "docker-credential-ecr-login or the environment's key is used; auto decides by the registry's name",
    ),
    Option(
        name="logout",
        kind=OptionKind.SWITCH,
        default="true",
        group=OptionGroup.LOGIN,
        surfaces=_ON_GITHUB,
        help="delete the logins when the step ends; with false, later steps can use them until the job ends",
    ),
)
_METADATA = (
    Option(
        name="images",
        kind=OptionKind.LINES,
        reading=Reading.FIELDS,
        comments=True,
        metavar="NAME",
        group=OptionGroup.METADATA,
        surfaces=_ON_GITHUB,
        help="image name without a tag; tag-rules generate the tags, labels describe the commit",
    ),
    Option(
        name="tag-rules",
        kind=OptionKind.LINES,
        reading=Reading.FIELDS,
        comments=True,
        metavar="type=TYPE,…",
        group=OptionGroup.METADATA,
        surfaces=_ON_GITHUB,
        help="rules that generate tags, as in docker/metadata-action: schedule, semver, pep440, match, edge, "
        "ref, raw or sha",
        otherwise="the branch, the tag or pr-NUMBER",
    ),
    Option(
        name="flavor",
        kind=OptionKind.LINES,
        reading=Reading.FIELDS,
        comments=True,
        metavar="K=V",
        group=OptionGroup.METADATA,
        surfaces=_ON_GITHUB,
        help="settings of all tags: latest=auto|true|false, prefix= and suffix=; with onlatest=true these "
        "also apply to latest",
    ),
    Option(
        name="metadata-context",
        kind=OptionKind.CHOICE,
        choices=tuple(MetadataContext),
        default=MetadataContext.WORKFLOW,
        group=OptionGroup.METADATA,
        surfaces=_ON_GITHUB,
        help="source of tags and labels: workflow (the run's ref and commit) or git (the checked-out ones); "
        "metadata-action's context",
    ),
    Option(
        name="sep-tags",
        metavar="TEXT",
        group=OptionGroup.METADATA,
        surfaces=_ON_GITHUB,
        help="separator between tags in the output tags",
        otherwise="a line break",
    ),
    Option(
        name="sep-labels",
        metavar="TEXT",
        group=OptionGroup.METADATA,
        surfaces=_ON_GITHUB,
        help="separator between labels in the output labels",
        otherwise="a line break",
    ),
    Option(
        name="sep-annotations",
        metavar="TEXT",
        group=OptionGroup.METADATA,
        surfaces=_ON_GITHUB,
        help="separator between annotations in the output annotations",
        otherwise="a line break",
    ),
    Option(
        name="bake-target",
        metavar="NAME",
        group=OptionGroup.METADATA,
        surfaces=_ON_GITHUB,
        help="name of the target in the bake files",
        default="docker-metadata-action",
    ),
)
_SECRETS = (
    Option(
        name="secret-envs",
        kind=OptionKind.WORDS,
        metavar="NAME=VARIABLE",
        group=OptionGroup.CACHE,
        surfaces=_ON_GITHUB,
        help="secret from an environment variable of the step",
    ),
    Option(
        name="secret-files",
        kind=OptionKind.LINES,
        metavar="NAME=FILE",
        group=OptionGroup.CACHE,
        surfaces=_ON_GITHUB,
        help="secret from a file",
    ),
    Option(
        name="github-token",
        metavar="TOKEN",
        default="${{ github.token }}",
        group=OptionGroup.CACHE,
        surfaces=_ON_GITHUB,
        help="token for the repository, if that is the build context",
        otherwise="the job's own token",
    ),
)
PYTHON = Option(
    name="python",
    metavar="PROGRAM",
    group=OptionGroup.DISPLAY,
    surfaces=_ON_GITHUB,
    help="Python interpreter to use, 3.11 or newer",
    otherwise="the first on the PATH",
)
"""Only the JavaScript wrapper (``action/run.js``) reads it."""
BUNDLE = Option(
    name="bundle",
    kind=OptionKind.LINES,
    reading=Reading.LINES,
    metavar="URL@sha256:DIGEST",
    group=OptionGroup.DISPLAY,
    surfaces=_ON_GITHUB,
    help="archive of a release with the Python packages of one interpreter, fetched instead of them; the line whose "
    "name fits the interpreter counts",
    otherwise="the packages of the lock, from the package index",
)
"""Only the JavaScript wrapper (``action/bundle.js``) reads it."""
DRIVER = Option(
    name="driver",
    kind=OptionKind.CHOICE,
    choices=("kubernetes",),
    default="kubernetes",
    group=OptionGroup.BUILDER,
    surfaces=_ON_GITHUB,
    help="builder driver; kubernetes is the only one",
)

USE = Option(
    name="use",
    kind=OptionKind.SWITCH,
    default="true",
    group=OptionGroup.BUILDER,
    surfaces=_ON_GITHUB,
    help="make later steps use the builder; with false, set their input builder to this step's output name",
)
EXPOSE = Option(
    name="expose",
    kind=OptionKind.SWITCH,
    default="false",
    group=OptionGroup.BUILDER,
    surfaces=_ON_GITHUB,
    help="give later steps a UNIX socket that reaches the builder, for buildctl, nerdctl and docker buildx with the "
    "remote driver, as BUILDKIT_HOST; it exists until the job ends",
)
CLEANUP = Option(
    name="cleanup",
    kind=OptionKind.SWITCH,
    default="true",
    group=OptionGroup.BUILDER,
    surfaces=_ON_GITHUB,
    help="remove the builder at the end of the job; with false, it ends with its lifetime",
)

OF_THE_JOB: tuple[Option, ...] = (*_METADATA, *_SECRETS, *OF_LOGIN, DRIVER, PYTHON, BUNDLE)
BY_NAME = options.BY_NAME | {option.name: option for option in OF_THE_JOB}


_SHARED = (
    *("platforms", "driver-opts", "builder-config", "buildkitd-config", "buildkitd-config-inline", "buildkitd-flags"),
    *("lifetime", "trust-scope", "transport", "namespace", "kubeconfig", "kube-context", "oidc", "progress"),
)
OF_SETUP: tuple[Option, ...] = (*(BY_NAME[name] for name in _SHARED), DRIVER, USE, EXPOSE, CLEANUP, PYTHON, BUNDLE)
"""Inputs of ``setup/action.yml``."""
BY_NAME |= {option.name: option for option in OF_SETUP}

DIGESTS = Option(
    name="digests",
    kind=OptionKind.WORDS,
    metavar="DIGEST|FILE|FOLDER",
    group=OptionGroup.IMAGE,
    help="image that a job pushed by digest: its digest, the metadata file of its build, a file that is empty and "
    "named after the digest, or a folder with such files",
)
FROM = Option(
    name="from",
    flags=("--from",),
    metavar="REPOSITORY",
    group=OptionGroup.IMAGE,
    help="repository that the jobs pushed to",
    otherwise="that of the first tag",
)
BY_NAME |= {option.name: option for option in (DIGESTS, FROM)}
_OF_MERGE = (
    DIGESTS,
    BY_NAME["tags"],
    FROM,
    replace(
        BY_NAME["platforms"],
        help="fail if an image for one of these platforms is missing, since its job did not pass the digest on",
        otherwise="",
        as_input="",
    ),
    replace(BY_NAME["annotations"], metavar="K=V", help="OCI annotation of the merged index", otherwise=""),
    *(BY_NAME[name] for name in ("buildkitd-config", "buildkitd-config-inline", "progress")),
)
_OF_MERGED_NAMES = ("images", "tag-rules", "flavor", "metadata-context", "sep-tags", "sep-annotations")


def list_merge_inputs(surface: OptionSurface) -> tuple[Option, ...]:
    """Return the inputs of the step or job that merges digests."""
    if surface is not OptionSurface.GITHUB:
        return _OF_MERGE
    return (*_OF_MERGE, *(BY_NAME[name] for name in (*_OF_MERGED_NAMES, "github-token")), *OF_LOGIN, PYTHON)


def list_inputs(surface: OptionSurface) -> tuple[Option, ...]:
    """Return the inputs of a CI system, in the tables' order."""
    return (*options.list_options(surface), *(option for option in OF_THE_JOB if surface in option.surfaces))


_NO_KUBECONFIG = {
    OptionSurface.GITHUB: (
        "input kubeconfig",
        "define the secret that it names; pull requests from forks do not get secrets",
    ),
    OptionSurface.GITLAB: (
        "variable KUBECONFIG",
        "add it as a CI/CD variable of type File; only protected branches and tags get a protected variable",
    ),
}
"""Name and advice, if neither the input nor the variable has a kubeconfig."""
_PROGRESS = {OptionSurface.GITHUB: ProgressMode.GITHUB, OptionSurface.GITLAB: ProgressMode.GITLAB}


def read_job_settings(
    values: Mapping[str, Value],
    sources: Mapping[str, str],
    env: Mapping[str, str],
    cwd: Path,
    *,
    surface: OptionSurface = OptionSurface.CLI,
) -> Settings:
    """Make settings like :func:`assembly.make_settings`, for the log and in the words of the CI system ``surface``.

    Some runners give a job a terminal that no one sees, so ``auto`` is the mode that fits the system's log.
    """
    return fit_settings(assembly.make_settings(values, sources, env, cwd), values, surface=surface)


def fit_settings(settings: Settings, values: Mapping[str, Value], *, surface: OptionSurface) -> Settings:
    """Return the settings for the log and in the words of a CI system; ``values`` are the inputs."""
    cluster, build = fit_cluster(settings.cluster, values, surface=surface), settings.build
    if build.progress is ProgressMode.AUTO:
        build = replace(build, progress=_PROGRESS.get(surface, ProgressMode.PLAIN))
    return replace(settings, surface=surface, cluster=cluster, build=build)


def fit_cluster(cluster: ClusterSettings, values: Mapping[str, Value], *, surface: OptionSurface) -> ClusterSettings:
    """Return the settings with the CI system's own words for a kubeconfig that is missing."""
    if values.get("kubeconfig") or surface not in _NO_KUBECONFIG:
        return cluster
    name, fix = _NO_KUBECONFIG[surface]
    return replace(cluster, empty_input=name, empty_fix=fix)


def drop_overridden(given: RawValues) -> RawValues:
    """Drop the ``attests`` that ``provenance`` or ``sbom`` overrides.

    On the command line, as in buildx, the first attestation of a type wins instead.
    """
    decided = {kind for kind in (PROVENANCE, SBOM) if given.read_text(kind)}
    attests = given.read_texts("attests") if decided else []
    kept = [text for text in attests if not any(is_of_type(text, kind) for kind in decided)]
    return given.replace_values(attests=kept) if kept != attests else given


def is_of_type(text: str, kind: str) -> bool:
    """Return whether an attestation is of this type.

    False for invalid CSV: reading the attestation later reports that error.
    """
    try:
        fields = split_fields(text)
    except ValueError:
        return False
    pairs = (field.partition("=") for field in fields)
    return any((key.strip().lower(), value.strip()) == ("type", kind) for key, _, value in pairs)
