"""Parsers of pairs and tags: build arguments, labels, annotations, and proxies from docker's configuration.

Source of the proxies: buildx 0.38.2, ``store/storeutil/storeutil.go`` (``GetProxyConfig``) and ``build/opt.go``
(``toSolveOpt``).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.model import reference
from ci_buildx.model.documents import parse_json
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.settings.names import suggest_name
from ci_buildx.settings.platforms import read_platform

_ARGUMENTS = {
    "HTTP_PROXY": "httpProxy",
    "HTTPS_PROXY": "httpsProxy",
    "NO_PROXY": "noProxy",
    "FTP_PROXY": "ftpProxy",
}
_DAEMON = "unix:///var/run/docker.sock"
_DEFAULT = "default"


def make_proxy_arguments(env: Mapping[str, str], given: Container[str]) -> dict[str, str]:
    """Return the proxies by argument, without those that are ``given`` in upper or lower case.

    They are those of the daemon that ``DOCKER_HOST`` names, otherwise docker's default. An unreadable configuration
    counts as empty: the reader of its logins will report the error.
    """
    proxies = _read_proxies(env)
    chosen = proxies.get(env.get("DOCKER_HOST") or _DAEMON, proxies.get(_DEFAULT))
    if not isinstance(chosen, dict):
        return {}
    return {
        name: chosen[key]
        for name, key in _ARGUMENTS.items()
        if isinstance(chosen.get(key), str) and chosen[key] and not (name in given or name.lower() in given)
    }


def _read_proxies(env: Mapping[str, str]) -> dict[str, Any]:
    folder = env.get("DOCKER_CONFIG") or (env.get("HOME") and str(Path(env["HOME"]) / ".docker"))
    if not folder:
        return {}
    try:
        proxies = parse_json((Path(folder) / "config.json").read_bytes())["proxies"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return proxies if isinstance(proxies, dict) else {}


def parse_tags(texts: Iterable[str], *, source: str) -> tuple[str, ...]:
    """Check references against distribution's grammar; return them as typed, in order and without duplicates.

    Raises InputError for an invalid reference and for one with a digest.
    """
    tags = dict.fromkeys(text.strip() for text in texts)
    for tag in tags:
        check_tag(tag, source=source)
    return tuple(tags)


def check_tag(text: str, *, source: str) -> None:
    """Raise InputError for a name that no registry would accept for a pushed image."""
    try:
        parsed = reference.parse_reference(text)
    except ValueError as error:
        fix = "repeat the option for each tag" if "," in text else "write it like registry/name:tag"
        raise InputError(f"invalid tag {text!r}: {error}", source=source, fix=fix) from error
    if parsed.digest:
        raise InputError(f"invalid tag {text!r}: only the build determines the digest", source=source, fix="omit '@…'")


Pairs = tuple[tuple[str, str], ...]

ANNOTATION_TARGETS = ("manifest", "manifest-descriptor", "index", "index-descriptor")
_EPOCH = "SOURCE_DATE_EPOCH"
_SYNTAX = "BUILDKIT_SYNTAX"
_TARGET = compile_lazily(r"(?P<kind>[a-z-]*)(?:\[(?P<platform>[A-Za-z0-9_/.-]+)\])?")


def parse_build_args(texts: Iterable[str], *, source: str, env: Mapping[str, str]) -> Pairs:
    """Parse ``K=V``, or ``K`` alone: the value of the variable, omitted if it is not set (buildx ``listToMap``).

    The variable ``SOURCE_DATE_EPOCH`` becomes an argument too, unless that argument is in ``texts`` (buildx 0.38.2
    ``commands/build.go``); so do the proxies of docker's configuration. Raises InputError.
    """
    pairs = {}
    for text in texts:
        key, value = _split_pair(text, source)
        if value is None:
            value = env.get(key)
        if value is not None:
            pairs[key] = value
    if not pairs.get(_SYNTAX, "x").strip():
        message = f"empty {_SYNTAX} build-arg is invalid, use --build-arg {_SYNTAX} without '=' for optional behavior"
        raise InputError(message, source=source, fix="or name a frontend image")
    if env.get(_EPOCH):
        pairs.setdefault(_EPOCH, env[_EPOCH])
    return (*pairs.items(), *make_proxy_arguments(env, pairs).items())


def parse_labels(texts: Iterable[str], *, source: str) -> Pairs:
    """Parse ``K=V``, or ``K`` alone with an empty value; the last value of a key wins. Raises InputError."""
    pairs = dict(_split_pair(text, source) for text in texts)
    return tuple((key, value or "") for key, value in pairs.items())


def parse_annotations(texts: Iterable[str], *, source: str) -> Pairs:
    """Parse ``[target[,target…]:]K=V`` with targets like ``index`` or ``manifest[linux/amd64]``.

    The result has one entry for each target, with the key ``target:K`` and normalised platforms (buildx 0.38.2
    ``util/buildflags/export.go``). Raises InputError.
    """
    annotations = {}
    for text in texts:
        key, value = _split_pair(text, source)
        if value is None:
            raise InputError(f"annotation {text!r} has no value", source=source, fix="write key=value")
        targets, colon, name = key.partition(":")
        if not colon:
            annotations[key] = value
            continue
        if not name:
            raise InputError(f"annotation {text!r} has no key", source=source, fix="write index:key=value")
        for target in targets.split(","):
            annotations[f"{_normalise_target(target, source)}:{name}"] = value
    return tuple(annotations.items())


def _normalise_target(text: str, source: str) -> str:
    match = _TARGET.fullmatch(text.strip())
    if not match or match["kind"] not in ANNOTATION_TARGETS:
        kind = text.partition("[")[0]
        raise InputError(
            f"unknown annotation target {text!r}", source=source, fix=suggest_name(kind, ANNOTATION_TARGETS)
        )
    if not match["platform"]:
        return match["kind"]
    return f"{match['kind']}[{read_platform(match['platform'], source=source)}]"


def _split_pair(text: str, source: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    if not key.strip():
        message = f'invalid key-value pair "{text}": empty key'
        if source.startswith("--"):  # Scripts look for the whole line of docker buildx, which has nothing else.
            raise InputError(message, known=True)
        raise InputError(message, source=source, fix="write key=value")
    return key.strip(), value if equals else None
