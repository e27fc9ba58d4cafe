"""The inputs of a step, as the runner hands them over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ci_buildx.ci import inputs as offered
from ci_buildx.ci import kubeconfig
from ci_buildx.ci.github.peers import REFUSED
from ci_buildx.errors import InputError
from ci_buildx.model.record import replace
from ci_buildx.settings import assembly
from ci_buildx.settings.given import Given, Value
from ci_buildx.settings.nearest import suggest
from ci_buildx.settings.option import Option, Surface

_PREFIX = "INPUT_"
_NO_VARIABLE = (offered.PYTHON, offered.BY_NAME["github-token"])
"""Read before us, and always given by the runner."""
_SEPARATORS = f"{_PREFIX}SEP-"


def read(
    env: Mapping[str, str], cwd: Path, *, surface: Surface = Surface.GITHUB, known: Mapping[str, Option] | None = None
) -> Given:
    """Values and sources of the inputs that are set.

    The runner upper-cases names and keeps hyphens (``INPUT_BUILD-ARGS``). It only warns of an input that
    ``action.yml`` lacks; we raise InputError with the nearest name, or a typo would build something else.
    """
    names = known or {option.name: option for option in offered.on_surface(surface)}
    given = {name: text for name, text in env.items() if name.startswith(_PREFIX) and _says_something(name, text)}
    values: dict[str, Value] = {}
    for variable in sorted(given):
        name = variable.removeprefix(_PREFIX).lower()
        if name in REFUSED and name not in names:
            raise InputError("is not needed here", source=f"input {name}", fix=REFUSED[name])
        if name not in names:
            raise InputError(f"unknown input {name!r}", fix=suggest(name, names))
        values[name] = given[variable]
    values.pop(offered.PYTHON.name, None)
    return Given(values, {name: f"input {name}" for name in values}, env, cwd, offered.BY_NAME)


def _says_something(variable: str, text: str) -> bool:
    """Whether an input is given: what is between two tags may be a space."""
    return bool(text if variable.startswith(_SEPARATORS) else text.strip())


def with_variables(given: Given, known: Mapping[str, Option] | None = None) -> Given:
    """The same over what ``KUBE_BUILDER_…`` variables say, for the inputs that are ``known`` (default: the Action's).

    ``action.yml`` declares no default that would count as an input here.
    """
    offer = offered.BY_NAME.values() if known is None else known.values()
    values, sources = assembly.read_variables(given.env, (option for option in offer if option not in _NO_VARIABLE))
    return replace(given, values={**values, **given.values}, sources={**sources, **given.sources})


@contextmanager
def with_kubeconfig(given: Given, announce: Callable[[str], None] = lambda _: None) -> Iterator[Given]:
    """The same with the kubeconfig as a file, which is there for as long as this is entered.

    ``announce`` gets the path of a file before that is made.
    """
    text = given.text("kubeconfig")
    if not text:
        yield given
        return
    with kubeconfig.as_path(text, folder=given.env.get("RUNNER_TEMP"), announce=announce) as path:
        yield given.having(kubeconfig=path)
