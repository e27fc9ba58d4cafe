"""What a build's sticky key is made of: the same from commit to commit, and from runner to runner.

A repository is named by its path on its host (``group/project``), which is also what CI systems call it. So a checkout
and a git context of the same repository have the same key. Sources: as in :mod:`ci_buildx.settings.contexts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qs

from ci_buildx.job import origin, systems, vcs
from ci_buildx.job.repositories import path_of
from ci_buildx.model import reference
from ci_buildx.model.platform import Platform
from ci_buildx.model.programs import find_checkout
from ci_buildx.settings.contexts import STDIN, is_git
from ci_buildx.settings.values import BuildSettings, Settings


def key(settings: Settings, platforms: Sequence[Platform], env: Mapping[str, str]) -> str:
    """The key of the part of a build that makes ``platforms``."""
    build = settings.build
    repo, path = place(build, env)
    values = {
        "repo": repo,
        "path": path,
        "image": reference.parse(build.tags[0]).name if build.tags else "",
        "target": build.target,
        "platform": ",".join(sorted(map(str, platforms))),
    }
    return origin.scoped(settings.sticky_key.fill(values), env)


def place(build: BuildSettings, env: Mapping[str, str]) -> tuple[str, str]:
    """The repository of the build's context and the context's path in it, "" for its root.

    Of what is in no repository, the context stands for the repository.
    """
    if isinstance(build.context, Path):
        return _of_folder(build.context, env)
    if build.context == STDIN:
        return systems.repository(env), ""
    if is_git(build.context):
        return of_url(build.context)
    return systems.repository(env) or path_of(build.context.partition("#")[0].partition("?")[0]), ""


def of_url(url: str) -> tuple[str, str]:
    """Repository and path of a git context: ``URL#ref:path`` or ``URL?ref=…&subdir=path``."""
    url, _, fragment = url.partition("#")
    url, _, query = url.partition("?")
    subfolder = fragment.partition(":")[2] or parse_qs(query).get("subdir", [""])[-1]
    return path_of(url), "/".join(part for part in subfolder.split("/") if part not in ("", "."))


def _of_folder(context: Path, env: Mapping[str, str]) -> tuple[str, str]:
    folder = context.resolve()
    checkout = systems.checkout(env)
    if checkout is not None and folder.is_relative_to(checkout.resolve()) and systems.repository(env):
        return systems.repository(env), _below(checkout.resolve(), folder)
    root = find_checkout(folder)
    if root is None:
        return str(folder).strip("/"), ""
    remote = vcs.remote_of(root, env)
    return path_of(remote) if remote else root.name, _below(root, folder)


def _below(root: Path, folder: Path) -> str:
    return "" if folder == root else folder.relative_to(root).as_posix()
