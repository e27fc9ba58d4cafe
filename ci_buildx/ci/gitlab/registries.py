"""The logins that GitLab gives to a job: its own registry, the group's dependency proxy, and what variables name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ci_buildx.ci import logins
from ci_buildx.ci.logins import Login
from ci_buildx.model.secret import Secret
from ci_buildx.registry import credentials
from ci_buildx.settings.given import Given

ID_TOKEN = "KUBE_BUILDER_REGISTRY_ID_TOKEN"  # noqa: S105 - a variable's name
"""The ``id_tokens`` entry that is the password at the registry of KUBE_BUILDER_REGISTRY, where none is given."""
_OF_JOB = ("CI_REGISTRY", "CI_DEPENDENCY_PROXY")
_SERVER = {"CI_REGISTRY": "CI_REGISTRY", "CI_DEPENDENCY_PROXY": "CI_DEPENDENCY_PROXY_SERVER"}


def read(given: Given) -> tuple[Login, ...]:
    """All of them; what the user's docker configuration knows already is left to it. Raises InputError."""
    env = given.env
    if given.text("username") and not given.text("password") and env.get(ID_TOKEN):
        given = given.having(password=env[ID_TOKEN])
    own = logins.read(given)
    known = credentials.load(env)
    named = {login.registry for login in own}
    of_job = [login for login in map(_of_job, _OF_JOB, (env, env)) if login and login.registry not in named]
    return (*own, *(login for login in of_job if known.lookup(login.registry) is None))


@contextmanager
def logged_in(given: Given, *, inside: Path) -> Iterator[dict[str, str]]:
    """The environment in which they count: a docker configuration of this job's own, gone at the end."""
    env = dict(given.env)
    found = read(given)
    if not found:
        yield env
        return
    folder = logins.place(str(inside))
    logins.write(found, env, folder)
    try:
        yield {**env, logins.FOLDER: str(folder)}
    finally:
        logins.forget(str(folder))


def _of_job(prefix: str, env: Mapping[str, str]) -> Login | None:
    host, user, password = (env.get(name, "") for name in (_SERVER[prefix], f"{prefix}_USER", f"{prefix}_PASSWORD"))
    if not (host and user and password):
        return None
    return Login(registry=host.removeprefix("https://").rstrip("/"), username=user, password=Secret(password))
