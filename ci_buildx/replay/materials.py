"""Where the content of a build's sources is taken from: ``--materials`` of snapshots.

The forms and the order of search are those of docker buildx 0.38.2 (``replay/materials.go``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.imagetools.location import LAYOUT
from ci_buildx.model.record import dataclass, field
from ci_buildx.registry.layouts import LayoutStore
from ci_buildx.registry.stores import BlobTransfer
from ci_buildx.replay.pins import PACKAGE, is_git_source
from ci_buildx.replay.predicate import BuildMaterial
from ci_buildx.settings.contexts import refuse_escape, split_layout
from ci_buildx.settings.syntax import is_folder, read_mode

SOURCE = "--materials"
PROVENANCE = "provenance"
_HTTP = ("http://", "https://")
_FIX = "write provenance, oci-layout://FOLDER, an absolute path, or URI=PATH"


class MaterialKind(StrEnum):
    """Kinds of sources, as plans name them."""

    IMAGE = "image"
    BLOB = "image-blob"
    HTTP = "http"
    GIT = "git"
    UNKNOWN = "unknown"


def classify_material(material: BuildMaterial) -> MaterialKind:
    """Return the kind of a source, by its URI."""
    if material.uri.startswith(PACKAGE):
        return MaterialKind.IMAGE
    if is_git_source(material.uri):
        return MaterialKind.GIT
    if material.uri.startswith(_HTTP):
        return MaterialKind.HTTP
    return MaterialKind.BLOB if material.digest and not material.uri else MaterialKind.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class MaterialStores:
    """Layouts to search in order, and paths by the URI or digest of the one source that they hold."""

    layouts: tuple[Path, ...] = ()
    paths: Mapping[str, Path] = field(default_factory=dict)
    uses_registries: bool = True

    @property
    def is_explicit(self) -> bool:
        """Whether content of this machine is named."""
        return bool(self.layouts or self.paths)

    def find_layout(self, material: BuildMaterial) -> LayoutStore | None:
        """Return the layout that has a source's content, None if no layout has it. Raises RegistryError."""
        named = self._find_path(material)
        folders = [named] if named is not None and named.is_dir() else []
        for folder in (*folders, *self.layouts):
            store = LayoutStore(folder)
            if store.has_blob(material.digest):
                return store
        return None

    def locate_file(self, material: BuildMaterial) -> Path | None:
        """Return the file that is named for a source, None if none is. Its content is not read."""
        path = self._find_path(material)
        return None if path is None or path.is_dir() else path

    def find_file(self, material: BuildMaterial) -> Path | None:
        """Return the file that holds a source, None if none is named. Raises InputError if its digest is wrong."""
        path = self.locate_file(material)
        if path is None:
            return None
        found = _compute_digest(path, material.digest.partition(":")[0])
        if found != material.digest:
            message = f"{path.name!r} has the digest {found}, not {material.digest}"
            raise InputError(message, source=SOURCE, fix="name the file with the recorded content")
        return path

    def _find_path(self, material: BuildMaterial) -> Path | None:
        return self.paths.get(material.uri) or self.paths.get(material.digest)


def parse_materials(texts: Iterable[str], *, cwd: Path, env: Mapping[str, str]) -> MaterialStores:
    """Parse ``provenance``, ``oci-layout://FOLDER``, ``/FOLDER`` and ``URI=…``; without any, ``provenance``.

    Raises InputError.
    """
    given = [text.strip() for text in texts if text.strip()]
    layouts: list[Path] = []
    paths: dict[str, Path] = {}
    for text in given:
        if text == PROVENANCE:
            continue
        if text.startswith((LAYOUT, "/")):
            path = _read_path(text, cwd, env)
            if not is_folder(path, source=SOURCE):
                raise InputError(f"{text!r} is not a folder", source=SOURCE, fix=_FIX)
            layouts.append(path)
            continue
        key, value = _split_override(text)
        if not key:
            raise InputError(f"unknown materials {text!r}", source=SOURCE, fix=_FIX)
        path = _read_path(value, cwd, env)
        if read_mode(path, source=SOURCE) is None:
            raise InputError(f"{value!r} does not exist", source=SOURCE)
        paths[key] = path
    return MaterialStores(layouts=tuple(layouts), paths=paths, uses_registries=not given or PROVENANCE in given)


def open_file(path: Path, digest: str) -> BlobTransfer:
    """Open a file as a blob."""
    stream = path.open("rb")
    return BlobTransfer(stream.read, stream.close, digest=digest, size=path.stat().st_size)


def _split_override(text: str) -> tuple[str, str]:
    """Split ``URI=PATH`` at the first equals sign that a path follows: a URI may contain others."""
    for position, mark in enumerate(text):
        if mark == "=" and position and text[position + 1 :].startswith((LAYOUT, "/")):
            return text[:position], text[position + 1 :]
    return "", ""


def _read_path(text: str, cwd: Path, env: Mapping[str, str]) -> Path:
    folder = split_layout(text.removeprefix(LAYOUT))[0] if text.startswith(LAYOUT) else text
    return refuse_escape(cwd / folder, source=SOURCE, env=env)


def _compute_digest(path: Path, algorithm: str) -> str:
    if algorithm not in ("sha256", "sha512"):
        raise InputError(f"a digest of {algorithm!r} cannot be checked", source=SOURCE)
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, algorithm)
    except OSError as error:
        raise InputError(f"cannot read {path.name!r}: {error.strerror}", source=SOURCE) from error
    return f"{algorithm}:{found.hexdigest()}"
