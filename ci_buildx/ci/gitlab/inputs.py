"""Inputs and variables of a job: a list has one value per line, or is JSON, as GitLab writes arrays."""

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
"""Inputs that the template does not have: a password belongs in a masked variable."""
JOB_NAME = "job-name"
DEFAULTS = {"timeline": TIMELINE}
"""Defaults that the template itself has to contain: paths of artifacts."""
_QUOTED = compile_lazily(r'"(?P<inner>[^"]*(?:""[^"]*)*)"')


def read_inputs(env: Mapping[str, str], cwd: Path) -> RawValues:
    """Read values and sources of the inputs and variables that are set.

    In the template's own job, an input overrides its variable, as in the Action. In a job that extends it under another
    name, the job's variables override the include's inputs. Raises InputError for a probably misspelled variable.
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
        array = json.loads(text, strict=False)
    except ValueError as error:
        fix = 'write ["a", "b"], or one a line; a variable with quotes in it is passed by its name (NAME alone)'
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
    with kubeconfig.write_as_path(text, folder=str(folder) if folder else None) as path:
        yield given.with_changes(kubeconfig=path)
