"""What a registry answers about authentication: challenges and tokens. Pure.

Challenges are those of RFC 9110, section 11.6.1; tokens those of distribution's "token" and "oauth2" specifications
(distribution 3.0, ``docs/content/spec/auth``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import StrEnum

from ci_buildx.errors import RegistryError
from ci_buildx.model.hosts import parse_origin
from ci_buildx.model.record import dataclass
from ci_buildx.model.secret import Secret

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"[\s,]*({_WORD})(?:\s+|\s*$|\s*(?=,))")
_PARAMETER = re.compile(rf'[\s,]*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))\s*')
_ESCAPE = re.compile(r"\\(.)")
_DEFAULT_LIFETIME = 60.0
_LONGEST_LIFETIME = 1e9
_LONGEST_HEADER = 8192


class Scheme(StrEnum):
    """The ways to authenticate that registries ask for."""

    BASIC = "basic"
    BEARER = "bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One challenge; ``realm`` is the URL of the token service where the scheme is bearer."""

    scheme: Scheme
    realm: str = ""
    service: str = ""
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token and the seconds it lives."""

    value: Secret
    lifetime: float


def parse_challenge(header: str) -> Challenge:
    """The strongest challenge of a ``WWW-Authenticate`` header: bearer before basic.

    RegistryError if there is none that we can meet.
    """
    found = {
        scheme: parameters for name, parameters in _challenges(header[:_LONGEST_HEADER]) if (scheme := _known(name))
    }
    if parameters := found.get(Scheme.BEARER):
        realm = parameters.get("realm", "")
        if parse_origin(realm) is None:
            raise RegistryError(f"the registry names no usable token service: realm {realm[:100]!r}", status=401)
        scopes = tuple(parameters.get("scope", "").split())
        return Challenge(scheme=Scheme.BEARER, realm=realm, service=parameters.get("service", ""), scopes=scopes)
    if Scheme.BASIC in found:
        return Challenge(scheme=Scheme.BASIC)
    raise RegistryError(f"the registry asks for an unknown kind of authentication: {header[:100]!r}", status=401)


def parse_token(body: bytes) -> Token:
    """The answer of a token service. RegistryError, without quoting it, if it is none."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise RegistryError("the token service answered something else than JSON")
    value = answer.get("token") or answer.get("access_token")
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise RegistryError("the token service answered without a token")
    return Token(value=Secret(value), lifetime=_lifetime(answer.get("expires_in")))


def _lifetime(value: object) -> float:
    """Seconds; the specification's 60 where the answer says nothing usable."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _LONGEST_LIFETIME:
        return float(value)
    return _DEFAULT_LIFETIME


def _known(name: str) -> Scheme | None:
    return Scheme(name.lower()) if name.lower() in list(Scheme) else None


def _challenges(header: str) -> list[tuple[str, Mapping[str, str]]]:
    """Schemes with their parameters, up to the first thing that is neither."""
    challenges: list[tuple[str, Mapping[str, str]]] = []
    position = 0
    while match := _SCHEME.match(header, position):
        position = match.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            name, quoted, plain = parameter.groups()
            parameters[name.lower()] = plain if quoted is None else _ESCAPE.sub(r"\1", quoted)
            position = parameter.end()
        challenges.append((match[1], parameters))
    return challenges
