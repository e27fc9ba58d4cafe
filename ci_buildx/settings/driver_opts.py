"""Driver options in buildx's syntax.

Each text is one CSV value, so an option whose value holds commas is quoted as a whole:
``"nodeselector=a=b,c=d",replicas=2``. All options and what they mean: ``docs/driver-opts.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.settings.builder import BuilderSettings
from ci_buildx.settings.csvline import split_fields
from ci_buildx.settings.driver import applied, harmony
from ci_buildx.settings.driver.entry import Entries, Entry
from ci_buildx.settings.driver.outside import Outside
from ci_buildx.settings.driver.table import SHAPES, SPELLINGS, shape_of
from ci_buildx.settings.driver.texts import read_text
from ci_buildx.settings.names import check_namespace
from ci_buildx.settings.nearest import suggest

_NOWHERE: Mapping[str, str] = {}


def parse_driver_opts(
    texts: Iterable[str],
    *,
    source: str,
    base: BuilderSettings | None = None,
    env: Mapping[str, str] = _NOWHERE,
    cwd: Path | None = None,
) -> BuilderSettings:
    """The builder's settings with the options applied to ``base``; the last of a name counts, empty ones do not.

    Files are looked for in ``cwd``, proxies in ``env``. Raises InputError.
    """
    entries = read_entries(texts, source=source)
    outside = Outside(env=env, cwd=cwd or Path())
    builder = applied.apply(entries, base or BuilderSettings(), outside, source=source)
    harmony.check(builder, source=source)
    return builder


def parse_document(
    text: str, *, source: str, env: Mapping[str, str] = _NOWHERE, cwd: Path | None = None
) -> BuilderSettings:
    """The settings that YAML of the options gives: the name of a file, or the text itself. Raises InputError."""
    outside = Outside(env=env, cwd=cwd or Path())
    builder = applied.apply(
        document_entries(text, source=source, outside=outside), BuilderSettings(), outside, source=source
    )
    harmony.check(builder, source=source)
    return builder


def document_entries(text: str, *, source: str, outside: Outside) -> dict[str, Entry]:
    """The options of a YAML document, or of the file that is named. Raises InputError with path and line."""
    from ci_buildx.settings.driver.document import read_document

    if "\n" in text or ": " in text:
        return read_document(text, origin=source)
    return read_document(outside.read(text, source=source), origin=text)


def namespace_of(entries: Entries) -> str:
    """The namespace that options say, "" for none. Raises InputError."""
    entry = entries.get("namespace")
    return check_namespace(entry.value, source=entry.source) if entry else ""


def read_entries(texts: Iterable[str], *, source: str) -> dict[str, Entry]:
    """The options by their names, read but not checked. Raises InputError for unknown names and misplaced quotes."""
    entries: dict[str, Entry] = {}
    for text in texts:
        try:
            fields = split_fields(text)
        except ValueError as error:
            raise InputError(str(error), source=source, fix="quote the whole option: '\"name=a,b\"'") from error
        previous = ""
        for field in fields:
            name, value = _split(field, previous, source)
            if value:
                place = f"{source} {name}"
                shape = shape_of(name)
                assert shape is not None
                entries[name] = Entry(value=read_text(value, shape, source=place), source=place)
            else:
                entries.pop(name, None)
            previous = field
    return entries


def _split(field: str, previous: str, source: str) -> tuple[str, str]:
    typed, equals, value = field.partition("=")
    typed = typed.strip()
    name = SPELLINGS.get(typed, typed)
    if shape_of(name) is None:
        before = previous.partition("=")[0].strip()
        shape = shape_of(SPELLINGS.get(before, before))
        if shape is not None and shape.holds_commas:
            fix = f"""quote it: '"{previous},{field}"'"""
            raise InputError(f"unknown option {typed!r} after {before}", source=source, fix=fix)
        raise InputError(f"unknown option {typed!r}", source=source, fix=suggest(typed, SHAPES))
    if not equals:
        raise InputError(f"option {typed!r} has no value", source=source, fix=f"write {typed}=…")
    return name, value.strip()
