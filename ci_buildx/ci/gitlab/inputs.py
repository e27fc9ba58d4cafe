"""The inputs of a job, which reach it as variables: a list's values one a line, or JSON as GitLab writes an array."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ci_buildx.ci import inputs as offered
from ci_buildx.ci import kubeconfig
from ci_buildx.errors import InputError
from ci_buildx.settings import options
from ci_buildx.settings.given import Given, Value
from ci_buildx.settings.variables import refuse_typos

_LOGIN = ("registry", "username", "password", "scope", "registries")
"""Inputs that are never the template's: a password belongs into a masked variable."""


def read(env: Mapping[str, str], cwd: Path) -> Given:
    """Values and sources of the variables that are set. InputError for one that is nearly an input's."""
    known = options.BY_NAME | {name: offered.BY_NAME[name] for name in _LOGIN}
    variables = {option.variable: option.name for option in known.values()}
    values: dict[str, Value] = {}
    refuse_typos(env, variables)
    for variable, name in variables.items():
        if not env.get(variable, "").strip():
            continue
        values[name] = env[variable]
        if known[name].repeatable and env[variable].lstrip().startswith("["):
            values[name] = read_array(env[variable], source=variable)
    return Given(values, {name: known[name].variable for name in values}, env, cwd, known)


def read_array(text: str, *, source: str) -> list[str]:
    """The texts of a JSON array. InputError names the variable.

    GitLab puts the values of variables into the JSON as they are, line breaks included.
    """
    try:
        array = json.loads(text, strict=False)
    except ValueError as error:
        fix = 'write ["a", "b"], or one a line; a variable with quotes in it is passed by its name (NAME alone)'
        raise InputError(f"is not a JSON array: {error}", source=source, fix=fix) from error
    return [item if isinstance(item, str) else json.dumps(item) for item in array]


@contextmanager
def with_kubeconfig(given: Given, *, folder: Path | None = None) -> Iterator[Given]:
    """The same with the kubeconfig as a file in ``folder``, which is there for as long as this is entered."""
    text = given.text("kubeconfig")
    if not text:
        yield given
        return
    with kubeconfig.as_path(text, folder=str(folder) if folder else None) as path:
        yield given.having(kubeconfig=path)
