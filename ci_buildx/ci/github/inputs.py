"""Inputs of the Action, docker/build-push-action's defaults, and hints for inputs of docker's actions that it lacks.

The defaults are those of docker/build-push-action 7.3.0 (``src/context.ts``): provenance, secrets and the Git context.
Public repositories get more provenance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from ci_buildx.ci import inputs as offered
from ci_buildx.ci import logins
from ci_buildx.ci.github.events import WorkflowEvent
from ci_buildx.ci.inputs import drop_overridden, is_of_type
from ci_buildx.ci.metadata.facts import HEADS, PULL
from ci_buildx.errors import InputError
from ci_buildx.model.masker import SECRET_INPUTS, find_secrets
from ci_buildx.model.record import replace
from ci_buildx.settings import assembly
from ci_buildx.settings.attributes import NO_DEFAULTS, PROVENANCE
from ci_buildx.settings.names import suggest_name
from ci_buildx.settings.option import Option, OptionSurface
from ci_buildx.settings.raw_values import RawValues, Value
from ci_buildx.settings.syntax import join_fields, read_boolean, split_fields

_BAKES = "use org/kube-builder/bake, which builds the targets of bake files"
_NO_BUILDX = "omit it: buildx is not installed"
REFUSED: Mapping[str, str] = {
    # docker/setup-buildx-action
    "version": _NO_BUILDX,
    "cache-binary": _NO_BUILDX,
    "install": _NO_BUILDX,
    "endpoint": "omit it: the kubeconfig selects the cluster",
    "append": "omit it: each architecture gets its own node; kube-builder create has --append",
    "keep-state": "omit it: a job's builder is deleted with its state; kube-builder create makes a lasting builder",
    "name": "omit it: this step's builder has a generated name; to use an existing builder, set builder",
    "use": "omit it: only this step uses its builder; org/kube-builder/setup makes one for later steps",
    "cleanup": "omit it: the builder is always removed; org/kube-builder/setup makes one for later steps",
    # docker/setup-qemu-action
    "image": "omit it: BuildKit's image (driver-opts: image=…) contains emulators; for others set driver-opts: "
    "qemu.install=true,qemu.image=…",
    "reset": "omit it: nothing is registered with the runner's kernel",
    "cache-image": "omit it: no image is pulled to the runner",
    # docker/bake-action
    "files": _BAKES,
    "targets": _BAKES,
    "set": _BAKES,
    "vars": _BAKES,
    "workdir": "use context",
    "source": "use context",
}


_PREFIX = "INPUT_"
_NO_VARIABLE = (offered.PYTHON, offered.BUNDLE, offered.BY_NAME["github-token"])
"""Inputs without a variable: the JavaScript wrapper reads two of them, and the runner always sets the third."""
_SEPARATORS = f"{_PREFIX}SEP-"


def read_inputs(
    env: Mapping[str, str],
    cwd: Path,
    *,
    surface: OptionSurface = OptionSurface.GITHUB,
    known: Mapping[str, Option] | None = None,
) -> RawValues:
    """Read values and sources of the inputs that are set.

    The runner upper-cases names and keeps hyphens (``INPUT_BUILD-ARGS``). It only warns of an input that ``action.yml``
    lacks. This function raises InputError with the nearest name, since a typo would build something else.
    """
    names = known or {option.name: option for option in offered.list_inputs(surface)}
    given = {name: text for name, text in env.items() if name.startswith(_PREFIX) and _is_given(name, text)}
    values: dict[str, Value] = {}
    for variable in sorted(given):
        name = variable.removeprefix(_PREFIX).lower()
        if name in REFUSED and name not in names:
            raise InputError("is not supported", source=f"input {name}", fix=REFUSED[name])
        if name not in names:
            raise InputError(f"unknown input {name!r}", fix=suggest_name(name, names))
        values[name] = given[variable]
    values.pop(offered.PYTHON.name, None)
    return RawValues(values, {name: f"input {name}" for name in values}, env, cwd, offered.BY_NAME | dict(known or {}))


def _is_given(variable: str, text: str) -> bool:
    """Return whether an input is set; a separator may be a space."""
    return bool(text if variable.startswith(_SEPARATORS) else text.strip())


def add_variables(given: RawValues, known: Mapping[str, Option] | None = None) -> RawValues:
    """Add values of ``KUBE_BUILDER_…`` variables for inputs that are not set.

    ``known`` defaults to the Action's inputs. ``action.yml`` declares no default that would count as a set input here.
    """
    offer = offered.BY_NAME.values() if known is None else known.values()
    values, sources = assembly.read_variables(given.env, (option for option in offer if option not in _NO_VARIABLE))
    return replace(given, values={**values, **given.values}, sources={**sources, **given.sources})


@contextmanager
def write_kubeconfig(given: RawValues, announce: Callable[[str], None] = lambda _: None) -> Iterator[RawValues]:
    """Yield the inputs with the kubeconfig as a file, which is removed on exit.

    ``announce`` is called with the file's path before it is created.
    """
    text = given.read_text("kubeconfig")
    if not text:
        yield given
        return
    with logins.open_kubeconfig(text, folder=given.env.get("RUNNER_TEMP"), announce=announce) as path:
        yield given.replace_values(kubeconfig=path)


_PRIVATE, _PUBLIC = "mode=min,inline-only=true", "mode=max"
_BUILDER = "builder-id"


def add_provenance(given: RawValues, event: WorkflowEvent) -> RawValues:
    """Add the default provenance to the inputs if none is requested, and the run's URL as its builder ID."""
    url = event.run_url(attempt=True)
    given = drop_overridden(given)
    asked = given.read_text("provenance")
    attests = given.read_texts("attests")
    if asked:
        return given.replace_values(provenance=add_builder_id(asked, url))
    if any(is_of_type(text, PROVENANCE) for text in attests):
        return given.replace_values(
            attests=[add_builder_id(text, url) if is_of_type(text, PROVENANCE) else text for text in attests]
        )
    if read_boolean(given.env.get(NO_DEFAULTS, "")) or _is_for_docker(given):
        return given
    return given.replace_values(provenance=make_default_provenance(event))


def make_default_provenance(event: WorkflowEvent) -> str:
    """Return the attributes of the provenance that docker's actions add if none is requested."""
    return add_builder_id(_PRIVATE if event.is_private else _PUBLIC, event.run_url(attempt=True))


def add_builder_id(text: str, url: str) -> str:
    """Add the run's URL to the attributes. A true boolean becomes attributes; "false" stays."""
    wanted = read_boolean(text)
    if wanted is False or not url:
        return text
    try:
        fields = [] if wanted else split_fields(text)
    except ValueError:
        return text  # Reading it later reports the error.
    named = any(field.partition("=")[0].strip() == _BUILDER for field in fields)
    return text if named else join_fields([*fields, f"{_BUILDER}={url}"])


def _is_for_docker(given: RawValues) -> bool:
    """Return whether the result is for a docker daemon, which does not accept attestations."""
    loaded = "load" in given.known and given.switch("load")
    return loaded or any("type=docker" in text.replace(" ", "").split(",") for text in given.read_texts("outputs"))


def add_secrets(given: RawValues) -> RawValues:
    """Add the inputs ``secret-envs`` and ``secret-files`` to ``secrets``. Raises InputError."""
    more = [*_list_sources(given, "secret-envs", "env"), *_list_sources(given, "secret-files", "src")]
    return given.replace_values(secrets=[*given.read_texts("secrets"), *more]) if more else given


def list_written_credentials(given: RawValues) -> Iterator[str]:
    """Yield credentials in other inputs: in URLs, and in values with telling names (caches, build arguments)."""
    for name, value in given.values.items():
        if name in SECRET_INPUTS:
            continue
        yield from find_secrets(
            value if isinstance(value, str) else "\n".join(value) if isinstance(value, list) else ""
        )


def _list_sources(given: RawValues, name: str, key: str) -> Iterator[str]:
    for text in given.read_texts(name):
        secret, equals, place = text.partition("=")
        if equals and secret.strip() and not place:
            yield text  # Skipped later with a warning, like an empty entry of the input secrets.
            continue
        if not (equals and secret):
            fix = f"write NAME={'VARIABLE' if key == 'env' else 'FILE'}"
            raise InputError(f"{text!r} must have a name and a value", source=given.find_source(name), fix=fix)
        yield join_fields([f"id={secret}", f"{key}={place}"])


PULL_HEAD = "DOCKER_DEFAULT_GIT_CONTEXT_PR_HEAD_REF"
AS_QUERY = "BUILDX_SEND_GIT_QUERY_AS_INPUT"
HERE = "."
_DEFAULT = re.compile(r"\{\{\s*defaultContext\s*\}\}")
_TOKEN = "GIT_AUTH_TOKEN"  # noqa: S105 - the name of a secret


def make_default_context(event: WorkflowEvent) -> str:
    """Return the repository at the commit as a Git URL, or the working directory if the runner names no server."""
    if not (event.server and event.repository):
        return HERE
    url = f"{event.server}/{event.repository}.git"
    pinned = _pin_ref(event)
    return f"{url}?ref={pinned}" if read_boolean(event.env.get(AS_QUERY, "")) else f"{url}#{pinned}"


def _pin_ref(event: WorkflowEvent) -> str:
    ref = event.env.get("GITHUB_REF", "")
    if not ref.startswith("refs/"):
        ref = f"{HEADS}{ref}"
    if ref.startswith(PULL) and read_boolean(event.env.get(PULL_HEAD, "")):
        return event.read_text("pull_request", "head", "sha") or f"{ref.removesuffix('/merge')}/head"
    return event.sha or ref


def fill_default_context(text: str, event: WorkflowEvent) -> str:
    """Return a context with the default one in place of its name; the default one for an empty text."""
    default = make_default_context(event)
    return _DEFAULT.sub(lambda _: default, text) or default


def add_contexts(given: RawValues, event: WorkflowEvent) -> RawValues:
    """Set the default context in the inputs, and add its token to the secrets if it is used."""
    default = make_default_context(event)
    context = fill_default_context(given.read_text("context"), event)
    named = [_DEFAULT.sub(lambda _: default, text) for text in given.read_texts("build-contexts")]
    used = default != HERE and any(default in text for text in (context, *named))
    token = given.read_text("github-token")
    secrets = given.read_texts("secrets")
    if used and token and not any(secret.startswith(f"{_TOKEN}=") for secret in secrets):
        secrets.append(f"{_TOKEN}.{urlsplit(event.server).netloc}={token}")
    return given.replace_values(context=context, secrets=secrets, **{"build-contexts": named})
