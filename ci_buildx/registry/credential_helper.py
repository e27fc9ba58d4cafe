"""Credential programs: ``docker-credential-NAME get``.

The protocol is that of docker/docker-credential-helpers 0.9.9 (``client/client.go``, ``credentials/error.go``): the
server's URL on standard input, JSON on standard output; "not found" is an error with a known message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from ci_buildx.errors import InputError, RegistryError
from ci_buildx.model.programs import MOST_OUTPUT, TooMuchOutput, find_program, make_environment, run_program
from ci_buildx.model.secret import Secret
from ci_buildx.registry.docker_config import HUB, HUB_KEY, RegistryLogin

DEADLINE = 30.0
"""Timeout of a program in seconds; some call a cloud's API."""

_PREFIX = "docker-credential-"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_NOT_FOUND = "credentials not found"
_NO_LOGIN = ("no credentials server URL", "no credentials username")
_TOKEN_USER = "<token>"  # noqa: S105 - the user name that marks a token
_LONGEST_MESSAGE = 200


def ask_program(
    suffix: str, host: str, *, origin: str, env: Mapping[str, str], deadline: float = DEADLINE
) -> RegistryLogin | None:
    """Ask the program for a host's login; return None if it has none.

    Raises InputError (naming ``origin``) if the program is missing, RegistryError if it fails or times out.
    """
    name = _PREFIX + suffix
    path = find_program(name, env) if _NAME.fullmatch(suffix) else None
    if path is None:
        raise InputError(
            f"{name} is not installed",
            source=origin,
            fix="install it outside of the checkout, or log in without it",
        )
    status, output = _run_program(path, HUB_KEY if host == HUB else host, env, deadline)
    if status != 0:
        _check_absent(name, host, status, output)
        return None
    return _read_program_login(output, name)


def _run_program(path: str, server: str, env: Mapping[str, str], deadline: float) -> tuple[int, bytes]:
    try:
        status, output, _ = run_program(
            (path, "get"), env=make_environment(env), given=server.encode(), timeout=deadline
        )
    except TimeoutError:
        raise RegistryError(
            f"{path} gave no login for {server} in {deadline:.0f} s", fix="run it by hand; it may wait for a keychain"
        ) from None
    except TooMuchOutput:
        raise RegistryError(f"{path} printed more than {MOST_OUTPUT >> 20} MiB") from None
    except OSError as error:
        raise RegistryError(f"{path} cannot be run: {error.strerror}") from error
    return status, output


def _check_absent(name: str, host: str, status: int, output: bytes) -> None:
    """Raise RegistryError unless the failure means that there is no login."""
    message = output.decode("utf-8", "replace").strip()
    if _NOT_FOUND in message or message in _NO_LOGIN:
        return
    # The output of a failed program that printed JSON may contain a secret.
    said = "" if "{" in message else " ".join(message.split())[:_LONGEST_MESSAGE]
    raise RegistryError(
        f"{name} failed for {host} with status {status}" + (f": {said}" if said else ""),
        fix="run it by hand to see why",
    )


def _read_program_login(output: bytes, name: str) -> RegistryLogin | None:
    try:
        answer = json.loads(output)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, TypeError, KeyError, RecursionError):
        username = secret = None
    if not isinstance(username, str) or not isinstance(secret, str):
        raise RegistryError(f"{name} answered something else than a login") from None
    if not secret:
        return None
    if username == _TOKEN_USER:
        return RegistryLogin(username="", secret=Secret(""), identity_token=Secret(secret))
    return RegistryLogin(username=username, secret=Secret(secret))
