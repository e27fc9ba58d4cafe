"""What must not be shown, and the one way in which it is hidden: by everything that prints.

Three things are known to be credentials: what stands in a URL (:mod:`~ci_buildx.model.login`), what has the name of
one, and content where a name is expected (:mod:`~ci_buildx.model.pasted`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from ci_buildx.model.login import MASK, logins_in, without_logins
from ci_buildx.model.pasted import describe_pasted
from ci_buildx.model.pattern import pattern

SHORTEST = 8
"""Characters of a secret that is searched for: shorter texts stand in too many other words."""
_SECRET = pattern(
    r"(?i)(?:_|^)(?:apikey|auth|credentials?|key|pass|password|passphrase|pword|passwd|pw|secret|token)(?:_|$)"
)
_HARMLESS = pattern(r"(?i)(?:_|^)(?:public|file|version)(?:_|$)")
_ATTRIBUTE = pattern(r"(?i)token|secret|password|passwd|access_key|account_key|credential|signature")
_PLACES = pattern(r"(?i)(?:_|^)(?:sock|path|dir|folder|url|host|user|name)(?:_|$)|^(?:KUBE_BUILDER|INPUT|CI_JOB_NAME)_")
_ADDRESS = pattern(r"[A-Za-z0-9.-]+:\d{1,5}")
"""A host with its port is no secret, whatever the variable is called."""
_OPTION = pattern(r"--?[a-z][a-z-]*=")
_ARGUMENT = "build-arg:"


def is_secret_name(name: str) -> bool:
    """Whether a variable or build argument is a secret by its name.

    The rule is that of a build check (BuildKit 0.34.2, ``dockerfile2llb/validations.go``, SecretsUsedInArgOrEnv).
    """
    return bool(_SECRET.search(name)) and not _HARMLESS.search(name)


def is_secret_attribute(name: str) -> bool:
    """Whether a field of a cache or an output is a credential (s3, azblob and gha in BuildKit 0.34.2)."""
    return bool(_ATTRIBUTE.search(name))


def without(text: str, hidden: Iterable[str]) -> str:
    """The text with ``***`` for each of those that are ``hidden``, and for the logins of URLs."""
    for secret in hidden:
        text = text.replace(secret, MASK)
    return without_logins(text)


def spelled(secrets: Iterable[str]) -> tuple[str, ...]:
    """The secrets that can be searched for, in all the forms in which errors and URLs write them, longest first."""
    forms: set[str] = set()
    for secret in secrets:
        if len(secret.strip()) >= SHORTEST:
            forms |= {secret, secret.strip(), repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="")}
            forms |= {quote_plus(secret), " ".join(secret.split())}
    return tuple(sorted(forms, key=len, reverse=True))


def of_process(env: Mapping[str, str], argv: Iterable[str]) -> tuple[str, ...]:
    """What no error may quote of the variables and the arguments of this process."""
    return spelled(_of_process(env, argv))


def _of_process(env: Mapping[str, str], argv: Iterable[str]) -> Iterator[str]:
    for name, value in env.items():
        named = is_secret_name(name) and not _PLACES.search(name) and not _ADDRESS.fullmatch(value)
        if named or describe_pasted(value):
            yield value
        if "=" in value or "@" in value:
            yield from logins_in(value)
    for argument in argv:
        if "=" in argument or "@" in argument:
            yield from logins_in(argument)
        name, _, value = argument.partition("=")
        for text in (value, value.partition("=")[2], name, argument):
            if describe_pasted(text) and not (text is argument and _OPTION.match(text)):
                yield text


def without_secrets(value: Any, hidden: Iterable[str] = ()) -> Any:
    """A value for JSON without what is hidden, and without what has a secret's name: arguments, variables."""
    hidden = tuple(hidden)
    if isinstance(value, str):
        return without(value, hidden)
    if isinstance(value, list | tuple):
        return [without_secrets(one, hidden) for one in value]
    if not isinstance(value, dict):
        return value
    shown = {without(str(key), hidden): _masked(str(key), one, hidden) for key, one in value.items()}
    if isinstance(value.get("value"), str) and is_secret_name(str(value.get("name", ""))):
        shown["value"] = MASK
    return shown


def _masked(key: str, value: Any, hidden: tuple[str, ...]) -> Any:
    if key.startswith(_ARGUMENT) and is_secret_name(key.removeprefix(_ARGUMENT)):
        return MASK
    return without_secrets(value, hidden)
