"""Provenance, SBOM, outputs and caches.

Values of attestations are those of buildx's ``--provenance``, ``--sbom`` and ``--attest``: a boolean or attributes. The
result is the text that buildx 0.38.2 sends as ``attest:…`` (``util/buildflags/attests.go``), "" if disabled.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.model import reference
from ci_buildx.settings.contexts import refuse_escape
from ci_buildx.settings.names import suggest_name
from ci_buildx.settings.syntax import join_fields, read_boolean, read_mode, require_boolean, split_fields, split_pairs
from ci_buildx.settings.values import TypedAttributes

DEFAULT_PROVENANCE = "mode=min,inline-only=true"
NO_DEFAULTS = "BUILDX_NO_DEFAULT_ATTESTATIONS"
NO_OCI_ARTIFACT = "BUILDX_NO_DEFAULT_OCI_ARTIFACT"
"""Makes attestations plain image manifests, for registries that do not accept OCI artifacts."""
PROVENANCE = "provenance"
SBOM = "sbom"
_MODES = ("min", "max")


def parse_provenance(text: str, *, source: str, env: Mapping[str, str]) -> str:
    """Parse ``true``, ``false`` or ``mode=max,…``.

    Without a value, the result is buildx's default, unless the environment disables it. Raises InputError.
    """
    if not text:
        return "" if is_switched_on(NO_DEFAULTS, env) else DEFAULT_PROVENANCE
    return _parse_kind(PROVENANCE, text, source)


def is_switched_on(variable: str, env: Mapping[str, str]) -> bool:
    """Return whether a variable of buildx is true.

    Raises InputError if it is not a boolean, as in buildx (``build/opt.go``).
    """
    text = env.get(variable, "")
    return bool(text) and require_boolean(text, source=variable)


def parse_sbom(text: str, *, source: str) -> str:
    """Parse ``true``, ``false`` or ``generator=image,…``. Raises InputError."""
    return _parse_kind(SBOM, text, source) if text else ""


def parse_attestations(texts: Iterable[str], *, source: str) -> dict[str, str]:
    """Parse ``type=provenance,mode=max`` and similar texts; return the first of each type, by type.

    Raises InputError for malformed texts and unknown modes.
    """
    found: dict[str, str] = {}
    for text in texts:
        kind, canonical = _parse_attestation(text, source)
        if not kind:
            raise InputError(f"{text!r} has no type field", source=source, fix="write type=provenance or type=sbom")
        found.setdefault(kind, canonical)
    return found


def _parse_kind(kind: str, text: str, source: str) -> str:
    wanted = read_boolean(text)
    if wanted is not None:
        return f"type={kind}" if wanted else ""
    return _parse_attestation(f"type={kind},{text}", source)[1]


def _parse_attestation(text: str, source: str) -> tuple[str, str]:
    """Return the type, and the text to send: the type first, the rest sorted; the text is "" if disabled."""
    kind, disabled, attributes = "", False, {}
    try:
        fields = split_fields(text)
    except ValueError as error:
        raise InputError(str(error), source=source, fix="write true, false or key=value,…") from error
    for field in fields:
        key, equals, value = field.partition("=")
        if not equals or not key.strip():
            raise InputError(f"{field!r} is not key=value", source=source, fix="write true, false or key=value,…")
        match key.strip().lower():
            case "type":
                kind = value
            case "disabled":
                disabled = read_boolean(value) is True
            case _:
                attributes[key] = value
    mode = attributes.get("mode", "min")
    if kind == PROVENANCE and mode not in _MODES:
        raise InputError(f"unknown provenance mode {mode!r}", source=source, fix=suggest_name(mode, _MODES))
    ordered = [f"type={kind}", *(f"{key}={value}" for key, value in sorted(attributes.items()))]
    return kind, "" if disabled else join_fields(ordered)


OUTPUT_TYPES = ("image", "registry", "local", "tar", "oci", "docker", "cacheonly")
CACHE_TYPES = ("registry", "local", "inline", "gha", "s3", "azblob")
LOCAL_DELETE = "buildx.local.delete"
"""Value of ``--allow`` that lets an output delete files outside of the working directory, or all files inside it."""
STDOUT = "-"


def parse_outputs(
    texts: Iterable[str], *, source: str, cwd: Path, env: Mapping[str, str], may_delete: bool = False
) -> tuple[TypedAttributes, ...]:
    """Parse outputs; ``-`` alone is a tar to stdout, a path alone a local folder. Only one may go to stdout.

    ``may_delete`` lets ``mode=delete`` clear any folder, not only those inside the working directory. Raises
    InputError.
    """
    outputs = tuple(_place_output(_parse_output(text, source), source, cwd, env) for text in texts if text)
    for output in outputs:
        if output.get("mode") == "delete" and not may_delete:
            _check_delete(output, source, cwd)
    if sum(output.get("dest") == STDOUT for output in outputs) > 1:
        raise InputError("more than one output is written to stdout", source=source, fix="add dest=FILE to the others")
    return outputs


def _parse_output(text: str, source: str) -> TypedAttributes:
    fields = _split_fields(text, source)
    if text == STDOUT:
        return TypedAttributes(type="tar", attrs=(("dest", STDOUT),))
    if fields == [text] and "=" not in text.partition("/")[0]:
        return TypedAttributes(type="local", attrs=(("dest", text),))
    output = _parse_typed(text, source)
    if output.type not in OUTPUT_TYPES:
        raise InputError(
            f"unknown output type {output.type!r}", source=source, fix=suggest_name(output.type, OUTPUT_TYPES)
        )
    if output.type == "local" and output.get("mode"):
        # As BuildKit reads it (0.34.2, client/exporters.go, ParseLocalExporterMode).
        output = _add_attribute(output, "mode", output.get("mode").strip().lower())
    from ci_buildx.settings.attribute_table import check_output

    check_output(output, source=source)
    return output


def _check_delete(output: TypedAttributes, source: str, cwd: Path) -> None:
    """Refuse to clear the working directory or a folder outside of it (buildx 0.38.2, ``ValidateLocalExportDelete``).

    Symlinks are resolved.
    """
    inside = Path(output.get("dest")).resolve()
    if not (inside.is_relative_to(cwd.resolve()) and inside != cwd.resolve()):
        message = f"mode=delete would delete the content of {inside}, which is outside the working directory"
        raise InputError(message, source=source, fix=f"name a folder inside it, or add --allow={LOCAL_DELETE}")


def _place_output(output: TypedAttributes, source: str, cwd: Path, env: Mapping[str, str]) -> TypedAttributes:
    """Check the destination of the result: a folder, a file, stdout or none, depending on the type."""
    if output.type in ("image", "registry", "cacheonly"):
        return output
    dest = output.get("dest")
    folder = output.type == "local" or (
        output.type in ("oci", "docker") and output.get("tar").lower() in ("false", "0")
    )
    if folder and dest in ("", STDOUT):
        raise InputError(f"output type={output.type} requires a folder", source=source, fix="add dest=FOLDER")
    if not dest and output.type == "docker":
        return output
    if not dest or dest == STDOUT:
        return _add_attribute(output, "dest", STDOUT)
    # If files may be deleted, a symlink that is changed later must not lead elsewhere.
    # The mode is read first: it also refuses names that the system cannot look up, such as a loop of symlinks.
    mode = read_mode(cwd / dest, source=source)
    path = refuse_escape(cwd / dest, source=source, env=env)
    path = path.resolve() if output.get("mode") == "delete" else path
    if folder and mode is not None and not stat.S_ISDIR(mode):
        raise InputError(f"destination {dest!r} is not a folder", source=source)
    if not folder and mode is not None and stat.S_ISDIR(mode):
        raise InputError(f"destination {dest!r} is a folder", source=source, fix=f"write dest={dest.rstrip('/')}/FILE")
    return _add_attribute(output, "dest", str(path))


def parse_cache_from(
    texts: Iterable[str], *, source: str, cwd: Path, env: Mapping[str, str]
) -> tuple[TypedAttributes, ...]:
    """Parse cache imports; a reference alone is ``type=registry``.

    A local cache may be missing, as on the first run. Raises InputError.
    """
    imports = [cache for text in texts for cache in _parse_caches(text, source)]
    if imports:
        from ci_buildx.settings.attribute_table import check_import

        for cache in imports:
            check_import(cache, source=source)
    return tuple(_place_cache(cache, "src", source, cwd, env) for cache in imports)


def parse_cache_to(
    texts: Iterable[str], *, source: str, cwd: Path, env: Mapping[str, str]
) -> tuple[TypedAttributes, ...]:
    """Parse cache exports; a reference alone is ``type=registry``. Raises InputError."""
    exports = [cache for text in texts for cache in _parse_caches(text, source)]
    if exports:
        from ci_buildx.settings.attribute_table import check_export

        for cache in exports:
            check_export(cache, source=source)
    return tuple(_place_cache(cache, "dest", source, cwd, env) for cache in exports)


def _parse_caches(text: str, source: str) -> list[TypedAttributes]:
    """Parse one text: one cache, or several if the text holds only references."""
    if "=" not in text:
        return [
            TypedAttributes(type="registry", attrs=(("ref", field.strip()),)) for field in _split_fields(text, source)
        ]
    cache = _parse_typed(text, source)
    if cache.type not in CACHE_TYPES:
        raise InputError(f"unknown cache type {cache.type!r}", source=source, fix=suggest_name(cache.type, CACHE_TYPES))
    return [cache]


def _place_cache(
    cache: TypedAttributes, folder: str, source: str, cwd: Path, env: Mapping[str, str]
) -> TypedAttributes:
    if cache.type == "registry":
        _check_reference(cache.get("ref"), source)
    if cache.type != "local":
        return cache
    path = cache.get(folder)
    if not path:
        raise InputError("cache type=local requires a folder", source=source, fix=f"add {folder}=FOLDER")
    return _add_attribute(cache, folder, str(refuse_escape(cwd / path, source=source, env=env)))


def _check_reference(text: str, source: str) -> None:
    if not text:
        raise InputError("cache type=registry requires ref", source=source, fix="add ref=registry/name:tag")
    try:
        reference.parse_reference(text)
    except ValueError as error:
        raise InputError(f"invalid cache reference {text!r}: {error}", source=source) from error


def _parse_typed(text: str, source: str) -> TypedAttributes:
    try:
        pairs = split_pairs(text)
    except ValueError as error:
        raise InputError(str(error), source=source, fix="write type=…,key=value") from error
    kind = dict(pairs).get("type", "")
    if not kind:
        raise InputError(f"{text!r} has no type field", source=source, fix="write type=…,key=value")
    return TypedAttributes(type=kind, attrs=tuple((key, value) for key, value in pairs if key != "type"))


def _split_fields(text: str, source: str) -> list[str]:
    try:
        return split_fields(text)
    except ValueError as error:
        raise InputError(str(error), source=source) from error


def _add_attribute(attributes: TypedAttributes, key: str, value: str) -> TypedAttributes:
    others = tuple(pair for pair in attributes.attrs if pair[0] != key)
    return TypedAttributes(type=attributes.type, attrs=(*others, (key, value)))
