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
from ci_buildx.settings.nearest import nearest
from ci_buildx.settings.option import VARIABLE_PREFIX

_LOGIN = ("registry", "username", "password", "scope", "registries")
"""Inputs that are never the template's: a password belongs into a masked variable."""
REPORTED = ("DIGEST", "IMAGEID", "IMAGE", "METADATA")
"""What a job tells later ones, which may build, too."""
_OTHERS = ("ID_TOKEN", "REGISTRY_ID_TOKEN")
"""Variables that are read elsewhere in this package."""


def read(env: Mapping[str, str], cwd: Path) -> Given:
    """Values and sources of the variables that are set. InputError for one that is nearly an input's."""
    known = options.BY_NAME | {name: offered.BY_NAME[name] for name in _LOGIN}
    variables = {option.variable: option.name for option in known.values()}
    values: dict[str, Value] = {}
    for variable in sorted(name for name in env if name.startswith(VARIABLE_PREFIX) and env[name].strip()):
        name = variables.get(variable)
        if name is None:
            _refuse_typo(variable, variables)
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
def with_kubeconfig(given: Given) -> Iterator[Given]:
    """The same with the kubeconfig as a file, which is there for as long as this is entered."""
    text = given.text("kubeconfig")
    if not text:
        yield given
        return
    with kubeconfig.as_path(text, folder=None) as path:
        yield given.having(kubeconfig=path)


def _refuse_typo(variable: str, variables: Mapping[str, str]) -> None:
    """Variables with our prefix may be the user's own; one that nearly is an input would build something else."""
    name = variable.removeprefix(VARIABLE_PREFIX)
    if name in (*REPORTED, *_OTHERS):
        return
    if match := nearest(name, [known.removeprefix(VARIABLE_PREFIX) for known in variables], cutoff=0.8):
        raise InputError("is no input", source=variable, fix=f"did you mean {VARIABLE_PREFIX}{match}?")
