"""Parsers for the inputs ``tag-rules``, ``flavor`` and ``images``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum

from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass
from ci_buildx.settings.names import suggest_name
from ci_buildx.settings.syntax import split_fields


class TagKind(StrEnum):
    """The source of a tag."""

    SCHEDULE = "schedule"
    SEMVER = "semver"
    PEP440 = "pep440"
    MATCH = "match"
    EDGE = "edge"
    REF = "ref"
    RAW = "raw"
    SHA = "sha"


class LatestMode(StrEnum):
    """Whether to add the tag ``latest``; with ``auto`` the rule that makes the version decides."""

    AUTO = "auto"
    TRUE = "true"
    FALSE = "false"


_PRIORITIES = {
    TagKind.SCHEDULE: 1000,
    TagKind.SEMVER: 900,
    TagKind.PEP440: 900,
    TagKind.MATCH: 800,
    TagKind.EDGE: 700,
    TagKind.REF: 600,
    TagKind.RAW: 200,
    TagKind.SHA: 100,
}
_EVENTS = ("branch", "tag", "pr")
_FORMATS = ("short", "long")
_OF_ALL = ("enable", "priority", "prefix", "suffix")
_ATTRIBUTES: Mapping[TagKind, tuple[str, ...]] = {
    TagKind.SCHEDULE: ("pattern",),
    TagKind.SEMVER: ("pattern", "value", "match"),
    TagKind.PEP440: ("pattern", "value", "match"),
    TagKind.MATCH: ("pattern", "group", "value"),
    TagKind.EDGE: ("branch",),
    TagKind.REF: ("event",),
    TagKind.RAW: ("value",),
    TagKind.SHA: ("format",),
}
_NEEDED = {
    TagKind.SEMVER: "pattern",
    TagKind.PEP440: "pattern",
    TagKind.MATCH: "pattern",
    TagKind.REF: "event",
    TagKind.RAW: "value",
}
_DEFAULTS: Mapping[TagKind, Mapping[str, str]] = {
    TagKind.SCHEDULE: {"pattern": "nightly"},
    TagKind.MATCH: {"group": "0"},
    TagKind.SHA: {"prefix": "sha-", "format": "short"},
}
DEFAULT_RULES = ("type=schedule", "type=ref,event=branch", "type=ref,event=tag", "type=ref,event=pr")


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRule:
    """One line of ``tag-rules``; ``attributes`` include the defaults."""

    kind: TagKind
    attributes: Mapping[str, str]
    priority: float

    def get(self, name: str) -> str:
        """Return an attribute, or "" if it is missing."""
        return self.attributes.get(name, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """Settings that apply to all tags."""

    latest: LatestMode = LatestMode.AUTO
    prefix: str = ""
    prefix_latest: bool = False
    suffix: str = ""
    suffix_latest: bool = False


def parse_rules(lines: Iterable[str], *, source: str) -> tuple[TagRule, ...]:
    """Parse rules and sort them by descending priority; the default is metadata-action's. Raises InputError."""
    rules = [_parse_rule(line, source) for line in _drop_comments(lines) or DEFAULT_RULES]
    return tuple(sorted(rules, key=lambda rule: -rule.priority))


def parse_flavor(lines: Iterable[str], *, source: str) -> Flavor:
    """Parse the flavor; later lines override earlier ones. Raises InputError."""
    latest, texts, on_latest = LatestMode.AUTO, {"prefix": "", "suffix": ""}, {"prefix": False, "suffix": False}
    for line in _drop_comments(lines):
        last = ""
        for key, value in _split_fields(line, source):
            if key == "latest":
                latest = LatestMode(_require_one_of(value, tuple(LatestMode), "latest", source))
            elif key in texts:
                texts[key], last = value, key
            elif key == "onlatest" and last:
                on_latest[last] = _require_one_of(value, ("true", "false"), key, source) == "true"
            else:
                fix = "write it after prefix or suffix" if key == "onlatest" else suggest_name(key, ("latest", *texts))
                raise InputError(f"unknown flavor {key or value!r}", source=source, fix=fix)
    return Flavor(
        latest=latest,
        prefix=texts["prefix"],
        prefix_latest=on_latest["prefix"],
        suffix=texts["suffix"],
        suffix_latest=on_latest["suffix"],
    )


def parse_images(lines: Iterable[str], *, source: str) -> tuple[str, ...]:
    """Parse names of images, in lower case.

    A line is ``name`` or ``name=NAME,enable=BOOL``; a single line may hold several names between commas.
    """
    said = _drop_comments(lines)
    if len(said) == 1 and not any(key for key, _ in _split_fields(said[0], source)):
        return tuple(name.lower() for _, name in _split_fields(said[0], source) if name)
    return tuple(name.lower() for line in said for name in _parse_image(line, source))


def _parse_image(line: str, source: str) -> list[str]:
    name, enabled = "", True
    for key, value in _split_fields(line, source):
        if key in ("", "name"):
            name = value
        elif key == "enable":
            enabled = _require_one_of(value, ("true", "false"), key, source) == "true"
        else:
            raise InputError(f"unknown attribute {key!r} of an image", source=source, fix="use name and enable")
    if not name:
        raise InputError(f"{line!r} has no image name", source=source, fix="write registry/name")
    return [name] if enabled else []


def _parse_rule(line: str, source: str) -> TagRule:
    given = {key or "value": value for key, value in _split_fields(line, source)}
    kind = TagKind(_require_one_of(given.pop("type", TagKind.RAW), tuple(TagKind), "type", source))
    known = (*_OF_ALL, *_ATTRIBUTES[kind])
    for key in given:
        if key not in known:
            raise InputError(f"unknown attribute {key!r} of type={kind}", source=source, fix=suggest_name(key, known))
    needed = _NEEDED.get(kind)
    if needed and needed not in given:
        raise InputError(f"{line!r} requires {needed}", source=source, fix=f"write type={kind},{needed}=…")
    attributes = {"enable": "true", **_DEFAULTS.get(kind, {}), **given}
    _check_attributes(kind, attributes, source)
    if kind is TagKind.REF and attributes["event"] == "pr":
        attributes.setdefault("prefix", "pr-")
    return TagRule(kind=kind, attributes=attributes, priority=_read_priority(attributes, kind, source))


def _check_attributes(kind: TagKind, attributes: Mapping[str, str], source: str) -> None:
    if kind is TagKind.REF:
        _require_one_of(attributes["event"], _EVENTS, "event", source)
    elif kind is TagKind.SHA:
        _require_one_of(attributes["format"], _FORMATS, "format", source)
    elif kind is TagKind.MATCH and not attributes["group"].isdecimal():
        raise InputError(
            f"group {attributes['group']!r} is not a number",
            source=source,
            fix="count from 0, which is the entire match",
        )
    name = "match" if kind in (TagKind.SEMVER, TagKind.PEP440) else "pattern" if kind is TagKind.MATCH else ""
    if name and attributes.get(name):
        try:
            compile_expression(attributes[name])
        except re.error as error:
            raise InputError(
                f"{name} {attributes[name]!r} is not a valid regular expression: {error}", source=source
            ) from error


def compile_expression(pattern: str) -> re.Pattern[str]:
    """Compile a JavaScript regular expression, bare or as ``/pattern/flags``. Raises :class:`re.error`."""
    slashed = re.fullmatch(r"/(.+)/(\w*)", pattern, re.DOTALL)
    body, letters = (slashed[1], slashed[2]) if slashed else (pattern, "")
    flags = re.ASCII
    for letter in letters:
        flags |= {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}.get(letter, re.ASCII)
    return re.compile(re.sub(r"\(\?<(?![=!])", "(?P<", body), flags)


def _read_priority(attributes: Mapping[str, str], kind: TagKind, source: str) -> float:
    text = attributes.get("priority", "")
    try:
        return float(text) if text else float(_PRIORITIES[kind])
    except ValueError as error:
        raise InputError(f"priority {text!r} is not a number", source=source) from error


def _require_one_of(value: str, known: tuple[str, ...], name: str, source: str) -> str:
    if value not in known:
        raise InputError(f"unknown {name} {value!r}", source=source, fix=suggest_name(value, known))
    return value


def _drop_comments(lines: Iterable[str]) -> list[str]:
    """Return the lines without comments and empty lines."""
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _split_fields(line: str, source: str) -> list[tuple[str, str]]:
    """Return a line's fields as key and value; the key is "" if a field has no ``=``."""
    try:
        fields = split_fields(line)
    except ValueError as error:
        fix = 'quote the entire field if it contains a comma: "pattern=a,b"'
        raise InputError(str(error), source=source, fix=fix) from error
    pairs = [field.partition("=") for field in fields]
    return [(key.strip().lower(), value.strip()) if equals else ("", key.strip()) for key, equals, value in pairs]
