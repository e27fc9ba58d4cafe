"""Inputs, variables and logins of a GitLab job, its defaults, and the trust scope of its cache.

The scope follows the same rules as :mod:`ci_buildx.ci.github.events`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ci_buildx.ci import inputs as offered
from ci_buildx.ci import logins
from ci_buildx.ci.logins import LoginInput
from ci_buildx.errors import InputError
from ci_buildx.fsutil import scratch
from ci_buildx.model.documents import parse_json
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.secret import Secret
from ci_buildx.registry import credentials
from ci_buildx.settings import options
from ci_buildx.settings.assembly import OF_INPUTS, refuse_typos
from ci_buildx.settings.option import VARIABLE_PREFIX, Option, OptionKind, OptionSurface, Reading
from ci_buildx.settings.raw_values import RawValues, Value

PROTECTED = ""
UNPROTECTED = "unprotected"


def choose_scope(env: Mapping[str, str], wanted: str = "") -> str:
    """Return a job's trust scope: PROTECTED for protected refs; ``wanted`` overrides it except for forks.

    A merge request's pipeline never counts as protected. If it comes from a fork but runs in this project, it has the
    fork's scope.
    """
    source = env.get("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", "")
    if source and source != env.get("CI_PROJECT_PATH", ""):
        return f"fork:{source.lower()}"
    if wanted:
        return PROTECTED if wanted == "protected" else wanted
    protected = env.get("CI_COMMIT_REF_PROTECTED") == "true" and not env.get("CI_MERGE_REQUEST_IID")
    return PROTECTED if protected else UNPROTECTED


TIMELINE = "kube-builder-timeline.html"
ID_TOKEN = "KUBE_BUILDER_ID_TOKEN"  # noqa: S105 - a variable's name
"""The ``id_tokens`` entry whose token authenticates to the cluster."""
_OCI = "org.opencontainers.image"
_IMAGE = "CI_REGISTRY_IMAGE"


def fill_defaults(given: RawValues, *, folder: Path) -> RawValues:
    """Return the inputs with all defaults; ``folder`` is where GitLab looks for artifacts."""
    env = given.env
    found: dict[str, tuple[Value, str]] = {
        "tags": ([] if any(map(_is_by_digest, given.read_texts("outputs"))) else make_default_tags(env), _IMAGE),
        "labels": (make_default_labels(given), given.find_source("labels")),
        "lifetime": (f"{env['CI_JOB_TIMEOUT']}s" if env.get("CI_JOB_TIMEOUT") else "", "CI_JOB_TIMEOUT"),
        **_read_cluster_defaults(env),
    }
    given = _name_digests(given).replace_values(timeline=str(folder / (given.read_text("timeline") or TIMELINE)))
    missing = {name: pair for name, pair in found.items() if pair[0] and (name == "labels" or _is_missing(given, name))}
    filled = given.replace_values(**{name: value for name, (value, _) in missing.items()})
    return _add_sources(filled, {name: source for name, (_, source) in missing.items()})


def fill_cluster_defaults(given: RawValues) -> RawValues:
    """Return the inputs with the cluster's defaults, which the clean-up needs."""
    found = {
        name: pair for name, pair in _read_cluster_defaults(given.env).items() if pair[0] and _is_missing(given, name)
    }
    filled = given.replace_values(**{name: value for name, (value, _) in found.items()})
    return _add_sources(filled, {name: source for name, (_, source) in found.items()})


def _read_cluster_defaults(env: Mapping[str, str]) -> dict[str, tuple[Value, str]]:
    """Return the cluster's defaults and the variable that each comes from.

    ``KUBE_NAMESPACE`` is used only if GitLab itself connected the job to the cluster; otherwise it is where to deploy.
    """
    connected = bool(env.get("KUBE_URL") and env.get("KUBE_TOKEN"))
    return {
        "namespace": (env.get("KUBE_NAMESPACE", "") if connected else "", "KUBE_NAMESPACE"),
        "kube-context": (env.get("KUBE_CONTEXT", ""), "KUBE_CONTEXT"),
        "oidc": (f"env:{ID_TOKEN}" if env.get(ID_TOKEN) else "", ID_TOKEN),
    }


def _name_digests(given: RawValues) -> RawValues:
    """Name the outputs that are pushed by digest, to be merged by a later job: they have no tag."""
    image, outputs = given.env.get(_IMAGE, ""), given.read_texts("outputs")
    if not image or not any(map(_is_by_digest, outputs)):
        return given
    named = [f"{text},name={image}" if _is_by_digest(text) and "name=" not in text else text for text in outputs]
    return given.replace_values(outputs=named)


def _is_by_digest(output: str) -> bool:
    return "push-by-digest=true" in output


def make_default_tags(env: Mapping[str, str]) -> list[str]:
    """Return image names in the project's registry, by the ref; none if the project has no registry.

    A Git tag: its name, or its slug if the name is not a valid image tag. A merge request: ``mr-N``. The default
    branch: ``latest`` and the short commit. Any other branch: its slug.
    """
    image = env.get(_IMAGE, "")
    slug = env.get("CI_COMMIT_REF_SLUG", "")
    if not image:
        return []
    if tag := env.get("CI_COMMIT_TAG", ""):
        return [f"{image}:{tag if _is_tag(tag) else slug}"]
    if number := env.get("CI_MERGE_REQUEST_IID", ""):
        return [f"{image}:mr-{number}"]
    if env.get("CI_COMMIT_BRANCH", "") == env.get("CI_DEFAULT_BRANCH", "main"):
        sha = env.get("CI_COMMIT_SHORT_SHA", "")
        return [f"{image}:latest", *([f"{image}:{sha}"] if sha else [])]
    return [f"{image}:{slug}"] if slug else []


def make_default_labels(given: RawValues) -> list[str]:
    """Return OCI labels of the commit and its project, then the user's, which override them.

    ``created`` is the commit's time, not the job's, so that two builds of one commit make the same image.
    """
    env, own = given.env, given.read_texts("labels")
    known = {
        "source": env.get("CI_PROJECT_URL", ""),
        "url": env.get("CI_PROJECT_URL", ""),
        "revision": env.get("CI_COMMIT_SHA", ""),
        "created": env.get("CI_COMMIT_TIMESTAMP", ""),
        "version": env.get("CI_COMMIT_TAG", "") or env.get("CI_COMMIT_REF_SLUG", ""),
        "title": env.get("CI_PROJECT_TITLE", "") or env.get("CI_PROJECT_NAME", ""),
        "description": " ".join(env.get("CI_PROJECT_DESCRIPTION", "").split()),
    }
    named = {text.partition("=")[0] for text in own}
    made = [f"{_OCI}.{key}={value}" for key, value in known.items() if value and f"{_OCI}.{key}" not in named]
    return [*made, *own]


def _is_missing(given: RawValues, name: str) -> bool:
    return not (given.read_texts(name) if given.known[name].repeatable else given.read_text(name))


def _is_tag(text: str) -> bool:
    from ci_buildx.model import reference

    return reference.is_tag(text)


def _add_sources(given: RawValues, sources: Mapping[str, str]) -> RawValues:
    from ci_buildx.model.record import replace

    return replace(given, sources={**given.sources, **sources})


_LOGIN = ("registry", "username", "password", "scope", "registries")
"""Inputs that the template does not have: a password belongs in a masked variable."""
JOB_NAME = "job-name"
DEFAULTS = {"timeline": TIMELINE}
"""Defaults that the template itself has to contain: paths of artifacts."""
_QUOTED = compile_lazily(r'"(?P<inner>[^"]*(?:""[^"]*)*)"')


def read_inputs(env: Mapping[str, str], cwd: Path, *, template: Sequence[Option] = ()) -> RawValues:
    """Read values and sources of the inputs and variables that are set; ``template`` are those of another template.

    In the template's own job, an input overrides its variable, as in the Action. In a job that extends it under another
    name, the job's variables override the include's inputs. Raises InputError for a probably misspelled variable.
    """
    known = options.BY_NAME | {name: offered.BY_NAME[name] for name in _LOGIN}
    known |= {option.name: option for option in template}
    declared = template or offered.list_inputs(OptionSurface.GITLAB)
    by_template = {option.name: name_variable(option.name) for option in declared}
    by_user = {option.name: option.variable for option in known.values()}
    refuse_typos(env, by_user.values())
    values: dict[str, Value] = {}
    sources: dict[str, str] = {}
    is_templates_own = env.get(name_variable(JOB_NAME), "").strip() == env.get("CI_JOB_NAME", "")
    for variables in (by_user, by_template) if is_templates_own else (by_template, by_user):
        for name, variable in variables.items():
            text = env.get(variable, "").strip()
            if not text or (variables is by_template and _is_default(text, known[name])):
                continue
            source = f"input {name}" if variables is by_template else variable
            values[name], sources[name] = _read_value(env[variable], known[name], source=source), source
    return RawValues(values, sources, env, cwd, known)


def name_variable(name: str) -> str:
    """Return the variable through which the template passes an input to the job.

    It differs from the user's variable: a job's variable hides the pipeline's of the same name, even if it is empty.
    """
    return f"{VARIABLE_PREFIX}{OF_INPUTS}{name.upper().replace('-', '_')}"


def _is_default(text: str, option: Option) -> bool:
    """Return whether an input has its default: for GitLab, booleans always have a value, and an array may be empty."""
    return text == DEFAULTS.get(option.name) or (option.kind is OptionKind.SWITCH and text == "false") or text == "[]"


def _read_value(text: str, option: Option, *, source: str) -> Value:
    if not (option.repeatable and text.lstrip().startswith("[")):
        return text
    texts = read_array(text, source=source)
    return texts if option.reading is Reading.LINES else [_strip_quotes(text) for text in texts]


def read_array(text: str, *, source: str) -> list[str]:
    """Return the texts of a JSON array. Raises InputError, which names the input or variable.

    GitLab inserts values of variables into the JSON unescaped, including line breaks.
    """
    try:
        array = parse_json(text, strict=False)
    except ValueError as error:
        fix = 'write ["a", "b"], or one value per line; pass a variable that contains quotes by its name (only NAME)'
        raise InputError(f"is not a JSON array: {error}", source=source, fix=fix) from error
    return [item if isinstance(item, str) else json.dumps(item) for item in array]


def _strip_quotes(text: str) -> str:
    """Remove the quotes around a complete element; the Action's inputs need them, arrays do not."""
    found = _QUOTED.fullmatch(text.strip())
    return found["inner"].replace('""', '"') if found else text


@contextmanager
def write_kubeconfig(given: RawValues, *, folder: Path | None = None) -> Iterator[RawValues]:
    """Yield the inputs with the kubeconfig as a file in ``folder``, which is removed on exit."""
    text = given.read_text("kubeconfig")
    if not text:
        yield given
        return
    with logins.open_kubeconfig(text, folder=str(folder) if folder else None) as path:
        yield given.replace_values(kubeconfig=path)


@contextmanager
def open_private_folder(suffix: str) -> Iterator[Path]:
    """Yield a folder that only this user can read, and remove it on exit.

    Raises InputError if another user owns the path.
    """
    path = _locate_folder(suffix)
    if path.is_symlink() or (path.exists() and path.stat().st_uid != os.getuid()):
        raise InputError(f"{path} belongs to another user", fix="set TMPDIR to a folder of this job")
    remove_private_folder(suffix)
    with scratch.open_folder(path.parent, name=path.name):
        yield path


def remove_private_folder(suffix: str) -> None:
    """Remove the job's private folder; does nothing if it does not exist."""
    shutil.rmtree(_locate_folder(suffix), ignore_errors=True)


def _locate_folder(suffix: str) -> Path:
    return scratch.find_system_folder() / f"{scratch.JOB}{suffix}"


REGISTRY_ID_TOKEN = "KUBE_BUILDER_REGISTRY_ID_TOKEN"  # noqa: S105 - a variable's name
"""The ``id_tokens`` entry used as the password for KUBE_BUILDER_REGISTRY if no password is given."""
_OF_JOB = ("CI_REGISTRY", "CI_DEPENDENCY_PROXY")
_SERVER = {"CI_REGISTRY": "CI_REGISTRY", "CI_DEPENDENCY_PROXY": "CI_DEPENDENCY_PROXY_SERVER"}


def read_logins(given: RawValues) -> tuple[LoginInput, ...]:
    """Read the logins of the inputs and of the job. Raises InputError.

    The job's own are skipped if the user's docker configuration has a login for that registry.
    """
    env = given.env
    if given.read_text("username") and not given.read_text("password") and env.get(REGISTRY_ID_TOKEN):
        given = given.replace_values(password=env[REGISTRY_ID_TOKEN])
    own = logins.read_logins(given)
    known = credentials.load_credentials(env)
    named = {login.registry for login in own}
    of_job = [login for login in map(_read_job_login, _OF_JOB, (env, env)) if login and login.registry not in named]
    return (*own, *(login for login in of_job if known.lookup(login.registry) is None))


@contextmanager
def log_in(given: RawValues, *, inside: Path) -> Iterator[dict[str, str]]:
    """Yield the environment with the logins: a docker configuration of the job's own, which is removed on exit."""
    env = dict(given.env)
    found = read_logins(given)
    if not found:
        yield env
        return
    folder = logins.choose_folder(str(inside))
    logins.write_docker_config(found, env, folder)
    try:
        yield {**env, logins.FOLDER: str(folder)}
    finally:
        logins.remove_folder(str(folder))


def _read_job_login(prefix: str, env: Mapping[str, str]) -> LoginInput | None:
    host, user, password = (env.get(name, "") for name in (_SERVER[prefix], f"{prefix}_USER", f"{prefix}_PASSWORD"))
    if not (host and user and password):
        return None
    return LoginInput(registry=host.removeprefix("https://").rstrip("/"), username=user, password=Secret(password))
