"""What the inputs ``tag-rules``, ``flavor`` and ``images`` say, line by line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum

from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass
from ci_buildx.settings.csvline import split_fields
from ci_buildx.settings.nearest import suggest


class Kind(StrEnum):
    """Where a tag comes from."""

    SCHEDULE = "schedule"
    SEMVER = "semver"
    PEP440 = "pep440"
    MATCH = "match"
    EDGE = "edge"
    REF = "ref"
    RAW = "raw"
    SHA = "sha"


class Latest(StrEnum):
    """Whether ``latest`` is a tag, too; ``auto`` leaves it to the rule that gives the version."""

    AUTO = "auto"
    TRUE = "true"
    FALSE = "false"


_PRIORITIES = {
    Kind.SCHEDULE: 1000,
    Kind.SEMVER: 900,
    Kind.PEP440: 900,
    Kind.MATCH: 800,
    Kind.EDGE: 700,
    Kind.REF: 600,
    Kind.RAW: 200,
    Kind.SHA: 100,
}
_EVENTS = ("branch", "tag", "pr")
_FORMATS = ("short", "long")
_OF_ALL = ("enable", "priority", "prefix", "suffix")
_ATTRIBUTES: Mapping[Kind, tuple[str, ...]] = {
    Kind.SCHEDULE: ("pattern",),
    Kind.SEMVER: ("pattern", "value", "match"),
    Kind.PEP440: ("pattern", "value", "match"),
    Kind.MATCH: ("pattern", "group", "value"),
    Kind.EDGE: ("branch",),
    Kind.REF: ("event",),
    Kind.RAW: ("value",),
    Kind.SHA: ("format",),
}
_NEEDED = {Kind.SEMVER: "pattern", Kind.PEP440: "pattern", Kind.MATCH: "pattern", Kind.REF: "event", Kind.RAW: "value"}
_DEFAULTS: Mapping[Kind, Mapping[str, str]] = {
    Kind.SCHEDULE: {"pattern": "nightly"},
    Kind.MATCH: {"group": "0"},
    Kind.SHA: {"prefix": "sha-", "format": "short"},
}
DEFAULT_RULES = ("type=schedule", "type=ref,event=branch", "type=ref,event=tag", "type=ref,event=pr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of ``tag-rules``; ``attributes`` holds what was given and what counts if it is not."""

    kind: Kind
    attributes: Mapping[str, str]
    priority: float

    def get(self, name: str) -> str:
        """An attribute, "" if it is not there."""
        return self.attributes.get(name, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """What is said of all tags."""

    latest: Latest = Latest.AUTO
    prefix: str = ""
    prefix_latest: bool = False
    suffix: str = ""
    suffix_latest: bool = False


def parse_rules(lines: Iterable[str], *, source: str) -> tuple[Rule, ...]:
    """The rules, the most important first; without any, metadata-action's own. Raises InputError."""
    rules = [_rule(line, source) for line in _said(lines) or DEFAULT_RULES]
    return tuple(sorted(rules, key=lambda rule: -rule.priority))


def parse_flavor(lines: Iterable[str], *, source: str) -> Flavor:
    """The flavor; a later line counts. Raises InputError."""
    latest, texts, on_latest = Latest.AUTO, {"prefix": "", "suffix": ""}, {"prefix": False, "suffix": False}
    for line in _said(lines):
        last = ""
        for key, value in _fields(line, source):
            if key == "latest":
                latest = Latest(_one_of(value, tuple(Latest), "latest", source))
            elif key in texts:
                texts[key], last = value, key
            elif key == "onlatest" and last:
                on_latest[last] = _one_of(value, ("true", "false"), key, source) == "true"
            else:
                fix = "write it after prefix or suffix" if key == "onlatest" else suggest(key, ("latest", *texts))
                raise InputError(f"unknown flavor {key or value!r}", source=source, fix=fix)
    return Flavor(
        latest=latest,
        prefix=texts["prefix"],
        prefix_latest=on_latest["prefix"],
        suffix=texts["suffix"],
        suffix_latest=on_latest["suffix"],
    )


def parse_images(lines: Iterable[str], *, source: str) -> tuple[str, ...]:
    """Names of images, in lower case: ``name``, ``name=NAME,enable=BOOL``, or several in one line between commas."""
    said = _said(lines)
    if len(said) == 1 and not any(key for key, _ in _fields(said[0], source)):
        return tuple(name.lower() for _, name in _fields(said[0], source) if name)
    return tuple(name.lower() for line in said for name in _image(line, source))


def _image(line: str, source: str) -> list[str]:
    name, enabled = "", True
    for key, value in _fields(line, source):
        if key in ("", "name"):
            name = value
        elif key == "enable":
            enabled = _one_of(value, ("true", "false"), key, source) == "true"
        else:
            raise InputError(f"unknown attribute {key!r} of an image", source=source, fix="use name and enable")
    if not name:
        raise InputError(f"{line!r} names no image", source=source, fix="write registry/name")
    return [name] if enabled else []


def _rule(line: str, source: str) -> Rule:
    given = {key or "value": value for key, value in _fields(line, source)}
    kind = Kind(_one_of(given.pop("type", Kind.RAW), tuple(Kind), "type", source))
    known = (*_OF_ALL, *_ATTRIBUTES[kind])
    for key in given:
        if key not in known:
            raise InputError(f"type={kind} has no attribute {key!r}", source=source, fix=suggest(key, known))
    needed = _NEEDED.get(kind)
    if needed and needed not in given:
        raise InputError(f"{line!r} lacks {needed}", source=source, fix=f"write type={kind},{needed}=…")
    attributes = {"enable": "true", **_DEFAULTS.get(kind, {}), **given}
    _check(kind, attributes, source)
    if kind is Kind.REF and attributes["event"] == "pr":
        attributes.setdefault("prefix", "pr-")
    return Rule(kind=kind, attributes=attributes, priority=_priority(attributes, kind, source))


def _check(kind: Kind, attributes: Mapping[str, str], source: str) -> None:
    if kind is Kind.REF:
        _one_of(attributes["event"], _EVENTS, "event", source)
    elif kind is Kind.SHA:
        _one_of(attributes["format"], _FORMATS, "format", source)
    elif kind is Kind.MATCH and not attributes["group"].isdecimal():
        raise InputError(f"group {attributes['group']!r} is no number", source=source, fix="count from 0, the whole")
    name = "match" if kind in (Kind.SEMVER, Kind.PEP440) else "pattern" if kind is Kind.MATCH else ""
    if name and attributes.get(name):
        try:
            expression(attributes[name])
        except re.error as error:
            raise InputError(f"{name} {attributes[name]!r} is no regular expression: {error}", source=source) from error


def expression(pattern: str) -> re.Pattern[str]:
    """A JavaScript regular expression, bare or as ``/pattern/flags``. Raises :class:`re.error`."""
    slashed = re.fullmatch(r"/(.+)/(\w*)", pattern, re.DOTALL)
    body, letters = (slashed[1], slashed[2]) if slashed else (pattern, "")
    flags = re.ASCII
    for letter in letters:
        flags |= {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}.get(letter, re.ASCII)
    return re.compile(re.sub(r"\(\?<(?![=!])", "(?P<", body), flags)


def _priority(attributes: Mapping[str, str], kind: Kind, source: str) -> float:
    text = attributes.get("priority", "")
    try:
        return float(text) if text else float(_PRIORITIES[kind])
    except ValueError as error:
        raise InputError(f"priority {text!r} is no number", source=source) from error


def _one_of(value: str, known: tuple[str, ...], name: str, source: str) -> str:
    if value not in known:
        raise InputError(f"unknown {name} {value!r}", source=source, fix=suggest(value, known))
    return value


def _said(lines: Iterable[str]) -> list[str]:
    """The lines that are no comments."""
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _fields(line: str, source: str) -> list[tuple[str, str]]:
    """The fields as key and value; the key is "" where there is no ``=``."""
    try:
        fields = split_fields(line)
    except ValueError as error:
        fix = 'quote a field that holds a comma as a whole: "pattern=a,b"'
        raise InputError(str(error), source=source, fix=fix) from error
    pairs = [field.partition("=") for field in fields]
    return [(key.strip().lower(), value.strip()) if equals else ("", key.strip()) for key, equals, value in pairs]
