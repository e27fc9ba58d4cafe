"""Checks folders that ``mode=delete`` of a local output clears: they must not hold other files of the build."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.settings.attributes import LOCAL_DELETE, STDOUT
from ci_buildx.settings.values import BuildSettings, ImageLayout


def check_cleared_folders(build: BuildSettings, cleared: Iterable[Path], *, may_delete: bool, source: str) -> None:
    """Raise InputError if a folder of ``cleared`` holds other results or sources of the build.

    ``may_delete`` allows clearing the sources. Symlinks are resolved.
    """
    written, sources = list(_list_written(build)), list(_list_sources(build))
    for folder in cleared:
        inside = folder.resolve()
        others = [path for path in written if _is_in(path, inside) or (path.is_dir() and inside.is_relative_to(path))]
        if len(others) > 1:
            other = next((path for path in others if path != inside), inside)
            message = f"mode=delete in {inside} would remove what goes to {other}"
            raise InputError(message, source=source, fix="let one of them go elsewhere")
        if not may_delete:
            for path in sources:
                if _is_in(path, inside):
                    message = f"mode=delete in {inside} would remove {path}, which the build is made from"
                    raise InputError(message, source=source, fix=f"name another folder, or add --allow {LOCAL_DELETE}")


def _is_in(path: Path, folder: Path) -> bool:
    return path == folder or path.is_relative_to(folder)


def _list_written(build: BuildSettings) -> Iterator[Path]:
    places = [output.get("dest") for output in build.outputs]
    places += [cache.get("dest") for cache in build.cache_to if cache.type == "local"]
    return (Path(place).resolve() for place in places if place not in ("", STDOUT))


def _list_sources(build: BuildSettings) -> Iterator[Path]:
    named = (one.location.folder if isinstance(one.location, ImageLayout) else one.location for one in build.contexts)
    return (path.resolve() for path in (build.context, build.dockerfile, *named) if isinstance(path, Path))
