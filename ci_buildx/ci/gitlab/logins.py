"""Where a job keeps credentials while it runs: named after it, so that after_script finds what a killed script left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ci_buildx.ci import logins
from ci_buildx.ci.logins import LoginInput
from ci_buildx.errors import InputError
from ci_buildx.fsutil import scratch
from ci_buildx.model.secret import Secret
from ci_buildx.registry import credentials
from ci_buildx.settings.raw_values import RawValues


@contextmanager
def open_private_folder(suffix: str) -> Iterator[Path]:
    """A folder that only this user reads, gone at the end. InputError if its place is somebody else's."""
    path = _locate_folder(suffix)
    if path.is_symlink() or (path.exists() and path.stat().st_uid != os.getuid()):
        raise InputError(f"{path} is somebody else's", fix="set TMPDIR to a folder of this job's")
    remove_private_folder(suffix)
    with scratch.open_folder(path.parent, name=path.name):
        yield path


def remove_private_folder(suffix: str) -> None:
    """Remove it; one that is gone, or was never made, is no error."""
    shutil.rmtree(_locate_folder(suffix), ignore_errors=True)


def _locate_folder(suffix: str) -> Path:
    return scratch.system() / f"{scratch.JOB}{suffix}"


ID_TOKEN = "KUBE_BUILDER_REGISTRY_ID_TOKEN"  # noqa: S105 - a variable's name
"""The ``id_tokens`` entry that is the password at the registry of KUBE_BUILDER_REGISTRY, where none is given."""
_OF_JOB = ("CI_REGISTRY", "CI_DEPENDENCY_PROXY")
_SERVER = {"CI_REGISTRY": "CI_REGISTRY", "CI_DEPENDENCY_PROXY": "CI_DEPENDENCY_PROXY_SERVER"}


def read_logins(given: RawValues) -> tuple[LoginInput, ...]:
    """All of them; what the user's docker configuration knows already is left to it. Raises InputError."""
    env = given.env
    if given.read_text("username") and not given.read_text("password") and env.get(ID_TOKEN):
        given = given.with_changes(password=env[ID_TOKEN])
    own = logins.read_logins(given)
    known = credentials.load_credentials(env)
    named = {login.registry for login in own}
    of_job = [login for login in map(_read_job_login, _OF_JOB, (env, env)) if login and login.registry not in named]
    return (*own, *(login for login in of_job if known.lookup(login.registry) is None))


@contextmanager
def log_in(given: RawValues, *, inside: Path) -> Iterator[dict[str, str]]:
    """The environment in which they count: a docker configuration of this job's own, gone at the end."""
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
