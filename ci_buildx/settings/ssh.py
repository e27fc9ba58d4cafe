"""SSH agents and private keys for ``--ssh``. Keys are in OpenSSH's format or PEM. Imports ``cryptography``."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

from ci_buildx.errors import InputError
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.plaintext import quote_name
from ci_buildx.model.secret import Secret
from ci_buildx.settings.contexts import refuse_escape
from ci_buildx.settings.values import SshSource

PrivateKey = Ed25519PrivateKey | RSAPrivateKey | EllipticCurvePrivateKey
_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_LOCKED = "password"


class LockedKey(ValueError):
    """The private key has a passphrase."""


def load_key(text: bytes) -> PrivateKey:
    """Parse a private key.

    Raises LockedKey if it has a passphrase, and ValueError, which does not quote the text, if it is not a usable key.
    """
    read = load_ssh_private_key if _OPENSSH in text else load_pem_private_key
    try:
        key = read(text, None)
    except (TypeError, ValueError) as error:
        if _LOCKED in str(error).lower():
            raise LockedKey("the key has a passphrase") from None
        raise ValueError("not a private key") from None
    except UnsupportedAlgorithm:
        raise ValueError("unknown type of private key") from None
    if not isinstance(key, PrivateKey):
        raise ValueError("type of private key is not supported by SSH")
    return key


DEFAULT = "default"
VARIABLE = "SSH_AUTH_SOCK"
LARGEST_KEY = 100 * 1024
_NEXT = compile_lazily(r",(?=[\w.-]+=)")
"""Start of another id: docker/build-push-action 7.3.0 splits its input ``ssh`` at commas."""
_START = "start one (eval $(ssh-agent)) and add a key to it, or name a key: default=FILE"


def parse_ssh(texts: Iterable[str], *, source: str, env: Mapping[str, str], cwd: Path) -> tuple[SshSource, ...]:
    """Parse ``default``, ``id=socket`` or ``id=key[,key]``; one text may hold several, separated by commas.

    Keys are read and checked. Raises InputError.
    """
    sources: dict[str, SshSource] = {}
    for text in (part for given in texts for part in _split_source(given)):
        name, _, paths = text.partition("=")
        name = name.strip() or DEFAULT
        if name in sources:
            raise InputError(f"{name!r} is set twice", source=source, fix="use a different id for each agent")
        sources[name] = _read_source(name, [path for path in paths.split(",") if path], source, env, cwd)
    return tuple(sources.values())


def _split_source(text: str) -> list[str]:
    if "=" not in text:
        return [part for part in text.split(",") if part.strip()]
    return _NEXT.split(text)


def _read_source(name: str, paths: list[str], source: str, env: Mapping[str, str], cwd: Path) -> SshSource:
    if not paths:
        socket = env.get(VARIABLE, "")
        if not socket:
            raise InputError(f"{name!r}: SSH agent not found: {VARIABLE} is not set", source=source, fix=_START)
        return _read_agent(name, cwd / socket, f"{source}: {VARIABLE}")
    found = [refuse_escape(cwd / path, source=source, env=env) for path in paths]
    sockets = [path for path in found if _is_socket(name, path, source)]
    if sockets and len(found) > 1:
        raise InputError(
            f"{name!r}: a socket cannot be combined with others", source=source, fix="name one socket, or only keys"
        )
    if sockets:
        return SshSource(id=name, socket=sockets[0])
    return SshSource(id=name, keys=tuple(_read_key(name, path, source) for path in found))


def _read_agent(name: str, path: Path, source: str) -> SshSource:
    """Return the agent that the variable names; as in docker buildx, it may also name a private key."""
    if _is_socket(name, path, source):
        return SshSource(id=name, socket=path)
    try:
        return SshSource(id=name, keys=(_read_key(name, path, source),))
    except InputError as error:
        message = f"{name!r}: {str(path)!r} is neither a socket nor a usable private key"
        raise InputError(message, source=source, fix=_START) from error


def _is_socket(name: str, path: Path, source: str) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except (OSError, ValueError) as error:
        raise InputError(_make_read_error(name, path, error), source=source) from error


def _read_key(name: str, path: Path, source: str) -> Secret:

    try:
        with path.open("rb") as stream:
            text = stream.read(LARGEST_KEY)
    except (OSError, ValueError) as error:
        raise InputError(_make_read_error(name, path, error), source=source) from error
    try:
        load_key(text)
    except LockedKey:
        fix = f"add it to an agent (ssh-add {path}) and name the agent"
        raise InputError(f"{name!r}: the key {str(path)!r} has a passphrase", source=source, fix=fix) from None
    except ValueError:
        fix = "name a private key in OpenSSH or PEM format"
        raise InputError(f"{name!r}: {str(path)!r} is not an SSH key", source=source, fix=fix) from None
    return Secret(text)


def _make_read_error(name: str, path: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{name!r}: cannot read {quote_name(str(path))}: {reason}"
