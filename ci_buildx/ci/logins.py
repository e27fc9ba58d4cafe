"""Credentials of a step: logins in a docker configuration of its own, and kubeconfigs that are passed as content.

The file's format is that of docker/cli 29.8.2 (``cli/config/configfile/file.go``). If ``credHelpers`` maps a host to
"", the login in the file overrides the user's credential program.
"""

from __future__ import annotations

import json
import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ci_buildx.ci import ecr
from ci_buildx.ci.ecr import AccessKey
from ci_buildx.errors import InputError
from ci_buildx.fsutil import scratch
from ci_buildx.model.documents import MalformedDocument, parse_json, parse_yaml
from ci_buildx.model.plaintext import read_kubeconfig
from ci_buildx.model.programs import find_program
from ci_buildx.model.record import dataclass, replace
from ci_buildx.model.secret import Secret
from ci_buildx.registry import credentials
from ci_buildx.registry.credentials import HUB, HUB_KEY, canonicalize_host
from ci_buildx.settings.names import suggest_name
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.syntax import read_boolean

FOLDER = "DOCKER_CONFIG"
_CONFIG = "config.json"
_FIELDS = ("registry", "username", "password", "scope", "ecr")
_LISTS = ("registries", "registry-auth")
_AWS_PROGRAM = "ecr-login"
_PROGRAM = f"docker-credential-{_AWS_PROGRAM}"
_AWS_KEYS = "omit them: the program uses AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's role"
_AWS_MARKS = (".dkr.ecr.", ".dkr.ecr-fips.", ".dkr-ecr.")
"""Parts of AWS registries' names (docker/login-action 4.1, ``src/aws.ts``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginInput:
    """Credentials for ``registry``, or only for repositories below ``scope``.

    ``program`` is the suffix of a credential program to use instead. ``access`` is the AWS access key that the password
    was fetched with.
    """

    registry: str
    username: str = ""
    password: Secret = Secret("")
    scope: str = ""
    program: str = ""
    access: AccessKey | None = None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The login's secrets, to be masked."""
        return tuple(one for one in (self.password, self.access.secret if self.access else Secret("")) if len(one))

    @property
    def host(self) -> str:
        """The registry without a path."""
        return self.registry.partition("/")[0]

    @property
    def key(self) -> str:
        """Key of the login's entry in the file."""
        host = HUB_KEY if canonicalize_host(self.registry) == HUB and not self.scope else self.registry
        return f"{host}/{self.scope}" if self.scope else host


def read_logins(given: RawValues, *, forgive: Callable[[str], None] | None = None) -> tuple[LoginInput, ...]:
    """Read the logins from the inputs. Raises InputError, which never contains a password.

    With ``forgive``, a login without a password is skipped, and ``forgive`` is called with its registry.
    """
    single = {name: given.read_text(name) for name in _FIELDS if given.read_text(name)}
    lists = [name for name in _LISTS if given.read_text(name)]
    if len(lists) > 1 or (lists and single.keys() - {"ecr"}):
        other = next(iter(single.keys() - {"ecr"}), lists[-1])
        raise InputError(
            f"cannot be combined with {given.find_source(other)}",
            source=given.find_source(lists[0]),
            fix="set only one",
        )
    source = given.find_source(lists[0] if lists else "registry")
    entries = [single] if single.keys() - {"ecr"} else []
    if lists:
        entries = [_read_entry(entry, source) for entry in _read_entries(given.read_text(lists[0]), lists[0])]
    found = [
        _make_login(fields, source, given.env) for fields in entries if not (forgive and _is_forgiven(fields, forgive))
    ]
    found = [_add_access_key(login, given.env) for login in found]
    _check_programs(found, given)
    return tuple(made for login in found for made in _add_passwords(login, given.env))


def _add_access_key(login: LoginInput, env: Mapping[str, str]) -> LoginInput:
    """Use the environment's access key for the login if AWS's program is not installed."""
    if login.program != _AWS_PROGRAM or find_program(_PROGRAM, env) or not ecr.is_registry(login.host):
        return login
    key = ecr.read_key(env)
    return replace(login, program="", access=key) if key else login


def _add_passwords(login: LoginInput, env: Mapping[str, str]) -> list[LoginInput]:
    """Return the login or, for an access key, the logins that AWS returns for it. Raises RegistryError."""
    if login.access is None:
        return [login]
    found = ecr.fetch_passwords(login.host, login.access, env)
    return [replace(login, registry=host, username=ecr.USER, password=password) for host, password in found.items()]


def _is_forgiven(fields: Mapping[str, str], forgive: Callable[[str], None]) -> bool:
    if fields.get("password") or read_boolean(fields.get("ecr", "")):
        return False
    forgive(_read_registry(fields))
    return True


def _check_programs(found: Sequence[LoginInput], given: RawValues) -> None:
    for name in {_PROGRAM for login in found if login.program}:
        if find_program(name, given.env) is None:
            fix = "install it on the runner, or set username and password to an access key"
            raise InputError(
                f"{name}, which logs in to AWS, is not installed", source=given.find_source("ecr"), fix=fix
            )


def choose_folder(inside: str | None) -> Path:
    """Choose a path for a new folder, in ``inside`` or the system's temporary folder."""
    return scratch.name_shared(scratch.DOCKER, inside)


def write_docker_config(logins: Sequence[LoginInput], env: Mapping[str, str], folder: Path) -> None:
    """Create a private ``folder`` with the user's configuration and these logins.

    Docker's other files there (plugins, contexts) are linked, since a later step may run docker. Raises InputError if
    the user's configuration cannot be read.
    """
    document = _find_user_folder(env)
    auths, programs = dict(document.get("auths") or {}), dict(document.get("credHelpers") or {})
    for login in logins:
        if not login.scope:  # With a scope, the user's program still serves the rest of the registry.
            programs[login.key if login.key == HUB_KEY else login.registry] = login.program
        if not login.program:
            pair = f"{login.username}:{login.password.reveal_text()}"
            auths[login.key] = {"auth": b64encode(pair.encode()).decode()}
    folder.mkdir(mode=0o700)
    _link_other_files(credentials.find_config_folder(env), folder)
    path = folder / _CONFIG
    path.touch(mode=0o600)
    path.write_text(json.dumps({**document, "auths": auths, "credHelpers": programs}, indent=2), encoding="utf-8")


def remove_folder(folder: str) -> None:
    """Remove a folder that :func:`choose_folder` named; does nothing if it does not exist."""
    if folder and Path(folder).name.startswith(scratch.DOCKER):
        shutil.rmtree(folder, ignore_errors=True)


def _link_other_files(users: Path, folder: Path) -> None:
    for entry in users.iterdir() if users.is_dir() else ():
        if entry.name != _CONFIG:
            (folder / entry.name).symlink_to(entry.absolute())


def _find_user_folder(env: Mapping[str, str]) -> dict[str, Any]:
    path = credentials.find_config_folder(env) / _CONFIG
    try:
        document = parse_json(path.read_text(encoding="utf-8") or "{}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError("is not valid JSON or cannot be read", source=str(path), fix="see docker login") from error
    return document if isinstance(document, dict) else {}


def _read_entries(text: str, name: str) -> list[Any]:
    try:
        entries = parse_yaml(text)
    except MalformedDocument:
        entries = None
    if isinstance(entries, list):
        return entries
    fix = "write - registry: HOST, with username: and password: below it"
    raise InputError("must be a YAML list", source=f"input {name}", fix=fix)


def _read_entry(entry: Any, source: str) -> dict[str, str]:
    if not isinstance(entry, dict):
        raise InputError("entry is not a mapping", source=source, fix=f"write {', '.join(_FIELDS)}")
    for key in entry:
        if key not in _FIELDS:
            raise InputError(f"unknown field {key!r}", source=source, fix=suggest_name(str(key), _FIELDS))
    return {key: str(value) for key, value in entry.items() if value is not None}


def _make_login(fields: Mapping[str, str], source: str, env: Mapping[str, str]) -> LoginInput:
    registry = _read_registry(fields)
    if _is_aws(registry, fields, source):
        return LoginInput(registry=registry, program=_AWS_PROGRAM)
    for needed in ("username", "password"):
        if not fields.get(needed):
            raise InputError(f"the login for {registry} requires {needed}", source=source)
    if key := _read_access_key(registry, fields, env):
        return LoginInput(registry=registry, access=key)
    scope = fields.get("scope", "").strip("/")
    if "@" in scope:
        fix = "name a repository or a prefix of its path"
        raise InputError(
            f"scope {scope!r}: separate logins for pull and push are not supported", source=source, fix=fix
        )
    return LoginInput(registry=registry, username=fields["username"], password=Secret(fields["password"]), scope=scope)


def _read_access_key(registry: str, fields: Mapping[str, str], env: Mapping[str, str]) -> AccessKey | None:
    """Return the AWS access key that user name and password are, or None.

    None for other registries, if ``ecr`` is false, and for the user name ``AWS``: its password comes from AWS already.
    """
    if fields["username"] == ecr.USER or read_boolean(fields.get("ecr", "")) is False:
        return None
    if not ecr.is_registry(registry.partition("/")[0]):
        return None
    known = ecr.read_key(env)
    session = known.session if known and known.name == fields["username"] else Secret("")
    return AccessKey(name=fields["username"], secret=Secret(fields["password"]), session=session)


def _read_registry(fields: Mapping[str, str]) -> str:
    return fields.get("registry", HUB).removeprefix("https://").rstrip("/")


def _is_aws(registry: str, fields: Mapping[str, str], source: str) -> bool:
    """Return whether to use AWS's credential program: if ``ecr`` is true, or ``auto`` and the registry is AWS's.

    False if there is a user name or a password: at AWS's registries they are an access key. Raises InputError for a
    wrong ``ecr``, and for ``ecr: true`` with credentials for another registry.
    """
    text, named = fields.get("ecr", "auto"), "username" in fields or "password" in fields
    if text == "auto":
        return not named and (any(mark in registry for mark in _AWS_MARKS) or registry == ecr.PUBLIC)
    wanted = read_boolean(text)
    if wanted is None:
        raise InputError(f"ecr must be auto, true or false, not {text!r}", source=source)
    if wanted and named and ecr.is_registry(registry.partition("/")[0]):
        return False
    if wanted and named:
        raise InputError("ecr cannot be combined with username and password", source=source, fix=_AWS_KEYS)
    return wanted


@contextmanager
def open_kubeconfig(
    text: str, *, folder: str | None, announce: Callable[[str], None] = lambda _: None
) -> Iterator[str]:
    """Yield the path of a kubeconfig given as a path, as content or as base64 content.

    Content is written to a private file in ``folder`` (default: the system's temporary folder), which is removed at the
    end. ``announce`` is called with its path before the file is written.
    """
    content = read_kubeconfig(text)
    if content is None:
        yield text.strip()
        return
    path = choose_kubeconfig_path(folder)
    announce(str(path))
    try:
        write_private_file(content, path)
        yield str(path)
    finally:
        path.unlink(missing_ok=True)


def choose_kubeconfig_path(folder: str | None) -> Path:
    """Choose a path for a new file, in ``folder`` or the system's temporary folder."""
    return scratch.name_shared(scratch.KUBECONFIG, folder)


def write_private_file(content: str, path: Path) -> None:
    """Write a file that only this user can read; it must not exist yet."""
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(content, encoding="utf-8")
