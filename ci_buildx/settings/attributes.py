"""Typed CSV values: outputs (``type=local,dest=out``) and caches (``type=registry,ref=host/name``).

Syntax and shorthands are those of buildx 0.38.2 (``util/buildflags/export.go`` and ``cache.go``). Local paths come out
absolute.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.model import reference
from ci_buildx.settings.csvline import split_fields, split_pairs
from ci_buildx.settings.nearest import suggest
from ci_buildx.settings.values import Attributes

OUTPUT_TYPES = ("image", "registry", "local", "tar", "oci", "docker", "cacheonly")
CACHE_TYPES = ("registry", "local", "inline", "gha", "s3", "azblob")
LOCAL_DELETE = "buildx.local.delete"
"""What ``--allow`` lets an output do: to remove files outside of the working directory, or of all of it."""
STDOUT = "-"


def parse_outputs(texts: Iterable[str], *, source: str, cwd: Path, may_delete: bool = False) -> tuple[Attributes, ...]:
    """Read outputs; ``-`` alone is a tar to stdout, a path alone a local folder. Only one may go to stdout.

    ``may_delete`` lets ``mode=delete`` clear any folder, not only those inside the working directory.
    """
    outputs = tuple(_parse_output(text, source, cwd) for text in texts if text)
    for output in outputs:
        if output.get("mode") == "delete" and not may_delete:
            _check_delete(output, source, cwd)
    if sum(output.get("dest") == STDOUT for output in outputs) > 1:
        raise InputError("more than one output goes to stdout", source=source, fix="give the others a dest=FILE")
    return outputs


def _parse_output(text: str, source: str, cwd: Path) -> Attributes:
    fields = _fields(text, source)
    if text == STDOUT:
        return Attributes(type="tar", attrs=(("dest", STDOUT),))
    if fields == [text] and "=" not in text.partition("/")[0]:
        return _place_output(Attributes(type="local", attrs=(("dest", text),)), source, cwd)
    output = _typed(text, source)
    if output.type not in OUTPUT_TYPES:
        raise InputError(f"unknown output type {output.type!r}", source=source, fix=suggest(output.type, OUTPUT_TYPES))
    if output.type == "local" and output.get("mode"):
        # As BuildKit reads it (0.34.2, client/exporters.go, ParseLocalExporterMode).
        output = _with(output, "mode", output.get("mode").strip().lower())
    from ci_buildx.settings.attribute_checks import check_output

    check_output(output, source=source)
    return _place_output(output, source, cwd)


def _check_delete(output: Attributes, source: str, cwd: Path) -> None:
    """Refuse to clear the working directory, and what is outside of it (buildx 0.38.2, ``ValidateLocalExportDelete``).

    Symlinks count as where they lead.
    """
    inside = Path(output.get("dest")).resolve()
    if not (inside.is_relative_to(cwd.resolve()) and inside != cwd.resolve()):
        message = f"mode=delete would remove what is in {inside}, which is not inside the working directory"
        raise InputError(message, source=source, fix=f"name a folder inside it, or add --allow {LOCAL_DELETE}")


def _place_output(output: Attributes, source: str, cwd: Path) -> Attributes:
    """Check where the result goes: a folder, a file, stdout or nowhere, depending on the type."""
    if output.type in ("image", "registry", "cacheonly"):
        return output
    dest = output.get("dest")
    folder = output.type == "local" or (
        output.type in ("oci", "docker") and output.get("tar").lower() in ("false", "0")
    )
    if folder and dest in ("", STDOUT):
        raise InputError(f"output type={output.type} needs a folder", source=source, fix="add dest=FOLDER")
    if not dest and output.type == "docker":
        return output
    if not dest or dest == STDOUT:
        return _with(output, "dest", STDOUT)
    # Where files may be removed, a symlink that is changed meanwhile must not lead elsewhere.
    path = (cwd / dest).resolve() if output.get("mode") == "delete" else cwd / dest
    if folder and path.exists() and not path.is_dir():
        raise InputError(f"destination {dest!r} is not a folder", source=source)
    if not folder and path.is_dir():
        raise InputError(f"destination {dest!r} is a folder", source=source, fix=f"write dest={dest.rstrip('/')}/FILE")
    return _with(output, "dest", str(path))


def parse_cache_from(texts: Iterable[str], *, source: str, cwd: Path) -> tuple[Attributes, ...]:
    """Read cache imports; a reference alone is ``type=registry``. A local one may be missing, as on the first run."""
    imports = [cache for text in texts for cache in _parse_caches(text, source)]
    if imports:
        from ci_buildx.settings.attribute_checks import check_import

        for cache in imports:
            check_import(cache, source=source)
    return tuple(_place_cache(cache, "src", source, cwd) for cache in imports)


def parse_cache_to(texts: Iterable[str], *, source: str, cwd: Path) -> tuple[Attributes, ...]:
    """Read cache exports; a reference alone is ``type=registry``."""
    exports = [cache for text in texts for cache in _parse_caches(text, source)]
    if exports:
        from ci_buildx.settings.attribute_checks import check_export

        for cache in exports:
            check_export(cache, source=source)
    return tuple(_place_cache(cache, "dest", source, cwd) for cache in exports)


def _parse_caches(text: str, source: str) -> list[Attributes]:
    """One entry; several where the text has only references."""
    if "=" not in text:
        return [Attributes(type="registry", attrs=(("ref", field.strip()),)) for field in _fields(text, source)]
    cache = _typed(text, source)
    if cache.type not in CACHE_TYPES:
        raise InputError(f"unknown cache type {cache.type!r}", source=source, fix=suggest(cache.type, CACHE_TYPES))
    return [cache]


def _place_cache(cache: Attributes, folder: str, source: str, cwd: Path) -> Attributes:
    if cache.type == "registry":
        _check_reference(cache.get("ref"), source)
    if cache.type != "local":
        return cache
    path = cache.get(folder)
    if not path:
        raise InputError("cache type=local needs a folder", source=source, fix=f"add {folder}=FOLDER")
    return _with(cache, folder, str(cwd / path))


def _check_reference(text: str, source: str) -> None:
    if not text:
        raise InputError("cache type=registry has no ref", source=source, fix="add ref=registry/name:tag")
    try:
        reference.parse(text)
    except ValueError as error:
        raise InputError(f"invalid cache reference {text!r}: {error}", source=source) from error


def _typed(text: str, source: str) -> Attributes:
    try:
        pairs = split_pairs(text)
    except ValueError as error:
        raise InputError(str(error), source=source, fix="write type=…,key=value") from error
    kind = dict(pairs).get("type", "")
    if not kind:
        raise InputError(f"{text!r} has no type", source=source, fix="write type=…,key=value")
    return Attributes(type=kind, attrs=tuple((key, value) for key, value in pairs if key != "type"))


def _fields(text: str, source: str) -> list[str]:
    try:
        return split_fields(text)
    except ValueError as error:
        raise InputError(str(error), source=source) from error


def _with(attributes: Attributes, key: str, value: str) -> Attributes:
    others = tuple(pair for pair in attributes.attrs if pair[0] != key)
    return Attributes(type=attributes.type, attrs=(*others, (key, value)))
