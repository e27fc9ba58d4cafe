"""``key=value`` lists: build arguments, labels, annotations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ci_buildx.errors import InputError
from ci_buildx.model.pattern import pattern
from ci_buildx.settings.nearest import suggest
from ci_buildx.settings.platforms import parse_platform
from ci_buildx.settings.proxies import proxy_arguments

Pairs = tuple[tuple[str, str], ...]

ANNOTATION_TARGETS = ("manifest", "manifest-descriptor", "index", "index-descriptor")
_EPOCH = "SOURCE_DATE_EPOCH"
_SYNTAX = "BUILDKIT_SYNTAX"
_TARGET = pattern(r"(?P<kind>[a-z-]*)(?:\[(?P<platform>[A-Za-z0-9_/.-]+)\])?")


def parse_build_args(texts: Iterable[str], *, source: str, env: Mapping[str, str]) -> Pairs:
    """``K=V``, or ``K`` alone: the variable's value, left out where there is none (buildx ``listToMap``).

    The variable ``SOURCE_DATE_EPOCH`` is an argument without being named, unless it is given (buildx 0.38.2
    ``commands/build.go``); so are the proxies of docker's configuration.
    """
    pairs = {}
    for text in texts:
        key, value = _split(text, source)
        if value is None:
            value = env.get(key)
        if value is not None:
            pairs[key] = value
    if not pairs.get(_SYNTAX, "x").strip():
        raise InputError(f"{_SYNTAX} is empty", source=source, fix="name a frontend image or leave it out")
    if env.get(_EPOCH):
        pairs.setdefault(_EPOCH, env[_EPOCH])
    return (*pairs.items(), *proxy_arguments(env, pairs).items())


def parse_labels(texts: Iterable[str], *, source: str) -> Pairs:
    """``K=V``, or ``K`` alone with an empty value; the last of a key counts."""
    pairs = dict(_split(text, source) for text in texts)
    return tuple((key, value or "") for key, value in pairs.items())


def parse_annotations(texts: Iterable[str], *, source: str) -> Pairs:
    """``[target[,target…]:]K=V`` with targets like ``index`` or ``manifest[linux/amd64]``.

    The result has one entry for each target, its key ``target:K``, platforms normalised
    (buildx 0.38.2 ``util/buildflags/export.go``).
    """
    annotations = {}
    for text in texts:
        key, value = _split(text, source)
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
        raise InputError(f"unknown annotation target {text!r}", source=source, fix=suggest(kind, ANNOTATION_TARGETS))
    if not match["platform"]:
        return match["kind"]
    return f"{match['kind']}[{parse_platform(match['platform'], source=source)}]"


def _split(text: str, source: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    if not key.strip():
        raise InputError(f"{text!r} has no key", source=source, fix="write key=value")
    return key.strip(), value if equals else None
