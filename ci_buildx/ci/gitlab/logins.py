"""A job's credentials. Their folder is named after the job, so that after_script finds those of a killed script."""

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
    """Yield a folder that only this user can read, and remove it on exit.

    Raises InputError if another user owns the path.
    """
    path = _locate_folder(suffix)
    if path.is_symlink() or (path.exists() and path.stat().st_uid != os.getuid()):
        raise InputError(f"{path} is somebody else's", fix="set TMPDIR to a folder of this job's")
    remove_private_folder(suffix)
    with scratch.open_folder(path.parent, name=path.name):
        yield path


def remove_private_folder(suffix: str) -> None:
    """Remove the job's private folder; does nothing if it does not exist."""
    shutil.rmtree(_locate_folder(suffix), ignore_errors=True)


def _locate_folder(suffix: str) -> Path:
    return scratch.system() / f"{scratch.JOB}{suffix}"


ID_TOKEN = "KUBE_BUILDER_REGISTRY_ID_TOKEN"  # noqa: S105 - a variable's name
"""The ``id_tokens`` entry used as the password for KUBE_BUILDER_REGISTRY if no password is given."""
_OF_JOB = ("CI_REGISTRY", "CI_DEPENDENCY_PROXY")
_SERVER = {"CI_REGISTRY": "CI_REGISTRY", "CI_DEPENDENCY_PROXY": "CI_DEPENDENCY_PROXY_SERVER"}


def read_logins(given: RawValues) -> tuple[LoginInput, ...]:
    """Read the logins of the inputs and of the job. Raises InputError.

    The job's own are skipped if the user's docker configuration has a login for that registry.
    """
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
