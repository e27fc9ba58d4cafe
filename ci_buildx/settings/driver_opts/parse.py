"""Driver options in buildx's syntax.

Each text is one CSV value, so an option whose value holds commas is quoted as a whole:
``"nodeselector=a=b,c=d",replicas=2``. ``docs/reference/driver-opts.md`` documents all options.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.driver_opts import apply
from ci_buildx.settings.driver_opts.checks import TOLERATION
from ci_buildx.settings.driver_opts.outside import ExternalInputs
from ci_buildx.settings.driver_opts.table import ENV, OPTIONS, SPELLINGS, Entries, OptionShape, OptionValue, find_option
from ci_buildx.settings.names import check_namespace, suggest_name
from ci_buildx.settings.syntax import require_boolean, split_fields

_NOWHERE: Mapping[str, str] = {}


def parse_driver_opts(
    texts: Iterable[str],
    *,
    source: str,
    base: BuilderSettings | None = None,
    env: Mapping[str, str] = _NOWHERE,
    cwd: Path | None = None,
) -> BuilderSettings:
    """Parse driver options and apply them to ``base``.

    The last value of a name wins; an empty one removes the option. Files are relative to ``cwd``, proxies come from
    ``env``. Raises InputError.
    """
    entries = read_entries(texts, source=source)
    outside = ExternalInputs(env=env, cwd=cwd or Path())
    builder = apply.apply_options(entries, base or BuilderSettings(), outside, source=source)
    apply.check_combinations(builder, source=source)
    return builder


def parse_document(
    text: str, *, source: str, env: Mapping[str, str] = _NOWHERE, cwd: Path | None = None
) -> BuilderSettings:
    """Parse a YAML document of options: inline text or the name of a file. Raises InputError."""
    outside = ExternalInputs(env=env, cwd=cwd or Path())
    builder = apply.apply_options(
        read_document_entries(text, source=source, outside=outside), BuilderSettings(), outside, source=source
    )
    apply.check_combinations(builder, source=source)
    return builder


def read_document_entries(text: str, *, source: str, outside: ExternalInputs) -> dict[str, OptionValue]:
    """Read the options of a YAML document: inline text or the name of a file. Raises InputError with path and line."""
    from ci_buildx.settings.driver_opts.document import read_document

    if "\n" in text or ": " in text:
        return read_document(text, origin=source)
    return read_document(outside.read(text, source=source), origin=text)


def read_namespace_option(entries: Entries) -> str:
    """Return the namespace that the options set, or "". Raises InputError."""
    entry = entries.get("namespace")
    return check_namespace(entry.value, source=entry.source) if entry else ""


def read_entries(texts: Iterable[str], *, source: str) -> dict[str, OptionValue]:
    """Read options by name without checking their values.

    Raises InputError for unknown names, misplaced quotes and texts of the wrong type.
    """
    entries: dict[str, OptionValue] = {}
    for text in texts:
        try:
            fields = split_fields(text)
        except ValueError as error:
            raise InputError(str(error), source=source, fix="quote the whole option: '\"name=a,b\"'") from error
        previous = ""
        for field in fields:
            name, value = _split_field(field, previous, source)
            if value:
                place = f"{source} {name}"
                option = find_option(name)
                assert option is not None
                entries[name] = OptionValue(value=read_text(value, option.shape, source=place), source=place)
            else:
                entries.pop(name, None)
            previous = field
    return entries


def _split_field(field: str, previous: str, source: str) -> tuple[str, str]:
    typed, equals, value = field.partition("=")
    typed = typed.strip()
    name = SPELLINGS.get(typed, typed)
    if find_option(name) is None:
        before = previous.partition("=")[0].strip()
        option = find_option(SPELLINGS.get(before, before))
        if option is not None and option.shape.holds_commas:
            fix = f"""quote it: '"{previous},{field}"'"""
            raise InputError(f"unknown option {typed!r} after {before}", source=source, fix=fix)
        raise InputError(
            f"unknown option {typed!r}",
            source=source,
            fix=suggest_name(typed, (known for known in OPTIONS if known != ENV)),
        )
    if not equals:
        raise InputError(f"option {typed!r} has no value", source=source, fix=f"write {typed}=…")
    return name, value.strip()


def read_text(text: str, shape: OptionShape, *, source: str) -> Any:
    """Parse a text into a string, number, boolean, list or mapping. Raises InputError."""
    match shape:
        case OptionShape.NUMBER:
            return _read_count(text, source)
        case OptionShape.SWITCH:
            return require_boolean(text, source=source)
        case OptionShape.LIST:
            return [text] if "\n" in text else [item.strip() for item in text.split(",") if item.strip()]
        case OptionShape.PAIRS:
            return read_pairs(text, source=source)
        case OptionShape.TOLERATIONS:
            return [_read_toleration(item, source) for item in text.split(";") if item.strip()]
        case OptionShape.MIRRORS:
            return {host: _split_words(mirrors, ";") for host, mirrors in read_pairs(text, source=source).items()}
        case OptionShape.TEXT | OptionShape.QUANTITY | OptionShape.DURATION:
            return text
        case OptionShape.REPLICAS:
            return text if ".." in text else _read_count(text, source)
        case OptionShape.TEMPLATE:
            return text


def write_text(value: Any) -> str:
    """Format a value from YAML as text, the inverse of :func:`read_text`."""
    match value:
        case bool():
            return str(value).lower()
        case [{}, *_]:
            return ";".join(map(_write_pairs, value))
        case list():
            return ",".join(map(str, value))
        case dict() if all(isinstance(item, list) for item in value.values()):
            return _write_pairs({host: ";".join(mirrors) for host, mirrors in value.items()})
        case dict() if any(isinstance(item, dict) for item in value.values()):
            import json

            return json.dumps(value)
        case dict():
            return _write_pairs(value)
    return str(value)


def _write_pairs(pairs: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in pairs.items())


def read_pairs(text: str, *, source: str) -> dict[str, str]:
    """Parse ``key=value`` pairs separated by commas.

    Like buildx, it accepts quotes around the whole text. Raises InputError.
    """
    pairs = {}
    for item in text.strip('"').split(","):
        key, equals, value = item.strip().partition("=")
        if not equals or not key.strip():
            raise InputError(f"{item!r} is not key=value", source=source)
        pairs[key.strip()] = value.strip()
    return pairs


def _read_count(text: str, source: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise InputError(f"{text!r} is not a whole number", source=source)
    return int(text)


def _read_toleration(text: str, source: str) -> dict[str, str | int]:
    toleration: dict[str, str | int] = {}
    for field, value in read_pairs(text, source=source).items():
        if field not in TOLERATION:
            raise InputError(f"unknown field {field!r}", source=source, fix=suggest_name(field, TOLERATION))
        toleration[field] = _read_count(value, source) if field == "tolerationSeconds" else value
    return toleration


def _split_words(text: str, separator: str) -> list[str]:
    return [word.strip() for word in text.split(separator) if word.strip()]
