"""Where an image is: a repository of a registry, or an OCI layout on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.model.record import dataclass, replace
from ci_buildx.model.reference import DEFAULT_TAG, ImageReference, is_tag, parse_reference
from ci_buildx.settings.contexts import refuse_escape

LAYOUT = "oci-layout://"
DIGEST = compile_lazily(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
"""Digests whose content can be verified."""


@dataclass(frozen=True, slots=True)
class RegistryLocation:
    """An image in a registry, with a tag or a digest."""

    reference: ImageReference

    def __str__(self) -> str:
        return str(self.reference)

    @property
    def name(self) -> str:
        """The repository, without tag and digest."""
        return self.reference.name

    @property
    def tag(self) -> str:
        """The tag, "" if it has none."""
        return self.reference.tag

    @property
    def digest(self) -> str:
        """The digest, "" if it has none."""
        return self.reference.digest

    def select_digest(self, digest: str) -> RegistryLocation:
        """Return the location of a digest in the same repository; a tag stays."""
        return RegistryLocation(replace(self.reference, digest=digest))


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutLocation:
    """An image in the layout in ``folder``, which the user calls ``path``."""

    folder: Path
    path: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return f"{LAYOUT}{self.path}" + (self.tag and f":{self.tag}") + (self.digest and f"@{self.digest}")

    @property
    def name(self) -> str:
        """The path as the user wrote it."""
        return self.path

    def select_digest(self, digest: str) -> LayoutLocation:
        """Return the location of a digest in the same layout."""
        return replace(self, tag="", digest=digest)


ImageLocation = RegistryLocation | LayoutLocation


def parse_location(text: str, *, source: str, cwd: Path, env: Mapping[str, str]) -> ImageLocation:
    """Parse a reference such as ``registry.example/app:1``, or ``oci-layout://PATH[:TAG][@DIGEST]``.

    Without tag and digest, the tag is ``latest``. Raises InputError, also for a layout that links lead out of the
    workspace of the job that ``env`` describes.
    """
    if text.startswith(LAYOUT):
        found = _parse_layout(text.removeprefix(LAYOUT), source=source, cwd=cwd)
        refuse_escape(found.folder, source=source, env=env)
        return found
    try:
        return RegistryLocation(parse_reference(text).add_default_tag())
    except ValueError as error:
        raise InputError(f"invalid reference {text!r}: {error}", source=source) from error


def _parse_layout(text: str, *, source: str, cwd: Path) -> LayoutLocation:
    """Parse the part after the scheme; a colon or an at sign that no tag or digest follows belongs to the path."""
    path, at, digest = text.rpartition("@")
    if not at or not DIGEST.fullmatch(digest):
        path, digest = text, ""
    before, colon, tag = path.rpartition(":")
    if colon and is_tag(tag):
        path = before
    else:
        tag = ""
    if not path:
        raise InputError(f"{LAYOUT}{text} has no path", source=source, fix=f"write {LAYOUT}FOLDER:TAG")
    if not tag and not digest:
        tag = DEFAULT_TAG
    return LayoutLocation(folder=cwd / path, path=path, tag=tag, digest=digest)
