"""Loads compose files: variables, includes, services that extend others, and the merge of several files."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ci_buildx.bake.compose.documents import read_document
from ci_buildx.bake.compose.dotenv import read_variables
from ci_buildx.bake.compose.interpolation import InvalidTemplate, interpolate
from ci_buildx.bake.compose.merging import merge_documents, merge_services, strip_marks
from ci_buildx.bake.entitlements import FLAG, is_granted
from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass
from ci_buildx.settings.contexts import refuse_escape

PROJECT = "COMPOSE_PROJECT_NAME"
ENV_FILE = ".env"
_DEEPEST = 20
_LARGEST = 2 << 20
"""Maximum bytes of a file that a compose file names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeFiles:
    """Access to files that compose files name: ``cwd`` is absolute, ``env`` that of the process.

    ``readable`` are further paths that may be read.
    """

    cwd: Path
    env: Mapping[str, str]
    readable: Sequence[str] = ()

    def read(self, name: str, *, source: str, required: bool = True) -> str | None:
        """Return a file's text, None if it is missing and not ``required``. Raises InputError."""
        path = refuse_escape(self.cwd / name, source=source, env=self.env)
        if not (required or path.exists()):
            return None
        if not is_granted(path, self.readable, self.cwd):
            # Its lines could become build arguments.
            fix = f"add {shlex.quote(f'{FLAG}=fs.read={name}')} if that is intended"
            raise InputError(f"{name!r} is outside of the working directory", source=source, fix=fix)
        try:
            with path.open("rb") as stream:
                text = stream.read(_LARGEST + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            if not required:
                return None
            raise InputError(f"{name} not found", source=source) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(f"cannot read {name}: {reason}", source=source) from None
        if len(text) > _LARGEST:
            raise InputError(f"{name} has more than {_LARGEST} bytes", source=source)
        return text.decode(errors="replace")


def make_environment(process: Mapping[str, str], overrides: Mapping[str, str], files: ComposeFiles) -> dict[str, str]:
    """Return the variables of compose files: the environment, ``.env`` of the working directory, then ``--var``.

    Raises InputError if ``.env`` cannot be read.
    """
    found = dict(process)
    path = files.cwd / ENV_FILE
    text = files.read(ENV_FILE, source=ENV_FILE, required=False) if path.is_file() else None
    if text is not None:
        try:
            found = {**read_variables(text, found), **found}
        except InvalidTemplate as error:
            raise InputError(str(error), source=ENV_FILE) from None
    return {**found, **overrides}


def load_project(documents: Sequence[tuple[str, str]], env: Mapping[str, str], files: ComposeFiles) -> dict[str, Any]:
    """Return several files, as pairs of name and text, as one document. Raises InputError."""
    loader = _ProjectLoader(
        {PROJECT: "bake", **{key: text for key, text in env.items() if key != PROJECT or text}}, files
    )
    merged: dict[str, Any] = {}
    for name, text in documents:
        merged = loader.add(merged, name, text, 0)
    if not merged:
        raise InputError("empty compose file", source=documents[0][0])
    found: dict[str, Any] = strip_marks(merged)
    return found


class _ProjectLoader:
    """One load: variables and files."""

    def __init__(self, env: Mapping[str, str], files: ComposeFiles) -> None:
        self._env = env
        self._files = files

    def add(self, merged: dict[str, Any], name: str, text: str, depth: int) -> dict[str, Any]:
        """Return a document merged with a file's. Raises InputError."""
        document = self._read(name, text)
        for included in self._list_includes(document.pop("include", None), name):
            if depth >= _DEEPEST:
                raise InputError("include cycle detected", source=name)
            content = self._files.read(included, source=name)
            assert content is not None
            document = merge_documents(_move_document(self.add({}, included, content, depth + 1), included), document)
        services = document.get("services")
        if isinstance(services, dict):
            folder = Path(name).parent
            extended = {key: self._extend(key, services, name, folder, ()) for key in services}
            document = {**document, "services": extended}
        return merge_documents(merged, document)

    def _read(self, name: str, text: str) -> dict[str, Any]:
        document = read_document(text, name)
        try:
            found: dict[str, Any] = interpolate(document, self._env)
        except InvalidTemplate as error:
            raise InputError(str(error), source=name) from None
        return found

    def _list_includes(self, value: Any, source: str) -> list[str]:
        found: list[str] = []
        for one in value or ():
            paths = one.get("path") if isinstance(one, dict) else one
            if isinstance(one, dict) and set(one) - {"path"}:
                fix = "include the file by its path alone"
                raise InputError("include with project_directory or env_file is not supported", source=source, fix=fix)
            found += [paths] if isinstance(paths, str) else list(paths or ())
        return found

    def _extend(
        self, name: str, services: dict[str, Any], source: str, folder: Path, seen: tuple[tuple[str, str], ...]
    ) -> Any:
        """Return a service merged with the one that it extends, of this file or another one."""
        service = services[name]
        if not isinstance(service, dict) or "extends" not in service:
            return service
        if (source, name) in seen:
            raise InputError(f"circular reference: service {name!r} extends itself", source=source)
        extends = service["extends"]
        wanted = extends if isinstance(extends, str) else extends.get("service", "")
        file = None if isinstance(extends, str) else extends.get("file")
        others, place, base_folder = services, source, folder
        if file is not None:
            text = self._files.read(str(file), source=source)
            assert text is not None
            place, base_folder = str(file), Path(file).parent
            others = self._read(place, text).get("services") or {}
        if wanted not in others:
            raise InputError(f"cannot extend service {name!r}: service {wanted!r} not found", source=source)
        base = self._extend(wanted, others, place, base_folder, (*seen, (source, name)))
        if not isinstance(base, dict):
            return service
        if file is not None:
            base = _move_paths(base, base_folder)
        rest = {key: value for key, value in service.items() if key != "extends"}
        return merge_services(base, rest)


def _move_document(document: dict[str, Any], file: str) -> dict[str, Any]:
    """Return an included document with the paths of its builds and secrets relative to its folder."""
    folder = Path(file).parent
    moved = dict(document)
    if isinstance(services := document.get("services"), dict):
        moved["services"] = {
            name: _move_paths(one, folder) if isinstance(one, dict) else one for name, one in services.items()
        }
    if isinstance(secrets := document.get("secrets"), dict):
        moved["secrets"] = {
            name: {**one, "file": str(folder / one["file"])} if isinstance(one, dict) and "file" in one else one
            for name, one in secrets.items()
        }
    return moved


def _move_paths(service: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a service of another file with the paths of its build relative to that file's folder."""
    build = service.get("build")
    if isinstance(build, str):
        build = {"context": build}
    if not isinstance(build, dict):
        return service

    def move(path: str) -> str:
        return path if is_special(path) or Path(path).is_absolute() else str(folder / path)

    moved = {**build, "context": move(str(build.get("context", ".")))}
    contexts = build.get("additional_contexts")
    if isinstance(contexts, dict):
        moved["additional_contexts"] = {name: move(str(one)) for name, one in contexts.items()}
    return {**service, "build": moved}


def is_special(path: str) -> bool:
    """Return whether a context is not a folder: a URL, an image, another service (compose-go, ``paths/context.go``)."""
    return "://" in path or path.startswith(("service:", "target:", "github.com/", "git@"))
