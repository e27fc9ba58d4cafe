"""Inputs of the Action, and hints for inputs of docker's actions that it lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ci_buildx.ci import inputs as offered
from ci_buildx.ci import kubeconfig
from ci_buildx.errors import InputError
from ci_buildx.model.record import replace
from ci_buildx.settings import assembly
from ci_buildx.settings.names import suggest_name
from ci_buildx.settings.option import Option, OptionSurface
from ci_buildx.settings.raw_values import RawValues, Value

_NO_BUILDX = "leave it out: there is no buildx to install"
REFUSED: Mapping[str, str] = {
    # docker/setup-buildx-action
    "version": _NO_BUILDX,
    "cache-binary": _NO_BUILDX,
    "install": _NO_BUILDX,
    "endpoint": "leave it out: the cluster is that of the kubeconfig",
    "append": "leave it out: each architecture gets a node by itself; --append is of kube-builder create",
    "keep-state": "leave it out: a job's builder goes with its state; kube-builder create makes one that stays",
    "name": "leave it out: this step's builder has a name of its own; to use one that exists say builder",
    "use": "leave it out: only this step uses its builder; org/kube-builder/setup makes one for later steps",
    "cleanup": "leave it out: the builder is always removed; org/kube-builder/setup makes one for later steps",
    # docker/setup-qemu-action
    "image": "BuildKit's image (driver-opts: image=…) has emulators; others are driver-opts: qemu.install=true,"
    "qemu.image=…",
    "reset": "leave it out: nothing is registered with the runner's kernel",
    "cache-image": "leave it out: no image is pulled to the runner",
    # docker/bake-action
    "files": "bake files are not read: give each target a step",
    "targets": "bake files are not read: give each target a step",
    "set": "bake files are not read: give each target a step",
    "workdir": "say context",
    "source": "say context",
}


_PREFIX = "INPUT_"
_NO_VARIABLE = (offered.PYTHON, offered.BY_NAME["github-token"])
"""Inputs without a variable: the JavaScript wrapper reads the one, and the runner always sets the other."""
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
            raise InputError("is not needed here", source=f"input {name}", fix=REFUSED[name])
        if name not in names:
            raise InputError(f"unknown input {name!r}", fix=suggest_name(name, names))
        values[name] = given[variable]
    values.pop(offered.PYTHON.name, None)
    return RawValues(values, {name: f"input {name}" for name in values}, env, cwd, offered.BY_NAME)


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
    with kubeconfig.write_as_path(text, folder=given.env.get("RUNNER_TEMP"), announce=announce) as path:
        yield given.with_changes(kubeconfig=path)
