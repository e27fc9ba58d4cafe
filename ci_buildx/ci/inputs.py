"""Inputs of the CI systems: options of a build, and inputs of the surrounding job.

Inputs of docker's actions keep their names: docker/login-action 4.1 (``registry`` …), metadata-action 6.2
(``images`` …), build-push-action 7.3 (``secret-envs`` …). ``tag-rules`` is metadata-action's ``tags``, and
``metadata-context`` its ``context``; build-push-action uses those two names for something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from ci_buildx.model.record import replace
from ci_buildx.settings import assembly, options
from ci_buildx.settings.assembly import Value
from ci_buildx.settings.option import Option, OptionGroup, OptionKind, OptionSurface, Reading
from ci_buildx.settings.values import ProgressMode, Settings


class MetadataContext(StrEnum):
    """Source of the ref and commit for tags and labels."""

    WORKFLOW = "workflow"
    GIT = "git"


_ON_GITHUB = frozenset((OptionSurface.GITHUB,))

_LOGIN = (
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
        help="who to be there",
    ),
    Option(
        name="password",
        metavar="SECRET",
        group=OptionGroup.LOGIN,
        surfaces=_ON_GITHUB,
        help="password or token for it",
    ),
    Option(
        name="scope",
        metavar="PATH",
        group=OptionGroup.LOGIN,
        surfaces=_ON_GITHUB,
        help="repository, or the beginning of its path, that the login counts for",
        otherwise="all of the registry",
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
        help="the same as registries, by docker/login-action's name",
    ),
    Option(
        name="ecr",
        kind=OptionKind.CHOICE,
        choices=("auto", "true", "false"),
        default="auto",
        group=OptionGroup.LOGIN,
        surfaces=_ON_GITHUB,
        help="whether registry is AWS's: username and password are an access key, or without them "
        "docker-credential-ecr-login or the environment's key is used; auto: by its name",
    ),
    Option(
        name="logout",
        kind=OptionKind.SWITCH,
        default="true",
        group=OptionGroup.LOGIN,
        surfaces=_ON_GITHUB,
        help="forget the logins at the end of the step; else later steps have them until the job ends",
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
        help="name of the image without a tag; tag-rules give it tags, labels tell the commit",
    ),
    Option(
        name="tag-rules",
        kind=OptionKind.LINES,
        reading=Reading.FIELDS,
        comments=True,
        metavar="type=TYPE,…",
        group=OptionGroup.METADATA,
        surfaces=_ON_GITHUB,
        help="tags by docker/metadata-action's rules: schedule, semver, pep440, match, edge, ref, raw or sha",
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
        help="latest=auto|true|false, prefix= and suffix= of all tags, with onlatest=true also of latest",
    ),
    Option(
        name="metadata-context",
        kind=OptionKind.CHOICE,
        choices=tuple(MetadataContext),
        default=MetadataContext.WORKFLOW,
        group=OptionGroup.METADATA,
        surfaces=_ON_GITHUB,
        help="what tags and labels tell of: workflow (the ref and commit of the run) or git (those that are checked "
        "out); metadata-action's context",
    ),
    Option(
        name="sep-tags",
        metavar="TEXT",
        group=OptionGroup.METADATA,
        surfaces=_ON_GITHUB,
        help="what is between two tags of the output tags",
        otherwise="a line break",
    ),
    Option(
        name="sep-labels",
        metavar="TEXT",
        group=OptionGroup.METADATA,
        surfaces=_ON_GITHUB,
        help="what is between two labels of the output labels",
        otherwise="a line break",
    ),
    Option(
        name="sep-annotations",
        metavar="TEXT",
        group=OptionGroup.METADATA,
        surfaces=_ON_GITHUB,
        help="what is between two annotations of the output annotations",
        otherwise="a line break",
    ),
    Option(
        name="bake-target",
        metavar="NAME",
        group=OptionGroup.METADATA,
        surfaces=_ON_GITHUB,
        help="target in the bake files",
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
        help="secret from a variable of the step's environment",
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
        help="token for the repository, if the build's context is the repository itself",
        otherwise="the job's own",
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
DRIVER = Option(
    name="driver",
    kind=OptionKind.CHOICE,
    choices=("kubernetes",),
    default="kubernetes",
    group=OptionGroup.BUILDER,
    surfaces=_ON_GITHUB,
    help="the one that there is",
)

USE = Option(
    name="use",
    kind=OptionKind.SWITCH,
    default="true",
    group=OptionGroup.BUILDER,
    surfaces=_ON_GITHUB,
    help="later steps build on it by themselves; else they name it, by this step's output name, as builder",
)
CLEANUP = Option(
    name="cleanup",
    kind=OptionKind.SWITCH,
    default="true",
    group=OptionGroup.BUILDER,
    surfaces=_ON_GITHUB,
    help="remove it at the end of the job; else its lifetime ends it",
)

OF_THE_JOB: tuple[Option, ...] = (*_METADATA, *_SECRETS, *_LOGIN, DRIVER, PYTHON)
BY_NAME = options.BY_NAME | {option.name: option for option in OF_THE_JOB}


_SHARED = (
    *("platforms", "driver-opts", "builder-config", "buildkitd-config", "buildkitd-config-inline", "buildkitd-flags"),
    *("lifetime", "trust-scope", "transport", "namespace", "kubeconfig", "kube-context", "oidc", "progress"),
)
OF_SETUP: tuple[Option, ...] = (*(BY_NAME[name] for name in _SHARED), DRIVER, USE, CLEANUP, PYTHON)
"""Inputs of ``setup/action.yml``."""
BY_NAME |= {option.name: option for option in OF_SETUP}


def list_inputs(surface: OptionSurface) -> tuple[Option, ...]:
    """Return the inputs of a CI system, in the tables' order."""
    return (*options.list_options(surface), *(option for option in OF_THE_JOB if surface in option.surfaces))


def read_job_settings(
    values: Mapping[str, Value],
    sources: Mapping[str, str],
    env: Mapping[str, str],
    cwd: Path,
    *,
    auto: ProgressMode = ProgressMode.PLAIN,
) -> Settings:
    """Make settings like :func:`assembly.make_settings`, with a progress mode that fits a log instead of ``auto``.

    ``auto`` is that mode. Some runners give a job a terminal that no one sees.
    """
    settings = assembly.make_settings(values, sources, env, cwd)
    if settings.build.progress is not ProgressMode.AUTO:
        return settings
    return replace(settings, build=replace(settings.build, progress=auto))
