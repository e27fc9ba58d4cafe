"""The inputs and variables of a job: lists are one value a line, or JSON as GitLab writes an array."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ci_buildx.ci import inputs as offered
from ci_buildx.ci import kubeconfig
from ci_buildx.ci.gitlab.defaults import TIMELINE
from ci_buildx.errors import InputError
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.settings import options
from ci_buildx.settings.assembly import OF_INPUTS, refuse_typos
from ci_buildx.settings.option import VARIABLE_PREFIX, Option, OptionKind, OptionSurface, Reading
from ci_buildx.settings.raw_values import RawValues, Value

_LOGIN = ("registry", "username", "password", "scope", "registries")
"""Inputs that are never the template's: a password belongs into a masked variable."""
JOB_NAME = "job-name"
DEFAULTS = {"timeline": TIMELINE}
"""What the template itself has to know if an input is not given: an artifact's path."""
_QUOTED = compile_lazily(r'"(?P<inner>[^"]*(?:""[^"]*)*)"')


def read_inputs(env: Mapping[str, str], cwd: Path) -> RawValues:
    """Values and sources of inputs and variables that are set. InputError for a variable that is nearly one of them.

    In the job that the template defines an input overrides its variable, as in the Action; in a job that extends it
    under another name, the job's variables override the inputs of the include.
    """
    known = options.BY_NAME | {name: offered.BY_NAME[name] for name in _LOGIN}
    by_template = {option.name: name_variable(option.name) for option in offered.list_inputs(OptionSurface.GITLAB)}
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
    """The variable by which the template passes an input to the job.

    It is not the one that users set: a job's variable hides the pipeline's of the same name, even if it is empty.
    """
    return f"{VARIABLE_PREFIX}{OF_INPUTS}{name.upper().replace('-', '_')}"


def _is_default(text: str, option: Option) -> bool:
    """Whether an input is not given: GitLab's booleans are always one or the other, arrays are empty."""
    return text == DEFAULTS.get(option.name) or (option.kind is OptionKind.SWITCH and text == "false") or text == "[]"


def _read_value(text: str, option: Option, *, source: str) -> Value:
    if not (option.repeatable and text.lstrip().startswith("[")):
        return text
    texts = read_array(text, source=source)
    return texts if option.reading is Reading.LINES else [_strip_quotes(text) for text in texts]


def read_array(text: str, *, source: str) -> list[str]:
    """The texts of a JSON array. InputError names the input or variable.

    GitLab puts the values of variables into the JSON as they are, line breaks included.
    """
    try:
        array = json.loads(text, strict=False)
    except ValueError as error:
        fix = 'write ["a", "b"], or one a line; a variable with quotes in it is passed by its name (NAME alone)'
        raise InputError(f"is not a JSON array: {error}", source=source, fix=fix) from error
    return [item if isinstance(item, str) else json.dumps(item) for item in array]


def _strip_quotes(text: str) -> str:
    """An element without the quotes around the whole of it, which the Action's inputs need and arrays do not."""
    found = _QUOTED.fullmatch(text.strip())
    return found["inner"].replace('""', '"') if found else text


@contextmanager
def write_kubeconfig(given: RawValues, *, folder: Path | None = None) -> Iterator[RawValues]:
    """The same with the kubeconfig as a file in ``folder``, which is there for as long as this is entered."""
    text = given.read_text("kubeconfig")
    if not text:
        yield given
        return
    with kubeconfig.write_as_path(text, folder=str(folder) if folder else None) as path:
        yield given.with_changes(kubeconfig=path)
