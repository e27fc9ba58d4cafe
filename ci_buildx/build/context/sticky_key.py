"""A build's sticky key: the same across commits and runners.

A repository is named by its path on its host (``group/project``), which is also how CI systems name it. So a checkout
and a git context of the same repository have the same key. Sources: as in :mod:`ci_buildx.settings.contexts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qs

from ci_buildx.build.context import origin
from ci_buildx.build.context.origin import read_repository_path
from ci_buildx.model import reference
from ci_buildx.model.platform import Platform
from ci_buildx.model.programs import find_checkout
from ci_buildx.settings.contexts import STDIN, is_git
from ci_buildx.settings.names import DEFAULT_STICKY_KEY
from ci_buildx.settings.values import BuildSettings, Settings


def make_sticky_key(
    settings: Settings, platforms: Sequence[Platform], env: Mapping[str, str], *, target: str = ""
) -> str:
    """Return the key of the part of a build that builds ``platforms``.

    ``target`` is the name of one of several targets that are built together. Their contexts are often the same, so the
    default key has it as well: otherwise all would prefer the same pod.
    """
    build = settings.build
    repo, path = find_place(build, env)
    values = {
        "repo": repo,
        "path": path,
        "image": reference.parse_reference(build.tags[0]).name if build.tags else "",
        "target": build.target,
        "platform": ",".join(sorted(map(str, platforms))),
    }
    key = settings.sticky_key.fill(values)
    if target and settings.sticky_key.template == DEFAULT_STICKY_KEY:
        key = f"{key}#{target}"
    return origin.add_trust_scope(key, env)


def find_place(build: BuildSettings, env: Mapping[str, str]) -> tuple[str, str]:
    """Return the repository of the build's context, and the context's path in it, "" for its root.

    A context outside of any repository is used as the repository.
    """
    if isinstance(build.context, Path):
        return _find_folder_place(build.context, env)
    if build.context == STDIN:
        return origin.read_repository(env), ""
    if is_git(build.context):
        return split_git_url(build.context)
    return origin.read_repository(env) or read_repository_path(build.context.partition("#")[0].partition("?")[0]), ""


def split_git_url(url: str) -> tuple[str, str]:
    """Split a git context into repository and path: ``URL#ref:path`` or ``URL?ref=…&subdir=path``."""
    url, _, fragment = url.partition("#")
    url, _, query = url.partition("?")
    subfolder = fragment.partition(":")[2] or parse_qs(query).get("subdir", [""])[-1]
    return read_repository_path(url), "/".join(part for part in subfolder.split("/") if part not in ("", "."))


def _find_folder_place(context: Path, env: Mapping[str, str]) -> tuple[str, str]:
    folder = context.resolve()
    checkout = origin.find_checkout(env)
    if checkout is not None and folder.is_relative_to(checkout.resolve()) and origin.read_repository(env):
        return origin.read_repository(env), _make_relative(checkout.resolve(), folder)
    root = find_checkout(folder)
    if root is None:
        return str(folder).strip("/"), ""
    remote = origin.read_remote_url(root, env)
    return read_repository_path(remote) if remote else root.name, _make_relative(root, folder)


def _make_relative(root: Path, folder: Path) -> str:
    return "" if folder == root else folder.relative_to(root).as_posix()
