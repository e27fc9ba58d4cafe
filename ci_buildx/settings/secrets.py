"""Build secrets, read while the settings are parsed: a missing secret stops the job before anything is created.

Syntax and the choice of the source are those of buildx 0.38.2 (``util/buildflags/secrets.go``), the limit is that of
BuildKit v0.34.2 (``session/secrets/secretsprovider/secretsprovider.go``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.model.hosts import Origin, parse_origin
from ci_buildx.model.plaintext import quote_name
from ci_buildx.model.secret import Secret
from ci_buildx.settings.contexts import is_git, refuse_escape
from ci_buildx.settings.names import suggest_name
from ci_buildx.settings.syntax import split_fields
from ci_buildx.settings.values import SecretSource

LARGEST = 500 * 1024
_KEYS = ("id", "src", "source", "env", "type")
_TYPES = ("file", "env")
GIT_SECRETS = ("GIT_AUTH_HEADER", "GIT_AUTH_TOKEN")


def parse_secrets(
    texts: Iterable[str], *, source: str, env: Mapping[str, str], cwd: Path, inline: bool = False
) -> tuple[SecretSource, ...]:
    """Parse ``id=x,src=file`` and ``id=x,env=VAR``; the last secret with an id wins.

    ``inline`` also accepts ``ID=value`` with the value itself, as in docker/build-push-action's input ``secrets``: only
    for sources that others cannot read, so not for command-line arguments. Secrets with an empty value are skipped; see
    :func:`list_empty_secrets`. Raises InputError, also for a secret of more than 500 KiB.
    """
    secrets = {}
    for text in texts:
        secret = _read_inline(text) if inline else None
        if secret is not None and not len(secret.value):
            continue
        secret = secret or _read_secret(text, source, env, cwd)
        if len(secret.value) > LARGEST:
            fix = "mount large files from a context: --build-context NAME=FOLDER"
            raise InputError(f"secret {secret.id!r} is larger than {LARGEST // 1024} KiB", source=source, fix=fix)
        secrets[secret.id] = secret
    return tuple(secrets.values())


def list_empty_secrets(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the ids of inline secrets without a value, for example in a pull request from a fork.

    They are not sent, as in docker/build-push-action 7.3.0 (actions-toolkit 0.95.0 ``src/buildx/build.ts``,
    parseSecretKvp); ``RUN --mount=type=secret,required`` then fails as it should.
    """
    found = (_read_inline(text) for text in texts)
    return tuple(secret.id for secret in found if secret is not None and not len(secret.value))


def parse_git_secrets(
    locations: Iterable[object], given: Iterable[SecretSource], env: Mapping[str, str]
) -> tuple[SecretSource, ...]:
    """Return ``GIT_AUTH_TOKEN`` and ``GIT_AUTH_HEADER`` of the environment as a secret for the host of a git context.

    ``locations`` are the contexts, the main one first. BuildKit v0.34.2 requests ``GIT_AUTH_TOKEN.host`` before
    ``GIT_AUTH_TOKEN`` (``source/git/source.go``): under the host's name no other host receives it. The host is that of
    the main context if that is a repository, else the only host of all named contexts. It must be reached by HTTPS. An
    explicit secret wins. buildx itself sends only explicit secrets.
    """
    known = {secret.id for secret in given}
    return tuple(
        SecretSource(id=f"{name}.{host}", value=Secret(env[name]))
        for host in _list_git_hosts(list(locations))
        for name in GIT_SECRETS
        if env.get(name) and not known & {name, f"{name}.{host}"}
    )


def list_withheld_tokens(
    locations: Iterable[object], given: Iterable[SecretSource], env: Mapping[str, str]
) -> tuple[str, ...]:
    """Return a warning for each host of a git context that does not get the environment's token or header, and why."""
    places, known = list(locations), {secret.id for secret in given}
    names = [name for name in GIT_SECRETS if env.get(name) and name not in known]
    if not names:
        return ()
    served = set(_list_git_hosts(places))
    authorities = dict.fromkeys(_read_authority(url) for url in places if isinstance(url, str) and is_git(url))
    warnings = []
    for scheme, _, host in (authority.partition("://") for authority in authorities if authority):
        if host in served:
            continue
        why = "it is cloned without TLS" if scheme == "http" else "the build clones from other hosts, too"
        warnings += [
            f"{name} is not sent to {host}: {why}; if it is for this host, set --secret id={name}.{host},env={name}"
            for name in names
            if f"{name}.{host}" not in known
        ]
    return tuple(warnings)


def _list_git_hosts(locations: list[object]) -> list[str]:
    """Return the spellings of the one host that the environment's token belongs to; BuildKit asks for it as written."""
    main, *named = locations or [""]
    found: dict[Origin, set[str]] = {}
    for url in [main] if isinstance(main, str) and is_git(main) else named:
        if isinstance(url, str) and is_git(url):
            authority = _read_authority(url)
            if origin := parse_origin(authority):
                found.setdefault(origin, set()).add(authority.partition("://")[2])
    # A repository on the same machine by plain HTTP would be sent the token, too: BuildKit knows no schemes.
    [(origin, spellings)] = found.items() if len(found) == 1 else [(None, set())]
    return sorted(spellings) if origin is not None and origin.is_secure and not _is_plain(origin, locations) else []


def _is_plain(origin: Origin, locations: Iterable[object]) -> bool:
    """Return whether a context is cloned by plain HTTP under the same name and port, as BuildKit compares them."""
    plain = (url for url in locations if isinstance(url, str) and url.startswith("http://"))
    others = (parse_origin(_read_authority(url).replace("http://", "https://", 1)) for url in plain)
    return origin in others


def _read_authority(url: str) -> str:
    """Return the scheme, host and port of an HTTP URL as written; "" for other schemes, which do not use tokens."""
    scheme, separator, rest = (f"https://{url}" if url.startswith("github.com/") else url).partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    # Some parsers take a backslash for a slash, so the host before it would be theirs.
    if not separator or scheme not in ("http", "https") or "\\" in authority:
        return ""
    return f"{scheme}://{authority.rpartition('@')[2]}"


def _read_inline(text: str) -> SecretSource | None:
    """Parse ``ID=value`` with any value; return None if the text has the other syntax."""
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name or name.lower() in _KEYS:
        return None
    return SecretSource(id=name, value=Secret(value))


def _read_secret(text: str, source: str, env: Mapping[str, str], cwd: Path) -> SecretSource:
    attributes = _read_attributes(text.strip(), source)
    name = attributes.get("id", "")
    if not name:
        raise InputError("secret has no id", source=source, fix="write id=NAME,src=FILE or id=NAME,env=VARIABLE")
    path, variable = attributes.get("src", ""), attributes.get("env", "")
    if attributes.get("type") == "env" and not variable:
        path, variable = "", path or name
    if not path and not variable:
        path, variable = ("", name) if name in env else (name, "")
    if variable and not path:
        return SecretSource(id=name, value=Secret(_read_variable(name, variable, source, env)))
    file = refuse_escape(cwd / path, source=source, env=env)
    return SecretSource(id=name, value=Secret(_read_file(name, file, source)))


def _read_attributes(text: str, source: str) -> dict[str, str]:
    """Return the fields by key. Errors quote no value: the user may have written the secret itself here."""
    try:
        fields = split_fields(text)
    except ValueError as error:
        raise InputError("secret has misplaced quotes", source=source) from error
    attributes = {}
    for field in fields:
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals or key not in _KEYS:
            fix = suggest_name(key, _KEYS) if equals else "write id=NAME,src=FILE or id=NAME,env=VARIABLE"
            raise InputError(
                f"unknown secret key {key!r}" if equals else "secret field is not key=value",
                source=source,
                fix=fix,
            )
        attributes["src" if key == "source" else key] = value
    kind = attributes.get("type", "file")
    if kind not in _TYPES:
        raise InputError(f"unknown secret type {kind!r}", source=source, fix=suggest_name(kind, _TYPES))
    return attributes


def _read_variable(name: str, variable: str, source: str, env: Mapping[str, str]) -> str:
    if variable not in env:
        raise InputError(f"secret {name!r}: variable {quote_name(variable)} is not set", source=source)
    return env[variable]


def _read_file(name: str, path: Path, source: str) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"secret {name!r}: cannot read {quote_name(str(path))}: {reason}", source=source) from error
