"""Variables that begin as ours do: inputs, what jobs tell each other, and what is nearly an input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ci_buildx.errors import InputError
from ci_buildx.settings.option import VARIABLE_PREFIX

REPORTED = ("DIGEST", "IMAGEID", "IMAGE", "METADATA")
"""What a job tells later ones, which may build, too."""
ABOUT_THE_JOB = ("CI", "REPOSITORY", "RUN", "JOB", "RUN_URL", "CHECKOUT", "ID_TOKEN", "REGISTRY_ID_TOKEN")
"""What a job says of itself."""
OF_INPUTS = "INPUT_"
"""By variables with this prefix the GitLab template passes its inputs to a job."""
_OF_OTHER_JOBS = tuple(f"_{VARIABLE_PREFIX}{name}" for name in REPORTED)
"""Reports of a job whose name begins as our variables do."""
_NEAR = 0.8
"""How alike a name must be to be a mistyped one: other programs may have variables of our prefix."""


def refuse_typos(env: Mapping[str, str], known: Iterable[str]) -> None:
    """Raise InputError for a variable that is nearly one of ``known``: it would be ignored, silently."""
    found = [name for name, value in env.items() if name.startswith(VARIABLE_PREFIX) and value.strip()]
    inputs = {name.removeprefix(VARIABLE_PREFIX) for name in known}
    for variable in sorted(found):
        name = variable.removeprefix(VARIABLE_PREFIX)
        if name in inputs or name in (*REPORTED, *ABOUT_THE_JOB) or _is_made(name):
            continue
        from ci_buildx.settings.nearest import nearest

        if match := nearest(name, inputs, cutoff=_NEAR):
            raise InputError("is no input", source=variable, fix=f"did you mean {VARIABLE_PREFIX}{match}?")


def _is_made(name: str) -> bool:
    """Whether a program writes this variable, not a user."""
    return name.startswith(OF_INPUTS) or name.endswith(_OF_OTHER_JOBS)
